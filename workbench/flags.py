"""Arguments of the command line, and what they name: settings, structures, models.

Flags are made from the dataclasses and signatures behind them, so that a setting, its default and its description are
written once. Rooms are imported inside the functions, for `workbench --help` needs none of them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

if TYPE_CHECKING:
    from workbench.models import Potential
    from workbench.stored import StoredFrames
    from workbench.structures import Frames

# How `structures.read` may be told to read a file.
READING = ("energy", "forces", "stress", "charges", "dipole", "charge", "spin", "units")


def add_flags(parser: argparse._ActionsContainer, owner: Any, names: Sequence[str]) -> None:
    """A flag for each of these parameters of a function or fields of a dataclass.

    One that is not given leaves no trace, so that its default stands where it is defined and nowhere else.
    """
    parameters, types = inspect.signature(owner).parameters, get_type_hints(owner)
    said = described(owner, list(parameters))
    for name in names:
        told_at = [other for other, text in said.items() if f"`{name}`" in text]
        meaning = said.get(name) or "".join(f"see --{other}" for other in told_at) or name.replace("_", " ")
        default = parameters[name].default
        shown = "" if default in (None, inspect.Parameter.empty) else f" [{default}]"
        kind = _kind(types[name])
        form: dict[str, Any] = {"type": kind, "metavar": {int: "N", float: "X"}.get(kind, "WORD")}
        if kind is bool:
            form = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            help=(meaning + shown).replace("%", "%%"),
            **form,
        )


def given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The flags among `names` that the user gave."""
    return {name: getattr(args, name) for name in names if hasattr(args, name)}


def described(owner: Any, names: Sequence[str]) -> dict[str, str]:
    """What a docstring of the house form says of each name: "name   meaning", continued further right; one meaning may
    stand for "this, that" or for "first ... last" of `names`."""
    said: dict[str, str] = {}
    current: list[str] = []
    for line in (inspect.getdoc(owner) or "").splitlines():
        entry = re.match(r"(\w+(?:(?:, | \.\.\. )\w+)*) {2,}(\S.*)", line)
        if entry:
            current = re.split(r", | \.\.\. ", entry[1])
            if " ... " in entry[1]:
                current = list(names[names.index(current[0]) : names.index(current[-1]) + 1])
            said |= dict.fromkeys(current, entry[2])
        elif line.startswith("   "):
            said |= {name: f"{said[name]} {line.strip()}" for name in current}
        else:
            current = []
    return said


def _kind(annotation: Any) -> type:
    """The type in which a flag's word is read: of "float | None", float. A bool has no word."""
    kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
    return kinds[0] if kinds[0] in (int, float, bool) else str


