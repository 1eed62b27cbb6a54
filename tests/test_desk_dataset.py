"""The numbers, outliers and warnings that a data-set browser is handed."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from workbench import catalogue
from workbench.checks import labels
from workbench.desk.dataset import Measured, dataset, nearest_distances, outliers, robust_scores
from workbench.structures import write


def labelled(atoms: ase.Atoms, energy: float, seed: int = 0) -> ase.Atoms:
    forces = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces - forces.mean(axis=0))
    return atoms


def many(n: int = 40) -> list[ase.Atoms]:
    """Water and methane whose energies are a sum over the elements, but for a little."""
    rng = np.random.default_rng(1)
    frames = []
    for index in range(n):
        atoms = molecule(("H2O", "CH4", "CO2")[index % 3])
        atoms.rattle(0.05, seed=index)
        of_elements = sum({"H": -3.0, "O": -20.0, "C": -10.0}[symbol] for symbol in atoms.symbols)
        frames.append(labelled(atoms, of_elements + 1e-3 * rng.normal(), index))
    return frames


def test_columns_are_the_numbers_of_the_labels() -> None:
    frames = many(12)
    columns = Measured.of(frames).columns
    for index, atoms in enumerate(frames):
        forces = labels(atoms)["forces"]
        assert columns["largest force [eV/Å]"][index] == pytest.approx(np.linalg.norm(forces, axis=1).max())
        assert columns["energy per atom [eV]"][index] == pytest.approx(
            atoms.get_potential_energy() / len(atoms)
        )
        distances = atoms.get_all_distances() + 9 * np.eye(len(atoms))
        assert columns["shortest distance [Å]"][index] == pytest.approx(distances.min())
    assert np.abs(columns["energy per atom above the baseline [eV]"]).max() < 2e-3


def test_a_strained_crystal_has_its_pressure_density_and_neighbours() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    stress = np.array([-1.0, -2.0, -3.0, 0.5, 0, 0]) * units.GPa
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, stress=stress)
    measured = Measured.of([atoms])
    assert measured.columns["pressure [GPa]"] == pytest.approx([2.0])
    assert measured.columns["density [g/cm³]"] == pytest.approx(
        [2.164], abs=0.002
    )  # of halite at this constant
    np.testing.assert_allclose(nearest_distances(atoms), 2.82)
    np.testing.assert_allclose(measured.samples["stress component [GPa]"][0], [-1, -2, -3, 0.5, 0, 0])


def test_every_sample_knows_its_frame() -> None:
    frames = many(6)
    values, of = Measured.of(frames).samples["force component [eV/Å]"]
    for index, atoms in enumerate(frames):
        np.testing.assert_array_equal(values[of == index], labels(atoms)["forces"].ravel())


def test_robust_scores_are_standard_deviations_of_normal_numbers_and_bear_outliers() -> None:
    normal = np.random.default_rng(0).normal(3.0, 2.0, 20_000)
    spoiled = np.concatenate([normal, [1e6, np.nan]])
    scores = robust_scores(spoiled)
    np.testing.assert_allclose(scores[:-2], (normal - 3.0) / 2.0, atol=0.15)
    assert scores[-2] > 1e5
    assert scores[-1] == 0
    assert not robust_scores(np.full(9, 0.1) + 1e-17 * np.arange(9)).any()
    assert robust_scores(np.array([1.0] * 99 + [5.0]))[-1] > 6  # more than half are the same


def test_frames_that_were_spoiled_are_found_with_the_reason() -> None:
    frames = many(60)
    hot = labels(frames[17])["forces"] * 40
    frames[17].calc = SinglePointCalculator(frames[17], energy=frames[17].get_potential_energy(), forces=hot)
    wrong = frames[30].get_potential_energy() + 5
    frames[30].calc = SinglePointCalculator(frames[30], energy=wrong, forces=labels(frames[30])["forces"])
    handed = dataset(frames, progress=False)
    found = dict(handed["outliers"])
    assert set(found) == {17, 30}
    assert "force" in found[17]
    assert "σ above the median" in found[17]
    assert "energy per atom above the baseline" in found[30]


def test_each_outlier_is_listed_once_by_its_worst_column() -> None:
    rng = np.random.default_rng(0)
    columns = {
        name: rng.normal(size=100) for name in ("largest force [eV/Å]", "shortest distance [Å]", "frame")
    }
    columns["largest force [eV/Å]"][3], columns["shortest distance [Å]"][3] = 10, -50
    columns["frame"][5] = 1e6
    (found,) = outliers(columns)
    assert (found.frame, found.column) == (3, "shortest distance [Å]")
    assert "below the median" in found.reason


def test_structures_without_labels_are_measured_too() -> None:
    frames = [molecule("CH3CH2OH"), molecule("H2O"), bulk("Cu")]
    handed = dataset(frames, progress=False)
    assert "nothing here can be learned" in handed["title"]
    assert handed["parts"] is None
    assert not any("force" in name or "energy" in name for name in handed["columns"])
    assert np.isfinite(handed["columns"]["shortest distance [Å]"]).all()


def test_a_name_a_file_and_frames_give_the_same(tmp_path) -> None:
    frames = list(catalogue.load("water_box"))
    write(tmp_path / "water.xyz", frames)
    handed = [dataset(source, progress=False) for source in ("water_box", tmp_path / "water.xyz", frames)]
    for other in handed[1:]:
        assert list(other["columns"]) == list(handed[0]["columns"])
        for name, values in handed[0]["columns"].items():
            np.testing.assert_allclose(other["columns"][name], values, atol=1e-9)
    assert handed[0]["parts"].count("train") == 36
    assert "pressure [GPa]" in handed[0]["distributions"]


def test_warnings_are_those_of_the_checks() -> None:
    frames = many(8)
    frames.append(frames[2].copy())
    frames[-1].calc = SinglePointCalculator(frames[-1], **labels(frames[2]))
    (warning,) = [w for w in dataset(frames, progress=False)["warnings"] if "same structure" in w.what]
    assert warning.frames == (8,)


def test_of_a_large_set_evenly_spaced_frames_are_taken_and_said_so() -> None:
    frames = many(100)
    handed = dataset(frames, limit=10, progress=False)
    assert "Only 10 of them are here" in handed["title"]
    np.testing.assert_array_equal(handed["numbers"], np.arange(10) * 11)
    np.testing.assert_array_equal(handed["columns"]["frame"], handed["numbers"])
    assert handed["frames"][3] is frames[33]


def test_a_source_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(FileNotFoundError, match="ethanol"):
        dataset("etanol")
    with pytest.raises(ValueError, match="no frame in it"):
        dataset([])
