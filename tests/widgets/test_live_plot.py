"""LivePlot and ParityPlot without a browser."""

import threading
import time
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from widgets.live_plot import Curve, LivePlot, thinned
from widgets.parity_plot import ParityPlot
from workbench.stream import Stream


def wait_until(condition, patience_s=5.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class TestLivePlot:
    def test_shows_what_the_stream_held_before(self):
        stream = Stream()
        stream.emit(step=0, loss=2.0)
        plot = LivePlot(stream, x="step", y=["loss"])
        np.testing.assert_array_equal(plot._figure.data[0].y, [2.0])
        plot.close()

    def test_follows_a_thread_and_ends_with_its_last_row(self):
        stream = Stream()
        plot = LivePlot(stream, x="step", y=["loss"], rate=20)

        def work():
            for step in range(3000):
                stream.emit(step=step, loss=1.0 / (step + 1))

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        wait_until(lambda: len(plot._figure.data[0].x) and plot._figure.data[0].x[-1] == 2999)
        (_, x, y) = plot.curves()[0]
        np.testing.assert_array_equal(x, np.arange(3000))
        np.testing.assert_array_equal(y, 1.0 / np.arange(1, 3001))
        plot.close()

    def test_rows_without_a_number_are_left_out_of_that_curve_only(self):
        stream = Stream()
        for step in range(6):
            stream.emit(step=step, train=1.0, **({"validation": 2.0} if step % 3 == 0 else {}))
        plot = LivePlot(stream, x="step", y=["train", "validation"])
        assert [len(y) for _, _, y in plot.curves()] == [6, 2]
        plot.close()

    def test_sends_bounded_arrays_and_no_lists(self):
        stream = Stream()
        for step in range(10_000):
            stream.emit(step=step, loss=1.0 if step != 7777 else 50.0)
        plot = LivePlot(stream, x="step", y=["loss"])
        trace = plot._figure.data[0]
        assert isinstance(trace.y, np.ndarray)
        assert len(trace.y) <= LivePlot.POINTS
        assert trace.y.max() == 50.0, "thinning lost the only spike"
        assert trace.x[-1] == 9999
        plot.close()

    def test_converts_columns(self):
        stream = Stream()
        stream.emit(t=1000.0, e=2.0)
        plot = LivePlot(
            stream, Curve("t", "time [ps]", lambda t: t / 1000), [Curve("e", "E", lambda e: 1000 * e)]
        )
        _, x, y = plot.curves()[0]
        assert (x[0], y[0]) == (1.0, 2000.0)
        assert plot._figure.layout.xaxis.title.text == "time [ps]"
        plot.close()

    def test_following_another_stream_starts_anew_in_the_same_figure(self):
        first, second = Stream(), Stream()
        first.emit(step=0, loss=1.0)
        plot = LivePlot(first, x="step", y=["loss"])
        figure = plot._figure
        plot.follow(second)
        first.emit(step=1, loss=1.0)
        second.emit(step=5, loss=3.0)
        plot.flush()
        np.testing.assert_array_equal(plot.curves()[0][1], [5.0])
        assert plot._figure is figure
        assert first._subscribers == []
        plot.close()

    def test_closing_ends_the_subscription(self):
        stream = Stream()
        plot = LivePlot(stream, x="step", y=["loss"])
        plot.close()
        assert stream._subscribers == []

    def test_an_overlay_is_replaced_not_added(self):
        plot = LivePlot(Stream(), x="step", y=["loss"])
        plot.overlay("fit", [0, 1], [1, 2])
        plot.overlay("fit", [0, 2], [1, 3])
        assert len(plot._figure.data) == 2
        np.testing.assert_array_equal(plot._figure.data[1].x, [0, 2])
        plot.close()

    def test_has_words_and_a_picture(self):
        stream = Stream()
        for step in range(5):
            stream.emit(step=step, loss=5.0 - step)
        plot = LivePlot(stream, x="step", y=["loss"], x_label="step", y_label="loss [eV]", log=True)
        assert plot.describe() == "loss [eV] against step: loss went from 5 to 1 (lowest 1) in 5 points."
        assert imread(BytesIO(plot.picture())).std() > 0.01
        plot.close()

    def test_one_name_instead_of_a_list_is_refused(self):
        with pytest.raises(TypeError, match=r"Write y=\['loss'\]"):
            LivePlot(Stream(), x="step", y="loss")

    def test_watching_costs_the_worker_little(self):
        """A row of a watched stream costs less than 50 µs: 5 % of a millisecond's step."""
        stream = Stream()
        plot = LivePlot(stream, x="step", y=["loss"])
        began = time.thread_time()
        for step in range(2000):
            stream.emit(step=step, loss=1.0)
        per_row = (time.thread_time() - began) / 2000
        plot.close()
        assert per_row < 50e-6


def test_thinning_keeps_ends_order_and_extremes():
    values = np.sin(np.arange(100_000) / 300.0)
    values[54_321] = 9.0
    kept = thinned(values, 2000)
    assert len(kept) <= 2000
    assert kept[0] == 0
    assert kept[-1] == 99_999
    assert (np.diff(kept) > 0).all()
    assert 54_321 in kept
    np.testing.assert_array_equal(thinned(values[:10], 2000), np.arange(10))


class TestParityPlot:
    def test_states_the_errors(self):
        plot = ParityPlot([0.0, 0.0], [3.0, -4.0], label="energy", unit="eV")
        assert plot.errors()["data"] == (3.5, pytest.approx(np.sqrt(12.5)))
        assert "MAE 3.5, RMSE 3.54 eV" in plot._figure.layout.title.text
        assert "largest at point 1 (-4 eV)" in plot.describe()

    def test_updates_in_place(self):
        plot = ParityPlot([1.0], [1.0])
        figure = plot._figure
        plot.update([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])
        assert plot._figure is figure
        assert len(figure.data[0].x) == 3
        assert plot.errors()["data"][0] == pytest.approx(0.5)

    def test_groups_keep_apart(self):
        both = {"train": [1.0, 2.0], "test": [1.0]}
        plot = ParityPlot(both, {"train": [1.0, 2.0], "test": [2.0]}, unit="eV")
        assert plot.errors() == {"train": (0.0, 0.0), "test": (1.0, 1.0)}
        with pytest.raises(ValueError, match="expected \\['train', 'test'\\]"):
            plot.update([1.0], [1.0])

    def test_a_click_gives_the_index_among_all_points(self):
        class Points:
            point_inds = (3,)

        clicked = []
        many = np.arange(2 * ParityPlot.POINTS, dtype=float)
        plot = ParityPlot(many, many, on_click=clicked.append)
        plot._clicked(plot._figure.data[0], Points, None)
        assert clicked == [plot._figure.data[0].customdata[3]]
        assert many[clicked[0]] == plot._figure.data[0].x[3]

    def test_missing_numbers_are_left_out_of_the_errors(self):
        plot = ParityPlot([1.0, np.nan], [2.0, 1.0])
        assert plot.errors()["data"] == (1.0, 1.0)

    def test_unequal_lengths_are_refused(self):
        with pytest.raises(ValueError, match="2 reference and 1 predicted"):
            ParityPlot([1.0, 2.0], [1.0])
