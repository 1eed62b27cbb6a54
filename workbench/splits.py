"""Splits: which frames to train, to validate and to test on; and the per-element baseline of their energies."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import ase
import numpy as np
from ase.data import chemical_symbols

from workbench.checks import labels
from workbench.stored import StoredFrames

_log = logging.getLogger(__name__)

_ROWS = 50_000  # frames whose compositions are held at once
Group = str | Callable[[ase.Atoms], Hashable] | Sequence[Hashable]


class Split(NamedTuple):
    """Frames by purpose; unpacks as `train, validation, test = split(frames)`. Parts of stored frames stay on disk."""

    train: Sequence[ase.Atoms]
    validation: Sequence[ase.Atoms]
    test: Sequence[ase.Atoms]


def split(
    frames: Sequence[ase.Atoms],
    *,
    train: float | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    group: Group | None = None,
) -> Split:
    """Frames dealt at random, the same for the same seed, to train, validation and test.

    train, validation, test   a fraction (0.1) or a number of frames (100); train None takes all the others
    group                     frames of one group stay together: a key of `atoms.info`, a function of the atoms,
                              or one value per frame. Groups fill a part until it has the frames it asks for, so
                              that its size is met within one group.

    Within each part the frames keep their order. Raises ValueError for sizes that do not fit, too few groups, or
    a frame without the group's key.
    """
    wanted = _sizes(len(frames), train, validation, test)
    if group is None:
        dealt = np.random.default_rng(seed).permutation(len(frames))[::-1]
        ends = np.cumsum([wanted["test"], wanted["validation"], wanted["train"]])
        ready = [np.sort(part) for part in np.split(dealt, ends)[:3]]
        return Split(*(_part(frames, part) for part in reversed(ready)))
    members: dict[Hashable, list[int]] = {}
    for index, value in enumerate(_groups(frames, group)):
        members.setdefault(value, []).append(index)
    shuffled = [list(members.values())[i] for i in np.random.default_rng(seed).permutation(len(members))]
    parts: dict[str, list[int]] = {}
    for name in ("test", "validation", "train"):  # the rest, if train is None, goes to train
        parts[name] = []
        while shuffled and len(parts[name]) < wanted[name]:
            parts[name] += shuffled.pop()
        if len(parts[name]) < min(wanted[name], 1):
            raise ValueError(
                f"{len(members)} groups are too few for test={wanted['test']}, validation={wanted['validation']} "
                f"and train={wanted['train']} frames: {name} got {len(parts[name])}. Use finer groups or smaller parts"
            )
    return Split(*(_part(frames, sorted(parts[name])) for name in ("train", "validation", "test")))


def named_parts(frames: Sequence[ase.Atoms]) -> set[str]:
    """The words that `info["split"]` says of the frames, "None" where it says nothing; stored ones are not read."""
    said = frames.splits if isinstance(frames, StoredFrames) else [atoms.info.get("split") for atoms in frames]
    return set(map(str, said))


def given_split(
    frames: Sequence[ase.Atoms],
    key: str = "split",
    *,
    train: Sequence[str] = ("train", "training"),
    validation: Sequence[str] = ("validation", "val", "valid"),
    test: Sequence[str] = ("test", "testing"),
) -> Split:
    """The split that the file gives: every frame goes where `atoms.info[key]` says.

    train, validation, test   the values that mean each part; frames with other values are left out, with a log line

    Raises ValueError for frames without the key, or when no frame is for training.
    """
    names = [str(value) for value in _groups(frames, key)]
    parts = Split(
        *(_part(frames, [i for i, n in enumerate(names) if n in p]) for p in (train, validation, test))
    )
    if not len(parts.train):
        raise ValueError(
            f"no frame has info[{key!r}] in {tuple(train)}; the values are {dict(Counter(names))}. "
            f"Name those that mean training: given_split(frames, train=[...])"
        )
    others = Counter(n for n in names if n not in {*train, *validation, *test})
    if others:
        _log.warning("frames left out, as info[%r] names no part for them: %s", key, dict(others))
    return parts


def _sizes(n_frames: int, train: float | None, validation: float, test: float) -> dict[str, int]:
    """How many frames each part asks for."""
    sizes = {}
    for name, size in (("train", train), ("validation", validation), ("test", test)):
        if size is None:
            continue
        if isinstance(size, bool) or not np.isfinite(size) or size < 0 or (size > 1 and size != int(size)):
            raise ValueError(f"{name}={size!r}; expected a fraction between 0 and 1, or a number of frames")
        # An int is a count, and so 1 is one frame; 1.0 is all of them.
        count = isinstance(size, (int, np.integer)) or size > 1
        sizes[name] = int(size) if count else round(size * n_frames)
        if size > 0 and sizes[name] == 0:
            raise ValueError(
                f"{name}={size} of {n_frames} frames is no frame; give a larger share, a count, or 0"
            )
    left = n_frames - sum(sizes.values())
    if left < 0 and left >= -2 and all(isinstance(s, float) for s in (train, validation, test)):
        sizes["train"] += left  # three fractions that add up to 1 were all rounded up
        left = 0
    if left < 0 or (train is None and left == 0):
        asked = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"{asked} of {n_frames} frames leaves {left} for the rest; ask for fewer")
    return {"train": left, **sizes}


def _part(frames: Sequence[ase.Atoms], indices: Sequence[int] | np.ndarray) -> Sequence[ase.Atoms]:
    """Some of the frames; of stored ones none is read."""
    return frames.part(indices) if isinstance(frames, StoredFrames) else [frames[i] for i in indices]


def _groups(frames: Sequence[ase.Atoms], group: Group) -> list[Hashable]:
    """The group of every frame."""
    if isinstance(frames, StoredFrames) and group == "split" and all(frames.splits):
        return list(frames.splits)
    if isinstance(group, str):
        lacking = [i for i, atoms in enumerate(frames) if group not in atoms.info]
        if lacking:
            keys = sorted({key for atoms in frames for key in atoms.info})
            raise ValueError(
                f"info[{group!r}] is missing on {len(lacking)} of {len(frames)} frames (first: frame {lacking[0]}); "
                f"the keys of info are {keys}"
            )
        return [atoms.info[group] for atoms in frames]
    values = [group(atoms) for atoms in frames] if callable(group) else list(group)
    if len(values) != len(frames):
        raise ValueError(f"group has {len(values)} values for {len(frames)} frames; give one for each")
    return values


def _energies_and_atoms(frames: Sequence[ase.Atoms]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies (n_frames,) with NaN for none, sizes (n_frames,) and all atomic numbers (n_atoms,)."""
    if isinstance(frames, StoredFrames):
        return frames.energies, frames.sizes, frames.numbers
    energies = [float(labels(atoms).get("energy", np.nan)) for atoms in frames]
    sizes = np.array([len(atoms) for atoms in frames])
    return np.array(energies), sizes, np.concatenate([atoms.numbers for atoms in frames])


