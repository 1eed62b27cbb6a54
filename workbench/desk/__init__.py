"""What the panels of `widgets` are handed: for each panel a function that returns its keyword arguments.

    TrainingPanel(**desk.training("ethanol", folder="runs"))

The desk knows no widget and the panels know no desk: all that passes between them are plain callables, streams,
arrays and atoms. Each function lives in the room of its name and is fetched when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["dataset", "dynamics", "race", "separation", "training"]


def __getattr__(name: str) -> Any:
    """Fetch a function from the room of its name, once (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'workbench.desk' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"workbench.desk.{name}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Desk(ModuleType):
    """Function and room have one name. Python would bind the room's module here when anybody imports it;
    `desk.training` is the function, whoever came first."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Desk
