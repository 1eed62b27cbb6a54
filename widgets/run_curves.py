"""Training curves of several runs over each other, in panes that share one legend."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, thinned
from widgets.palette import GRID, INK, LINES
from widgets.panel import Panel, Pump

# One for each run, for plotly and for matplotlib.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
STILL_SYMBOLS = "osD^P*"
_LEGEND = 40  # pixels above the panes
_PALE = 0.5


@dataclass(frozen=True)
class Pane:
    """One quantity, and the columns of a run's stream that hold it.

    step         of every step: a thin line, pale where there is a validation too; "" is none
    validation   of every validation: a line with markers; "" is none
    log          logarithmic axis; a linear one begins at zero
    """

    label: str
    unit: str = ""
    step: str = ""
    validation: str = ""
    log: bool = True

    @property
    def axis(self) -> str:
        return f"{self.label} [{self.unit}]" if self.unit else self.label


#: What a training of energies and forces tells, by the names of metrics.csv.
PANES = (
    Pane("loss", "", "loss", "validation_loss"),
    Pane("energy error", "meV/atom", "energy_mae_meV_per_atom", "validation_energy_mae_meV_per_atom"),
    Pane("force error", "meV/Å", "forces_mae_meV_per_A", "validation_forces_mae_meV_per_A"),
    Pane("learning rate", "", "learning_rate", log=False),
)


@dataclass
class _Followed:
    """A run that is shown: its numbers so far, and the place of its traces in the figure."""

    stream: Any
    slot: int
    steps: bool
    seen: int = 0
    drawn: int = -1
    columns: dict[str, array[float]] = field(default_factory=dict)
    unsubscribe: Callable[[], None] = lambda: None

    def read(self, names: Sequence[str], x: str) -> None:
        """Take the rows that are new. A row without x, such as a validation's, stands where the row before it stood."""
        rows = self.stream.since(self.seen)
        self.seen += len(rows)
        for name in (x, *names):
            self.columns.setdefault(name, array("d"))
        last = self.columns[x][-1] if self.columns[x] else 0.0
        for row in rows:
            last = row.get(x, last)
            self.columns[x].append(last)
            for name in names:
                self.columns[name].append(row.get(name, np.nan))

    def curve(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        """The points where there is a number."""
        xs, ys = (np.array(self.columns.get(name, ()), float) for name in (x, y))
        there = np.isfinite(ys)
        return xs[there], ys[there]


class RunCurves(Panel):
    """Curves of runs over each other: every run has a colour and a symbol, every quantity a pane.

    panes     what is drawn; by default loss, energy error, force error and learning rate
    x         column that counts how far a run is; where a row lacks it, that of the row before holds
    x_label   with its unit
    x_scale   what the column is multiplied by
    columns   of panes
    height    of a row of panes [pixels]

    >>> curves = RunCurves()                                                  # doctest: +SKIP
    >>> curves.show("first", stream); curves.show("second", other, steps=False)   # doctest: +SKIP
    """

    POINTS = 1000
    RUNS = len(LINES)

    def __init__(
        self,
        panes: Sequence[Pane] = PANES,
        *,
        x: str = "epoch",
        x_label: str = "epoch",
        x_scale: float = 1.0,
        columns: int = 2,
        height: int = 230,
        rate: float = 2.0,
    ) -> None:
        super().__init__()
        self._panes, self._x, self._x_label, self._x_scale = tuple(panes), x, x_label, x_scale
        self._names = list(dict.fromkeys(c for p in panes for c in (p.step, p.validation) if c))
        self._runs: dict[str, _Followed] = {}
        self._traces: list[list[tuple[int, str]]] = []  # of each slot: number in the figure, column
        self._n_columns = min(columns, len(panes))
        self._lock = threading.RLock()  # the pump draws while others show and hide
        self._figure = self._empty_figure(height)
        self._words = caption()
        self._pump = Pump(self._draw, self.log, rate)
        self._on_close(self._pump.close)
        self._on_close(self._unsubscribe)
        self._show(self._figure, self._words)
        self._words.value = in_words(self.describe())

    @property
    def shown(self) -> list[str]:
        """Names of the runs that are drawn."""
        return list(self._runs)

    def show(self, name: str, stream: Any, *, steps: bool = True) -> None:
        """Draw a run from its first row on; one of that name which is shown already gives way, and keeps its colour.

        stream   has `subscribe(callback)` and `since(n)`; rows are mappings of names to numbers
        steps    draw its steps too, not only its validations

        Raises ValueError when as many runs are shown as there are colours.
        """
        with self._lock:
            taken = {run.slot for run in self._runs.values()}
            free = [slot for slot in range(self.RUNS) if slot not in taken]
            slot = self._runs[name].slot if name in self._runs else min(free, default=-1)
            if slot < 0:
                raise ValueError(f"{self.RUNS} runs are shown, which is all there are colours for; hide one")
            if name in self._runs:
                self._runs[name].unsubscribe()
            self._make_traces(slot)
            self._label(name, slot)
            run = self._runs[name] = _Followed(stream, slot, steps)
        run.unsubscribe = stream.subscribe(self._pump.wake)
        self._draw()

    def hide(self, name: str) -> None:
        """Take a run out of the picture; one that is not shown is no matter."""
        with self._lock:
            run = self._runs.pop(name, None)
            if run is None:
                return
            run.unsubscribe()
            traces = [self._figure.data[index] for index, _ in self._traces[run.slot]]
            nothing = np.empty(0)
            self._send([(trace, nothing, nothing) for trace in traces if len(trace.x)])
        self._words.value = in_words(self.describe())

    def flush(self) -> None:
        """Draw everything that the streams hold, now."""
        self._draw()

    def _unsubscribe(self) -> None:
        for run in self._runs.values():
            run.unsubscribe()

    # the figure ---------------------------------------------------------------------------------------

    def _empty_figure(self, height: int) -> Any:
        rows = -(-len(self._panes) // self._n_columns)
        figure = paned(
            rows, self._n_columns, rows * height, horizontal_spacing=0.13, vertical_spacing=0.24 / rows
        )
        figure.update_xaxes(title={"text": self._x_label, "standoff": 4}, rangemode="tozero")
        for number, pane in enumerate(self._panes):
            row, column = self._place(number)
            title, kind = {"text": pane.axis, "standoff": 4}, "log" if pane.log else "linear"
            figure.update_yaxes(
                title=title, type=kind, rangemode="tozero", tickformat=".4~g", row=row, col=column
            )
        return figure

    def _place(self, number: int) -> tuple[int, int]:
        """Row and column of a pane, as plotly counts them."""
        return number // self._n_columns + 1, number % self._n_columns + 1

    def _make_traces(self, slot: int) -> None:
        """Empty traces of the next slots; plotly keeps every trace for ever, so slots are used again."""
        while len(self._traces) <= slot:
            new = len(self._traces)
            self._traces.append([])
            for number, pane in enumerate(self._panes):
                for column, is_validation in ((pane.step, False), (pane.validation, True)):
                    if column:
                        self._traces[new].append((len(self._figure.data), column))
                        self._add_trace(new, number, pane, is_validation)

    def _add_trace(self, slot: int, number: int, pane: Pane, is_validation: bool) -> None:
        row, column = self._place(number)
        colour, thin = LINES[slot % len(LINES)], bool(pane.validation) and not is_validation
        self._figure.add_scatter(
            x=np.empty(0),
            y=np.empty(0),
            mode="lines+markers" if is_validation else "lines",
            line={"color": colour, "width": 1 if thin else 2},
            marker={"symbol": SYMBOLS[slot % len(SYMBOLS)], "size": 6},
            opacity=_PALE if thin else 1.0,
            legendgroup=str(slot),
            showlegend=False,
            hovertemplate=f"%{{y:.4g}} {pane.unit}" + (" (this step)" if thin else ""),
            row=row,
            col=column,
        )

    def _draw(self) -> None:
        with self._lock:
            for run in self._runs.values():
                run.read(self._names, self._x)
            fresh = [run for run in self._runs.values() if run.drawn != run.seen]
            self._send([curve for run in fresh for curve in self._new_points(run)])
            for run in fresh:
                run.drawn = run.seen
        self._words.value = in_words(self.describe())

    def _new_points(self, run: _Followed) -> list[tuple[Any, np.ndarray, np.ndarray]]:
        """Trace, x and y of every curve that is no longer what is drawn."""
        found = []
        for index, column in self._traces[run.slot]:
            trace = self._figure.data[index]
            x, y = self._curve(run, column)
            kept = thinned(y, self.POINTS)
            if not (np.array_equal(trace.x, x[kept]) and np.array_equal(trace.y, y[kept])):
                found.append((trace, x[kept], y[kept]))
        return found

    def _send(self, curves: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        with self._figure.batch_update():
            for trace, x, y in curves:
                trace.x, trace.y = x, y

    def _label(self, name: str, slot: int) -> None:
        """Name a slot's traces; the first of validations stands for all of them in the legend."""
        places = self._traces[slot]
        legend = next((index for index, column in places if "validation" in column), places[0][0])
        with self._figure.batch_update():
            for index, _ in places:
                self._figure.data[index].name = name
        self._figure.data[legend].showlegend = True

    def _curve(self, run: _Followed, column: str) -> tuple[np.ndarray, np.ndarray]:
        paired = {pane.step for pane in self._panes if pane.validation}
        if column in paired and not run.steps:
            return np.empty(0), np.empty(0)
        x, y = run.curve(self._x, column)
        return x * self._x_scale, y

    # still and in words -------------------------------------------------------------------------------

    def picture(self) -> bytes:
        rows = -(-len(self._panes) // self._n_columns)
        drawn = still.figure(4.2 * self._n_columns, 2.7 * rows)
        axes = drawn.subplots(rows, self._n_columns, squeeze=False).ravel()
        with self._lock:
            for pane, place in zip(self._panes, axes, strict=False):
                for name, run in self._runs.items():
                    self._paint(place, pane, name, run)
                place.set(xlabel=self._x_label, ylabel=pane.axis)
                # Of a logarithmic axis without a point matplotlib complains.
                place.set_yscale("log" if pane.log and place.lines else "linear")
                if not pane.log and place.lines:
                    place.set_ylim(bottom=0)
                place.grid(alpha=0.25)
        if axes[0].get_legend_handles_labels()[0]:
            axes[0].legend(frameon=False, fontsize=8)
        for place in axes[len(self._panes) :]:
            place.axis("off")
        return still.png(drawn)

    def _paint(self, place: Any, pane: Pane, name: str, run: _Followed) -> None:
        colour = LINES[run.slot % len(LINES)]
        for column, marker in ((pane.step, ""), (pane.validation, STILL_SYMBOLS[run.slot % 6])):
            x, y = self._curve(run, column) if column else (np.empty(0), np.empty(0))
            if len(y):
                kept = thinned(y, self.POINTS)
                thin = bool(pane.validation) and not marker
                style = {"lw": 0.8, "alpha": _PALE} if thin else {"lw": 1.6, "label": name}
                place.plot(x[kept], y[kept], marker=marker, ms=3.5, color=colour, **style)

    def describe(self) -> str:
        if not self._runs:
            return "No run is shown."
        return " ".join(self._run_in_words(name, run) for name, run in list(self._runs.items()))

    def _run_in_words(self, name: str, run: _Followed) -> str:
        words = []
        for pane in self._panes:
            for column, kind in ((pane.validation, "validation "), (pane.step, "")):
                _, y = self._curve(run, column) if column else (None, np.empty(0))
                if len(y):
                    lowest = f", lowest {y.min():.3g}" if kind else ""
                    words.append(f"{kind}{pane.label} {y[-1]:.3g} {pane.unit}".rstrip() + lowest)
                    break
        x = run.columns.get(self._x)
        if not words or not x:
            return f"{name}: no numbers yet."
        return f"{name} at {self._x_label} {x[-1] * self._x_scale:.3g}: {'; '.join(words)}."


def paned(rows: int, columns: int, height: int, **spacing: Any) -> Any:
    """A live figure of panes under one legend, readable on light and on dark ground.

    height    of all panes together [pixels]
    spacing   as plotly's make_subplots takes it
    """
    figure = live_figure()
    figure.set_subplots(rows=rows, cols=columns, **spacing)
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": INK, "ticks": "outside", "automargin": True}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_layout(
        height=height + _LEGEND,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 12},
        margin={"l": 60, "r": 15, "t": _LEGEND, "b": 45},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0},
        showlegend=True,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": LINES[0]},
    )
    figure._config = {**figure._config, "displaylogo": False, "responsive": True}
    return figure
