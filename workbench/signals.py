"""Ctrl-C and a batch system's SIGTERM as a request to stop. Standard library only."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from workbench.jobs import Control


@contextmanager
def signals_stop(control: Control) -> Iterator[None]:
    """Ctrl-C, Jupyter's interrupt and a batch system's SIGTERM stop after the current step; a second Ctrl-C at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if control.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        control.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
