"""Formats: files -> `ase.Atoms` with everything the file holds, under the file's own names and in its own units.

Extended XYZ, whatever else ASE reads, and two of plain arrays, with the same names in both:

- `.npz` as sGDML and MD17: numbers (`z`, `nuclear_charges`, ...) of shape (n_atoms,) or (n_frames, n_atoms), where 0
  pads; positions (`R`, `coords`, ...) of (n_frames, n_atoms, 3); `E`, `F`, ... with one row per frame. `e_unit` and
  `r_unit` count.
- HDF5 whose groups, at any depth, or whose root hold such arrays, one group per molecule (SPICE, ANI); the attribute
  `units` of an array counts, and `info["group"]` says which group a frame is from.

Stored frames (`workbench.stored`) are read whole where they are asked for as a file.

Nothing here unpickles or executes what a file holds. Every failure is a ValueError that names the file and the place.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import re
import subprocess
import sys
import xml.sax
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase
import ase.io
import h5py
import numpy as np
from ase.io.formats import filetype, get_ioformat, string2index

from workbench.checks import LABELS, near_names
from workbench.extxyz import blocks, structure
from workbench.stored import is_stored, open_frames

_log = logging.getLogger(__name__)

# The names of the field, best first, matched without regard to case. A minus sign: the file holds the opposite
# (gradients; virials, which are -stress * volume).
NAMES = {
    "energy": "REF_energy energy energies E total_energy dft_energy energy_dft dft_total_energy TotEnergy "
    "potential_energy energy_ref wb97x_dz.energy wB97x_6-31G(d).energy energy_xtb free_energy",
    "forces": "REF_forces forces force F dft_forces dft_force forces_dft forces_ref wb97x_dz.forces "
    "wB97x_6-31G(d).forces forces_xtb -REF_gradient -gradient -gradients -dft_total_gradient",
    "stress": "REF_stress stress stresses dft_stress stress_dft -REF_virial -REF_virials -virial -virials "
    "-dft_virial",
    "charges": "REF_charges charges partial_charges atomic_charges mulliken_charges mbis_charges q",
    "dipole": "REF_dipole dipole dipoles dipole_moment dft_dipole scf_dipole",
    "charge": "charge total_charge REF_total_charge net_charge molecular_charge tot_charge",
    "spin": "spin total_spin multiplicity spin_multiplicity mult",
    "numbers": "numbers atomic_numbers nuclear_charges z species",
    "positions": "positions R coords coordinates conformations geometries xyz pos",
    "cell": "cell cells lattice unit_cell box",
    "pbc": "pbc",
}
QUANTITIES = (*LABELS, "charge", "spin")
PER_ATOM = ("forces", "charges")
_WORDS = """
import sys, h5py
def read(name, item):
    if isinstance(item, h5py.Dataset) and item.dtype.kind == "O":
        item[()]
with h5py.File(sys.argv[1], "r") as file:
    file.visititems(read)
"""
_UNSAFE = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".py")
Key = Mapping[str, str | None]  # quantity -> the key that the user names for it


def kind_of(path: Path) -> str:
    """The format of a file."""
    if not path.exists():
        near = near_names(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else []
        raise FileNotFoundError(f"{path}: no such file" + (f"; do you mean {', '.join(near)}?" if near else ""))
    if path.is_dir():
        raise ValueError(f"{path.name} is a folder; give a file in it")
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name}: the file is empty")
    stem = re.sub(r"\.(gz|bz2|xz)$", "", path.name.lower())
    suffix = Path(stem).suffix
    if suffix in _UNSAFE:
        raise ValueError(
            f"{path.name}: {suffix} files can run code when read; convert it to extended XYZ first"
        )
    known = {".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5", ".xyz": "extxyz", ".extxyz": "extxyz"}
    if suffix in known:
        return "stored" if is_stored(path) else known[suffix]
    try:
        kind = get_ioformat(filetype(str(path))).name
    except Exception as error:
        raise ValueError(
            f"{path.name}: unknown format; give it the usual suffix (.xyz, .npz, .h5, .traj, .cif, ...)"
        ) from error
    return "extxyz" if kind == "xyz" else str(kind)


def raw_frames(path: Path, kind: str, index: Any, given: Key) -> tuple[list[ase.Atoms], dict[str, str]]:
    """Structures as the file has them, and the units it declares by key. Every failure is a ValueError."""
    declared: dict[str, str] = {}
    with named(path, kind):
        wanted: Any = string2index(index) if isinstance(index, str) else index
        if (
            kind == "extxyz"
        ):  # only the frames that are wanted are read; all are cut, so that none is miscounted
            cuts = list(blocks(_lines(path), path.name))
            return [
                structure(cuts[i], f"{path.name}, frame {i}") for i in _indices(len(cuts), wanted)
            ], declared
        raw = list(each_frame(path, kind, given, declared))
        return [raw[i] for i in _indices(len(raw), wanted)], declared


@contextmanager
def named(path: Path, kind: str) -> Iterator[None]:
    """Whatever a reader meets in a damaged file is a ValueError that begins with the file's name."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(path.name):
            raise
        raise ValueError(f"{path.name}: damaged, or not {kind}: {_reason(error)}") from error
    except Exception as error:
        raise ValueError(f"{path.name}: damaged, or not {kind}: {_reason(error)}") from error


