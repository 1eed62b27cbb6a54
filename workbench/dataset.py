"""From labelled frames to the batches of a training, each a pure function of the seed and the step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workbench import graphs, structures
from workbench.graphs import Graph
from workbench.stored import StoredFrames


@dataclass(frozen=True)
class Batch:
    """Labelled structures that are computed together."""

    graph: Graph
    labels: Mapping[
        str, Tensor
    ]  # "energy" (n_structures,) eV, "forces" (n_atoms, 3), "stress" (n_structures, 3, 3)
    counts: Mapping[str, int]  # label components in the whole step: here and on all other devices

    def turned(self, rotations: np.ndarray) -> Batch:
        """Every structure turned with its labels; the pairs stay as they are.

        rotations   (n_structures, 3, 3) orthogonal; a column vector x turns to rotation @ x
        """
        of_structure = torch.from_numpy(rotations).to(self.graph.positions)
        of_atom = of_structure[self.graph.structure_index]
        graph = replace(
            self.graph,
            positions=(of_atom @ self.graph.positions.unsqueeze(2)).squeeze(2),
            cell=self.graph.cell @ of_structure.transpose(1, 2),
        )
        labels = dict(self.labels)
        if "forces" in labels:
            labels["forces"] = (of_atom @ labels["forces"].unsqueeze(2)).squeeze(2)
        if "stress" in labels:
            labels["stress"] = of_structure @ labels["stress"] @ of_structure.transpose(1, 2)
        return replace(self, graph=graph, labels=labels)

    def to(self, device: torch.device | str) -> Batch:
        labels = {name: label.to(device, non_blocking=True) for name, label in self.labels.items()}
        return replace(self, graph=self.graph.to(device), labels=labels)


class GraphDataset:
    """Frames as graphs of one cutoff with their labels as tensors, checked when it is made.

    frames       structures whose ASE calculator holds the labels
    cutoff       Å
    quantities   the labels that every frame must have, of "energy", "forces", "stress"
    name         what error messages call these frames
    memory_GB    graphs are built once and kept up to this size; beyond it they are built each time they are needed,
                 and those of stored frames are always

    numbers      (n_atoms,) atomic numbers of all frames, one after the other
    n_periodic   (n_frames,) periodic directions

    Raises ValueError for no frames, a frame without a wanted label, or a label that is not finite, naming the frame.
    """

    def __init__(
        self,
        frames: Sequence[ase.Atoms],
        cutoff: float,
        quantities: Sequence[str],
        name: str = "data",
        memory_GB: float = 4.0,
    ) -> None:
        if not len(frames):
            raise ValueError(f"{name} has no frames; give at least one structure")
        self.name = name
        self.cutoff = cutoff
        self.quantities = tuple(quantities)
        self._graphs: dict[int, Graph] = {}
        self._room = memory_GB * 1e9
        if isinstance(frames, StoredFrames):
            self.frames: Sequence[ase.Atoms] = frames
            self.sizes, self.numbers = frames.sizes, frames.numbers
            self.n_periodic = frames.pbc.sum(axis=1)
            self._labels: list[dict[str, Tensor]] | None = None
            self._check_stored(frames)
            return
        self.frames = list(frames)
        self.sizes = np.array([len(frame) for frame in frames])
        self.numbers = np.concatenate([frame.numbers for frame in frames])
        self.n_periodic = np.array([int(frame.pbc.sum()) for frame in frames])
        self._labels = [_labels(frame, self.quantities, self._place(i)) for i, frame in enumerate(self.frames)]

    def _place(self, index: int) -> str:
        return f"frame {index} of {self.name} ({self.frames[index].get_chemical_formula()})"

    def _check_stored(self, frames: StoredFrames) -> None:
        """Raise ValueError for the first frame without a wanted label; the others are looked at when they are read."""
        for quantity in self.quantities:
            usable = frames.has(quantity) & ((quantity != "stress") | (self.n_periodic == 3))
            if not usable.all():
                first = int(np.argmin(usable))
                _labels(frames[first], self.quantities, self._place(first))

    def __len__(self) -> int:
        return len(self.frames)

    def graph(self, index: int) -> Graph:
        """Of one frame; built at the first call."""
        return self._graph_and_labels(index)[0]

    def _graph_and_labels(self, index: int) -> tuple[Graph, dict[str, Tensor]]:
        if self._labels is None:
            frame = self.frames[index]
            return graphs.graph(frame, self.cutoff), _labels(
                frame, self.quantities, f"frame {index} of {self.name}"
            )
        found = self._graphs.get(index)
        if found is None:
            found = graphs.graph(self.frames[index], self.cutoff)
            size = 40 * found.n_pairs + 44 * found.n_atoms  # bytes: two int64 and three float64 a pair
            if size <= self._room:
                self._room -= size
                self._graphs[index] = found
        return found, self._labels[index]

    def batch(self, indices: Sequence[int] | np.ndarray, of: np.ndarray | None = None) -> Batch:
        """Some frames together. `of` are the frames of the whole step, where other devices hold the rest."""
        of = np.asarray(indices if of is None else of)
        n_atoms = int(self.sizes[of].sum())
        counts = {"energy": len(of), "forces": 3 * n_atoms, "stress": 9 * len(of)}
        parts, labels = zip(*(self._graph_and_labels(int(i)) for i in indices), strict=True)
        joined = {quantity: torch.cat([label[quantity] for label in labels]) for quantity in self.quantities}
        return Batch(graphs.collate(parts), joined, counts)


def _labels(frame: ase.Atoms, quantities: Sequence[str], where: str) -> dict[str, Tensor]:
    """The wanted labels of one frame as double-precision tensors, with the structure's axis in front."""
    given = structures.labels(frame)
    found = {}
    for quantity in quantities:
        if given.get(quantity) is None:
            raise ValueError(
                f"{where} has no label {quantity!r}, but its weight is not zero; it has {sorted(given) or 'none'}. "
                f"Leave the frame out, name the label's key when reading, or set {quantity}_weight=0"
            )
        value = np.asarray(given[quantity], dtype=float)
        if not np.isfinite(value).all():
            raise ValueError(f"{where} has a label {quantity!r} that is not finite; leave the frame out")
        if quantity == "energy":
            value = value.reshape(1)
        elif quantity == "forces" and value.shape != (len(frame), 3):
            raise ValueError(f"{where} has forces of shape {value.shape}; expected ({len(frame)}, 3)")
        elif quantity == "stress":
            if not frame.pbc.all():
                raise ValueError(
                    f"{where} has pbc={frame.pbc.tolist()}; a stress needs three periodic directions. "
                    "Leave the frame out or set stress_weight=0"
                )
            value = (voigt_6_to_full_3x3_stress(value) if value.shape == (6,) else value).reshape(1, 3, 3)
        found[quantity] = torch.tensor(value)
    return found


