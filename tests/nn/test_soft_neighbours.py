"""Soft neighbours against the definition, written out with loops over all atoms and images."""

from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from structures_for_tests import ethanol, salt, tiny_cell, water_pair

from workbench.graphs import graph
from workbench.nn.soft_neighbours import REACH, Slots, SoftStep, soft_neighbours, soft_step

K, CUTOFF = 12, 4.0


def slots_of(atoms: Atoms, k: int = K, cutoff: float = CUTOFF) -> Slots:
    g = graph(atoms, cutoff + REACH)
    return soft_neighbours(g.vectors, g.receivers, g.senders, g.shifts, len(atoms), k, cutoff)


def step(x: float) -> float:
    """As fairchem writes it."""
    if abs(x) >= 4:
        return float(x > 0)
    rise, fall = np.exp(-2 / (1 + x / 4)), np.exp(-2 / (1 - x / 4))
    return rise / (rise + fall)


def by_definition(atoms: Atoms) -> list[list[tuple[float, float]]]:
    """For every atom, (distance, log envelope) of its neighbours, by distance."""
    span = range(-4, 5)
    images = list(product(*(span if periodic else (0,) for periodic in atoms.pbc)))

    def around(i: int) -> dict[tuple[int, tuple[int, ...]], float]:
        return {
            (j, n): float(np.linalg.norm(atoms.positions[j] + n @ atoms.cell.array - atoms.positions[i]))
            for j in range(len(atoms))
            for n in images
        }

    seen = [around(i) for i in range(len(atoms))]

    def rank(i: int, d: float) -> float:
        return sum(step((d - other) / 0.2) for other in seen[i].values())

    found = []
    for i in range(len(atoms)):
        mine = []
        for (j, _), d in seen[i].items():
            if 0 < d < CUTOFF:
                scaled = np.array([rank(i, d) / K, rank(j, d) / K, d / CUTOFF]) / 0.1
                e = 0.1 * np.log(np.exp(scaled).sum())
                if e < 1:
                    mine.append((d, -(e**2) / (1 - e**2)))
        found.append(sorted(mine))
    return found


@pytest.mark.parametrize(
    "atoms",
    [ethanol(), water_pair(3.0), salt(), tiny_cell(), bulk("Cu", cubic=True), Atoms("He")],
    ids=["ethanol", "water", "salt", "tiny cell", "copper", "lone atom"],
)
def test_they_are_what_the_definition_says(atoms: Atoms) -> None:
    slots = slots_of(atoms)
    for i, expected in enumerate(by_definition(atoms)):
        there = slots.members[i] >= 0
        found = sorted(
            zip(slots.distances[i][there].tolist()[1:], slots.log_envelope[i][there].tolist()[1:], strict=True)
        )
        np.testing.assert_allclose(np.array(found).reshape(-1, 2), np.array(expected).reshape(-1, 2), rtol=1e-8)


@pytest.mark.parametrize("atoms", [ethanol(), salt(), tiny_cell()], ids=["ethanol", "salt", "tiny cell"])
def test_the_other_end_of_a_pair(atoms: Atoms) -> None:
    slots = slots_of(atoms)
    n_slots = slots.members.shape[1]
    assert (slots.reverse[slots.reverse] == torch.arange(len(slots.reverse))).all()
    np.testing.assert_array_equal(slots.members[:, 0], np.arange(len(atoms)))
    np.testing.assert_array_equal(slots.reverse[::n_slots], np.arange(len(atoms)) * n_slots)
    there = slots.members.flatten() >= 0
    vectors = slots.vectors.flatten(0, 1)
    np.testing.assert_allclose(vectors[slots.reverse], torch.where(there[:, None], -vectors, 0.0), atol=1e-12)
    owner = torch.arange(len(slots.reverse)) // n_slots
    np.testing.assert_array_equal(slots.members.flatten()[slots.reverse][there], owner[there])
    np.testing.assert_array_equal(
        slots.log_envelope.flatten()[slots.reverse][there], slots.log_envelope.flatten()[there]
    )


def test_at_most_about_k_neighbours_and_the_nearest() -> None:
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    copper.rattle(0.05, seed=0)
    slots = slots_of(copper, k=15, cutoff=6.0)
    n_near = (slots.members > -1).sum(1) - 1
    assert n_near.max() <= 15
    assert n_near.min() >= 8
    assert (slots.distances.diff(dim=1)[slots.members[:, 1:] > -1] >= 0).all()


def test_the_step() -> None:
    x = torch.linspace(-5, 5, 401, dtype=torch.float64)
    np.testing.assert_allclose(soft_step(x), [step(float(v)) for v in x], atol=1e-15)
    x = torch.linspace(-4.5, 4.5, 37, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SoftStep.apply, (x,))
    assert torch.autograd.gradgradcheck(SoftStep.apply, (x,))


def test_neighbours_come_and_go_smoothly() -> None:
    """A crowded place, where ranks decide: the sum of the envelopes has no step and no bend."""
    rng = np.random.default_rng(0)
    base = molecule("C6H6")
    crowd = base + Atoms("He30", rng.normal(scale=2.5, size=(30, 3)))
    sums = []
    for x in np.linspace(0, 3, 3001):
        moved = crowd.copy()
        moved.positions[-1] = [x, x / 3, 3.0 - x]
        slots = slots_of(moved)
        sums.append([float(slots.log_envelope.exp().sum()), int((slots.members >= 0).sum())])
    envelopes, counts = np.array(sums).T
    assert len(set(counts)) > 5, "no neighbour came or went"
    assert np.abs(np.diff(envelopes)).max() < 0.02
    assert np.abs(np.diff(envelopes, 2)).max() < 5e-4