def each_frame(
    path: Path, kind: str, given: Key, declared: dict[str, str], share: Callable[[float], None] | None = None
) -> Iterator[ase.Atoms]:
    """Structures one after the other, as the file has them; the units it declares are added to `declared`.

    share   is told how much of the file was read, where that can be known
    """
    if kind == "extxyz":
        for number, block in enumerate(blocks(_lines(path, share), path.name)):
            yield structure(block, f"{path.name}, frame {number}")
    elif kind == "stored":
        yield from open_frames(path)
    elif kind == "npz":
        yield from _read_npz(path, given, declared)
    elif kind == "hdf5":
        yield from _read_hdf5(path, given, declared)
    else:
        yield from _read_by_ase(path, kind)


def _read_by_ase(path: Path, kind: str) -> Iterator[ase.Atoms]:
    if kind == "vasp-xml":  # of a file that was cut short ASE gives the steps that are left
        xml.sax.parse(str(path), xml.sax.ContentHandler())
    n_frames = 0
    try:
        for atoms in ase.io.iread(str(path), ":", format=kind, do_not_split_by_at_sign=True):
            yield atoms
            n_frames += 1
    except Exception as error:
        raise ValueError(
            f"{path.name}: damaged after {n_frames} frames, or not {kind}: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it does not know {error}"
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) < 300 else f"{said[:300]} ..."  # some repeat half of the file


def _indices(n_frames: int, wanted: int | slice) -> range:
    if isinstance(wanted, slice):
        return range(n_frames)[wanted]
    if not -n_frames <= wanted < n_frames:
        raise ValueError(
            f"index {wanted} of {n_frames} frames; give one between {-n_frames} and {n_frames - 1}"
        )
    return range(wanted % n_frames, wanted % n_frames + 1)


def _lines(path: Path, share: Callable[[float], None] | None = None) -> Iterator[str]:
    """The lines of a file that may be compressed, one after the other."""
    opened: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower())
    number, size = 0, path.stat().st_size
    try:
        with path.open("rb") as packed:
            for line in opened(packed) if opened else packed:
                number += 1
                if share and number % 1000 == 0:
                    share(packed.tell() / size)
                yield line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name}, line {number}: this is not text; is the file compressed or binary?"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise ValueError(
            f"{path.name}: the compressed file is damaged or cut short after line {number}: {error}. Get it again"
        ) from error


def key_of(
    quantity: str, available: Sequence[str], given: str | None = None
) -> tuple[str | None, tuple[str, ...]]:
    """The key that holds a quantity, with its sign, and further names of the field for it among `available`."""
    alike: dict[str, list[str]] = {}  # names that differ in case only are different keys
    for key in sorted(available):
        alike.setdefault(key.lower(), []).append(key)
    found = []
    for name in NAMES[quantity].split():
        bare = name.lstrip("-")
        twins = sorted(alike.get(bare.lower(), []), key=lambda key, bare=bare: key != bare)  # type: ignore[misc]
        found += ["-" * name.startswith("-") + key for key in twins]
    chosen = given or (found[0] if found else None)
    return chosen, tuple(key.lstrip("-") for key in found if key.lstrip("-") != (chosen or "").lstrip("-"))


