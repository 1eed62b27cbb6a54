"""A data set to look through: every frame on a map, in 3D and in the distributions; what stands out, what is wrong."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np

from widgets import still
from widgets.distributions import Distributions
from widgets.frame_view import FrameView
from widgets.live_plot import caption, in_words
from widgets.palette import LINES
from widgets.panel import Panel, Pump
from widgets.property_map import PART, PropertyMap, columns_of, parts_of

_WRAP = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", width="100%")
_INK = "color:var(--jp-ui-font-color1, inherit)"
_TEXT = f"font-size:13px; line-height:1.4; {_INK}"
_LONGEST_ARROW = 2.4  # Å, of the largest force on all but the most violent frames


class DatasetBrowser(Panel):
    """Frames of a data set: a map of their properties linked to the structure, distributions, outliers, warnings.

    frames          ase.Atoms of any make; forces that their calculators hold are drawn as arrows
    columns         name with its unit -> (n_frames,) numbers, NaN where a frame has none; at least two
    distributions   name with its unit -> (values, frames), both (n,): numbers to make a histogram of, and the frame
                    that each is of; None takes the columns
    parts           (n_frames,) the part of the split that each frame is in
    outliers        (frame, reason), the most remarkable first
    warnings        objects with `severity`, `what`, `frames` and `fix`: what is wrong, or looks wrong
    numbers         (n_frames,) what to call the frames, where some of the file were left out
    title           a sentence about the whole set
    x, y, colour    the columns to begin with; by default the first two, and the part of the split

    Click a point, a bar or a line of a list to see the frame, or move the slider with the arrow keys.

    >>> DatasetBrowser(**desk.dataset("ethanol"))                             # doctest: +SKIP
    """

    def __init__(
        self,
        frames: Sequence[Any],
        columns: Mapping[str, Any],
        *,
        distributions: Mapping[str, tuple[Any, Any]] | None = None,
        parts: Sequence[str] | None = None,
        outliers: Sequence[tuple[int, str]] = (),
        warnings: Sequence[Any] = (),
        numbers: Any = None,
        title: str = "",
        x: str | None = None,
        y: str | None = None,
        colour: str | None = None,
        height: int = 460,
    ) -> None:
        super().__init__()
        if len(frames) == 0:
            raise ValueError("got no frames; expected at least one structure to look at")
        self.frames, self.title = frames, title
        self.columns = columns_of(columns, len(frames))
        self.parts = parts_of(parts, len(frames))
        self.outliers = [(int(frame), str(reason)) for frame, reason in outliers]
        self.warnings = list(warnings)
        self.numbers = np.arange(len(frames)) if numbers is None else np.asarray(numbers, int)
        self.frame, self.ringed = 0, np.empty(0, int)
        self._check_frames()
        pointed = [frame for frame, _ in self.outliers]
        always = np.unique(np.concatenate([pointed, *(w.frames for w in self.warnings if len(w.frames) < 200)]))
        see = self.log.guard(self.show)
        self.map = PropertyMap(self.columns, self.parts, always.astype(int), see, height)
        everywhere = {name: (values, np.arange(len(frames))) for name, values in self.columns.items()}
        self.distributions = Distributions(
            everywhere if distributions is None else distributions, self.parts, see
        )
        self.view = FrameView(frames[0], height=f"{height - 110}px")
        self._largest = largest_force(frames)
        self._pump = Pump(self._draw, self.log)
        for ending in (self._pump.close, self.view.close):
            self._on_close(ending)
        self._build(x, y, colour)
        self._see()
        self._draw()

    def _check_frames(self) -> None:
        named = [frame for frame, _ in self.outliers] + [int(f) for w in self.warnings for f in w.frames]
        wrong = [frame for frame in named if not 0 <= frame < len(self.frames)]
        if wrong:
            raise ValueError(f"outliers or warnings name frame {wrong[0]}; expected 0..{len(self.frames) - 1}")
        if len(self.numbers) != len(self.frames):
            raise ValueError(
                f"numbers has {len(self.numbers)} entries; expected {len(self.frames)}, one per frame"
            )

    # what is on the page ------------------------------------------------------------------------------

    def _build(self, x: str | None, y: str | None, colour: str | None) -> None:
        names = list(self.columns)
        chosen = (x or names[0], y or names[1], colour or PART)
        for name, options in zip(chosen, (names, names, [*names, PART]), strict=True):
            if name not in options:
                raise ValueError(f"there is no column {name!r}; there are {', '.join(options)}")
        self.x, self.y, self.colour = (
            ipywidgets.Dropdown(options=options, value=name, description=word, layout={"width": "370px"})
            for name, options, word in zip(
                chosen, (names, names, [PART, *names]), ("across", "up", "colour"), strict=True
            )
        )
        for control in (self.x, self.y, self.colour):
            control.style.description_width = "56px"
            control.observe(self.log.guard(lambda _: self._redraw_map()), "value")
        last = len(self.frames) - 1
        self.slider = ipywidgets.IntSlider(
            max=max(last, 1), description="frame", disabled=last == 0, continuous_update=True,
            layout=ipywidgets.Layout(width="100%"), readout=False,
        )  # fmt: skip
        self.slider.observe(self.log.guard(lambda change: self.show(change["new"])), "value")
        self._words, self._facts = caption(), ipywidgets.HTML()
        left = ipywidgets.VBox([self.x, self.y, self.colour, self.map.widget])
        right = ipywidgets.VBox([self.view.widget, self._words, self._facts])
        for side in (left, right):
            side.layout.min_width, side.layout.flex, side.layout.overflow = "360px", "1 1 360px", "hidden"
        parts = [
            ipywidgets.HTML(
                f'<div style="font-size:14px; line-height:1.45; {_INK}">{html.escape(self.title)}</div>'
            )
        ]
        parts += [ipywidgets.HBox([left, right], layout=_WRAP), self.slider]
        lists = ipywidgets.HBox([self._outlier_list(), self._warning_list()], layout=_WRAP)
        self._show(*parts, lists, self.distributions.widget)
        self._redraw_map()

    def _outlier_list(self) -> ipywidgets.Widget:
        options = [(f"{self.numbers[frame]}: {reason}", i) for i, (frame, reason) in enumerate(self.outliers)]
        rows = min(max(len(options), 2), 7)
        self.outlier = ipywidgets.Select(
            options=options, value=None, rows=rows, layout=ipywidgets.Layout(width="100%")
        )
        self.outlier.observe(self.log.guard(lambda change: self._see_outlier(change["new"])), "value")
        listed: list[ipywidgets.Widget] = (
            [self.outlier] if options else [_line("No frame stands out.", LINES[2])]
        )
        return _section("What stands out (frame: why)", listed)

    def _warning_list(self) -> ipywidgets.Widget:
        rows: list[ipywidgets.Widget] = []
        self.see: list[ipywidgets.Button] = []
        for warning in self.warnings:
            words = _line(
                f"{warning.severity}: {self._in_words(warning)}", LINES[4 if warning.severity == "error" else 1]
            )
            button = ipywidgets.Button(
                description="See them", tooltip="Ring these frames on the map, and show the next one",
                disabled=len(warning.frames) == 0, layout=ipywidgets.Layout(width="96px", flex="0 0 auto"),
            )  # fmt: skip
            button.on_click(self.log.guard(lambda _, warning=warning: self._see_warning(warning)))
            self.see.append(button)
            rows.append(ipywidgets.HBox([button, words]))
        return _section("What the checks say", rows or [_line("Nothing to complain of.", LINES[2])])

    def _in_words(self, warning: Any) -> str:
        frames = self.numbers[np.asarray(warning.frames, int)]
        shown = ", ".join(map(str, frames[:6])) + (f" and {len(frames) - 6} more" if len(frames) > 6 else "")
        where = f"frame{'s' if len(frames) != 1 else ''} {shown}: " if len(frames) else ""
        return f"{where}{warning.what}. {warning.fix}".rstrip(". ") + "."

    # which frame is shown -----------------------------------------------------------------------------

    def show(self, frame: int) -> None:
        """Show this frame, by its place in `frames`, everywhere. Raises ValueError for one that is not there."""
        if not 0 <= frame < len(self.frames):
            raise ValueError(f"there is no frame {frame}; expected 0..{len(self.frames) - 1}")
        if frame == self.frame:
            return
        self.frame = int(frame)
        self.slider.value = self.frame
        self._see()
        self._pump.wake()

    def _see_outlier(self, index: int | None) -> None:
        if index is not None:
            self.ringed = np.array([frame for frame, _ in self.outliers])
            self.show(self.outliers[index][0])
            self._pump.wake()

    def _see_warning(self, warning: Any) -> None:
        """Ring the frames that a warning names, and show the next of them."""
        self.ringed = np.asarray(warning.frames, int)
        later = self.ringed[self.ringed > self.frame]
        self.show(int(later[0] if len(later) else self.ringed[0]))
        self._pump.wake()

    def _see(self) -> None:
        """Put the frame into the 3D view, with its forces."""
        atoms = self.frames[self.frame]
        forces = forces_of(atoms)
        if forces is None or not np.isfinite(forces).all():
            self.view.arrows(None)
            self.view.see(atoms)
        else:
            self.view.see(atoms)
            largest = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
            scale = _LONGEST_ARROW / max(self._largest, 0.4 * largest, 1e-9)
            self.view.arrows(forces, label="force", unit="eV/Å", scale=scale)
        self._words.value = in_words(self._name())
        self._facts.value = _table(self._numbers())

    def _name(self) -> str:
        atoms = self.frames[self.frame]
        part = "" if set(self.parts) == {"all"} else f" of part {self.parts[self.frame]}"
        return f"Frame {self.numbers[self.frame]}{part}: {atoms.get_chemical_formula()}."

    def _numbers(self) -> list[tuple[str, str]]:
        here = [(name, values[self.frame]) for name, values in self.columns.items()]
        return [(name, f"{value:.5g}") for name, value in here if np.isfinite(value)]

    def _redraw_map(self) -> None:
        self.map.draw(self.x.value, self.y.value, self.colour.value)

    def _draw(self) -> None:
        """Mark the frame in the plots."""
        self.map.ring(self.frame, self.ringed)
        self.distributions.mark(self.frame)

    def flush(self) -> None:
        """Bring the plots up to date, now."""
        self._draw()

    def picture(self) -> bytes:
        return still.stacked([self.map.picture(), self.view.picture(), self.distributions.picture()])

    def describe(self) -> str:
        words = [self.title] if self.title else [f"A data set of {len(self.frames)} frames."]
        words += [self.map.words, self._name(), self.view.describe()]
        words += [
            f"{len(self.outliers)} frames stand out; the first is {self.numbers[f]}: {r}."
            for f, r in self.outliers[:1]
        ]
        words += [f"{w.severity.capitalize()}: {self._in_words(w)}" for w in self.warnings]
        return " ".join([*words, self.distributions.words])


def forces_of(atoms: Any) -> np.ndarray | None:
    """The forces (n_atoms, 3) [eV/Å] that the calculator of these atoms holds; None when it holds none."""
    forces = getattr(atoms.calc, "results", {}).get("forces")
    return None if forces is None else np.asarray(forces, float)


def largest_force(frames: Sequence[Any], looked_at: int = 200) -> float:
    """The 90th percentile of the frames' largest forces [eV/Å], from a part of them; 0.0 without forces."""
    found = []
    for index in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), looked_at)).round().astype(int)):
        forces = forces_of(frames[index])
        if forces is not None and len(forces) and np.isfinite(forces).all():
            found.append(np.linalg.norm(forces, axis=1).max())
    return float(np.percentile(found, 90)) if found else 0.0


