"""Neighbour pairs against a search that looks at every image, and what batching and the Verlet skin must keep."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from workbench.graphs import Graph, VerletList, collate, completed_cell, graph, neighbours

SKEWED = np.array([[3.0, 0.0, 0.0], [1.9, 2.2, 0.0], [-1.4, 0.9, 2.6]])
PERIODICITIES = list(product([False, True], repeat=3))


def random_atoms(
    n: int, cell: np.ndarray, pbc: tuple[bool, ...], spread: float = 1.0, seed: int = 0
) -> ase.Atoms:
    """Atoms at random fractions of the cell; a spread above 1 puts some outside of it."""
    fractions = spread * np.random.default_rng(seed).random((n, 3)) - 0.5 * (spread - 1.0)
    return ase.Atoms("H" * n, positions=fractions @ cell, cell=cell, pbc=pbc)


def every_pair(atoms: ase.Atoms, cutoff: float) -> set[tuple[int, ...]]:
    """(receiver, sender, shift) of all pairs within the cutoff, from all images that could be near enough."""
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(completed_cell(atoms.cell.array, atoms.pbc)), axis=0)
    reach = cutoff + np.ptp(atoms.positions, axis=0).max() * np.sqrt(3.0)
    counts = [
        int(np.ceil(reach / h)) if periodic else 0 for h, periodic in zip(heights, atoms.pbc, strict=True)
    ]
    found = set()
    for shift in product(*(range(-n, n + 1) for n in counts)):
        vectors = atoms.positions[None] - atoms.positions[:, None] + np.array(shift) @ atoms.cell.array
        close = np.linalg.norm(vectors, axis=2) < cutoff
        if not any(shift):
            np.fill_diagonal(close, False)
        found.update((i, j, *shift) for i, j in np.argwhere(close).tolist())
    return found


def pairs(g: Graph) -> list[tuple[int, ...]]:
    shifts = g.shifts.to(torch.int64).tolist()
    return [(i, j, *s) for i, j, s in zip(g.receivers.tolist(), g.senders.tolist(), shifts, strict=True)]


def assert_complete(atoms: ase.Atoms, cutoff: float) -> Graph:
    """The graph has every pair once, and its vectors are as long as they should be."""
    g = graph(atoms, cutoff)
    found = pairs(g)
    assert len(found) == len(set(found))
    assert set(found) == every_pair(atoms, cutoff)
    expected = atoms.positions[g.senders] - atoms.positions[g.receivers] + g.shifts.numpy() @ atoms.cell.array
    np.testing.assert_allclose(g.vectors.numpy(), expected, atol=1e-12)
    assert bool((g.vectors.norm(dim=1) < cutoff).all())
    return g


@pytest.mark.parametrize("pbc", PERIODICITIES)
@pytest.mark.parametrize("cell", [np.diag([2.5, 3.1, 2.8]), SKEWED], ids=["tiny", "skewed"])
def test_all_pairs_of_a_cell_smaller_than_the_cutoff(cell: np.ndarray, pbc: tuple[bool, ...]) -> None:
    assert_complete(random_atoms(5, cell, pbc), cutoff=4.5)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_all_pairs_of_a_large_cell(pbc: tuple[bool, ...]) -> None:
    assert_complete(random_atoms(60, 3.0 * SKEWED, pbc, seed=1), cutoff=2.5)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_atoms_far_outside_the_cell_keep_their_place(pbc: tuple[bool, ...]) -> None:
    atoms = random_atoms(8, SKEWED, pbc, spread=5.0, seed=2)
    g = assert_complete(atoms, cutoff=4.0)
    np.testing.assert_array_equal(g.positions.numpy(), atoms.positions)


@pytest.mark.parametrize("pbc", PERIODICITIES[1:])
def test_a_single_atom_sees_its_own_images(pbc: tuple[bool, ...]) -> None:
    g = assert_complete(ase.Atoms("Ne", cell=SKEWED, pbc=pbc), cutoff=6.0)
    assert g.n_pairs > 0
    assert (g.receivers == g.senders).all()


def test_shells_of_a_crystal() -> None:
    g = graph(bulk("Cu", "fcc", a=3.6), cutoff=3.7)  # 12 at a/sqrt(2), 6 at a
    lengths, counts = np.unique(g.vectors.norm(dim=1).numpy().round(6), return_counts=True)
    np.testing.assert_allclose(lengths, [3.6 / np.sqrt(2.0), 3.6], atol=1e-6)
    assert counts.tolist() == [12, 6]


def test_a_slab_whose_cell_has_no_third_vector() -> None:
    slab = random_atoms(6, np.diag([3.0, 3.5, 0.0]), (True, True, False), seed=3)
    slab.positions[:, 2] = np.linspace(-20.0, 20.0, 6)
    g = assert_complete(slab, cutoff=4.0)
    assert (g.shifts[:, 2] == 0).all()


@pytest.mark.parametrize(
    "atoms", [ase.Atoms("He"), ase.Atoms("He2", positions=[[0, 0, 0], [50, 0, 0]]), ase.Atoms()]
)
def test_atoms_without_neighbours(atoms: ase.Atoms) -> None:
    g = graph(atoms, cutoff=5.0)
    assert (g.n_atoms, g.n_pairs, g.n_structures) == (len(atoms), 0, 1)
    assert g.vectors.shape == (0, 3)
    assert g.sizes.tolist() == [len(atoms)]


def test_every_pair_appears_from_both_ends() -> None:
    found = set(pairs(graph(random_atoms(7, SKEWED, (True, True, False), seed=4), cutoff=4.0)))
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in found} == found


def test_charge_and_spin_come_from_info() -> None:
    atoms = molecule("OH")
    assert (graph(atoms, 3.0).charge.item(), graph(atoms, 3.0).spin.item()) == (0.0, 1.0)
    atoms.info.update(charge=-1, spin=3)
    assert (graph(atoms, 3.0).charge.item(), graph(atoms, 3.0).spin.item()) == (-1.0, 3.0)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), (True, True, True)),
        (np.zeros((3, 3)), (False, True, False)),
        (np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 1.0]]), (True, True, False)),
        (np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 1.0, 0]]), (True, True, True)),
    ],
)
def test_a_periodic_cell_without_volume_is_refused(cell: np.ndarray, pbc: tuple[bool, ...]) -> None:
    with pytest.raises(ValueError, match="span no volume"):
        neighbours(np.zeros((1, 3)), cell, np.array(pbc), 5.0)


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_a_completed_cell_keeps_periodic_vectors_and_adds_normal_ones(pbc: tuple[bool, ...]) -> None:
    completed = completed_cell(SKEWED, np.array(pbc))
    for axis in range(3):
        if pbc[axis]:
            np.testing.assert_array_equal(completed[axis], SKEWED[axis])
        else:
            others = np.delete(completed, axis, axis=0)
            np.testing.assert_allclose(
                [np.linalg.norm(completed[axis]), *others @ completed[axis]], [1, 0, 0], atol=1e-12
            )


# --- derivatives ------------------------------------------------------------------------------------------------


def test_vectors_are_differentiable_in_positions_and_cell() -> None:
    g = graph(random_atoms(4, SKEWED, (True, True, True), seed=5), cutoff=3.5)

    def lengths(positions: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        values = {f.name: getattr(g, f.name) for f in fields(g)} | {"positions": positions, "cell": cell}
        return Graph(**values).vectors.square().sum(dim=1)

    inputs = (g.positions.clone().requires_grad_(), g.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(lengths, inputs)
    assert torch.autograd.gradgradcheck(lengths, inputs)


# --- batches ----------------------------------------------------------------------------------------------------


def batch_members() -> list[ase.Atoms]:
    charged = molecule("OH")
    charged.info.update(charge=-1, spin=1)
    return [
        random_atoms(4, SKEWED, (True, True, True), seed=6),
        charged,
        ase.Atoms("He"),
        random_atoms(3, np.diag([3.0, 4.0, 0.0]), (True, True, False), seed=7),
    ]


def test_collate_keeps_everything_in_order() -> None:
    singles = [graph(atoms, 4.0) for atoms in batch_members()]
    batch = collate(singles)
    assert batch.n_structures == 4
    assert batch.sizes.tolist() == [4, 2, 1, 3]
    assert batch.structure_index.tolist() == [0] * 4 + [1] * 2 + [2] + [3] * 3
    assert batch.cutoff == 4.0
    for name in ("numbers", "positions", "cell", "pbc", "charge", "spin", "shifts"):
        joined = torch.cat([getattr(g, name) for g in singles])
        torch.testing.assert_close(getattr(batch, name), joined, rtol=0, atol=0)
    torch.testing.assert_close(batch.vectors, torch.cat([g.vectors for g in singles]), rtol=0, atol=0)
    same = batch.structure_index[batch.receivers] == batch.structure_index[batch.senders]
    assert bool(same.all())


def test_batches_of_batches_are_batches() -> None:
    singles = [graph(atoms, 4.0) for atoms in batch_members()]
    at_once = collate(singles)
    nested = collate([collate(singles[:2]), collate(singles[2:])])
    for f in fields(Graph):
        if f.name != "cutoff":
            torch.testing.assert_close(getattr(nested, f.name), getattr(at_once, f.name), rtol=0, atol=0)


def test_collate_refuses_nothing_and_mixed_cutoffs() -> None:
    with pytest.raises(ValueError, match="at least one structure"):
        collate([])
    with pytest.raises(ValueError, match=r"\[3\.0, 4\.0\]"):
        collate([graph(ase.Atoms("He"), 3.0), graph(ase.Atoms("He"), 4.0)])


# --- the Verlet skin --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_a_verlet_list_equals_a_fresh_search_along_a_walk(pbc: tuple[bool, ...]) -> None:
    atoms = random_atoms(20, 2.0 * SKEWED, pbc, seed=8)
    walk = np.random.default_rng(9)
    verlet = VerletList(cutoff=3.0, skin=0.6)
    for _ in range(60):
        kept, fresh = verlet.graph(atoms), graph(atoms, 3.0)
        assert sorted(pairs(kept)) == sorted(pairs(fresh))
        assert kept.cutoff == fresh.cutoff
        atoms.positions += walk.normal(scale=0.02, size=atoms.positions.shape)
    assert 1 < verlet.n_searches < 30


def test_a_verlet_list_searches_again_when_anything_but_positions_changes() -> None:
    atoms = random_atoms(6, 2.0 * SKEWED, (True, True, True), seed=10)
    verlet = VerletList(cutoff=3.0, skin=1.0)
    changes = [
        lambda: None,
        lambda: atoms.set_cell(1.01 * atoms.cell.array),
        lambda: atoms.set_pbc((True, True, False)),
        lambda: atoms.append("He"),
    ]
    for searches, change in enumerate(changes, start=1):
        change()
        assert sorted(pairs(verlet.graph(atoms))) == sorted(pairs(graph(atoms, 3.0)))
        assert verlet.n_searches == searches
    verlet.graph(atoms)
    assert verlet.n_searches == len(changes)


def test_a_verlet_list_shows_new_elements_charge_and_spin_at_once() -> None:
    atoms = molecule("H2O")
    verlet = VerletList(cutoff=3.0)
    verlet.graph(atoms)
    atoms.numbers[:] = 2
    atoms.info.update(charge=2, spin=5)
    g = verlet.graph(atoms)
    assert (g.numbers.tolist(), g.charge.item(), g.spin.item()) == ([2, 2, 2], 2.0, 5.0)
    assert verlet.n_searches == 1


def test_a_verlet_list_without_skin_always_searches() -> None:
    atoms, verlet = molecule("H2O"), VerletList(cutoff=3.0, skin=0.0)
    for _ in range(3):
        verlet.graph(atoms)
    assert verlet.n_searches == 3
    with pytest.raises(ValueError, match="skin is -1"):
        VerletList(cutoff=3.0, skin=-1)


def test_positions_handed_over_are_not_shared() -> None:
    atoms = molecule("H2O")
    g = graph(atoms, 3.0)
    before = g.positions.clone()
    atoms.positions += 1.0
    torch.testing.assert_close(g.positions, before, rtol=0, atol=0)
