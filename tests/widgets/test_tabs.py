"""Tabs and Choice without a browser: what is made, when, and what is closed."""

import pytest

from widgets.panel import Panel
from widgets.still import figure, png
from widgets.tabs import Choice, Tabs


class Plain(Panel):
    def __init__(self, name="plain"):
        super().__init__()
        self.name = name
        self._show()

    def picture(self):
        return png(figure(1, 1))

    def describe(self):
        return f"a panel called {self.name}."


class TestTabs:
    def test_makes_a_panel_when_its_tab_is_first_opened(self):
        made = []
        tabs = Tabs({name: lambda name=name: made.append(name) or Plain(name) for name in "abc"})
        assert made == ["a"]
        tabs._tab.selected_index = 2  # what a click does
        tabs.open("a")
        tabs.open("c")
        assert made == ["a", "c"], "made twice, or too early"
        assert tabs._slots["c"].box.children == (tabs.panels["c"].widget,)
        assert tabs.describe() == "Tabs: a, b, c. Open: c. a panel called c."
        assert tabs.picture().startswith(b"\x89PNG")

    def test_closes_what_it_made(self):
        tabs = Tabs({"a": Plain, "b": Plain})
        panel = tabs.panels["a"]
        tabs.close()
        assert panel.closed
        assert not tabs.panels

    def test_a_panel_that_cannot_be_made_says_why_and_may_be_tried_again(self):
        failures = [OSError("no such run")]

        def make():
            if failures:
                raise failures.pop()
            return Plain()

        tabs = Tabs({"a": make, "b": Plain})
        assert "no such run" in tabs.log.text
        assert tabs.picture().startswith(b"\x89PNG")
        tabs.open("b")
        tabs.open("a")
        assert set(tabs.panels) == {"a", "b"}

    def test_says_what_it_cannot_do(self):
        with pytest.raises(KeyError, match="there are a"):
            Tabs({"a": Plain}).open("z")
        with pytest.raises(ValueError, match="got no panels"):
            Tabs({})
        with pytest.raises(TypeError, match="Did you mean 'panels'"):
            Tabs(panel={})


class TestChoice:
    def test_makes_the_panel_of_what_is_chosen_and_closes_the_one_before(self):
        choice = Choice("run", ["first", "second"], Plain)
        first = choice.panel
        assert first.name == "first"
        choice.choose("second")
        assert first.closed
        assert choice.describe() == "run: second. a panel called second."
        choice.close()
        assert choice.panel is None

    def test_asks_for_the_names_again_and_keeps_what_is_chosen(self):
        names = []
        choice = Choice("run", lambda: names, Plain, nothing="Train one first.")
        assert choice.panel is None
        assert choice.picture().startswith(b"\x89PNG")
        assert choice._nothing.layout.display == ""
        assert "Train one first." in choice._nothing.value
        names.append("old")
        choice._again.click()
        assert choice._nothing.layout.display == "none"
        kept = choice.panel
        names.insert(0, "new")
        choice.refresh()
        assert choice.panel is kept, "the panel was made anew although its name is still there"
        names.clear()
        choice.refresh()
        assert choice.panel is None
        assert kept.closed

    def test_says_what_can_be_chosen(self):
        with pytest.raises(KeyError, match="there are a, b"):
            Choice("run", ["a", "b"], Plain).choose("z")