def _read_npz(path: Path, given: Key, declared: dict[str, str]) -> Iterator[ase.Atoms]:
    # Without pickle an array of Python objects cannot be read, and none is needed.
    # Opened here, as numpy leaves damaged files open.
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        block = {key: file[key] for key in file.files}
    energy, length = (str(block.pop(key)) if key in block else "" for key in ("e_unit", "r_unit"))
    for quantity, unit in (("positions", length), ("energy", energy), ("forces", f"{energy}/{length}")):
        key, _ = key_of(quantity, list(block), given.get(quantity))
        if key and energy and length:
            declared[key.lstrip("-")] = unit
    if "lattice" in block and "type" in block:  # sGDML's own files hold the vectors as columns
        block["lattice"] = block["lattice"].T
    yield from _frames_of_arrays(block, given, path.name)


def _read_hdf5(path: Path, given: Key, declared: dict[str, str]) -> Iterator[ase.Atoms]:
    with h5py.File(path, "r") as file:
        groups = [file]
        file.visititems(lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None)
        whole = [group for group in groups if _is_whole(group, path.name)]
        if not whole:
            raise ValueError(
                f"{path.name}: no group with numbers and positions (names: {NAMES['numbers']}; {NAMES['positions']}); "
                f"the root holds {list(file)[:8]}"
            )
        held = [item for group in whole for item in _arrays(group).values()]
        for item in held:
            # What is compressed may be far smaller in the file; a damaged shape would ask for all memory there is.
            if item.nbytes > path.stat().st_size * (1 if item.chunks is None else 2000):
                raise ValueError(
                    f"{path.name}: {item.name} is said to be {item.nbytes} bytes, more than there are"
                )
        if any(item.dtype.kind == "O" for item in held):
            _try_words(path)
        for group in whole:
            block = {}
            for key, item in _arrays(group).items():
                if "units" in item.attrs:
                    unit = item.attrs["units"]
                    declared[key] = unit.decode() if isinstance(unit, bytes) else str(unit)
                block[key] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            for atoms in _frames_of_arrays(block, given, f"{path.name}, group {group.name}"):
                if group.name != "/":
                    atoms.info["group"] = group.name.strip("/")
                yield atoms


def _arrays(group: h5py.Group) -> dict[str, h5py.Dataset]:
    return {key: item for key, item in group.items() if isinstance(item, h5py.Dataset)}


def _is_whole(group: h5py.Group, name: str) -> bool:
    """Whether a group holds structures. Raises ValueError where it holds a half of them."""
    there = {q: key_of(q, list(_arrays(group)))[0] for q in ("numbers", "positions")}
    if any(there.values()) and not all(there.values()):
        has, lacks = sorted(there, key=lambda q: there[q] is None)
        raise ValueError(
            f"{name}, group {group.name}: it holds {has} ({there[has]}) but no {lacks}, which may be called "
            f"{NAMES[lacks]}"
        )
    return all(there.values())


def _try_words(path: Path) -> None:
    """Raise ValueError where words of any length in an HDF5 file are damaged: reading those ends the whole process, so
    that another one tries it first."""
    tried = subprocess.run(
        [sys.executable, "-I", "-c", _WORDS, str(path.resolve())], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["reading it ended the process that tried"])[-1]
        raise ValueError(f"{path.name}: damaged where it holds words: {said}")


