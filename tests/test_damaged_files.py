"""Damaged files, thousands of them: `read` gives what they say, all of it, or an error that names the place.

What it gives is held to laws of conservation, which need no second reader: every number of a text file is in the
structures that come of it, and every array of a binary one.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io
import h5py
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import voigt_6_to_full_3x3_stress
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.structures import Frames, labels, read

# The same examples at every run, however slow the machine.
EVERY = {"derandomize": True, "database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf"


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


def outcome(path: Path, content: bytes) -> Frames | None:
    """What `read` gives; None where it refuses, which it must do in one way only."""
    path.write_bytes(content)
    try:
        frames = read(path)
    except ValueError as error:
        refusal = error
    else:
        return sound_or_said(frames)
    assert type(refusal) is ValueError, repr(refusal)
    assert str(refusal).startswith(path.name), refusal
    assert 10 < len(str(refusal)) < 1500, refusal
    return None


def sound_or_said(frames: Frames) -> Frames:
    """Frames whose numbers are finite, or are reported."""
    assert len(frames) > 0
    for i, atoms in enumerate(frames):
        numbers = [atoms.positions, atoms.cell.array, *labels(atoms).values()]
        sane = all(np.isfinite(value).all() for value in numbers) and len(atoms)
        if not sane:  # then it must be said
            assert any(f.severity == "error" and i in f.frames for f in frames.findings), atoms
    return frames


# Extended XYZ

COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3:mulliken_charges:R:1"
MOLECULES = f"""3
{COLUMNS} energy=-2081.5 dipole="0.5 -0.25 1.5" total_charge=0 config_type=liquid id=17
O 0.0 0.125 0.1193 0.25 0.5 -0.75 -0.5
H 0.0 0.7632 -0.4770 -0.125 0.375 0.625 0.25
H 0.0 -0.7632 -0.4775 -0.0625 -0.875 0.1875 0.25
2
{COLUMNS} energy=-31.75 dipole="0.0 0.0 0.0625" total_charge=1 config_type=gas id=18
H 0.0 0.0 0.35 0.0 0.0 1.25 0.5
H 0.0 0.0 -0.4 0.0 0.0 -1.25 0.5
"""
TAGGED = "Properties=species:S:1:pos:R:3:tags:I:1:fixed:L:1:REF_forces:R:3"
CRYSTALS = f"""2
Lattice="4.1 0.0 0.0 0.2 4.2 0.0 0.0 0.3 4.3" {TAGGED} REF_energy=-7.5 pbc="T T F" step=1
Na 0.1 0.2 0.3 11 T 0.5 0.25 0.125
Cl 2.1 2.2 2.3 17 F -0.5 -0.25 -0.125

