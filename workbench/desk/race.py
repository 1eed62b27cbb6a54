"""What the RacePanel is handed: models that learn the same data for the same time, one at a time, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import ase
import torch
from torch import Tensor

from workbench.dataset import GraphDataset
from workbench.desk.field import Field
from workbench.desk.frames import untouched
from workbench.desk.learning import Training
from workbench.desk.settings import GIVEN, data_field, details, training_fields
from workbench.desk.turns import Floor, Turn
from workbench.jobs import Control
from workbench.losses import loss, residuals
from workbench.models import MODELS, Potential
from workbench.predict import properties
from workbench.runs import TrainingConfig
from workbench.stream import Row

NOBODY = "nobody"
PLACES = ("first", "second", "third")
# Settings of a training that all share and a person may change.
SHARED = (
    "batch_size",
    "learning_rate",
    "ema_decay",
    "gradient_clip",
    "loss",
    "energy_weight",
    "forces_weight",
    "device",
)
# Nobody knows beforehand how many epochs the time is for, so the clock ends them and the learning rate stays.
OPEN_END = {"epochs": 1_000_000, "schedule": "constant", "save_every_minutes": 60.0}
TURNS = 20  # about so many for each
TURN_S = (1.0, 5.0)  # not shorter, not longer


def race(
    data: str | Path | Sequence[ase.Atoms] = "ethanol",
    models: Sequence[tuple[str, str]] = (("lorem", "tiny"), ("mlanet", "tiny")),
    *,
    budget_s: float = 60.0,
    seed: int = 0,
    folder: str | Path = "runs",
    **training: Any,
) -> dict[str, Any]:
    """Keyword arguments of a RacePanel: models on the same structures, with the same seed and for the same time.

    Only one model computes at a time. They take turns of a few seconds until each has had `budget_s` of computing:
    they do not slow each other, and what else slows the machine slows all of them alike. Steps and validations count;
    reading the data, making the model and waiting do not. So a race of three lasts three times as long. The learning
    rate is constant, as a schedule would have to know how many epochs the time is for; what is judged is the average
    of the weights (ema_decay). Models that are not rotation invariant learn from turned structures.

    data       a data set of the catalogue, the path of a file, or labelled structures
    models     (name, preset) of two or three
    budget_s   of each
    seed       of the first weights, of the order of the structures, and of the split where the data name none
    folder     holds the runs, which a TrainingPanel opens
    training   settings that all share, of SHARED; and `structures`, how many to learn from

    >>> RacePanel(**desk.race("ethanol", [("lorem", "tiny"), ("allscaip", "tiny")]))    # doctest: +SKIP

    Raises ValueError for an unknown model, another number of them, or a value out of bounds; TypeError for an unknown
    setting.
    """
    if not 2 <= len(models) <= len(PLACES):
        raise ValueError(f"got {len(models)} models; expected two or three")
    given = None if isinstance(data, str | Path) else untouched(data)
    asked = [" ".join(model) for model in models] + [NOBODY] * (len(PLACES) - len(models))
    offered = [f"{name} {preset}" for name in sorted(MODELS) for preset in MODELS[name].presets]
    by_name = {field.name: field for field in training_fields()}
    fields = [
        data_field(str(data) if given is None else GIVEN, given is not None),
        *(_place(number, word, offered) for number, word in enumerate(asked)),
        Field("budget_s", "time for each", float(budget_s), low=1, high=1e6, unit="s", help="of computing"),
        Field("seed", "seed", seed, low=0, high=2**31 - 1, help="of weights, order and split"),
        Field("structures", "structures", 0, low=0, high=10**7, help="learn from so many of them; 0 is all"),
        *(replace(by_name[name], group="how they learn") for name in SHARED),
    ]
    return {"fields": _with(fields, training), "begin": _Desk(Path(folder), given).begin}


def _place(number: int, model: str, offered: Sequence[str]) -> Field:
    """The model in a place; only the last place may stay empty."""
    choices = [NOBODY, *offered] if number == len(PLACES) - 1 else list(offered)
    return Field(
        f"model_{number + 1}", f"{PLACES[number]} model", model, choices=choices, help="model and preset"
    )


def _with(fields: Sequence[Field], overrides: Mapping[str, Any]) -> list[Field]:
    known = ["structures", *SHARED]
    for name in overrides:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
            raise TypeError(f"desk.race got an unknown setting {name!r}. {hint}")
    return [
        replace(f, default=type(f.default)(overrides[f.name])) if f.name in overrides else f for f in fields
    ]


class _Desk:
    """What stands behind the panel's callable."""

    def __init__(self, folder: Path, given: Sequence[ase.Atoms] | None) -> None:
        self._folder, self._given = folder, given

    def begin(self, values: Mapping[str, Any]) -> Race:
        """Start a race, and return at once. Raises ValueError when a model is named twice."""
        asked = [str(values[f"model_{number + 1}"]) for number in range(len(PLACES))]
        asked = [word for word in asked if word != NOBODY]
        if len(set(asked)) < len(asked):
            raise ValueError(
                f"{' and '.join(asked)} race; expected each model once. Choose another, or {NOBODY}"
            )
        return Race(self._free_folder(values), asked, values, self._given)

    def _free_folder(self, values: Mapping[str, Any]) -> Path:
        """What the folders of the next race begin with."""
        data = "frames" if values["data"] == GIVEN else Path(values["data"]).name.split(".")[0]
        number = 1
        while any(self._folder.glob(f"{data}-race-{number}-*")):
            number += 1
        return self._folder / f"{data}-race-{number}"


