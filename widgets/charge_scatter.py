"""Learned scalar charges against reference charges: no error, since sign and scale are free, but their correlation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, styled
from widgets.palette import INK, css, element_colours
from widgets.panel import Panel
from widgets.scene import CHOSEN

_X = "reference partial charge [e]"


class ChargeScatter(Panel):
    """One point per atom, in the colour of its element, with the fitted line.

    numbers      (n_atoms,) atomic numbers
    reference    (n_atoms,) partial charges of a reference method [e]
    learned      (n_atoms,) learned equivariant charges of degree 0
    label        of the learned ones
    on_click     called with the number of the atom whose point was clicked
    """

    def __init__(
        self,
        numbers: Any,
        reference: Any,
        learned: Any,
        *,
        label: str = "charge, l = 0",
        on_click: Callable[[int], None] | None = None,
        height: int = 420,
    ) -> None:
        super().__init__()
        from ase.data import chemical_symbols

        self._numbers = np.asarray(numbers, int)
        self._reference = np.asarray(reference, float)
        if self._reference.shape != self._numbers.shape:
            raise ValueError(
                f"reference charges have shape {self._reference.shape}; expected {self._numbers.shape}, one per atom"
            )
        self._on_click = on_click
        self._selected: tuple[int, ...] = ()
        self._names = np.array([f"{chemical_symbols[n]} {i}" for i, n in enumerate(self._numbers)])
        self.figure = live_figure()
        line = {"color": INK, "dash": "dash", "width": 1.5}
        self.figure.add_scatter(mode="lines", line=line, hoverinfo="skip")
        hover = "%{text}<br>reference %{x:.3f} e<br>learned %{y:.3g}<extra></extra>"
        marker = {"color": [css(colour) for colour in element_colours(self._numbers)]}
        self.figure.add_scatter(mode="markers", text=self._names, hovertemplate=hover, marker=marker)
        self.figure.data[1].on_click(self.log.guard(self._clicked))
        styled(self.figure, _X, "", " ", height)
        self.figure.update_layout(showlegend=False, margin_t=64)
        self._words = caption()
        self._show(self.figure, self._words)
        self.update(learned, label)

    def update(self, learned: Any, label: str) -> None:
        """Set other learned charges (n_atoms,) against the same reference."""
        self._learned, self._label = np.asarray(learned, float), label
        x = np.array([self._reference.min(), self._reference.max()])
        with self.figure.batch_update():
            line, points = self.figure.data
            slope, offset = self._fit()
            line.x, line.y = (x, slope * x + offset) if np.isfinite(slope) else (np.empty(0), np.empty(0))
            points.x, points.y = self._reference, self._learned
            self.figure.layout.yaxis.title.text = self._y_label()
            self.figure.layout.title.text = self._heading()
            self._mark()
        self._words.value = in_words(self.describe())

    def select(self, atoms: Sequence[int]) -> None:
        """Ring the points of these atoms."""
        self._selected = tuple(atoms)
        with self.figure.batch_update():
            self._mark()

    def _mark(self) -> None:
        selected = np.isin(np.arange(len(self._numbers)), self._selected)
        marker = self.figure.data[1].marker
        marker.size = np.where(selected, 15, 10)
        marker.line.color = [css(CHOSEN) if one else INK for one in selected]
        marker.line.width = np.where(selected, 4, 1)

    def correlation(self) -> float:
        """Pearson's; NaN where there are fewer than three atoms, or one of the two does not vary."""
        x, y = self._reference, self._learned
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return float("nan")
        return float(np.corrcoef(x, y)[0, 1])

    def _fit(self) -> tuple[float, float]:
        if not np.isfinite(self.correlation()):
            return float("nan"), float("nan")
        slope, offset = np.polyfit(self._reference, self._learned, 1)
        return float(slope), float(offset)

    def _y_label(self) -> str:
        return f"learned {self._label}"

    def _heading(self) -> str:
        correlation = self.correlation()
        if not np.isfinite(correlation):
            return "too few different charges to correlate"
        return f"correlation {correlation:+.2f} over {len(self._numbers)} atoms; scale and sign are free"

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        if self._on_click is not None and points.point_inds:
            self._on_click(int(points.point_inds[0]))

    def picture(self) -> bytes:
        points = [("atoms", self._reference, self._learned)]
        return still.scatter(points, _X, self._y_label(), self._heading(), diagonal=False)

    def describe(self) -> str:
        correlation = self.correlation()
        words = f"Learned equivariant charge ({self._label}) against {_X}: {self._heading()}."
        if np.isfinite(correlation):
            size = abs(correlation)
            how = "closely" if size > 0.9 else "roughly" if size > 0.6 else "hardly"
            words += f" Nobody showed the model the reference charges; what it invented follows them {how}."
        return words
