"""What holds for every view that is exported: a misspelt argument raises, and says what was meant."""

import inspect

import pytest

import widgets
from widgets import Panel
from widgets.tabs import Choice, Tabs

VIEWS = [getattr(widgets, name) for name in widgets.__all__]
VIEWS = [view for view in VIEWS if inspect.isclass(view) and issubclass(view, Panel) and view is not Panel]


@pytest.mark.parametrize("view", [*VIEWS, Choice, Tabs], ids=lambda view: view.__name__)
class TestEveryView:
    def test_a_misspelt_argument_raises_with_a_hint(self, view):
        name = list(inspect.signature(view.__init__).parameters)[1]
        with pytest.raises(TypeError, match=f"Did you mean '{name}'"):
            view(**{name[:-1] + "_" + name[-1]: None})

    def test_an_unknown_argument_raises_with_those_there_are(self, view):
        name = list(inspect.signature(view.__init__).parameters)[1]
        with pytest.raises(
            TypeError, match=f"{view.__name__} got an unknown argument 'qqqqqq'. It takes {name}"
        ):
            view(qqqqqq=1)

    def test_says_what_it_shows_and_draws_it(self, view):
        assert view.picture is not Panel.picture
        assert view.describe is not Panel.describe


def test_there_are_views():
    assert len(VIEWS) >= 8
