"""Frames of a data set as points of a plane: any column against any other, coloured by a third."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from widgets import still
from widgets.attention_plots import Plot
from widgets.palette import INK, LINES, ColourScale, css
from widgets.partner_view import CHOSEN

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
_MARKS = "osD^Xp"
PART = "part of the split"
_TICKS = 13  # colours of a scale that are sent to the browser


class PropertyMap(Plot):
    """A scatter of frames; clicking one calls on_frame(frame).

    columns   name with its unit -> (n_frames,) numbers, NaN where a frame has none
    parts     (n_frames,) the part of the split that each frame is in
    always    frames that are drawn even when there are too many points to draw them all
    """

    POINTS = 4000

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        parts: np.ndarray,
        always: np.ndarray,
        on_frame: Callable[[int], None],
        height: int,
    ) -> None:
        super().__init__("", "", "", height)
        self.columns, self.parts, self._always = columns, parts, always
        self.names = part_names(parts)
        self.chosen, self.ringed = 0, np.empty(0, int)
        self._lock = threading.RLock()  # two threads in one batch would lose each other's changes
        for number, name in enumerate(self.names):
            marker = {
                "symbol": SYMBOLS[number % 6],
                "size": 7,
                "opacity": 0.75,
                "line": {"width": 0.4, "color": INK},
            }
            self.figure.add_scatter(
                x=np.empty(0), y=np.empty(0), name=name, mode="markers", marker=marker,
                hovertemplate="frame %{customdata}<br>%{x:.5g}, %{y:.5g}",
            )  # fmt: skip
            self.figure.data[-1].on_click(lambda trace, points, _: self._clicked(trace, points, on_frame))
        for name, symbol, size, colour in (
            ("pointed at", "diamond-open", 14, LINES[3]),
            ("shown", "circle-open", 17, css(CHOSEN)),
        ):
            ring = {"symbol": symbol, "size": size, "color": colour, "opacity": 1.0, "line": {"width": 3}}
            self.figure.add_scatter(
                x=np.empty(0), y=np.empty(0), name=name, mode="markers", marker=ring, hoverinfo="skip"
            )
        self.figure.update_layout(showlegend=True, margin={"t": 30, "r": 10}, hovermode="closest")
        self.figure.update_yaxes(exponentformat="power")

    def _clicked(self, trace: Any, points: Any, on_frame: Callable[[int], None]) -> None:
        if points.point_inds:
            on_frame(int(trace.customdata[points.point_inds[0]]))

    def draw(self, x: str, y: str, colour: str) -> None:
        """Put these columns on the axes, and colour by a column or by PART."""
        with self._lock:
            self.x_name, self.y_name, self.colour = x, y, colour
            self.x, self.y = self.columns[x], self.columns[y]
            there = np.flatnonzero(np.isfinite(self.x) & np.isfinite(self.y))
            self.kept = self._thinned(there)
            values = None if colour == PART else self.columns[colour]
            self.scale = None if values is None or not np.isfinite(values).any() else _scale(values)
            with self.figure.batch_update():
                self._put()
                self._ring()
            for number, name in enumerate(self.names):
                # A batch each: a colour that a batch gives to some traces alone, the browser takes from the others.
                with self.figure.batch_update():
                    self._paint(self.figure.data[number].marker, number, name, values)
            self._describe(len(there))

    def _put(self) -> None:
        for trace, name in zip(self.figure.data, self.names, strict=False):
            frames = self.kept[self.parts[self.kept] == name]
            trace.x, trace.y, trace.customdata = self.x[frames], self.y[frames], frames
        axes = self.figure.layout
        axes.xaxis.title.text, axes.yaxis.title.text = self.x_name, self.y_name

    def _paint(self, marker: Any, number: int, name: str, values: np.ndarray | None) -> None:
        if self.scale is None or values is None:
            marker.color, marker.showscale = LINES[number % len(LINES)], False
        else:
            self._colour(marker, self.scale, values[self.kept[self.parts[self.kept] == name]], number == 0)

    def _colour(self, marker: Any, scale: ColourScale, values: np.ndarray, bar: bool) -> None:
        stops = np.linspace(0, 1, _TICKS)
        colours = scale.colours(scale.low + stops * (scale.high - scale.low))
        marker.color = values
        marker.colorscale = [[float(stop), css(c)] for stop, c in zip(stops, colours, strict=True)]
        marker.cmin, marker.cmax, marker.showscale = scale.low, scale.high, bar
        if bar:
            title = {"text": self.colour, "side": "right", "font": {"size": 12}}
            marker.colorbar = {"title": title, "thickness": 12, "outlinewidth": 0, "exponentformat": "power"}

    def _thinned(self, there: np.ndarray) -> np.ndarray:
        """At most POINTS of these frames: the remarkable ones, both ends of both axes, and others by lot."""
        if len(there) <= self.POINTS:
            return there
        ends = [there[pick(values[there])] for values in (self.x, self.y) for pick in (np.argmin, np.argmax)]
        always = np.intersect1d(np.concatenate([self._always, ends]).astype(int), there)[: self.POINTS]
        others = np.setdiff1d(there, always)
        lot = np.random.default_rng(0).choice(others, self.POINTS - len(always), replace=False)
        return np.sort(np.concatenate([always, lot]))

    def ring(self, chosen: int, ringed: np.ndarray) -> None:
        """Mark the frame that is shown, and those that are pointed at."""
        with self._lock, self.figure.batch_update():
            self.chosen, self.ringed = chosen, ringed
            self._ring()

    def _ring(self) -> None:
        marked = (self.ringed[: self.POINTS], np.array([self.chosen]))
        for trace, frames in zip(self.figure.data[-2:], marked, strict=True):
            trace.x, trace.y = self.x[frames], self.y[frames]
            trace.showlegend = len(frames) > 0

    def _describe(self, there: int) -> None:
        n_frames = len(self.parts)
        words = f"{there} of {n_frames} frames" if there < n_frames else f"{n_frames} frames"
        words = f"{self.y_name} against {self.x_name}: {words}"
        if there < n_frames:
            words += " (the others lack one of the two)"
        if len(self.kept) < there:
            words += f"; {len(self.kept)} of them are drawn, drawn by lot, with all that are listed below"
        if there > 2 and np.ptp(self.x[self.kept]) > 0 and np.ptp(self.y[self.kept]) > 0:
            words += f"; correlation {np.corrcoef(self.x[self.kept], self.y[self.kept])[0, 1]:+.2f}"
        if self.scale is not None:
            words += f"; coloured by {self.colour}, whose scale ends at the 1st and 99th percentile"
        self.say(words + ".")

    def picture(self) -> bytes:
        drawn = still.figure(5.4, 4.2)
        axes = drawn.add_subplot()
        values = None if self.scale is None else self.scale.colours(self.columns[self.colour])
        for number, name in enumerate(self.names):
            frames = self.kept[self.parts[self.kept] == name]
            colours: Any = LINES[number % len(LINES)] if values is None else values[frames]
            mark = _MARKS[number % 6]
            axes.scatter(
                self.x[frames], self.y[frames], s=14, c=colours, marker=mark, alpha=0.8, lw=0, label=name
            )
        axes.scatter(
            self.x[self.chosen], self.y[self.chosen], s=110, fc="none", ec=CHOSEN, lw=2.5, label="shown"
        )
        if self.scale is not None:
            from matplotlib.cm import ScalarMappable
            from matplotlib.colors import Normalize

            scale = self.scale
            colours = ScalarMappable(
                Normalize(scale.low, scale.high), "RdBu_r" if scale.diverging else "cividis"
            )
            drawn.colorbar(colours, ax=axes, label=self.colour)
        axes.set(xlabel=self.x_name, ylabel=self.y_name)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
        return still.png(drawn)


def _scale(values: np.ndarray) -> ColourScale:
    """One that a few extreme frames do not stretch."""
    low, high = np.percentile(values[np.isfinite(values)], [1, 99])
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    return ColourScale.of(values, bool(low < 0 < high), (float(low), float(high)))


def columns_of(columns: Mapping[str, Any], n_frames: int) -> dict[str, np.ndarray]:
    """The columns as arrays. Raises ValueError for one that has not a number per frame, or for none."""
    arrays = {name: np.asarray(values, float) for name, values in columns.items()}
    for name, values in arrays.items():
        if values.shape != (n_frames,):
            raise ValueError(
                f"column {name!r} has shape {values.shape}; expected ({n_frames},), one number per frame"
            )
    if len(arrays) < 2:
        raise ValueError(f"got {len(arrays)} columns; expected at least two, one for each axis of the map")
    return arrays


def parts_of(parts: Sequence[str] | None, n_frames: int) -> np.ndarray:
    """The part of the split of every frame; all in one where there is no split."""
    found = np.array(["all"] * n_frames if parts is None else [str(part) for part in parts], dtype=object)
    if len(found) != n_frames:
        raise ValueError(f"parts has {len(found)} entries; expected {n_frames}, one per frame")
    return found


def part_names(parts: np.ndarray) -> list[str]:
    """The parts by their size, so that the small ones are drawn over the large ones."""
    return [name for name, _ in Counter(parts.tolist()).most_common()]
