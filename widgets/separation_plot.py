"""Energy and force of two fragments against their distance: every curve, its fitted power law, and where one stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from widgets import still
from widgets.attention_plots import Plot
from widgets.palette import GRID, INK, LINES, css
from widgets.partner_view import CHOSEN

#: How energies are counted, and what the axes show.
ONE_ZERO, OWN_ZERO, LOGARITHMIC = "one zero", "own zero", "log–log"
_SOLID = ("solid", "dash", "dashdot", "longdash")
_STILL = ("-", "--", "-.", (0, (8, 3)))
_ENERGY = {
    ONE_ZERO: "energy [eV]",
    OWN_ZERO: "interaction energy [eV]",
    LOGARITHMIC: "|interaction energy| [eV]",
}
_SHADE = "rgba(0, 158, 115, 0.13)"


class SeparationPlot(Plot):
    """Two plots, one above the other; clicking a curve calls on_distance(distance).

    names   of all the curves that there may be; those of `measured` are drawn as points
    """

    def __init__(
        self, names: Sequence[str], measured: Sequence[str], on_distance: Callable[[float], None], height: int
    ) -> None:
        super().__init__("", "", "", height)
        self.names, self.measured = list(names), set(measured)
        self._lock = threading.RLock()  # two threads in one batch would lose each other's changes
        self.kind, self.distance = ONE_ZERO, 0.0
        self.curves: Mapping[str, Any] = {}
        self.tails: Mapping[str, Any] = {}
        self._shapes: list[dict[str, Any]] = []
        colours = self._colours()
        for row, places in enumerate(({"yaxis": "y"}, {"yaxis": "y2"})):
            for number, name in enumerate(self.names):
                self._add_curve(name, colours[name], _SOLID[number % 4], row, places, on_distance)
        for row, places in enumerate(({"yaxis": "y"}, {"yaxis": "y2"})):
            for number, name in enumerate(self.names):
                line = {"color": colours[name], "width": 6}
                self.figure.add_scatter(
                    x=np.empty(0), y=np.empty(0), mode="lines", line=line, opacity=0.35, name="fitted power law",
                    legendgroup="fits", showlegend=row == 0 and number == 0, hoverinfo="skip", **places,
                )  # fmt: skip
        for places in ({"yaxis": "y"}, {"yaxis": "y2"}):
            marker = {"symbol": "circle-open", "size": 13, "color": css(CHOSEN), "line": {"width": 3}}
            self.figure.add_scatter(
                x=np.empty(0), y=np.empty(0), mode="markers", marker=marker, name="here",
                showlegend=False, hoverinfo="skip", **places,
            )  # fmt: skip
        self._lay_out()

    def _colours(self) -> dict[str, str]:
        """Grey for what was measured, a colour for every other."""
        others = [name for name in self.names if name not in self.measured]
        return {name: INK for name in self.measured} | {n: LINES[i % len(LINES)] for i, n in enumerate(others)}

    def _add_curve(
        self, name: str, colour: str, dash: str, row: int, places: dict[str, str], on_distance: Any
    ) -> None:
        unit = "eV/Å" if row else "eV"
        dots = name in self.measured
        look: dict[str, Any] = {"mode": "lines", "line": {"color": colour, "width": 2.5, "dash": dash}}
        if dots:
            marker = {"color": colour, "size": 8, "symbol": "circle", "line": {"width": 1, "color": "white"}}
            look = {"mode": "markers", "marker": marker}
        self.figure.add_scatter(
            x=np.empty(0), y=np.empty(0), name=name, legendgroup=name, showlegend=row == 0, **look, **places,
            hovertemplate="%{x:.2f} Å: %{y:.4g} " + unit,
        )  # fmt: skip
        self.figure.data[-1].on_click(
            lambda trace, points, _: points.point_inds and on_distance(float(trace.x[points.point_inds[0]]))
        )

    def _lay_out(self) -> None:
        common = {
            "gridcolor": GRID,
            "zerolinecolor": INK,
            "linecolor": INK,
            "ticks": "outside",
            "automargin": True,
        }
        small = {"size": 12}
        upright = {**common, "exponentformat": "power", "title": {"font": {"size": 13}}, "tickfont": small}
        self.figure.update_layout(
            showlegend=True,
            hovermode="closest",
            margin={"t": 30, "r": 10, "l": 70, "b": 50},
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0, "font": {"size": 12}},
            xaxis={
                **common,
                "anchor": "y2",
                "title": {"text": "distance between the fragments [Å]", "standoff": 6},
            },
            yaxis={**upright, "domain": [0.44, 1.0]},
            yaxis2={**upright, "domain": [0.0, 0.40], "anchor": "x"},
        )

    def show(self, separation: Any, tails: Mapping[str, Any], kind: str) -> None:
        """Draw these curves, their tails, what was trained on, and the cutoffs.

        tails   name -> a fit with `start`, `end` [Å], `energy(distance)` and `force(distance)`, NaN where none fits
        kind    ONE_ZERO: energies as they are; OWN_ZERO: each counted from its own fragments far apart; LOGARITHMIC:
                the sizes of these
        """
        log = kind == LOGARITHMIC
        n = len(self.names)
        with self._lock, self.figure.batch_update():
            self.curves, self.tails, self.kind = separation.curves, tails, kind
            self.separation = separation
            for number, name in enumerate(self.names):
                for row in (0, 1):
                    curve, fit = self.figure.data[row * n + number], self.figure.data[(2 + row) * n + number]
                    curve.x, curve.y = self.values(name, row)
                    fit.x, fit.y = self.law(name, row)
            layout = self.figure.layout
            layout.yaxis.title.text = _ENERGY[kind]
            layout.yaxis2.title.text = "|force| [eV/Å]" if log else "force [eV/Å]"
            for axis in (layout.xaxis, layout.yaxis, layout.yaxis2):
                axis.type = "log" if log else "linear"
            self._range(log)
            layout.xaxis.tickvals = _round_distances(separation.distance) if log else None
            self._shapes, layout.annotations = self._marks(log)
            self._cursor()

    def _range(self, log: bool) -> None:
        low, high = self.separation.distance[[0, -1]]
        margin = 0.02 * (high - low)
        ends = np.array([low - margin, high + margin])
        self.figure.layout.xaxis.range = (np.log10(ends) if log else ends).tolist()
        for row, axis in enumerate((self.figure.layout.yaxis, self.figure.layout.yaxis2)):
            axis.range = span = self._span(row, log)
            axis.dtick = (1 if span[1] - span[0] > 2 else "D2") if log else None

    def _span(self, row: int, log: bool) -> list[float]:
        """From what the curves have, six orders of magnitude at most; and linear, without the wall of repulsion."""
        values = np.concatenate([self.values(name, row)[1] for name in self.curves])
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return [0.0, 1.0]
        if log:
            top = np.log10(values.max())
            low, high = float(max(np.log10(values.min()), top - 6)), float(top)
            return [low - 0.04 * (high - low) - 0.05, high + self._room(row) * (high - low) + 0.05]
        low, high = float(values.min()), float(values.max())
        if low < 0 and high > -3 * low:
            high = -3 * low
        span = (high - low) or 1.0
        return [low - 0.06 * span, high + self._room(row) * span]

    def _room(self, row: int) -> float:
        """Share of the height that stays free for the notes above the curves."""
        return 0.06 if row else 0.2

    def values(self, name: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and what is drawn of a curve there: energy in row 0, force in row 1."""
        if name not in self.curves:
            return np.empty(0), np.empty(0)
        curve = self.curves[name]
        values = curve.force if row else curve.energy
        if not row and self.kind != ONE_ZERO and np.isfinite(curve.limit):
            values = values - curve.limit
        if self.kind == LOGARITHMIC:
            values = np.where(np.abs(values) > 1e-9, np.abs(values), np.nan)
        return curve.distance, values

    def law(self, name: str, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and what the fitted power law of a curve says there."""
        fit = self.tails.get(name)
        if fit is None or name not in self.curves or not np.isfinite(fit.exponent):
            return np.empty(0), np.empty(0)
        distance = np.geomspace(fit.start, fit.end, 40)
        values = fit.force(distance) if row else fit.energy(distance)
        if not row and self.kind == ONE_ZERO and np.isfinite(self.curves[name].limit):
            values = values + self.curves[name].limit
        if not row and fit.of_force:
            return np.empty(0), np.empty(0)  # its zero is not that of the curve
        return distance, np.abs(values) if self.kind == LOGARITHMIC else values

    def _marks(self, log: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What lies behind the curves: the distances trained on, and where the cutoffs end."""
        shapes, notes = [], []
        high = self.separation.distance[-1]

        def note(x: float, y: float, text: str, anchor: str) -> None:
            place = float(np.log10(x)) if log else float(x)
            notes.append(
                {"x": place, "y": y, "xref": "x", "yref": "paper", "text": text, "showarrow": False,
                 "xanchor": anchor, "yanchor": "top", "font": {"size": 12, "color": INK}}
            )  # fmt: skip

        if self.separation.trained is not None:
            start, end = self.separation.trained
            shapes.append(
                {"type": "rect", "xref": "x", "yref": "paper", "x0": start, "x1": end, "y0": 0, "y1": 1,
                 "fillcolor": _SHADE, "line": {"width": 0}, "layer": "below"}
            )  # fmt: skip
            note(end, 0.995, "trained on ", "right")
            if end < high:
                note(end, 0.995, " never seen", "left")
        for number, (cutoff, distance) in enumerate(cutoff_edges(self.separation)):
            line = {"color": INK, "width": 2, "dash": "dot"}
            shapes.append({**_upright(distance, line), "y1": 0.945})
            note(distance, 0.95 - 0.05 * number, f" beyond the cutoff ({cutoff:g} Å)", "left")
        return shapes, notes

    def move(self, distance: float) -> None:
        """Mark this distance on every curve."""
        with self._lock, self.figure.batch_update():
            self.distance = distance
            self._cursor()

    def _cursor(self) -> None:
        for row in (0, 1):
            trace = self.figure.data[len(self.figure.data) - 2 + row]
            points = [
                self.at(name, row) for name in self.names if name not in self.measured or not self._computed()
            ]
            points = [point for point in points if point is not None]
            trace.x, trace.y = (np.array(points).T if points else np.empty((2, 0))).astype(float)
        here = _upright(self.distance, {"color": css(CHOSEN), "width": 1.5})
        self.figure.layout.shapes = [*self._shapes, here]

    def _computed(self) -> bool:
        return any(name not in self.measured for name in self.curves)

    def at(self, name: str, row: int) -> tuple[float, float] | None:
        """Where a curve is at the distance that is marked; None where it has no point so near."""
        x, y = self.values(name, row)
        if len(x) == 0:
            return None
        nearest = int(np.abs(x - self.distance).argmin())
        return None if np.isnan(y[nearest]) else (float(x[nearest]), float(y[nearest]))

    def picture(self) -> bytes:
        drawn = still.figure(6.6, 5.4)
        panes = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        colours = self._colours()
        log = self.kind == LOGARITHMIC
        for row, axes in enumerate(panes):
            for number, name in enumerate(self.names):
                x, y = self.values(name, row)
                look = (
                    {"marker": "o", "ls": "", "ms": 4} if name in self.measured else {"ls": _STILL[number % 4]}
                )
                axes.plot(x, y, color=colours[name], lw=1.8, label=name, **look)
                axes.plot(*self.law(name, row), color=colours[name], lw=5, alpha=0.3)
            if self.separation.trained is not None:
                axes.axvspan(*self.separation.trained, color=LINES[2], alpha=0.13, lw=0, label="trained on")
            for distance in {d for _, _, d in self.separation.cutoffs if np.isfinite(d)}:
                axes.axvline(distance, color="#777777", ls=":", label="no atom within the cutoff from here")
            axes.axvline(self.distance, color=CHOSEN, lw=1)
            if log:
                axes.set(xscale="log", yscale="log")
            span = np.array(self._span(row, log))
            axes.set_ylim(*(10**span if log else span))
            axes.grid(alpha=0.25)
        panes[0].set(ylabel=_ENERGY[self.kind])
        panes[1].set(
            ylabel="|force| [eV/Å]" if log else "force [eV/Å]", xlabel="distance between the fragments [Å]"
        )
        panes[0].legend(frameon=False, fontsize=8)
        return still.png(drawn)


def cutoff_edges(separation: Any) -> dict[tuple[float, float], list[str]]:
    """(cutoff, distance from which on no atom is within it) [Å] -> the models that have it."""
    edges: dict[tuple[float, float], list[str]] = {}
    for name, cutoff, distance in separation.cutoffs:
        if np.isfinite(distance):
            edges.setdefault((cutoff, distance), []).append(name)
    return edges


def _upright(distance: float, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "line", "xref": "x", "yref": "paper", "x0": distance, "x1": distance, "y0": 0, "y1": 1, "line": line,
    }  # fmt: skip


def _round_distances(distance: np.ndarray) -> list[float]:
    """Ticks of a logarithmic axis that spans less than a decade or two."""
    steps = [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 40, 50, 70, 100]
    return [float(d) for d in steps if distance[0] - 0.01 < d < distance[-1] + 0.01]