class Race:
    """Trainings that take turns: a job of all of them.

    entrants   the Entrants
    share      how much is done, in 0..1
    state, error, report, pause(), resume(), stop()    as a Job has them; it fails when all have failed
    """

    def __init__(
        self, stem: Path, models: Sequence[str], values: Mapping[str, Any], given: Sequence[ase.Atoms] | None
    ) -> None:
        self.budget_s = float(values["budget_s"])
        self._floor = Floor(len(models), min(max(self.budget_s / TURNS, TURN_S[0]), TURN_S[1]))
        self._paused = False
        self.entrants: list[Entrant] = []
        for model in models:
            name, preset = model.split(" ")
            entrant = Entrant(stem.parent / f"{stem.name}-{name}-{preset}", name, preset, values)
            self.entrants.append(entrant)
        for number, entrant in enumerate(self.entrants):
            entrant.enter(given, Turn(self._floor, number), partial(self._floor.leave, number))

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback()` whenever anything changes; returns the function that ends it."""
        ends = [entrant.watch(callback) for entrant in self.entrants]

        def unwatch() -> None:
            for end in ends:
                end()

        return unwatch

    @property
    def state(self) -> str:
        states = [entrant.state for entrant in self.entrants]
        if any(entrant.alive for entrant in self.entrants):
            return "stopping" if "stopping" in states else "paused" if self._paused else "running"
        if set(states) == {"failed"}:
            return "failed"
        return "stopped" if "stopped" in states else "done"

    @property
    def error(self) -> BaseException | None:
        return self.entrants[0].error if self.state == "failed" else None

    @property
    def report(self) -> str:
        """What went wrong, for a person, of each that failed."""
        said = dict.fromkeys(entrant.report for entrant in self.entrants if entrant.report)
        return "\n".join(said)

    @property
    def share(self) -> float:
        done = [1.0 if not e.alive else min(e.seconds / self.budget_s, 1.0) for e in self.entrants]
        return sum(done) / len(done)

    def pause(self) -> None:
        self._paused = True
        self._floor.pause()

    def resume(self) -> None:
        self._paused = False
        self._floor.resume()

    def stop(self) -> None:
        """All end, one after the other, each after one more step, and keep what they have."""
        self._paused = False
        for entrant in self.entrants:
            if entrant.alive:
                entrant.stop()
        self._floor.stop()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of all; raises what ended one of them."""
        for entrant in self.entrants:
            entrant.join(timeout)


class Entrant(Training):
    """One model in a race.

    title          what it is called there
    n_parameters   None until the model is there
    memory_MB      that one of its steps needs, likewise
    """

    def __init__(self, folder: Path, model: str, preset: str, values: Mapping[str, Any]) -> None:
        said = {field.name: field.default for field in training_fields()}
        said |= {name: value for name, value in values.items() if not name.startswith("model_")}
        said |= {"model": model, "preset": preset, "max_minutes": said.pop("budget_s") / 60, **OPEN_END}
        said["rotate"] = not MODELS[model].rotation_invariant
        super().__init__(folder, said, {field.name: field.default for field in details(model, preset)})
        self.title = f"{model} {preset}"
        self.n_parameters: int | None = None
        self.memory_MB: float | None = None

    def enter(self, given: Sequence[ase.Atoms] | None, turn: Turn, left: Callable[[], None]) -> None:
        """Train on a thread, whenever it is its turn; call `left()` at the end."""
        self._given, self._turn = given, turn
        self._start(self._take_part, left)

    def _take_part(self, left: Callable[[], None], control: Control) -> None:
        try:
            self._turn.wait_and_see_stop()
            self._work(False, self._turn)
        finally:
            left()

    def stop(self) -> None:
        super().stop()
        if self._job is not None:
            self._turn.stop()

    @property
    def seconds(self) -> float:
        """Of computing, so far."""
        rows = self.stream.since(max(0, len(self.stream) - 2))
        return max((60 * row["minutes"] for row in rows if "minutes" in row), default=0.0)

    def _parts(self) -> tuple[Sequence[ase.Atoms], Sequence[ase.Atoms]]:
        train, validation = super()._parts()
        self._batch = train[: self.values["batch_size"]]
        return train, validation

    def _new(self) -> tuple[TrainingConfig, Potential]:
        config, model = super()._new()
        self.n_parameters, self.memory_MB = model.n_parameters, step_memory_MB(model, self._batch, config)
        return config, model

    def _took(self, row: Row, model: Potential) -> None:
        """Comparing predictions with labels would cost time of the race: it is done afterwards."""
        with self._complaining("The race goes on, but what it was asked for cannot be kept"):
            self._keep_form()


def step_memory_MB(model: Potential, frames: Sequence[ase.Atoms], config: TrainingConfig) -> float:
    """Memory that a training step on these frames needs: what is kept for its gradient, the weights, their gradients,
    the optimizer's two averages, and the average of the weights where there is one.

    It is counted, not measured, for the memory of a process says nothing of one model among several.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    dataset = GraphDataset(frames, model.cutoff, tuple(config.weights), "the first batch")
    batch = dataset.batch(range(len(frames))).to(model.device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        predicted = properties(
            model,
            batch.graph,
            forces="forces" in config.weights,
            stress="stress" in config.weights,
            create_graph=True,
        )
        objective = loss(
            residuals(predicted, batch.labels, batch.graph.sizes), config.weights, kind=config.loss
        )
    weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    del objective
    copies = 3 + bool(config.ema_decay)
    return (sum({**kept, **weights}.values()) + copies * sum(weights.values())) / 1e6