def _line(text: str, colour: str) -> ipywidgets.HTML:
    style = f"margin:0 0 6px 6px; padding-left:8px; border-left:3px solid {colour}; {_TEXT}"
    return ipywidgets.HTML(f'<div style="{style}">{html.escape(text)}</div>')


def _section(title: str, rows: Sequence[ipywidgets.Widget]) -> ipywidgets.VBox:
    heading = ipywidgets.HTML(
        f'<div style="font-size:14px; font-weight:600; {_INK}">{html.escape(title)}</div>'
    )
    scrolled = ipywidgets.VBox(
        rows, layout=ipywidgets.Layout(max_height="230px", overflow="auto", width="100%")
    )
    layout = ipywidgets.Layout(min_width="360px", flex="1 1 360px", overflow="hidden")
    return ipywidgets.VBox([heading, scrolled], layout=layout)


def _table(numbers: Sequence[tuple[str, str]]) -> str:
    """Names and numbers in two columns."""
    cells = "".join(
        f'<div style="display:flex; justify-content:space-between; gap:10px"><span>{html.escape(name)}</span>'
        f'<b style="font-weight:600">{html.escape(value)}</b></div>'
        for name, value in numbers
    )
    style = "display:grid; grid-template-columns:repeat(auto-fill, minmax(300px, 1fr)); column-gap:24px; font-size:12px"
    return f'<div style="{style}; line-height:1.45; {_INK}">{cells}</div>'
