"""The one way every view is shown, refreshed and ended.

A panel is displayed as two outputs: the live widget, whose alternative is a sentence, and a PNG, which the live widget
hides. A notebook with its kernel shows the widget; GitHub, nbviewer, an exported page, a notebook that was reopened or
whose kernel was restarted show the sentence and the picture. (One output with all three would do, were it not that
JupyterLab says "model not found" in place of a live widget that is gone, whatever else the output holds.)
"""

from __future__ import annotations

import base64
import difflib
import html
import inspect
import threading
import time
import traceback
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import ipywidgets

from widgets.kernel import answer_every_message

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# The picture makes way for the live widget before it. Where the kernel is gone, its panels say so once and lie still.
_STYLE = """<style>
.jp-OutputArea-child:has(.wb-panel) + .jp-OutputArea-child:has(.jp-RenderedImage) { display: none; }
.wb-panel .jupyter-widgets-disconnected::before { display: none !important; }
.wb-panel.jupyter-widgets-disconnected > * { opacity: 0.6; pointer-events: none; }
.wb-panel.jupyter-widgets-disconnected::before {
  content: "The kernel was restarted or has ended: this is what was shown last. Run the cell again." !important;
  font: 14px var(--jp-ui-font-family, sans-serif); white-space: normal; padding: 6px 10px;
  color: var(--jp-ui-font-color1, inherit); background: rgba(213, 94, 0, 0.10); border-left: 3px solid #D55E00;
}
</style>"""

#: Panels by the notebook cell that made them, so that running the cell again ends their predecessors.
_panels_of_cell: dict[str, tuple[int, list[weakref.ref[Panel]]]] = {}


class Log:
    """A pane for what went wrong: invisible while empty, the newest message last. Safe between threads.

    One HTML trait, because text printed into an Output widget by a thread gets lost.
    """

    def __init__(self, length: int = 50) -> None:
        self._lines: deque[tuple[str, int]] = deque(maxlen=length)  # message, how often in a row
        self._lock = threading.Lock()
        self.widget = ipywidgets.HTML(
            layout=ipywidgets.Layout(display="none", max_height="12em", overflow="auto")
        )

    def write(self, text: str) -> None:
        """Append one message; one that repeats is counted."""
        with self._lock:
            times = self._lines.pop()[1] + 1 if self._lines and self._lines[-1][0] == text else 1
            self._lines.append((text, times))
            shown = html.escape(self._text())
            self.widget.value = (
                '<pre role="log" aria-live="polite" style="margin:4px 0; padding:6px 10px; white-space:pre-wrap;'
                " line-height:1.35; border-left:3px solid #D55E00; background:rgba(213,94,0,0.10);"
                f' color:var(--jp-ui-font-color1, inherit)">{shown}</pre>'
            )
            self.widget.layout.display = ""

    def error(self, error: BaseException) -> None:
        """Append an exception: its message, and the line it came from."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        self.write(f"{type(error).__name__}: {error}{where}")

    def clear(self) -> None:
        with self._lock:
            self._lines.clear()
            self.widget.value = ""
            self.widget.layout.display = "none"

    @property
    def text(self) -> str:
        with self._lock:
            return self._text()

    def _text(self) -> str:
        return "\n".join(line if times == 1 else f"{line} (×{times})" for line, times in self._lines)

    def guard(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """`callback`, except that its exceptions appear here instead of vanishing in a server's log."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return callback(*args, **kwargs)
            except Exception as error:
                self.error(error)
                return None

        return guarded


class Pump:
    """Draws the latest state at most `rate` times a second, on its own thread. It drops, and never queues.

    Producers call `wake()`, which only sets a flag. The thread lives while there is something to draw and ends
    by itself, so a forgotten panel keeps none. `draw()` returns True to be called again unasked.
    """

    _IDLE_S = 0.5  # how long the thread outlives the last wake()

    def __init__(self, draw: Callable[[], bool | None], log: Log, rate: float = 10.0) -> None:
        self._draw = log.guard(draw)
        self._period = 1.0 / rate
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def wake(self, *_: object) -> None:
        """Something changed. Costs microseconds; may be called from any thread, with any arguments."""
        with self._lock:
            self._wanted.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread after one last drawing."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wanted.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    @property
    def alive(self) -> bool:
        return self._thread is not None

    def _run(self) -> None:
        while True:
            wanted = self._wanted.wait(self._IDLE_S)
            with self._lock:
                if self._closed or not (wanted or self._wanted.is_set()):
                    self._thread = None
                    break
            self._wanted.clear()
            began = time.monotonic()
            again = self._draw()
            took = time.monotonic() - began
            # A slow drawing must not eat the processor that the worker needs: rest as long as it took.
            time.sleep(max(self._period - took, took, 0.0) if not self._closed else 0.0)
            if again:
                self._wanted.set()
        if self._closed and self._wanted.is_set():
            self._draw()


