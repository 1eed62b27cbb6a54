"""The equivariant charges that a model has learned, on the structure: colours, arrows, ellipsoids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.live_plot import caption, in_words
from widgets.panel import Panel
from widgets.parity_plot import ParityPlot
from widgets.structure_view import StructureView

_KINDS = {0: "scalars, as colour", 1: "vectors, as arrows", 2: "rank-2 tensors, as ellipsoids"}
_NOTE = (
    "These are learned equivariant charges: sign and scale are the model's own. They are no partial charges;"
    " compare them only within one model."
)


class ChargeExplorer(Panel):
    """Learned equivariant charges of every degree, and the potentials they make, on one structure.

    atoms                an ase.Atoms
    multipoles           objects with `label`, `degree` l, `values` and `potentials`, both (n_atoms, 2l + 1), in
                         the order of e3nn: l = 1 is (x, y, z)
    reference_charges    (n_atoms,) partial charges of a reference method [e]; adds a scatter against the scalars
    on_pick              called with the number of the atom that was clicked

    Degrees above 2 are shown by their norm, as colour.
    """

    def __init__(
        self,
        atoms: Any,
        multipoles: Sequence[Any],
        reference_charges: Any = None,
        *,
        on_pick: Callable[[int], None] | None = None,
        height: str = "380px",
    ) -> None:
        super().__init__()
        self.multipoles = [_checked(m, len(atoms)) for m in multipoles]
        if not self.multipoles:
            raise ValueError("got no multipoles; expected at least one. Predict with diagnose=True to get them")
        self.view = StructureView(atoms, on_pick=on_pick, height=height)
        names = [f"{m.label} ({_KINDS.get(m.degree, 'norm, as colour')})" for m in self.multipoles]
        self.choice = ipywidgets.Dropdown(options=[(n, i) for i, n in enumerate(names)], description="show")
        self.choice.layout.width = "420px"
        self.kind = ipywidgets.ToggleButtons(options=["charges", "potentials"], style={"button_width": "96px"})
        for control in (self.choice, self.kind):
            control.observe(self.log.guard(lambda _: self._draw()), "value")
        self._words = caption()
        self.parity = self._scatter(reference_charges)
        note = ipywidgets.HTML(in_words(_NOTE))
        row = ipywidgets.HBox([self.choice, self.kind], layout=ipywidgets.Layout(flex_flow="row wrap"))
        below = [] if self.parity is None else [self.parity.widget]
        self._show(row, self.view.widget, self._words, note, *below)
        self._on_close(self.view.close)
        self._draw()

    def _scatter(self, reference: Any) -> ParityPlot | None:
        if reference is None:
            return None
        reference = np.asarray(reference, float)
        scalars = next((m for m in self.multipoles if m.degree == 0), None)
        if scalars is None:
            raise ValueError("reference_charges were given, but no multipole of degree 0 to set against them")
        return ScalarsAgainstReference(reference, np.asarray(scalars.values)[:, 0])

    def show(self, index: int, potentials: bool = False) -> None:
        """Show multipole number `index`, or the potentials that it makes."""
        self.choice.value = index
        self.kind.value = "potentials" if potentials else "charges"

    def _draw(self) -> None:
        chosen = self.multipoles[self.choice.value]
        potentials = self.kind.value == "potentials"
        values = np.asarray(chosen.potentials if potentials else chosen.values, float)
        name = f"potential of {chosen.label}" if potentials else f"learned {chosen.label}"
        unit = "1/Å" if potentials else ""
        self.view.colour(None).arrows(None).ellipsoids(None)
        if chosen.degree == 1:
            self.view.arrows(values, label=name, unit=unit)
        elif chosen.degree == 2:
            self.view.ellipsoids(traceless_tensors(values), label=name, unit=unit)
        elif chosen.degree == 0:
            self.view.colour(values[:, 0], label=name, unit=unit, diverging=True)
        else:
            self.view.colour(np.linalg.norm(values, axis=1), label=f"|{name}|", unit=unit)
        self._words.value = in_words(self._numbers(values, unit))

    def _numbers(self, values: np.ndarray, unit: str) -> str:
        norms = np.linalg.norm(values, axis=1)
        largest = int(norms.argmax())
        symbol = self.view.frames[0].symbols[largest]
        words = f"Largest on {symbol} {largest}: {norms[largest]:.3g} {unit}".rstrip()
        if values.shape[1] == 1:
            words += f"; sum over atoms {values.sum():+.3g} {unit}".rstrip()
        return f"{words}; root mean square {np.sqrt((norms**2).mean()):.3g} {unit}".rstrip() + "."

    def picture(self) -> bytes:
        return self.view.picture()

    def describe(self) -> str:
        chosen = self.multipoles[self.choice.value]
        return f"Learned equivariant charges ({self.kind.value}, {chosen.label}). {self.view.describe()}"


class ScalarsAgainstReference(ParityPlot):
    """Learned scalars against reference charges: no error, since their scale is free, but their correlation."""

    def __init__(self, reference: Any, scalars: Any) -> None:
        super().__init__(reference, scalars, label="charge", height=340)
        self._figure.update_layout(
            xaxis={"title": {"text": "reference partial charge [e]"}},
            yaxis={"title": {"text": "learned scalar charge"}},
        )
        self._figure.data[-1].visible = False

    def _heading(self, newline: str) -> str:
        (x, y) = self._groups["data"]
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return "too few different charges to correlate"
        return f"correlation {np.corrcoef(x, y)[0, 1]:+.2f} over {len(x)} atoms; scale and sign are free"

    def picture(self) -> bytes:
        groups = [("atoms", *self._groups["data"])]
        labels = ("reference partial charge [e]", "learned scalar charge")
        return still.scatter(groups, *labels, self._heading("\n"), diagonal=False)

    def describe(self) -> str:
        return f"Learned scalar charge against reference partial charge [e]: {self._heading(' ')}."


def traceless_tensors(values: Any) -> np.ndarray:
    r"""Symmetric traceless matrices (n, 3, 3) from l = 2 components (n, 5) in e3nn's order.

    M is defined by n^T M n = sum_m a_m Y_2m(n) for every unit vector n, the Y normalised so that their squares sum
    to 1: Y = (√3 xz, √3 xy, y² - (x² + z²)/2, √3 yz, √3/2 (z² - x²)).
    """
    a0, a1, a2, a3, a4 = np.asarray(values, float).T
    s = np.sqrt(3) / 2
    rows = [[-a2 / 2 - s * a4, s * a1, s * a0], [s * a1, a2, s * a3], [s * a0, s * a3, -a2 / 2 + s * a4]]
    return np.moveaxis(np.array(rows), -1, 0)


def _checked(multipoles: Any, n_atoms: int) -> Any:
    wanted = (n_atoms, 2 * multipoles.degree + 1)
    for name in ("values", "potentials"):
        shape = np.shape(getattr(multipoles, name))
        if shape != wanted:
            raise ValueError(
                f"{name} of {multipoles.label!r} has shape {shape}; expected (n_atoms, 2l + 1) = {wanted}"
            )
    return multipoles