def _frames_of_arrays(block: dict[str, Any], given: Key, place: str) -> Iterator[ase.Atoms]:
    """Frames of one block of arrays; every array with one row per frame, or none."""
    keys = {q: key_of(q, list(block))[0] for q in ("numbers", "positions", "cell", "pbc")}
    if not keys["numbers"] or not keys["positions"]:
        raise ValueError(
            f"{place}: no numbers or no positions among {sorted(block)}; their names may be {NAMES['numbers']} and "
            f"{NAMES['positions']}"
        )
    own = {q: np.asarray(block.pop(key)) for q, key in keys.items() if key}
    positions = own["positions"]
    if positions.ndim == 2:
        positions = positions[None]
    if positions.ndim != 3 or positions.shape[2] != 3 or positions.dtype.kind not in "fiu":
        raise ValueError(
            f"{place}: {keys['positions']} has shape {positions.shape}; expected (n_frames, n_atoms, 3)"
        )
    n_frames, n_atoms = positions.shape[:2]
    numbers = _numbers(own["numbers"], str(keys["numbers"]), (n_frames, n_atoms), place)
    per_frame, per_atom = _sorted_arrays(block, given, n_frames, n_atoms, place)
    cell = own.get("cell", np.zeros((3, 3)))
    if cell.shape not in ((3, 3), (n_frames, 3, 3)) or cell.dtype.kind not in "fiu":
        raise ValueError(
            f"{place}: {keys['cell']} has shape {cell.shape}; expected (3, 3) or ({n_frames}, 3, 3), rows are vectors"
        )
    pbc = own.get("pbc", np.array([keys["cell"] is not None]))
    if pbc.shape not in ((), (1,), (3,), (n_frames, 3)) or not np.isin(pbc, (0, 1)).all():
        raise ValueError(
            f"{place}: pbc has shape {pbc.shape}; expected (3,) or ({n_frames}, 3) of true and false"
        )
    cell, pbc = np.broadcast_to(cell, (n_frames, 3, 3)), np.broadcast_to(pbc.astype(bool), (n_frames, 3))
    for i in range(n_frames):
        there = numbers[i] > 0  # zero pads molecules of different size
        atoms = ase.Atoms(numbers[i][there], positions[i][there], cell=cell[i], pbc=pbc[i])
        atoms.info.update({key: values[i] for key, values in per_frame.items()})
        for key, values in per_atom.items():
            atoms.new_array(key, values[i][there])
        yield atoms


def _numbers(numbers: np.ndarray, key: str, wanted: tuple[int, int], place: str) -> np.ndarray:
    """Atomic numbers, (n_frames, n_atoms), of numbers or of symbols of elements."""
    if numbers.dtype.kind in "SUO":
        symbols = [s.decode() if isinstance(s, bytes) else str(s) for s in numbers.ravel()]
        unknown = sorted(set(symbols) - set(ase.data.atomic_numbers))
        if unknown:
            raise ValueError(f"{place}: {key} holds {unknown[0]!r}, which is no element")
        numbers = np.array([ase.data.atomic_numbers[s] for s in symbols]).reshape(numbers.shape)
    whole = numbers.dtype.kind in "iuf" and (np.isfinite(numbers) & (numbers == np.round(numbers))).all()
    if numbers.shape not in (wanted[1:], wanted) or not whole:
        raise ValueError(
            f"{place}: {key} has shape {numbers.shape}; expected whole numbers ({wanted[1]},) or {wanted}, as the "
            f"positions have {(*wanted, 3)}"
        )
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= 118:
        raise ValueError(
            f"{place}: {key} goes from {numbers.min()} to {numbers.max()}; expected atomic numbers, and 0 for no atom"
        )
    return np.broadcast_to(numbers, wanted).astype(int)


def _sorted_arrays(
    block: dict[str, Any], given: Key, n_frames: int, n_atoms: int, place: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arrays with one row per frame, and those with one row per frame and atom."""
    chosen = {q: (key_of(q, list(block), given.get(q))[0] or "").lstrip("-") for q in QUANTITIES}
    of_atoms = {chosen[q] for q in PER_ATOM}
    of_frames = {chosen[q] for q in QUANTITIES if q not in PER_ATOM}
    of_labels = {chosen[q] for q in LABELS}
    per_frame, per_atom = {}, {}
    for key, value in block.items():
        array = np.asarray(value)
        if n_frames == 1 and (array.shape[:1] != (1,)):
            array = array[None]
        if key in of_labels and array.ndim == 0:
            raise ValueError(f"{place}: {key} is one number for {n_frames} frames; expected one for each")
        if array.ndim == 0 or (array.size == 1 and array.dtype.kind in "OSU"):
            per_frame[key] = np.broadcast_to(array.ravel(), n_frames)
        elif array.shape[:2] == (n_frames, n_atoms) and (key in of_atoms or key not in of_frames):
            per_atom[key] = array
        elif len(array) == n_frames and key not in of_atoms:
            per_frame[key] = array
        elif key in of_atoms | of_frames:
            raise ValueError(
                f"{place}: {key} has shape {array.shape}, which does not fit {n_frames} frames of {n_atoms} atoms"
            )
        else:
            _log.warning("%s: %s of shape %s belongs to no frame and is left out", place, key, array.shape)
    return per_frame, per_atom
