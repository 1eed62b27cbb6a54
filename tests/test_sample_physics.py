"""The sample data: the physics that each set is there to show is in it."""

import numpy as np
import pytest
from ase import Atoms, units

from workbench.catalogue import load
from workbench.structures import labels

COULOMB = 14.399645  # eV Å / e^2, 1 / (4 pi epsilon_0)
N_CATION = 8  # atoms of methylammonium, first in every frame of ion_pair


@pytest.fixture(scope="module")
def loaded():
    return Sets()


class Sets(dict):
    """Every set, read when it is first asked for."""

    def __missing__(self, name: str) -> list[Atoms]:
        self[name] = load(name)
        return self[name]


def of_split(frames: list[Atoms], split: str) -> list[Atoms]:
    return [atoms for atoms in frames if atoms.info["split"] == split]


def column(frames: list[Atoms], key: str) -> np.ndarray:
    """One number of every frame: an entry of info, or the energy."""
    return np.array([labels(atoms)["energy"] if key == "energy" else atoms.info[key] for atoms in frames])


def test_far_ions_follow_coulomb_and_stay_ions(loaded):
    frames = [atoms for atoms in loaded["ion_pair"] if atoms.info["split"] == "far"]
    distances = np.array([atoms.info["distance"] for atoms in frames])
    energies = np.array([atoms.info["interaction_energy"] for atoms in frames])
    np.testing.assert_allclose(energies, -COULOMB / distances, rtol=0.015)
    charges = [labels(atoms)["charges"][:N_CATION].sum() for atoms in frames]
    np.testing.assert_allclose(charges, 1, atol=1e-3)
    pull = np.array([labels(atoms)["forces"][N_CATION:, 0].sum() for atoms in frames])
    np.testing.assert_allclose(pull, -COULOMB / distances**2, rtol=0.05)


def test_a_cutoff_of_five_angstrom_sees_two_separate_ions_in_the_far_part_only(loaded):
    for atoms in loaded["ion_pair"]:
        closest = atoms.get_all_distances()[:N_CATION, N_CATION:].min()
        assert (closest > 5.0) == (atoms.info["split"] == "far")
        assert closest == pytest.approx(atoms.info["closest"], abs=1e-5)


def test_every_orientation_reaches_from_contact_to_15_angstrom(loaded):
    curves: dict[int, list[Atoms]] = {}
    for atoms in loaded["ion_pair"]:
        curves.setdefault(atoms.info["orientation"], []).append(atoms)
    assert len(curves) >= 12
    for curve in curves.values():
        assert min(atoms.info["closest"] for atoms in curve) < 2.5
        assert max(atoms.info["distance"] for atoms in curve) == 15


def test_water_is_whole_dense_and_bound_by_hydrogen(loaded):
    for atoms in loaded["water_box"]:
        grams_per_cm3 = atoms.get_masses().sum() / atoms.get_volume() / units._Nav * 1e24
        assert grams_per_cm3 == pytest.approx(1.0, abs=0.01)
        distances = atoms.get_all_distances(mic=True)
        oxygen, hydrogen = atoms.symbols.search("O"), atoms.symbols.search("H")
        bonds = distances[np.ix_(oxygen, hydrogen)]
        assert np.all((bonds < 1.3).sum(axis=1) == 2)
    # The oxygen next to an oxygen lies at the distance of a hydrogen bond, 2.6 to 3.0 Å.
    nearest = [
        np.sort(atoms.get_all_distances(mic=True)[::3, ::3], axis=1)[:, 1].mean()
        for atoms in loaded["water_box"]
    ]
    assert 2.5 < np.mean(nearest) < 3.0


def test_the_layers_of_black_phosphorus_hold_together_by_dispersion_alone(loaded):
    frames = of_split(loaded["black_phosphorus"], "exfoliation")
    spacing, n_atoms = column(frames, "spacing"), len(frames[0])
    energy = column(frames, "energy") / n_atoms
    bare = energy - column(frames, "dispersion_energy") / n_atoms
    binding, bare = energy - energy[-1], bare - bare[-1]
    assert 5.1 < spacing[binding.argmin()] < 5.6  # measured: 5.24 Å
    assert -0.12 < binding.min() < -0.06  # quantum Monte Carlo: -0.081 eV per atom
    assert bare.min() > 0.1 * binding.min()
    # Where the closest atoms of two layers are further apart than 5 Å, a quarter of the binding is still there.
    unseen = np.array([between_layers(atoms) > 5 for atoms in frames])
    assert binding[unseen].min() < 0.25 * binding.min()


