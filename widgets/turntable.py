"""Turn a molecule and measure whether its learned charges turn with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np

from widgets.harmonics import rotation_about, turned
from widgets.live_plot import caption, in_words

#: Relative differences that rounding explains: of a few hundred operations in double and in single precision.
_DOUBLE, _SINGLE = 1e-12, 3e-5


@dataclass(frozen=True)
class Turned:
    """A structure turned, and what a model gives for it.

    atoms         ase.Atoms
    multipoles    of the turned atoms, by the model
    errors        one per multipole: the largest difference to the charges turned by calculation, over the largest
    """

    atoms: Any
    multipoles: Sequence[Any]
    errors: tuple[float, ...]


def turn(
    atoms: Any, multipoles: Sequence[Any], charges_of: Callable[[Any], Sequence[Any]], axis: str, degrees: float
) -> Turned:
    """Turn `atoms` about "x", "y" or "z" and compare what `charges_of` gives with the given charges turned.

    A molecule turns about its middle, a periodic structure with its cell about the origin. Raises ValueError when
    `charges_of` gives other multipoles than `multipoles`, those of the atoms as they stand.
    """
    rotation = rotation_about(axis, degrees)
    moved = atoms.copy()
    centre = np.zeros(3) if atoms.pbc.any() else atoms.positions.mean(axis=0)
    moved.positions = (atoms.positions - centre) @ rotation.T + centre
    moved.cell = np.asarray(atoms.cell) @ rotation.T
    found = list(charges_of(moved))
    kinds = [[m.degree for m in some] for some in (multipoles, found)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"charges_of gave multipoles of degrees {kinds[1]}; expected {kinds[0]}, as at first")
    errors = tuple(_error(before, after, rotation) for before, after in zip(multipoles, found, strict=True))
    return Turned(moved, found, errors)


def _error(before: Any, after: Any, rotation: np.ndarray) -> float:
    expected = turned(before.values, before.degree, rotation)
    largest = float(np.linalg.norm(expected, axis=1).max()) or 1.0
    return float(np.linalg.norm(np.asarray(after.values, float) - expected, axis=1).max()) / largest


class Turntable:
    """The controls: an axis, an angle, and what was measured, in words.

    on_turn   called whenever a person or `set` has changed the axis or the angle
    """

    def __init__(self, on_turn: Callable[[], None]) -> None:
        self.axis = ipywidgets.Dropdown(options=["x", "y", "z"], value="z", description="turn about")
        self.axis.layout.width, self.axis.style.description_width = "130px", "72px"
        self.angle = ipywidgets.IntSlider(min=-180, max=180, step=1, description="by [°]", readout_format="+d")
        self.angle.layout.width, self.angle.style.description_width = "420px", "48px"
        self._words = caption()
        row = ipywidgets.HBox([self.axis, self.angle], layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.widget = ipywidgets.VBox([row, self._words])
        for control in (self.axis, self.angle):
            control.observe(lambda _: on_turn(), "value")
        self.say(None, ())

    def set(self, angle: int, axis: str) -> None:
        self.axis.value, self.angle.value = axis, angle

    def say(self, result: Turned | None, multipoles: Sequence[Any]) -> None:
        self.words = self._in_words(result, multipoles)
        self._words.value = in_words(self.words)

    def _in_words(self, result: Turned | None, multipoles: Sequence[Any]) -> str:
        if result is None:
            return "Turn the molecule: do its charges turn with it?"
        worst = max(result.errors)
        each = "; ".join(f"{m.label}: {e:.0e}" for m, e in zip(multipoles, result.errors, strict=True))
        how = f"Turned by {self.angle.value:+d}° about {self.axis.value}: "
        if worst <= _SINGLE:
            precision = "double" if worst <= _DOUBLE else "single"
            how += f"the charges turn with the molecule, exactly as far as {precision} precision goes"
        else:
            how += f"the charges do not simply turn with the molecule; they are up to {100 * worst:.2g} % off"
        return (
            f"{how}. How far what the model gives now is from what it gave before, turned by calculation (as a share of"
            f" the largest charge): {each}."
        )
