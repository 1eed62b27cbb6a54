"""A structure with what is to be drawn on it, and the scene that this makes. No widget in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from widgets import marks, periodic, scene
from widgets.palette import ColourScale, element_colours
from widgets.scene import Scene, Sticks
from widgets.selection import measured


class MarkedAtoms:
    """Frames of one structure; numbers, vectors and tensors on its atoms; links, images, a selection.

    What may be drawn while it is set is kept whole, in one assignment each: threads draw.
    """

    def __init__(self, atoms: Any, bonds: bool) -> None:
        self.frames = _frames(atoms)
        self.frame = 0
        self.numbers = self.frames[0].numbers
        self.selected: tuple[int, ...] = ()
        self._bonds = bonds
        self._positions = self.frames[0].positions.astype(float)
        self._cell = np.asarray(self.frames[0].cell, float)
        self._radii = scene.ball_radii(self.numbers)
        self._colouring: marks.Colouring | None = None
        self._vectors: marks.Vectors | None = None
        self._tensors: marks.Tensors | None = None
        self._links: marks.Links | None = None
        self._beyond = np.zeros(3)

    @property
    def _pbc(self) -> np.ndarray:
        return np.asarray(self.frames[self.frame].pbc, bool)

    @property
    def names(self) -> tuple[str, ...]:
        """Of every atom, e.g. "O 2"."""
        from ase.data import chemical_symbols

        return tuple(f"{chemical_symbols[number]} {index}" for index, number in enumerate(self.numbers))

    def _changed(self) -> Self:
        """Something else is to be seen."""
        return self

    def _moved(self) -> None:
        """The same is to be seen elsewhere."""

    # marks --------------------------------------------------------------------------------------------

    def colour(
        self,
        values: Any,
        *,
        label: str = "value",
        unit: str = "",
        diverging: bool | None = None,
        limits: tuple[float, float] | None = None,
    ) -> Self:
        """Colour every atom by a number, with a colour bar; None goes back to the elements.

        values      (n_atoms,), or (n_frames, n_atoms) where there are several frames: they follow the player
        diverging   True: blue - white - red about zero; False: dark - bright; None: True when both signs occur
        limits      (low, high) of the scale; by default what the values span, symmetric when diverging
        Raises ValueError when there is not one number per atom, or none that is finite.
        """
        if values is None:
            self._colouring = None
        else:
            now, frames = self._checked(values, (), "values")
            colour_scale = ColourScale.of(now if frames is None else frames, diverging, limits)
            self._colouring = marks.Colouring(now, colour_scale, label, unit, frames)
        return self._changed()

    def colour_by_force(self, forces: Any = None) -> Self:
        """Colour every atom by the size of the force on it [eV/Å].

        forces   (n_atoms, 3) or (n_frames, n_atoms, 3); by default those that the frames carry
        Raises ValueError when a frame carries none.
        """
        if forces is None:
            forces = np.array([_forces(frame, index) for index, frame in enumerate(self.frames)])
            forces = forces if len(self.frames) > 1 else forces[0]
        norms = np.linalg.norm(forces, axis=-1)
        limits = (0.0, float(np.nanmax(norms)) if np.isfinite(norms).any() else 1.0)
        return self.colour(norms, label="force |F|", unit="eV/Å", diverging=False, limits=limits)

    def arrows(
        self, vectors: Any, *, label: str = "vector", unit: str = "", scale: float | None = None
    ) -> Self:
        """Draw a vector through every atom; None removes them.

        vectors   (n_atoms, 3), or (n_frames, n_atoms, 3) where there are several frames: they follow the player
        scale     Å per unit of the vectors; by default the longest arrow is 2.4 Å
        """
        if vectors is None:
            self._vectors = None
        else:
            now, frames = self._checked(vectors, (3,), "vectors")
            longest = float(np.linalg.norm(now if frames is None else frames, axis=-1).max())
            fitted = scale if scale is not None else 2.4 / longest if longest > 0 else 1.0
            self._vectors = marks.Vectors(now, fitted, longest, label, unit, frames)
        return self._changed()

    def ellipsoids(self, tensors: Any, *, label: str = "tensor", unit: str = "", size: float = 0.9) -> Self:
        """Draw a symmetric traceless tensor as an ellipsoid on every atom; None removes them.

        tensors   (n_atoms, 3, 3), or (n_frames, n_atoms, 3, 3) where there are several frames
        size      semi-axis of the strongest [Å]

        It is long along positive directions and red when those dominate, flat along negative ones and blue when
        those do.
        """
        if tensors is None:
            self._tensors = None
        else:
            now, frames = self._checked(tensors, (3, 3), "tensors")
            largest = float(np.abs(np.linalg.eigvalsh(now if frames is None else frames)).max())
            self._tensors = marks.Tensors(now, size, largest, label, unit, frames)
        return self._changed()

    def links(
        self,
        pairs: Any,
        weights: Any = None,
        *,
        label: str = "weight",
        widest: float = 0.16,
        colour: Any = marks.LINK,
    ) -> Self:
        """Join pairs (n, 2) of atoms by cylinders whose width carries the weights (n,) >= 0; None removes them.

        In a periodic structure a link goes to the nearest image of its second atom, which is drawn there, pale.
        Raises ValueError when a pair names an atom that is not there or a weight is negative.
        """
        if pairs is None:
            self._links = None
            return self._changed()
        pairs, weights = np.asarray(pairs, int).reshape(-1, 2), np.asarray(weights, float)
        if weights.shape != (len(pairs),) or (weights < 0).any():
            count = f"{weights.size} weights"
            raise ValueError(f"got {len(pairs)} pairs and {count}; expected one weight >= 0 per pair")
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(self.numbers):
            raise ValueError(
                f"pairs name atoms {pairs.min()}..{pairs.max()}; expected 0..{len(self.numbers) - 1}"
            )
        largest = float(weights.max(initial=0.0))
        self._links = marks.Links(pairs, widest * weights / (largest or 1.0), largest, label, colour)
        return self._changed()

    def images(self, a: float, b: float | None = None, c: float | None = None) -> Self:
        """Show periodic images around the cell, pale: `a`, `b`, `c` cells more on either side; 0 shows none.

        Parts of a cell do, such as 0.5; `b` and `c` are `a` if not given. Directions that are not periodic get none.
        Raises ValueError when nothing is periodic, a number is negative, or there would be too many images.
        """
        beyond = np.array([a, a if b is None else b, a if c is None else c], float)
        if not self._pbc.any():
            raise ValueError("the structure is not periodic, so it has no images; set atoms.pbc and atoms.cell")
        if (beyond < 0).any():
            raise ValueError(f"got {beyond.tolist()} cells; expected numbers >= 0")
        periodic.images(self._positions, self._cell, self._pbc, beyond)  # refuses what is too much
        self._beyond = beyond
        return self._changed()

    def _checked(self, values: Any, shape: tuple[int, ...], name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """A copy of the values of the frame shown, and of all frames where these differ."""
        array = marks.per_atom(values, len(self.numbers), shape, name, len(self.frames))
        return (array, None) if array.ndim == 1 + len(shape) else (array[self.frame], array)

    # motion -------------------------------------------------------------------------------------------

    def update(self, positions: Any, values: Any = None, vectors: Any = None, cell: Any = None) -> None:
        """Move the atoms to `positions` (n_atoms, 3) [Å]; may be called from any thread, as often as you like.

        Only the latest state is drawn, at most `rate` times a second. `values` and `vectors` keep the scales that
        colour() and arrows() gave them.
        """
        n_atoms = len(self.numbers)
        self._positions = marks.per_atom(positions, n_atoms, (3,), "positions")
        if values is not None:
            if self._colouring is None:
                raise ValueError(
                    "values have no scale yet; call colour(values, label=..., unit=...) once before"
                )
            self._colouring = replace(self._colouring, values=marks.per_atom(values, n_atoms, (), "values"))
        if vectors is not None:
            if self._vectors is None:
                raise ValueError(
                    "vectors have no scale yet; call arrows(vectors, label=..., unit=...) once before"
                )
            self._vectors = replace(self._vectors, values=marks.per_atom(vectors, n_atoms, (3,), "vectors"))
        if cell is not None:
            self._cell = np.asarray(cell, float)
        self._moved()

    def show_frame(self, index: int) -> None:
        """Show frame number `index` of those given."""
        if not 0 <= index < len(self.frames):
            raise ValueError(f"there is no frame {index}; expected 0..{len(self.frames) - 1}")
        self.frame = index
        for name in ("_colouring", "_vectors", "_tensors"):
            mark = getattr(self, name)
            if mark is not None:
                setattr(self, name, marks.in_frame(mark, index))
        self.update(self.frames[index].positions, cell=self.frames[index].cell)

    # what comes of it ---------------------------------------------------------------------------------

    def scene(self) -> Scene:
        """The present state as plain arrays."""
        positions = self._positions
        colouring, vectors, tensors, links = self._colouring, self._vectors, self._tensors, self._links
        by_element = element_colours(self.numbers)
        colours = by_element if colouring is None else colouring.scale.colours(colouring.values)
        # Smaller balls where arrows or ellipsoids must show.
        radii = self._radii * (0.6 if tensors is not None else 0.75 if vectors is not None else 1.0)
        drawn = Scene(positions, colours, radii, labels=self._labels(colouring))
        drawn = scene.with_copies(drawn, *self._copies_drawn())
        sticks: dict[str, Sticks] = {}
        if self._bonds:
            numbers = np.concatenate([self.numbers, self.numbers[drawn.copies]])
            sticks |= scene.bonds(numbers, drawn.positions, drawn.colours, drawn.n_atoms)
        edges = scene.cell_edges(self._cell)
        if edges is not None:
            sticks["cell"] = edges
        if links is not None:
            sticks["links"] = self._joined(links)
        drawn = replace(
            drawn,
            sticks=sticks,
            halos=scene.halos(positions, radii if tensors is None else self._radii, self.selected),
        )
        if vectors is not None:
            drawn = replace(drawn, arrows=scene.arrows(positions, vectors.values, vectors.scale))
        if tensors is not None:
            shapes = scene.ellipsoids(positions, tensors.values, tensors.size, tensors.colours())
            drawn = replace(drawn, ellipsoids=shapes)
        return drawn

    def _joined(self, links: marks.Links) -> Sticks:
        first, second = links.pairs.T
        ends = self._positions[second] + self._link_shifts(links) @ periodic.completed(self._cell)
        colours = np.tile(np.asarray(links.colour, float), (len(first), 1))
        return Sticks(self._positions[first], ends, colours, colours, links.radii)

    def _link_shifts(self, links: marks.Links) -> np.ndarray:
        """(n_links, 3) whole cells from the second atoms to their images nearest to the first ones."""
        spans = self._positions[links.pairs[:, 1]] - self._positions[links.pairs[:, 0]]
        return periodic.nearest_shifts(spans, self._cell, self._pbc)

    def _copies_drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms of which images are drawn (n,), and where these stand (n, 3)."""
        if not self._pbc.any():
            return np.empty(0, int), np.empty((0, 3))
        atoms, shifts = periodic.distinct(*map(np.concatenate, zip(*self._images(), strict=True)))
        return atoms, self._positions[atoms] + shifts @ periodic.completed(self._cell)

    def _images(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Atoms and the cells they are moved by: of the images that were asked for, and of those that links end at."""
        found = [periodic.NONE]
        if self._beyond.any():
            found.append(periodic.images(self._positions, self._cell, self._pbc, self._beyond))
        if self._links is not None:
            found.append((self._links.pairs[:, 1], self._link_shifts(self._links)))
        return found

    def _labels(self, colouring: marks.Colouring | None) -> tuple[str, ...]:
        if colouring is None:
            return self.names
        label, unit = colouring.label, colouring.unit
        pairs = zip(self.names, colouring.values, strict=True)
        return tuple(f"{name}: {label} {value:.3g} {unit}".rstrip() for name, value in pairs)

    def _marks(self) -> list[Any]:
        return [m for m in (self._colouring, self._vectors, self._tensors, self._links) if m is not None]

    def key(self) -> str:
        """The legend as HTML: colour bar, arrow, ellipsoids, links."""
        return "".join(mark.key() for mark in self._marks())

    def describe(self) -> str:
        """The present state in words."""
        counts = Counter(name.split()[0] for name in self.names)
        formula = " ".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())
        words = [f"{len(self.numbers)} atoms ({formula})"]
        if len(self.frames) > 1:
            words.append(f"{len(self.frames)} frames")
        if self._cell.any():
            lengths = np.linalg.norm(self._cell, axis=1)
            words.append("in a cell of " + " × ".join(f"{x:.2f}" for x in lengths) + " Å")
        if self._beyond.any():
            words.append("periodic images around it, pale")
        words += [mark.words() for mark in self._marks()]
        if self.selected:
            words.append(measured(self.selected, self.names, self._positions, self._cell, self._pbc))
        return "; ".join(words) + "."


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


def _forces(frame: Any, index: int) -> np.ndarray:
    """The forces that a frame carries; none are computed."""
    forces = getattr(frame.calc, "results", {}).get("forces")
    if forces is None:
        raise ValueError(f"frame {index} carries no forces; give them: colour_by_force(forces)")
    return np.asarray(forces, float)
