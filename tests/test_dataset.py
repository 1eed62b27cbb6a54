"""Frames to batches: labels checked, every frame once an epoch, and the same whatever the number of devices."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

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