def between_layers(atoms: Atoms) -> float:
    """Distance between the closest atoms of two layers [Å], of layers that are flat and two to a cell."""
    first = np.abs(atoms.positions[:, 1]) < atoms.info["spacing"] / 2
    return atoms.get_all_distances(mic=True)[np.ix_(first, ~first)].min()


def test_dispersion_does_not_tell_where_a_layer_lies(loaded):
    frames = of_split(loaded["black_phosphorus"], "sliding")
    unmoved = [not np.any(atoms.info["slide"]) for atoms in frames]
    assert sum(unmoved) == 1
    energy, dispersion = (column(frames, key) / len(frames[0]) for key in ("energy", "dispersion_energy"))
    assert energy[unmoved][0] < energy.min() + 0.003
    assert 0.04 < np.ptp(energy) < 0.1
    assert np.ptp(dispersion) < 0.02 * np.ptp(energy)


def test_dispersion_is_what_the_method_adds(loaded):
    """Against the term that tblite itself reports, and its slope."""
    interface = pytest.importorskip(
        "tblite.interface", reason="tblite, which made the labels, is not installed"
    )
    atoms = next(atoms for atoms in loaded["black_phosphorus"] if atoms.info["kind"] == "monolayer")

    def dispersion(positions: np.ndarray) -> float:
        calculator = interface.Calculator(
            "GFN1-xTB",
            atoms.numbers,
            positions / units.Bohr,
            lattice=atoms.cell.array / units.Bohr,
            periodic=atoms.pbc,
        )
        calculator.set("verbosity", 0)
        calculator.add("xtbml")
        return calculator.singlepoint().get("post-processing-dict")["E_disp2"].sum() * units.Hartree

    assert atoms.info["dispersion_energy"] == pytest.approx(dispersion(atoms.positions), abs=1e-4)
    direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
    step = 1e-2 * direction / np.linalg.norm(direction)
    slope = dispersion(atoms.positions + step) - dispersion(atoms.positions - step)
    assert -slope == pytest.approx(2 * (atoms.arrays["dispersion_forces"] * step).sum(), abs=1e-5)


def test_what_is_removed_far_away_changes_the_cluster(loaded):
    """The atom that is moved and the one that is removed are 10 Å apart; between them nothing else differs."""
    path = of_split(loaded["charged_clusters"], "curve")
    states = {
        state: [atoms for atoms in path if atoms.info["state"] == state]
        for state in ("Na9Cl8+", "Na8Cl8+", "Na8Cl8")
    }
    whole, without, neutral = states.values()
    for first, second, third in zip(whole, without, neutral, strict=True):
        assert first.get_distance(1, 16) > 9
        np.testing.assert_array_equal(first.positions[:16], second.positions)
        np.testing.assert_array_equal(second.positions, third.positions)
        assert [atoms.info["charge"] for atoms in (first, second, third)] == [1, 1, 0]
    drawn_out = {
        state: column(frames, "energy")[-1] - column(frames, "energy").min() for state, frames in states.items()
    }
    assert drawn_out["Na9Cl8+"] > drawn_out["Na8Cl8+"] + 0.04
    assert drawn_out["Na8Cl8"] > drawn_out["Na8Cl8+"] + 0.2
    # The hole that the removed ion leaves sits on chlorine at that end: charge moved all through the cluster.
    moved = labels(without[4])["charges"] - labels(whole[4])["charges"][:16]
    assert moved.sum() == pytest.approx(labels(whole[4])["charges"][16], abs=1e-6)
    assert moved.max() > 0.1


