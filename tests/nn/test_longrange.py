"""Long-range sums against textbook lattice constants, direct sums and finite images."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk

from workbench.graphs import collate, graph
from workbench.nn import longrange
from workbench.nn.longrange import potentials

# Madelung constants per formula unit over the nearest-neighbour distance: Kittel, Introduction to Solid State
# Physics, 8th ed., chapter 3; more digits: Borwein, Glasser et al., Lattice Sums Then and Now (2013).
CRYSTALS = {
    "NaCl": (bulk("NaCl", "rocksalt", a=5.64, cubic=True), 5.64 / 2, 1.747564594633),
    "CsCl": (bulk("CsCl", "cesiumchloride", a=4.12), 4.12 * 3**0.5 / 2, 1.762674773071),
    "ZnS": (bulk("ZnS", "zincblende", a=5.41, cubic=True), 5.41 * 3**0.5 / 4, 1.638055053389),
}


def fields(
    structures: list[ase.Atoms],
    charges: np.ndarray,
    cutoff: float = 5.0,
    smearings: float = 4.0,
    **options: bool,
) -> np.ndarray:
    """Potentials (n_atoms, n_channels) with the splitting at `cutoff`, which is so many smearings away."""
    batch = collate([graph(atoms, cutoff) for atoms in structures])
    return potentials(
        torch.tensor(charges, dtype=torch.float64).reshape(batch.n_atoms, -1),
        batch.wrapped_positions,
        batch.cell,
        batch.pbc,
        batch.sizes.tolist(),
        batch.receivers,
        batch.senders,
        batch.vectors.norm(dim=1),
        smearing=cutoff / smearings,
        wavelength=cutoff / smearings / 2,
        **options,
    ).numpy()


def madelung(name: str, repeat: int = 1, **options: float) -> float:
    atoms, nearest, _ = CRYSTALS[name]
    atoms = atoms * (repeat, repeat, repeat)
    charges = np.where(np.isin(atoms.get_chemical_symbols(), ["Na", "Cs", "Zn"]), 1.0, -1.0)
    field = fields([atoms], charges, **options)[:, 0]  # with the factor 1/2: the energy of one atom is q V
    return float(-2 * (charges * field).sum() / len(atoms) * nearest)


@pytest.mark.parametrize("name", CRYSTALS)
def test_madelung_constants_by_ewald(name: str) -> None:
    exact = CRYSTALS[name][2]
    assert madelung(name, smearings=6.0) == pytest.approx(exact, rel=1e-7)
    assert madelung(name, smearings=5.0) == pytest.approx(exact, rel=1e-6)
    # The published splitting of LOREM leaves out 6e-5 of the pairs beyond four smearings.
    assert madelung(name) == pytest.approx(exact, rel=2e-5)


@pytest.mark.parametrize("twice", [False, True], ids=["P3M", "PME"])
@pytest.mark.parametrize("name", CRYSTALS)
def test_madelung_constants_on_the_mesh(name: str, twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longrange, "MESH_FROM_N_ATOMS", 0)
    assert madelung(name, 3, differentiate_twice=twice) == pytest.approx(CRYSTALS[name][2], rel=1e-3)


def test_mesh_and_ewald_agree_on_a_disordered_crystal(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = CRYSTALS["NaCl"][0] * (2, 2, 2)
    atoms.rattle(0.3, seed=0)
    charges = np.random.default_rng(0).normal(size=(len(atoms), 3))
    exact = fields([atoms], charges, smearings=6.0)
    monkeypatch.setattr(longrange, "MESH_FROM_N_ATOMS", 0)
    for twice in (False, True):
        mesh = fields([atoms], charges, differentiate_twice=twice)
        assert np.abs(mesh - exact).max() < 1e-3 * np.abs(exact).max()


def test_an_open_structure_is_the_direct_sum() -> None:
    atoms = ase.Atoms("H4", np.random.default_rng(0).normal(size=(4, 3)) * 5)
    charges = np.random.default_rng(1).normal(size=(4, 2))
    expected = np.zeros((4, 2))
    for i in range(4):
        for j in range(4):
            if i != j:
                expected[i] += 0.5 * charges[j] / np.linalg.norm(atoms.positions[i] - atoms.positions[j])
    np.testing.assert_allclose(fields([atoms], charges), expected, atol=1e-13)


@pytest.mark.parametrize("distance", [3.0, 8.0, 15.0])
def test_a_dimer_in_a_large_box_follows_the_direct_sum(distance: float) -> None:
    """The images of a dipole d in a box of volume V make a field 4 pi d / 3 V, whose potential at d / 2 is left."""
    pair = ase.Atoms("H2", [[0, 0, 0], [distance, 0, 0]])
    box = pair.copy()
    box.set_cell(np.eye(3) * 60)
    box.pbc = True
    charges = np.array([1.0, -1.0])
    np.testing.assert_allclose(
        fields([box], charges), fields([pair], charges), atol=1.1 * np.pi / 3 * distance**2 / 60**3
    )


def slab_by_images(atoms: ase.Atoms, charges: np.ndarray, reach: int) -> np.ndarray:
    """1/2 sum q / r over a square patch of (2 reach + 1)^2 neutral cells."""
    first, second = atoms.cell.array[atoms.pbc]
    n, m = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    shifts = n.ravel()[:, None] * first + m.ravel()[:, None] * second
    field = np.zeros(len(atoms))
    for i, here in enumerate(atoms.positions):
        for j, there in enumerate(atoms.positions):
            lengths = np.linalg.norm(there + shifts - here, axis=1)
            field[i] += 0.5 * charges[j] * np.sum(1 / lengths[lengths > 1e-9])
    return field


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_is_the_sum_over_its_plane_only(axis: int) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    charges = np.where(atoms.numbers == 11, 1.0, -1.0)
    atoms.positions[:, 2] += (
        0.2 * charges
    )  # a dipole across the slab, which three periodic directions get wrong
    cell = atoms.cell.array
    cell[2] = 0
    atoms.set_cell(cell)
    atoms.pbc = (True, True, False)
    # What a patch of radius R leaves out falls as 1/R.
    expected = 2 * slab_by_images(atoms, charges, 60) - slab_by_images(atoms, charges, 30)
    turn = np.roll(np.eye(3), axis, axis=0)  # the vacuum along z, x or y
    turned = ase.Atoms(atoms.numbers, atoms.positions @ turn.T, cell=(cell @ turn.T)[np.roll(range(3), 1)])
    turned.pbc = np.roll(atoms.pbc, 1)
    np.testing.assert_allclose(fields([turned], charges, smearings=5)[:, 0], expected, atol=2e-5)
    bulk_like = turned.copy()
    bulk_like.cell[0] = turn @ [0, 0, 12.0]
    bulk_like.pbc = True
    assert np.abs(fields([bulk_like], charges, smearings=5)[:, 0] - expected).max() > 1e-2


def test_a_mixed_batch_gives_what_each_structure_gives() -> None:
    salt, box = CRYSTALS["NaCl"][0], CRYSTALS["CsCl"][0] * (2, 1, 1)
    pair = ase.Atoms("H2", [[0, 0, 0], [1.5, 0, 0]])
    layer = salt.copy()
    layer.pbc = (True, True, False)
    structures = [salt, pair, box, layer, pair, salt * (1, 1, 2)]
    rng = np.random.default_rng(0)
    charges = [rng.normal(size=(len(atoms), 2)) for atoms in structures]
    together = fields(structures, np.concatenate(charges))
    alone = np.concatenate([fields([a], q) for a, q in zip(structures, charges, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_a_charged_cell_has_a_neutralising_background() -> None:
    """Two splittings agree, which they do only with the background in place."""
    atoms = CRYSTALS["NaCl"][0]
    charges = np.random.default_rng(3).normal(size=(8, 1)) + 1
    np.testing.assert_allclose(
        fields([atoms], charges, cutoff=6.0, smearings=6),
        fields([atoms], charges, cutoff=9.0, smearings=6),
        atol=1e-7,
    )


def test_one_periodic_direction_is_refused() -> None:
    atoms = CRYSTALS["NaCl"][0].copy()
    atoms.pbc = (True, False, False)
    with pytest.raises(ValueError, match="periodic in one direction"):
        fields([atoms], np.ones(8))