2
Lattice="4.1 0.0 0.0 0.2 4.2 0.0 0.0 0.3 4.4" {TAGGED} REF_energy=-7.25 pbc="T T F" step=2
Na 0.15 0.25 0.35 11 T 0.75 0.375 0.0625
Cl 2.15 2.25 2.35 17 F -0.75 -0.375 -0.0625
"""
PLAIN = "3\nwater\nO 0 0 0.1193\nH 0 0.7632 -0.4770\nH 0 -0.7632 -0.4775\n1\n\nHe 0 0 0\n"
PIECES = (
    *("nan", "inf", "-", "1e400", "1e30", "1_0", "1D5", "T", "0", "9", ".", "X", "é", "\u0663", " ", "\t", "\n", "\r"),
    *('"', "'", "{", "]", "=", "\\", ":", ",", "\0"),
    *("energy=5 ", " energy=6", 'name="" ', "Lattice=", "pbc=T", "_JSON "),
    *("VEC1 1 0 0\n", "forces:R:3:", "O 0 0 0\n", "2\n\n", "100000000000"),
)  # fmt: skip


def words(text: str) -> Counter[float | str]:
    """Numbers of a text, by their size, as forces may be gradients."""
    found = [w for w in re.split(r"[\s,=\"'{}\[\]\\]+", text) if re.fullmatch(NUMBER, w, re.ASCII)]
    return Counter(abs(float(w)) if np.isfinite(float(w)) else "not finite" for w in found)


def told(values: Any) -> Counter[float | str]:
    """Numbers in what a structure holds."""
    if isinstance(values, dict):
        return sum((told(key) + told(value) for key, value in values.items()), Counter())
    if isinstance(values, str):
        return words(values)
    if isinstance(values, list | tuple):
        return sum(map(told, values), Counter())
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        return sum((told(str(value)) for value in array.ravel()), Counter())
    return Counter(abs(float(v)) if np.isfinite(v) else "not finite" for v in array.ravel())


def assert_nothing_is_lost(text: str, frames: Frames) -> None:
    """Line by line: each is of one frame, and its numbers are in the atom, or the entries, that it stands for."""
    lines = text.split("\n")
    at = 0
    unused = any(source.others for source in frames.sources)  # which is said there
    for atoms in frames:
        while not lines[at].strip():
            at += 1
        assert int(lines[at]) == len(atoms)
        found = labels(atoms)
        comment, rows = lines[at + 1].strip(), lines[at + 2 : at + 2 + len(atoms)]
        at += 2 + len(atoms)
        for i, row in enumerate(rows):
            own = [array[i] for key, array in atoms.arrays.items() if key != "numbers"]
            own += [array[i] for key, array in found.items() if key in ("forces", "charges")]
            assert unused or not words(row) - told(own), (row, own)
        cell = list(atoms.cell.array)
        while at < len(lines) and lines[at].lstrip().startswith("VEC"):
            assert not words(lines[at]) - told(cell)
            at += 1
        if "_JSON" in comment or "=" not in comment or unused:
            continue
        rest = re.sub(r"Properties=\S+", "", comment)
        held = [
            atoms.info,
            cell,
            atoms.pbc,
            {k: v for k, v in found.items() if k not in ("forces", "charges", "stress")},
        ]
        if "stress" in found:
            held += [voigt_6_to_full_3x3_stress(found["stress"])]
        assert not words(rest) - told(held) - told(atoms.pbc), (comment, held)
    assert not "".join(lines[at:]).strip(), lines[at:]


@st.composite
def spoilt_text(draw: st.DrawFn, text: str) -> bytes:
    """A text after one to three accidents."""
    content = text
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        lines = content.split("\n")
        i, j = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        accident = draw(st.integers(0, 8))
        if accident == 0:
            content = content[:at]
        elif accident == 1:
            content = content[:at] + content[at + draw(st.sampled_from([1, 2, 7, 60])) :]
        elif accident == 2:
            content = content[:at] + draw(st.sampled_from(PIECES)) + content[at:]
        elif accident == 3:
            content = content[:at] + draw(st.sampled_from(PIECES)) + content[at + 1 :]
        elif accident == 4:
            lines[i], lines[j] = lines[j], lines[i]
            content = "\n".join(lines)
        elif accident == 5:
            content = "\n".join(lines[:i] + [lines[j]] * draw(st.integers(0, 2)) + lines[i + 1 :])
        elif accident == 6:  # columns change places
            cells = lines[i].split(" ")
            a, b = (draw(st.integers(0, len(cells) - 1)) for _ in range(2))
            cells[a], cells[b] = cells[b], cells[a]
            content = "\n".join([*lines[:i], " ".join(cells), *lines[i + 1 :]])
        else:  # one number becomes something else
            places = list(re.finditer(r"-?\d+\.?\d*", content))
            if places:
                place = draw(st.sampled_from(places))
                content = content[: place.start()] + draw(st.sampled_from(PIECES)) + content[place.end() :]
    return content.encode()


@pytest.mark.parametrize("kind", ["molecules", "crystals", "plain"])
def test_damaged_extended_xyz(kind: str, folder: Path) -> None:
    text = {"molecules": MOLECULES, "crystals": CRYSTALS, "plain": PLAIN}[kind]
    path = folder / f"{kind}.xyz"
    counts: Counter[str] = Counter()

    @settings(max_examples=1000, **EVERY)
    @given(spoilt_text(text))
    def trial(content: bytes) -> None:
        frames = outcome(path, content)
        counts["refused" if frames is None else "read"] += 1
        if frames is not None:
            assert_nothing_is_lost(content.decode(), frames)

    assert_nothing_is_lost(text, outcome(path, text.encode()) or Frames([], "", ()))
    trial()
    assert min(counts.values()) > 100  # both happen


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("config_type", 'name="a config_type', "is a quote not closed"),
        ("energy=", "energy=-1 energy=", "energy comes twice"),
        ("Properties=", "properties=", "properties must be spelt Properties"),
        ("config_type", 'lattice="9 0 0 0 9 0 0 0 9" config_type', "lattice must be spelt Lattice"),
        ("config_type", 'pbc="T T X" config_type', "expected three of T and F"),
        ("config_type", 'pbc="T T" config_type', "expected three of T and F"),
        ("mulliken_charges:R:1", "forces:R:1", "forces is given twice"),
        ("mulliken_charges:R:1", "Z:R:1", "atom 0 is O by its name and X by its number"),
        ("mulliken_charges:R:1", "ok:L:1", r"line 3\): '-0.5' is not T or F"),
        ("0.1193", "0.1_193", r"line 3\): '0.1_193' is not a number"),
        ("-2081.5", "-20_81.5", "'-20_81.5'; expected numbers"),
        ("-2081.5", r"-2\081.5", "a backslash in a number"),
        ("0.1193", "1D-1", "could not convert"),
        ("total_charge=0", "total_charge=1e30", r"the charge is 1e\+30"),
        ("\n2\nP", "\nVEC1 9 0 0\n2\nP", "VEC lines"),
    ],
)
def test_what_used_to_be_lost_in_silence(before: str, after: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(MOLECULES.replace(before, after, 1))
    with pytest.raises(ValueError, match=rf"^a.xyz, frame 0.*{message}"):
        read(tmp_path / "a.xyz")


def test_an_empty_value_takes_nothing_with_it(tmp_path: Path) -> None:
    for empty in ('name="" energy', "name= energy", "name = '' energy"):
        (tmp_path / "a.xyz").write_text(MOLECULES.replace("energy", empty))
        frames = read(tmp_path / "a.xyz")
        assert [float(labels(atoms)["energy"]) for atoms in frames] == [-2081.5, -31.75]
        assert frames[0].info["name"] == ""


def test_absurd_numbers_are_errors(tmp_path: Path) -> None:
    for before, after, words in (
        ("-2081.5", "-2081.5e30", "energy beyond 1e+09 per atom"),
        ("0.625", "0.625e30", "forces beyond"),
        ("0.1193", "0.1193e30", "positions or cell beyond 1e5"),
    ):
        (tmp_path / "a.xyz").write_text(MOLECULES.replace(before, after, 1))
        errors = [f for f in read(tmp_path / "a.xyz").findings if f.severity == "error"]
        assert any(words in f.what and f.frames == (0,) for f in errors), errors


def test_a_cell_that_would_fill_the_memory_with_pairs_is_only_an_error(tmp_path: Path) -> None:
    crystal = bulk("NaCl", "rocksalt", 5.6, cubic=True) * (3, 3, 3)
    crystal.set_cell([0.2, 0.2, 0.2])
    heap = ase.Atoms("H400", np.zeros((400, 3)))
    ase.io.write(tmp_path / "a.xyz", [crystal, heap])
    errors = [f for f in read(tmp_path / "a.xyz").findings if "more than two atoms for each" in f.what]
    assert [f.frames for f in errors] == [(0, 1)]


# Arrays: .npz and HDF5

N_FRAMES, N_ATOMS = 4, 3


def arrays() -> dict[str, np.ndarray]:
    """Water, four times, as MD17 has its molecules. Not as many frames as atoms, nor as Cartesian directions."""
    rng = np.random.default_rng(0)
    return {
        "z": np.array([8, 1, 1]),
        "R": molecule("H2O").positions + 0.05 * rng.normal(size=(N_FRAMES, N_ATOMS, 3)),
        "E": rng.normal(size=N_FRAMES) - 76,
        "F": rng.normal(size=(N_FRAMES, N_ATOMS, 3)),
        "charges": rng.normal(size=(N_FRAMES, N_ATOMS)),
        "cell": 9 * np.eye(3),
        "step": np.arange(N_FRAMES) + 100,
    }


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def spoil(array: np.ndarray, how: int, draw: st.DrawFn) -> np.ndarray | None:
    """One array after an accident; None where it is gone."""
    array = np.atleast_1d(array)
    value = draw(st.sampled_from([np.nan, np.inf, -1.0, 0.5, 1e30, 300.0, 0.0]))
    ways: list[Callable[[], np.ndarray | None]] = [
        lambda: None,
        lambda: array[:-1],
        lambda: np.concatenate([array, array[:1]]),
        lambda: array[..., : array.shape[-1] - 1],
        lambda: array.T,
        lambda: array.ravel(),
        lambda: array[None],
        lambda: array[..., None],
        lambda: array[:0],
        lambda: array.astype("S8"),
        lambda: array.astype(complex),
        lambda: array.astype(bool),
        lambda: array.astype("f4"),
        lambda: np.where(np.arange(array.size).reshape(array.shape) == array.size // 2, value, array),
        lambda: np.array("water"),
        lambda: np.float64(value),
    ]
    return ways[how]()


@st.composite
def spoilt_arrays(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Arrays of which one or two had an accident, or got another name."""
    block = arrays()
    for _ in range(draw(st.integers(1, 2))):
        key = draw(st.sampled_from(sorted(block)))
        how = draw(st.integers(0, 17))
        if how < 16:
            spoilt = spoil(block.pop(key), how, draw)
            if spoilt is not None:
                block[key] = np.asarray(spoilt)
        elif how == 16:
            block[draw(st.sampled_from(["energy", "forces", "x", "e", "q", "pbc", "positions"]))] = block.pop(
                key
            )
        else:  # the same twice, in another spelling
            block[key.swapcase()] = block[key] + 1 if block[key].dtype.kind in "fi" else block[key]
    return block


