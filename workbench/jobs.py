"""Long work that can be paused and stopped, in the foreground or on a thread. Standard library only.

A worker function takes a `Control` and asks it once per step:

    for step in range(n_steps):
        if control.wait_and_see_stop():
            break
        ...

`start(worker, ...)` runs the worker on a thread and returns its `Job` at once, whose buttons are methods.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any


class Control:
    """Two switches between whoever asks (a button, Ctrl-C) and whoever works. Safe between threads."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        """Ask the worker to end after its current step, keeping what it has; also ends a pause."""
        self._stop.set()
        self._go.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    def wait_and_see_stop(self) -> bool:
        """Called by the worker once per step: waits while paused; True when it should stop now."""
        self._go.wait()
        return self._stop.is_set()


class Job(Control):
    """One worker on one thread.

    state    "running", "paused", "stopping", then one of "done", "stopped", "failed"
    result   what the worker returned, else None
    error    the exception that ended it, else None; `report` holds its traceback as text
    """

    def __init__(self, worker: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.result: Any = None
        self.error: BaseException | None = None
        self.report = ""
        # Not Thread.join: before Python 3.13, Ctrl-C during it marks a running thread as ended.
        self._ended = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(worker, args, kwargs), name=f"job-{worker.__name__}", daemon=True
        )
        thread.start()

    def _run(self, worker: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self.result = worker(*args, control=self, **kwargs)
        except BaseException as error:
            self.error = error
            self.report = traceback.format_exc()
        finally:
            self._ended.set()

    @property
    def state(self) -> str:
        if not self._ended.is_set():
            return "stopping" if self.stopping else "paused" if self.paused else "running"
        if self.error is not None:
            return "failed"
        return "stopped" if self.stopping else "done"

    def join(self, timeout: float | None = None) -> Any:
        """Wait for the end, then return the worker's result or raise its error here.

        Raises TimeoutError when `timeout` seconds pass first. Ctrl-C (Jupyter's interrupt) stops the worker.
        """
        try:
            self._ended.wait(timeout)
        except KeyboardInterrupt:
            self.stop()
            self._ended.wait()
        if not self._ended.is_set():
            raise TimeoutError(f"the job is still {self.state} after {timeout} s; stop() it or wait longer")
        if self.error is not None:
            raise self.error
        return self.result


def start(worker: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
    """Run `worker(*args, control=job, **kwargs)` on a thread and return the Job at once.

    >>> job = start(fit, model, train, validation, folder="runs/first")   # doctest: +SKIP
    >>> job.pause(); job.resume(); job.stop(); run = job.join()           # doctest: +SKIP
    """
    return Job(worker, *args, **kwargs)
