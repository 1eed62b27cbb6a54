"""Two fragments pulled apart: what each model, its local twin and the reference say of it, and how it falls off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np

from widgets import scene, still, table
from widgets.frame_view import FrameView
from widgets.live_plot import caption, in_words
from widgets.panel import Panel, Pump
from widgets.separation_plot import LOGARITHMIC, ONE_ZERO, OWN_ZERO, SeparationPlot, cutoff_edges

_WRAP = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", width="100%")
_ELEMENTS = "elements"
_DASHES = 24  # of the rail
_NOTE = (
    "Learned charges have a sign and a scale of their own: they are no partial charges, and those of two models are"
    " not to be compared."
)


class LongRangeLens(Panel):
    """A slider pulls two fragments apart; energy and force of every curve, cutoffs, power laws, and charges follow.

    separations   name of the pair -> an object with
                  `distance` (n,) [Å], `frames` (n) ase.Atoms, `moving` (n_moving,) atoms,
                  `curves`: name -> an object with `distance` (m,), `energy` (m,) [eV], `force` (m,) [eV/Å], `limit`
                  (the energy far apart [eV], or NaN), `charges` (m, n_atoms) or None, their `label` and `unit`, and
                  `measured`: whether it is drawn as points;
                  `cutoffs`: (name, cutoff, the distance from which on no atom is within it) [Å];
                  `trained`: (from, to) [Å] or None; `zero`: what energies are counted from, in words
    fit           fit(curve, start, end) gives the power law of a stretch: `exponent`, `low`, `high` (NaN where there is
                  none), `verdict` in words, `of_force`, `start`, `end`, `energy(distance)` and `force(distance)`

    All curves are there from the beginning: the slider only moves and redraws.

    >>> LongRangeLens(**desk.separation("ion_pair", {"LOREM": model, "local twin": other}))    # doctest: +SKIP
    """

    def __init__(
        self,
        separations: Mapping[str, Any],
        fit: Callable[[Any, float, float], Any],
        *,
        height: int = 560,
    ) -> None:
        super().__init__()
        if not separations:
            raise ValueError("got no separations; expected at least one pair of fragments")
        self.separations, self._fit = dict(separations), fit
        for name, separation in self.separations.items():
            _check(name, separation)
        self.separation = next(iter(self.separations.values()))
        self.tails: dict[str, Any] = {}
        self._quiet = False
        self._whole = threading.RLock()  # nothing is drawn while half of it is of the pair before
        self._build(height)
        self._begin()

    # what is on the page ------------------------------------------------------------------------------

    def _build(self, height: int) -> None:
        first = next(iter(self.separations.values()))
        names = list(dict.fromkeys(name for s in self.separations.values() for name in s.curves))
        measured = {name for s in self.separations.values() for name, c in s.curves.items() if c.measured}
        self.plot = SeparationPlot(names, sorted(measured), self.log.guard(self.go_to), height)
        self.view = RailView(first.frames[0], height=f"{height - 180}px")
        self._pump = Pump(self._draw, self.log, rate=20.0)
        for ending in (self._pump.close, self.view.close):
            self._on_close(ending)
        self.pair = ipywidgets.Dropdown(
            options=list(self.separations), description="pair", layout={"width": "380px"}
        )
        self.kind = ipywidgets.ToggleButtons(
            options=[ONE_ZERO, OWN_ZERO, LOGARITHMIC],
            tooltips=[
                "All energies from the same zero",
                "The energies of each curve from those of its own fragments far apart",
                "Their sizes on logarithmic axes: a power law is a straight line",
            ],
        )
        self.kind.style.button_width = "90px"
        self.charges = ipywidgets.Dropdown(options=[_ELEMENTS], description="colour", layout={"width": "380px"})
        self.slider = ipywidgets.SelectionSlider(
            options=[("0 Å", 0)], description="distance", layout=ipywidgets.Layout(width="calc(100% - 130px)")
        )
        self.play = ipywidgets.Play(interval=120, layout=ipywidgets.Layout(width="auto"))
        ipywidgets.jslink((self.play, "value"), (self.slider, "index"))
        self.stretch = ipywidgets.FloatRangeSlider(
            description="fitted [Å]", step=0.1, readout_format=".1f", continuous_update=False,
            layout=ipywidgets.Layout(width="380px"),
        )  # fmt: skip
        for control in (self.pair, self.charges, self.slider, self.stretch):
            control.style.description_width = "64px"
        self._table, self._note = ipywidgets.HTML(), caption()
        self._watch()
        self._lay_out()

    def _watch(self) -> None:
        def on(control: Any, what: Callable[[], Any]) -> None:
            control.observe(self.log.guard(lambda _: None if self._quiet else what()), "value")

        on(self.pair, self._begin)
        on(self.kind, self._show_plot)
        on(self.charges, self._colour)
        on(self.stretch, self._refit)
        on(self.slider, self._pump.wake)

    def _lay_out(self) -> None:
        many = [self.pair] if len(self.separations) > 1 else []
        left = ipywidgets.VBox([*many, self.charges, self.view.widget, self._note])
        right = ipywidgets.VBox([ipywidgets.HBox([self.kind, self.stretch], layout=_WRAP), self.plot.widget])
        for side, room in ((left, "1 1 360px"), (right, "1.4 1 420px")):
            side.layout.min_width, side.layout.flex, side.layout.overflow = "340px", room, "hidden"
        pull = ipywidgets.HBox([self.play, self.slider], layout=ipywidgets.Layout(width="100%"))
        self._show(ipywidgets.HBox([left, right], layout=_WRAP), pull, self._table)

    # one pair -----------------------------------------------------------------------------------------

    @property
    def distance(self) -> float:
        """Where the slider stands [Å]."""
        return float(self.separation.distance[self.slider.value])

    def go_to(self, distance: float) -> None:
        """Pull the fragments to that distance [Å], or the nearest that was computed."""
        self.slider.value = int(np.abs(self.separation.distance - distance).argmin())

    def _begin(self) -> None:
        """Show the pair that is chosen, from its closest distance."""
        with self._whole:
            self._put_pair(self.separations[self.pair.value])
            self._colour()
            self._refit()

    def _put_pair(self, chosen: Any) -> None:
        self.separation = chosen
        low, high = (float(end) for end in chosen.distance[[0, -1]])
        self._quiet = True  # one redrawing at the end
        try:
            self.slider.options = [(f"{distance:.2f} Å", i) for i, distance in enumerate(chosen.distance)]
            self.slider.value, self.play.value, self.play.max = 0, 0, len(chosen.distance) - 1
            self.stretch.min, self.stretch.max = min(self.stretch.min, low), max(self.stretch.max, high)
            self.stretch.value = default_stretch(chosen)
            self.stretch.min, self.stretch.max = low, high
            self._offer_charges()
        finally:
            self._quiet = False
        self.view.see_pair(chosen.frames, chosen.moving)

    def _offer_charges(self) -> None:
        """What was chosen before, if it is there; else those of the first model that has some, or of the reference."""
        held = {name: curve for name, curve in self.separation.curves.items() if curve.charges is not None}
        before = self.charges.value if self.tails else None  # at first, nobody has chosen
        self.charges.options = [*((curve.label, name) for name, curve in held.items()), (_ELEMENTS, _ELEMENTS)]
        learned = [name for name, curve in held.items() if not curve.measured]
        self.charges.value = before if before in {*held, _ELEMENTS} else (learned or [*held, _ELEMENTS])[0]

    def _colour(self) -> None:
        with self._whole:
            self._put_colours(self.separation.curves.get(self.charges.value))
        self._pump.wake()

    def _put_colours(self, curve: Any) -> None:
        if curve is None:
            self.view.colour(None)
            self._note.value = in_words(self.view.describe())
        else:
            largest = float(np.nanmax(np.abs(curve.charges))) or 1.0
            self.view.colour(
                curve.charges[0], label=curve.label, unit=curve.unit, diverging=True, limits=(-largest, largest)
            )

    def _refit(self) -> None:
        with self._whole:
            low, high = self.stretch.value
            self.tails = {name: self._fit(curve, low, high) for name, curve in self.separation.curves.items()}
            self._show_plot()

    def _show_plot(self) -> None:
        with self._whole:
            self.plot.distance = self.distance
            self.plot.show(self.separation, self.tails, self.kind.value)
            self.plot.say(self._sentence())
            self._draw()

    # where the slider stands --------------------------------------------------------------------------

    def _draw(self) -> None:
        """Bring structure, charges, plots and table to where the slider stands."""
        with self._whole:
            self._put_here()

    def _put_here(self) -> None:
        positions = self.separation.frames[self.slider.value].positions
        curve = self.separation.curves.get(self.charges.value)
        if curve is None:
            self.view.update(positions)
        else:
            nearest = int(np.abs(curve.distance - self.distance).argmin())
            self.view.update(positions, values=curve.charges[nearest])
            self._note.value = in_words(self._about_charges(curve, nearest))
        if self.plot.distance != self.distance:
            self.plot.move(self.distance)
        self._table.value = self._as_table()

    def flush(self) -> None:
        """Bring everything to where the slider stands, now."""
        self._draw()

    def _about_charges(self, curve: Any, nearest: int) -> str:
        moving = np.asarray(self.separation.moving, int)
        charges = curve.charges[nearest]
        both = (charges[moving].sum(), np.delete(charges, moving).sum())
        sums = [round(float(total), 4) + 0.0 for total in both]  # and no minus zero
        words = (
            f"{curve.label}: the fragment that moves has {sums[0]:+.3g}, the other {sums[1]:+.3g} {curve.unit}"
        )
        words = words.rstrip()
        if curve.measured and abs(curve.distance[nearest] - self.distance) > 1e-3:
            words += f" (known at {curve.distance[nearest]:.2f} Å)"
        return words + "." if curve.measured else f"{words}. {_NOTE}"

    def numbers(self) -> dict[str, tuple[float, float]]:
        """Curve -> energy [eV] and force [eV/Å] where the slider stands; NaN for one that has no point there."""
        found = {}
        for name, curve in self.separation.curves.items():
            nearest = int(np.abs(curve.distance - self.distance).argmin())
            zero = curve.limit if self.kind.value != ONE_ZERO and np.isfinite(curve.limit) else 0.0
            here = abs(curve.distance[nearest] - self.distance) < 1e-3
            found[name] = (
                (float(curve.energy[nearest] - zero), float(curve.force[nearest])) if here else (np.nan, np.nan)
            )
        return found

    def _as_table(self) -> str:
        header = f"at {self.distance:.2f} Å", "energy [eV]", "force [eV/Å]", "n of E ~ 1/rⁿ (95 %)", "falls off"
        rows = []
        for name, here in self.numbers().items():
            cells = ("–" if np.isnan(value) else f"{round(value, 4) + 0.0:+.4f}" for value in here)
            rows.append((name, *cells, _power(self.tails[name]), self.tails[name].verdict))
        return table.as_html(header, rows)

    def _sentence(self) -> str:
        """What the plots do not say themselves."""
        chosen = self.separation
        own = "Energies are counted from each curve's own fragments far apart."
        words = [f"Energies are counted from {chosen.zero}." if self.kind.value == ONE_ZERO else own]
        words.append("A positive force pushes the fragments apart.")
        if chosen.trained is not None:
            words.append(f"Shaded: distances trained on, {chosen.trained[0]:.1f} to {chosen.trained[1]:.1f} Å.")
        for (cutoff, distance), names in cutoff_edges(chosen).items():
            whose = f"the cutoff of {' and '.join(names)} ({cutoff:g} Å)"
            words.append(f"From {distance:.1f} Å on, no atom of the one is within {whose} of the other.")
        low, high = self.stretch.value
        words.append(
            f"Pale lines: power laws fitted from {low:.1f} to {high:.1f} Å, with 95 % intervals in the table."
        )
        return " ".join(words)

    def picture(self) -> bytes:
        return still.stacked([self.view.picture(), self.plot.picture()])

    def describe(self) -> str:
        words = [f"{self.pair.value}, {self.distance:.2f} Å apart."]
        for name, (energy, force) in self.numbers().items():
            here = "" if np.isnan(energy) else f"energy {energy:+.4f} eV, force {force:+.4f} eV/Å; "
            power = _power(self.tails[name])
            law = f"E ~ 1/r^n with n = {power}, " if power != "–" else ""
            words.append(f"{name}: {here}{law}{self.tails[name].verdict}.")
        return " ".join([*words, self._sentence(), self.view.describe()])


class RailView(FrameView):
    """Two fragments, and the rail along which one of them is pulled: all of it stays in the picture."""

    _rail: tuple[np.ndarray, np.ndarray] | None = None

    def see_pair(self, frames: list[Any], moving: Any) -> None:
        """Show the first of these frames, and the rail from it to the last."""
        moving = np.asarray(moving, int)
        start = np.delete(frames[0].positions, moving, axis=0).mean(axis=0)
        end = frames[-1].positions[moving].mean(axis=0)
        outermost = np.linalg.norm(frames[-1].positions[moving] - end, axis=1).max()
        self._rail = start, end + (outermost + 0.5) * (end - start) / np.linalg.norm(end - start)
        self.see(frames[0])
        if self.stage is not None:
            self.stage.fit_with_next_drawing()

    def scene(self) -> scene.Scene:
        drawn, rail = super().scene(), self._rail
        if rail is None:
            return drawn
        # Dashes, for the viewer takes the middle of each stick for its place when it looks how large everything is.
        begins, ends = (np.linspace(*rail, 2 * _DASHES)[side::2] for side in (0, 1))
        grey = np.full((_DASHES, 3), 0.55)
        line = scene.Sticks(begins, ends, grey, grey, np.full(_DASHES, scene.CELL_RADIUS))
        return replace(drawn, sticks={**drawn.sticks, "rail": line})


def default_stretch(separation: Any) -> tuple[float, float]:
    """The far half of the way, and all of it beyond every cutoff, while that leaves a quarter of it."""
    low, high = (float(end) for end in separation.distance[[0, -1]])
    edges = [d for _, _, d in separation.cutoffs if np.isfinite(d) and d < high - 0.25 * (high - low)]
    return max([0.5 * (low + high), *edges]), high


def _power(fit: Any) -> str:
    return f"{fit.exponent:.2f} ({fit.low:.2f} to {fit.high:.2f})" if np.isfinite(fit.exponent) else "–"


def _check(name: str, separation: Any) -> None:
    """Raise ValueError where the parts of a separation do not fit together."""
    n = len(separation.distance)
    if n < 2 or len(separation.frames) != n:
        raise ValueError(
            f"{name!r} has {n} distances and {len(separation.frames)} frames; expected as many of each, at least two"
        )
    for label, curve in separation.curves.items():
        shapes = [np.shape(values) for values in (curve.distance, curve.energy, curve.force)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1 or not shapes[0][0]:
            raise ValueError(
                f"{name!r}, curve {label!r}: distance, energy and force have shapes {shapes}; expected the same (m,)"
            )
        wanted = (shapes[0][0], len(separation.frames[0]))
        if curve.charges is not None and np.shape(curve.charges) != wanted:
            raise ValueError(
                f"{name!r}, curve {label!r}: charges have shape {np.shape(curve.charges)}; expected {wanted}"
            )
