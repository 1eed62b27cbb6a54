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


def told(figure):
    """What the pages are told from now on, one entry for each message: traces, style and layout."""
    messages = []

    def keep(change):
        if change.new is not None:
            messages.append((change.new["style_traces"], change.new["style_data"], change.new["layout_data"]))

    figure.observe(keep, "_py2js_update")
    return messages


def curves(n):
    figure = live_figure()
    for number in range(n):
        figure.add_scatter(x=np.arange(3.0), y=np.full(3, float(number)))
    return figure


def test_what_stays_as_it_is_in_one_trace_and_changes_in_another_is_not_sent_as_undefined():
    figure = curves(4)
    messages = told(figure)
    with figure.batch_update():
        figure.data[0].y = figure.data[2].y = np.array([5.0, 6.0, 7.0])
        figure.data[1].x = np.array([0.0, 1.0, 9.0])
        figure.data[3].name = "last"
        figure.layout.title.text = "new"
    assert [traces for traces, _, _ in messages] == [[0, 2], [1], [3]], "alike, in one message"
    assert [list(style) for _, style, _ in messages] == [["y"], ["x"], ["name"]]
    assert [layout for _, _, layout in messages] == [{"title.text": "new"}, {}, {}], "the layout, once"
    for values, (traces, style, _) in zip(([5, 6, 7], [0, 1, 9], "last"), messages, strict=True):
        (sent,) = style.values()
        assert len(sent) == len(traces)
        assert all(np.array_equal(value, values) for value in sent)


def test_traces_that_are_new_altogether_are_one_message():
    figure = curves(3)
    messages = told(figure)
    with figure.batch_update():
        for trace in figure.data:
            trace.x, trace.y = np.arange(4.0), np.arange(4.0) ** 2
    ((traces, style, _),) = messages
    assert traces == [0, 1, 2]
    assert all(np.array_equal(y, [0, 1, 4, 9]) for y in style["y"])


def test_updates_of_the_layout_alone_and_by_plotlys_own_words():
    figure = curves(2)
    messages = told(figure)
    with figure.batch_update():
        figure.layout.title.text = "new"
    figure.plotly_update({"name": "both", "visible": [True, False]}, {"height": 300})
    assert messages == [
        ([], {}, {"title.text": "new"}),
        ([0, 1], {"name": ["both", "both"], "visible": [True, False]}, {"height": 300}),
    ]
    assert [trace.visible for trace in figure.data] == [True, False]
