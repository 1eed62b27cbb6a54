"""A structure in 3D: atoms, bonds, cell, frames, and whatever numbers, vectors or tensors its atoms carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import ipywidgets
import numpy as np

from widgets import ngl_stage, scene, still
from widgets.live_plot import caption, in_words
from widgets.marked_atoms import MarkedAtoms
from widgets.panel import Panel, Pump

_SMALL = ipywidgets.Layout(width="38px")
_SPREAD = ipywidgets.Layout(
    justify_content="space-between", align_items="flex-end", flex_flow="row wrap", grid_gap="0 16px"
)
_AROUND = [("nothing", 0.0), ("half a cell", 0.5), ("one cell", 1.0)]


class StructureView(MarkedAtoms, Panel):
    """Atoms in 3D, live in nglview, or as a still picture where that cannot be.

    atoms      an ase.Atoms, or a list of them with the same atoms in the same order: frames with a player
    on_pick    called with the number of the atom that was clicked
    bonds      draw bonds between atoms closer than the sum of their covalent radii and 0.3 Å
    rate       how often at most the picture follows `update()` [1/s]

    A click selects an atom; with Shift or Ctrl, further ones. With the keyboard in the picture: arrow keys turn it,
    + and - zoom, Home shows all of it, n and p select the next and the previous atom, Escape selects none.

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
        Panel.__init__(self)
        MarkedAtoms.__init__(self, atoms, bonds)
        self._on_pick = on_pick
        self._listeners: list[Callable[[tuple[int, ...]], None]] = []
        self._copies = np.empty(0, int)  # of which atoms the images are that were drawn last
        self._pump = Pump(self._draw, self.log, rate)
        self._on_close(self._pump.close)
        self._build(height)

    def _build(self, height: str) -> None:
        self._legend = ipywidgets.HTML()
        self._words = caption()
        reason = ngl_stage.why_not()
        self.stage: ngl_stage.NGLStage | None = None
        if reason is None:
            self.stage = ngl_stage.NGLStage(self.scene, self._picked, self._step, height)
            body: ipywidgets.Widget = self.stage.widget
        else:
            self._instead = body = ipywidgets.Image(
                value=self.picture(), layout=ipywidgets.Layout(max_width="640px")
            )
            self.log.write(f"Showing a still picture, because {reason}")
        self._show(body, ipywidgets.HBox([self._legend, self._controls()], layout=_SPREAD), self._words)
        self._write_words()

    def _controls(self) -> ipywidgets.HBox:
        controls: list[ipywidgets.Widget] = []
        if len(self.frames) > 1:
            controls += self._player()
        if self._pbc.any():
            controls.append(self._images_control())
        if self.stage is not None:
            centre = ipywidgets.Button(icon="crosshairs", tooltip="See all of it", layout=_SMALL)
            centre.on_click(self.log.guard(lambda _: self.stage.fit()))  # type: ignore[union-attr]
            save = ipywidgets.Button(icon="camera", tooltip="Save the picture as PNG", layout=_SMALL)
            save.on_click(self.log.guard(lambda _: self.stage.download("structure.png")))  # type: ignore[union-attr]
            controls += [centre, save]
        return ipywidgets.HBox(controls, layout=ipywidgets.Layout(flex_flow="row wrap"))

    def _player(self) -> list[ipywidgets.Widget]:
        last = len(self.frames) - 1
        play = ipywidgets.Play(max=last, interval=100)
        self._slider = ipywidgets.IntSlider(
            max=last, description="frame", layout=ipywidgets.Layout(width="260px")
        )
        ipywidgets.jslink((play, "value"), (self._slider, "value"))
        self._slider.observe(self.log.guard(lambda change: self.show_frame(change["new"])), "value")
        return [play, self._slider]

    def _images_control(self) -> ipywidgets.Dropdown:
        self._around = ipywidgets.Dropdown(options=_AROUND, description="images", value=0.0)
        self._around.tooltip = "How much of the periodic surroundings is shown, pale"
        self._around.layout.width, self._around.style.description_width = "170px", "54px"
        self._around.observe(self.log.guard(lambda change: self.images(change["new"])), "value")
        return self._around

    def images(self, a: float, b: float | None = None, c: float | None = None) -> Self:
        before = self._beyond
        super().images(a, b, c)
        if len(set(self._beyond)) == 1 and a in dict(_AROUND).values():
            self._around.value = float(a)
        if self.stage is not None and not np.array_equal(before, self._beyond):
            self.stage.fit_with_next_drawing()
        return self

    def show_frame(self, index: int) -> None:
        super().show_frame(index)
        if len(self.frames) > 1:
            self._slider.value = index

    # selection ----------------------------------------------------------------------------------------

    def select(self, atoms: Any) -> Self:
        """Select these atoms: a halo is drawn around each, and the listeners are told. None or () selects none.

        Raises ValueError when there is no such atom.
        """
        chosen = () if atoms is None else tuple(int(atom) for atom in np.atleast_1d(atoms))
        chosen = tuple(dict.fromkeys(chosen))
        for atom in chosen:
            if not 0 <= atom < len(self.numbers):
                raise ValueError(f"there is no atom {atom}; expected 0..{len(self.numbers) - 1}")
        if chosen != self.selected:
            self.selected = chosen
            self._changed()
            for listener in list(self._listeners):
                listener(chosen)
        return self

    def on_selection(self, callback: Callable[[tuple[int, ...]], None]) -> Callable[[], None]:
        """Have `callback` called with the selected atoms whenever these are others; returns what ends that."""
        told = self.log.guard(callback)
        self._listeners.append(told)
        return lambda: self._listeners.remove(told) if told in self._listeners else None

    def _picked(self, ball: int, more: bool = False) -> None:
        """A click on a ball; on the image of an atom it means that atom."""
        atoms = np.concatenate([np.arange(len(self.numbers)), self._copies])
        if ball >= len(atoms):
            return  # an image that is gone by now
        atom = int(atoms[ball])
        others = tuple(other for other in self.selected if other != atom) if more else ()
        was_selected = atom in self.selected and (more or len(self.selected) == 1)
        self.select(others if was_selected else (*others, atom))
        if self._on_pick is not None:
            self.log.guard(self._on_pick)(atom)

    def _step(self, by: int) -> None:
        """Select the atom that many numbers on; 0 selects none."""
        if by == 0:
            self.select(())
            return
        n_atoms = len(self.numbers)
        start = self.selected[-1] if self.selected else -1 if by > 0 else n_atoms
        self.select(())
        self._picked((start + by) % n_atoms)

    # drawing ------------------------------------------------------------------------------------------

    def scene(self) -> scene.Scene:
        drawn = super().scene()
        self._copies = drawn.copies
        return drawn

    def _changed(self) -> Self:
        self._write_words()
        self._pump.wake()
        return self

    def _moved(self) -> None:
        self._pump.wake()

    def _draw(self) -> bool:
        if len(self.selected) in (1, 2, 3):  # whose distances change
            self._write_words()
        if self.stage is not None:
            return self.stage.draw()
        self._instead.value = self.picture()
        return False

    def _write_words(self) -> None:
        self._legend.value = self.key()
        self._words.value = in_words(self.describe())

    def picture(self) -> bytes:
        colouring = self._colouring
        bar = None if colouring is None else (colouring.scale, colouring.name)
        others = [mark.words() for mark in self._marks() if mark is not colouring]
        return still.structure(self.scene(), bar, "; ".join(others))
