"""Models that learn the same data for the same time: which is how good when, and for what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import ipywidgets
import numpy as np

from widgets import still, table
from widgets.cost_plot import CostPlot
from widgets.form import Form
from widgets.live_plot import in_words
from widgets.panel import Panel, Pump
from widgets.run_controls import RunControls
from widgets.run_curves import PANES, RunCurves

_COSTS = ("parameters", "memory of a step [MB]", "time of a step [ms]")
_HEADER = (
    "model",
    "best energy error",
    "best force error",
    "time of a step",
    "parameters",
    "memory of a step",
    "steps",
    "state",
)
_ENERGY, _FORCES = "energy_mae_meV_per_atom", "forces_mae_meV_per_A"
_UNITS = {_ENERGY: "meV/atom", _FORCES: "meV/Å"}


class RacePanel(Panel):
    """Set up a race of models, start, pause and stop it; see their errors fall with time, and what they cost.

    fields   of the form, as `Form` takes them
    begin    begin(values) starts a race and returns it at once

    A race is a job (pause(), resume(), stop(); state, error, report) with `entrants`, `share` (0..1) and
    `watch(callback)`. An entrant has `title`, `stream` (rows named as in `run_curves.PANES`, with `minutes` of its own
    computing), `values["batch_size"]`, `n_parameters` and `memory_MB` (None until they are known), `state`, and
    `outcome` and `report`, sentences on how it ended and what went wrong.

    >>> RacePanel(**desk.race("ethanol", [("lorem", "tiny"), ("mlanet", "tiny")]))    # doctest: +SKIP
    """

    def __init__(self, fields: Sequence[Any], begin: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self._begin = begin
        self.race: Any = None
        self._lock = threading.RLock()  # a race begins on one thread while another draws
        self._unwatch: Callable[[], None] = lambda: None
        self.form = Form(fields)
        panes = [pane for pane in PANES if pane.step in (_ENERGY, _FORCES)]
        self.curves = RunCurves(panes, x="minutes", x_label="computing time [s]", x_scale=60.0, height=270)
        self.costs = CostPlot(_COSTS)
        self.controls = RunControls(
            self._start_race,
            progress=lambda: 0.0 if self.race is None else self.race.share,
            on_end=self._ended,
        )
        self._pump = Pump(self._refresh, self.log, rate=2.0)
        for part in (self.curves, self.costs, self.controls, self._pump):
            self._on_close(part.close)
        self._on_close(lambda: self._unwatch())
        self._fold = ipywidgets.Accordion([self.form.widget], selected_index=0)
        self._fold.titles = ("Who races, and on what",)
        self._note, self._table = ipywidgets.HTML(), ipywidgets.HTML()
        # Empty until a race is there: plotly measures its room when it is first displayed.
        self._seen = ipywidgets.VBox(layout=ipywidgets.Layout(width="100%"))
        self._show(self._fold, self.controls.widget, self._note, self._table, self._seen)
        self._refresh()

    def start(self) -> None:
        """Start a race with what the form says."""
        self.controls.start()

    def _start_race(self) -> Any:
        race = self._begin(self.form.values)
        with self._lock:
            self._unwatch()
            for name in self.curves.shown:
                self.curves.hide(name)
            self.race = race
            for entrant in race.entrants:
                self.curves.show(entrant.title, entrant.stream)
            self._seen.children = [self.curves.widget, self.costs.widget]
            self._unwatch = race.watch(self._pump.wake)
        self._fold.selected_index = None  # what is to be seen now stands below
        self._pump.wake()
        return race

    # drawing ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        with self._lock:
            self._note.value = in_words(self._note_in_words())
            if self.race is None:
                return
            self._table.value = table.as_html(_HEADER, self.rows())
            entrants = self.race.entrants
            column = _FORCES if any(np.isfinite(best(e.stream, _FORCES)) for e in entrants) else _ENERGY
            # To three digits, so that the plot is not drawn anew for every step.
            paid = {
                e.title: (e.n_parameters or np.nan, e.memory_MB or np.nan, float(f"{step_ms(e):.3g}"))
                for e in entrants
            }
            reached = {e.title: best(e.stream, column) for e in entrants}
            label = f"best {column.split('_')[0]} error [{_UNITS[column]}]".replace("forces", "force")
            self.costs.show(paid, reached, label)

    def _ended(self, race: Any) -> None:
        self.curves.flush()
        self._refresh()
        for entrant in race.entrants:
            if entrant.report and race.error is None:  # else the controls have said it
                self.log.write(f"{entrant.title}: {entrant.report}")
        self.keep_picture()

    def rows(self) -> list[tuple[str, ...]]:
        """The table, a line for each model: its best validation errors, and what it cost."""
        return [self._row(entrant) for entrant in self.race.entrants] if self.race is not None else []

    def _row(self, entrant: Any) -> tuple[str, ...]:
        last = next((row for row in reversed(entrant.stream.since(0)) if "minutes" in row), None)
        state = self.race.state if entrant.state == "running" else entrant.state  # who waits for its turn runs
        return (
            entrant.title,
            *(_number(best(entrant.stream, column), unit) for column, unit in _UNITS.items()),
            _number(step_ms(entrant), "ms"),
            "–" if entrant.n_parameters is None else f"{entrant.n_parameters:,}",
            _number(entrant.memory_MB, "MB"),
            "–" if last is None else f"{last['step']:,.0f} in {60 * last['minutes']:.3g} s",
            (entrant.outcome or state).split(":")[0],
        )

    def _note_in_words(self) -> str:
        if self.race is None:
            return (
                "Models take turns of a few seconds, so that none slows another, until each has had its time."
            )
        ranked = [(best(e.stream, _FORCES), e.title) for e in self.race.entrants]
        ranked = sorted(pair for pair in ranked if np.isfinite(pair[0]))
        if len(ranked) < 2:
            return "Not enough validations yet to say who leads."
        ended = self.race.state not in ("running", "paused", "stopping")
        words = [f"{title} ({error:.3g} meV/Å)" for error, title in ranked]
        return f"{'Best' if ended else 'So far best'} force error: {', then '.join(words)}."

    def picture(self) -> bytes:
        return still.stacked([self.curves.picture(), self.costs.picture()])

    def describe(self) -> str:
        if self.race is None:
            return f"No race yet. {self._note_in_words()}"
        return f"{self._note_in_words()}\n{table.as_text(_HEADER, self.rows())}\n{self.curves.describe()}"


def best(stream: Any, column: str) -> float:
    """The lowest validation error of a stream so far; NaN where there is none."""
    name = f"validation_{column}"
    return min((row[name] for row in stream.since(0) if name in row), default=float("nan"))


def step_ms(entrant: Any) -> float:
    """What a step of the optimizer takes, half of them less and half of them more [ms]; NaN before the first."""
    speeds = [row["structures_per_s"] for row in entrant.stream.since(0) if "structures_per_s" in row]
    return 1000 * entrant.values["batch_size"] / median(speeds) if speeds else float("nan")


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3g} {unit}"