def test_one_composition_in_two_charge_states_has_two_forces(loaded):
    frames = loaded["charged_clusters"]
    by_state = {(atoms.info["geometry"], atoms.info["state"]): atoms for atoms in frames}
    pairs = [
        (atoms, by_state[geometry, "Na8Cl8+"])
        for (geometry, state), atoms in by_state.items()
        if state == "Na8Cl8"
    ]
    assert len(pairs) == len(frames) / 3
    for neutral, ionised in pairs:
        assert neutral.info["split"] == ionised.info["split"]
        assert np.abs(labels(neutral)["forces"] - labels(ionised)["forces"]).max() > 0.2
        assert labels(ionised)["energy"] > labels(neutral)["energy"] + 5


def test_ends_of_a_cumulene_feel_each_other_through_any_cutoff(loaded):
    frames = loaded["cumulene"]
    barriers = []
    for n_carbon in (3, 5, 7, 9, 11):
        path = of_split(frames, "profile" if n_carbon == 9 else "lengths")
        path = [atoms for atoms in path if atoms.info["n_carbon"] == n_carbon]
        torsion, energy = column(path, "torsion"), column(path, "energy")
        assert torsion[energy.argmin()] == 90
        np.testing.assert_allclose(energy, energy[::-1], rtol=0, atol=1e-3)
        assert path[0].get_distance(0, n_carbon - 1) == pytest.approx(1.27 * (n_carbon - 1), abs=0.1)
        barriers.append(np.ptp(energy))
    assert barriers == sorted(barriers, reverse=True)
    assert barriers[0] > 2
    assert barriers[3] > 0.5  # eV, between ends that are 10 Å apart


def test_dimers_fall_off_as_their_class_says(loaded):
    frames = loaded["dimers"]
    kinds = dict.fromkeys(atoms.info["kind"] for atoms in frames)
    assert len(kinds) == 6
    slopes = {kind: [] for kind in kinds}
    for orientation in {atoms.info["orientation"] for atoms in frames}:
        path = [atoms for atoms in frames if atoms.info["orientation"] == orientation]
        near, far = (
            next(atoms for atoms in path if atoms.info["distance"] == distance) for distance in (10, 15)
        )
        ratio = near.info["interaction_energy"] / far.info["interaction_energy"]
        if ratio > 0:  # a dipole that lies across changes sign on the way
            slopes[path[0].info["kind"]].append(np.log(ratio) / np.log(1.5))
    typical = {kind: np.median(slope) for kind, slope in slopes.items()}
    assert typical["charged-charged"] == pytest.approx(1, abs=0.03)
    assert typical["charged-polar"] == pytest.approx(2, abs=0.3)
    assert typical["polar-polar"] == pytest.approx(3, abs=0.5)
    assert typical["apolar-apolar"] > 4.5  # 6, but for the small dipoles of rattled molecules


def test_far_charged_dimers_follow_coulomb(loaded):
    far = [atoms for atoms in of_split(loaded["dimers"], "far") if atoms.info["kind"] == "charged-charged"]
    for atoms in far:
        n_first = atoms.info["n_first"]
        first, second = (labels(atoms)["charges"][part].sum() for part in (np.s_[:n_first], np.s_[n_first:]))
        assert abs(first) == pytest.approx(1, abs=2e-3)
        coulomb = COULOMB * first * second / atoms.info["distance"]
        assert atoms.info["interaction_energy"] == pytest.approx(coulomb, rel=0.03)


def test_a_cutoff_sees_two_separate_molecules_in_the_far_part_only(loaded):
    for atoms in loaded["dimers"]:
        n_first = atoms.info["n_first"]
        closest = atoms.get_all_distances()[:n_first, n_first:].min()
        assert (closest > 5.0) == (atoms.info["split"] == "far")


def test_rock_salt_is_as_large_and_as_stiff_as_it_should_be(loaded):
    frames = of_split(loaded["sodium_chloride"], "volumes")
    volume = np.array([atoms.get_volume() for atoms in frames])
    fit = np.polynomial.Polynomial.fit(volume, column(frames, "energy"), 4)
    (rest,) = [
        root.real
        for root in fit.deriv().roots()
        if abs(root.imag) < 1e-9 and volume[0] < root.real < volume[-1]
    ]
    assert (rest / 2) ** (1 / 3) == pytest.approx(5.64, rel=0.03)  # two cubic cells; measured: 5.64 Å
    assert rest * fit.deriv(2)(rest) / units.GPa == pytest.approx(25, abs=8)  # bulk modulus; measured: 25 GPa
    pressure = [-labels(atoms)["stress"][:3].mean() for atoms in frames]
    np.testing.assert_allclose(pressure[2:-2], -fit.deriv()(volume)[2:-2], rtol=0, atol=2e-3)


