"""Start, Pause and Stop for whatever runs, with its state and the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

from widgets import still
from widgets.panel import Panel, Pump

_ALIVE = ("running", "paused", "stopping")
_MARKS = {
    "idle": ("○", "#7b7b7b"),
    "running": ("●", "#009E73"),
    "paused": ("❚❚", "#E69F00"),
    "stopping": ("◐", "#E69F00"),
    "stopped": ("■", "#0072B2"),
    "done": ("✓", "#009E73"),
    "failed": ("✗", "#D55E00"),
}


class RunControls(Panel):
    """Buttons for a job: an object with pause(), resume(), stop(), and state, error, report.

    start      called without arguments by the Start button; returns the job at once. None: no Start button
    job        a job that runs already
    progress   called without arguments, gives the share that is done in 0..1; None: no bar and no time left
    on_end     called with the job when it has ended, before another can be started by the button
    """

    def __init__(
        self,
        start: Callable[[], Any] | None = None,
        *,
        job: Any = None,
        progress: Callable[[], float] | None = None,
        on_end: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__()
        if start is None and job is None:
            raise TypeError(
                "RunControls got neither start nor job; expected what to start, or what runs already"
            )
        self._start, self._progress, self._on_end = start, progress, on_end
        self._job: Any = None
        self._lock = threading.Lock()
        self._ending: Any = None  # the job whose end is being told, or was
        self._told: Any = None  # the job whose end was told
        self._owned: Any = None  # the job that the Start button started
        self._worked_s, self._looked = 0.0, 0.0
        self._build()
        self._pump = Pump(self._refresh, self.log, rate=4.0)
        self._on_close(self._pump.close)
        self._on_close(self._stop_owned)
        if job is not None:
            self._follow(job)
        self._refresh()

    def _build(self) -> None:
        def button(
            word: str, icon: str, tooltip: str, style: str, act: Callable[[], None]
        ) -> ipywidgets.Button:
            made = ipywidgets.Button(description=word, icon=icon, tooltip=tooltip, button_style=style)
            made.layout.width = "104px"
            made.on_click(self.log.guard(lambda _: act()))
            return made

        self.start_button = button("Start", "play", "Start a run", "success", self.start)
        self.pause_button = button("Pause", "pause", "Pause after the current step", "", self.pause)
        self.stop_button = button(
            "Stop", "stop", "Stop after the current step and keep what is done", "warning", self.stop
        )
        self._bar = ipywidgets.FloatProgress(min=0.0, max=1.0, layout=ipywidgets.Layout(width="160px"))
        self._bar.layout.display = "none" if self._progress is None else ""
        self._status = ipywidgets.HTML()
        buttons = [self.pause_button, self.stop_button]
        if self._start is not None:
            buttons.insert(0, self.start_button)
        row = ipywidgets.Layout(align_items="center", flex_flow="row wrap", grid_gap="4px")
        self._show(ipywidgets.HBox([*buttons, self._bar, self._status], layout=row))

    @property
    def job(self) -> Any:
        """The job that runs or ran last, or None."""
        return self._job

    @property
    def state(self) -> str:
        return "idle" if self._job is None else self._job.state

    def start(self) -> None:
        """Start a run, unless one is running: then say so."""
        self._look()  # the end of the one before is told first
        with self._lock:
            if self.state in _ALIVE:
                self.log.write("A run is going on already. Stop it before starting another.")
                return
            self.log.clear()
            if self._start is None:
                raise TypeError("these controls were given a job, not a way to start one; pass start=")
            self._follow(self._start())
            self._owned = self._job
        self._refresh()

    def pause(self) -> None:
        """Pause the run, or let a paused one go on."""
        if self.state == "paused":
            self._job.resume()
        elif self.state == "running":
            self._job.pause()
        self._refresh()

    def stop(self) -> None:
        """Ask the run to end after its current step."""
        if self.state in _ALIVE:
            self._job.stop()
        self._refresh()

    def _stop_owned(self) -> None:
        """A run without its buttons could not be stopped any more."""
        if self._owned is not None and self._owned.state in _ALIVE:
            self._owned.stop()

    def _follow(self, job: Any) -> None:
        self._job = job
        self._worked_s, self._looked = 0.0, time.monotonic()
        self._pump.wake()

    @property
    def _ended(self) -> bool:
        """Whether there is nothing to wait for: the end of the job was told."""
        return self._told is self._job

    def _look(self) -> str:
        """The state, and if it is the first to show that the job has ended, tell so before returning."""
        with self._lock:
            job, state = self._job, self.state
            ends = job is not None and state not in _ALIVE and self._ending is not job
            if ends:
                self._ending = job
        if not ends:
            return state
        self.log.guard(self._end)(job)
        self._told = job
        return self.state  # on_end may have started another

    def _refresh(self) -> bool:
        state = self._look()
        now = time.monotonic()
        if state == "running":
            self._worked_s += now - self._looked
        self._looked = now
        alive = state in _ALIVE or not self._ended
        self.start_button.disabled = alive
        self.pause_button.disabled = state not in ("running", "paused")
        self.pause_button.description = "Resume" if state == "paused" else "Pause"
        self.pause_button.icon = "play" if state == "paused" else "pause"
        self.stop_button.disabled = state not in ("running", "paused")
        self._bar.value = self._share()
        mark, colour = _MARKS.get(state, ("?", "#7b7b7b"))
        sign = f'<span style="color:{colour}" aria-hidden="true">{mark}</span>'
        self._status.value = f'<span role="status" style="margin-left:6px">{sign} {self.describe()}</span>'
        return alive

    def _end(self, job: Any) -> None:
        if job.error is not None:
            self.log.write(getattr(job, "report", "") or repr(job.error))
        if self._on_end is not None:
            self._on_end(job)
        self.keep_picture()

    def _share(self) -> float:
        return (
            0.0 if self._progress is None or self._job is None else min(max(float(self._progress()), 0.0), 1.0)
        )

    def picture(self) -> bytes:
        drawn = still.figure(5.0, 0.5)
        drawn.text(0.02, 0.5, self.describe(), va="center", fontsize=11)
        return still.png(drawn)

    def describe(self) -> str:
        state, share = self.state, self._share()
        if state == "idle":
            return "not started"
        words = f"{state} · {_duration(self._worked_s)}"
        if share > 0 and state in ("running", "paused"):
            words += f" · {100 * share:.0f} % · {_duration(self._worked_s * (1 - share) / share)} left"
        return words


def _duration(seconds: float) -> str:
    """Seconds as a person would say them: 7 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
