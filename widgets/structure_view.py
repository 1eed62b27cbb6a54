"""A structure in 3D: atoms, bonds, cell, frames, and whatever numbers, vectors or tensors its atoms carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
import numpy as np

from widgets import ngl_stage, scene, still
from widgets.palette import NEGATIVE, POSITIVE, ColourScale, element_colours
from widgets.panel import Panel, Pump

_NOTE = "font-size:12px; line-height:1.4; color:var(--jp-ui-font-color2, inherit)"


@dataclass(frozen=True)
class _Colouring:
    """One number per atom, (n_atoms,), and how it is shown."""

    values: np.ndarray
    scale: ColourScale
    label: str
    unit: str


class StructureView(Panel):
    """Atoms in 3D, live in nglview, or as a still picture where that cannot be.

    atoms      an ase.Atoms, or a list of them with the same atoms in the same order: frames with a player
    on_pick    called with the number of the atom that was clicked
    bonds      draw bonds between atoms closer than the sum of their covalent radii and 0.3 Å
    rate       how often at most the picture follows `update()` [1/s]

    >>> view = StructureView(atoms)                                           # doctest: +SKIP
    >>> view.colour(charges, label="charge", unit="e")                        # doctest: +SKIP
    >>> view.arrows(forces, label="force", unit="eV/Å")                       # doctest: +SKIP
    """

    def __init__(
        self,
        atoms: Any,
        *,
        on_pick: Callable[[int], None] | None = None,
        bonds: bool = True,
        height: str = "380px",
        rate: float = 10.0,
    ) -> None:
        super().__init__()
        self.frames = _frames(atoms)
        self.frame = 0
        self.numbers = self.frames[0].numbers
        self._bonds = bonds
        self._on_pick = on_pick
        self._positions = self.frames[0].positions.astype(float)
        self._cell = np.asarray(self.frames[0].cell, float)
        # What may be drawn while it is set is kept whole, in one assignment each.
        self._colouring: _Colouring | None = None
        self._vectors: tuple[np.ndarray, float, str] | None = None
        self._tensors: tuple[np.ndarray, float, str] | None = None
        self._links: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._radii = scene.ball_radii(self.numbers)
        self._pump = Pump(self._draw, self.log, rate)
        self._on_close(self._pump.close)
        self._build(height)

    def _build(self, height: str) -> None:
        self._legend = ipywidgets.HTML()
        self._words = ipywidgets.HTML()
        reason = ngl_stage.why_not()
        self.stage: ngl_stage.NGLStage | None = None
        if reason is None:
            self.stage = ngl_stage.NGLStage(self.scene, self._picked, height)
            body: ipywidgets.Widget = self.stage.widget
        else:
            self._still = body = ipywidgets.Image(
                value=self.picture(), layout=ipywidgets.Layout(max_width="640px")
            )
            self.log.write(f"Showing a still picture, because {reason}")
        self._show(body, ipywidgets.HBox([self._legend, self._controls()], layout=_SPREAD), self._words)
        self._write_words()

    def _controls(self) -> ipywidgets.HBox:
        controls: list[ipywidgets.Widget] = []
        if len(self.frames) > 1:
            last = len(self.frames) - 1
            play = ipywidgets.Play(max=last, interval=100)
            slider = ipywidgets.IntSlider(
                max=last, description="frame", layout=ipywidgets.Layout(width="260px")
            )
            ipywidgets.jslink((play, "value"), (slider, "value"))
            slider.observe(self.log.guard(lambda change: self.show_frame(change["new"])), "value")
            self._slider = slider
            controls += [play, slider]
        if self.stage is not None:
            centre = ipywidgets.Button(icon="crosshairs", tooltip="See all of it", layout=_SMALL)
            centre.on_click(self.log.guard(lambda _: self.stage.fit()))  # type: ignore[union-attr]
            save = ipywidgets.Button(icon="camera", tooltip="Save the picture as PNG", layout=_SMALL)
            save.on_click(self.log.guard(lambda _: self.stage.download("structure.png")))  # type: ignore[union-attr]
            controls += [centre, save]
        return ipywidgets.HBox(controls)

    # what is drawn ------------------------------------------------------------------------------------

    def colour(
        self,
        values: Any,
        *,
        label: str = "value",
        unit: str = "",
        diverging: bool | None = None,
        limits: tuple[float, float] | None = None,
    ) -> StructureView:
        """Colour every atom by a number (n_atoms,), with a colour bar; None goes back to the elements.

        diverging   True: blue - white - red about zero; False: dark - bright; None: True when both signs occur
        limits      (low, high) of the scale; by default what the values span, symmetric when diverging
        Raises ValueError when there is not one number per atom, or none that is finite.
        """
        if values is None:
            self._colouring = None
            self._legend.value = ""
        else:
            array = self._per_atom(values, (), "values").copy()
            self._colouring = _Colouring(array, ColourScale.of(array, diverging, limits), label, unit)
            self._legend.value = self._colouring.scale.bar(label, unit)
        return self._changed()

    def arrows(
        self, vectors: Any, *, label: str = "vector", unit: str = "", scale: float | None = None
    ) -> StructureView:
        """Draw a vector (n_atoms, 3) through every atom; None removes them.

        scale   Å per unit of the vectors; by default the longest arrow is 2.4 Å
        """
        if vectors is None:
            self._vectors = None
        else:
            array = self._per_atom(vectors, (3,), "vectors")
            longest = float(np.linalg.norm(array, axis=1).max()) if len(array) else 0.0
            fitted = scale if scale is not None else 2.4 / longest if longest > 0 else 1.0
            words = f"arrows: {label}, longest {longest:.3g} {unit}".rstrip()
            self._vectors = (array, fitted, words)
        return self._changed()

    def ellipsoids(
        self, tensors: Any, *, label: str = "tensor", unit: str = "", size: float = 0.9
    ) -> StructureView:
        """Draw a symmetric traceless tensor (n_atoms, 3, 3) as an ellipsoid on every atom; None removes them.

        It is long along positive directions and red when those dominate, flat along negative ones and blue when
        those do; the strongest has a semi-axis of `size` Å.
        """
        if tensors is None:
            self._tensors = None
        else:
            array = self._per_atom(tensors, (3, 3), "tensors")
            largest = float(np.abs(np.linalg.eigvalsh(array)).max()) if len(array) else 0.0
            words = f"ellipsoids: {label}, largest eigenvalue {largest:.3g} {unit}".rstrip()
            self._tensors = (array, size, words + "; red: long along the axis, blue: flat along it")
        return self._changed()

    def links(
        self, pairs: Any, weights: Any, *, widest: float = 0.16, colour: Any = (0.0, 0.45, 0.70)
    ) -> StructureView:
        """Join pairs (n, 2) of atoms by cylinders whose width carries the weights (n,) >= 0; None removes them.

        Raises ValueError when a pair names an atom that is not there or a weight is negative.
        """
        if pairs is None:
            self._links = None
            return self._changed()
        pairs, weights = np.asarray(pairs, int).reshape(-1, 2), np.asarray(weights, float)
        if len(pairs) != len(weights) or (weights < 0).any():
            raise ValueError(
                f"got {len(pairs)} pairs and {len(weights)} weights; expected one weight >= 0 per pair"
            )
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(self.numbers):
            raise ValueError(
                f"pairs name atoms {pairs.min()}..{pairs.max()}; expected 0..{len(self.numbers) - 1}"
            )
        self._links = (
            pairs,
            widest * weights / (weights.max(initial=0.0) or 1.0),
            np.tile(colour, (len(pairs), 1)),
        )
        return self._changed()

    def update(self, positions: Any, values: Any = None, vectors: Any = None, cell: Any = None) -> None:
        """Move the atoms to `positions` (n_atoms, 3) [Å]; may be called from any thread, as often as you like.

        Only the latest state is drawn, at most `rate` times a second. `values` and `vectors` keep the scales that
        colour() and arrows() gave them.
        """
        self._positions = self._per_atom(positions, (3,), "positions").copy()
        if values is not None:
            if self._colouring is None:
                raise ValueError(
                    "values have no scale yet; call colour(values, label=..., unit=...) once before"
                )
            self._colouring = replace(self._colouring, values=self._per_atom(values, (), "values").copy())
        if vectors is not None:
            if self._vectors is None:
                raise ValueError(
                    "vectors have no scale yet; call arrows(vectors, label=..., unit=...) once before"
                )
            self._vectors = (self._per_atom(vectors, (3,), "vectors").copy(), *self._vectors[1:])
        if cell is not None:
            self._cell = np.asarray(cell, float)
        self._pump.wake()

    def show_frame(self, index: int) -> None:
        """Show frame number `index` of those given."""
        if not 0 <= index < len(self.frames):
            raise ValueError(f"there is no frame {index}; expected 0..{len(self.frames) - 1}")
        self.frame = index
        if len(self.frames) > 1:
            self._slider.value = index
        self.update(self.frames[index].positions, cell=self.frames[index].cell)

    # drawing ------------------------------------------------------------------------------------------

    def scene(self) -> scene.Scene:
        """The present state as plain arrays."""
        positions = self._positions
        colouring, vectors, tensors, links = self._colouring, self._vectors, self._tensors, self._links
        colours = (
            element_colours(self.numbers) if colouring is None else colouring.scale.colours(colouring.values)
        )
        sticks = {}
        if self._bonds:
            sticks["bonds"] = scene.bonds(self.numbers, positions, colours)
        edges = scene.cell_edges(self._cell)
        if edges is not None:
            sticks["cell"] = edges
        if links is not None:
            (first, second), radii, link_colours = links[0].T, *links[1:]
            sticks["links"] = scene.Sticks(
                positions[first], positions[second], link_colours, link_colours, radii
            )
        # Smaller balls where arrows or ellipsoids must show.
        drawn = scene.Scene(positions, colours, self._radii, sticks, labels=self._labels(colouring))
        if vectors is not None:
            array, scale, _ = vectors
            drawn = replace(drawn, radii=0.75 * self._radii, arrows=scene.arrows(positions, array, scale))
        if tensors is not None:
            array, size, _ = tensors
            drawn = replace(
                drawn,
                radii=0.6 * self._radii,
                ellipsoids=scene.ellipsoids(positions, array, size, _signs(array)),
            )
        return drawn

    def _changed(self) -> StructureView:
        self._write_words()
        self._pump.wake()
        return self

    def _draw(self) -> bool:
        if self.stage is not None:
            return self.stage.draw()
        self._still.value = self.picture()
        return False

    def _labels(self, colouring: _Colouring | None) -> tuple[str, ...]:
        from ase.data import chemical_symbols

        names = [f"{chemical_symbols[number]} {index}" for index, number in enumerate(self.numbers)]
        if colouring is None:
            return tuple(names)
        label, unit = colouring.label, colouring.unit
        return tuple(
            f"{n}: {label} {v:.3g} {unit}".rstrip() for n, v in zip(names, colouring.values, strict=True)
        )

    def _per_atom(self, values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
        array = np.asarray(values, float)
        wanted = (len(self.numbers), *shape)
        if array.shape != wanted:
            raise ValueError(
                f"{name} has shape {array.shape}; expected {wanted}, one row per atom of this structure"
            )
        return array

    def _picked(self, index: int) -> None:
        if self._on_pick is not None:
            self.log.guard(self._on_pick)(index)

    def _write_words(self) -> None:
        self._words.value = f'<div style="{_NOTE}">{self.describe()}</div>'

    def picture(self) -> bytes:
        colouring = self._colouring
        if colouring is None:
            return still.structure(self.scene())
        name = f"{colouring.label} [{colouring.unit}]" if colouring.unit else colouring.label
        return still.structure(self.scene(), (colouring.scale, name))

    def describe(self) -> str:
        from ase.data import chemical_symbols

        counts = Counter(chemical_symbols[number] for number in self.numbers)
        formula = " ".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())
        words = [f"{len(self.numbers)} atoms ({formula})"]
        if len(self.frames) > 1:
            words.append(f"{len(self.frames)} frames")
        if self._cell.any():
            words.append(
                "in a cell of " + " × ".join(f"{x:.2f}" for x in np.linalg.norm(self._cell, axis=1)) + " Å"
            )
        if self._colouring is not None:
            values = self._colouring.values
            span = f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}"
            words.append(f"coloured by {self._colouring.label}, from {span} {self._colouring.unit}".rstrip())
        words += [extra[2] for extra in (self._vectors, self._tensors) if extra is not None]
        return "; ".join(words) + "."


_SMALL = ipywidgets.Layout(width="38px")
_SPREAD = ipywidgets.Layout(justify_content="space-between", align_items="flex-end", flex_flow="row wrap")


def _frames(atoms: Any) -> Sequence[Any]:
    frames = [atoms] if hasattr(atoms, "numbers") else list(atoms)
    if not frames or len(frames[0]) == 0:
        raise ValueError("got no atoms to show; expected an ase.Atoms or a list of them")
    for index, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise ValueError(
                f"frame {index} has other atoms than frame 0; expected the same atoms in the same order."
                " Show structures of different make one by one"
            )
    return frames


def _signs(tensors: np.ndarray) -> np.ndarray:
    """Red where the eigenvalue of largest size is positive, blue where it is negative."""
    eigenvalues = np.linalg.eigvalsh(tensors)
    positive = eigenvalues[:, -1] > -eigenvalues[:, 0]
    return np.where(positive[:, None], POSITIVE, NEGATIVE)
