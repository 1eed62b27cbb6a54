"""Panel, Log and Pump without a browser."""

import base64
import gc
import threading
import time
import weakref

import pytest

from widgets import panel
from widgets.panel import WIDGET_VIEW, Log, Panel, Pump
from widgets.still import figure, png


class Plain(Panel):
    def __init__(self, *, colour="red", fails=False):
        super().__init__()
        self.colour, self.fails = colour, fails
        self._show()

    def picture(self):
        if self.fails:
            raise OSError("no font")
        return png(figure(1, 1))

    def describe(self):
        return f"a {self.colour} panel"


def wait_until(condition, patience_s=5.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def shown_by(monkeypatch):
    """What a notebook gets when this is called."""

    def shown(call):
        bundles = []
        for name in ("display", "update_display"):
            monkeypatch.setattr(f"IPython.display.{name}", lambda bundle, **_: bundles.append(bundle))
        call()
        return bundles

    return shown


class TestPanel:
    def test_is_shown_as_widget_words_and_picture(self, shown_by):
        panel = Plain()
        live, still = shown_by(panel._ipython_display_)
        assert set(live) == {WIDGET_VIEW, "text/plain"}
        assert live[WIDGET_VIEW]["model_id"] == panel.widget.model_id
        assert live["text/plain"] == "a red panel"
        assert base64.b64decode(still["image/png"]).startswith(b"\x89PNG")

    def test_is_shown_without_a_picture_when_it_cannot_be_drawn(self, shown_by):
        panel = Plain(fails=True)
        (live,) = shown_by(panel._ipython_display_)
        assert WIDGET_VIEW in live
        assert "no font" in panel.log.text
        assert not shown_by(panel.keep_picture)

    def test_keeps_a_new_picture_in_the_place_of_the_old(self, shown_by):
        panel = Plain()
        assert not shown_by(panel.keep_picture), "a panel that was never shown has no place for a picture"
        shown_by(panel._ipython_display_)
        (still,) = shown_by(panel.keep_picture)
        assert set(still) == {"image/png", "text/plain"}

    def test_unknown_arguments_raise_with_a_hint(self):
        with pytest.raises(TypeError, match="Did you mean 'colour'"):
            Plain(color="blue")
        with pytest.raises(TypeError, match="It takes colour, fails"):
            Plain(zzz=1)

    def test_closing_ends_everything_once(self):
        ended = []
        shown = Plain()
        shown._on_close(lambda: ended.append(1))
        shown.close()
        shown.close()
        assert ended == [1]
        assert shown.closed

    def test_running_a_cell_again_closes_its_earlier_panels(self, monkeypatch):
        class Shell:
            execution_count = 3

            def get_parent(self):
                return {"metadata": {"cellId": "cell-of-this-test"}}

        shell = Shell()
        monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
        first, second = Plain(), Plain()
        assert not first.closed, "two panels of one run of a cell belong together"
        shell.execution_count = 4
        third = Plain()
        assert first.closed
        assert second.closed
        assert not third.closed
        panel._panels_of_cell.clear()

    def test_saves_its_picture(self, tmp_path):
        Plain().save_png(tmp_path / "panel.png")
        assert (tmp_path / "panel.png").read_bytes().startswith(b"\x89PNG")


class TestLog:
    def test_is_invisible_until_something_goes_wrong(self):
        log = Log()
        assert log.widget.layout.display == "none"
        log.guard(lambda: 1 / 0)()
        assert log.widget.layout.display != "none"
        assert "ZeroDivisionError" in log.text
        assert "test_panel.py" in log.text

    def test_shows_text_as_text(self):
        log = Log()
        log.write("<b>bold</b>")
        assert "<b>" not in log.widget.value
        assert "&lt;b&gt;" in log.widget.value

    def test_counts_what_repeats(self):
        log = Log()
        for _ in range(3):
            log.write("no such column")
        assert log.text == "no such column (×3)"

    def test_keeps_only_the_newest(self):
        log = Log(length=3)
        for number in range(10):
            log.write(f"line {number}")
        assert log.text == "line 7\nline 8\nline 9"


class TestPump:
    def test_draws_the_latest_and_drops_the_rest(self):
        state, drawn = [0], []
        pump = Pump(lambda: drawn.append(state[0]), Log(), rate=20)
        for number in range(1000):
            state[0] = number
            pump.wake()
            time.sleep(0.0005)
        wait_until(lambda: drawn[-1] == 999)
        assert len(drawn) < 40, "it queued what it should have dropped"
        pump.close()

    def test_waking_costs_nothing_to_the_worker(self):
        pump = Pump(lambda: time.sleep(0.2), Log())
        began = time.monotonic()
        for _ in range(1000):
            pump.wake()
        assert time.monotonic() - began < 0.1
        pump.close()

    def test_its_thread_ends_when_nothing_happens(self):
        pump = Pump(lambda: None, Log())
        pump.wake()
        assert pump.alive
        wait_until(lambda: not pump.alive)
        pump.wake()
        assert pump.alive
        pump.close()
        assert not pump.alive

    def test_closing_draws_the_last_state(self):
        drawn = []
        pump = Pump(lambda: drawn.append(1), Log(), rate=1)
        pump.wake()
        wait_until(lambda: drawn)
        pump.wake()
        pump.close()
        assert len(drawn) == 2
        pump.wake()
        assert not pump.alive

    def test_goes_on_after_an_error(self):
        log, drawn = Log(), []

        def draw():
            drawn.append(1)
            raise ValueError("one bad frame")

        pump = Pump(draw, log, rate=50)
        pump.wake()
        wait_until(lambda: len(drawn) == 1)
        pump.wake()
        wait_until(lambda: len(drawn) == 2)
        assert "one bad frame" in log.text
        pump.close()

    def test_no_wake_is_lost(self):
        """Waking at any moment of the thread's life leads to a drawing afterwards."""
        state, drawn = [0], [0]
        pump = Pump(lambda: drawn.__setitem__(0, state[0]), Log(), rate=2000)
        pump._IDLE_S = 0.001
        for number in range(1, 300):
            state[0] = number
            pump.wake()
            wait_until(lambda wanted=number: drawn[0] == wanted, 2.0)
        pump.close()


def test_a_forgotten_panel_keeps_no_thread():
    class Pumped(Plain):
        def __init__(self):
            super().__init__()
            self.pump = Pump(lambda: None, self.log)

    shown = Pumped()
    shown.pump.wake()
    gone = weakref.ref(shown.pump)
    del shown
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "pump"])
    gc.collect()
    assert gone() is None