@dataclass(frozen=True)
class Baseline:
    """One energy for each element, which a model's own energies add to.

    energies   symbol -> eV, of the elements it knows
    """

    energies: Mapping[str, float]

    def __post_init__(self) -> None:
        unknown = [s for s in self.energies if s not in chemical_symbols[1:]]
        broken = [s for s, energy in self.energies.items() if not np.isfinite(energy)]
        if unknown or broken:
            raise ValueError(
                f"baseline energies of {', '.join(unknown + broken)}: expected an element's symbol and a finite "
                "energy in eV"
            )

    @classmethod
    def fit(cls, frames: Sequence[ase.Atoms]) -> Baseline:
        """The energies per element that best explain the frames' energies per atom, by least squares.

        Elements that always occur in the same proportion cannot be told apart: then, of all the best fits, it is
        the one whose energies are closest to the mean energy per atom. Raises ValueError for a frame without a
        finite energy.
        """
        if not len(frames):
            raise ValueError("no frame to fit a baseline to; give at least one with an energy")
        energies, sizes, numbers = _energies_and_atoms(frames)
        lacking = np.flatnonzero(~np.isfinite(energies) | (sizes == 0))
        if len(lacking):
            raise ValueError(
                f"{len(lacking)} of {len(frames)} frames have no finite energy (first: frame {lacking[0]}); "
                "label them or take them out"
            )
        elements = np.unique(numbers)
        per_atom = energies / sizes
        mean = per_atom.mean()
        triangle = np.zeros((0, len(elements) + 1))
        ends = np.cumsum(sizes)
        for start in range(0, len(frames), _ROWS):
            size = sizes[start : start + _ROWS]
            there = numbers[ends[start] - size[0] : ends[start + len(size) - 1]]
            frame = np.repeat(np.arange(len(size)), size)
            counts = [np.bincount(frame[there == z], minlength=len(size)) for z in elements]
            rows = np.column_stack([*(c / size for c in counts), per_atom[start : start + len(size)] - mean])
            # The triangle of a QR decomposition has the same least squares as all the rows so far.
            triangle = (
                rows if len(frames) <= _ROWS else np.asarray(np.linalg.qr(np.vstack([triangle, rows]), "r"))
            )
        # Proportions are ratios of small integers: singular values are zero to rounding, or well above.
        shifts = np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=1e-10)[0]
        return cls({chemical_symbols[z]: float(mean + s) for z, s in zip(elements, shifts, strict=True)})

    @property
    def elements(self) -> tuple[str, ...]:
        """The symbols of the elements it knows, by atomic number."""
        return tuple(sorted(self.energies, key=chemical_symbols.index))

    def of(self, atoms: ase.Atoms) -> float:
        """The sum of the baseline energies of these atoms [eV]. Raises ValueError for an element it does not know."""
        counts = Counter(atoms.get_chemical_symbols())
        unknown = sorted(set(counts) - set(self.energies))
        if unknown:
            raise ValueError(
                f"the baseline does not know {', '.join(unknown)}; it knows {', '.join(self.elements)}. "
                "Fit it to frames that hold these elements"
            )
        return sum(n * self.energies[symbol] for symbol, n in counts.items())
