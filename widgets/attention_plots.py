"""The flat pictures of attention: who attends to whom, how far, how widely, and beside what moves the forces.

Each has one plotly figure that is made once and rewritten in place, a sentence, and a still picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, styled
from widgets.palette import INK, LINES, css
from widgets.partner_view import CHOSEN

_CHOSEN = css(CHOSEN)
_DECADES = 3  # below the largest weight, that the colours of the matrix tell apart
_ONE_BY_ONE = 30  # up to so many rows, every row is named


class Plot:
    """A figure with a sentence under it."""

    def __init__(self, x_label: str, y_label: str, title: str, height: int) -> None:
        self.figure = styled(live_figure(), x_label, y_label, title, height)
        self.words = ""
        self._caption = caption()
        layout = ipywidgets.Layout(width="100%", min_width="0", overflow="hidden")
        self.widget = ipywidgets.VBox([self.figure, self._caption], layout=layout)

    def say(self, words: str) -> None:
        self.words = words
        self._caption.value = in_words(words)


class HeatMap(Plot):
    """Weights of every sender for every receiver; clicking a cell calls on_receiver(atom)."""

    def __init__(self, on_receiver: Callable[[int], None], height: int) -> None:
        super().__init__("sender", "receiver", "who attends to whom", height)
        hover = "%{y} attends to %{x}: %{z:.3g}<extra></extra>"
        self.figure.add_heatmap(z=np.zeros((1, 1)), hovertemplate=hover, showscale=False, hoverongaps=False)
        self.figure.data[0].on_click(lambda _, points, __: self._clicked(points, on_receiver))
        # The heat map's own colour bar would be linear, so a point without size carries one.
        marker = {"color": [0], "size": 0, "showscale": True, "colorbar": _bar("weight")}
        self.figure.add_scatter(mode="markers", marker=marker, hoverinfo="skip")
        bare = {"type": "category", "constrain": "domain", "showgrid": False, "zeroline": False}
        self.figure.update_xaxes(**bare, tickangle=-90, tickfont={"size": 11})
        self.figure.update_yaxes(**bare, tickfont={"size": 11})
        self.figure.update_layout(showlegend=False, margin={"l": 60, "r": 10, "t": 40, "b": 50})

    def _clicked(self, points: Any, on_receiver: Callable[[int], None]) -> None:
        if points.point_inds:
            on_receiver(int(self.receivers[points.point_inds[0][0]]))

    def update(
        self,
        weights: np.ndarray,
        receivers: np.ndarray,
        senders: np.ndarray,
        names: Sequence[str],
        chosen: int,
        axis_label: str,
        words: str,
    ) -> None:
        """Show weights (n_receivers, n_senders) of these atoms in this order, the row of `chosen` outlined.

        Colours are logarithmic where no weight is negative. They end at the largest weight between two different
        atoms, so that a strong diagonal hides nothing.
        """
        self.weights, self.receivers = weights, receivers
        self.x, self.y = (_unique([names[atom] for atom in atoms]) for atoms in (senders, receivers))
        self.low, self.high, self.log = _limits(weights[receivers[:, None] != senders[None, :]])
        row = np.flatnonzero(receivers == chosen)[:1]
        square = len(receivers) == len(senders)
        with self.figure.batch_update():
            trace, layout = self.figure.data[0], self.figure.layout
            trace.z, trace.x, trace.y = _with_gaps(weights.astype(np.float32)), self.x, self.y
            trace.zmin, trace.zmax = 0.0 if self.log else self.low, self.high
            trace.colorscale = _logarithmic(self.low / self.high) if self.log else "RdBu_r"
            self.figure.data[1].x, self.figure.data[1].y = self.x[:1], self.y[:1]
            self._draw_bar(self.figure.data[1].marker)
            layout.shapes = [_outline(number, len(senders)) for number in row]
            for axis, labels in ((layout.xaxis, self.x), (layout.yaxis, self.y)):
                axis.tickvals = labels[_ticks(len(labels))]
            width, height = max(len(senders), 1), max(len(receivers), 1)
            layout.xaxis.range, layout.yaxis.range = (-0.5, width - 0.5), (height - 0.5, -0.5)
            layout.xaxis.title.text = f"sender, {axis_label}"
            layout.yaxis.scaleanchor = "x" if square else False
            layout.yaxis.domain = (0, 1) if square else (0.4, 0.6)
        self.say(words)

    def _draw_bar(self, marker: Any) -> None:
        low, high = (np.log10(self.low), np.log10(self.high)) if self.log else (self.low, self.high)
        marker.cmin, marker.cmax, marker.colorscale = low, high, "Cividis" if self.log else "RdBu_r"
        ticks = _round_numbers(self.low, self.high) if self.log else None
        # Each is set once: in a batch, None and then the number that is there already would leave None.
        marker.colorbar.tickvals = None if ticks is None else np.log10(ticks)
        marker.colorbar.ticktext = None if ticks is None else [f"{t:.3g}" for t in ticks]

    def picture(self) -> bytes:
        from matplotlib.colors import LogNorm, Normalize

        drawn = still.figure(5.0, 4.2)
        axes = drawn.add_subplot()
        axes.set(xlabel="sender", ylabel="receiver")
        if self.weights.size == 0:
            axes.set_title(self.words, fontsize=9, wrap=True)
            return still.png(drawn)
        norm = (LogNorm if self.log else Normalize)(self.low, self.high)
        shown = np.maximum(self.weights, self.low)
        image = axes.imshow(shown, "cividis" if self.log else "RdBu_r", norm=norm, aspect="auto")
        for axis, labels in ((axes.xaxis, self.x), (axes.yaxis, self.y)):
            places = _ticks(len(labels))
            axis.set_ticks(places, labels[places], fontsize=7)
        axes.tick_params(axis="x", rotation=90)
        drawn.colorbar(image, label="attention weight")
        return still.png(drawn)


class DistancePlot(Plot):
    """Weights of pairs against their distance; clicking a pair calls on_pair(receiver, sender)."""

    FAINTEST = 1e-6  # of the largest weight: what is smaller stands at the lower edge

    def __init__(self, on_pair: Callable[[int, int], None], height: int) -> None:
        super().__init__("distance [Å]", "weight", "attention against distance", height)
        hover = "receiver %{customdata[0]}, sender %{customdata[1]}<br>%{x:.2f} Å: %{y:.3g}<extra></extra>"
        markers = [
            ("all pairs", {"color": INK, "size": 4, "opacity": 0.35}),
            ("chosen atom", {"color": _CHOSEN, "size": 7, "opacity": 0.9}),
        ]
        for name, marker in markers:
            self.figure.add_scatter(
                x=np.empty(0), y=np.empty(0), name=name, mode="markers", marker=marker, hovertemplate=hover
            )
            self.figure.data[-1].on_click(lambda trace, points, _: self._clicked(trace, points, on_pair))
        self.figure.add_scatter(
            x=np.empty(0),
            y=np.empty(0),
            name="median of all",
            mode="lines",
            line={"color": LINES[0], "width": 3},
        )
        _legend_under_title(self.figure)
        self.figure.update_xaxes(rangemode="tozero")

    def _clicked(self, trace: Any, points: Any, on_pair: Callable[[int, int], None]) -> None:
        if points.point_inds:
            receiver, sender = trace.customdata[points.point_inds[0]]
            on_pair(int(receiver), int(sender))

    def show_all(
        self, distances: np.ndarray, weights: np.ndarray, pairs: np.ndarray, medians: Any, words: str
    ) -> None:
        """Pairs (n, 2) of the whole structure behind, and their medians (middles, medians) in front."""
        largest = np.abs(weights).max(initial=0.0)
        self.signed = bool((weights < 0).any())
        self.floor = -np.inf if self.signed else self.FAINTEST * float(largest)
        if (weights < self.floor).any():
            words += " What is below a millionth of the largest weight stands at the lower edge."
        with self.figure.batch_update():
            behind, line = self.figure.data[0], self.figure.data[2]
            behind.x, behind.y, behind.customdata = distances, self._visible(weights), pairs.astype(np.int32)
            line.x, line.y = medians[0], self._visible(medians[1])
            self.figure.layout.yaxis.type = "linear" if self.signed else "log"
            self.figure.layout.yaxis.dtick = self._step(weights)
        self.say(words)

    def show_chosen(self, distances: np.ndarray, weights: np.ndarray, pairs: np.ndarray, name: str) -> None:
        """Pairs (n, 2) of the chosen receiver, in front."""
        with self.figure.batch_update():
            front = self.figure.data[1]
            front.x, front.y, front.customdata = distances, self._visible(weights), pairs.astype(np.int32)
            front.name = name
            front.marker.size = 7 if len(distances) <= 200 else 4

    def _step(self, weights: np.ndarray) -> int | str | None:
        """Numbers at the powers of ten; where these are few at 1, 2, 5 of each, or where plotly thinks fit."""
        positive = weights[weights > self.floor]
        if self.signed or positive.size == 0:
            return None
        span = positive.max() / positive.min()
        return 1 if span > 200 else "D2" if span > 20 else None

    def _visible(self, weights: np.ndarray) -> np.ndarray:
        return np.maximum(weights, self.floor)

    def picture(self) -> bytes:
        behind, front, line = self.figure.data
        drawn = still.figure(5.4, 4.2)
        axes = drawn.add_subplot()
        axes.plot(behind.x, behind.y, ".", color="#999999", ms=3, alpha=0.5, label=behind.name)
        axes.plot(front.x, front.y, "o", color=CHOSEN, ms=5, label=front.name)
        axes.plot(line.x, line.y, color=LINES[0], lw=2, label=line.name)
        axes.set(xlabel="distance [Å]", ylabel="attention weight", yscale="linear" if self.signed else "log")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
        return still.png(drawn)


class SpreadBars(Plot):
    """How many partners each head really has: exp(entropy)."""

    def __init__(self, height: int) -> None:
        super().__init__("", "effective partners exp(H)", "how widely each head looks", height)
        hover = "%{x}: %{y:.3g} effective partners<extra>%{fullData.name}</extra>"
        self.figure.add_bar(
            x=[], y=[], name="mean of atoms", marker={"color": LINES[5]}, hovertemplate=hover, width=0.6
        )
        marker = {"color": _CHOSEN, "size": 11, "symbol": "diamond"}
        self.figure.add_scatter(
            x=[], y=[], name="chosen atom", mode="markers", marker=marker, hovertemplate=hover
        )
        _legend_under_title(self.figure)
        self.figure.update_yaxes(rangemode="tozero")
        self.figure.update_xaxes(type="category")

    def show_all(self, partners: np.ndarray, words: str) -> None:
        """partners (n_heads,): mean over atoms."""
        with self.figure.batch_update():
            self.figure.data[0].x = self.figure.data[1].x = np.array(
                [f"head {k}" for k in range(len(partners))]
            )
            self.figure.data[0].y = partners
        self.say(words)

    def show_chosen(self, partners: np.ndarray, name: str) -> None:
        with self.figure.batch_update():
            self.figure.data[1].y, self.figure.data[1].name = partners, name


class InfluenceBars(Plot):
    """What moves the force on the chosen atom most, beside what it attends to."""

    BARS = 16

    def __init__(self, height: int) -> None:
        super().__init__("", "share of the largest [%]", "what moves the chosen atom", height)
        for name, colour in (("influence |∂F/∂r|", LINES[1]), ("attention", LINES[0])):
            hover = "%{x}: %{customdata:.3g}<extra>" + name + "</extra>"
            self.figure.add_bar(x=[], y=[], name=name, marker={"color": colour}, hovertemplate=hover)
        _legend_under_title(self.figure)
        self.figure.update_layout(barmode="group")
        self.figure.update_xaxes(type="category", tickangle=-60)

    def update(self, influence: np.ndarray, attention: np.ndarray, names: Sequence[str], words: str) -> None:
        """Both (n_atoms,), NaN where there is none; the partners of the largest influence, the first first."""
        there = np.flatnonzero(np.isfinite(influence))
        top = there[np.argsort(-influence[there], kind="stable")][: self.BARS]
        labels = np.array([names[atom] for atom in top])
        with self.figure.batch_update():
            for trace, values in zip(self.figure.data, (influence, np.abs(attention)), strict=True):
                largest = np.nanmax(values, initial=0.0) or 1.0
                trace.x, trace.y, trace.customdata = labels, 100 * values[top] / largest, values[top]
        self.say(words)


class RankMap(Plot):
    """Rank correlation of attention with influence, per layer and head; a cell calls on_head(attention, head)."""

    def __init__(
        self, correlations: np.ndarray, labels: Sequence[str], words: str, on_head: Callable[[int, int], None]
    ) -> None:
        super().__init__(
            "head", "", "rank correlation of attention with influence", max(220, 130 + 34 * len(labels))
        )
        text = np.where(np.isfinite(correlations), np.char.mod("%+.2f", correlations), "")
        self.figure.add_heatmap(
            z=_with_gaps(correlations),
            x=np.array([str(head) for head in range(correlations.shape[1])]),
            y=np.array([label.replace(", ", ",<br>") for label in labels]),
            text=text,
            texttemplate="%{text}",
            zmin=-1,
            zmax=1,
            colorscale="RdBu_r",
            xgap=2,
            ygap=2,
            hovertemplate="%{y}, head %{x}: %{text}<extra></extra>",
            hoverongaps=False,
            colorbar=_bar("Spearman ρ"),
        )
        self.figure.update_yaxes(autorange="reversed", type="category", showgrid=False, tickfont={"size": 11})
        self.figure.update_xaxes(type="category", showgrid=False)
        self.figure.data[0].on_click(
            lambda _, points, __: on_head(*map(int, points.point_inds[0])) if points.point_inds else None
        )
        self.say(words)


def _limits(weights: np.ndarray) -> tuple[float, float, bool]:
    """The two ends of the colours, and whether these are logarithmic: over what is there, _DECADES at most."""
    weights = weights[np.isfinite(weights)]
    largest = float(np.abs(weights).max(initial=0.0)) or 1.0
    if (weights < 0).any():
        return -largest, largest, False
    smallest = float(weights[weights > 0].min(initial=largest))
    return float(np.clip(smallest, largest * 10.0**-_DECADES, largest / 1.1)), largest, True


def _logarithmic(low: float) -> list[tuple[float, str]]:
    """Cividis along the logarithm from `low` to 1, for numbers that plotly scales linearly from 0 to 1."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, 40)
    colours = [css(colour[:3]) for colour in colormaps["cividis"](steps)]
    places = [0.0, *(low ** (1 - steps))]
    return list(zip(places, [colours[0], *colours], strict=True))


