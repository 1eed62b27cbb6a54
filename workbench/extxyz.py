"""Extended XYZ: text <-> `ase.Atoms`, frame by frame, with nothing passed over in silence.

ASE builds the atoms; the comment line is read here, because what ASE does with a damaged one loses labels: a quote that
is never closed, an empty value or a key that comes twice swallow what stands beside them.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.calculators.calculator import all_properties
from ase.constraints import FixAtoms
from ase.io.extxyz import escape, key_val_dict_to_str, read_xyz

from workbench.checks import LABELS, labels

_log = logging.getLogger(__name__)

# In a stretch between quotes or brackets a backslash makes any letter a plain one, as it does outside of them.
_QUOTED = r""""(?:\\.|[^"\\])*+"|'(?:\\.|[^'\\])*+'|\{(?:\\.|[^}\\])*+\}"""
_LIST = r"\[(?:\\.|[^\]\\])*+\]"
_LETTER = r"""\\.|[^\s=\\"'{\[]"""
_WORD = rf"(?:{_QUOTED}|{_LIST}(?:{_LIST}|{_LETTER})*+|(?:{_LETTER})++)"
# key, key=value or key = value. In "name= energy=-1" the name is empty: what follows has a value of its own.
_ENTRY = re.compile(
    rf"\s*+(?P<key>{_WORD})(?=[\s=]|$)"
    rf"(?:\s*+=(?:(?P<value>{_QUOTED}|(?:{_LIST}|{_LETTER}|=)++)|\s++(?P<apart>{_WORD})(?!\s*+=)|(?P<none>))(?=\s|$))?+\s*+",
    re.DOTALL,
)
_PIECE = re.compile(rf"{_QUOTED}|{_LIST}|{_LETTER}|=", re.DOTALL)
_OWN = ("Lattice", "Properties", "pbc")  # keys that the format itself gives a meaning, in this spelling only
_BOOL = {"T": True, "F": False, "true": True, "false": False, "True": True, "False": False}
_BOOL |= {"TRUE": True, "FALSE": False}
_OTHER_NAME = {
    "species": "symbols",
    "Z": "numbers",
    "pos": "positions",
    "charge": "charges",
}  # ASE's, of columns
_PER_ATOM = ("forces", "charges")


class Block(NamedTuple):
    """The lines of one frame."""

    line: int  # of the number of atoms, counted from 1
    n_atoms: int
    comment: str
    rows: list[str]
    vectors: list[str]  # cell vectors of ADF, after the atoms


def blocks(lines: Iterable[str], name: str) -> Iterator[Block]:
    """The frames of a file, cut but not yet read. Raises ValueError where one ends too early or does not begin."""
    numbered = enumerate(lines, 1)
    number, waiting = 0, next(numbered, None)
    while waiting is not None:
        line, count = waiting[0], waiting[1].strip()
        if not count:
            waiting = next(numbered, None)
            continue
        place = f"{name}, frame {number} (line {line})"
        if not (count.isascii() and count.isdigit()):
            raise ValueError(
                f"{place}: expected the number of atoms, got {count[:40]!r}. The frame before may announce "
                "another number of atoms than it has"
            )
        n_atoms, rows = int(count), []
        for _, text in numbered:
            rows.append(text)
            if len(rows) == n_atoms + 1:
                break
        if len(rows) < n_atoms + 1:
            raise ValueError(
                f"{place}: announces {count} atoms, but only {max(len(rows) - 1, 0)} lines of them follow; the file is "
                "cut short or the number wrong"
            )
        vectors = []
        for waiting in numbered:
            if not waiting[1].lstrip().startswith("VEC"):
                break
            vectors.append(waiting[1])
        else:
            waiting = None
        yield Block(line, n_atoms, rows[0].strip(), rows[1:], vectors)
        number += 1


