"""Several workers on threads of which only one works at a time: they hand the floor round. Standard library only."""

from __future__ import annotations

import threading
import time

from workbench.jobs import Control


class Floor:
    """Who may work. It goes round after `turn_s` seconds, at the next step of whoever holds it.

    n   workers, numbered from 0, which has the floor first
    """

    def __init__(self, n: int, turn_s: float) -> None:
        self._waiting = threading.Condition()
        self._working = list(range(n))
        self._holder = 0
        self._turn_s = turn_s
        self._since = time.monotonic()
        self._paused = self._stopping = False

    def take(self, worker: int) -> None:
        """Called by a worker before each step: goes on at once while its turn lasts, else waits for the next."""
        with self._waiting:
            over = time.monotonic() - self._since >= self._turn_s
            if self._holder == worker and over and not self._stopping:
                self._pass_on()
            while self._holder != worker or self._paused:
                self._waiting.wait()

    def leave(self, worker: int) -> None:
        """Called by a worker when it has ended."""
        with self._waiting:
            if self._holder == worker and len(self._working) > 1:
                self._pass_on()
            if worker in self._working:
                self._working.remove(worker)

    def pause(self) -> None:
        """Nobody begins another step."""
        with self._waiting:
            self._paused = True

    def resume(self) -> None:
        with self._waiting:
            self._paused, self._since = False, time.monotonic()
            self._waiting.notify_all()

    def stop(self) -> None:
        """Whoever holds the floor keeps it to the end, so that all end one after the other."""
        with self._waiting:
            self._paused, self._stopping = False, True
            self._waiting.notify_all()

    def _pass_on(self) -> None:
        """To the next of those still working."""
        place = self._working.index(self._holder)
        self._holder = self._working[(place + 1) % len(self._working)]
        self._since = time.monotonic()
        self._waiting.notify_all()


class Turn(Control):
    """One worker's Control: it goes on only while the worker has the floor."""

    def __init__(self, floor: Floor, worker: int) -> None:
        super().__init__()
        self._floor, self._worker = floor, worker

    def wait_and_see_stop(self) -> bool:
        self._floor.take(self._worker)
        return self.stopping
