"""Conversion: any file of labelled structures -> stored frames, in eV and Å, checked, without holding them all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ase
import h5py
import numpy as np
from ase.calculators.calculator import all_properties

from workbench.checks import Finding, labels
from workbench.published import Published
from workbench.stored import COLUMNS, FORMAT, LABELS, NO_SPLIT, StoredFrames, open_frames
from workbench.structures import read_in_parts

# Frames stored so far, and what share of the file was read, where that can be known.
Progress = Callable[[int, float | None], None]

_PART = 1000  # frames that are read, checked and written together
_PIECE = 1 << 24  # bytes copied at once
SUFFIXES = (".h5", ".hdf5")


def convert(
    source: str | Path,
    target: str | Path,
    *,
    leave_out: bool = False,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **keys: str,
) -> StoredFrames:
    """Store the frames of a file for training from disk; what `open_frames` gives of the new file.

    Every thousand frames are read and checked as `read` does it and then let go, so that memory holds no more. The file
    appears when it is complete; a conversion that is interrupted leaves nothing and is begun again. Kept are atoms,
    cell, labels, charge, spin, split and what JSON can hold of `info`; constraints and other arrays of the atoms are
    not, and `about` of the result says so.

    leave_out   frames in which the checks find an error are left out and counted; else they end the conversion
    about       what to write into the file beside that: citation, licence, source
    keys        how to read the file, as `structures.read` takes them: energy="my_energy", units="kcal/mol, Å"

    Raises FileExistsError where the target is there, ValueError as `read` does, or naming the frames with errors.
    """
    source, target = Path(source), Path(target)
    if target.suffix not in SUFFIXES:
        raise ValueError(f"{target.name}: expected a name that ends in .h5")
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it, or choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f"{target.name}.{os.getpid()}.partial")
    read_so_far: list[float | None] = [None]

    def share(part: float) -> None:
        read_so_far[0] = part

    folder.mkdir()
    writer = _Writer(folder)
    try:
        n_read = 0
        for frames in read_in_parts(source, _PART, share=share, **keys):
            bad = {i for finding in _errors(frames.findings, leave_out) for i in finding.frames}
            writer.tell(frames.findings, len(bad))
            for number, atoms in enumerate(frames, n_read):
                if number not in bad:
                    writer.add(atoms, f"{source.name}, frame {number}")
            n_read += len(frames)
            if progress:
                progress(n_read, read_so_far[0])
        writer.finish(folder / "set.h5", {"source": source.name, **(about or {})})
        (folder / "set.h5").replace(target)
    finally:
        writer.close()
        shutil.rmtree(folder, ignore_errors=True)
    return open_frames(target)


def ready_from(path: Path) -> bool:
    """Whether `read` knows the form of a fetched file, so that it can be stored."""
    suffixes = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz", ".npz", ".h5", ".hdf5", ".db")
    return path.name.endswith(suffixes)


def prepare(entry: Published, path: Path, progress: Progress | None = None) -> StoredFrames:
    """Store a fetched file as NAME.h5 beside it, in eV and Å, with its licence and citation; opened if it is there.

    Frames in which the checks find an error are left out and counted. Raises ValueError as `read` does.
    """
    target = path.with_name(f"{entry.name}.h5")
    if target == path:  # what came has the same name
        target = path.with_name(f"{entry.name}.ready.h5")
    if target.exists():
        return open_frames(target)
    about = {
        "source": entry.name, "title": entry.title, "url": entry.url, "licence": entry.licence,
        "citation": entry.citation, "note": entry.note,
        "units_of_the_source": entry.units or "those the file declares, else eV, Å",
    }  # fmt: skip
    keys = {"units": entry.units} if entry.units else {}
    return convert(path, target, leave_out=True, about=about, progress=progress, **keys)


def _errors(findings: Sequence[Finding], leave_out: bool) -> list[Finding]:
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and not leave_out:
        said = "\n".join(map(str, errors))
        raise ValueError(
            f"{said}\nCorrect these frames, or leave out those with errors (leave_out, --leave-out)"
        )
    return errors


class _Writer:
    """Columns that grow, one file each, and are put together at the end, when it is known how long they are."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("w+b") for name in COLUMNS}
        self._digest = hashlib.sha256()
        self._splits: list[str] = []
        self._left: Counter[str] = Counter()  # what could not be kept, and in how many frames
        self._warnings: Counter[str] = Counter()
        self._labelled: Counter[str] = Counter()
        self.n_frames = self.n_atoms = self.n_letters = self.n_bad = 0
        self._write("first_atom", 0)
        self._write("first_letter", 0)

    def tell(self, findings: Sequence[Finding], n_bad: int) -> None:
        """Keep what the checks say of a part."""
        for finding in findings:
            if finding.severity == "warning":
                self._warnings[f"{finding.what}. {finding.fix}"] += len(finding.frames)
        self.n_bad += n_bad

    def add(self, atoms: ase.Atoms, place: str) -> None:
        """Append one structure."""
        n_atoms, found = len(atoms), labels(atoms)
        self._write("numbers", atoms.numbers)
        self._write("positions", atoms.positions)
        self._write("cell", atoms.cell.array)
        self._write("pbc", atoms.pbc)
        self._write("state", [atoms.info.get("charge", np.nan), atoms.info.get("spin", np.nan)])
        for label in LABELS:
            _, shape, of = COLUMNS[label]
            unknown = np.full((n_atoms, *shape) if of == "atom" else shape, np.nan)
            self._write(label, found.get(label, unknown))
            self._labelled[label] += label in found
        self._write("split", self._split(atoms.info.get("split")))
        text = self._rest(atoms).encode()
        self._files["letters"].write(text)
        self._digest.update(text)
        self.n_frames, self.n_atoms, self.n_letters = (
            self.n_frames + 1, self.n_atoms + n_atoms, self.n_letters + len(text),
        )  # fmt: skip
        self._write("first_atom", self.n_atoms)
        self._write("first_letter", self.n_letters)
        beyond = set(atoms.arrays) - {"numbers", "positions"}
        beyond |= {k for k in (atoms.calc.results if atoms.calc else {}) if k in all_properties} - set(LABELS)
        self._left.update(beyond | ({"constraints"} if atoms.constraints else set()))

    def _write(self, name: str, values: Any) -> None:
        data = np.asarray(values, dtype=COLUMNS[name][0]).tobytes()
        self._files[name].write(data)
        self._digest.update(data)

    def _split(self, word: Any) -> int:
        if word is None:
            return NO_SPLIT
        if str(word) not in self._splits:
            self._splits.append(str(word))
        if len(self._splits) > NO_SPLIT:
            raise ValueError(
                f"info['split'] has more than {NO_SPLIT} values; it is meant for a few: train, test, ..."
            )
        return self._splits.index(str(word))

    def _rest(self, atoms: ase.Atoms) -> str:
        """What else info holds, as JSON; what JSON cannot hold is counted as left out."""
        kept = {}
        for key, value in atoms.info.items():
            if key in ("charge", "spin", "split"):
                continue
            plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            try:
                json.dumps({key: plain}, allow_nan=False)
                kept[key] = plain
            except (TypeError, ValueError):
                self._left[f"info[{key!r}]"] += 1
        return json.dumps(kept, ensure_ascii=False) if kept else ""

    def finish(self, path: Path, about: Mapping[str, Any]) -> None:
        """Put the columns together. Raises ValueError where no frame is left."""
        if not self.n_frames:
            raise ValueError(f"{about['source']}: every frame has an error; none is left to store")
        told = {
            "units": "eV, Å, e, e Å, eV/Å^3",
            "n_frames": self.n_frames,
            "n_atoms": self.n_atoms,
            "labels": {label: n for label, n in self._labelled.items() if n},
            "splits": self._splits,
            "frames_left_out": self.n_bad,
            "not_kept": dict(self._left),
            "warnings": dict(self._warnings),
            "sha256": self._digest.hexdigest(),
            **about,
        }
        with h5py.File(path, "w") as file:
            # Words of a fixed length: HDF5 reads damaged ones of any length without looking.
            file.attrs["format"] = np.bytes_(FORMAT.encode())
            file.attrs["about"] = np.bytes_(json.dumps(told, ensure_ascii=False).encode())
            for name, (kind, shape, _) in COLUMNS.items():
                if name in LABELS and not self._labelled[name]:
                    continue
                self._copy(file, name, kind, shape)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _copy(self, file: h5py.File, name: str, kind: str, shape: tuple[int, ...]) -> None:
        source = self._files[name]
        entry = np.dtype(kind).itemsize * int(np.prod(shape, dtype=int))
        n_rows = source.tell() // entry
        source.seek(0)
        item = file.create_dataset(name, (n_rows, *shape), kind)  # in one piece, so that it can be mapped
        step = max(1, _PIECE // entry)
        for start in range(0, n_rows, step):
            rows = min(step, n_rows - start)
            item[start : start + rows] = np.frombuffer(source.read(rows * entry), kind).reshape(rows, *shape)
