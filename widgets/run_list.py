"""Runs that were done before: compare their curves, open one again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from widgets import still, table
from widgets.live_plot import in_words
from widgets.panel import Panel


class RunList(Panel):
    """One line per run: a box to compare it, what it came to, a button to open it; and how compared runs differ.

    earlier                    called without arguments, gives the runs: objects with `name` and `words`, newest first
    on_compare(name, compare)  called when the box of a run is ticked or cleared
    on_open(name)              called when the button of a run is pressed
    """

    def __init__(
        self,
        earlier: Callable[[], Sequence[Any]],
        *,
        on_compare: Callable[[str, bool], None],
        on_open: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._earlier, self._on_compare, self._on_open = earlier, on_compare, on_open
        self.boxes: dict[str, ipywidgets.Checkbox] = {}
        self.open_buttons: dict[str, ipywidgets.Button] = {}
        self._said: dict[str, ipywidgets.HTML] = {}
        self._differences: list[tuple[str, ...]] = []
        self._compared: tuple[str, ...] = ()
        self._disabled = False
        refresh = ipywidgets.Button(
            icon="refresh", tooltip="Look for runs again", layout=ipywidgets.Layout(width="38px")
        )
        refresh.on_click(self.log.guard(lambda _: self.refresh()))
        self._title = ipywidgets.HTML()
        middle = ipywidgets.Layout(align_items="center")
        self._lines = ipywidgets.VBox(
            layout=ipywidgets.Layout(max_height="230px", overflow="auto", width="100%")
        )
        self._table = ipywidgets.HTML()
        self._show(ipywidgets.HBox([refresh, self._title], layout=middle), self._lines, self._table)
        self.refresh()

    def refresh(self) -> None:
        """Look again which runs there are."""
        entries = list(self._earlier())
        if [entry.name for entry in entries] != list(self.boxes):
            boxes, self.open_buttons, self._said = self.boxes, {}, {}
            self.boxes = {}
            self._lines.children = [self._line(entry.name, boxes.get(entry.name)) for entry in entries]
        for entry in entries:
            self._said[entry.name].value = in_words(entry.words)
        n = len(entries)
        self._title.value = (
            f"<b>{n} run{'s' if n > 1 else ''}</b> — tick to compare" if entries else "<b>No runs yet</b>"
        )

    def _line(self, name: str, before: ipywidgets.Checkbox | None) -> ipywidgets.HBox:
        box = before or self._box(name)
        button = ipywidgets.Button(
            description="Open",
            icon="folder-open",
            tooltip=f"Show {name} in this panel",
            disabled=self._disabled,
        )
        button.layout.width = "84px"
        button.on_click(self.log.guard(lambda _: self._on_open(name)))
        said = ipywidgets.HTML(layout=ipywidgets.Layout(flex="1 1 200px"))
        self.boxes[name], self.open_buttons[name], self._said[name] = box, button, said
        return ipywidgets.HBox(
            [box, button, said], layout=ipywidgets.Layout(align_items="center", min_height="34px")
        )

    def _box(self, name: str) -> ipywidgets.Checkbox:
        box = ipywidgets.Checkbox(
            description=name, indent=False, tooltip=f"Draw the validation curves of {name} too"
        )
        box.layout.width = "min(46%, 330px)"
        box.observe(self.log.guard(lambda change: self._ticked(box, name, change["new"])), "value")
        return box

    def _ticked(self, box: ipywidgets.Checkbox, name: str, compare: bool) -> None:
        try:
            self._on_compare(name, compare)
        except Exception:
            box.value = False  # it is not compared
            raise

    @property
    def disabled(self) -> bool:
        """Whether no run can be opened."""
        return self._disabled

    @disabled.setter
    def disabled(self, disabled: bool) -> None:
        self._disabled = disabled
        for button in self.open_buttons.values():
            button.disabled = disabled

    def compare(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Say in which settings these runs (name -> setting -> value) differ; fewer than two say nothing."""
        self._compared = tuple(settings)
        self._differences = differing(settings) if len(settings) > 1 else []
        if len(settings) < 2:
            self._table.value = ""
        elif self._differences:
            self._table.value = table.as_html(("setting", *self._compared), self._differences)
        else:
            self._table.value = in_words("These runs have the same settings.")

    def picture(self) -> bytes:
        drawn = still.figure(7.0, 0.4 + 0.22 * len(self.describe().splitlines()))
        drawn.text(0.02, 0.5, self.describe(), va="center", fontsize=9, family="monospace")
        return still.png(drawn)

    def describe(self) -> str:
        words = f"{len(self.boxes)} runs: {', '.join(self.boxes)}." if self.boxes else "No runs yet."
        if not self._differences:
            return words
        return f"{words}\n{table.as_text(('setting', *self._compared), self._differences)}"


def differing(settings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """(setting, its value in each run) where not all of them have the same; "–" where a run has none."""
    names = dict.fromkeys(name for of_run in settings.values() for name in of_run)
    rows = []
    for name in names:
        values = [str(of_run.get(name, "–")) for of_run in settings.values()]
        if len(set(values)) > 1:
            rows.append((name.replace("_", " "), *values))
    return rows
