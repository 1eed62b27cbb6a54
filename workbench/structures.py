"""Structures: files <-> labelled `ase.Atoms`.

What `read` gives is always the same: atoms in Å whose calculator holds the labels that were found (energy eV, forces
eV/Å, stress eV/Å^3 in ASE's sign as xx, yy, zz, yz, xz, xy, charges e, dipole e Å), and `info["charge"]` (total, e)
and `info["spin"]` (multiplicity) where the file has them. Constraints stay on the atoms and never touch the labels.
"""

from __future__ import annotations

import gzip
import logging
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import units as ase_units
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from workbench.checks import LABELS, Finding, check, labels, near_names
from workbench.extxyz import text_of
from workbench.formats import PER_ATOM, QUANTITIES, each_frame, key_of, kind_of, named, raw_frames

__all__ = ["Finding", "Frames", "Source", "check", "labels", "read", "write"]

_log = logging.getLogger(__name__)

_LARGE = 1e9  # bytes of a file, from which on `read` says how not to read it whole
# Formats that hold whatever was written into them, in its writer's units. All others ASE converts itself.
_STORES = ("extxyz", "npz", "hdf5", "db", "json", "traj")
_ENERGY = {
    "ev": 1.0, "mev": 1e-3, "kcal/mol": ase_units.kcal / ase_units.mol, "kj/mol": ase_units.kJ / ase_units.mol,
    "ha": ase_units.Ha, "hartree": ase_units.Ha, "eh": ase_units.Ha, "ry": ase_units.Ry, "rydberg": ase_units.Ry,
}  # fmt: skip
_LENGTH = {
    "å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "ångström": 1.0, "ångstrom": 1.0, "bohr": ase_units.Bohr,
    "a0": ase_units.Bohr, "nm": 10.0, "pm": 0.01,
}  # fmt: skip
_STRESS = {"gpa": ase_units.GPa, "kbar": 0.1 * ase_units.GPa, "mpa": 1e-3 * ase_units.GPa}


@dataclass(frozen=True)
class Source:
    """Where one quantity came from.

    key        the name in the file; a minus sign says that the file holds the opposite
    n_frames   how many frames had it, of n_total
    others     names of the field for the same quantity that were there too and were not used
    """

    quantity: str
    key: str
    n_frames: int
    n_total: int
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        others = f"; not used: {', '.join(self.others)}" if self.others else ""
        return f"{self.quantity} from {self.key!r} on {self.n_frames} of {self.n_total} frames{others}"


class Frames(list[ase.Atoms]):
    """The list that `read` returns. It also knows its file, where its labels came from, and what looks wrong."""

    def __init__(self, frames: Sequence[ase.Atoms], name: str, sources: tuple[Source, ...]) -> None:
        super().__init__(frames)
        self.name = name
        self.sources = sources
        self.findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        lines = [f"{len(self)} structures of {self.name}", *map(str, self.sources)]
        return "\n  ".join(lines + [f"{finding.severity}: {finding}" for finding in self.findings])


def read(
    path: str | Path,
    *,
    energy: str | None = None,
    forces: str | None = None,
    stress: str | None = None,
    charges: str | None = None,
    dipole: str | None = None,
    charge: str | None = None,
    spin: str | None = None,
    units: str | None = None,
    index: int | str | slice = ":",
) -> Frames:
    """Labelled structures of a file, in eV and Å: every format of ASE, `.npz` and HDF5 as `workbench.formats` says.

    energy ... spin   the key in the file; None finds it under the names the field uses, of which one serves the
                      whole file. "-key" says that the file holds the opposite: gradients, or virials
    units             of the numbers in the file, such as "kcal/mol, Å", "Ha, Bohr", "Ha, Å, eV/Å" (forces apart) or
                      "eV, Å, GPa, Debye"; None takes those the file declares, else eV and Å
    index             which frames, as in `ase.io.read`; the result is a list in any case

    What `check` finds is logged as warnings and kept in the result's `findings`; `sources` says which keys were read.
    Raises FileNotFoundError, and ValueError naming the file and the place of what cannot be read.
    """
    path = Path(path)
    given = {
        "energy": energy, "forces": forces, "stress": stress, "charges": charges, "dipole": dipole,
        "charge": charge, "spin": spin,
    }  # fmt: skip
    kind, asked = _kind_and_units(path, units)
    if path.stat().st_size > _LARGE:
        _log.warning(
            "%s has %.1f GB, and its structures take more in memory; `workbench data convert %s NAME.h5` makes a file "
            "that is read as it is needed", path.name, path.stat().st_size / 1e9, path.name,
        )  # fmt: skip
    raw, declared = raw_frames(path, kind, index, given)
    name = path.name if index in (":", slice(None)) else f"{path.name}[{index}]"
    if not raw:
        raise ValueError(f"{name}: no structure in it; is it the right file and index?")
    sources = tuple(s for quantity in QUANTITIES if (s := _source(raw, quantity, given[quantity], name)))
    frames = _labelled(raw, sources, asked or _declared_factors(declared, sources, path.name), name, 0)
    _log.info("%d structures of %s: %s", len(frames), name, "; ".join(map(str, sources)) or "no labels")
    for finding in frames.findings:
        _log.warning("%s", finding)
    return frames


