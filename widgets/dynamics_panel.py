"""A molecular-dynamics run to set up, start and watch: the moving structure, and whether the energy stays put."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from widgets import still, table
from widgets.download_button import download_button
from widgets.form import Form
from widgets.frame_view import FrameView
from widgets.live_plot import in_words
from widgets.pair_distances import PairDistances
from widgets.panel import Panel, Pump
from widgets.question import Question
from widgets.run_controls import RunControls
from widgets.run_energies import EnergyRows, RunEnergies

_BOX = (
    "margin:2px 0 8px 0; padding:4px 10px; font-size:14px; line-height:1.4; border-left:3px solid {line};"
    " background:{ground}; color:var(--jp-ui-font-color1, inherit)"
)
_CALM = _BOX.format(line="#0072B2", ground="rgba(0,114,178,0.08)")
_ALARM = _BOX.format(line="#D55E00", ground="rgba(213,94,0,0.10)")
_NOTHING = "Nothing has been run yet. Energy, its drift and the temperature will be drawn here."
_NO_DRIFT = "This ensemble conserves no energy, so there is no drift to judge."


class DynamicsPanel(Panel):
    """Start, pause and stop a run; see the atoms move, the energy, its drift, the temperature, and distances.

    atoms            an ase.Atoms, as it stands before the run
    start            start(stream, show, **values) starts a run and returns its job at once. The run emits rows to
                     `stream` and calls `show(atoms)` or `show(positions)` as often as it likes. What the job returns
                     may have `state` ("exploded" is explained) and `reason`, a sentence
    stream           makes an empty stream for each run, e.g. the class workbench.stream.Stream
    drift            drift(stream) returns a fit with `meV_per_atom_per_ns`, the ends `low_meV_per_atom_per_ns` and
                     `high_meV_per_atom_per_ns` of its confidence interval, and `verdict`, a sentence; None where no
                     energy is conserved
    fields           of a form, as `Form` takes them; its values go to `start` by name
    structure        structure(values) gives the atoms that the form asks for
    advice           advice(values) gives a sentence on what is chosen, or ""
    name             name(values) says in a few words what is run
    why              why(atoms, progress, **values) looks for the cause of a drift, from these atoms with velocities;
                     returns a job whose result has `verdict`, a sentence, and reports to progress(share)
    rdf              rdf(atoms, pair) gives r and g(r) of a frame, see `PairDistances`
    saved            gives the file of the newest run's frames, or None
    time_column, temperature_column    in the stream [fs, K]
    energy_column    or several, of which the first that a run has is drawn [eV of all atoms]
    progress         progress(stream) gives the share that is done in 0..1

    >>> DynamicsPanel(**desk.dynamics("ethanol", {"LOREM": model}))             # doctest: +SKIP
    """

    _FIT_EVERY_S = 1.0

    def __init__(
        self,
        atoms: Any,
        start: Callable[..., Any],
        stream: Callable[[], Any],
        drift: Callable[[Any], Any] | None = None,
        *,
        fields: Sequence[Any] = (),
        structure: Callable[[Mapping[str, Any]], Any] | None = None,
        advice: Callable[[Mapping[str, Any]], str] = lambda values: "",
        name: Callable[[Mapping[str, Any]], str] = lambda values: "run",
        why: Callable[..., Any] | None = None,
        rdf: Callable[[Any, tuple[str, str] | None], Any] | None = None,
        saved: Callable[[], Path | None] | None = None,
        time_column: str = "time_fs",
        energy_column: str | Sequence[str] = ("conserved_energy", "total_energy"),
        temperature_column: str = "temperature_K",
        progress: Callable[[Any], float] | None = None,
        height: str = "330px",
    ) -> None:
        super().__init__()
        self._start, self._new_stream, self._fit_drift = start, stream, drift
        self._structure, self._get_advice, self._get_name = structure, advice, name
        self._saved, self._why = saved, why
        energies = (energy_column,) if isinstance(energy_column, str) else tuple(energy_column)
        self._columns = (time_column, energies, temperature_column)
        self.atoms = self._first = self._latest = atoms
        self.stream, self.drift = stream(), None
        self._values: dict[str, Any] = {}
        self._n_runs, self.name = 0, ""
        self._kept: dict[str, tuple[str, ...]] = {}  # name -> its row of the table
        self._fitted_at, self._fit_took_s = 0.0, 0.0
        self.form = Form(fields)
        self.form.observe(self.log.guard(lambda name, value: self._chosen()))
        self.view = FrameView(atoms, height=height)
        self.curves = RunEnergies()
        self.distances = PairDistances(atoms, rdf)
        share = None if progress is None else (lambda: progress(self.stream))
        self.controls = RunControls(self._begin, progress=share, on_end=self._ended)
        self.question = Question("Why does it drift?", self._ask)
        self._pump = Pump(self._draw, self.log, rate=2.0)
        self._unsubscribe = self.stream.subscribe(self._pump.wake)
        for part in (self.controls, self.view, self.curves, self.distances, self.question, self._pump):
            self._on_close(part.close)
        self._on_close(lambda: self._unsubscribe())
        self._lay_out()
        self._chosen()

    def _lay_out(self) -> None:
        self._advice, self._tiles, self._verdict, self._end, self._table = (ipywidgets.HTML() for _ in range(5))
        self._fold = ipywidgets.Accordion([ipywidgets.VBox([self.form.widget, self._advice])], selected_index=0)
        self._fold.titles = ("What to run, and how",)
        self._fold.layout.display = "" if self.form.fields else "none"
        self.keep_button = self._button(
            "Keep to compare", "thumb-tack", "Leave this run's curves in the plots", self.keep
        )
        self.forget_button = self._button(
            "Let go", "eraser", "Take the kept runs out of the plots", self.forget
        )
        buttons = [self.keep_button, self.forget_button]
        if self._saved is not None:
            self.save_button = download_button(
                self._file, self.log.guard, "Save trajectory", "Download the frames of the newest run"
            )
            self.save_button.disabled = True
            buttons.append(self.save_button)
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="4px")
        left = ipywidgets.VBox([self.view.widget, self.distances.widget])
        # Empty until a run is there: plotly measures its room when it is first displayed.
        self._seen = ipywidgets.VBox([ipywidgets.HTML(in_words(_NOTHING))])
        right = self._seen
        for side in (left, right):
            side.layout.width, side.layout.min_width, side.layout.flex = "50%", "340px", "1 1 340px"
        self._show(
            self._fold,
            self.controls.widget,
            self._end,
            self._tiles,
            ipywidgets.HBox(
                [left, right], layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
            ),
            ipywidgets.HBox(buttons, layout=wrap),
            self._table,
        )

    def _button(self, word: str, icon: str, tooltip: str, act: Callable[[], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=word, icon=icon, tooltip=tooltip, disabled=True)
        button.layout.width = "170px"
        button.on_click(self.log.guard(lambda _: act()))
        return button

    # what the form and the buttons do -----------------------------------------------------------------

    def start(self) -> None:
        """What the Start button does."""
        self.controls.start()

    def show(self, atoms: Any) -> None:
        """Show these atoms, or these positions (n_atoms, 3) [Å]. For the run to call, from its own thread."""
        if hasattr(atoms, "positions"):
            self.view.update(atoms.positions, cell=atoms.cell)
            if self._first is None:
                self._first = atoms.copy()
            self._latest = atoms
            self.distances.add(atoms)
        else:
            self.view.update(atoms)

    def keep(self) -> None:
        """Leave the newest run in the plots when the next one starts."""
        if not self.name:
            raise ValueError("there is no run to keep; start one")
        if len(self._kept) >= self.curves.RUNS - 1:
            raise ValueError(
                f"{len(self._kept)} runs are kept, as many as there are colours for; let go of them"
            )
        self._kept[self.name] = self._row()
        self._refresh_table()

    def forget(self) -> None:
        """Take the kept runs out of the plots."""
        for name in self._kept:
            if name != self.name:
                self.curves.hide(name)
        self._kept.clear()
        self._refresh_table()

    def _chosen(self) -> None:
        values = self.form.values
        self._advice.value = in_words(self._get_advice(values))
        if self._structure is not None and self.controls.state not in ("running", "paused", "stopping"):
            self.atoms = self._structure(values)
            self.view.see(self.atoms)

    def _begin(self) -> Any:
        values = self.form.values
        stream = self._new_stream()
        if self._structure is not None:
            self.atoms = self._structure(values)
        self._first = self._latest = None
        self.distances.begin(self.atoms)
        self.view.see(self.atoms)
        if self.name and self.name not in self._kept:
            self.curves.hide(self.name)
        self._values, self.stream, self.drift, self._fitted_at = values, stream, None, 0.0
        job = self._start(stream, self.show, **values)
        self._n_runs += 1
        self.name = f"{self._n_runs}: {self._get_name(values)}"
        self.curves.trend()
        self.curves.show(self.name, EnergyRows(stream, len(self.atoms), *self._columns))
        self._unsubscribe()
        self._unsubscribe = stream.subscribe(self._pump.wake)
        self._verdict.value = self._end.value = ""
        self.question.clear()
        self.keep_button.disabled = False
        if self._saved is not None:
            self.save_button.disabled = False
        asking = [self.question.widget] if self._why is not None else []
        self._seen.children = [self.curves.widget, self._verdict, *asking]
        self._refresh_table()
        return job

    def _ended(self, job: Any) -> None:
        for part in (self.curves, self.distances):
            part.flush()
        self._fitted_at = 0.0
        self._draw()
        reason = getattr(job.result, "reason", "")
        if reason:
            exploded = getattr(job.result, "state", "") == "exploded"
            style, role = (_ALARM, "alert") if exploded else (_CALM, "status")
            self._end.value = f'<div role="{role}" style="{style}">The run {html.escape(reason)}</div>'
        if self.name in self._kept:
            self._kept[self.name] = self._row()
        self._refresh_table()
        self.keep_picture()

    def _ask(self, progress: Callable[[float], None]) -> Any:
        """Look for the cause of the drift, from the newest frame; after an explosion from the first."""
        exploded = (
            self.controls.job is not None and getattr(self.controls.job.result, "state", "") == "exploded"
        )
        atoms = self._first if exploded else self._latest
        if atoms is None or not atoms.has("momenta"):
            raise ValueError("there is no frame with velocities yet; start a run first")
        assert self._why is not None
        return self._why(atoms, progress, **self._values)

    def _file(self) -> Path:
        path = self._saved() if self._saved is not None else None
        if path is None or not path.exists():
            raise ValueError("no run has been saved yet; start one")
        return path

    # drawing ------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._tiles.value = table.tiles(self._numbers())
        # A fit may be slow, so it is made anew once a second at most, and for a twentieth of the time.
        pause = max(self._FIT_EVERY_S, 20 * self._fit_took_s)
        if self._fit_drift is None or time.monotonic() - self._fitted_at < pause:
            return
        self._fitted_at = time.monotonic()
        self.drift = self._fit_drift(self.stream)
        self._fit_took_s = time.monotonic() - self._fitted_at
        self._draw_trend()
        self._verdict.value = f'<div role="status" style="{_CALM}">{html.escape(self._drift_in_words())}</div>'

    def _draw_trend(self) -> None:
        slope = np.nan if self.drift is None else self.drift.meV_per_atom_per_ns / 1000
        if not (self.name and np.isfinite(slope)):
            return
        picoseconds, energies = self.curves.curve(self.name)
        if len(energies):
            ends = picoseconds[[0, -1]]
            self.curves.trend(ends, energies.mean() + slope * (ends - picoseconds.mean()))

    def _numbers(self) -> dict[str, str]:
        """Of the newest row."""
        n = len(self.stream)
        row = self.stream.since(n - 1)[0] if n else {}
        shown = {
            self._columns[0]: ("time", "{:,.0f} fs"),
            self._columns[2]: ("temperature", "{:.0f} K"),
            "pressure_bar": ("pressure", "{:,.0f} bar"),
            "volume": ("volume", "{:.1f} Å³"),
            "steps_per_s": ("speed", "{:.3g} steps/s"),
        }
        return {name: form.format(row[column]) for column, (name, form) in shown.items() if column in row}

    def _drift_in_words(self) -> str:
        if self.drift is None:
            return _NO_DRIFT if self._fitted_at else "No drift fitted yet."
        fit = self.drift
        if not np.isfinite(fit.meV_per_atom_per_ns):
            return f"Energy drift: {fit.verdict}."
        low, high = fit.low_meV_per_atom_per_ns, fit.high_meV_per_atom_per_ns
        form = "+,.0f" if high - low >= 10 else "+.3g"
        interval = f"{low:{form}} to {high:{form}} meV/atom/ns"
        return f"Energy drift: {fit.verdict}. 95 % confidence interval {interval}."

    _HEADER = ("run", "length", "temperature", "drift [meV/atom/ns]", "in words")

    def _row(self) -> tuple[str, ...]:
        """The newest run in the table."""
        numbers, fit = self._numbers(), self.drift
        rate, words = "", ""
        if fit is not None and np.isfinite(fit.meV_per_atom_per_ns):
            error = (fit.high_meV_per_atom_per_ns - fit.low_meV_per_atom_per_ns) / 2
            form = ",.0f" if error >= 10 else ".2g"
            rate, words = f"{fit.meV_per_atom_per_ns:+{form}} ± {error:{form}}", fit.verdict.split(":")[0]
        return (self.name, numbers.get("time", ""), numbers.get("temperature", ""), rate, words)

    def _refresh_table(self) -> None:
        self.forget_button.disabled = not self._kept
        rows = list(self._kept.values())
        if rows and self.name not in self._kept:
            rows.append(self._row())
        self._table.value = table.as_html(self._HEADER, rows, "Runs over each other") if rows else ""

    def picture(self) -> bytes:
        return still.stacked([self.view.picture(), self.curves.picture(), self.distances.picture()])

    def describe(self) -> str:
        parts = [self.view.describe(), self.curves.describe(), self._drift_in_words(), self.question.describe()]
        return " ".join(part for part in [*parts, self.distances.describe()] if part)
