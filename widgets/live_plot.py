"""Curves that grow while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.palette import GRID, INK, LINES
from widgets.panel import Panel, Pump

_DASHES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True)
class Curve:
    """One curve of a LivePlot.

    column    name of the stream's column
    label     what the legend calls it
    convert   (n,) -> (n,), applied to the whole column, e.g. eV to meV per atom; None: as it is
    """

    column: str
    label: str = ""
    convert: Callable[[np.ndarray], np.ndarray] | None = None


class LivePlot(Panel):
    """Curves of a stream, redrawn in place while it grows; the whole history is always there.

    stream     has `subscribe(callback)`, `since(n)` and `len()`; rows are mappings of names to numbers
    x, y       column names, or Curves with labels and conversions
    x_label, y_label    with their units, e.g. "time [ps]"
    log        logarithmic y axis
    rate       how often at most it is redrawn [1/s]

    At most 2000 points of a curve are sent to the browser; the highest and lowest of each stretch are among them.

    >>> LivePlot(stream, x="step", y=["train", "validation"], y_label="loss", log=True)    # doctest: +SKIP
    """

    POINTS = 2000

    def __init__(
        self,
        stream: Any,
        x: str | Curve,
        y: Sequence[str | Curve],
        *,
        x_label: str = "",
        y_label: str = "",
        title: str = "",
        log: bool = False,
        height: int = 300,
        rate: float = 5.0,
    ) -> None:
        super().__init__()
        if isinstance(y, str):
            raise TypeError(f"y is the text {y!r}; expected a list of columns. Write y=[{y!r}]")
        self._x = _curve(x)
        self._curves = [_curve(curve) for curve in y]
        self._x_label, self._y_label = x_label or self._x.label, y_label
        self._title, self._log = title, log
        self._columns = {c.column: _Column() for c in (self._x, *self._curves)}
        self._figure = _empty_figure(self._curves, self._x_label, y_label, title, log, height)
        self._words = caption()
        self._overlays: dict[str, int] = {}
        self._lock = threading.RLock()  # the pump draws while others ask for the curves
        self._pump = Pump(self._draw, self.log, rate)
        self._on_close(self._pump.close)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._on_close(lambda: self._unsubscribe())
        self._show(self._figure, self._words)
        self.follow(stream)

    def follow(self, stream: Any) -> None:
        """Show `stream` from now on, from its first row."""
        self._unsubscribe()
        with self._lock:
            self._stream, self._seen = stream, 0
            for column in self._columns.values():
                column.clear()
        self._unsubscribe = stream.subscribe(self._pump.wake)
        self._draw()

    def overlay(self, name: str, x: Any, y: Any) -> None:
        """Draw a second kind of line over the curves, such as a fit; replaces the earlier one of that name."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        with self._lock:
            self._overlay(name, x, y)

    def _overlay(self, name: str, x: np.ndarray, y: np.ndarray) -> None:
        if name not in self._overlays:
            self._figure.add_scatter(
                x=x, y=y, name=name, mode="lines", line={"color": LINES[4], "width": 2.5, "dash": "dash"}
            )
            self._overlays[name] = len(self._figure.data) - 1
        else:
            with self._figure.batch_update():
                trace = self._figure.data[self._overlays[name]]
                trace.x, trace.y = x, y

    def curves(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(label, x, y) of every curve, whole, without the rows in which it has no number."""
        found = []
        with self._lock:
            x = self._converted(self._x)
            for curve in self._curves:
                y = self._converted(curve)
                there = np.isfinite(x) & np.isfinite(y)
                found.append((curve.label, x[there], y[there]))
        return found

    def flush(self) -> None:
        """Draw everything that the stream holds, now."""
        self._draw()

    def _converted(self, curve: Curve) -> np.ndarray:
        values = self._columns[curve.column].values
        return values if curve.convert is None or len(values) == 0 else np.asarray(curve.convert(values), float)

    def _read(self) -> None:
        with self._lock:
            rows = self._stream.since(self._seen)
            self._seen += len(rows)
            for name, column in self._columns.items():
                column.extend([row.get(name, np.nan) for row in rows])

    def _draw(self) -> None:
        self._read()
        drawn = self.curves()
        with self._lock, self._figure.batch_update():
            for trace, (_, x, y) in zip(self._figure.data, drawn, strict=False):
                kept = thinned(y, self.POINTS)
                trace.x, trace.y = x[kept], y[kept]
        self._words.value = in_words(self.describe())

    def picture(self) -> bytes:
        drawn = [(label, x[k], y[k]) for label, x, y in self.curves() for k in [thinned(y, self.POINTS)]]
        for name, index in self._overlays.items():
            drawn.append((name, self._figure.data[index].x, self._figure.data[index].y))
        return still.curves(drawn, self._x_label, self._y_label, self._log, self._title)

    def describe(self) -> str:
        words = []
        for label, _, y in self.curves():
            if len(y):
                words.append(
                    f"{label} went from {y[0]:.4g} to {y[-1]:.4g} (lowest {y.min():.4g}) in {len(y)} points"
                )
            else:
                words.append(f"{label} has no points yet")
        return f"{self._y_label or 'Curves'} against {self._x_label}: " + "; ".join(words) + "."


class _Column:
    """Numbers that grow at the end; appending costs no copy of the whole."""

    def __init__(self) -> None:
        self._buffer, self._n = np.empty(256), 0

    def clear(self) -> None:
        self._n = 0

    def extend(self, values: Sequence[float]) -> None:
        wanted = self._n + len(values)
        if wanted > len(self._buffer):
            self._buffer = np.concatenate([self._buffer[: self._n], np.empty(max(wanted, 256))])
        self._buffer[self._n : wanted] = values
        self._n = wanted

    @property
    def values(self) -> np.ndarray:
        return self._buffer[: self._n]


def thinned(values: np.ndarray, points: int) -> np.ndarray:
    """Indices of at most `points` of the values: of each stretch the lowest and the highest; and both ends."""
    n = len(values)
    if n <= points:
        return np.arange(n)
    stretches = np.array_split(np.arange(1, n - 1), (points - 2) // 2)
    kept = [0, n - 1]
    for stretch in stretches:
        part = values[stretch]
        kept += [int(stretch[part.argmin()]), int(stretch[part.argmax()])]
    return np.unique(kept)


def caption() -> Any:
    import ipywidgets

    return ipywidgets.HTML()


def in_words(text: str) -> str:
    """A sentence under a picture."""
    import html

    style = "font-size:12px; line-height:1.4; color:var(--jp-ui-font-color2, inherit)"
    return f'<div style="{style}">{html.escape(text)}</div>'


def styled(figure: Any, x_label: str, y_label: str, title: str, height: int) -> Any:
    """Plotly's figure, readable on light and on dark ground at 700 pixels."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": INK, "ticks": "outside", "automargin": True}
    figure.update_layout(
        height=height,
        autosize=True,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 13},
        title={"text": title, "font": {"size": 13}, "x": 0.5},
        margin={"l": 70, "r": 20, "t": 40 if title else 15, "b": 50},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0},
        xaxis={**axis, "title": {"standoff": 8, "text": x_label, "font": {"size": 13}}},
        yaxis={
            **axis,
            "title": {"standoff": 8, "text": y_label, "font": {"size": 13}},
            "exponentformat": "power",
        },
        showlegend=len(figure.data) > 1,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": LINES[0]},
    )
    figure._config = {**figure._config, "displaylogo": False, "responsive": True}
    return figure


def _empty_figure(
    curves: Sequence[Curve], x_label: str, y_label: str, title: str, log: bool, height: int
) -> Any:
    figure = live_figure()
    for number, curve in enumerate(curves):
        line = {"color": LINES[number % len(LINES)], "width": 2, "dash": _DASHES[number % len(_DASHES)]}
        figure.add_scatter(x=np.empty(0), y=np.empty(0), name=curve.label, mode="lines", line=line)
    styled(figure, x_label, y_label, title, height)
    if log:
        figure.update_yaxes(type="log")
    return figure


def _curve(curve: str | Curve) -> Curve:
    curve = Curve(curve) if isinstance(curve, str) else curve
    return curve if curve.label else Curve(curve.column, curve.column, curve.convert)
