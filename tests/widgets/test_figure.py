"""The live figure without a browser: how much it sends, and what it tells a page that asks anew."""

import numpy as np
import plotly.graph_objects as go
from ipywidgets.widgets.widget import _instances

from widgets.figure import live_figure


def test_its_front_end_is_sent_once_for_all():
    figures = [live_figure() for _ in range(3)]
    for figure in figures:
        assert isinstance(figure, go.FigureWidget)
        assert len(figure.get_state()["_esm"]) < 2000
    brought = [w for w in _instances.values() if len(getattr(w, "code", "")) > 1_000_000]
    assert len(brought) == 1
    assert brought[0].code == str(go.FigureWidget._esm)


def test_a_page_that_asks_anew_gets_what_is_shown_now():
    figure = live_figure()
    figure.add_scatter(x=np.arange(3.0), y=np.zeros(3))
    figure.data[0].y = np.array([1.0, 4.0, 9.0])
    figure.update_layout(title="squares")
    state = figure.get_state()
    np.testing.assert_array_equal(np.frombuffer(state["_widget_data"][0]["y"]["buffer"]), [1, 4, 9])
    assert state["_widget_layout"]["title"]["text"] == "squares"
    state["_widget_data"].clear()
    assert len(figure.data) == 1, "the figure shares its numbers with what it sent"
