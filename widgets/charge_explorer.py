"""The equivariant charges that a model has learned: on the structure, turned with it, and the potential they make."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from widgets import still, turntable
from widgets.charge_scatter import ChargeScatter
from widgets.harmonics import traceless_tensors
from widgets.live_plot import caption, in_words
from widgets.panel import Panel, Pump
from widgets.potential_slice import PotentialSlice
from widgets.structure_view import StructureView

_KINDS = {0: "scalars, as colour", 1: "vectors, as arrows", 2: "rank-2 tensors, as ellipsoids"}
_NOTE = (
    "These are learned equivariant charges: sign and scale are the model's own. They are no partial charges;"
    " compare them only within one model."
)
_ALL, _SHOWN = "all of them", "the one shown"


class ChargeExplorer(Panel):
    """Learned equivariant charges of every degree, and the potentials they make, on one structure.

    atoms                an ase.Atoms
    multipoles           objects with `label`, `degree` l, `values` and `potentials`, both (n_atoms, 2l + 1), in
                         the order of e3nn: l = 1 is (x, y, z); by default what `charges_of` gives for the atoms
    reference_charges    (n_atoms,) partial charges of a reference method [e], by default those that the atoms carry;
                         adds a scatter of the scalars against them
    charges_of           charges_of(atoms) gives such multipoles for other atoms; adds a slider that turns the molecule
                         and measures whether its charges turn with it
    unit                 of the charges, when the model says one, e.g. "e"
    on_pick              called with the number of the atom that was clicked

    Degrees above 2 are shown by their norm, as colour. A click on an atom, here or in a plot, selects it everywhere and
    leads the slice through it.

    >>> ChargeExplorer(atoms, predict(model, atoms, diagnose=True).diagnostics.multipoles)    # doctest: +SKIP
    """

    def __init__(
        self,
        atoms: Any,
        multipoles: Sequence[Any] | None = None,
        reference_charges: Any = None,
        *,
        charges_of: Callable[[Any], Sequence[Any]] | None = None,
        unit: str = "",
        on_pick: Callable[[int], None] | None = None,
        height: str = "420px",
    ) -> None:
        super().__init__()
        if multipoles is None and charges_of is not None:
            multipoles = charges_of(atoms)
        self.atoms = atoms.copy()
        self.multipoles = [_checked(m, len(atoms)) for m in multipoles or ()]
        if not self.multipoles:
            raise ValueError("got no multipoles; expected at least one. Predict with diagnose=True to get them")
        self._charges_of, self._unit = charges_of, unit
        self._now: turntable.Turned | None = None  # the structure as it is turned
        self._drawing = threading.RLock()  # the slider is followed on the pump's thread
        self._pump = Pump(self._follow_slider, self.log)
        self.view = StructureView(atoms, on_pick=on_pick, height=height)
        pixels = int(height.removesuffix("px"))
        self.slice = PotentialSlice(
            atoms.numbers, atoms.positions, self.multipoles, unit=unit, on_click=self.select, height=pixels
        )
        self.parity = self._scatter(_reference(atoms, reference_charges, self.multipoles), pixels)
        self.view.on_selection(self._selected)
        self._lay_out()
        for part in (self._pump, self.view, self.slice):
            self._on_close(part.close)
        self._draw()

    def _scatter(self, reference: Any, height: int) -> ChargeScatter | None:
        if reference is None:
            return None
        first = next(m for m in self.multipoles if m.degree == 0)
        learned = np.asarray(first.values)[:, 0]
        return ChargeScatter(
            self.atoms.numbers, reference, learned, label=first.label, on_click=self.select, height=height - 80
        )

    def _lay_out(self) -> None:
        names = [f"{m.label} ({_KINDS.get(m.degree, 'norm, as colour')})" for m in self.multipoles]
        self.choice = ipywidgets.Dropdown(options=[(n, i) for i, n in enumerate(names)], description="show")
        self.choice.layout.width, self.choice.style.description_width = "400px", "44px"
        self.kind = ipywidgets.ToggleButtons(options=["charges", "potentials"], style={"button_width": "96px"})
        self.sources = ipywidgets.Dropdown(options=[_ALL, _SHOWN], description="slice of")
        self.sources.layout.width, self.sources.style.description_width = "190px", "54px"
        for control in (self.choice, self.kind, self.sources):
            control.observe(self.log.guard(lambda _: self._draw()), "value")
        self._words = caption()
        self.slice.controls.children = (self.sources, *self.slice.controls.children)
        rows = [ipywidgets.HBox([self.choice, self.kind], layout=ipywidgets.Layout(flex_flow="row wrap"))]
        self.table: turntable.Turntable | None = None
        if self._charges_of is not None:
            self.table = turntable.Turntable(self._pump.wake)
            rows.append(self.table.widget)
        left = ipywidgets.VBox([self.view.widget, self._words])
        panes = [left, self.slice.widget, *([] if self.parity is None else [self.parity.widget])]
        for pane in panes:
            pane.layout.min_width, pane.layout.overflow = "0", "hidden"
        if self.parity is not None:
            self.parity.widget.layout.grid_area = "auto / 1 / auto / -1"  # a row of its own
        columns = "repeat(auto-fit, minmax(min(100%, 400px), 1fr))"
        grid = ipywidgets.Layout(grid_template_columns=columns, grid_gap="12px 20px", width="100%")
        self._show(*rows, ipywidgets.GridBox(panes, layout=grid), ipywidgets.HTML(in_words(_NOTE)))

    def show(self, index: int, potentials: bool = False) -> None:
        """Show multipole number `index`, or the potentials that it makes."""
        self.choice.value = index
        self.kind.value = "potentials" if potentials else "charges"

    def select(self, atoms: Any) -> None:
        """Select these atoms in every picture; None selects none. Raises ValueError when there is no such atom."""
        self.view.select(atoms)

    def turn(self, degrees: int, axis: str = "z") -> turntable.Turned:
        """Turn the molecule about "x", "y" or "z", from how it was given, and measure whether its charges turn with it.

        Raises ValueError without `charges_of`, or when that gives other multipoles than at first.
        """
        if self.table is None or self._charges_of is None:
            raise ValueError(
                "there is nothing to ask for other charges; give ChargeExplorer(..., charges_of=...)"
            )
        self.table.set(degrees, axis)
        return self._draw_turned()

    # drawing ------------------------------------------------------------------------------------------

    def _follow_slider(self) -> None:
        self._draw_turned()

    def _draw_turned(self) -> turntable.Turned:
        assert self.table is not None  # who calls has one
        assert self._charges_of is not None
        with self._drawing:
            axis, angle = self.table.axis.value, self.table.angle.value
            self._now = turntable.turn(self.atoms, self.multipoles, self._charges_of, axis, angle)
            self.table.say(self._now, self.multipoles)
            self.view.update(self._now.atoms.positions, cell=self._now.atoms.cell)
            self._draw()
            return self._now

    def _draw(self) -> None:
        with self._drawing:
            multipoles = self.multipoles if self._now is None else self._now.multipoles
            chosen, potentials = multipoles[self.choice.value], self.kind.value == "potentials"
            self._mark(chosen, potentials)
            positions = (self.atoms if self._now is None else self._now.atoms).positions
            self.slice.update(positions, multipoles if self.sources.value == _ALL else [chosen])
            if self.parity is not None and chosen.degree == 0:
                self.parity.update(np.asarray(chosen.values)[:, 0], chosen.label)

    def _mark(self, chosen: Any, potentials: bool) -> None:
        """Put one kind of charges, or their potentials, on the atoms."""
        values = np.asarray(chosen.potentials if potentials else chosen.values, float)
        name = f"potential of {chosen.label}" if potentials else f"learned {chosen.label}"
        unit = self._unit_of(chosen.degree, potentials)
        colours = np.linalg.norm(values, axis=1) if chosen.degree > 2 else None
        if chosen.degree == 0:
            colours = values[:, 0]
        label = f"|{name}|" if chosen.degree > 2 else name
        self.view.colour(colours, label=label, unit=unit, diverging=chosen.degree == 0)
        self.view.arrows(values if chosen.degree == 1 else None, label=name, unit=unit)
        tensors = traceless_tensors(values) if chosen.degree == 2 else None
        self.view.ellipsoids(tensors, label=name, unit=unit)
        self._words.value = in_words(self._numbers(values, unit))

    def _unit_of(self, degree: int, potentials: bool) -> str:
        """Every component is summed with 1/r, so a potential has the unit of its charge per Å."""
        charge = (
            f"{self._unit} Å^{degree}" if self._unit and degree > 1 else f"{self._unit} Å" if self._unit else ""
        )
        charge = self._unit if degree == 0 else charge
        return f"{charge or '1'}/Å" if potentials else charge

    def _numbers(self, values: np.ndarray, unit: str) -> str:
        norms = np.linalg.norm(values, axis=1)
        largest = int(norms.argmax())
        words = f"Largest on {self.view.names[largest]}: {norms[largest]:.3g} {unit}".rstrip()
        if values.shape[1] == 1:
            words += f"; sum over atoms {values.sum():+.3g} {unit}".rstrip()
        return f"{words}; root mean square {np.sqrt((norms**2).mean()):.3g} {unit}".rstrip() + "."

    def _selected(self, atoms: tuple[int, ...]) -> None:
        self.slice.select(atoms)
        if self.parity is not None:
            self.parity.select(atoms)

    def picture(self) -> bytes:
        panes = [self.view, self.slice, *([] if self.parity is None else [self.parity])]
        return still.stacked([pane.picture() for pane in panes])

    def describe(self) -> str:
        chosen = self.multipoles[self.choice.value]
        words = [f"Learned equivariant charges ({self.kind.value}, {chosen.label}). {self.view.describe()}"]
        if self._now is not None and self.table is not None:
            words.append(self.table.words)
        return " ".join([*words, self.slice.describe()])


def _reference(atoms: Any, given: Any, multipoles: Sequence[Any]) -> np.ndarray | None:
    """The reference charges that were given, or else those that the atoms carry, if there is anything to compare."""
    has_scalars = any(m.degree == 0 for m in multipoles)
    if given is None:
        carried = getattr(atoms.calc, "results", {}).get("charges")
        return np.asarray(carried, float) if carried is not None and has_scalars else None
    if not has_scalars:
        raise ValueError("reference_charges were given, but no multipole of degree 0 to set against them")
    return np.asarray(given, float)


def _checked(multipoles: Any, n_atoms: int) -> Any:
    wanted = (n_atoms, 2 * multipoles.degree + 1)
    for name in ("values", "potentials"):
        shape = np.shape(getattr(multipoles, name))
        if shape != wanted:
            raise ValueError(
                f"{name} of {multipoles.label!r} has shape {shape}; expected (n_atoms, 2l + 1) = {wanted}"
            )
    return multipoles
