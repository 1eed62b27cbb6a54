"""Fields made from the records behind them, so that a setting, its default and its meaning are written once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from workbench.catalogue import DATASETS
from workbench.desk.field import Field
from workbench.flags import described
from workbench.models import MODELS
from workbench.runs import CHOICES, TrainingConfig

GIVEN = "the frames given"  # as data, where a notebook hands over structures of its own

#: What short trainings on small data do well with, where it differs from the defaults.
BRIEF = {
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "constant_epochs": 0.0,
    "ema_decay": 0.99,
    "gradient_clip": 1.0,
}

# Setting -> its bounds and stride, in the order of the form; None stands for no group, whose settings are in sight.
_IN_SIGHT: Mapping[str, Mapping[str, Any]] = {
    "epochs": {"low": 1, "high": 100_000},
    "batch_size": {"low": 1, "high": 4096},
    "learning_rate": {"low": 1e-6, "high": 0.1, "log": True},
    "max_minutes": {"low": 0, "high": 100_000, "unit": "min"},
    "device": {},
}
_FOLDED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "what is learned": {
        "loss": {},
        "energy_weight": {"low": 0, "high": 1e6},
        "forces_weight": {"low": 0, "high": 1e6},
        "stress_weight": {"low": 0, "high": 1e9},
        "rotate": {},
        "seed": {"low": 0, "high": 2**31 - 1},
    },
    "how it is learned": {
        "optimizer": {},
        "schedule": {},
        "constant_epochs": {"low": 0, "high": 100_000},
        "final_learning_rate": {"low": 1e-9, "high": 0.1, "log": True},
        "warm_up_epochs": {"low": 0, "high": 100_000},
        "weight_decay": {"low": 0, "high": 1, "step": 0.001},
        "ema_decay": {"low": 0, "high": 0.99999, "step": 0.001},
        "gradient_clip": {"low": 0, "high": 1e6},
        "precision": {},
    },
    "validating, stopping and saving": {
        "validate_every": {"low": 1, "high": 100_000, "unit": "epochs"},
        "patience": {"low": 0, "high": 100_000},
        "save_every_minutes": {"low": 0, "high": 1000, "unit": "min"},
    },
}


def data_field(default: str = "ethanol", given: bool = False) -> Field:
    """Which structures; `given` offers those that a notebook has handed over."""
    return Field(
        "data",
        "data",
        GIVEN if given else default,
        choices=[*([GIVEN] if given else []), *DATASETS],
        free=True,
        help="a data set of the catalogue, or the path of a file of labelled structures",
    )


def model_fields(name: str = "lorem", preset: str = "tiny") -> list[Field]:
    """Which model and which size of it."""
    return [
        Field("model", "model", name, choices=sorted(MODELS), help="the architecture"),
        Field("preset", "preset", preset, choices=list(MODELS[name].presets), help="a size of the model"),
    ]


def training_fields() -> list[Field]:
    """How to train: all of TrainingConfig but for what the command line alone needs."""
    names = [field.name for field in fields(TrainingConfig)]
    said, kinds = described(TrainingConfig, names), get_type_hints(TrainingConfig)
    defaults = {field.name: kinds[field.name](field.default) for field in fields(TrainingConfig)} | BRIEF
    groups = {"": _IN_SIGHT, **_FOLDED}
    return [
        Field(
            name,
            name.replace("_", " "),
            defaults[name],
            choices=_offered(name),
            help=said.get(name) or _told_elsewhere(name, said),
            group=group,
            **bounds,
        )
        for group, settings in groups.items()
        for name, bounds in settings.items()
    ]


def _told_elsewhere(name: str, said: Mapping[str, str]) -> str:
    return "".join(f"see {other.replace('_', ' ')}" for other, text in said.items() if f"`{name}`" in text)


def _offered(name: str) -> list[str] | None:
    """The choices of a setting that can be had here."""
    import torch

    offered = list(CHOICES[name]) if name in CHOICES else None
    if name == "device" and not torch.cuda.is_available():
        return ["auto", "cpu"]
    return offered


def details(model: str, preset: str) -> list[Field]:
    """The settings of a model that are one number, word or yes and no, as its preset has them."""
    config = MODELS[model].Config
    said, kinds = described(config, [field.name for field in fields(config)]), get_type_hints(config)
    values = {field.name: field.default for field in fields(config)} | dict(MODELS[model].presets[preset])
    found = []
    for name, value in values.items():
        if kinds[name] in (int, float, bool, str):
            length = said.get(name, "").startswith("Å")
            # What else may be wrong with a number the Config says itself.
            bounds = (
                {"low": 1, "high": 30, "step": 0.5}
                if length
                else {"low": 0}
                if kinds[name] in (int, float)
                else {}
            )
            found.append(
                Field(
                    name,
                    name.replace("_", " "),
                    kinds[name](value),
                    unit="Å" if length else "",
                    help=said.get(name, ""),
                    **bounds,
                )
            )
    return found