def _round_numbers(low: float, high: float) -> np.ndarray:
    """1, 2 and 5 times the powers of ten between; the powers alone where they are many; else three at even steps."""
    if high / low < 10:
        return np.linspace(low, high, 3)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = (powers[:, None] * (1, 2, 5)).ravel() if high / low < 200 else powers
    return ticks[(ticks >= 0.999 * low) & (ticks <= 1.001 * high)]


def _unique(names: Sequence[str]) -> np.ndarray:
    """The names, the second of its kind with a (2): images of one atom may stand in one neighbourhood."""
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return np.array(labels)


def _bar(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "side": "top", "font": {"size": 12}},
        "tickfont": {"size": 11},
        "thickness": 12,
        "outlinewidth": 0,
    }


def _legend_under_title(figure: Any) -> None:
    figure.update_layout(showlegend=True, margin_t=62, title={"y": 0.97, "yanchor": "top"})


def _ticks(count: int) -> np.ndarray:
    """Which of `count` rows are named: all of a few, else about ten, evenly spread."""
    return np.arange(0, count, 1 if count <= _ONE_BY_ONE else -(-count // 10))


def _outline(row: int, width: int) -> dict[str, Any]:
    corners = {"x0": -0.5, "x1": width - 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return {"type": "rect", **corners, "line": {"color": _CHOSEN, "width": 2}}


def _with_gaps(values: np.ndarray) -> np.ndarray:
    """None in place of NaN, which JSON, in which a matrix travels, does not know."""
    gaps = np.isnan(values)
    if gaps.any():
        values = values.astype(object)
        values[gaps] = None
    return values
