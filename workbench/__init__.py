"""Long-range machine-learning interatomic potentials: structures in, energies and forces and pictures out.

The public names, nothing else. Each is imported when it is first used, so that `import workbench` costs no torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.graphs import Graph as Graph
    from workbench.jobs import start as start
    from workbench.models import build as build
    from workbench.predict import predict as predict
    from workbench.stream import Stream as Stream

__version__ = "0.1.0"

# Public name -> the room it lives in. tests/test_imports.py holds this table and the imports above to each other.
_ROOM = {
    "Graph": "graphs",
    "Stream": "stream",
    "build": "models",
    "predict": "predict",
    "start": "jobs",
}

__all__ = ["Graph", "Stream", "__version__", "build", "predict", "start"]


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
