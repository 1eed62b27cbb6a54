"""A run: what a training was asked to do and what came out, as a folder that can be reopened.

config.json         the model's name and configuration, and the TrainingConfig
data.json           fingerprints of the training and validation frames
versions.json       of the packages that decide the numbers
metrics.csv         rows of the training's Stream
best.safetensors    the model with the lowest validation loss; last.safetensors, the newest
state.pt            what resuming needs
outcome.json        how it ended; absent while it runs or after a kill
lock                held by the process that trains, so that two never do
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from workbench import checkpoint, structures
from workbench.metrics import read_rows
from workbench.models import Potential
from workbench.stored import StoredFrames
from workbench.stream import Stream

CHOICES = {
    "optimizer": ("adam", "lamb"),
    "loss": ("squared", "absolute"),
    "schedule": ("linear", "cosine", "exponential", "constant"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("float32", "float64"),
}
WARM_UP_FROM = 0.2  # of the learning rate, where a warm-up begins
# Settings that may differ when a run is resumed; any other would make the steps already taken another training's.
MAY_CHANGE = {"epochs", "patience", "max_minutes", "save_every_minutes", "device"}


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The same record stands behind the form, the command line and the Python call.

    epochs               passes over the training frames
    batch_size           frames per step, over all devices
    learning_rate        its largest value
    optimizer            "adam" or "lamb" (LAMB suits large batches)
    weight_decay         decay of the weight matrices in each step, in parts of the learning rate, which makes Adam
                         AdamW; 0 is off
    warm_up_epochs       epochs over which the learning rate rises to `learning_rate` from a fifth of it; 0 is off
    schedule             from `constant_epochs` (counted from the start, warm-up included) on to the last: "linear",
                         "cosine" or "exponential" fall to `final_learning_rate`, "constant" does not
    loss                 "squared": mean squared errors. "absolute": mean lengths of the errors (|ΔE| per atom, the
                         norm of the error of each atom's force), which a few bad labels sway less
    energy_weight        of the error per atom, (eV/atom)^2 or eV/atom; 0 leaves the energies out
    forces_weight        of the error of a force component, (eV/Å)^2, or of a force vector, eV/Å; 0 leaves the forces
                         out
    stress_weight        of the error of a stress component, (eV/Å^3)^2, a small number: where stresses are learned
                         1000 is ordinary (absolute: of the whole stress, eV/Å^3); 0 leaves the stress out
    rotate               turn every training structure at random at each step, with its labels: for models that are
                         not rotation invariant; the others learn nothing from it
    ema_decay            average the weights over about 1 / (1 - ema_decay) steps, and validate and keep the
                         average; 0 is off
    gradient_clip        longest gradient; longer ones are scaled down to it; 0 is off
    validate_every       epochs between validations
    patience             stop after this many validations without a better one; 0 is off
    max_minutes          stop after this time of computing; 0 is off
    save_every_minutes   how much work a killed run may lose; 0 saves at every step
    seed                 of the order of the frames and of their rotations
    device               "auto" takes the GPU where there is one
    precision            "float32", or "float64" at half the speed or less
    """

    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    weight_decay: float = 0.0
    warm_up_epochs: float = 0.0
    schedule: str = "linear"
    constant_epochs: float = 10
    final_learning_rate: float = 1e-6
    loss: str = "squared"
    energy_weight: float = 0.5
    forces_weight: float = 0.5
    stress_weight: float = 0.0
    rotate: bool = False
    ema_decay: float = 0.0
    gradient_clip: float = 0.0
    validate_every: int = 1
    patience: int = 0
    max_minutes: float = 0.0
    save_every_minutes: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in CHOICES:
                if value not in CHOICES[field.name]:
                    raise ValueError(f"{field.name} is {value!r}; expected one of {CHOICES[field.name]}")
            elif field.type == "bool":
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} is {value!r}; expected True or False")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{field.name} is {value!r}; expected a number")
            elif value < 0:
                raise ValueError(f"{field.name} is {value}; expected 0 or more")
            elif field.type == "int" and value != int(value):
                raise ValueError(f"{field.name} is {value}; expected a whole number")
        for name in ("epochs", "batch_size", "learning_rate", "final_learning_rate", "validate_every"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} is 0; expected more")
        if self.ema_decay >= 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; expected less than 1, for example 0.999")
        if self.weight_decay and self.optimizer == "lamb":
            raise ValueError("weight_decay goes with optimizer 'adam'; LAMB has none here. Set it to 0")
        if not self.weights:
            raise ValueError(
                "energy_weight, forces_weight and stress_weight are all 0; at least one must not be"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Quantity -> weight in the loss, of those that count."""
        weights = {"energy": self.energy_weight, "forces": self.forces_weight, "stress": self.stress_weight}
        return {quantity: weight for quantity, weight in weights.items() if weight > 0}

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate after so many epochs, whole or not."""
        if epoch < self.warm_up_epochs:
            return self.learning_rate * (WARM_UP_FROM + (1 - WARM_UP_FROM) * epoch / self.warm_up_epochs)
        constant_to = max(self.constant_epochs, self.warm_up_epochs)
        falling = self.epochs - constant_to
        if self.schedule == "constant" or falling <= 0 or epoch <= constant_to:
            return self.learning_rate
        done = min((epoch - constant_to) / falling, 1.0)
        first, last = self.learning_rate, self.final_learning_rate
        if self.schedule == "linear":
            return first + done * (last - first)
        if self.schedule == "cosine":
            return last + 0.5 * (first - last) * (1 + math.cos(math.pi * done))
        return first * (last / first) ** done

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> TrainingConfig:
        """From names and values, as JSON or a form holds them. Raises ValueError for a name it does not know."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f". Did you mean {close[0]!r}?" if close else f"; expected some of {known}"
                raise ValueError(f"training has no setting {name!r}{hint}")
        return cls(**settings)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: str  # "finished", "stopped" (asked to), "early" (patience), "out of time" or "diverged"
    reason: str  # a sentence
    step: int
    epoch: float
    minutes: float  # of computing, pauses left out
    best_loss: float | None  # validation loss of best.safetensors
    best_epoch: float | None


_REASONS = {
    "finished": "all {epochs} epochs are done",
    "early": "{patience} validations in a row were no better",
    "out of time": "the {max_minutes} minutes are over",
    "stopped": "it was asked to stop",
}


@dataclass
class Standing:
    """Where a training stands, besides its weights. It changes as the training goes on."""

    step: int = 0  # optimizer steps taken, over all epochs
    seconds: float = 0.0  # of computing
    best_loss: float = math.inf  # the lowest validation loss
    best_step: int = 0  # where that was
    n_worse: int = 0  # validations since

    def judge(self, loss: float) -> bool:
        """Take note of a validation; True when it is the best so far."""
        better = loss < self.best_loss
        self.n_worse = 0 if better else self.n_worse + 1
        if better:
            self.best_loss, self.best_step = loss, self.step
        return better

    def ended(self, config: TrainingConfig, n_steps: int) -> str:
        """How it has ended by what it was asked for, one of Outcome's states; "" while it goes on."""
        if self.step >= n_steps:
            return "finished"
        if config.patience and self.n_worse >= config.patience:
            return "early"
        return "out of time" if 0 < 60 * config.max_minutes <= self.seconds else ""

    def outcome(self, state: str, config: TrainingConfig, steps_per_epoch: int, reason: str = "") -> Outcome:
        validated = math.isfinite(self.best_loss)
        return Outcome(
            state=state,
            reason=reason or _REASONS[state].format(**asdict(config)),
            step=self.step,
            epoch=self.step / steps_per_epoch,
            minutes=self.seconds / 60,
            best_loss=self.best_loss if validated else None,
            best_epoch=self.best_step / steps_per_epoch if validated else None,
        )


@dataclass(frozen=True)
class Run:
    """A training's folder. Everything is read from the files when asked for, so it is true while the run goes on."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Raises FileNotFoundError where no training has begun."""
        run = cls(Path(folder))
        if not (run.folder / "config.json").is_file():
            raise FileNotFoundError(f"{run.folder} is no run: it holds no config.json. Start one with `fit`")
        return run

    @classmethod
    def begin(
        cls,
        folder: str | Path,
        model: Potential,
        config: TrainingConfig,
        data: Mapping[str, Mapping[str, Any]],
        resume: bool,
    ) -> Run:
        """Make the folder, or with `resume` check that the one which is there is of the same training.

        Raises FileExistsError for a run that is there unasked, ValueError for one with another model, other settings
        or other data, naming them.
        """
        run = cls(Path(folder))
        begun = (run.folder / "config.json").is_file()
        if begun and not resume:
            raise FileExistsError(
                f"{run.folder} holds a run already; continue it with resume=True or choose another folder"
            )
        asked = {"model": {"name": model.name, "config": asdict(model.config)}, "training": asdict(config)}
        asked = json.loads(json.dumps(asked))
        if begun:
            # What a run begun before a setting existed was trained with.
            defaults = {"model": asdict(type(model.config)()), "training": asdict(TrainingConfig())}
            run._refuse_another(asked, json.loads(json.dumps(defaults)), data)
            (run.folder / "outcome.json").unlink(missing_ok=True)
        run._write("versions.json", checkpoint.versions())
        run._write("data.json", data)
        run._write("config.json", asked)
        return run

    def _refuse_another(
        self, asked: Mapping[str, Any], defaults: Mapping[str, Any], data: Mapping[str, Mapping[str, Any]]
    ) -> None:
        before = self._read("config.json")
        differences = []
        if asked["model"]["name"] != before["model"]["name"]:
            differences.append(f"the model is {asked['model']['name']}, was {before['model']['name']}")
        for part, said, was in (
            ("model", asked["model"]["config"], before["model"]["config"]),
            ("training", asked["training"], before["training"]),
        ):
            was = {**defaults[part], **was}
            differences += [
                f"the {part}'s {name} is {said.get(name)}, was {was.get(name)}"
                for name in sorted(said.keys() | was.keys())
                if said.get(name) != was.get(name) and not (part == "training" and name in MAY_CHANGE)
            ]
        for name, fingerprint in self._read("data.json").items():
            if data[name]["sha256"] != fingerprint["sha256"]:
                differences.append(
                    f"the {name} data is other ({data[name]['n_structures']} structures, "
                    f"was {fingerprint['n_structures']})"
                )
        if differences:
            raise ValueError(
                f"{self.folder} cannot be resumed: {'; '.join(differences)}. Give what it was begun with, or start "
                "in another folder"
            )

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig.of(self._read("config.json")["training"])

    @property
    def model_name(self) -> str:
        return str(self._read("config.json")["model"]["name"])

    @property
    def data(self) -> dict[str, dict[str, Any]]:
        """ "train" and "validation" -> sha256, n_structures, n_atoms, elements."""
        return dict(self._read("data.json"))

    @property
    def versions(self) -> dict[str, str]:
        return dict(self._read("versions.json"))

    @property
    def outcome(self) -> Outcome | None:
        """None while it runs, or when it was killed."""
        return Outcome(**self._read("outcome.json")) if (self.folder / "outcome.json").is_file() else None

    @property
    def metrics(self) -> Stream:
        """All rows so far, as the Stream they were emitted to: what draws a live run also draws this one."""
        stream = Stream()
        for row in read_rows(self.folder / "metrics.csv"):
            stream.emit(**row)
        return stream

    def model(self, which: str = "best") -> Potential:
        """The trained model: "best" by validation loss, or "last"."""
        if which not in ("best", "last"):
            raise ValueError(f"which is {which!r}; expected 'best' or 'last'")
        return checkpoint.load(self.folder / f"{which}.safetensors")

    def save_model(self, which: str, model: Potential) -> None:
        checkpoint.save(model, self.folder / f"{which}.safetensors")

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Tensors, numbers and dictionaries of them."""
        content = io.BytesIO()
        torch.save(dict(state), content)
        checkpoint.write_whole(self.folder / "state.pt", content.getvalue())

    def state(self) -> dict[str, Any] | None:
        """What `save_state` wrote; None before its first time. Nothing in the file is executed."""
        path = self.folder / "state.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None

    def end(self, outcome: Outcome) -> None:
        self._write("outcome.json", asdict(outcome))

    def _read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def _write(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        checkpoint.write_whole(self.folder / name, text.encode())


def fingerprint(frames: Sequence[ase.Atoms]) -> dict[str, Any]:
    """What tells one data set from another: SHA-256 over atoms, cells and labels, in order; and what is in it.

    That of stored frames was taken when they were stored, and is not that of the same frames in memory.
    """
    if isinstance(frames, StoredFrames):
        return frames.fingerprint()
    digest = hashlib.sha256()
    for frame in frames:
        labels = structures.labels(frame)
        parts = [frame.numbers, frame.positions, frame.cell.array, frame.pbc]
        parts += [frame.info.get("charge", 0), frame.info.get("spin", 1)]
        for part in [*parts, *(value for _, value in sorted(labels.items()) if value is not None)]:
            digest.update(np.ascontiguousarray(part, dtype=float).tobytes())
        digest.update(",".join(sorted(labels)).encode())
    return {
        "sha256": digest.hexdigest(),
        "n_structures": len(frames),
        "n_atoms": sum(len(frame) for frame in frames),
        "elements": sorted({symbol for frame in frames for symbol in set(frame.get_chemical_symbols())}),
    }
