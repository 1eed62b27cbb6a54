"""How far atoms are from each other while they move: a radial distribution, or the longest bond of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.figure import live_figure
from widgets.live_plot import caption, in_words, styled, thinned
from widgets.palette import LINES
from widgets.panel import Panel, Pump

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SLACK = 0.3  # Å over the sum of covalent radii, as bonds are drawn
_RDF, _BONDS = "radial distribution", "longest bonds"
_EVERY = "all pairs"


class Bonds:
    """The bonds of a structure, each once, by kind: {"C–H": (first, second, shifts)}, at most as many as colours."""

    def __init__(self, atoms: Any) -> None:
        from ase.data import covalent_radii
        from ase.neighborlist import neighbor_list

        i, j, shifts = neighbor_list("ijS", atoms, list(covalent_radii[atoms.numbers] + _SLACK / 2))
        once = (i < j) | ((i == j) & (shifts.dot([4, 2, 1]) > 0))
        i, j, shifts = i[once], j[once], shifts[once]
        symbols = np.array(atoms.get_chemical_symbols())
        kinds = np.array(["–".join(sorted(pair)) for pair in zip(symbols[i], symbols[j], strict=True)])
        names, counts = np.unique(kinds, return_counts=True)
        chosen = sorted(names[np.argsort(-counts)][: len(LINES)].tolist())
        self.kinds = {name: (i[kinds == name], j[kinds == name], shifts[kinds == name]) for name in chosen}

    def longest(self, positions: np.ndarray, cell: np.ndarray) -> list[float]:
        """Of every kind [Å]."""
        found = []
        for i, j, shifts in self.kinds.values():
            vectors = positions[j] - positions[i] + shifts @ cell
            found.append(float(np.sqrt(np.einsum("pa,pa->p", vectors, vectors).max())))
        return found


class PairDistances(Panel):
    """Shows what `add(atoms)` hands over while a run goes on.

    atoms   ase.Atoms at the start
    rdf     rdf(atoms, pair) gives r (n,) [Å] and g (n,) of one frame, of a pair such as ("O", "H") or None for all;
            periodic structures then show the mean over the frames. Without it, and for molecules, the longest bond of
            every kind is shown along the run
    rate    how often at most it is drawn [1/s]
    """

    POINTS = 1000

    def __init__(
        self,
        atoms: Any,
        rdf: Callable[[Any, tuple[str, str] | None], tuple[Any, Any]] | None = None,
        *,
        height: int = 230,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self._rdf = rdf
        self._lock = threading.RLock()  # frames come while the pump draws
        self._figure = styled(live_figure(), "", "", "", height)
        self._words = caption()
        self._what = ipywidgets.Dropdown(options=[_BONDS], description="distances")
        self._pair = ipywidgets.Dropdown(options=[(_EVERY, None)], description="of")
        for choice, name_width, width in ((self._what, "62px", "225px"), (self._pair, "18px", "135px")):
            choice.style.description_width, choice.layout.width = name_width, width
            choice.observe(self.log.guard(lambda _: self._chosen()), "value")
        self._pump = Pump(self._draw_and_rest, self.log, rate)
        self._on_close(self._pump.close)
        row = ipywidgets.HBox([self._what, self._pair], layout=ipywidgets.Layout(flex_flow="row wrap"))
        self._show(row, self._figure, self._words)
        self.begin(atoms)

    def begin(self, atoms: Any) -> None:
        """Forget what was seen, and expect frames of this structure."""
        with self._lock:
            self._atoms, self._bonds, self._before = atoms, Bonds(atoms), False
            self._times: list[float] = []
            self._longest: list[list[float]] = []
            self._forget_distribution()
            self._offer(atoms)
        self.add(atoms)
        self._before = True

    def _offer(self, atoms: Any) -> None:
        whole = self._rdf is not None and bool(atoms.pbc.all())
        symbols = sorted(set(atoms.get_chemical_symbols()))
        pairs = [(f"{a}–{b}", (a, b)) for n, a in enumerate(symbols) for b in symbols[n:]]
        offers = (
            (self._what, [_RDF, _BONDS] if whole else [_BONDS]),
            (self._pair, [(_EVERY, None), *(pairs if len(symbols) > 1 else [])]),
        )
        for choice, options in offers:
            if (
                list(choice.options) != options
            ):  # given the same ones again, a browser shows none of them as chosen
                choice.options = options
        self._pair.layout.display = "" if self._what.value == _RDF else "none"

    def _chosen(self) -> None:
        with self._lock:
            self._forget_distribution()
        self._pair.layout.display = "" if self._what.value == _RDF else "none"
        self._pump.wake()

    def _forget_distribution(self) -> None:
        self._r, self._sum, self._n_frames = np.empty(0), np.empty(0), 0
        self._taken: Any = None  # the frame that was counted last

    def add(self, atoms: Any) -> None:
        """Take a frame: with `info["time_fs"]`, or it is counted. Costs microseconds; from any thread."""
        with self._lock:
            self._atoms = atoms
            if self._before:  # what is shown before a run is no part of its mean
                self._before = False
                self._forget_distribution()
            if self._bonds.kinds:
                self._times.append(atoms.info.get("time_fs", 1000.0 * len(self._times)) / 1000)
                self._longest.append(self._bonds.longest(atoms.positions, np.asarray(atoms.cell)))
        self._pump.wake()

    def flush(self) -> None:
        """Draw what there is, now."""
        self._draw()

    def curves(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(name, x, y) of what is shown."""
        with self._lock:
            if self._what.value == _RDF:
                name = dict((value, shown) for shown, value in self._pair.options)[self._pair.value]
                return [(name, self._r, self._sum / max(self._n_frames, 1))]
            x, rows = np.array(self._times), np.array(self._longest).reshape(len(self._times), -1)
            kept = {
                name: thinned(rows[:, n], self.POINTS) for n, name in enumerate(self._bonds.kinds) if len(x)
            }
            return [(name, x[k], rows[k, n]) for n, (name, k) in enumerate(kept.items())]

    def _take_distribution(self) -> None:
        with self._lock:
            atoms, pair = self._atoms, self._pair.value
        assert self._rdf is not None
        r, g = self._rdf(atoms, pair)
        with self._lock:
            self._taken = atoms
            if pair == self._pair.value:
                self._r, self._sum = r, self._sum + g if len(self._sum) else np.asarray(g, float)
                self._n_frames += 1

    def _draw_and_rest(self) -> None:
        began = time.monotonic()
        self._draw()
        # Looking must not cost the run more than a twentieth of its time.
        time.sleep(0.0 if self.closed else min(20 * (time.monotonic() - began), 2.0))

    def _draw(self) -> None:
        if self._what.value == _RDF and self._taken is not self._atoms:
            self._take_distribution()
        drawn = self.curves()
        with self._lock, self._figure.batch_update():
            while len(self._figure.data) < len(drawn):
                n = len(self._figure.data)
                line = {"color": LINES[n % len(LINES)], "width": 2, "dash": _DASHES[n % len(_DASHES)]}
                self._figure.add_scatter(mode="lines", line=line)
            for n, trace in enumerate(self._figure.data):
                trace.name, trace.x, trace.y = drawn[n] if n < len(drawn) else ("", np.empty(0), np.empty(0))
                trace.showlegend = n < len(drawn)
            x_label, y_label = self._axes()
            self._figure.update_layout(
                xaxis_title_text=x_label, yaxis_title_text=y_label, showlegend=self._what.value == _BONDS
            )
        self._words.value = in_words(self.describe())

    def _axes(self) -> tuple[str, str]:
        return ("r [Å]", "g(r)") if self._what.value == _RDF else ("time [ps]", "longest bond [Å]")

    def picture(self) -> bytes:
        return still.curves(self.curves(), *self._axes())

    def describe(self) -> str:
        drawn = self.curves()
        if self._what.value == _RDF:
            if not self._n_frames:
                return "Radial distribution: no frame yet."
            name, r, g = drawn[0]
            peak = int(np.argmax(g))
            return (
                f"Radial distribution of {name}: mean of {self._n_frames} frames; highest {g[peak]:.3g} at "
                f"{r[peak]:.2f} Å."
            )
        if not drawn:
            return "No atoms are bonded."
        words = [f"{name} {y[-1]:.2f} Å (up to {y.max():.2f})" for name, _, y in drawn]
        return f"Longest bonds: {', '.join(words)}."
