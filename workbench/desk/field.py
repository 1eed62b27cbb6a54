"""One entry of a form, as plain data: what is asked, what may be answered, and what it means. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One setting that a person may change.

    name      of the setting, as Python calls it
    label     what the form calls it
    default   its value at first; its type decides how it is asked for: bool, int, float or str
    choices   the values it may have, or what is shown -> value; None: any
    free      besides the choices, any other text will do (a path, say)
    low, high, step   bounds and stride of a number; None: none
    log       between its bounds a number is chosen by its order of magnitude
    unit      of a number
    help      a sentence that explains it
    group     the fold of the form under which it stands; "": in sight

    >>> Field("cutoff", "cutoff", 5.0, low=2.0, high=12.0, step=0.5, unit="Å", help="How far an atom sees").low
    2.0

    Raises ValueError for a default that is none of the choices or out of bounds.
    """

    name: str
    label: str
    default: Any
    choices: Mapping[str, Any] | Sequence[Any] | None = None
    free: bool = False
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    unit: str = ""
    help: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.choices is not None and not self.free and self.default not in self.values:
            raise ValueError(f"{self.name} is {self.default!r} by default; expected one of {self.values}")
        if self.free and not isinstance(self.default, str):
            raise ValueError(
                f"{self.name} is {self.default!r} by default; expected a text, as it may be any text"
            )
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if low > high:
            raise ValueError(f"{self.name} has the bounds {low} and {high}; expected the smaller one first")
        if self.low is not None or self.high is not None:
            if isinstance(self.default, bool) or not isinstance(self.default, int | float):
                raise ValueError(f"{self.name} has bounds and is {self.default!r}; expected a number")
            if not low <= self.default <= high:
                raise ValueError(
                    f"{self.name} is {self.default} by default; expected a number from {low} to {high}"
                )
        if self.log and not 0 < low < high < math.inf:
            raise ValueError(f"{self.name} has the bounds {low} and {high}; with log, both are above 0")

    @property
    def values(self) -> list[Any]:
        """The values of the choices."""
        if self.choices is None:
            return []
        return list(self.choices.values() if isinstance(self.choices, Mapping) else self.choices)