def structure(block: Block, place: str) -> ase.Atoms:
    """One frame with everything in it. Raises ValueError that names the place of what is damaged."""
    place, at = f"{place} (line {block.line})", place
    try:
        plain = "=" not in block.comment
        info = {} if plain else _info(block.comment)
        columns = _columns(str(info.get("Properties", "species:S:1:pos:R:3")), "Properties" in info)
        _check_entries(info, columns, block)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    _check_rows(columns, block, at, "Properties" in info)
    text = "\n".join([str(block.n_atoms), "x", *block.rows, *block.vectors, ""])
    try:
        atoms = next(iter(read_xyz(StringIO(text), 0, properties_parser=lambda _: info)))
    except Exception as error:  # the reader fails on damage in many ways
        reason = f"it does not know {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{place}: {reason}. Correct the frame or take it out") from error
    if plain:
        atoms.info = {"comment": block.comment} if block.comment else {}
    _check_elements(columns, block, atoms, place)
    return atoms


# The comment line


def _info(comment: str) -> dict[str, Any]:
    """Entries of a comment line. Raises ValueError for a quote that is not closed and a key that comes twice."""
    info: dict[str, Any] = {}
    for key, raw in _entries(comment):
        if key in info:
            raise ValueError(f"{key} comes twice; keep the one that is right")
        info[key] = True if raw is None else _converted(key, _unquoted(raw))
        if "\\" in (raw or "") and isinstance(info[key], np.ndarray | np.number):
            raise ValueError(f"{key}={raw}: a backslash in a number")
    for key in info:
        own = next((one for one in _OWN if one.lower() == key.lower() and one not in info), None)
        if own:
            raise ValueError(f"{key} must be spelt {own}; as it is, it would not count")
    return info


def _entries(comment: str) -> list[tuple[str, str | None]]:
    """Keys, and values as they stand there; None for a key without one."""
    entries: list[tuple[str, str | None]] = []
    at = 0
    while at < len(comment):
        entry = _ENTRY.match(comment, at)
        if entry is None:
            raise ValueError(
                f"the comment line cannot be read from {comment[at : at + 30]!r} on: is a quote not closed?"
            )
        texts = [text for text in (entry["value"], entry["apart"], entry["none"]) if text is not None]
        entries.append((_unquoted(entry["key"]), texts[0] if texts else None))
        at = entry.end()
    return entries


def _unquoted(text: str) -> str:
    """Without the quotes around pieces of it and the backslashes before letters."""
    if not set(text) & set("\\\"'{["):
        return text
    pieces = (piece.group() for piece in _PIECE.finditer(text))
    bare = (p[1:-1] if len(p) > 1 and p[0] in "\"'{[" else p for p in pieces)
    return "".join(re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL) for piece in bare)


def _converted(key: str, text: str) -> Any:
    """A value as ASE converts it: numbers, true and false, arrays of them, JSON, else text.

    Python would read 1_0 as ten; here that stays text.
    """
    words = re.findall(r"[^\s,]+", text)
    value: Any = text
    if key.lower() == "uid" or not words:
        return text
    if "_" not in text:
        for kind in (int, float):
            try:
                value = np.array(words, dtype=kind)
                break
            except OverflowError:
                return text  # an integer of more digits than a double holds
            except ValueError:
                continue
    if key in ("Lattice", "virial", "stress"):
        if not isinstance(value, np.ndarray) or value.shape != (9,):
            raise ValueError(f"{key}={text!r}: expected the nine numbers of a 3x3 matrix")
        return value.reshape(3, 3, order="F")
    if isinstance(value, np.ndarray):
        return value[0] if len(value) == 1 else value
    if all(word in _BOOL for word in words):
        return _BOOL[words[0]] if len(words) == 1 else [_BOOL[word] for word in words]
    if text.startswith("_JSON "):
        try:
            held = json.loads(text.removeprefix("_JSON "))
            array = np.array(held)
        except ValueError as error:
            raise ValueError(f"{key} holds JSON that cannot be read: {error}") from error
        return array if array.dtype.kind in "ifb" else held
    return text


