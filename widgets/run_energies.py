"""Energy and temperature of dynamics, of several runs over each other, with the fitted drift of the newest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from widgets import still
from widgets.palette import INK
from widgets.run_curves import Pane, RunCurves

_PANES = (
    Pane("ΔE", "meV/atom", "energy", log=False),
    Pane("temperature", "K", "temperature", log=False),
)


class EnergyRows:
    """A run's stream with its energy per atom, from its first row on [meV/atom], and its temperature [K].

    energy_columns   the first of them that the run has is taken
    """

    def __init__(
        self,
        stream: Any,
        n_atoms: int,
        time_column: str,
        energy_columns: Sequence[str],
        temperature_column: str,
    ) -> None:
        self._stream, self._n_atoms = stream, n_atoms
        self._time, self._energies, self._temperature = time_column, energy_columns, temperature_column
        self._column, self._start = "", np.nan

    def subscribe(self, callback: Callable[..., None]) -> Callable[[], None]:
        return self._stream.subscribe(callback)

    def since(self, start: int) -> list[dict[str, float]]:
        return [self._row(row) for row in self._stream.since(start)]

    def _row(self, row: Any) -> dict[str, float]:
        if not self._column:
            self._column = next((name for name in self._energies if name in row), "")
            self._start = row.get(self._column, np.nan)
        return {
            "time": row.get(self._time, np.nan) / 1000,
            "energy": (row.get(self._column, np.nan) - self._start) * 1000 / self._n_atoms,
            "temperature": row.get(self._temperature, np.nan),
        }


class RunEnergies(RunCurves):
    """RunCurves of energy and temperature; `trend` draws the line that was fitted to the newest run."""

    def __init__(self, height: int = 230) -> None:
        super().__init__(_PANES, x="time", x_label="time [ps]", columns=1, height=height)
        self._line = (np.empty(0), np.empty(0))
        self._trend_trace: Any = None
        self._figure.update_yaxes(rangemode="normal")  # what matters is how both change

    def curve(self, name: str, column: str = "energy") -> tuple[np.ndarray, np.ndarray]:
        """Times [ps] and the values of a run that is shown."""
        with self._lock:
            run = self._runs[name]
            run.read(self._names, self._x)
            return run.curve(self._x, column)

    def trend(self, x: Any = (), y: Any = ()) -> None:
        """Draw the fitted line through these points [ps, meV/atom]; without any, take it away."""
        line = (np.asarray(x, float), np.asarray(y, float))
        with self._lock:
            self._line = line
            if self._trend_trace is None and len(line[0]):
                self._figure.add_scatter(
                    mode="lines",
                    name="fitted drift",
                    line={"color": INK, "width": 3, "dash": "dash"},
                    row=1,
                    col=1,
                )
                self._trend_trace = len(self._figure.data) - 1
            if self._trend_trace is not None:
                with self._figure.batch_update():
                    trace = self._figure.data[self._trend_trace]
                    trace.x, trace.y = line
                    trace.showlegend = bool(len(line[0]))

    def picture(self) -> bytes:
        drawn = still.figure(7.0, 5.4)
        with self._lock:
            for pane, place in zip(self._panes, drawn.subplots(2, 1, squeeze=False).ravel(), strict=True):
                for name, run in self._runs.items():
                    self._paint(place, pane, name, run)
                if pane is self._panes[0] and len(self._line[0]):
                    place.plot(*self._line, color=INK, ls="--", lw=2.2, label="fitted drift")
                place.set(xlabel=self._x_label, ylabel=pane.axis)
                place.grid(alpha=0.25)
                if place.lines:
                    place.legend(frameon=False, fontsize=8)
        return still.png(drawn)

    def _run_in_words(self, name: str, run: Any) -> str:
        times, energies = run.curve(self._x, "energy")
        _, temperatures = run.curve(self._x, "temperature")
        if not len(times):
            return f"{name}: no numbers yet."
        return (
            f"{name}: {times[-1]:.3g} ps, ΔE {energies[-1]:+.3g} meV/atom ({energies.min():+.2g} to "
            f"{energies.max():+.2g}), temperature {temperatures[-1]:.0f} K."
        )
