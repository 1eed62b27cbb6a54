"""What there is to draw, as plain arrays: balls, sticks, cell, arrows, ellipsoids, links. No viewer in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

BOND_RADIUS = 0.10
CELL_RADIUS = 0.02
#: A bond is a distance below the sum of the two covalent radii and this [Å].
BOND_SLACK = 0.3
#: Opacity of periodic images, and of halos around what is selected.
PALE, HALO = 0.3, 0.5
#: Vermilion of Okabe and Ito (2008): the selected or chosen atom, in every view.
CHOSEN = (0.84, 0.37, 0.0)


@dataclass(frozen=True)
class Sticks:
    """Cylinders, each coloured in two halves.

    start, end                    (n, 3)   [Å]
    start_colours, end_colours    (n, 3)   0..1
    radii                         (n,)     [Å]
    opacity                       below 1 for what stands in the background
    """

    start: np.ndarray
    end: np.ndarray
    start_colours: np.ndarray
    end_colours: np.ndarray
    radii: np.ndarray
    opacity: float = 1.0


@dataclass(frozen=True)
class Halos:
    """
    centres   (n, 3)   [Å]
    radii     (n,)     [Å]
    """

    centres: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True)
class Arrows:
    """
    start, end   (n, 3)   [Å]
    colours      (n, 3)   0..1
    radii        (n,)     [Å]
    """

    start: np.ndarray
    end: np.ndarray
    colours: np.ndarray
    radii: np.ndarray


@dataclass(frozen=True)
class Ellipsoids:
    """
    centres   (n, 3)      [Å]
    axes      (n, 3, 3)   one semi-axis vector per row, the longest first [Å]
    colours   (n, 3)      0..1
    """

    centres: np.ndarray
    axes: np.ndarray
    colours: np.ndarray


@dataclass(frozen=True)
class Scene:
    """One picture of one structure.

    positions   (n_balls, 3)   [Å]
    colours     (n_balls, 3)   0..1
    radii       (n_balls,)     [Å]
    sticks      name -> Sticks: "bonds", "cell", "links", "image bonds"
    halos       around the selected atoms
    labels      one per ball, shown when the pointer is over it
    copies      (n_copies,)    the last balls are pale periodic images, and of these atoms; those before are the atoms
    """

    positions: np.ndarray
    colours: np.ndarray
    radii: np.ndarray
    sticks: dict[str, Sticks] = field(default_factory=dict)
    arrows: Arrows | None = None
    ellipsoids: Ellipsoids | None = None
    halos: Halos | None = None
    labels: tuple[str, ...] = ()
    copies: np.ndarray = field(default_factory=lambda: np.empty(0, int))

    @property
    def n_atoms(self) -> int:
        return len(self.positions) - len(self.copies)


def ball_radii(numbers: Any) -> np.ndarray:
    """(n_atoms,) radii of the balls in a ball-and-stick picture [Å]."""
    from ase.data import covalent_radii

    return 0.15 + 0.30 * covalent_radii[np.asarray(numbers)]


def bonded_pairs(numbers: Any, positions: Any) -> np.ndarray:
    """(n_bonds, 2) pairs of atoms close enough to be bonded, as they stand: no periodic images."""
    from ase.data import covalent_radii
    from scipy.spatial import cKDTree

    reach = covalent_radii[np.asarray(numbers)] + BOND_SLACK / 2
    if len(reach) < 2 or not np.isfinite(positions).all():
        return np.empty((0, 2), int)
    pairs = cKDTree(positions).query_pairs(2 * reach.max(), output_type="ndarray")
    first, second = pairs.T
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    return pairs[distances < reach[first] + reach[second]]


def bonds(numbers: Any, positions: np.ndarray, colours: np.ndarray, n_atoms: int) -> dict[str, Sticks]:
    """The "bonds" among the first `n_atoms` balls, and the "image bonds" that reach one of those after.

    Each half has the colour of its atom.
    """
    pairs = bonded_pairs(numbers, positions)
    among_atoms = (pairs < n_atoms).all(axis=1)
    found = {"bonds": _joined(pairs[among_atoms], positions, colours)}
    if n_atoms < len(positions):
        found["image bonds"] = _joined(pairs[~among_atoms], positions, colours, PALE)
    return found


def _joined(pairs: np.ndarray, positions: np.ndarray, colours: np.ndarray, opacity: float = 1.0) -> Sticks:
    first, second = pairs.T
    radii = np.full(len(first), BOND_RADIUS)
    return Sticks(positions[first], positions[second], colours[first], colours[second], radii, opacity)


def with_copies(scene: Scene, atoms: np.ndarray, positions: np.ndarray) -> Scene:
    """The scene with further copies of `atoms` (n,) at `positions` (n, 3)."""
    if len(atoms) == 0:
        return scene
    return replace(
        scene,
        positions=np.concatenate([scene.positions, positions]),
        colours=np.concatenate([scene.colours, scene.colours[atoms]]),
        radii=np.concatenate([scene.radii, scene.radii[atoms]]),
        labels=(*scene.labels, *(f"{scene.labels[a]} (periodic image)" for a in atoms if scene.labels)),
        copies=np.concatenate([scene.copies, atoms]),
    )


def halos(positions: np.ndarray, radii: np.ndarray, atoms: Sequence[int]) -> Halos | None:
    """A halo around each of these atoms; None when there are none."""
    chosen = list(atoms)
    return Halos(positions[chosen], radii[chosen] + 0.16) if chosen else None


def cell_edges(cell: Any) -> Sticks | None:
    """The twelve edges of the unit cell (rows are vectors); None when there is no cell."""
    cell = np.asarray(cell, float)
    if not np.any(cell):
        return None
    corners = np.array([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    edges = [(i, j) for i in range(8) for j in range(i) if np.abs(corners[i] - corners[j]).sum() == 1]
    start, end = (corners[list(side)] @ cell for side in zip(*edges, strict=True))
    grey = np.full((12, 3), 0.55)
    return Sticks(start, end, grey, grey, np.full(12, CELL_RADIUS))


def arrows(positions: np.ndarray, vectors: np.ndarray, scale: float, colour: Any = (0.90, 0.62, 0.0)) -> Arrows:
    """One arrow per vector that is long enough to be seen; `scale` is in Å per unit of the vectors.

    The arrow is centred on its atom, as a dipole is, so that head and tail stand out of the ball on both sides.
    """
    spans = scale * vectors
    lengths = np.linalg.norm(spans, axis=1)
    seen = lengths > 0.05
    return Arrows(
        positions[seen] - spans[seen] / 2,
        positions[seen] + spans[seen] / 2,
        np.tile(colour, (int(seen.sum()), 1)),
        np.clip(0.06 * lengths[seen], 0.06, 0.12),
    )


def ellipsoids(positions: np.ndarray, tensors: np.ndarray, size: float, colours: np.ndarray) -> Ellipsoids:
    """One ellipsoid per symmetric traceless tensor (n_atoms, 3, 3).

    Its volume grows with the norm of the tensor, the largest reaching `size` Å; it is long where the tensor is
    positive and flat where it is negative.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(tensors)
    strength = np.abs(eigenvalues).max(axis=1)
    largest = strength.max() or 1.0
    shape = 1 + 0.6 * eigenvalues / np.where(strength > 0, strength, 1.0)[:, None]
    lengths = size * np.cbrt(strength / largest)[:, None] * shape / 1.6
    axes = (eigenvectors * lengths[:, None, :]).transpose(0, 2, 1)[:, ::-1]
    seen = strength > 0.02 * largest
    return Ellipsoids(positions[seen], axes[seen], colours[seen])