def read_in_parts(
    path: str | Path,
    size: int = 1000,
    *,
    units: str | None = None,
    share: Callable[[float], None] | None = None,
    **keys: str,
) -> Iterator[Frames]:
    """The frames of a file, `size` of them at a time, each part as `read` would give it.

    keys, units   as in `read`; what one part is read from, all the others are
    share         is told how much of the file was read, where that can be known

    Raises as `read` does, and where later frames have a label under another name than those before.
    """
    path = Path(path)
    given = {quantity: keys.get(quantity) for quantity in QUANTITIES}
    kind, asked = _kind_and_units(path, units)
    declared: dict[str, str] = {}
    before: dict[str, str] = {}
    number = 0
    stream = each_frame(path, kind, given, declared, share)
    while True:
        with named(path, kind):
            raw = list(islice(stream, size))
        if not raw:
            break
        place = f"{path.name}, frames {number} to {number + len(raw) - 1}"
        sources = tuple(s for quantity in QUANTITIES if (s := _source(raw, quantity, given[quantity], place)))
        for source in sources:
            if before.setdefault(source.quantity, source.key) != source.key:
                raise ValueError(
                    f"{place}: {source.quantity} under {source.key!r}, and under {before[source.quantity]!r} in those "
                    f"before; say which one is meant: {source.quantity}={source.key!r}"
                )
        yield _labelled(
            raw, sources, asked or _declared_factors(declared, sources, path.name), path.name, number
        )
        number += len(raw)
    if not number:
        raise ValueError(f"{path.name}: no structure in it; is it the right file?")


def _kind_and_units(path: Path, units: str | None) -> tuple[str, dict[str, float] | None]:
    """The format of a file, and the factors that the user's units mean."""
    factors = None if units is None else _factors(units, "units")
    kind = kind_of(path)
    if factors is not None and kind not in _STORES:
        raise ValueError(
            f"{path.name}: ASE converts {kind} files to eV and Å itself; leave out units={units!r}"
        )
    return kind, factors


def _labelled(
    raw: list[ase.Atoms], sources: tuple[Source, ...], factors: Mapping[str, float], name: str, first: int
) -> Frames:
    """Structures in the form that `read` promises, checked; the first of them is frame `first` of the file."""
    for number, atoms in enumerate(raw, first):
        _settle(atoms, sources, factors, f"{name}, frame {number}")
    frames = Frames(raw, name, sources)
    found = check(frames, needed=())
    frames.findings = tuple(replace(f, frames=tuple(i + first for i in f.frames)) for f in found)
    return frames


def _factors(text: str, place: str) -> dict[str, float]:
    """What to multiply each quantity by, from units in words: "Ha, Bohr" or more. Raises ValueError for a word."""
    found: dict[str, float] = {}
    for word in text.split(","):
        quantity, factor = _unit(word)
        if not quantity:
            known = ", ".join([*_ENERGY, *_LENGTH, *_STRESS, "debye"])
            raise ValueError(
                f"{place}: {word.strip()!r} is no unit it knows, in {text!r}; expected some of {known}, or a force "
                "such as Ha/Bohr, separated by commas"
            )
        if quantity in found:
            raise ValueError(f"{place}: {text!r} names two units for {quantity}; give one")
        found[quantity] = factor
    energy, length = found.get("energy", 1.0), found.get("positions", 1.0)
    implied = {"forces": energy / length, "stress": energy / length**3, "dipole": length}
    return {"energy": energy, "positions": length, **implied, **found}


