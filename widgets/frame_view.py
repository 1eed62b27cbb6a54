"""A structure view that shows one structure after another, of any make."""

from __future__ import annotations

import threading
from typing import Any, Self

import numpy as np

from widgets import scene
from widgets.marked_atoms import MarkedAtoms
from widgets.structure_view import StructureView


class FrameView(StructureView):
    """A StructureView whose structure may be replaced by one of other atoms.

    One view serves a whole set: a browser keeps sixteen 3D pictures alive at most.
    """

    def __init__(self, atoms: Any, **options: Any) -> None:
        self._whole = threading.Lock()  # no scene is drawn while half of it is of the structure before
        super().__init__(atoms, **options)

    def see(self, atoms: Any) -> Self:
        """Show these atoms. What was drawn on the others, and their selection, stays if the elements are the same."""
        if np.array_equal(atoms.numbers, self.numbers) and np.array_equal(atoms.pbc, self._pbc):
            self.frames = [atoms]
            self.update(atoms.positions, cell=atoms.cell)
            return self
        beyond = np.where(atoms.pbc, self._beyond, 0.0)
        with self._whole:
            MarkedAtoms.__init__(self, [atoms], self._bonds)
            self._beyond = beyond
        if self.stage is not None:
            self.stage.fit_with_next_drawing()
        return self._changed()

    def scene(self) -> scene.Scene:
        with self._whole:
            return super().scene()
