"""A plane through a structure, coloured by the potential that its learned charges make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, styled
from widgets.multipole_potential import potential
from widgets.palette import INK, css, element_colours
from widgets.panel import Panel
from widgets.scene import CHOSEN

_DIRECTIONS = {"of best fit": "best", "across x": "x", "across y": "y", "across z": "z"}
_AXES = ("x", "y", "z")
_MARGIN = 2.5  # Å around the atoms
_NAMED = 1.0  # Å from the plane, up to which an atom bears its name


@dataclass(frozen=True)
class Plane:
    """
    origin       (3,) a point of it [Å]
    right, up    (3,) unit vectors in it, across each other
    """

    origin: np.ndarray
    right: np.ndarray
    up: np.ndarray

    @classmethod
    def through(cls, positions: np.ndarray, origin: np.ndarray, across: str, shift: float) -> Plane:
        """The plane across "x", "y" or "z", or the "best", closest to all atoms; moved by `shift` Å along its normal.

        The directions of the best turn as the atoms do: each points to the side of the atom farthest out along it.
        """
        if across in _AXES:
            number = _AXES.index(across)
            right, up = np.eye(3)[[(number + 1) % 3, (number + 2) % 3]]
        else:
            spans = positions - positions.mean(axis=0)
            right, up = (_pointing(direction, spans) for direction in np.linalg.svd(spans)[2][:2])
        return cls(origin + shift * np.cross(right, up), right, up)

    def seen(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) right, up, and above the plane, of points (n, 3) [Å]."""
        return (points - self.origin) @ np.array([self.right, self.up, np.cross(self.right, self.up)]).T

    def points(self, right: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(n_up * n_right, 3) the points of a grid, row by row."""
        across, along = np.meshgrid(right, up)
        return self.origin + across.reshape(-1, 1) * self.right + along.reshape(-1, 1) * self.up


def _pointing(direction: np.ndarray, spans: np.ndarray) -> np.ndarray:
    reach = spans @ direction
    return direction if reach[np.abs(reach).argmax()] >= 0 else -direction


class PotentialSlice(Panel):
    """The potential of learned equivariant charges on a plane, with the atoms projected onto it.

    numbers, positions    (n_atoms,), (n_atoms, 3) [Å]
    multipoles            objects with `degree` l and `values` (n_atoms, 2l + 1), in e3nn's order
    unit                  of the charges; "" when their scale is the model's own
    on_click              called with the number of an atom that was clicked

    The charges are multipoles with a Gaussian cloud of width SMEARING each, in open space: periodic images are left
    out. Colours end at the size that 3 % of the plane exceed.
    """

    SMEARING = 0.4  # Å
    GRID = 81

    def __init__(
        self,
        numbers: Any,
        positions: Any,
        multipoles: Sequence[Any],
        *,
        unit: str = "",
        on_click: Callable[[int], None] | None = None,
        height: int = 420,
    ) -> None:
        super().__init__()
        from ase.data import chemical_symbols, covalent_radii

        self._numbers = np.asarray(numbers, int)
        self._names = [f"{chemical_symbols[number]} {i}" for i, number in enumerate(self._numbers)]
        self._sizes = 12 + 16 * covalent_radii[self._numbers]
        self._unit = f"{unit}/Å" if unit else "arbitrary units"
        self._on_click = on_click
        self._selected: tuple[int, ...] = ()
        self._positions, self._multipoles = np.asarray(positions, float), list(multipoles)
        self.direction = ipywidgets.Dropdown(options=list(_DIRECTIONS.items()), description="plane")
        self.direction.layout.width, self.direction.style.description_width = "190px", "44px"
        self.shift = ipywidgets.FloatSlider(
            value=0.0, min=-4.0, max=4.0, step=0.1, description="moved by [Å]", readout_format="+.1f"
        )
        self.shift.layout.width, self.shift.style.description_width = "290px", "88px"
        for control in (self.direction, self.shift):
            control.observe(self.log.guard(lambda _: self._draw()), "value")
        self.figure = self._empty_figure(height)
        self._words = caption()
        self.controls = ipywidgets.HBox(
            [self.direction, self.shift], layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        self._show(self.controls, self.figure, self._words)
        self._draw()

    def update(self, positions: Any = None, multipoles: Sequence[Any] | None = None) -> None:
        """Show other positions or other charges."""
        if positions is not None:
            self._positions = np.asarray(positions, float)
        if multipoles is not None:
            self._multipoles = list(multipoles)
        self._draw()

    def select(self, atoms: Sequence[int]) -> None:
        """Ring these atoms and lead the plane through the last; through the middle of all when there is none."""
        self._selected = tuple(atoms)
        self._draw()

    # drawing ------------------------------------------------------------------------------------------

    def plane(self) -> Plane:
        """The plane that is shown."""
        origin = self._positions[self._selected[-1]] if self._selected else self._positions.mean(axis=0)
        return Plane.through(self._positions, origin, self.direction.value, self.shift.value)

    def _draw(self) -> None:
        plane = self.plane()
        seen = plane.seen(self._positions)
        count = self.GRID if len(seen) <= 100 else self.GRID * 2 // 3
        low, high = seen[:, :2].min(axis=0) - _MARGIN, seen[:, :2].max(axis=0) + _MARGIN
        self.right, self.up = (np.linspace(low[k], high[k], count) for k in (0, 1))
        points = plane.points(self.right, self.up)
        values = potential(points, self._positions, self._multipoles, self.SMEARING)
        self.values = values.reshape(count, count)
        self.limit = float(np.percentile(np.abs(values), 97)) or 1.0
        self._seen = seen
        with self.figure.batch_update():
            self._draw_map()
            self._draw_atoms()
        self._words.value = in_words(self.describe())

    def _empty_figure(self, height: int) -> Any:
        figure = live_figure()
        title = {"text": f"V [{self._unit}]", "side": "right", "font": {"size": 12}}
        figure.add_contour(
            z=np.zeros((2, 2)),
            colorscale="RdBu_r",
            contours={"coloring": "heatmap", "showlines": True},
            line={"width": 0.5, "color": "rgba(60,60,60,0.35)"},
            colorbar={
                "title": title,
                "tickfont": {"size": 11},
                "thickness": 12,
                "outlinewidth": 0,
            },
            hovertemplate=f"V = %{{z:.3g}} {self._unit}<extra></extra>",
        )
        figure.add_scatter(
            mode="markers+text",
            textposition="middle center",
            textfont={"size": 11, "color": "black"},
            hovertemplate="%{customdata}<extra></extra>",
        )
        figure.data[1].on_click(self.log.guard(self._clicked))
        styled(figure, "", "", "potential of the learned equivariant charges", height)
        figure.update_layout(showlegend=False, margin={"l": 60, "r": 10, "t": 40, "b": 50})
        figure.update_xaxes(showgrid=False, zeroline=False, constrain="domain")
        figure.update_yaxes(showgrid=False, zeroline=False, scaleanchor="x", constrain="domain")
        return figure

    def _draw_map(self) -> None:
        trace, layout = self.figure.data[0], self.figure.layout
        trace.x, trace.y, trace.z = self.right, self.up, self.values.astype(np.float32)
        trace.zmin, trace.zmax = -self.limit, self.limit
        trace.contours.start, trace.contours.end = -self.limit, self.limit
        trace.contours.size = self.limit / 5
        ticks = self.limit * np.linspace(-1, 1, 5)
        trace.colorbar.tickvals, trace.colorbar.ticktext = ticks, [f"{tick:.2g}" for tick in ticks]
        layout.xaxis.range, layout.yaxis.range = self.right[[0, -1]], self.up[[0, -1]]
        layout.xaxis.title.text, layout.yaxis.title.text = self._axes()

    def _draw_atoms(self) -> None:
        """Every atom, the fainter the farther it is from the plane."""
        away = np.abs(self._seen[:, 2])
        # What is nearer to the plane lies on top.
        order = np.argsort(-away, kind="stable")
        self._order = order
        selected = np.isin(order, self._selected)
        atoms = self.figure.data[1]
        atoms.x, atoms.y = self._seen[order, 0], self._seen[order, 1]
        atoms.text = np.array([self._names[i] if away[i] < _NAMED else "" for i in order])
        atoms.customdata = np.array(
            [f"{self._names[i]}, {self._seen[i, 2]:+.2f} Å off the plane" for i in order]
        )
        marker = atoms.marker
        marker.size = self._sizes[order]
        marker.color = [css(colour) for colour in element_colours(self._numbers)[order]]
        marker.opacity = np.maximum(np.exp(-(away[order] ** 2)), 0.15)
        marker.line.color = [css(CHOSEN) if one else INK for one in selected]
        marker.line.width = np.where(selected, 4, 1)

    def _axes(self) -> tuple[str, str]:
        if self.direction.value not in _AXES:
            return "in the plane [Å]", "in the plane [Å]"
        number = _AXES.index(self.direction.value)
        start = self._names[self._selected[-1]] if self._selected else "the middle"
        right, up = (f"{_AXES[(number + k) % 3]}, from {start} [Å]" for k in (1, 2))
        return right, up

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        if self._on_click is not None and points.point_inds:
            self._on_click(int(self._order[points.point_inds[0]]))

    def picture(self) -> bytes:
        drawn = still.figure(5.2, 4.2)
        axes = drawn.add_subplot()
        extent = (self.right[0], self.right[-1], self.up[0], self.up[-1])
        image = axes.imshow(
            self.values, "RdBu_r", vmin=-self.limit, vmax=self.limit, extent=extent, origin="lower"
        )
        opacity = np.maximum(np.exp(-(self._seen[:, 2] ** 2)), 0.15)
        colours = np.column_stack([element_colours(self._numbers), opacity])
        axes.scatter(
            *self._seen[:, :2].T, s=0.35 * self._sizes**2, c=colours, edgecolors="#444444", linewidths=0.6
        )
        for name, (x, y, away) in zip(self._names, self._seen, strict=True):
            if abs(away) < _NAMED:
                axes.annotate(name, (x, y), ha="center", va="center", fontsize=7)
        labels = self._axes()
        axes.set(xlabel=labels[0], ylabel=labels[1])
        drawn.colorbar(image, label=f"potential of the learned charges [{self._unit}]")
        return still.png(drawn)

    def describe(self) -> str:
        through = self._names[self._selected[-1]] if self._selected else "the middle of the atoms"
        moved = f", moved by {self.shift.value:+.1f} Å" if self.shift.value else ""
        low, high = self.values.min(), self.values.max()
        return (
            "Potential of the learned equivariant charges as multipoles (each a Gaussian cloud of width"
            f" {self.SMEARING} Å), open boundary: on the plane {self.direction.label} through {through}{moved} it goes"
            f" from {low:.3g} to {high:.3g} {self._unit}. It pictures the charges; the model may add them up"
            " in another way."
        )