def assert_arrays_are_kept(block: dict[str, np.ndarray], frames: Frames) -> None:
    """Labels are the rows of the array that the sources name, and no array of the field's names is passed over."""
    if not all(np.all(block.get(key, 1)) for key in ("z", "Z")):
        return  # 0 is no atom
    for source in frames.sources:
        assert source.n_frames == source.n_total == len(frames)
        array = block[source.key].astype(float)
        rows = array.reshape(len(frames), -1) if array.ndim else np.full((len(frames), 1), array)
        for atoms, row in zip(frames, rows, strict=True):
            label = (
                atoms.info[source.quantity]
                if source.quantity in ("charge", "spin")
                else labels(atoms)[source.quantity]
            )
            np.testing.assert_array_equal(np.ravel(label), row)
    told_of = {name for s in frames.sources for name in (s.key, *s.others)}
    assert {"E", "F", "charges", "energy", "forces"} & set(block) <= told_of
    keys = [key for key in ("R", "positions", "r") if key in block]
    assert any(
        np.array_equal(np.concatenate([a.positions for a in frames]), block[k].reshape(-1, 3), equal_nan=True)
        for k in keys
    )


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_damaged_arrays(suffix: str, folder: Path) -> None:
    path = folder / f"water.{suffix}"
    counts: Counter[str] = Counter()

    def packed(block: dict[str, np.ndarray]) -> bytes:
        content = io.BytesIO()
        if suffix == "npz":
            np.savez(content, **block)  # type: ignore[arg-type]
        else:
            with h5py.File(content, "w") as file:
                for key, value in block.items():
                    file[f"a/{key}"] = value.astype("S") if value.dtype.kind == "U" else value
        return content.getvalue()

    @settings(max_examples=300, **EVERY)
    @given(spoilt_arrays())
    def trial(block: dict[str, np.ndarray]) -> None:
        frames = outcome(path, packed(block))
        counts["refused" if frames is None else "read"] += 1
        if frames is not None:
            assert_arrays_are_kept(block, frames)

    assert_arrays_are_kept(arrays(), outcome(path, packed(arrays())) or Frames([], "", ()))
    trial()
    assert min(counts.values()) > 50