def check_pair(
    training: GraphDataset, validation: GraphDataset, periodic: frozenset[int], batch_size: int, world: int
) -> None:
    """Raise ValueError when a model cannot learn from the one and be judged by the other.

    periodic            numbers of periodic directions that the model treats
    batch_size, world   frames of a step and the devices that share them
    """
    smallest = len(training) // -(-len(training) // batch_size)
    if smallest < world:
        raise ValueError(
            f"batches of {smallest} frames cannot be shared by {world} devices; raise batch_size or use fewer"
        )
    known = np.unique(training.numbers)
    for dataset in (training, validation):
        strange = np.flatnonzero(~np.isin(dataset.numbers, known))
        if len(strange):
            i = int(np.searchsorted(np.cumsum(dataset.sizes), strange[0], side="right"))
            new = sorted(set(dataset.frames[i].numbers.tolist()) - set(known.tolist()))
            raise ValueError(
                f"frame {i} of {dataset.name} holds {', '.join(chemical_symbols[z] for z in new)}, "
                "which no training frame does; split the data again"
            )
        other = np.flatnonzero(~np.isin(dataset.n_periodic, list(periodic)))
        if len(other):
            raise ValueError(
                f"frame {other[0]} of {dataset.name} has pbc={dataset.frames[int(other[0])].pbc.tolist()}; the model "
                f"treats {sorted(periodic)} periodic directions"
            )


