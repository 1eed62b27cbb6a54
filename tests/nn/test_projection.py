"""Fragments, and forces without net force and torque."""

from __future__ import annotations

import numpy as np
import torch
from ase.build import molecule

from workbench.graphs import collate, graph
from workbench.nn.projection import fragments, without_net_force, without_net_torque


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_fragments_are_the_connected_pieces() -> None:
    chain = torch.arange(99)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    i, j = order[chain], order[chain + 1]
    keep = (chain != 30) & (chain != 71)  # three pieces of 31, 41 and 28
    i, j = i[keep], j[keep]
    found = fragments(torch.cat([i, j]), torch.cat([j, i]), 100)
    assert sorted(torch.bincount(found).tolist()) == [28, 31, 41]
    assert len(set(found[order[:31]].tolist())) == 1
    assert found[order[30]] != found[order[31]]
    alone = fragments(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), 3)
    assert alone.tolist() == [0, 1, 2]


def test_net_force_and_torque_are_gone_and_nothing_else() -> None:
    molecules = [molecule("CH3CH2OH"), molecule("H2O"), molecule("CO2"), molecule("CH")]
    batch = collate([graph(atoms, 4.0) for atoms in molecules])
    index = fragments(batch.receivers, batch.senders, batch.n_atoms)
    torch.testing.assert_close(index, batch.structure_index)
    forces, positions = random(batch.n_atoms, 3), batch.positions + 100.0
    balanced = without_net_force(forces, index)
    both = without_net_torque(balanced, positions, index)
    for s in range(len(molecules)):
        mine = index == s
        assert both[mine].sum(0).abs().max() < 1e-12
        assert torch.linalg.cross(positions[mine], both[mine]).sum(0).abs().max() < 1e-11
    # What is taken out is a shift and a turn: it does no work on a stretch along the bond of CH.
    bond = positions[-1] - positions[-2]
    before, after = ((f[-1] - f[-2]) @ bond for f in (forces, both))
    torch.testing.assert_close(after, before)
    # And once gone, nothing changes any more.
    torch.testing.assert_close(without_net_torque(both, positions, index), both, atol=1e-13, rtol=0)


def test_torque_projection_leaves_the_net_force() -> None:
    positions, forces = random(7, 3), random(7, 3).flip(0)
    index = torch.zeros(7, dtype=torch.int64)
    torch.testing.assert_close(without_net_torque(forces, positions, index).sum(0), forces.sum(0))


def test_a_lone_atom_feels_nothing() -> None:
    index = torch.arange(2)
    assert without_net_force(random(2, 3), index).abs().max() == 0
    np.testing.assert_allclose(without_net_torque(torch.zeros(2, 3), random(2, 3).float(), index), 0)
