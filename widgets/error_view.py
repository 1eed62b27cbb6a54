"""Where a model errs: its predictions against the labels, and behind every point the structure."""

from __future__ import annotations

import html
import threading
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.live_plot import in_words
from widgets.panel import Panel
from widgets.parity_plot import ParityPlot
from widgets.structure_view import StructureView

_ALL, _CHOSEN = "all", "chosen"
_WORDS = "font-size:13px; line-height:1.4; color:var(--jp-ui-font-color1, inherit)"
_EARLY = "Predictions stand here beside their labels after the first validation."


class _Parity(ParityPlot):
    """A ParityPlot whose title has two lines, and whose legend stands where no point does."""

    def _empty_figure(self, height: int) -> Any:
        figure = super()._empty_figure(height)
        legend = {"orientation": "v", "x": 1.0, "xanchor": "right", "y": 0.0, "yanchor": "bottom"}
        figure.update_layout(legend={**legend, "bgcolor": "rgba(0,0,0,0)"}, margin={"t": 48, "l": 60, "r": 10})
        return figure


class ErrorView(Panel):
    """Parity plots of energies and forces; a click on a point shows its structure, coloured by the error of its forces.

    height   of a parity plot [pixels]

    `show(comparison)` draws; at first the structure with the largest error of a force is chosen.
    """

    def __init__(self, height: int = 260) -> None:
        super().__init__()
        nothing: dict[str, list[float]] = {_ALL: [], _CHOSEN: []}
        self.energies = _Parity(
            nothing, nothing, label="energy per atom", unit="eV", on_click=self._energy_clicked, height=height
        )
        self.forces = _Parity(
            nothing, nothing, label="force component", unit="eV/Å", on_click=self._force_clicked, height=height
        )
        self.view: StructureView | None = None
        self.chosen: int | None = None
        self._comparison: Any = None
        self._height = height
        self._lock = threading.RLock()  # a run shows what is new while a person clicks
        for plot in (self.energies, self.forces):
            self._on_close(plot.close)
        self._on_close(lambda: None if self.view is None else self.view.close())
        self._lay_out()
        self.clear()

    def _lay_out(self) -> None:
        def button(word: str, tooltip: str, quantity: str) -> ipywidgets.Button:
            made = ipywidgets.Button(description=word, icon="search", tooltip=tooltip)
            made.layout.width = "132px"
            made.on_click(self.log.guard(lambda _: self.choose(self.worst(quantity))))
            return made

        self.worst_energy_button = button(
            "Worst energy", "Show the structure with the largest error of the energy", "energy"
        )
        self.worst_forces_button = button(
            "Worst forces", "Show the structure with the largest error of a force", "forces"
        )
        self._buttons = ipywidgets.HBox([self.worst_energy_button, self.worst_forces_button])
        self._words = ipywidgets.HTML()
        self._note = ipywidgets.HTML()
        self._stage = ipywidgets.VBox(layout=ipywidgets.Layout(width="100%"))
        column = ipywidgets.Layout(flex="1 1 320px", min_width="300px")
        structure = ipywidgets.VBox([self._buttons, self._stage, self._words], layout=column)
        for plot in (self.energies, self.forces):
            plot.widget.layout.width = f"{self._height + 85}px"
        wrap = ipywidgets.Layout(
            flex_flow="row wrap", grid_gap="4px 12px", align_items="flex-start", width="100%"
        )
        self._row = ipywidgets.HBox([self.energies.widget, self.forces.widget, structure], layout=wrap)
        self._show(self._note, self._row)

    def clear(self) -> None:
        """Back to the beginning, for another run."""
        with self._lock:
            self._comparison = self.chosen = None
            self._row.layout.display = "none"
            self._note.value = in_words(_EARLY)

    def show(self, comparison: Any) -> None:
        """Draw predictions beside labels; the chosen structure stays chosen.

        comparison   has `epoch`, `frames` (ase.Atoms), and `energy` and `forces`, each None or with `reference` and
                     `predicted`: (n_frames,) per atom [eV], and (n_atoms of all frames, 3) [eV/Å]
        """
        with self._lock:
            self._comparison = comparison
            self._starts = np.cumsum([0, *(len(frame) for frame in comparison.frames)])
            if self.chosen is None or self.chosen >= len(comparison.frames):
                self.chosen = self.worst("energy" if comparison.forces is None else "forces")
            self.worst_energy_button.disabled = comparison.energy is None
            self.worst_forces_button.disabled = comparison.forces is None
            self._note.value = in_words(
                f"{len(comparison.frames)} validation structures, by the best model so far (epoch "
                f"{comparison.epoch:.4g}) — click a point to see its structure."
            )
            self._row.layout.display = ""  # before a 3D view is in it, which measures its room
            self.choose(self.chosen)

    def choose(self, index: int) -> None:
        """Show this structure. Raises ValueError when there is none of this number."""
        if self._comparison is None:
            raise ValueError("there are no predictions yet; they come with the first validation")
        if not 0 <= index < len(self._comparison.frames):
            raise ValueError(f"there is no structure {index}; expected 0..{len(self._comparison.frames) - 1}")
        with self._lock:
            self.chosen = index
            self._draw_plots()
            self._draw_structure()
            words = html.escape(self._structure_in_words())
            self._words.value = f'<div role="status" style="{_WORDS}">{words}</div>'

    def worst(self, quantity: str) -> int:
        """The structure with the largest error: of its "energy" per atom, or of any of its "forces".

        Raises ValueError where this has not been predicted.
        """
        parity = None if self._comparison is None else getattr(self._comparison, quantity)
        if parity is None:
            raise ValueError(f"there are no predictions of the {quantity} to compare")
        if quantity == "energy":
            return int(np.abs(parity.predicted - parity.reference).argmax())
        atom = int(np.linalg.norm(parity.predicted - parity.reference, axis=1).argmax())
        return self._structure_of(atom)

    def _structure_of(self, atom: int) -> int:
        return int(np.searchsorted(self._starts, atom, side="right") - 1)

    def _energy_clicked(self, index: int, group: str) -> None:
        if group == _ALL:
            self.choose(index)

    def _force_clicked(self, index: int, group: str) -> None:
        if group == _ALL:
            self.choose(self._structure_of(index // 3))

    # drawing ------------------------------------------------------------------------------------------

    def _draw_plots(self) -> None:
        here = slice(self.chosen, self.chosen + 1)  # type: ignore[operator]
        atoms = slice(self._starts[self.chosen], self._starts[self.chosen + 1])  # type: ignore[operator]
        for plot, parity, part in (
            (self.energies, self._comparison.energy, here),
            (self.forces, self._comparison.forces, atoms),
        ):
            plot.widget.layout.display = "none" if parity is None else ""
            if parity is not None:
                sides = (parity.reference, parity.predicted)
                plot.update(*({_ALL: side, _CHOSEN: side[part]} for side in sides))

    def _draw_structure(self) -> None:
        atoms = self._comparison.frames[self.chosen]
        if self.view is None or not np.array_equal(self.view.numbers, atoms.numbers):
            before, self.view = self.view, StructureView(atoms, height=f"{self._height - 20}px")
            self._stage.children = [self.view.widget]
            if before is not None:
                before.close()
                if before.stage is not None:
                    before.stage.close()  # a browser has room for few 3D views
        else:
            self.view.update(atoms.positions, cell=atoms.cell)
        errors = self._force_errors()
        if errors is not None:
            everywhere = self._comparison.forces.predicted - self._comparison.forces.reference
            largest = float(np.linalg.norm(everywhere, axis=1).max())
            scale, unit = _force_unit(largest)
            sizes = scale * np.linalg.norm(errors, axis=1)
            limits = (0.0, scale * largest)  # of all structures, so that colours mean the same in each
            self.view.colour(sizes, label="error of the force", unit=unit, diverging=False, limits=limits)
            self.view.arrows(scale * errors, label="predicted − reference force", unit=unit)

    def _force_errors(self) -> np.ndarray | None:
        """(n_atoms, 3) | predicted minus reference, of the chosen structure [eV/Å]."""
        forces = self._comparison.forces
        if forces is None or self.chosen is None:
            return None
        part = slice(self._starts[self.chosen], self._starts[self.chosen + 1])
        return np.asarray(forces.predicted[part] - forces.reference[part], float)

    # still and in words -------------------------------------------------------------------------------

    def _structure_in_words(self) -> str:
        if self._comparison is None or self.chosen is None:
            return _EARLY
        atoms, energy, errors = (
            self._comparison.frames[self.chosen],
            self._comparison.energy,
            self._force_errors(),
        )
        words = [f"Structure {self.chosen} ({atoms.get_chemical_formula()})"]
        if energy is not None:
            error = 1000 * (energy.predicted[self.chosen] - energy.reference[self.chosen])
            words.append(f"energy {error:+.3g} meV/atom off")
        if errors is not None:
            sizes = np.linalg.norm(errors, axis=1)
            atom = int(sizes.argmax())
            scale, unit = _force_unit(sizes[atom])
            words.append(
                f"largest error of a force {scale * sizes[atom]:.3g} {unit}, on {atoms.symbols[atom]} {atom}"
            )
        return "; ".join(words) + "."

    def picture(self) -> bytes:
        if self._comparison is None or self.view is None:
            drawn = still.figure(5.0, 0.5)
            drawn.text(0.02, 0.5, _EARLY, va="center", fontsize=10)
            return still.png(drawn)
        shown = [(self._comparison.energy, self.energies), (self._comparison.forces, self.forces)]
        plots = [plot.picture() for parity, plot in shown if parity is not None]
        return still.stacked([*plots, self.view.picture()])

    def describe(self) -> str:
        if self._comparison is None:
            return _EARLY
        words = []
        for name, unit in (("energy", "eV"), ("forces", "eV/Å")):
            parity = getattr(self._comparison, name)
            if parity is not None:
                error = float(np.abs(parity.predicted - parity.reference).mean())
                words.append(f"mean absolute error of the {name} {error:.3g} {unit}")
        found = ", ".join(words)
        return f"{len(self._comparison.frames)} validation structures: {found}. {self._structure_in_words()}"


def _force_unit(largest: float) -> tuple[float, str]:
    """In which unit forces up to `largest` [eV/Å] are read well, and what they are multiplied by."""
    return (1.0, "eV/Å") if largest >= 1 else (1000.0, "meV/Å")
