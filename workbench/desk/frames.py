"""Which structures are learned from and which are held back, by the name of a data set, a file, or as given."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

from workbench import flags
from workbench.catalogue import DATASETS
from workbench.desk.settings import GIVEN
from workbench.splits import given_split, named_parts, split
from workbench.stored import StoredFrames

HELD_BACK = 0.1  # of the frames, where the data do not say which


def parts(
    data: str, given: Sequence[ase.Atoms] | None = None, *, seed: int = 0, n_train: int = 0
) -> tuple[Sequence[ase.Atoms], Sequence[ase.Atoms], str]:
    """Frames to train on, frames to validate on, and who decided, in words. Stored frames stay on disk.

    data      a data set of the catalogue, the path of a file, or GIVEN
    given     the frames that GIVEN stands for
    seed      of the draw, where `info["split"]` does not name a part for training and one for validation
    n_train   train on this many, spread evenly over those there are; 0: on all

    Of a set of the catalogue without such parts, those are drawn from the part that is to be trained on.

    Raises FileNotFoundError for unknown data, ValueError for frames that cannot be split.
    """
    if data == GIVEN and given is None:
        raise ValueError(
            f"data is {GIVEN!r}, but none are: a notebook gave them to an earlier panel. Choose a data set or a "
            "file, or give the frames again: desk.training(frames)"
        )
    frames: Sequence[ase.Atoms] = given if data == GIVEN and given is not None else flags.frames(data)
    if {"train", "validation"} <= named_parts(frames):
        train, validation, _ = given_split(frames)
        how = "as the data say"
    else:
        if data in DATASETS:
            frames = [frame for frame in frames if frame.info["split"] == DATASETS[data].split[0]]
        train, validation, _ = split(frames, validation=HELD_BACK, test=0, seed=seed)
        how = f"{HELD_BACK:.0%} held back, drawn with seed {seed}"
    if n_train:
        if n_train > len(train):
            raise ValueError(
                f"structures is {n_train}; {data} has {len(train)} to train on. Take fewer, or 0 for all"
            )
        train = spread(train, n_train)
    return train, validation, how


def spread(frames: Sequence[ase.Atoms], n: int) -> Sequence[ase.Atoms]:
    """At most n of the frames, evenly spaced, in their order."""
    kept = np.linspace(0, len(frames) - 1, min(n, len(frames))).round().astype(int)
    return frames.part(kept) if isinstance(frames, StoredFrames) else [frames[i] for i in kept]


def untouched(frames: Sequence[ase.Atoms]) -> Sequence[ase.Atoms]:
    """A list that nobody else changes; stored frames as they are, for those are read when they are needed."""
    return frames if isinstance(frames, StoredFrames) else list(frames)
