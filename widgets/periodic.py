"""Periodic images: which of them stand near the cell, and which is nearest. Plain arrays only."""

from __future__ import annotations

from typing import Any

import numpy as np

#: So many images are drawn at most.
MOST = 20_000

NONE = (np.empty(0, int), np.empty((0, 3), int))


def images(positions: np.ndarray, cell: Any, pbc: Any, beyond: Any) -> tuple[np.ndarray, np.ndarray]:
    """The periodic images up to `beyond` cells outside of the cell, its faces included.

    positions   (n_atoms, 3) [Å]
    cell, pbc   rows are vectors [Å]; (3,) bool. Nothing is repeated along a direction that is not periodic
    beyond      (3,) numbers >= 0 of cells on either side, 0.5 for half a cell
    returns     (n,) the atom that each is an image of, and (n, 3) whole cells that it is moved by

    Raises ValueError when there are more than MOST.
    """
    cell, pbc, beyond = np.asarray(cell, float), np.asarray(pbc, bool), np.asarray(beyond, float)
    whole = completed(cell)
    inside = positions @ np.linalg.inv(whole)
    # An atom may have wandered out of the cell, so it is counted from where its own image in the cell is.
    reach = np.where(pbc, np.ceil(beyond) + 1, 0).astype(int)
    shifts = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    home = np.where(pbc, np.floor(inside + 1e-6), 0).astype(int)
    if len(shifts) * len(positions) > 50 * MOST:
        raise ValueError(_too_many(len(shifts) * len(positions)))
    moved = shifts[None] - home[:, None]
    places = inside[:, None] + moved
    near = ((places > -beyond - 1e-6) & (places < 1 + beyond + 1e-6) | ~pbc).all(axis=2)
    near &= moved.any(axis=2)
    if near.sum() > MOST:
        raise ValueError(_too_many(int(near.sum())))
    atoms, which = np.nonzero(near)
    return atoms, moved[atoms, which]


def _too_many(count: int) -> str:
    return f"that would be {count:,} periodic images; expected at most {MOST:,}. Ask for fewer cells"


def distinct(atoms: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every image once, and no atom as its own."""
    rows = np.column_stack([atoms, shifts])
    rows = np.unique(rows[shifts.any(axis=1)], axis=0)
    return rows[:, 0], rows[:, 1:]


def nearest_shifts(spans: np.ndarray, cell: Any, pbc: Any) -> np.ndarray:
    """(n, 3) whole cells to add to the ends of spans (n, 3) [Å] so that each leads to the nearest image."""
    from ase.geometry import find_mic

    if len(spans) == 0 or not np.any(pbc):
        return np.zeros((len(spans), 3), int)
    whole = completed(cell)
    nearest, lengths = find_mic(spans, whole, pbc)
    shifts = np.rint((nearest - spans) @ np.linalg.inv(whole)).astype(int)
    # Of two that are as near, the atom itself.
    return np.where((lengths < np.linalg.norm(spans, axis=1) - 1e-6)[:, None], shifts, 0)


def completed(cell: Any) -> np.ndarray:
    """(3, 3) the cell with a unit vector across wherever a cell vector is missing, as of a slab."""
    from ase.geometry import complete_cell

    return np.asarray(complete_cell(np.asarray(cell, float)), float)
