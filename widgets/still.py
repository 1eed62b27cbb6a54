"""Still pictures, drawn by matplotlib without a browser: what a notebook shows where nothing is live."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from widgets.palette import LINES, ColourScale
from widgets.scene import Scene

_INK = "#444444"


def figure(width: float = 7.0, height: float = 4.0) -> Any:
    """An empty figure that belongs to no pyplot state, so threads may draw it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(drawn: Any, dpi: int = 110) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def structure(
    scene: Scene,
    bar: tuple[ColourScale, str] | None = None,
    caption: str = "",
    rotation: np.ndarray | None = None,
) -> bytes:
    """The scene in parallel projection, painted from back to front, with its colour bar, as a PNG."""
    drawn = figure(6.0, 4.2)
    axes = drawn.add_subplot()
    _paint(axes, scene, _tilted() if rotation is None else rotation)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.autoscale_view()
    if caption:
        axes.set_title(caption, fontsize=9, color=_INK, wrap=True)
    if bar is not None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        scale, label = bar
        colours = ScalarMappable(Normalize(scale.low, scale.high), "RdBu_r" if scale.diverging else "cividis")
        drawn.colorbar(colours, ax=axes, label=label, shrink=0.75)
    return png(drawn)


def _tilted() -> np.ndarray:
    """A view slightly from above and from the right, so that no axis hides behind another."""
    a, b = np.radians(-70), np.radians(-20)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_x @ about_z


def _paint(axes: Any, scene: Scene, rotation: np.ndarray) -> None:
    from matplotlib.patches import Circle, Ellipse, FancyArrowPatch

    points = scene.positions @ rotation.T
    for (x, y, z), radius, colour in zip(points, scene.radii, scene.colours, strict=True):
        axes.add_patch(Circle((x, y), radius, facecolor=colour, edgecolor="#333333", lw=0.6, zorder=z))
        glint = Circle(
            (x - 0.3 * radius, y + 0.3 * radius), 0.25 * radius, color="white", alpha=0.45, lw=0, zorder=z
        )
        axes.add_patch(glint)
    corners = np.concatenate([points, *(s.start @ rotation.T for s in scene.sticks.values())])
    points_per_angstrom = 260 / max(np.ptp(corners[:, 0]) / 1.4, np.ptp(corners[:, 1]), 3.0)
    for sticks in scene.sticks.values():
        start, end = sticks.start @ rotation.T, sticks.end @ rotation.T
        middle = (start + end) / 2
        for near, colours in ((start, sticks.start_colours), (end, sticks.end_colours)):
            for a, b, colour, radius in zip(near, middle, colours, sticks.radii, strict=True):
                width = max(2 * radius * points_per_angstrom, 0.8)
                axes.plot((a[0], b[0]), (a[1], b[1]), color=colour, lw=width, zorder=a[2] - 0.01)
    if scene.ellipsoids is not None:
        for centre, semi, colour in zip(
            scene.ellipsoids.centres @ rotation.T,
            scene.ellipsoids.axes @ rotation.T,
            scene.ellipsoids.colours,
            strict=True,
        ):
            sizes, directions = np.linalg.eigh(
                semi.T[:2] @ semi[:, :2]
            )  # the shadow of an ellipsoid is an ellipse
            width, height = 2 * np.sqrt(np.maximum(sizes, 0))
            angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
            axes.add_patch(
                Ellipse(
                    centre[:2],
                    width,
                    height,
                    angle=angle,
                    facecolor=colour,
                    alpha=0.6,
                    lw=0.5,
                    zorder=centre[2] + 1,
                )
            )
    if scene.arrows is not None:
        for a, b, colour in zip(
            scene.arrows.start @ rotation.T, scene.arrows.end @ rotation.T, scene.arrows.colours, strict=True
        ):
            axes.add_patch(
                FancyArrowPatch(
                    a[:2], b[:2], arrowstyle="-|>", mutation_scale=12, lw=2, color=colour, zorder=b[2] + 2
                )
            )


def curves(
    lines: Sequence[tuple[str, Any, Any]], x_label: str, y_label: str, log: bool = False, title: str = ""
) -> bytes:
    """Named curves (name, x, y) in one plot with a legend, as a PNG."""
    drawn = figure()
    axes = drawn.add_subplot()
    dashes = ("-", "--", "-.", ":")
    for number, (name, x, y) in enumerate(lines):
        axes.plot(x, y, dashes[number % 4], color=LINES[number % len(LINES)], lw=1.6, label=name)
    if log:
        axes.set_yscale("log")
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(alpha=0.25)
    if lines:
        axes.legend(frameon=False)
    return png(drawn)


def scatter(
    groups: Sequence[tuple[str, Any, Any]], x_label: str, y_label: str, title: str = "", diagonal: bool = True
) -> bytes:
    """Named groups of points (name, x, y), with the line y = x for comparison, as a PNG."""
    drawn = figure(5.2, 5.0)
    axes = drawn.add_subplot()
    for number, (name, x, y) in enumerate(groups):
        axes.plot(
            x, y, "os^D"[number % 4], color=LINES[number % len(LINES)], ms=4, alpha=0.6, mew=0, label=name
        )
    if diagonal and any(len(x) for _, x, _ in groups):
        axes.axline((np.nanmean(groups[0][1]),) * 2, slope=1, color="#888888", lw=1, zorder=0)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(alpha=0.25)
    if len(groups) > 1:
        axes.legend(frameon=False)
    return png(drawn)


def stacked(pictures: Sequence[bytes]) -> bytes:
    """PNGs side by side in one, each shrunk to the same height."""
    from matplotlib.image import imread

    arrays = [imread(io.BytesIO(picture)) for picture in pictures]
    ratios = [array.shape[1] / array.shape[0] for array in arrays]
    drawn = figure(3.4 * sum(ratios), 3.4)
    panes = drawn.subplots(1, len(arrays), width_ratios=ratios, squeeze=False)[0]
    for pane, array in zip(panes, arrays, strict=True):
        pane.imshow(array, interpolation="antialiased")
        pane.axis("off")
    return png(drawn, dpi=130)