class Panel:
    """What every view has: a body of widgets, a log pane, a picture, a sentence, and an end.

    A subclass calls `super().__init__()`, builds its widgets, and hands them to `_show(...)`. It overrides
    `picture()` and `describe()`. Subscriptions and pumps are ended through `_on_close(...)`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Panel:
        known = inspect.signature(cls.__init__).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            return super().__new__(cls)
        for name in kwargs:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(list(known)[1:])}."
                raise TypeError(f"{cls.__name__} got an unknown argument {name!r}. {hint}")
        return super().__new__(cls)

    def __init__(self) -> None:
        answer_every_message()
        self.log = Log()
        self.closed = False
        self._endings: list[Callable[[], None]] = []
        self._display_id: str | None = None
        self._body = ipywidgets.VBox(layout=ipywidgets.Layout(width="100%"))
        self._body.add_class("wb-panel")
        self._style = ipywidgets.HTML(_STYLE, layout=ipywidgets.Layout(display="none"))
        _replace_panels_of_this_cell(self)

    def _show(self, *children: ipywidgets.Widget) -> None:
        self._body.children = (*children, self.log.widget, self._style)

    def _on_close(self, ending: Callable[[], None]) -> None:
        self._endings.append(ending)

    @property
    def widget(self) -> ipywidgets.VBox:
        """The live widget, to be put into other widgets."""
        return self._body

    def picture(self) -> bytes:
        """The present state as a PNG."""
        raise NotImplementedError(f"{type(self).__name__} draws no picture: define picture()")

    def describe(self) -> str:
        """The present state in words."""
        raise NotImplementedError(f"{type(self).__name__} has no words: define describe()")

    def save_png(self, path: Any) -> None:
        """Write the present state as a PNG file; needs no browser."""
        with open(path, "wb") as file:
            file.write(self.picture())

    def close(self) -> None:
        """End pumps and subscriptions; the last state stays visible. Closing twice is harmless."""
        self.closed = True
        while self._endings:
            self._endings.pop()()

    def _ipython_display_(self) -> None:
        from IPython.display import display

        live = {"version_major": 2, "version_minor": 0, "model_id": self._body.model_id}
        display({WIDGET_VIEW: live, "text/plain": self.describe()}, raw=True)
        still = self._still()
        if still is not None:
            self._display_id = self._display_id or uuid.uuid4().hex
            display(still, raw=True, display_id=self._display_id)

    def keep_picture(self) -> None:
        """Replace the picture in the notebook by the present one, e.g. when a run has ended."""
        still = None if self._display_id is None else self._still()
        if still is not None:
            from IPython.display import update_display

            update_display(still, raw=True, display_id=self._display_id)

    def _still(self) -> dict[str, str] | None:
        """The picture as an output; None when it cannot be drawn, which the log then says."""
        picture = self.log.guard(self.picture)()
        if picture is None:
            return None
        encoded = base64.b64encode(picture).decode("ascii")
        return {"image/png": encoded, "text/plain": f"<picture of {type(self).__name__}>"}


def _replace_panels_of_this_cell(panel: Panel) -> None:
    """Close the panels that an earlier run of the same notebook cell made."""
    try:
        from IPython.core.getipython import get_ipython

        shell: Any = get_ipython()
        cell = shell.get_parent()["metadata"]["cellId"]
        run = int(shell.execution_count)
    except (ImportError, AttributeError, KeyError, TypeError):
        return  # a script, a terminal, or a front end that does not number its cells
    earlier_run, panels = _panels_of_cell.get(cell, (run, []))
    if earlier_run != run:
        for reference in panels:
            earlier = reference()
            if earlier is not None:
                earlier.close()
        panels = []
    _panels_of_cell[cell] = (run, [*panels, weakref.ref(panel)])
