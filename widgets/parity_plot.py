"""Predicted against reference values, with the errors in the title and a way back to the structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, styled
from widgets.palette import INK, LINES
from widgets.panel import Panel

_SYMBOLS = ("circle", "square", "diamond", "triangle-up")


class ParityPlot(Panel):
    """A scatter of predictions against references, with the line on which they agree.

    reference, predicted    (n,) numbers, or mappings from the name of a group ("train") to such
    label, unit             of the quantity; the errors in the title carry the same unit
    on_click(index)         called with the number of the point that was clicked (in the first group;
                            with several groups: on_click(index, group))

    >>> ParityPlot(energies, predictions, label="energy per atom", unit="eV")    # doctest: +SKIP
    """

    POINTS = 5000

    def __init__(
        self,
        reference: Any,
        predicted: Any,
        *,
        label: str = "value",
        unit: str = "",
        title: str = "",
        on_click: Callable[..., None] | None = None,
        height: int = 420,
    ) -> None:
        super().__init__()
        self._name, self._title, self._unit = label, title, unit
        self._axis = f"{label} [{unit}]" if unit else label
        self._on_click = on_click
        self._groups = _groups(reference, predicted)
        self._figure = self._empty_figure(height)
        self._words = caption()
        self._show(self._figure, self._words)
        self.update(reference, predicted)

    def _empty_figure(self, height: int) -> Any:
        figure = live_figure()
        for number, name in enumerate(self._groups):
            marker = {
                "color": LINES[number % len(LINES)],
                "symbol": _SYMBOLS[number % len(_SYMBOLS)],
                "size": 7,
                "opacity": 0.65,
            }
            hover = f"point %{{customdata}}<br>reference %{{x:.5g}}<br>predicted %{{y:.5g}} {self._unit}"
            figure.add_scatter(x=[], y=[], name=name, mode="markers", marker=marker, hovertemplate=hover)
            figure.data[-1].on_click(self.log.guard(self._clicked))
        figure.add_scatter(
            x=[],
            y=[],
            mode="lines",
            line={"color": INK, "dash": "dash", "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
        styled(figure, f"reference {self._axis}", f"predicted {self._axis}", " ", height)
        figure.update_layout(showlegend=len(self._groups) > 1, width=height + 80, margin_t=64, autosize=False)
        return figure

    def update(self, reference: Any, predicted: Any) -> None:
        """Show other numbers in the same plot; the groups must be those given at first."""
        groups = _groups(reference, predicted)
        if list(groups) != list(self._groups):
            raise ValueError(
                f"got groups {list(groups)}; expected {list(self._groups)}, as when the plot was made"
            )
        self._groups = groups
        everything = np.concatenate([np.concatenate(pair) for pair in groups.values()])
        everything = everything[np.isfinite(everything)]
        ends = np.array([everything.min(), everything.max()]) if everything.size else np.array([0.0, 1.0])
        with self._figure.batch_update():
            for trace, (x, y) in zip(self._figure.data, groups.values(), strict=False):
                kept = np.linspace(0, len(x) - 1, min(len(x), self.POINTS)).round().astype(int)
                trace.x, trace.y, trace.customdata = x[kept], y[kept], kept
            self._figure.data[-1].x = self._figure.data[-1].y = ends
            self._figure.layout.title.text = self._heading("<br>")
        self._words.value = in_words(self.describe())

    def errors(self) -> dict[str, tuple[float, float]]:
        """Group to (mean absolute error, root mean square error), over the points that are numbers."""
        found = {}
        for name, (x, y) in self._groups.items():
            difference = (y - x)[np.isfinite(y - x)]
            if difference.size:
                found[name] = (float(np.abs(difference).mean()), float(np.sqrt((difference**2).mean())))
            else:
                found[name] = (float("nan"), float("nan"))
        return found

    def _heading(self, newline: str) -> str:
        lines = [self._title] if self._title else []
        for name, (mae, rmse) in self.errors().items():
            group = f"{name}: " if len(self._groups) > 1 else ""
            lines.append(f"{group}MAE {mae:.3g}, RMSE {rmse:.3g} {self._unit}".rstrip())
        return newline.join(lines)

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        if self._on_click is not None and points.point_inds:
            index = int(trace.customdata[points.point_inds[0]])
            self._on_click(index) if len(self._groups) == 1 else self._on_click(index, trace.name)

    def picture(self) -> bytes:
        groups = [(name, x, y) for name, (x, y) in self._groups.items()]
        return still.scatter(groups, f"reference {self._axis}", f"predicted {self._axis}", self._heading("\n"))

    def describe(self) -> str:
        words = []
        for name, (x, y) in self._groups.items():
            mae, _ = self.errors()[name]
            text = f"{len(x)} points of {name}, mean absolute error {mae:.3g} {self._unit}".rstrip()
            if np.isfinite(mae):
                worst = int(np.nanargmax(np.abs(y - x)))
                text += f", largest at point {worst} ({y[worst] - x[worst]:+.3g} {self._unit})"
            words.append(text)
        return f"Predicted against reference {self._axis}: " + "; ".join(words) + "."


def _groups(reference: Any, predicted: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    if not isinstance(reference, Mapping):
        reference, predicted = {"data": reference}, {"data": predicted}
    if list(reference) != list(predicted):
        raise ValueError(
            f"reference has groups {list(reference)}, predicted {list(predicted)}; expected the same"
        )
    groups = {}
    for name in reference:
        x, y = np.asarray(reference[name], float).ravel(), np.asarray(predicted[name], float).ravel()
        if len(x) != len(y):
            raise ValueError(
                f"{name}: {len(x)} reference and {len(y)} predicted values; expected as many of each"
            )
        groups[name] = (x, y)
    return groups