def _check_entries(info: dict[str, Any], columns: Sequence[tuple[str, str, int]], block: Block) -> None:
    """Raise ValueError for what ASE would take for something else."""
    if block.vectors and info:
        raise ValueError("it has VEC lines and entries of the form key=value; give the cell as Lattice")
    if "pbc" in info:
        pbc = np.asarray(info["pbc"])
        if pbc.shape not in ((), (3,)) or not (
            pbc.dtype.kind == "b" or (pbc.dtype.kind == "i" and set(pbc.flat) <= {0, 1})
        ):
            raise ValueError(f"pbc is {info['pbc']!r}; expected three of T and F")
    names = [_OTHER_NAME.get(name, name) for name, _, _ in columns]
    twice = [
        name
        for name, count in Counter(names + [key for key in info if key in all_properties]).items()
        if count > 1
    ]
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice; keep the one that is right")


# The atoms


def _columns(declared: str, said: bool) -> list[tuple[str, str, int]]:
    """Name, type and number of columns of each property."""
    fields = declared.split(":")
    counts, kinds = fields[2::3], fields[1::3]
    if len(fields) % 3 or not all(count.isascii() and count.isdigit() and int(count) for count in counts):
        raise ValueError(f"Properties={declared} is not name:type:columns repeated")
    if not set(kinds) <= set("RISL"):
        raise ValueError(f"Properties={declared} names a type that is none of R, I, S and L")
    names = set(fields[::3])
    if not (names & {"species", "symbols", "Z", "numbers"}) or not (names & {"pos", "positions"}):
        raise ValueError(f"Properties={declared} must have species:S:1 (or Z:I:1) and pos:R:3")
    return list(zip(fields[::3], kinds, map(int, counts), strict=True))


def _check_rows(columns: Sequence[tuple[str, str, int]], block: Block, place: str, said: bool) -> None:
    """Raise ValueError unless every atom has the columns that are declared, each of its type."""
    kinds = "".join(kind * count for _, kind, count in columns)
    for line, row in enumerate(block.rows, block.line + 2):
        words = row.split()
        if len(words) != len(kinds):
            hint = "; if they hold labels, declare them, such as Properties=species:S:1:pos:R:3:forces:R:3"
            raise ValueError(
                f"{place} (line {line}): {len(words)} columns, expected {len(kinds)}"
                + (" (as Properties says)" if said else f" (element x y z){hint}")
            )
        # Python reads 1_0 as ten, and ASE any word but T as false.
        for kind, word in zip(kinds, words, strict=True) if "_" in row or "L" in kinds else ():
            if ("_" in word and kind in "RI") or (kind == "L" and word not in ("T", "F", "True", "False")):
                wanted = {"R": "a number", "I": "a whole number", "L": "T or F"}[kind]
                raise ValueError(f"{place} (line {line}): {word!r} is not {wanted}")


def _check_elements(
    columns: Sequence[tuple[str, str, int]], block: Block, atoms: ase.Atoms, place: str
) -> None:
    """Raise ValueError where an atom has one element by name and another by number; ASE believes the number."""
    names = [name for name, _, _ in columns]
    if not ("Z" in names and "species" in names):
        return
    column = sum(count for _, _, count in columns[: names.index("species")])
    for number, (row, symbol) in enumerate(zip(block.rows, atoms.get_chemical_symbols(), strict=True)):
        if row.split()[column].capitalize() != symbol:
            raise ValueError(
                f"{place}: atom {number} is {row.split()[column]} by its name and {symbol} by its number"
            )


# Writing


