"""The sample data: the labels are what the method gives, and every set can be made again and learned."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.optimize import BFGS

from workbench import TrainingConfig, build, evaluate, fit
from workbench.catalogue import DATASETS, SAMPLE_DATA, load
from workbench.structures import labels, read

PERIODIC = [name for name in DATASETS if "Å^3" in DATASETS[name].units]


@pytest.fixture(scope="module")
def loaded():
    return {name: load(name) for name in DATASETS}


def reference(name: str, atoms: Atoms) -> Atoms:
    """The same structure, to be calculated anew by the method of the catalogue."""
    tblite = pytest.importorskip("tblite.ase", reason="tblite, which made the labels, is not installed")
    again = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    again.calc = tblite.TBLite(
        method=DATASETS[name].method,
        accuracy=0.01,
        charge=atoms.info["charge"],
        multiplicity=atoms.info["spin"],
        cache_api=False,
        verbosity=0,
    )
    return again


def some_frame(frames: list[Atoms]) -> Atoms:
    """The last frame that is quickly calculated."""
    size = min(len(atoms) for atoms in frames) + 12
    return next(atoms for atoms in reversed(frames) if len(atoms) <= size)


def test_every_file_is_in_the_catalogue_and_below_a_megabyte():
    files = {path.name: path.stat().st_size for path in SAMPLE_DATA.glob("*.xyz.gz")}
    assert set(files) == {dataset.path for dataset in DATASETS.values()}
    assert max(files.values()) < 1_000_000
    assert sum(files.values()) < 10_000_000


@pytest.mark.parametrize("name", DATASETS)
def test_the_readme_agrees_with_the_catalogue(name):
    dataset = DATASETS[name]
    text = (SAMPLE_DATA / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## `{name}`.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"sample_data/README.md has no section on {name}"
    for fact in (dataset.sha256, dataset.method, f"{dataset.n_frames} frames", *dataset.split):
        assert fact in section.group()
    assert "CC0" in text


@pytest.mark.parametrize("name", DATASETS)
def test_the_method_gives_the_labels_again(name, loaded):
    atoms = loaded[name][len(loaded[name]) // 2]
    again, label = reference(name, atoms), labels(atoms)
    assert again.get_potential_energy() == pytest.approx(label["energy"], abs=1e-6)
    np.testing.assert_allclose(again.get_forces(), label["forces"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(again.get_charges(), label["charges"], rtol=0, atol=1e-5)
    if atoms.pbc.all():
        np.testing.assert_allclose(again.get_stress(), label["stress"], rtol=0, atol=1e-6)
    else:
        np.testing.assert_allclose(again.get_dipole_moment(), label["dipole"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", DATASETS)
def test_forces_are_the_slope_of_the_energy(name, loaded):
    atoms = some_frame(loaded[name])
    direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    # In a cell, sums that end at a cutoff make the energy jump by up to 1e-6 eV: not noticed over a longer step.
    step = 3e-3 if atoms.pbc.all() else 1e-3  # Å
    energies = []
    for sign in (1, -1):
        moved = reference(name, atoms)
        moved.positions += sign * step * direction
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step)
    assert -slope == pytest.approx((labels(atoms)["forces"] * direction).sum(), abs=1e-4)


@pytest.mark.parametrize("name", PERIODIC)
def test_stress_is_the_slope_of_the_energy_by_strain(name, loaded):
    atoms = some_frame(loaded[name])
    step = 1e-3
    strain = np.array([[1.0, 0.3, 0.0], [0.3, -0.5, 0.2], [0.0, 0.2, 0.7]])
    energies = []
    for sign in (1, -1):
        strained = reference(name, atoms)
        strained.set_cell(atoms.cell @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        energies.append(strained.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    xx, yy, zz, yz, xz, xy = labels(atoms)["stress"]
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert slope == pytest.approx((stress * strain).sum(), abs=2e-5)


@pytest.mark.parametrize("name", DATASETS)
def test_no_net_force_and_all_the_charge(name, loaded):
    for atoms in loaded[name]:
        label = labels(atoms)
        np.testing.assert_allclose(label["forces"].sum(axis=0), 0, atol=1e-5)
        assert label["charges"].sum() == pytest.approx(atoms.info["charge"], abs=1e-6)


def test_ethanol_stays_whole_and_is_as_hot_as_said(loaded):
    frames = loaded["ethanol"]
    bonds = [(0, 1), (1, 2)]  # C-C and C-O
    for first, second in bonds:
        lengths = [atoms.get_distance(first, second) for atoms in frames]
        assert min(lengths) > 1.1
        assert max(lengths) < 1.9
    # Equipartition: the mean potential energy of 21 vibrations lies near 21 kT / 2 above the minimum, less
    # what the two soft torsions do not take up.
    relaxed = reference("ethanol", frames[0])
    BFGS(relaxed, logfile=None).run(fmax=0.01, steps=200)
    excess = np.mean([labels(atoms)["energy"] for atoms in frames]) - relaxed.get_potential_energy()
    assert excess == pytest.approx(21 / 2 * units.kB * 500, rel=0.15)


def test_trajectories_never_straddle_the_split(loaded):
    for name in ("ethanol", "malonaldehyde", "water_box"):
        parts = {(atoms.info["trajectory"], atoms.info["split"]) for atoms in loaded[name]}
        assert len(parts) == len({trajectory for trajectory, _ in parts})


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_a_small_model_learns_the_forces_in_a_quarter_of_a_minute(name, loaded, tmp_path):
    torch.manual_seed(0)
    frames = [atoms for atoms in loaded[name] if atoms.info["split"] in ("train", "near")]
    chosen = np.random.default_rng(0).permutation(len(frames))
    held_back = [frames[number] for number in chosen[:8]]
    train = [frames[number] for number in chosen[8:200]]
    config = TrainingConfig(epochs=200, batch_size=4, learning_rate=3e-3, max_minutes=0.25, device="cpu")
    model = build("lorem", "tiny")
    fit(model, train, held_back, config, folder=tmp_path / "run", progress=False)
    known_from_nothing = np.sqrt(np.mean(np.concatenate([labels(atoms)["forces"] for atoms in held_back]) ** 2))
    errors = evaluate(model, held_back).forces
    assert errors is not None
    assert errors.rmse < 0.8 * known_from_nothing


@pytest.mark.slow
def test_the_script_makes_the_same_ion_pairs_again_and_goes_on_where_it_stopped(tmp_path, loaded):
    pytest.importorskip("tblite", reason="tblite, which made the labels, is not installed")
    script = SAMPLE_DATA / "generate" / "make.py"
    command = [sys.executable, script, "ion_pair", "--work", tmp_path / "parts", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    first = (tmp_path / "ion_pair.xyz.gz").read_bytes()
    again = read(tmp_path / "ion_pair.xyz.gz")
    assert len(again) == len(loaded["ion_pair"])
    for made, kept in zip(again, loaded["ion_pair"], strict=True):
        np.testing.assert_allclose(made.positions, kept.positions, rtol=0, atol=1e-5)
        assert labels(made)["energy"] == pytest.approx(labels(kept)["energy"], abs=1e-4)

    lost = sorted((tmp_path / "parts").glob("*/*.xyz.gz"))[7]
    lost.unlink()
    resumed = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True)
    assert resumed.stdout.count("done") == 1
    assert (tmp_path / "ion_pair.xyz.gz").read_bytes() == first

    subprocess.run([*command, "--parts", "2"], check=True, capture_output=True, timeout=120)
    smaller = read(tmp_path / "ion_pair.xyz.gz")
    assert {atoms.info["orientation"] for atoms in smaller} == {0, 1}
    np.testing.assert_array_equal(smaller[-1].positions, again[len(smaller) - 1].positions)