def _unit(word: str) -> tuple[str, float]:
    """The quantity that a unit is of, and its size in eV, Å and e; ("", 0.0) for a word that is none."""
    # The sign of the ångström and the letter Å look alike and differ.
    unit = (
        unicodedata.normalize("NFKC", word)
        .strip()
        .lower()
        .replace("·", "*")
        .replace("^3", "³")
        .replace(" ", "")
    )
    for quantity, table in (("energy", _ENERGY), ("positions", _LENGTH), ("stress", _STRESS)):
        if unit in table:
            return quantity, table[unit]
    if unit in ("debye", "d"):
        return "dipole", ase_units.Debye
    if unit.startswith("e*") and unit[2:] in _LENGTH:
        return "dipole", _LENGTH[unit[2:]]
    energy, _, length = unit.rpartition("/")
    if energy in _ENERGY and length in _LENGTH:
        return "forces", _ENERGY[energy] / _LENGTH[length]
    if energy in _ENERGY and length.endswith("³") and length[:-1] in _LENGTH:
        return "stress", _ENERGY[energy] / _LENGTH[length[:-1]] ** 3
    return "", 0.0


def _declared_factors(declared: Mapping[str, str], sources: Sequence[Source], name: str) -> dict[str, float]:
    """The factors that follow from the units a file declares for its keys."""
    keys = {"positions": key_of("positions", list(declared))[0] or ""}
    keys |= {s.quantity: s.key.lstrip("-") for s in sources}
    said = [
        declared[keys[q]]
        for q in ("energy", "positions", "forces", "stress", "dipole")
        if keys.get(q) in declared
    ]
    if said:
        _log.info("%s declares its units: %s", name, ", ".join(said))
    return _factors(", ".join(said) or "eV, Å", f"{name} declares a unit; say which with units=")


def _places(atoms: ase.Atoms, quantity: str) -> list[dict[str, Any]]:
    """Where a quantity may be: what the reader took for a label, then what the file's own names hold."""
    results = [atoms.calc.results] if atoms.calc is not None else []
    return [*results, atoms.arrays if quantity in PER_ATOM else atoms.info]


def _source(frames: Sequence[ase.Atoms], quantity: str, given: str | None, name: str) -> Source | None:
    """The one key that serves the whole file. Raises ValueError, naming close keys, if the given one is nowhere."""
    available: dict[str, int] = {}
    for atoms in frames:
        for held in {held for place in _places(atoms, quantity) for held in place}:
            available[held] = available.get(held, 0) + 1
    key, others = key_of(quantity, list(available), given)
    if key is None:
        return None
    if key.lstrip("-") not in available:
        names = sorted(available)
        near = near_names(key.lstrip("-"), names) or names
        raise ValueError(
            f"{name}: no frame holds {quantity} under {key!r}; "
            + (f"do you mean {' or '.join(map(repr, near))}?" if near else "the file holds no labels")
        )
    return Source(quantity, key, available[key.lstrip("-")], len(frames), others)


