"""Frames to batches: labels checked, every frame once an epoch, and the same whatever the number of devices."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation

from workbench.dataset import Batches, GraphDataset, check_pair

ALL = frozenset({0, 1, 2, 3})


def labelled(atoms: ase.Atoms, **results: object) -> ase.Atoms:
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def molecules(n: int, seed: int = 0) -> list[ase.Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(n):
        atoms = molecule(("H2O", "CH4", "NH3")[i % 3])
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(labelled(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces()))
    return frames


def dataset(n: int) -> GraphDataset:
    return GraphDataset(molecules(n), 4.0, ("energy", "forces"))


def test_a_batch_holds_graphs_and_labels_in_the_same_order() -> None:
    data = dataset(5)
    batch = data.batch([3, 1])
    assert batch.graph.n_structures == 2
    np.testing.assert_array_equal(batch.graph.sizes, [data.sizes[3], data.sizes[1]])
    assert batch.labels["energy"][1].item() == data.frames[1].get_potential_energy()
    np.testing.assert_array_equal(batch.labels["forces"][: data.sizes[3]], data.frames[3].get_forces())
    assert batch.counts == {"energy": 2, "forces": 3 * batch.graph.n_atoms, "stress": 18}


def test_an_epoch_takes_every_frame_once_in_batches_of_like_size() -> None:
    batches = Batches(dataset(33), batch_size=32, seed=1)
    sizes = [len(frames) for frames in batches.epoch(0)]
    assert sizes == [17, 16]
    assert sorted(np.concatenate(batches.epoch(0))) == list(range(33))


def test_the_order_follows_from_seed_and_epoch() -> None:
    data = dataset(12)

    def order(seed: int | None, epoch: int) -> list[int]:
        return np.concatenate(Batches(data, 4, seed=seed).epoch(epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert order(None, 5) == list(range(12))


def test_starting_later_gives_the_same_steps() -> None:
    data = dataset(10)
    whole = [batch.labels["energy"] for batch in Batches(data, 4, seed=3, stop=9)]
    later = [batch.labels["energy"] for batch in Batches(data, 4, seed=3, start=4, stop=9)]
    assert len(whole) == 9
    for a, b in zip(whole[4:], later, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def crystals(n: int) -> list[ase.Atoms]:
    rng, frames = np.random.default_rng(0), []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        frames.append(by_emt(atoms))
    return frames


def by_emt(atoms: ase.Atoms) -> ase.Atoms:
    atoms.calc = EMT()
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    return labelled(atoms, **found)


def test_a_turned_batch_is_what_turned_structures_would_give() -> None:
    data = GraphDataset(crystals(3), 4.0, ("energy", "forces", "stress"))
    turns = Rotation.from_quat(np.random.default_rng(5).normal(size=(3, 4))).as_matrix()
    batch, turned = data.batch([0, 1, 2]), data.batch([0, 1, 2]).turned(turns)
    for i, (frame, turn) in enumerate(zip(data.frames, turns, strict=True)):
        there = frame.copy()
        there.cell, there.positions = frame.cell.array @ turn.T, frame.positions @ turn.T
        by_emt(there)
        mine = turned.graph.structure_index == i
        np.testing.assert_allclose(turned.graph.cell[i], there.cell.array, atol=1e-12)
        np.testing.assert_allclose(turned.graph.positions[mine], there.positions, atol=1e-12)
        np.testing.assert_allclose(turned.labels["energy"][i], there.get_potential_energy(), atol=1e-10)
        np.testing.assert_allclose(turned.labels["forces"][mine], there.get_forces(), atol=1e-10)
        np.testing.assert_allclose(turned.labels["stress"][i], there.get_stress(voigt=False), atol=1e-10)
    lengths = [b.graph.vectors.norm(dim=1) for b in (batch, turned)]
    torch.testing.assert_close(*lengths)
    assert turned.counts == batch.counts


def test_rotations_follow_from_seed_and_step() -> None:
    data = dataset(11)

    def positions(**options: Any) -> list[torch.Tensor]:
        return [batch.graph.positions for batch in Batches(data, 4, rotate=True, **options)]

    whole, later = positions(seed=3, stop=9), positions(seed=3, start=4, stop=9)
    for a, b in zip(whole[4:], later, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    for alone, one, two in zip(
        positions(seed=3), *(positions(seed=3, rank=rank, world=2) for rank in (0, 1)), strict=True
    ):
        assert sorted(torch.cat([one, two]).flatten().tolist()) == sorted(alone.flatten().tolist())
    still = [batch.graph.positions for batch in Batches(data, 4, seed=3, stop=9)]
    assert all((a - b).abs().max() > 0.1 for a, b in zip(still, whole, strict=True))
    assert not torch.equal(whole[0], positions(seed=4)[0])


def test_rotations_are_uniform_and_differ_at_every_step() -> None:
    batches = Batches(dataset(20), 20, seed=0, rotate=True)
    turns = np.concatenate([batches._rotations(step, 20) for step in range(200)])
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    n = len(np.unique(turns[:, 0, 0]))
    assert n == len(turns)
    # Of uniform rotations every entry has mean 0 and variance 1/3.
    assert np.abs(turns.mean(axis=0)).max() < 4 / np.sqrt(3 * n)
    np.testing.assert_allclose(turns.var(axis=0), 1 / 3, atol=0.03)


def test_devices_share_the_frames_of_a_step() -> None:
    data = dataset(11)
    alone = list(Batches(data, 4, seed=3))
    first, second = (list(Batches(data, 4, seed=3, rank=rank, world=2)) for rank in (0, 1))
    for whole, a, b in zip(alone, first, second, strict=True):
        together = torch.cat([a.labels["energy"], b.labels["energy"]])
        assert sorted(together.tolist()) == sorted(whole.labels["energy"].tolist())
        assert a.counts == b.counts == whole.counts


def test_graphs_are_kept_while_there_is_room() -> None:
    data = dataset(3)
    assert data.graph(0) is data.graph(0)
    without = GraphDataset(data.frames, 4.0, ("energy",), memory_GB=0.0)
    assert without.graph(0) is not without.graph(0)
    torch.testing.assert_close(without.graph(0).senders, data.graph(0).senders)


def test_stress_is_the_full_matrix_of_ase() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.02, 0.01, 0], [0, 1.0, 0.03], [0, 0, 0.99]]), scale_atoms=True
    )
    atoms.calc = EMT()
    labelled(atoms, energy=atoms.get_potential_energy(), stress=atoms.get_stress())
    batch = GraphDataset([atoms], 4.0, ("energy", "stress")).batch([0])
    np.testing.assert_allclose(batch.labels["stress"][0], atoms.get_stress(voigt=False), atol=1e-14)


def test_a_missing_or_broken_label_names_the_frame() -> None:
    frames = molecules(3)
    frames[1] = labelled(molecule("CH4"), energy=-1.0)
    with pytest.raises(ValueError, match=r"frame 1 of data \(CH4\) has no label 'forces'.*forces_weight=0"):
        GraphDataset(frames, 4.0, ("energy", "forces"))
    frames[1] = labelled(molecule("CH4"), energy=np.nan, forces=np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"frame 1 .* not finite"):
        GraphDataset(frames, 4.0, ("energy", "forces"))
    with pytest.raises(ValueError, match="three periodic directions"):
        GraphDataset([labelled(molecule("CH4"), stress=np.zeros(6))], 4.0, ("stress",))
    with pytest.raises(ValueError, match="no frames"):
        GraphDataset([], 4.0, ("energy",), "the training data")


def test_validation_must_be_like_training() -> None:
    training, other = dataset(3), GraphDataset([labelled(molecule("SO2"), energy=0.0)], 4.0, ("energy",), "v")
    check_pair(training, training, ALL, 3, 1)
    with pytest.raises(ValueError, match="frame 0 of v holds S"):
        check_pair(training, other, ALL, 3, 1)
    with pytest.raises(ValueError, match="periodic directions"):
        check_pair(training, training, frozenset({3}), 3, 1)
    with pytest.raises(ValueError, match="cannot be shared by 2 devices"):
        check_pair(training, training, ALL, 1, 2)
