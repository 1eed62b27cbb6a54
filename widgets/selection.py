"""Selected atoms: the same ones in several views, and what can be measured between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from widgets.periodic import completed, nearest_shifts


def link(*views: Any) -> Callable[[], None]:
    """Let these views select the same atoms from now on; returns what ends it.

    views   of the same atoms: StructureViews, and panels that have one, such as ChargeExplorer and AttentionExplorer

    An atom that a view does not have is left out there. Raises TypeError when something can select no atoms.

    >>> link(view, charges, attention)                                        # doctest: +SKIP
    """
    structures = [_structure_of(view) for view in views]
    telling = threading.Lock()  # what the others select because they are told is not told back

    def tell_others(source: Any) -> Callable[[tuple[int, ...]], None]:
        def tell(atoms: tuple[int, ...]) -> None:
            if not telling.acquire(blocking=False):
                return
            try:
                for other in structures:
                    if other is not source:
                        other.select([atom for atom in atoms if atom < len(other.numbers)])
            finally:
                telling.release()

        return tell

    endings = [structure.on_selection(tell_others(structure)) for structure in structures]

    def end() -> None:
        for ending in endings:
            ending()

    return end


def _structure_of(view: Any) -> Any:
    for candidate in (view, getattr(view, "view", None)):
        if hasattr(candidate, "on_selection"):
            return candidate
    raise TypeError(
        f"a {type(view).__name__} selects no atoms; expected a StructureView, or a panel with one as its `view`"
    )


def measured(
    atoms: Sequence[int], names: Sequence[str], positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> str:
    """What is selected, in words: one atom and its place, the distance of two, the angle of three, or how many.

    Distances and angles are those of the nearest images.
    """
    chosen = [names[atom] for atom in atoms]
    if not chosen:
        return ""
    words = "selected: " + ("–".join(chosen) if len(chosen) <= 3 else f"{len(chosen)} atoms")
    if len(chosen) == 1:
        x, y, z = positions[atoms[0]]
        return f"{words} at ({x:.2f}, {y:.2f}, {z:.2f}) Å"
    if len(chosen) > 3:
        return words
    spans = np.diff(positions[list(atoms)], axis=0)
    if pbc.any():
        spans = spans + nearest_shifts(spans, cell, pbc) @ completed(cell)
    lengths = np.linalg.norm(spans, axis=1)
    words += ", " + " and ".join(f"{length:.3f} Å" for length in lengths)
    if len(chosen) == 3 and lengths.all():
        cosine = -(spans[0] @ spans[1]) / lengths.prod()
        words += f", angle {np.degrees(np.arccos(np.clip(cosine, -1, 1))):.1f}°"
    return words
