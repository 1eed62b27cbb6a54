"""Still pictures, drawn by matplotlib without a browser: what a notebook shows where nothing is live."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from widgets.palette import LINES, ColourScale
from widgets.scene import CHOSEN, HALO, PALE, Arrows, Ellipsoids, Scene, Sticks

_INK = "#444444"
_SLICES = 40


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
    """Paint slice by slice, the farthest first: sticks, then balls; tensors and vectors over all of them."""
    points = scene.positions @ rotation.T
    reached = [scene.positions, *(sticks.start for sticks in scene.sticks.values())]
    if scene.arrows is not None:
        reached += [scene.arrows.start, scene.arrows.end]
    if scene.ellipsoids is not None:
        longest = scene.ellipsoids.axes[:, 0]
        reached += [scene.ellipsoids.centres - longest, scene.ellipsoids.centres + longest]
    corners = np.concatenate(reached) @ rotation.T
    low, high = corners.min(axis=0) - scene.radii.max() - 0.3, corners.max(axis=0) + scene.radii.max() + 0.3
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    borders = np.linspace(low[2], high[2], _SLICES + 1)[1:-1]
    points_per_angstrom = 250 / max((high[0] - low[0]) / 1.4, high[1] - low[1])
    for sticks in scene.sticks.values():
        _paint_sticks(axes, sticks, rotation, borders, points_per_angstrom)
    _paint_balls(axes, points, scene, borders)
    if scene.halos is not None:
        _paint_halos(axes, scene.halos.centres @ rotation.T, scene.halos.radii, borders)
    if scene.ellipsoids is not None:
        _paint_ellipsoids(axes, scene.ellipsoids, rotation)
    if scene.arrows is not None:
        _paint_arrows(axes, scene.arrows, rotation)


def _paint_sticks(axes: Any, sticks: Sticks, rotation: np.ndarray, borders: np.ndarray, scale: float) -> None:
    from matplotlib.collections import LineCollection

    start, end = sticks.start @ rotation.T, sticks.end @ rotation.T
    near = np.concatenate([start, end])
    halves = np.stack([near, np.tile((start + end) / 2, (2, 1))], axis=1)
    colours = np.concatenate([sticks.start_colours, sticks.end_colours])
    widths = np.maximum(2 * scale * np.tile(sticks.radii, 2), 0.8)
    slices = np.digitize(near[:, 2], borders)
    for number in np.unique(slices):
        here = slices == number
        axes.add_collection(
            LineCollection(
                list(halves[here, :, :2]),
                colors=colours[here],
                lw=widths[here],
                alpha=sticks.opacity,
                zorder=number,
            )
        )


def _paint_balls(axes: Any, points: np.ndarray, scene: Scene, borders: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Circle

    slices = np.digitize(points[:, 2], borders)
    opacity = np.where(np.arange(len(points)) < scene.n_atoms, 1.0, PALE)
    for number in np.unique(slices):
        here = np.flatnonzero(slices == number)
        here = here[points[here, 2].argsort()]
        radii = scene.radii[here]
        balls = [Circle(p, r) for p, r in zip(points[here, :2], radii, strict=True)]
        glints = [
            Circle((p[0] - 0.3 * r, p[1] + 0.3 * r), 0.25 * r)
            for p, r in zip(points[here, :2], radii, strict=True)
        ]
        axes.add_collection(
            PatchCollection(
                balls,
                facecolor=np.column_stack([scene.colours[here], opacity[here]]),
                edgecolor=[(0.2, 0.2, 0.2, alpha) for alpha in opacity[here]],
                lw=0.6,
                zorder=number + 0.3,
            )
        )
        white = [(1.0, 1.0, 1.0, 0.45 * alpha) for alpha in opacity[here]]
        axes.add_collection(PatchCollection(glints, facecolor=white, lw=0, zorder=number + 0.6))


def _paint_halos(axes: Any, centres: np.ndarray, radii: np.ndarray, borders: np.ndarray) -> None:
    from matplotlib.patches import Circle

    for centre, radius, number in zip(centres, radii, np.digitize(centres[:, 2], borders), strict=True):
        axes.add_patch(
            Circle(
                centre[:2],
                radius,
                facecolor=(*CHOSEN, 0.6 * HALO),
                edgecolor=CHOSEN,
                lw=1.5,
                zorder=number + 0.2,
            )
        )


def _paint_ellipsoids(axes: Any, ellipsoids: Ellipsoids, rotation: np.ndarray) -> None:
    from matplotlib.patches import Ellipse

    centres, axes_seen = ellipsoids.centres @ rotation.T, ellipsoids.axes @ rotation.T
    for index in centres[:, 2].argsort():
        flat = axes_seen[index][:, :2]
        # The shadow of an ellipsoid is an ellipse.
        sizes, directions = np.linalg.eigh(flat.T @ flat)
        width, height = 2 * np.sqrt(np.maximum(sizes, 0))
        angle = np.degrees(np.arctan2(directions[1, 0], directions[0, 0]))
        colour = ellipsoids.colours[index]
        axes.add_patch(
            Ellipse(
                centres[index, :2],
                width,
                height,
                angle=angle,
                facecolor=colour,
                alpha=0.6,
                lw=0.5,
                zorder=_SLICES + 1,
            )
        )


def _paint_arrows(axes: Any, arrows: Arrows, rotation: np.ndarray) -> None:
    from matplotlib.patches import FancyArrowPatch

    ends = zip(arrows.start @ rotation.T, arrows.end @ rotation.T, arrows.colours, strict=True)
    for a, b, colour in ends:
        axes.add_patch(
            FancyArrowPatch(
                a[:2], b[:2], arrowstyle="-|>", mutation_scale=12, lw=2, color=colour, zorder=_SLICES + 2
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