def test_the_proton_of_malonaldehyde_hops(loaded):
    frames = loaded["malonaldehyde"]
    further = np.array([atoms.get_distance(3, 5) - atoms.get_distance(4, 5) for atoms in frames])
    assert (further > 0.3).mean() > 0.1
    assert (further < -0.3).mean() > 0.1
    for atoms in frames:
        assert 1.1 < atoms.get_distance(0, 1) < 1.8
        assert 1.1 < atoms.get_distance(1, 2) < 1.8


def test_lithium_gives_charge_away_in_every_crystal(loaded):
    frames = loaded["lithium_crystals"]
    assert {atoms.info["crystal"] for atoms in frames} == {"LiCl", "LiBr", "LiI", "Li2S"}
    for atoms in frames:
        lithium = atoms.symbols == "Li"
        charges = labels(atoms)["charges"]
        assert charges[lithium].mean() > 0.1
        assert charges[~lithium].mean() < -0.1
    pressure = np.array([-labels(atoms)["stress"][:3].mean() / units.GPa for atoms in frames])
    assert pressure.min() < -1
    assert pressure.max() > 1


def test_atoms_of_a_molecule_are_worth_more_than_a_sum_over_its_elements(loaded):
    frames = loaded["small_molecules"]
    relaxed = [atoms for atoms in frames if atoms.info["geometry"] == 0]
    assert len({atoms.info["molecule"] for atoms in relaxed}) == len(relaxed) >= 90
    energy = column(relaxed, "atomisation_energy")
    assert energy.min() > 0
    elements = sorted({number for atoms in relaxed for number in atoms.numbers})
    counts = np.array([[(atoms.numbers == element).sum() for element in elements] for atoms in relaxed])
    rest = energy - counts @ np.linalg.lstsq(counts, energy, rcond=None)[0]
    assert 0.5 < rest.std() < 0.2 * energy.std()
    # The zero of the atomisation energies is the same everywhere: the atoms alone.
    alone = column(relaxed, "energy") + energy
    np.testing.assert_allclose(counts @ np.linalg.lstsq(counts, alone, rcond=None)[0], alone, atol=1e-6)
    lowest = {atoms.info["molecule"]: labels(atoms)["energy"] for atoms in relaxed}
    assert all(labels(atoms)["energy"] > lowest[atoms.info["molecule"]] - 1e-3 for atoms in frames)


def test_a_molecule_is_in_one_part_of_the_split(loaded):
    parts = {(atoms.info["molecule"], atoms.info["split"]) for atoms in loaded["small_molecules"]}
    assert len(parts) == len({molecule for molecule, _ in parts})


def test_formate_gives_its_hydrogen_to_copper(loaded):
    path = of_split(loaded["formate_copper"], "path")
    np.testing.assert_allclose(np.diff(column(path, "progress")), 1 / (len(path) - 1), atol=1e-5)
    hydrogen, carbon, *oxygen = range(18, 22)

    def to_copper(atoms: Atoms, atom: int) -> float:
        return atoms.get_distances(atom, range(18), mic=True).min()

    first, last = path[0], path[-1]
    assert first.get_distance(hydrogen, carbon) == pytest.approx(1.1, abs=0.05)
    assert [to_copper(first, atom) for atom in oxygen] == pytest.approx([1.97, 1.97], abs=0.06)
    assert first.get_angle(oxygen[0], carbon, oxygen[1]) == pytest.approx(125, abs=5)
    assert last.get_distance(hydrogen, carbon) > 3
    assert to_copper(last, hydrogen) < 1.75
    assert last.get_angle(oxygen[0], carbon, oxygen[1]) > 170
    energy = column(path, "energy")
    assert energy.argmax() not in (0, len(path) - 1)
    assert -1 < energy[-1] - energy[0] < 1
