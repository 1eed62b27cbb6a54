"""A question that takes a while to answer: a button, the share that is done, and the answer in words."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from widgets.panel import Panel, Pump

_ALIVE = ("running", "paused", "stopping")
_ANSWER = (
    "margin:2px 0 8px 0; padding:4px 10px; font-size:14px; line-height:1.4; border-left:3px solid #CC79A7;"
    " background:rgba(204,121,167,0.10); color:var(--jp-ui-font-color1, inherit)"
)


class Question(Panel):
    """Asks at the press of its button; pressed while it thinks, it gives up.

    words   on the button
    ask     ask(progress) starts to look for the answer and returns the job at once, whose result has `verdict`, a
            sentence (None when it was stopped); it reports to progress(share in 0..1)
    """

    def __init__(self, words: str, ask: Callable[[Callable[[float], None]], Any]) -> None:
        super().__init__()
        self._question, self._ask = words, ask
        self._job: Any = None
        self._share, self._complained = 0.0, False
        self.answer: Any = None
        self.button = ipywidgets.Button(description=words, icon="question-circle")
        self.button.layout.width = "190px"
        self.button.on_click(self.log.guard(lambda _: self.press()))
        self._bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout=ipywidgets.Layout(width="160px"))
        self._bar.layout.display = "none"
        self._said = ipywidgets.HTML()
        row = ipywidgets.HBox([self.button, self._bar], layout=ipywidgets.Layout(align_items="center"))
        self._show(row, self._said)
        self._pump = Pump(self._refresh, self.log, rate=4.0)
        self._on_close(self._pump.close)
        self._on_close(self._give_up)

    @property
    def state(self) -> str:
        """As of the job; "idle" before the first."""
        return "idle" if self._job is None else self._job.state

    def press(self) -> None:
        """Ask, or give up what is being looked for."""
        if self.state in _ALIVE:
            self._give_up()
            return
        self.clear()
        self._job = self._ask(self._progress)
        self._pump.wake()

    def clear(self) -> None:
        """Forget the answer."""
        self._give_up()
        self._job, self.answer, self._share, self._complained = None, None, 0.0, False
        self._said.value = ""
        self.log.clear()

    def _give_up(self) -> None:
        if self.state in _ALIVE:
            self._job.stop()

    def _progress(self, share: float) -> None:
        self._share = share

    def _refresh(self) -> bool:
        alive = self.state in _ALIVE
        self.button.description = "Give up" if alive else self._question
        self.button.icon = "stop" if alive else "question-circle"
        self._bar.layout.display = "" if alive else "none"
        self._bar.value = self._share
        if not alive and self._job is not None:
            self._take(self._job)
        return alive

    def _take(self, job: Any) -> None:
        """Show how it ended."""
        if job.error is not None and not self._complained:
            self._complained = True
            self.log.error(job.error)
        self.answer = job.result
        if self.answer is not None:
            words = html.escape(self.answer.verdict)
            self._said.value = f'<div role="status" style="{_ANSWER}">{words}</div>'

    def picture(self) -> bytes:
        from widgets import still

        drawn = still.figure(7.0, 1.2)
        drawn.text(0.02, 0.5, self.describe(), va="center", fontsize=10, wrap=True)
        return still.png(drawn)

    def describe(self) -> str:
        return "" if self.answer is None else f"{self._question} {self.answer.verdict}"