def test_what_is_pickled_stays_so(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "run")], dtype=object)
    np.savez(tmp_path / "a.npz", **{**arrays(), "name": trap}, allow_pickle=True)
    with pytest.raises(ValueError, match=r"^a\.npz: .*allow_pickle=False"):
        read(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(trap.dumps())
    with pytest.raises(ValueError, match=r"^b\.npz: "):
        read(tmp_path / "b.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("E", np.float64(-76), "E is one number for 4 frames"),
        ("E", np.zeros(4, complex), "expected numbers"),
        ("z", np.array([8, 1, -1]), "z goes from -1 to 8"),
        ("z", np.array([8, 1, 300]), "z goes from 1 to 300"),
        ("z", np.array([True, True, True]), "expected whole numbers"),
        ("z", np.array([8, 1, np.inf]), "expected whole numbers"),
        ("z", np.array(["O", "H", "Qq"]), "'Qq', which is no element"),
        ("cell", np.ones(3), r"cell has shape \(3,\)"),
        ("cell", np.ones((2, 3, 3)), r"cell has shape \(2, 3, 3\)"),
        ("pbc", np.array([1, 0, 2]), "pbc has shape"),
    ],
)
def test_arrays_that_used_to_be_taken_for_something_else(
    key: str, value: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **{**arrays(), key: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"^a\.npz.*{message}"):
        read(tmp_path / "a.npz")


def test_a_name_in_two_spellings_is_two_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**arrays(), "e": np.zeros(N_FRAMES)})  # type: ignore[arg-type]
    frames = read(tmp_path / "a.npz")
    assert float(labels(frames[0])["energy"]) == arrays()["E"][0]
    assert next(s for s in frames.sources if s.quantity == "energy").others == ("e",)


