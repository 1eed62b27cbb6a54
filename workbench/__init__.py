"""Long-range machine-learning interatomic potentials: structures in, energies and forces and pictures out.

The public names, nothing else. Each is imported when it is first used, so that `import workbench` costs no torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.analysis import drift as drift
    from workbench.calculator import Calculator as Calculator
    from workbench.checkpoint import build_from as build_from
    from workbench.checkpoint import load as load
    from workbench.checkpoint import save as save
    from workbench.dynamics import run_md as run_md
    from workbench.evaluation import evaluate as evaluate
    from workbench.jobs import start as start
    from workbench.models import build as build
    from workbench.predict import predict as predict
    from workbench.runs import TrainingConfig as TrainingConfig
    from workbench.splits import split as split
    from workbench.stream import Stream as Stream
    from workbench.structures import read as read
    from workbench.structures import write as write
    from workbench.training import fit as fit

__version__ = "0.1.0"

# Public name -> the room it lives in. tests/test_imports.py holds this table and the imports above to each other.
_ROOM = {
    "Calculator": "calculator",
    "Stream": "stream",
    "TrainingConfig": "runs",
    "build": "models",
    "build_from": "checkpoint",
    "drift": "analysis",
    "evaluate": "evaluation",
    "fit": "training",
    "load": "checkpoint",
    "predict": "predict",
    "read": "structures",
    "run_md": "dynamics",
    "save": "checkpoint",
    "split": "splits",
    "start": "jobs",
    "write": "structures",
}

__all__ = [
    "Calculator",
    "Stream",
    "TrainingConfig",
    "__version__",
    "build",
    "build_from",
    "drift",
    "evaluate",
    "fit",
    "load",
    "predict",
    "read",
    "run_md",
    "save",
    "split",
    "start",
    "write",
]


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room, once (PEP 562)."""
    if name not in _ROOM:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(sorted(_ROOM))}")
    value = getattr(importlib.import_module(f"workbench.{_ROOM[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Workbench(ModuleType):
    """`predict` is a room and the function in it. Python would bind the room's module here when anybody imports it;
    `workbench.predict` stays the function, whoever came first."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _ROOM and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Workbench
