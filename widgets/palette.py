"""Colours that colour-blind people can tell apart, on light and on dark ground."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Lines and markers: Okabe and Ito (2008), without black and yellow, which vanish on dark and on light ground.
LINES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")

#: Text and axes of plots: this grey has contrast 4.3 : 1 on white as well as on JupyterLab's dark ground.
INK = "#7b7b7b"
GRID = "rgba(128, 128, 128, 0.25)"

NEGATIVE, POSITIVE = (0.13, 0.40, 0.67), (0.70, 0.09, 0.17)


@dataclass(frozen=True)
class ColourScale:
    """Numbers to colours, perceptually even: from -limit to limit about zero when diverging.

    low, high   the numbers at the two ends
    diverging   True: blue - white - red; False: dark blue - yellow (cividis)
    """

    low: float
    high: float
    diverging: bool

    @classmethod
    def of(
        cls, values: Any, diverging: bool | None = None, limits: tuple[float, float] | None = None
    ) -> ColourScale:
        """The scale that fits `values`. By default it diverges when they have both signs.

        Raises ValueError when no value is finite, or when the limits are not in order.
        """
        finite = np.asarray(values, float)
        finite = finite[np.isfinite(finite)]
        if finite.size == 0:
            raise ValueError("the values to colour by are all NaN or infinite; expected numbers")
        if diverging is None:
            diverging = bool(finite.min() < 0 < finite.max())
        if limits is None:
            largest = float(np.abs(finite).max()) or 1.0
            limits = (-largest, largest) if diverging else (float(finite.min()), float(finite.max()))
        low, high = limits
        if low > high:
            raise ValueError(f"limits are ({low}, {high}); expected the smaller one first")
        return cls(low, high if high > low else low + 1.0, diverging)

    def colours(self, values: Any) -> np.ndarray:
        """(n,) numbers to (n, 3) red, green, blue in 0..1; grey where a value is not finite."""
        from matplotlib import colormaps

        fraction = (np.asarray(values, float) - self.low) / (self.high - self.low)
        colours = colormaps["RdBu_r" if self.diverging else "cividis"](np.nan_to_num(fraction))[..., :3]
        return np.where(np.isfinite(fraction)[..., None], colours, 0.5)

    def bar(self, label: str, unit: str) -> str:
        """The colour bar as HTML; it follows the theme of the page."""
        stops = ", ".join(css(c) for c in self.colours(np.linspace(self.low, self.high, 17)))
        middle = (self.low + self.high) / 2
        ticks = "".join(
            f"<span>{tick:.3g}</span>" for tick in (self.low, 0.0 if self.diverging else middle, self.high)
        )
        name = f"{label} [{unit}]" if unit else label
        spoken = f"colour bar: {name} from {self.low:.3g} to {self.high:.3g}"
        return (
            f'<div class="wb-colour-bar" role="img" aria-label="{html.escape(spoken)}"'
            ' style="width:260px; font-size:12px; line-height:1.3; color:var(--jp-ui-font-color1, inherit)">'
            f'<div style="margin-bottom:2px">{html.escape(name)}</div>'
            f'<div style="height:12px; border-radius:3px; border:1px solid rgba(128,128,128,.5);'
            f' background:linear-gradient(to right, {stops})"></div>'
            f'<div style="display:flex; justify-content:space-between">{ticks}</div></div>'
        )


def css(colour: Any) -> str:
    """Red, green, blue in 0..1 as CSS."""
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in colour)


def element_colours(numbers: Any) -> np.ndarray:
    """(n_atoms,) atomic numbers to (n_atoms, 3); Jmol's colours, hydrogen a little darker so that it shows on white."""
    from ase.data.colors import jmol_colors

    colours = jmol_colors[np.asarray(numbers)]
    return np.where(np.asarray(numbers)[:, None] == 1, 0.88, colours)
