"""How good several contestants are for what they cost: one point each, in a pane for every kind of cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from widgets import still
from widgets.live_plot import caption, in_words
from widgets.palette import LINES
from widgets.panel import Panel
from widgets.run_curves import STILL_SYMBOLS, SYMBOLS, paned


class CostPlot(Panel):
    """An error against costs, each in a pane of its own; less is better on all axes.

    costs    what is paid, with units: the labels of the panes

    >>> plot = CostPlot(["parameters", "memory [MB]"])                        # doctest: +SKIP
    >>> plot.show({"first": (45_000, 12.0)}, {"first": 83.0}, "force error [meV/Å]")    # doctest: +SKIP
    """

    def __init__(self, costs: Sequence[str], *, contestants: int = 3, height: int = 240) -> None:
        super().__init__()
        self._costs, self._n = tuple(costs), contestants
        self._points: dict[str, tuple[tuple[float, ...], float]] = {}
        self._error = ""
        self._figure = self._empty_figure(height)
        self._words = caption()
        self._show(self._figure, self._words)

    def _empty_figure(self, height: int) -> Any:
        figure = paned(1, len(self._costs), height, shared_yaxes=True, horizontal_spacing=0.06)
        # From zero, so that twice as far is twice as much.
        figure.update_yaxes(rangemode="tozero", tickformat=".3~s")
        figure.update_xaxes(rangemode="tozero", tickformat=".3~s", nticks=5)
        for column, cost in enumerate(self._costs, 1):
            figure.update_xaxes(title={"text": cost, "standoff": 4}, row=1, col=column)
            for slot in range(self._n):
                symbol, colour = SYMBOLS[slot % len(SYMBOLS)], LINES[slot % len(LINES)]
                figure.add_scatter(
                    x=np.empty(0),
                    y=np.empty(0),
                    mode="markers",
                    marker={"color": colour, "symbol": symbol, "size": 13},
                    legendgroup=str(slot),
                    showlegend=False,
                    hovertemplate="%{x:.4g}, %{y:.4g}",
                    row=1,
                    col=column,
                )
        return figure

    def show(self, costs: Mapping[str, Sequence[float]], errors: Mapping[str, float], label: str) -> None:
        """Draw these contestants.

        costs    name -> one number for each pane, NaN where it is not known yet
        errors   name -> the error, likewise
        label    of the error, with its unit

        Raises ValueError for more contestants than the plot has room for.
        """
        if len(costs) > self._n:
            raise ValueError(f"got {len(costs)} contestants; the plot was made for {self._n}")
        self._points = {name: (tuple(map(float, costs[name])), float(errors[name])) for name in costs}
        self._error = label
        points = list(self._points.items()) + [("", ((np.nan,) * len(self._costs), np.nan))] * (
            self._n - len(costs)
        )
        with self._figure.batch_update():
            for number, trace in enumerate(self._figure.data):
                name, (of_panes, error) = points[number % self._n]
                cost = of_panes[number // self._n]
                there = bool(np.isfinite(cost) and np.isfinite(error))
                trace.x, trace.y = np.array([cost] if there else []), np.array([error] if there else [])
                trace.name, trace.showlegend = name, there and number < self._n
            self._figure.update_yaxes(title={"text": label, "standoff": 4}, col=1)
        self._words.value = in_words(self.describe())

    def picture(self) -> bytes:
        drawn = still.figure(3.3 * len(self._costs), 2.8)
        axes = drawn.subplots(1, len(self._costs), sharey=True, squeeze=False)[0]
        for pane, (place, cost) in enumerate(zip(axes, self._costs, strict=True)):
            for slot, (name, (of_panes, error)) in enumerate(self._points.items()):
                if np.isfinite(of_panes[pane]) and np.isfinite(error):
                    marker, colour = STILL_SYMBOLS[slot % 6], LINES[slot % len(LINES)]
                    place.plot(of_panes[pane], error, marker, color=colour, ms=9, label=name)
            place.set_xlabel(cost)
            if place.lines:  # from zero, so that twice as far is twice as much
                place.set(xlim=(0, 1.1 * place.dataLim.x1), ylim=(0, 1.1 * place.dataLim.y1))
            place.grid(alpha=0.25)
        axes[0].set_ylabel(self._error)
        if axes[0].lines:
            axes[0].legend(frameon=False, fontsize=8)
        return still.png(drawn)

    def describe(self) -> str:
        words = []
        for name, (costs, error) in self._points.items():
            if np.isfinite(error):
                paid = ", ".join(
                    f"{cost} {number:.4g}" for cost, number in zip(self._costs, costs, strict=True)
                )
                words.append(f"{name}: {self._error} {error:.3g} for {paid}")
        return "; ".join(words) + "." if words else "No contestant has been judged yet."
