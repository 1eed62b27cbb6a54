"""A structure in which one atom is chosen, and those it is tied to light up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from widgets import scene
from widgets.palette import element_colours
from widgets.structure_view import StructureView

#: The chosen atom and its links, in every view: vermilion and blue of Okabe and Ito.
CHOSEN = (0.84, 0.37, 0.0)
POSITIVE_LINK, NEGATIVE_LINK = (0.0, 0.45, 0.70), (0.80, 0.47, 0.65)
_WIDEST = 0.16  # Å


@dataclass(frozen=True)
class _Choice:
    """
    atom      the chosen one
    lit       (n_atoms,) bool
    linked    (n_links,) atoms, a link to each
    spans     (n_links, 3) from the chosen atom to the nearest image of each [Å]
    widths    (n_links,) signed, the largest of size 1
    """

    atom: int
    lit: np.ndarray
    linked: np.ndarray
    spans: np.ndarray
    widths: np.ndarray


class PartnerView(StructureView):
    """A StructureView with one chosen atom: its partners in colour, joined to it, the others small and pale.

    A link goes to the nearest periodic image; where that stands outside the cell, a copy of the atom is drawn there.
    """

    _choice: _Choice | None = None

    def choose(
        self, atom: int, weights: Any, spans: Any, lit: Any, linked: Any, *, label: str = "weight"
    ) -> PartnerView:
        """Choose an atom and show what ties it to the others.

        weights   (n_atoms,) NaN where there is none; the colour of the atoms that are lit
        spans     (n_atoms, 3) from the chosen atom to the nearest image of every atom [Å]
        lit       (n_atoms,) bool
        linked    (n_links,) atoms to be joined to the chosen one, wide as their weight is large
        """
        weights, lit, linked = np.asarray(weights, float), np.asarray(lit, bool), np.asarray(linked, int)
        widths = weights[linked]
        widths = widths / (np.abs(widths).max(initial=0.0) or 1.0)
        self._choice = _Choice(atom, lit, linked, np.asarray(spans, float)[linked], widths)
        shown = np.where(lit, weights, np.nan)
        if not np.isfinite(shown).any():
            return self.colour(None)  # type: ignore[return-value]
        signed = bool(np.nanmin(shown) < 0)
        largest = float(np.nanmax(np.abs(shown))) or 1.0
        limits = (-largest if signed else 0.0, largest)
        return self.colour(shown, label=label, diverging=signed, limits=limits)  # type: ignore[return-value]

    def scene(self) -> scene.Scene:
        drawn, choice = super().scene(), self._choice
        if choice is None:
            return drawn
        colours, radii = drawn.colours.copy(), drawn.radii.copy()
        colours[~choice.lit] = 0.60 + 0.18 * element_colours(self.numbers)[~choice.lit]
        radii[~choice.lit] *= 0.6
        colours[choice.atom], radii[choice.atom] = CHOSEN, 1.2 * drawn.radii[choice.atom]
        start = np.repeat(drawn.positions[[choice.atom]], len(choice.linked), axis=0)
        end = start + choice.spans
        links = np.where(choice.widths[:, None] >= 0, POSITIVE_LINK, NEGATIVE_LINK)
        widths = _WIDEST * np.maximum(np.abs(choice.widths), 0.06)
        sticks = {**drawn.sticks, "links": scene.Sticks(start, end, links, links, widths)}
        if "bonds" in sticks:
            grey = np.full_like(sticks["bonds"].start, 0.6)
            thin = 0.5 * sticks["bonds"].radii
            sticks["bonds"] = replace(sticks["bonds"], start_colours=grey, end_colours=grey, radii=thin)
        away = _outside(choice, drawn.positions)
        copies = choice.linked[away]
        return replace(
            drawn,
            positions=np.concatenate([drawn.positions, end[away]]),
            colours=np.concatenate([colours, colours[copies]]),
            radii=np.concatenate([radii, 0.7 * radii[copies]]),
            sticks=sticks,
            labels=(*drawn.labels, *(f"{drawn.labels[atom]} (periodic image)" for atom in copies)),
        )

    def _picked(self, index: int) -> None:
        """A click on the copy of an atom means that atom."""
        atoms = np.arange(len(self.numbers))
        if self._choice is not None:
            copies = self._choice.linked[_outside(self._choice, self._positions)]
            atoms = np.concatenate([atoms, copies])
        if index < len(atoms):  # else a copy that is gone by now
            super()._picked(int(atoms[index]))


def _outside(choice: _Choice, positions: np.ndarray) -> np.ndarray:
    """Which links end at an image, not at the atom itself."""
    ends = positions[choice.atom] + choice.spans
    return np.linalg.norm(ends - positions[choice.linked], axis=1) > 0.01
