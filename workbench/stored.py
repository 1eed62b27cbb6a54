"""Stored frames: labelled structures in one HDF5 file, of which only what is asked for is read.

The file, made by `conversion.convert`, holds plain arrays without gaps, which are mapped into memory: opening a million
frames takes milliseconds, and every process that looks at them shares the same pages. With n frames and N atoms in all:

    first_atom (n + 1,)          frame i has the atoms first_atom[i] to first_atom[i + 1]
    numbers (N,), positions (N, 3), cell (n, 3, 3), pbc (n, 3)
    state (n, 2)                 total charge, multiplicity
    energy (n,), forces (N, 3), stress (n, 6), charges (N,), dipole (n, 3)      those that some frame has
    split (n,)                   index into the words of the attribute `splits`; 255 for none
    first_letter (n + 1,), letters      what else `info` holds, as JSON, one text after the other

in eV, Å and e; NaN is "not known". Nothing in the file is executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import ase
import h5py
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

FORMAT = "workbench frames 1"
# Dataset -> kind of number, shape of one entry, what there is one entry for.
COLUMNS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "first_atom": ("<i8", (), "fence"),
    "numbers": ("u1", (), "atom"),
    "positions": ("<f8", (3,), "atom"),
    "cell": ("<f8", (3, 3), "frame"),
    "pbc": ("u1", (3,), "frame"),
    "state": ("<f8", (2,), "frame"),
    "energy": ("<f8", (), "frame"),
    "forces": ("<f8", (3,), "atom"),
    "stress": ("<f8", (6,), "frame"),
    "charges": ("<f8", (), "atom"),
    "dipole": ("<f8", (3,), "frame"),
    "split": ("u1", (), "frame"),
    "first_letter": ("<i8", (), "fence"),
    "letters": ("u1", (), "letter"),
}
LABELS = ("energy", "forces", "stress", "charges", "dipole")
NO_SPLIT = 255


def is_stored(path: str | Path) -> bool:
    """Whether a file holds stored frames."""
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("format", b"")
    except Exception:  # whatever is wrong with it, it is not ours
        return False
    return bool(isinstance(found, bytes) and found.decode(errors="replace") == FORMAT)


def open_frames(path: str | Path) -> StoredFrames:
    """The frames that `workbench data convert` stored, without reading them.

    Raises FileNotFoundError, and ValueError for a file that holds something else or is damaged.
    """
    return StoredFrames(path)


class StoredFrames(Sequence[ase.Atoms]):
    """Frames of a file as a sequence: one is made when it is asked for, with its labels on an ASE calculator.

    A slice, or `part`, is another view of the same file. It can be sent to other processes, which open the file anew.

    about   what the file says of itself: source, units, citation, licence, what was left out
    """

    def __init__(self, path: str | Path, indices: np.ndarray | None = None, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or self.path.name
        self.sources: tuple[Any, ...] = ()
        self.findings: tuple[Any, ...] = ()
        self.about, self._columns = _mapped(self.path)
        first = self._columns["first_atom"]
        self._indices = np.arange(len(first) - 1) if indices is None else np.asarray(indices, dtype=np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "indices": self._indices, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return (
            f"{len(self)} structures of {self.name}, on disk; labels: {', '.join(self.label_names) or 'none'}"
        )

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> ase.Atoms: ...

    @overload
    def __getitem__(self, index: slice) -> StoredFrames: ...

    def __getitem__(self, index: int | slice) -> ase.Atoms | StoredFrames:
        if isinstance(index, slice):
            return self.part(np.arange(len(self))[index])
        return self._frame(int(self._indices[index]))

    def part(self, indices: Sequence[int] | np.ndarray) -> StoredFrames:
        """Some of these frames, in this order."""
        return StoredFrames(self.path, self._indices[np.asarray(indices, dtype=np.int64)], self.name)

    def _frame(self, i: int) -> ase.Atoms:
        columns = self._columns
        start, end = columns["first_atom"][i : i + 2].tolist()
        atoms = ase.Atoms(
            columns["numbers"][start:end],
            np.array(columns["positions"][start:end]),
            cell=columns["cell"][i],
            pbc=columns["pbc"][i].astype(bool),
        )
        first, last = columns["first_letter"][i : i + 2].tolist()
        atoms.info = json.loads(columns["letters"][first:last].tobytes() or b"{}")
        for word, value in zip(("charge", "spin"), columns["state"][i].tolist(), strict=True):
            if value == value:  # not NaN
                atoms.info[word] = int(value) if value.is_integer() else value
        if columns["split"][i] != NO_SPLIT:
            atoms.info["split"] = self.about["splits"][columns["split"][i]]
        found = {}
        for label in LABELS:
            if label in columns:
                value = np.array(
                    columns[label][start:end] if COLUMNS[label][2] == "atom" else columns[label][i]
                )
                if np.isfinite(value).all():
                    found[label] = value if value.ndim else float(value)
        if found:
            atoms.calc = SinglePointCalculator(atoms, **found)
        return atoms

    # What is known of all frames without making one

    @property
    def sizes(self) -> np.ndarray:
        """(n_frames,) | atoms in each."""
        return np.diff(self._columns["first_atom"])[self._indices]

    @property
    def numbers(self) -> np.ndarray:
        """(n_atoms,) | atomic numbers of all frames, one after the other."""
        return self._of_atoms("numbers")

    @property
    def pbc(self) -> np.ndarray:
        """(n_frames, 3) | bool"""
        return self._columns["pbc"][self._indices].astype(bool)

    @property
    def energies(self) -> np.ndarray:
        """(n_frames,) | eV; NaN where it is not known."""
        if "energy" not in self._columns:
            return np.full(len(self), np.nan)
        return np.array(self._columns["energy"][self._indices])

    @property
    def splits(self) -> list[str | None]:
        """What info["split"] says of each frame."""
        words = [*self.about["splits"], *[None] * (NO_SPLIT + 1 - len(self.about["splits"]))]
        return [words[code] for code in self._columns["split"][self._indices].tolist()]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels that some frame of the file has."""
        return tuple(label for label in LABELS if label in self._columns)

    @property
    def elements(self) -> tuple[str, ...]:
        return tuple(chemical_symbols[z] for z in np.unique(self.numbers))

    def has(self, label: str) -> np.ndarray:
        """(n_frames,) | whether each frame has this label."""
        if label not in self._columns:
            return np.zeros(len(self), dtype=bool)
        column = self._columns[label]
        rows = self._columns["first_atom"][self._indices] if COLUMNS[label][2] == "atom" else self._indices
        return np.isfinite(column[rows].reshape(len(self), -1)[:, 0])

    def sample(self, n_blocks: int = 10, size: int = 1000) -> StoredFrames:
        """Stretches of consecutive frames from all over the file; all of it where that is no less."""
        if len(self) <= n_blocks * size:
            return self
        starts = np.linspace(0, len(self) - size, n_blocks).astype(int)
        return self.part(np.concatenate([np.arange(start, start + size) for start in starts]))

    def fingerprint(self) -> dict[str, Any]:
        """What tells one set from another: the checksum that was taken when it was stored, and which frames."""
        digest = hashlib.sha256(str(self.about["sha256"]).encode())
        digest.update(np.ascontiguousarray(self._indices, dtype="<i8").tobytes())
        return {
            "sha256": digest.hexdigest(),
            "n_structures": len(self),
            "n_atoms": int(self.sizes.sum()),
            "elements": sorted(self.elements),
        }

    def _of_atoms(self, name: str) -> np.ndarray:
        column, sizes = self._columns[name], self.sizes
        if len(self) == len(self._columns["first_atom"]) - 1 and (np.diff(self._indices) == 1).all():
            return column
        start = self._columns["first_atom"][self._indices]
        before = np.cumsum(sizes) - sizes
        return np.asarray(column[np.repeat(start - before, sizes) + np.arange(sizes.sum())])