def text_of(atoms: ase.Atoms, place: str) -> str:
    """One frame, its labels under REF_energy and the like. Raises ValueError for what the format cannot hold."""
    found = labels(atoms)
    info = dict(atoms.info)
    columns = {"species": np.array(atoms.get_chemical_symbols(), dtype=object), "pos": atoms.positions}
    columns |= {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    for key, value in (atoms.calc.results if atoms.calc is not None else {}).items():
        if key not in LABELS and key in all_properties and value is not None:
            (columns if np.shape(value)[:1] == (len(atoms),) else info)[key] = np.asarray(value)
    for label, value in found.items():
        (columns if label in _PER_ATOM else info)[f"REF_{label}"] = value
    for constraint in atoms.constraints:
        if not isinstance(constraint, FixAtoms):
            _log.warning("%s: extended XYZ cannot hold %s; it is left out", place, type(constraint).__name__)
            continue
        columns["move_mask"] = columns.get("move_mask", np.ones(len(atoms), bool)) & True
        columns["move_mask"][constraint.index] = False
    cell = {"Lattice": atoms.cell.array.T} if atoms.cell.array.any() else {}
    properties = ":".join(f"{key}:{_type(value, key, place)}" for key, value in columns.items())
    taken = {"Lattice", "Properties", "pbc"} & info.keys()
    if taken:
        raise ValueError(f"{place}: info holds {sorted(taken)}, which the format needs itself; rename them")
    entries = {
        **cell,
        "Properties": properties,
        **{k: _entry(v, k, place) for k, v in info.items()},
        "pbc": atoms.pbc,
    }
    comment = key_val_dict_to_str(entries)
    if "\n" in comment or "\r" in comment:
        raise ValueError(f"{place}: info holds a line break; the format puts all of it on one line")
    tables = [_cells(value) for value in columns.values()]
    rows = [" ".join(part for table in tables for part in table[i]) for i in range(len(atoms))]
    return "\n".join([str(len(atoms)), comment, *rows, ""])


def _type(values: np.ndarray, key: str, place: str) -> str:
    """Type and number of columns of one array, such as R:3."""
    letters = {"f": "R", "i": "I", "u": "I", "b": "L", "O": "S", "U": "S"}
    n_columns = 1 if values.ndim == 1 else int(np.prod(values.shape[1:]))
    if values.dtype.kind not in letters or values.ndim > 2 or n_columns == 0 or set(key) & set(": \t\"'{}[]="):
        raise ValueError(
            f"{place}: extended XYZ cannot hold the array {key!r} of {values.dtype}, {values.shape}"
        )
    letter = letters[values.dtype.kind]
    if letter == "S" and any(len(str(value).split()) != 1 for value in values.ravel()):
        raise ValueError(
            f"{place}: the array {key!r} holds empty words or spaces; columns are separated by spaces"
        )
    return f"{letter}:{n_columns}"


def _cells(values: np.ndarray) -> list[list[str]]:
    """The words of every row of one array; numbers to the last digit."""
    rows = values.reshape(len(values), -1).tolist()
    if values.dtype.kind == "b":
        return [["T" if value else "F" for value in row] for row in rows]
    return [[str(value) for value in row] for row in rows]


def _entry(value: Any, key: str, place: str) -> Any:
    """A value of info such that reading gives it back: as it is where that works, as JSON otherwise."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if key in ("stress", "virial"):  # names that the format keeps for nine numbers
        if np.shape(value) != (3, 3):
            raise ValueError(
                f"{place}: info[{key!r}] has shape {np.shape(value)}; expected (3, 3), or another name"
            )
        return np.asarray(value, dtype=float)
    vector = isinstance(value, np.ndarray) and value.ndim == 1 and value.size > 1 and value.dtype.kind in "fib"
    if vector or isinstance(value, int | float):
        return value
    if isinstance(value, str) and "\n" not in value:
        text = value.replace("\\", "\\\\")  # the format takes a backslash for the start of an escape
        with suppress(ValueError):
            back = _info(f"k={escape(text)}").get("k")
            if isinstance(back, str) and back == value:
                return text
    try:
        if isinstance(value, list | tuple):
            np.array(value)  # ASE, too, makes an array of it, and fails where its rows differ in length
        text = json.dumps(value.tolist() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError) as error:
        what = f"{place}: info[{key!r}], a {type(value).__name__},"
        raise ValueError(f"{what} is nothing that extended XYZ can hold; leave it out") from error
    return "_JSON " + text.replace("\\", "\\\\")
