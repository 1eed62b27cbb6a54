"""Trained models to look into: which there are, and what one of them makes of a structure that it was not taught."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase

from workbench import catalogue
from workbench.desk.learning import FORM
from workbench.models.contract import Potential
from workbench.predict import Prediction, predict
from workbench.runs import Run
from workbench.structures import read

_TRAINED = ("train", "near")  # parts of a split that are trained on


@dataclass(frozen=True)
class Inside:
    """A model, a structure, and what the one says of the other, with what happened on the way."""

    model: Potential
    atoms: ase.Atoms
    prediction: Prediction


def trained(folder: str | Path, data: str = "") -> list[str]:
    """Names of the runs in `folder` that have a model, the newest first.

    data   only those that were begun with this data set; of any with ""
    """
    found = sorted(Path(folder).glob("*/best.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in found if not data or _asked(path.parent) == data]


def example(folder: str | Path) -> ase.Atoms:
    """A structure that a run has not been trained on, like those that it has.

    It is held out in the data that the run was begun with; of a run that does not say which, in the first data set of
    the catalogue that has just its elements.

    Raises FileNotFoundError where there is no run, ValueError when no data set has its elements.
    """
    frames = _data(Run.open(folder))
    held_out = (atoms for atoms in frames if atoms.info.get("split", "train") not in _TRAINED)
    return next(held_out, frames[0])


def inside(folder: str | Path) -> Inside:
    """The best model of a run, and what it says of its `example`. Raises as `example` does."""
    atoms, model = example(folder), Run.open(folder).model()
    return Inside(model, atoms, predict(model, atoms, diagnose=True))


def _asked(folder: Path) -> str:
    """The data that a run was begun with; "" where that is not written down."""
    form = folder / FORM
    return str(json.loads(form.read_text(encoding="utf-8"))["values"].get("data", "")) if form.is_file() else ""


def _data(run: Run) -> Sequence[ase.Atoms]:
    asked = _asked(run.folder)
    if asked in catalogue.DATASETS:
        return catalogue.load(asked)
    if Path(asked).is_file():
        return read(asked)
    elements = set(run.data["train"]["elements"])
    for name in catalogue.DATASETS:
        frames = catalogue.load(name)
        if {symbol for atoms in frames for symbol in atoms.symbols} == elements:
            return frames
    raise ValueError(f"no data set of the catalogue has just the elements {', '.join(sorted(elements))}")
