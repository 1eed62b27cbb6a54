"""A molecular-dynamics run to watch: the moving structure, temperature, and whether the energy stays put."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.live_plot import Curve, LivePlot
from widgets.panel import Panel, Pump
from widgets.run_controls import RunControls
from widgets.structure_view import StructureView

_VERDICT = (
    "margin:2px 0 8px 0; padding:4px 10px; font-size:14px; line-height:1.4; border-left:3px solid #0072B2;"
    " background:rgba(0,114,178,0.08); color:var(--jp-ui-font-color1, inherit)"
)


class DynamicsPanel(Panel):
    """Start, pause and stop a run; see the atoms move, the total energy, its drift, and the temperature.

    atoms            an ase.Atoms, as it stands before the run
    start            start(stream, show) starts a run and returns its job at once. The run emits rows to `stream`
                     and calls `show(atoms)` or `show(positions)` as often as it likes
    stream           makes an empty stream for each run, e.g. the class workbench.stream.Stream
    drift            drift(stream) returns a fit with `meV_per_atom_per_ns`, the ends `low_meV_per_atom_per_ns` and
                     `high_meV_per_atom_per_ns` of its confidence interval, and `verdict`, a sentence
    time_column, energy_column, temperature_column    in the stream [fs, eV of all atoms, K]
    progress         progress(stream) gives the share that is done in 0..1
    """

    _FIT_EVERY_S = 1.0

    def __init__(
        self,
        atoms: Any,
        start: Callable[[Any, Callable[[Any], None]], Any],
        stream: Callable[[], Any],
        drift: Callable[[Any], Any] | None = None,
        *,
        time_column: str = "time_fs",
        energy_column: str = "total_energy",
        temperature_column: str = "temperature_K",
        progress: Callable[[Any], float] | None = None,
        height: str = "330px",
    ) -> None:
        super().__init__()
        self._start, self._new_stream, self._fit_drift = start, stream, drift
        self._n_atoms = len(atoms)
        self.stream = stream()
        self.drift: Any = None
        self._fitted_at = 0.0
        self.view = StructureView(atoms, height=height)
        in_ps = Curve(time_column, "time [ps]", lambda t: t / 1000)
        shifted = Curve(energy_column, "total energy", self._per_atom_meV)
        # Zero is where the run began; a drift is a line that leaves it.
        y_label = "ΔE [meV/atom]"
        self.energy_plot = LivePlot(
            self.stream, in_ps, [shifted], y_label=y_label, title="total energy", height=240, rate=2.0
        )
        self.temperature_plot = LivePlot(
            self.stream,
            in_ps,
            [Curve(temperature_column, "temperature")],
            y_label="T [K]",
            title="temperature",
            height=190,
            rate=2.0,
        )
        share = None if progress is None else (lambda: progress(self.stream))
        self.controls = RunControls(self._begin, progress=share, on_end=self._ended)
        self._verdict = ipywidgets.HTML()
        self._pump = Pump(self._draw_drift, self.log, rate=2.0)
        self._unsubscribe = self.stream.subscribe(self._pump.wake)
        for part in (self.controls, self.view, self.energy_plot, self.temperature_plot, self._pump):
            self._on_close(part.close)
        self._on_close(lambda: self._unsubscribe())
        self._lay_out()

    def _lay_out(self) -> None:
        plots = ipywidgets.VBox([self.energy_plot.widget, self._verdict, self.temperature_plot.widget])
        for side in (self.view.widget, plots):
            side.layout.width, side.layout.min_width, side.layout.flex = "50%", "340px", "1 1 340px"
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
        self._show(self.controls.widget, ipywidgets.HBox([self.view.widget, plots], layout=row))

    def start(self) -> None:
        """What the Start button does."""
        self.controls.start()

    def show(self, atoms: Any) -> None:
        """Show these atoms, or these positions (n_atoms, 3) [Å]. For the run to call, from its own thread."""
        if hasattr(atoms, "positions"):
            self.view.update(atoms.positions, cell=atoms.cell)
        else:
            self.view.update(atoms)

    def _begin(self) -> Any:
        self._unsubscribe()
        self.stream, self.drift = self._new_stream(), None
        self._unsubscribe = self.stream.subscribe(self._pump.wake)
        self.energy_plot.overlay("fitted drift", [], [])
        for plot in (self.energy_plot, self.temperature_plot):
            plot.follow(self.stream)
        self._verdict.value = ""
        return self._start(self.stream, self.show)

    def _ended(self, job: Any) -> None:
        for plot in (self.energy_plot, self.temperature_plot):
            plot.flush()
        self._fitted_at = 0.0
        self._draw_drift()
        self.keep_picture()

    def _per_atom_meV(self, energies: np.ndarray) -> np.ndarray:
        there = energies[np.isfinite(energies)]
        return (energies - there[0]) * (1000.0 / self._n_atoms) if there.size else energies

    def _draw_drift(self) -> None:
        # A fit may be slow, so it is made anew once a second at most.
        if self._fit_drift is None or time.monotonic() - self._fitted_at < self._FIT_EVERY_S:
            return
        self._fitted_at = time.monotonic()
        self.drift = self._fit_drift(self.stream)
        slope_per_ps = self.drift.meV_per_atom_per_ns / 1000
        _, picoseconds, energies = self.energy_plot.curves()[0]
        if len(energies) and np.isfinite(slope_per_ps):
            ends = picoseconds[[0, -1]]
            self.energy_plot.overlay(
                "fitted drift", ends, energies.mean() + slope_per_ps * (ends - picoseconds.mean())
            )
        words = html.escape(self._drift_in_words())
        self._verdict.value = f'<div role="status" style="{_VERDICT}">{words}</div>'

    def _drift_in_words(self) -> str:
        if self.drift is None:
            return "No drift fitted yet."
        fit = self.drift
        if not np.isfinite(fit.meV_per_atom_per_ns):
            return f"Energy drift: {fit.verdict}."
        low, high = fit.low_meV_per_atom_per_ns, fit.high_meV_per_atom_per_ns
        form = "+,.0f" if high - low >= 10 else "+.3g"
        interval = f"{low:{form}} to {high:{form}} meV/atom/ns"
        return f"Energy drift: {fit.verdict}. 95 % confidence interval {interval}."

    def picture(self) -> bytes:
        return still.stacked([self.view.picture(), self.energy_plot.picture(), self.temperature_plot.picture()])

    def describe(self) -> str:
        parts = [self.view.describe(), self.energy_plot.describe(), self._drift_in_words()]
        return " ".join([*parts, self.temperature_plot.describe()])
