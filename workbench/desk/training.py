"""What the TrainingPanel is handed: a form of settings, and trainings to start, watch, reopen and go on with."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import ase

from workbench.desk.field import Field
from workbench.desk.frames import untouched
from workbench.desk.learning import Training, in_words, under_way
from workbench.desk.settings import GIVEN, data_field, details, model_fields, training_fields
from workbench.models import MODELS
from workbench.runs import MAY_CHANGE, Run

LISTED = 20  # earlier runs


def training(
    data: str | Path | Sequence[ase.Atoms] = "ethanol",
    *,
    folder: str | Path = "runs",
    model: str = "lorem",
    preset: str = "tiny",
    **overrides: Any,
) -> dict[str, Any]:
    """Keyword arguments of a TrainingPanel.

    data        a data set of the catalogue, the path of a file, or labelled structures
    folder      holds the runs, each in a folder of its own
    overrides   what the form says at first: settings of TrainingConfig and of the model's Config; `structures`, how
                many to learn from; `name`, of the run's folder

    >>> TrainingPanel(**desk.training("ethanol", epochs=20))                  # doctest: +SKIP

    Raises ValueError for an unknown model or preset or a value out of bounds, TypeError for an unknown setting.
    """
    given = None if isinstance(data, str | Path) else untouched(data)
    fields = [
        data_field(str(data) if given is None else GIVEN, given is not None),
        *model_fields(model, preset),
        *training_fields(),
        Field("structures", "structures", 0, low=0, high=10**7, help="learn from so many of them; 0 is all"),
        Field(
            "name",
            "name of the run",
            "",
            help=f"its folder in {folder}; one is made up where nothing stands here",
        ),
    ]
    fields.sort(key=lambda field: field.group != "")  # those in sight first
    own = [field.name for field in details(model, preset)]
    _refuse_unknown(overrides, [field.name for field in fields] + own)
    desk = _Desk(Path(folder), given, model, {name: overrides[name] for name in own if name in overrides})
    return {
        "fields": [_changed(field, overrides) for field in fields],
        "choices": desk.choices,
        "details": desk.details,
        "advice": desk.advice,
        "begin": desk.begin,
        "earlier": desk.earlier,
        "reopen": desk.reopen,
        "proceed": desk.proceed,
    }


def _refuse_unknown(overrides: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in overrides:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
            raise TypeError(f"desk.training got an unknown setting {name!r}. {hint}")


def _changed(field: Field, overrides: Mapping[str, Any]) -> Field:
    if field.name not in overrides:
        return field
    value = overrides[field.name]
    return replace(field, default=float(value) if isinstance(field.default, float) else value)


@dataclass(frozen=True)
class Entry:
    """A line in the list of runs."""

    name: str
    words: str


@dataclass(frozen=True)
class _Desk:
    """What stands behind the panel's callables.

    folder   of the runs
    given    structures from a notebook
    model    whose settings `own` are
    own      settings of the model that a notebook asked for
    """

    folder: Path
    given: Sequence[ase.Atoms] | None
    model: str
    own: Mapping[str, Any]

    def choices(self, values: Mapping[str, Any]) -> dict[str, list[str]]:
        """What may be chosen where that hangs on other choices."""
        return {"preset": list(MODELS[values["model"]].presets)}

    def details(self, values: Mapping[str, Any]) -> list[Field]:
        """The settings of the model that is chosen."""
        found = details(values["model"], values["preset"])
        return [_changed(field, self.own) for field in found] if values["model"] == self.model else found

    def advice(self, values: Mapping[str, Any]) -> str:
        """A sentence on the choices, or ""."""
        model = MODELS[values["model"]]
        if not model.rotation_invariant and not values["rotate"]:
            return (
                f"The energy of {model.name} may change when a structure is turned. Switch on 'rotate' (what is "
                "learned), and it learns not to."
            )
        if model.rotation_invariant and values["rotate"]:
            return f"Turning changes no energy of {model.name}, which therefore learns nothing from 'rotate'."
        return ""

    def begin(self, values: Mapping[str, Any], details: Mapping[str, Any]) -> Training:
        """Start a training in a folder of its own, and return at once."""
        name = values["name"].strip()
        if Path(name).name != name or name == "..":
            raise ValueError(f"the name of the run is {name!r}; expected a plain word, which becomes a folder")
        return Training(self.folder / (name or self._reserved(values)), values, details).begin(self.given)

    def _reserved(self, values: Mapping[str, Any]) -> str:
        """A name that no run has, with its folder made, so that no other notebook takes it meanwhile."""
        data = "frames" if values["data"] == GIVEN else Path(values["data"]).name.split(".")[0]
        stem = re.sub(r"[^\w-]+", "_", f"{data}-{values['model']}-{values['preset']}")
        for number in itertools.count(1):
            try:
                (self.folder / f"{stem}-{number}").mkdir(parents=True)
                break
            except FileExistsError:
                continue
        return f"{stem}-{number}"

    def earlier(self) -> list[Entry]:
        """The runs in the folder, the newest first, at most LISTED."""
        begun = sorted(self.folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        return [Entry(path.parent.name, _summary(path.parent)) for path in begun[:LISTED]]

    def reopen(self, name: str) -> Training:
        """The training of a run in the folder. Raises FileNotFoundError where there is none."""
        return Training.reopen(self.folder / name, self.given)

    def proceed(self, name: str, values: Mapping[str, Any]) -> Training:
        """Go on with a run; only its length, its device and how often it saves may be other than they were.

        Raises ValueError for one that is under way.
        """
        found = Training.reopen(self.folder / name)
        if found.alive:
            raise ValueError(f"{name} is being trained already")
        changed = {setting: values[setting] for setting in MAY_CHANGE if setting in values}
        again = Training(self.folder / name, {**values, **found.values, **changed}, found.details)
        return again.begin(self.given, resume=True)


def _summary(folder: Path) -> str:
    """How a run ended, and the errors of its best model."""
    run = Run.open(folder)
    ended = run.outcome
    without = "under way" if under_way(folder) else "no end written down"
    words = [in_words(ended).split(";")[0] if ended else without]
    best = _best_row(folder / "metrics.csv")
    for name, unit in (("energy_mae_meV_per_atom", "meV/atom"), ("forces_mae_meV_per_A", "meV/Å")):
        if best.get(f"validation_{name}"):
            words.append(f"{float(best[f'validation_{name}']):.3g} {unit}")
    return " · ".join([run.model_name, *words])


def _best_row(path: Path) -> dict[str, str]:
    """The last row of a metrics file that was the best until then; read without its many other rows."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as file:
        header, best = file.readline(), ""
        for line in file:
            if line.endswith(",1.0\n"):
                best = line
    return next(csv.DictReader([header, best]), {})