def test_half_a_group_of_hdf5_is_not_passed_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, value in arrays().items():
            file[f"good/{key}"] = value
            if key != "z":
                file[f"bad/{key}"] = value
    with pytest.raises(ValueError, match=r"^a\.h5, group /bad: it holds positions \(R\) but no numbers"):
        read(tmp_path / "a.h5")


def test_damaged_words_of_hdf5_do_not_end_the_process(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, value in arrays().items():
            file[key] = value
        file["smiles"] = ["O"] * N_FRAMES
    content = (tmp_path / "a.h5").read_bytes()
    assert read(tmp_path / "a.h5")[3].info["smiles"] == "O"
    heap = content.index(b"GCOL")  # where HDF5 keeps words of any length
    for at in (heap + 5, heap + 16, heap + 24, heap + 30):
        outcome(tmp_path / "b.h5", content[:at] + b"\xff\xff" + content[at + 2 :])


def test_a_calculation_that_was_cut_short_says_so(tmp_path: Path) -> None:
    # ASE gives the steps it finds in half of a vasprun.xml, and says nothing.
    (tmp_path / "vasprun.xml").write_text(
        "<?xml version='1.0'?>\n<modeling><generator></generator>\n<calculation>"
    )
    with pytest.raises(ValueError, match=r"^vasprun\.xml: .*(3|no element)"):
        read(tmp_path / "vasprun.xml")


# Binary and text formats of others, one byte after the other

CRYSTAL = bulk("NaCl", "rocksalt", 5.6, cubic=True)


def whole_file(name: str, folder: Path) -> tuple[bytes, int]:
    """A sound file of a format, and how many frames it has."""
    path = folder / name
    frames = []
    for i in range(3):
        atoms = CRYSTAL.copy()
        atoms.rattle(0.1, seed=i)
        forces = np.random.default_rng(i).normal(size=(8, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-1.5 - i, forces=forces)
        frames.append(atoms)
    if name.endswith(".npz"):
        np.savez(path, **arrays())  # type: ignore[arg-type]
        return path.read_bytes(), N_FRAMES
    if name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            for key, value in arrays().items():
                file[key] = value
        return path.read_bytes(), N_FRAMES
    several = name.endswith((".traj", ".json", ".db"))
    if name.endswith(".db"):
        for atoms in frames:
            ase.io.write(path, atoms, append=True)
    else:
        ase.io.write(path, frames if several else frames[0])
    return path.read_bytes(), 3 if several else 1


FORMATS = {"a.npz": 250, "a.h5": 120, "a.traj": 250, "a.json": 150, "POSCAR": 200, "a.cif": 150, "a.db": 40}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore")  # of ASE, about what it reads
def test_flipped_and_missing_bytes(name: str, folder: Path) -> None:
    content, n_frames = whole_file(name, folder)
    path = folder / f"damaged_{name}" if name != "POSCAR" else folder / name
    counts: Counter[str] = Counter()

    @settings(max_examples=FORMATS[name], **EVERY)
    @given(
        st.integers(0, len(content) - 1), st.sampled_from(["cut", "flip", "drop", "add"]), st.integers(1, 255)
    )
    def trial(at: int, how: str, byte: int) -> None:
        spoilt = {
            "cut": content[:at],
            "flip": content[:at] + bytes([content[at] ^ byte]) + content[at + 1 :],
            "drop": content[:at] + content[at + byte :],
            "add": content[:at] + bytes([byte]) + content[at:],
        }[how]
        if not spoilt:
            return
        frames = outcome(path, spoilt)
        counts["refused" if frames is None else "read"] += 1
        assert frames is None or len(frames) == n_frames

    trial()
    assert counts["refused"] > 0.1 * FORMATS[name]


def test_noise_is_no_structure(folder: Path) -> None:
    @settings(max_examples=300, **EVERY)
    @given(
        st.binary(min_size=1, max_size=300),
        st.sampled_from(["xyz", "xyz.gz", "npz", "h5", "traj", "db", "json"]),
    )
    def trial(content: bytes, suffix: str) -> None:
        outcome(folder / f"noise.{suffix}", content)

    trial()
