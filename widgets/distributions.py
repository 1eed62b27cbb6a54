"""Distributions of labels, part by part: a small histogram each, and where the frame that is shown stands in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from widgets import still
from widgets.attention_plots import Plot
from widgets.palette import GRID, INK, LINES, css
from widgets.partner_view import CHOSEN
from widgets.property_map import part_names

_COLUMNS = 3
_ROW = 190  # pixels
_DASHES = ("solid", "dash", "dot", "dashdot")


class Distributions(Plot):
    """Histograms in one figure; clicking a bar calls on_frame(frame) with one of its frames, then with the next.

    samples   name with its unit -> (values, frames), both (n,): a number and the frame it is of
    parts     (n_frames,) the part of the split that each frame is in
    """

    SHOWN = 200  # values of one frame that are marked

    def __init__(
        self,
        samples: Mapping[str, tuple[np.ndarray, np.ndarray]],
        parts: np.ndarray,
        on_frame: Callable[[int], None],
    ) -> None:
        self.parts, self.names = parts, part_names(parts)
        self.samples, self.same = _varied(samples)
        self.edges = {name: edges(values) for name, (values, _) in self.samples.items()}
        self._on_frame, self._frame = on_frame, 0
        self._lock = threading.Lock()  # two threads in one batch would lose each other's changes
        rows = max(1, -(-len(self.samples) // _COLUMNS))
        super().__init__("", "", "", 45 + _ROW * rows)
        self._bars: list[Any] = []
        self._rugs: list[Any] = []
        for number, name in enumerate(self.samples):
            self._add(number, name, rows)
        legend = {"orientation": "h", "y": 1 + 0.02 / rows, "yanchor": "bottom", "x": 0.0}
        self.figure.update_layout(
            showlegend=True,
            legend=legend,
            barmode="overlay",
            bargap=0,
            hovermode="closest",
            margin={"t": 40, "r": 10, "b": 0},
        )
        self.say(self._in_words())

    def shares(self, name: str) -> dict[str, np.ndarray]:
        """Part -> (n_bins,) per cent of its values in each bin; values beyond the axis count as well."""
        values, frames = self.samples[name]
        found = {}
        for part in self.names:
            mine = values[self.parts[frames] == part]
            counts, _ = np.histogram(mine, self.edges[name])
            found[part] = 100 * counts / max(len(mine), 1)
        return found

    def _add(self, number: int, name: str, rows: int) -> None:
        """One histogram: an outline for each part, an unseen bar to click, and marks for the frame shown."""
        row, column = divmod(number, _COLUMNS)
        suffix = "" if number == 0 else str(number + 1)
        places = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        bounds, shares = self.edges[name], self.shares(name)
        centres = 0.5 * (bounds[1:] + bounds[:-1])
        outline_x = np.repeat(bounds, 2)
        for index, (part, share) in enumerate(shares.items()):
            colour = LINES[index % len(LINES)]
            line = {"color": colour, "width": 2, "dash": _DASHES[index % 4]}
            self.figure.add_scatter(
                x=outline_x, y=np.concatenate([[0], np.repeat(share, 2), [0]]), mode="lines", line=line, name=part,
                legendgroup=part, showlegend=number == 0, hoverinfo="skip", **places,
                fill="tozeroy" if index == 0 else "none", fillcolor=_faint(colour),
            )  # fmt: skip
        told = np.stack([bounds[:-1], bounds[1:], *shares.values()], axis=1)
        hover = "%{customdata[0]:.4g} to %{customdata[1]:.4g}" + "".join(
            f"<br>{part} %{{customdata[{2 + index}]:.3g}} %" for index, part in enumerate(shares)
        )
        self.figure.add_bar(
            x=centres, y=np.max(list(shares.values()), axis=0), width=np.diff(bounds), customdata=told,
            marker={"color": "rgba(0,0,0,0)", "line": {"width": 0}}, hovertemplate=hover + "<extra></extra>",
            showlegend=False, **places,
        )  # fmt: skip
        self.figure.data[-1].on_click(lambda _, points, __: self._clicked(name, points))
        self._bars.append(self.figure.data[-1])
        marker = {"symbol": "line-ns", "size": 14, "line": {"color": css(CHOSEN), "width": 2}}
        self.figure.add_scatter(
            x=np.empty(0), y=np.empty(0), mode="markers", marker=marker, name="the frame shown",
            legendgroup="the frame shown", showlegend=number == 0, hoverinfo="skip", cliponaxis=True, **places,
        )  # fmt: skip
        self._rugs.append(self.figure.data[-1])
        self._place(suffix, row, column, rows, name)

    def _place(self, suffix: str, row: int, column: int, rows: int, name: str) -> None:
        width, height = 1 / _COLUMNS, 1 / rows
        left = column * width + (0.045 if column else 0.0)
        top = 1 - row * height
        common = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": INK, "ticks": "outside"}
        small = {"size": 12}
        bounds = self.edges[name]
        self.figure.layout[f"xaxis{suffix}"] = {
            **common,
            "domain": [left, (column + 1) * width - 0.005],
            "anchor": f"y{suffix}",
            "title": {"text": name, "font": small, "standoff": 4},
            "range": [bounds[0], bounds[-1]],
            "tickfont": {"size": 11},
            "nticks": 6,
        }
        self.figure.layout[f"yaxis{suffix}"] = {
            **common,
            "domain": [top - height + 0.34 * height, top - 0.02 * height],
            "anchor": f"x{suffix}",
            "title": {"text": "share [%]", "font": small, "standoff": 4},
            "rangemode": "tozero",
            "tickfont": {"size": 11},
            "nticks": 4,
        }

    def _clicked(self, name: str, points: Any) -> None:
        """Go to the next frame, after the one shown, that has a value in this bin."""
        if not points.point_inds:
            return
        values, frames = self.samples[name]
        low, high = self.edges[name][points.point_inds[0] : points.point_inds[0] + 2]
        inside = np.unique(frames[(values >= low) & (values <= high)])
        if len(inside):
            later = inside[inside > self._frame]
            self._on_frame(int(later[0] if len(later) else inside[0]))

    def mark(self, frame: int) -> None:
        """Mark the values of this frame on every axis."""
        with self._lock, self.figure.batch_update():
            self._frame = frame
            for rug, (values, frames) in zip(self._rugs, self.samples.values(), strict=True):
                mine = values[frames == frame]
                mine = mine[np.linspace(0, len(mine) - 1, min(len(mine), self.SHOWN)).round().astype(int)]
                rug.x, rug.y = mine, np.zeros(len(mine))

    def _in_words(self) -> str:
        words = []
        for name, (values, _) in self.samples.items():
            low, middle, high = np.percentile(values, [5, 50, 95])
            text = f"{name}: median {middle:.4g}, 5th to 95th percentile {low:.4g} to {high:.4g}"
            beyond = int(((values < self.edges[name][0]) | (values > self.edges[name][-1])).sum())
            words.append(f"{text} ({beyond} beyond the axis)" if beyond else text)
        words += [f"{name}: {value:.4g} throughout" for name, value in self.same.items()]
        return "; ".join(words) + "." if words else "There are no numbers to show."

    def picture(self) -> bytes:
        rows = max(1, -(-len(self.samples) // _COLUMNS))
        drawn = still.figure(9.0, 2.1 * rows)
        for number, name in enumerate(self.samples):
            axes = drawn.add_subplot(rows, _COLUMNS, number + 1)
            for index, (part, share) in enumerate(self.shares(name).items()):
                colour = LINES[index % len(LINES)]
                axes.stairs(
                    share,
                    self.edges[name],
                    color=colour,
                    lw=1.5,
                    label=part,
                    ls=("-", "--", ":", "-.")[index % 4],
                )
            axes.set(ylabel="share [%]")
            axes.set_xlabel(name, fontsize=9)
            axes.tick_params(labelsize=8)
            if number == 0:
                axes.legend(frameon=False, fontsize=7)
        return still.png(drawn)


def _varied(samples: Mapping[str, Any]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, float]]:
    """Those that have a distribution, without what is not finite; and those that are one number."""
    varied, same = {}, {}
    for name, (values, frames) in samples.items():
        values, frames = np.asarray(values, float), np.asarray(frames, int)
        if values.shape != frames.shape or values.ndim != 1:
            raise ValueError(
                f"{name!r} has values of shape {values.shape} and frames of shape {frames.shape}; expected one frame"
                " for each value, both (n,)"
            )
        there = np.isfinite(values)
        values, frames = values[there], frames[there]
        if len(values) and np.ptp(values) > 1e-9 * np.abs(values).max():
            varied[name] = (values, frames)
        elif len(values):
            same[name] = float(values[0])
    return varied, same


def edges(values: np.ndarray) -> np.ndarray:
    """Bounds of the bins, (n_bins + 1,): whole numbers have a bin each; a few extreme values stay outside."""
    whole = bool((values == np.round(values)).all())
    if whole and np.ptp(values) < 60:
        return np.arange(values.min() - 0.5, values.max() + 1.0)
    low, high = np.percentile(values, [0.1, 99.9])
    q1, q3 = np.percentile(values, [25, 75])
    reach = 8 * max(q3 - q1, 1e-3 * (high - low))
    low, high = max(values.min(), min(low, q1), q1 - reach), min(values.max(), max(high, q3), q3 + reach)
    if high <= low:  # nearly all of them are the same
        low, high = values.min(), values.max()
    n_bins = int(np.clip(2 * np.cbrt(len(values)), 8, 45))
    return np.linspace(low, high, n_bins + 1)


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.18)"
