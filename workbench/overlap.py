"""A setting of the whole process that several blocks want changed while they last. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Changed(Generic[T]):
    """The first block to enter changes the setting, the last to leave puts it back, in whatever order they leave.

    `change` changes it and returns what it was, which is what every block gets; `restore` puts that back.
    """

    def __init__(self, change: Callable[[], T], restore: Callable[[T], object]) -> None:
        self._change, self._restore = change, restore
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self) -> T:
        with self._lock:
            if self._n_inside == 0:
                self._before = self._change()
            self._n_inside += 1
            return self._before

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._restore(self._before)