class Batches:
    """The batches of steps `start` to `stop` on one of several devices.

    Every epoch takes each frame once, in an order that follows from the seed and the epoch's number alone, cut into
    batches of at most `batch_size` frames whose sizes differ by at most one (33 frames in batches of 32 give 17 and
    16, never a lone one). So step n is the same batch whether training came there at a stretch or was resumed, and
    on however many devices: each of them holds its share of the same frames.

    dataset      the frames
    batch_size   frames per step, over all devices
    seed         None keeps the frames in order
    rotate       turn every frame at random, by a rotation that follows from the seed, the step and its place there
    start, stop  steps, counted over all epochs; stop=None is the end of the first epoch
    rank, world  which device this is, of how many
    """

    def __init__(
        self,
        dataset: GraphDataset,
        batch_size: int,
        *,
        seed: int | None = None,
        rotate: bool = False,
        start: int = 0,
        stop: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset = dataset
        self.steps_per_epoch = -(-len(dataset) // batch_size)
        self.seed = seed
        self.rotate = rotate
        self.start = start
        self.stop = self.steps_per_epoch if stop is None else stop
        self.rank = rank
        self.world = world
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=int))  # of one epoch, and which

    def __len__(self) -> int:
        return self.stop - self.start

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Frames of each step of one epoch."""
        return [self._frames(epoch * self.steps_per_epoch + place) for place in range(self.steps_per_epoch)]

    def _frames(self, step: int) -> np.ndarray:
        """Frames of one step."""
        n_frames = len(self.dataset)
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            order = np.arange(n_frames)
            if self.seed is not None:
                order = np.random.default_rng([self.seed, epoch]).permutation(n_frames)
            self._order = (epoch, order)
        size, more = divmod(n_frames, self.steps_per_epoch)  # the first few steps have one more
        start = place * size + min(place, more)
        return self._order[1][start : start + size + (place < more)]

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.stop):
            if len(self._frames(step)[self.rank :: self.world]):
                yield self.at(step)

    def at(self, step: int) -> Batch:
        """This device's share of one step."""
        frames = self._frames(step)
        mine = slice(self.rank, None, self.world)
        batch = self.dataset.batch(frames[mine], frames)
        return batch.turned(self._rotations(step, len(frames))[mine]) if self.rotate else batch

    def _rotations(self, step: int, n_frames: int) -> np.ndarray:
        """(n_frames, 3, 3) | of all frames of a step, whoever holds them; uniform over all rotations."""
        # The last number keeps these apart from the order of the frames, drawn from [seed, epoch].
        draw = np.random.default_rng([self.seed or 0, step, 1])
        return Rotation.from_quat(draw.normal(size=(n_frames, 4))).as_matrix()


class _Steps(Dataset[Batch]):
    """Batches by the number of their step, for processes that prepare them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch:
        return self.batches.at(step)


def ahead(batches: Batches, workers: int) -> Batches | DataLoader[Batch]:
    """The same batches in the same order, prepared by this many processes while the model computes; 0 is none."""
    if not workers:
        return batches
    steps = range(batches.start, batches.stop)
    return DataLoader(_Steps(batches), batch_size=None, sampler=steps, num_workers=workers, prefetch_factor=4)


def for_lightning(batches: Batches | DataLoader[Batch]) -> Any:
    """What Lightning wraps batches in, made here because Lightning 2.6 makes it in a way that torch 2.13 warns of."""
    from lightning.pytorch.utilities.combined_loader import (
        CombinedLoader,
    )  # whoever evaluates needs no Lightning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        return CombinedLoader(batches, "max_size_cycle")