def _settle(atoms: ase.Atoms, sources: Sequence[Source], factors: Mapping[str, float], place: str) -> None:
    """Bring one structure into the form that `read` promises, in place."""
    found = {}
    for source in sources:
        key = source.key.lstrip("-")
        holder = next((p for p in _places(atoms, source.quantity) if key in p), None)
        if holder is not None:
            found[source.quantity] = _value(holder.pop(key), source, len(atoms), place)
    kept = {} if atoms.calc is None else dict(atoms.calc.results)
    kept = {k: v for k, v in kept.items() if k in all_properties and k not in LABELS and v is not None}
    atoms.calc = None
    if factors["positions"] != 1.0:
        atoms.set_cell(atoms.cell.array * factors["positions"])
        atoms.positions *= factors["positions"]
    for word in ("charge", "spin"):
        atoms.info.pop(word, None)  # another key was asked for
        if word in found:
            number = float(found.pop(word))
            if 1e6 < abs(number) < np.inf:  # what is not finite the checks find
                raise ValueError(f"{place}: the {word} is {number:g}, which no structure has")
            atoms.info[word] = int(number) if number.is_integer() else number
    for label, value in found.items():
        virial = label == "stress" and "virial" in _key(sources, "stress").lower()
        factor = factors["energy"] if virial else factors.get(label, 1.0)
        if virial and not atoms.cell.volume > 0:
            raise ValueError(
                f"{place}: a virial, but no cell whose volume would make it a stress. Give the cell"
            )
        found[label] = value * (factor / atoms.cell.volume if virial else factor)
    if found or kept:
        atoms.calc = SinglePointCalculator(atoms, **{**kept, **found})


def _key(sources: Sequence[Source], quantity: str) -> str:
    return next(source.key for source in sources if source.quantity == quantity)


def _value(value: Any, source: Source, n_atoms: int, place: str) -> np.ndarray:
    """A label as an array of its shape, its sign set right. Raises ValueError for anything that is not one."""
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "forces": ((n_atoms, 3),), "charges": ((n_atoms,),), "dipole": ((3,),), "stress": ((6,), (9,), (3, 3)),
    }  # fmt: skip
    wanted = shapes.get(source.quantity, ((),))
    where = f"{place}: {source.key.lstrip('-')!r} ({source.quantity})"
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{where} is {value}, not a number; has the file a key without a value?")
    try:
        given = np.asarray(value)
        # Python reads 1_0 as ten, and true as one.
        if given.dtype.kind in "bcMmV" or (given.dtype.kind in "SUO" and "_" in str(value)):
            raise ValueError
        array = given.astype(float)
    except (TypeError, ValueError):
        raise ValueError(f"{where} is {str(value)[:60]!r}; expected numbers") from None
    # Axes of length one say nothing: (n_atoms, 1) charges and energies in a list are common.
    fits = [s for s in wanted if [n for n in s if n != 1] == [n for n in array.shape if n != 1]]
    if not fits:
        expected = " or ".join(str(shape) for shape in wanted)
        raise ValueError(f"{where} has shape {array.shape}; expected {expected} with {n_atoms} atoms")
    array = array.reshape(fits[0])
    if source.quantity == "stress":
        array = _voigt(array, where)
    return -array if source.key.startswith("-") else array


def _voigt(stress: np.ndarray, where: str) -> np.ndarray:
    """xx, yy, zz, yz, xz, xy of a stress, (6,), of that or of nine numbers."""
    if stress.shape == (6,):
        return stress
    full = stress.reshape(3, 3)
    if np.abs(full - full.T).max() > 0.05 * np.abs(full).max() + 1e-6:
        raise ValueError(f"{where} is not symmetric: {full.tolist()}; expected xx xy xz yx yy yz zx zy zz")
    return full_3x3_to_voigt_6_stress(full)


def write(path: str | Path, frames: Sequence[ase.Atoms]) -> None:
    """Write extended XYZ (`.xyz`, `.extxyz`, and `.gz` of both) that `read` gives back to the last digit.

    Labels go under REF_energy, REF_forces, REF_stress, REF_charges and REF_dipole, which other programs know too and
    ASE does not take for results; charge, spin and the rest of `info` and `arrays` under their own names. The file
    appears at once when it is complete. Raises ValueError for another suffix, or what the format cannot hold.
    """
    path = Path(path)
    if not path.name.removesuffix(".gz").endswith((".xyz", ".extxyz")):
        raise ValueError(f"{path.name}: expected a name that ends in .xyz or .extxyz, or in .gz after that")
    text = "".join(text_of(atoms, f"frame {number}") for number, atoms in enumerate(frames)).encode()
    if path.suffix == ".gz":
        packed = BytesIO()
        # Neither name nor time inside, so that the same structures give the same bytes.
        with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
            file.write(text)
        text = packed.getvalue()
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
