"""A structure in which one atom is chosen, and those it is tied to light up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from widgets import periodic, scene
from widgets.palette import element_colours
from widgets.structure_view import StructureView

CHOSEN = scene.CHOSEN
#: Links in every view: blue and purple of Okabe and Ito (2008).
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
    ) -> Self:
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
        super().select(atom)
        shown = np.where(lit, weights, np.nan)
        if not np.isfinite(shown).any():
            return self.colour(None)
        signed = bool(np.nanmin(shown) < 0)
        largest = float(np.nanmax(np.abs(shown))) or 1.0
        limits = (-largest if signed else 0.0, largest)
        return self.colour(shown, label=label, diverging=signed, limits=limits)

    def scene(self) -> scene.Scene:
        drawn, choice = super().scene(), self._choice
        if choice is None:
            return drawn
        atoms = np.concatenate([np.arange(drawn.n_atoms), drawn.copies])
        lit = choice.lit[atoms]
        colours, radii = drawn.colours.copy(), drawn.radii.copy()
        colours[~lit] = 0.60 + 0.18 * element_colours(self.numbers)[atoms[~lit]]
        radii[~lit] *= 0.6
        colours[choice.atom], radii[choice.atom] = CHOSEN, 1.2 * drawn.radii[choice.atom]
        start = np.repeat(drawn.positions[[choice.atom]], len(choice.linked), axis=0)
        links = np.where(choice.widths[:, None] >= 0, POSITIVE_LINK, NEGATIVE_LINK)
        widths = _WIDEST * np.maximum(np.abs(choice.widths), 0.06)
        sticks = {**drawn.sticks, "links": scene.Sticks(start, start + choice.spans, links, links, widths)}
        for name in ("bonds", "image bonds"):
            if name in sticks:
                grey, thin = np.full_like(sticks[name].start, 0.6), 0.5 * sticks[name].radii
                sticks[name] = replace(sticks[name], start_colours=grey, end_colours=grey, radii=thin)
        others = [atom for atom in self.selected if atom != choice.atom]
        halos = scene.halos(drawn.positions, self._radii, others)
        return replace(drawn, colours=colours, radii=radii, sticks=sticks, halos=halos)

    def select(self, atoms: Any) -> Self:
        """Select atoms; one alone becomes the chosen one. As one is always chosen, selecting none changes nothing."""
        if atoms is None or np.size(atoms) == 0:
            return self
        super().select(atoms)
        chosen = None if self._choice is None else self._choice.atom
        if len(self.selected) == 1 and self.selected[0] != chosen and self._on_pick is not None:
            self.log.guard(self._on_pick)(self.selected[0])
        return self

    def _images(self) -> list[tuple[np.ndarray, np.ndarray]]:
        choice = self._choice
        if choice is None:
            return super()._images()
        ways = self._positions[choice.atom] + choice.spans - self._positions[choice.linked]
        shifts = np.rint(ways @ np.linalg.inv(periodic.completed(self._cell))).astype(int)
        return [*super()._images(), (choice.linked, shifts)]