def _mapped(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file says of itself, and its arrays mapped into memory. Raises ValueError where they do not fit."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not is_stored(path):
        raise ValueError(
            f"{path.name} holds no stored frames; make them with `workbench data convert {path.name} NAME.h5`"
        )
    columns: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            about = json.loads(file.attrs["about"].decode())
            for name, (kind, shape, _) in COLUMNS.items():
                if name not in file:
                    if name not in LABELS:
                        raise ValueError(f"{name} is missing")
                    continue
                item = file[name]
                if item.dtype != np.dtype(kind) or item.shape[1:] != shape:
                    raise ValueError(f"{name} is {item.dtype} of shape {item.shape}")
                offset = item.id.get_offset()
                if item.size and offset is None:
                    raise ValueError(f"{name} is not stored in one piece")
                columns[name] = np.asarray(
                    np.memmap(path, mode="r", dtype=kind, shape=item.shape, offset=offset)
                    if item.size
                    else np.zeros(item.shape, kind)
                )
        _check_lengths(columns)
        if (columns["split"][columns["split"] != NO_SPLIT] >= len(about["splits"])).any():
            raise ValueError("split names a part that has no name")
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise ValueError(
            f"{path.name}: damaged: {error}. Make it again with `workbench data convert`"
        ) from error
    return about, columns


def _check_lengths(columns: dict[str, np.ndarray]) -> None:
    n_frames = len(columns["first_atom"]) - 1
    lengths = {"frame": n_frames, "fence": n_frames + 1}
    for fence, rows in (("first_atom", "atom"), ("first_letter", "letter")):
        at = columns[fence]
        if n_frames < 1 or len(at) != n_frames + 1 or at[0] != 0 or (np.diff(at) < (rows == "atom")).any():
            raise ValueError(f"{fence} does not ascend from 0")
        lengths[rows] = int(at[-1])
    for name, column in columns.items():
        if len(column) != lengths[COLUMNS[name][2]]:
            raise ValueError(f"{name} has {len(column)} entries; expected {lengths[COLUMNS[name][2]]}")
