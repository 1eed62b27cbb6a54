"""Panels side by side for an app: in tabs, and after a choice."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from widgets import still
from widgets.panel import Panel


class Tabs(Panel):
    """Panels in tabs; each is made when its tab is first opened, and stays as it was left.

    panels   title -> a function without arguments that makes the panel

    A 3D view that is made before it can be seen has no size, and an app that made all its panels at once would
    keep its reader waiting for those that are never opened.

    >>> Tabs({"Train": lambda: TrainingPanel(...), "Doctor": lambda: Doctor(findings())})    # doctest: +SKIP
    """

    def __init__(self, panels: Mapping[str, Callable[[], Panel]]) -> None:
        super().__init__()
        if not panels:
            raise ValueError("Tabs got no panels; expected a title and a function for each")
        self._makers = dict(panels)
        self._slots = {title: _Slot(self.log) for title in panels}
        self._tab = ipywidgets.Tab([slot.box for slot in self._slots.values()], titles=tuple(panels))
        self._tab.layout.width = "100%"
        self._tab.observe(self.log.guard(lambda _: self.open(self.title)), "selected_index")
        self._on_close(self._close_all)
        self._show(self._tab)
        self._tab.selected_index = 0
        self.open(self.title)

    @property
    def title(self) -> str:
        """Of the tab that is open."""
        return list(self._slots)[self._tab.selected_index or 0]

    @property
    def panels(self) -> dict[str, Panel]:
        """Those that have been made, by title."""
        return {title: slot.panel for title, slot in self._slots.items() if slot.panel is not None}

    def open(self, title: str) -> None:
        """Turn to a tab, and make its panel if that has not been done."""
        if title not in self._slots:
            raise KeyError(f"there is no tab {title!r}; there are {', '.join(self._slots)}")
        self._tab.selected_index = list(self._slots).index(title)
        if self._slots[title].panel is None:
            self._slots[title].make(self._makers[title])

    def _close_all(self) -> None:
        for slot in self._slots.values():
            slot.empty()

    def picture(self) -> bytes:
        panel = self._slots[self.title].panel
        if panel is not None:
            return panel.picture()
        drawn = still.figure(6.0, 0.6)
        drawn.text(0.02, 0.5, self.describe(), va="center")
        return still.png(drawn)

    def describe(self) -> str:
        panel = self._slots[self.title].panel
        words = "" if panel is None else f" {panel.describe()}"
        return f"Tabs: {', '.join(self._slots)}. Open: {self.title}.{words}"


class Choice(Panel):
    """A choice, and below it the panel made for what was chosen.

    label     what is chosen, e.g. "data set"
    options   the names to choose from, or a function that gives them, asked again by the button beside them
    make      make(name) makes the panel
    nothing   what to say while there is nothing to choose
    """

    def __init__(
        self,
        label: str,
        options: Sequence[str] | Callable[[], Sequence[str]],
        make: Callable[[str], Panel],
        *,
        nothing: str = "There is nothing to choose yet.",
    ) -> None:
        super().__init__()
        self._options, self._make = options, make
        self._shown: str | None = None  # the name whose panel is there
        self._refreshing = False
        self._nothing = ipywidgets.HTML(f'<p role="status">{html.escape(nothing)}</p>')
        self._slot = _Slot(self.log)
        self._names = ipywidgets.Dropdown(description=label, style={"description_width": "initial"})
        self._names.layout.width = "380px"
        self._again = ipywidgets.Button(icon="refresh", tooltip=f"Look again for every {label}")
        self._again.layout.width = "40px"
        self._again.layout.display = "" if callable(options) else "none"
        self._names.observe(self.log.guard(lambda _: self._follow()), "value")
        self._again.on_click(self.log.guard(lambda _: self.refresh()))
        self._on_close(self._slot.empty)
        self._show(ipywidgets.HBox([self._names, self._again]), self._nothing, self._slot.box)
        self.refresh()

    @property
    def panel(self) -> Panel | None:
        """The one that is shown."""
        return self._slot.panel

    def refresh(self) -> None:
        """Ask for the names again; what was chosen stays chosen while it is among them."""
        names = tuple(self._options() if callable(self._options) else self._options)
        chosen = self._names.value
        self._refreshing = True  # new options choose their first by themselves
        try:
            self._names.options = names
            self._names.value = chosen if chosen in names else next(iter(names), None)
        finally:
            self._refreshing = False
        self._nothing.layout.display = "none" if names else ""
        self._follow()

    def choose(self, name: str) -> None:
        """What choosing `name` does."""
        if name not in self._names.options:
            raise KeyError(f"{name!r} cannot be chosen; there are {', '.join(self._names.options)}")
        self._names.value = name

    def _follow(self) -> None:
        """Show the panel of the name that is chosen."""
        name = self._names.value
        if self._refreshing or name == self._shown:
            return
        self._slot.empty()
        self._shown = name
        if name is not None:
            self._slot.make(lambda: self._make(name))

    def picture(self) -> bytes:
        if self.panel is not None:
            return self.panel.picture()
        drawn = still.figure(6.0, 0.6)
        drawn.text(0.02, 0.5, self.describe(), va="center")
        return still.png(drawn)

    def describe(self) -> str:
        if self.panel is None:
            return f"{self._names.description}: nothing chosen."
        return f"{self._names.description}: {self._names.value}. {self.panel.describe()}"


class _Slot:
    """The place of one panel: empty, being made, or there."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.panel: Panel | None = None
        self.box = ipywidgets.VBox(layout=ipywidgets.Layout(width="100%"))

    def make(self, maker: Callable[[], Panel]) -> None:
        self.box.children = (ipywidgets.HTML('<p role="status">Just a moment …</p>'),)
        self.panel = self._log.guard(maker)()
        self.box.children = () if self.panel is None else (self.panel.widget,)

    def empty(self) -> None:
        if self.panel is not None:
            self.panel.close()
        self.panel, self.box.children = None, ()
