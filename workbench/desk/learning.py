"""A training as its panel sees it: a job that can be watched, compared with its labels, reopened and gone on with."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import ase
import torch

from workbench import checkpoint, jobs
from workbench.desk.frames import parts, spread
from workbench.evaluation import Parity, evaluate
from workbench.jobs import Control
from workbench.models import Potential, build
from workbench.runs import MAY_CHANGE, Outcome, Run, TrainingConfig, fingerprint
from workbench.stream import Row, Stream
from workbench.training import Diverged, fit

_log = logging.getLogger("workbench")

FORM = "form.json"  # in a run's folder: what the form said when it was begun
SHOWN = 200  # validation structures that are compared with their labels
SHARE = 0.1  # of the time may go into that while the training goes on
# What a person can mend: the message says how. Anything else is shown with its traceback.
MISTAKES = (ValueError, OSError, Diverged)

#: Trainings of this process by folder, so that nobody goes on with one that is under way.
_known: WeakValueDictionary[Path, Training] = WeakValueDictionary()


@dataclass(frozen=True)
class Comparison:
    """Predictions beside labels.

    epoch            of the model, the best one so far
    frames           validation structures
    energy, forces   with `reference` and `predicted`: (n_structures,) per atom [eV]; (n_atoms of all, 3) [eV/Å]
    """

    epoch: float
    frames: list[ase.Atoms]
    energy: Parity | None
    forces: Parity | None


class Training:
    """One training, under way or done: a job that also shows what it learns.

    name, folder   of its run
    stream         rows as in metrics.csv
    values         what the form said; `details`, its part on the model
    settings       name -> value of all that may differ from another run
    facts          a sentence on the model and the data; "" until they are there
    comparison     the newest Comparison; None until the first
    outcome        a sentence on how it ended; "" until it has
    complaint      a sentence on what could not be shown; "" if nothing
    state, error, report, pause(), resume(), stop()    as a Job has them
    """

    def __init__(self, folder: Path, values: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        self.name, self.folder = folder.name, folder
        self.values, self.details = dict(values), dict(details)
        self.settings: dict[str, Any] = {}
        self.stream = Stream()
        self.facts = self.outcome = self.complaint = ""
        self.comparison: Comparison | None = None
        self._job: jobs.Job | None = None
        self._ended_as = "stopped"
        self._look: jobs.Job | None = None
        self._given: Sequence[ase.Atoms] | None = None
        self._how = ""
        self._next_look, self._shown = 0.0, list[ase.Atoms]()
        self._watchers: list[Callable[[], None]] = []

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback()` after every row and whenever anything else changes, in the thread that changes it;
        returns the function that ends it."""
        self._watchers.append(callback)
        unsubscribe = self.stream.subscribe(lambda row: callback())

        def unwatch() -> None:
            unsubscribe()
            if callback in self._watchers:
                self._watchers.remove(callback)

        return unwatch

    def _tell(self) -> None:
        for callback in tuple(self._watchers):
            callback()

    # as a job -----------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self._ended_as if self._job is None else self._job.state

    @property
    def alive(self) -> bool:
        return self.state in ("running", "paused", "stopping")

    @property
    def error(self) -> BaseException | None:
        return None if self._job is None else self._job.error

    @property
    def report(self) -> str:
        """What went wrong, for a person."""
        if self._job is None or self._job.error is None:
            return ""
        return str(self._job.error) if isinstance(self._job.error, MISTAKES) else self._job.report

    def pause(self) -> None:
        if self._job is not None:
            self._job.pause()

    def resume(self) -> None:
        if self._job is not None:
            self._job.resume()

    def stop(self) -> None:
        if self._job is not None:
            self._job.stop()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end; raises what ended it."""
        if self._job is not None:
            self._job.join(timeout)

    @property
    def share(self) -> float:
        """How much of it is done, in 0..1."""
        rows = self.stream.since(max(0, len(self.stream) - 2))  # the last may be a validation's
        row = next((row for row in reversed(rows) if "seconds_left" in row), None)
        done = 60 * row["minutes"] if row else 0.0
        return done / (done + row["seconds_left"]) if row and done else 0.0

    # training -----------------------------------------------------------------------------------------

    def begin(self, given: Sequence[ase.Atoms] | None = None, *, resume: bool = False) -> Training:
        """Train on a thread, and return at once.

        given    the structures, where the data of the form are "the frames given"
        resume   go on with the run in the folder
        """
        self._given = given
        self._start(self._work, resume)
        return self

    def _start(self, worker: Callable[..., None], *args: Any) -> None:
        _known[self.folder.resolve()] = self
        self._job = jobs.start(worker, *args)

    def _work(self, resume: bool, control: Control) -> None:
        try:
            self._train(resume, control)
        finally:
            if (self.folder / "outcome.json").is_file():
                self.outcome = in_words(Run.open(self.folder).outcome)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()  # nothing came of it
            self._tell()

    def _train(self, resume: bool, control: Control) -> None:
        if (self.folder / "config.json").is_file() and not resume:
            raise FileExistsError(
                f"{self.folder} holds a run already. Choose another name, or open that run and continue it"
            )
        train, validation = self._parts()
        config, model = self._resumed() if resume else self._new()
        self._describe(model, config)
        self._shown = list(spread(validation, SHOWN))
        self._tell()
        end = self.stream.subscribe(lambda row: self._took(row, model))
        try:
            run = fit(
                model,
                train,
                validation,
                config,
                folder=self.folder,
                stream=self.stream,
                control=control,
                resume=resume,
                progress=False,
            )
        finally:
            end()
        best = run.outcome.best_epoch if run.outcome else None
        if best is not None and (self.comparison is None or self.comparison.epoch != best):
            with self._complaining("Its predictions cannot be shown"):
                self._compare(model, best)

    def _parts(self) -> tuple[Sequence[ase.Atoms], Sequence[ase.Atoms]]:
        values = self.values
        train, validation, how = parts(
            values["data"], self._given, seed=values["seed"], n_train=values["structures"]
        )
        self._how = f"{len(train)} structures to learn, {len(validation)} to validate ({how})"
        return train, validation

    def _new(self) -> tuple[TrainingConfig, Potential]:
        names = TrainingConfig.__dataclass_fields__
        config = TrainingConfig.of({name: value for name, value in self.values.items() if name in names})
        torch.manual_seed(config.seed)  # of the first weights
        return config, build(self.values["model"], self.values["preset"], **self.details)

    def _resumed(self) -> tuple[TrainingConfig, Potential]:
        run = Run.open(self.folder)
        config = replace(run.config, **{name: self.values[name] for name in MAY_CHANGE if name in self.values})
        ended = run.outcome
        if ended is not None and ended.state == "finished" and config.epochs <= round(ended.epoch):
            raise ValueError(f"{self.name} has done its {config.epochs} epochs; ask for more of them to go on")
        return config, build(run.model_name, **_read(self.folder / "config.json")["model"]["config"])

    def _describe(self, model: Potential, config: TrainingConfig) -> None:
        self.facts = f"{model.name} with {model.n_parameters:,} parameters; {self._how}."
        self.settings = self._settings(model.name, asdict(model.config), config)

    def _settings(self, model: str, settings: Mapping[str, Any], config: TrainingConfig) -> dict[str, Any]:
        data: dict[str, Any] = {
            name: self.values[name] for name in ("data", "structures") if name in self.values
        }
        return {**data, "model": model, **settings, **asdict(config)}

    # comparing with labels ----------------------------------------------------------------------------

    def _took(self, row: Row, model: Potential) -> None:
        """A row has come, in the thread that trains: nothing that goes wrong here may end the training."""
        with self._complaining("The training goes on, but its predictions cannot be shown"):
            self._keep_form()
            if row.get("best") == 1.0 and time.monotonic() >= self._next_look:
                began = time.monotonic()
                self._next_look = math.inf  # for good, where this fails
                best = checkpoint.load(self.folder / "best.safetensors").to(model.device)
                self._compare(best, row["epoch"])
                now = time.monotonic()
                self._next_look = now + (now - began) / SHARE

    def _keep_form(self) -> None:
        """Once there is a run, let its folder say what the form said."""
        if not (self.folder / FORM).is_file():
            said = {"values": self.values, "details": self.details}
            text = json.dumps(said, indent=2, ensure_ascii=False)
            checkpoint.write_whole(self.folder / FORM, text.encode())

    @contextmanager
    def _complaining(self, words: str) -> Iterator[None]:
        """What goes wrong inside is said instead of raised."""
        try:
            yield
        except Exception as error:
            _log.info(words, exc_info=error)
            self.complaint = f"{words}: {error}"
            self._tell()

    def _compare(self, model: Potential, epoch: float) -> None:
        errors = evaluate(model, self._shown, self.values.get("batch_size", 8))
        self.comparison = Comparison(epoch, self._shown, errors.energy, errors.forces)
        self._tell()

    # reopening ----------------------------------------------------------------------------------------

    @classmethod
    def reopen(cls, folder: Path, given: Sequence[ase.Atoms] | None = None) -> Training:
        """The training of a run's folder, with its curves; one of this process that is under way, itself.

        given   the structures, where the data of the form were "the frames given"

        Raises FileNotFoundError where no training has begun.
        """
        if under_way(folder):
            return _known[folder.resolve()]
        run = Run.open(folder)
        config, asked = run.config, _read(folder / "config.json")["model"]
        said = _read(folder / FORM) if (folder / FORM).is_file() else {"values": {}}
        values = {**said["values"], **asdict(config), "model": run.model_name}
        found = cls(folder, values, asked["config"])
        found.stream, found._given = run.metrics, given
        found.settings = found._settings(run.model_name, asked["config"], config)
        n = {name: facts["n_structures"] for name, facts in run.data.items()}
        found.facts = f"{run.model_name}; {n['train']} structures to learn, {n['validation']} to validate."
        ended = run.outcome
        found.outcome = in_words(ended) or "no end is written down: it was killed, or runs elsewhere"
        found._ended_as = {"diverged": "failed", "stopped": "stopped", "": "stopped"}.get(
            ended.state if ended else "", "done"
        )
        return found

    def look(self) -> None:
        """Compare the best model of a reopened run with its labels, on a thread; the result is `comparison`."""
        if self._job is None and self._look is None:
            self._look = jobs.start(self._recall)

    def _recall(self, control: Control) -> None:
        with self._complaining("Its predictions cannot be shown"):
            if not {"data", "structures"} <= self.values.keys():
                raise ValueError("the run does not say which data these were")
            _, validation = self._parts()
            run = Run.open(self.folder)
            if fingerprint(validation)["sha256"] != run.data["validation"]["sha256"]:
                raise ValueError(f"{self.values['data']} no longer holds the structures it was validated on")
            model = run.model("best")
            self._describe(model, run.config)
            self._shown = list(spread(validation, SHOWN))
            best = [row["epoch"] for row in self.stream.since(0) if row.get("best") == 1.0]
            self._compare(model, best[-1] if best else math.nan)


def under_way(folder: Path) -> bool:
    """Whether this process trains there now."""
    known = _known.get(folder.resolve())
    return known is not None and known.alive


def in_words(outcome: Outcome | None) -> str:
    """How a run ended, in a sentence; "" when it has not."""
    if outcome is None:
        return ""
    best = "" if outcome.best_epoch is None else f"; best at epoch {outcome.best_epoch:.4g}"
    return (
        f"{outcome.state}: {outcome.reason}; {outcome.step} steps, {outcome.epoch:.4g} epochs, "
        f"{outcome.minutes:.2g} minutes{best}"
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