def settings(words: Sequence[str], config: type) -> dict[str, Any]:
    """`--set NAME=VALUE` as values of a model's Config: ["cutoff=4", "long_range=false"] -> {...}.

    Raises ValueError for a word without "=" or a value of another type; a name unknown to `config` is kept.
    """
    types = get_type_hints(config)
    found = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign:
            raise ValueError(f"--set {word}: expected NAME=VALUE, such as --set cutoff=4")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        kind = types.get(name)
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind or str)
        if kind is float and type(value) is int:
            value = float(value)
        if wanted and type(value) is not kind:
            raise ValueError(f"--set {word}: {name} is {wanted}, such as {name}={getattr(config, name)}")
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def add_data(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """DATA, many structures, and how to read them."""
    from workbench.structures import read

    parser.add_argument(
        "data",
        metavar="DATA",
        nargs=nargs,
        help="structures: a file, or a data set by name (workbench data list)",
    )
    group = parser.add_argument_group("how to read DATA")
    group.add_argument("--index", default=":", metavar="FRAMES", help="as in ASE: 0:100, ::10, -1 [all]")
    group.add_argument("--split", metavar="WORD", help='only frames whose info["split"] is WORD')
    for name, meaning in described(read, READING).items():
        if name in READING:
            group.add_argument(f"--{name}", default=argparse.SUPPRESS, metavar="KEY", help=meaning)


def add_structure(parser: argparse.ArgumentParser) -> None:
    """STRUCTURE, one frame of a file or of a data set."""
    parser.add_argument("data", metavar="STRUCTURE", help="a file, or a data set by name (workbench data list)")
    parser.add_argument(
        "--index", type=int, default=0, metavar="N", help="which frame of it; -1 is the last [0]"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back the log lines of `read` about what looks wrong in the data."""
    log = logging.getLogger("workbench")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def frames(name: str, index: str | int = ":", split: str | None = None, **keys: str) -> Frames | StoredFrames:
    """The structures of a file, of a data set by name, or of a published one that was fetched.

    keys   how to read a file, as `structures.read` takes them

    Stored frames stay on disk. Raises FileNotFoundError where there is nothing of that name, ValueError as `read` does
    or when nothing is left.
    """
    from workbench import catalogue
    from workbench.published import PUBLISHED
    from workbench.stored import is_stored, open_frames
    from workbench.structures import read

    path = Path(name)
    if path.exists() and not is_stored(path):
        return _of_split(read(name, index=index, **keys), name, split)
    if keys and (path.exists() or name in catalogue.DATASETS or name in PUBLISHED):
        raise ValueError(
            f"--{next(iter(keys))} is for files; {name} is read as the catalogue says, or was stored"
        )
    if path.exists():
        whole: Frames | StoredFrames = open_frames(path)
    elif name in catalogue.DATASETS:
        with quiet():  # the catalogue says itself how to use a set
            whole = catalogue.load(name)
    elif name in PUBLISHED:
        whole = catalogue.fetched(name)
    else:
        close = get_close_matches(name, [*catalogue.DATASETS, *PUBLISHED], n=1)
        raise FileNotFoundError(
            f"there is no file {name}, and no data set of that name; there are {', '.join(catalogue.DATASETS)}, and "
            "those of workbench data list. " + (f"Did you mean {close[0]}?" if close else "Check the path")
        )
    return _of_split(_picked(whole, index, name), name, split)


def _picked(whole: Frames | StoredFrames, index: str | int, name: str) -> Frames | StoredFrames:
    """The frames that an index means."""
    from ase.io.formats import string2index

    from workbench.structures import Frames

    wanted: Any = string2index(index) if isinstance(index, str) else index
    if not isinstance(wanted, slice):
        if not -len(whole) <= wanted < len(whole):
            raise ValueError(f"{name} has no frame {wanted}; it has {len(whole)}, counted from 0")
        wanted = slice(wanted, wanted + 1 or None)
    part = whole[wanted]
    return Frames(part, name, whole.sources) if isinstance(part, list) else part


def _of_split(found: Frames | StoredFrames, name: str, split: str | None) -> Frames | StoredFrames:
    """Those frames whose info["split"] is this word."""
    from workbench.stored import StoredFrames
    from workbench.structures import Frames

    if split is None:
        return found
    given = found.splits if isinstance(found, StoredFrames) else [frame.info.get("split") for frame in found]
    words = list(map(str, given))
    left = [i for i, word in enumerate(words) if word == split]
    if not left:
        raise ValueError(f'no frame of {name} has info["split"] = {split}; there are {sorted(set(words))}')
    if isinstance(found, StoredFrames):
        return found.part(left)
    return Frames([found[i] for i in left], f"{name}, {split}", found.sources)


def add_model(parser: argparse.ArgumentParser) -> None:
    """RUN_OR_CHECKPOINT, and where and how precisely to compute."""
    from workbench.runs import CHOICES

    parser.add_argument(
        "model",
        metavar="RUN_OR_CHECKPOINT",
        help="the folder of a run, a .safetensors file, a checkpoint folder of lorem-jax, or a .pt file of fairchem",
    )
    parser.add_argument("--which", choices=("best", "last"), default="best", help="model of a run [best]")
    parser.add_argument(
        "--device",
        choices=CHOICES["device"],
        default="auto",
        help="auto takes the GPU where there is one [auto]",
    )
    parser.add_argument(
        "--precision", choices=CHOICES["precision"], help="to compute in [that of the checkpoint]"
    )


def model(args: argparse.Namespace) -> Potential:
    """The trained model that the arguments of `add_model` name, on its device."""
    import torch

    found = trained(args.model, args.which)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no NVIDIA GPU here; use --device cpu")
    found.to("cuda" if args.device != "cpu" and torch.cuda.is_available() else "cpu")
    return found.to(getattr(torch, args.precision)) if args.precision else found


def trained(name: str | Path, which: str = "best") -> Potential:
    """The model in the folder of a run, a checkpoint, a checkpoint folder of lorem-jax, or a file of fairchem."""
    from workbench import checkpoint
    from workbench.official import load_allscaip, load_lorem
    from workbench.runs import Run

    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"there is no run and no checkpoint {path}. Train one with workbench train")
    if (path / "model" / "model.msgpack").is_file():
        return load_lorem(path)
    if path.suffix == ".pt":
        return load_allscaip(path)
    return Run.open(path).model(which) if path.is_dir() else checkpoint.load(path)


def one_line(facts: Mapping[str, Any]) -> str:
    """cutoff=5.0, max_degree=6: a configuration to read."""
    return ", ".join(f"{name}={value}" for name, value in facts.items())
