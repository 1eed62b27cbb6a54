"""An append-only table that producers write and views watch. Standard library only.

A producer emits every row and never waits for a reader; a reader that draws (a plot, a 3D view) decides for
itself how often to look. A stream holds its whole history, so a view opened late shows all of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

Row = Mapping[str, float]


class Stream:
    """Rows of named numbers, in the order in which they were emitted. Safe to share between threads.

    >>> energies = Stream()
    >>> energies.emit(time_fs=0.5, energy=-1.0)
    >>> energies.column("energy")
    [-1.0]
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._subscribers: list[Callable[[Row], None]] = []
        self._lock = threading.Lock()

    def emit(self, **row: float) -> None:
        """Append one row and call every subscriber with it, in the emitting thread."""
        values = {name: float(value) for name, value in row.items()}
        with self._lock:
            self._rows.append(values)
            subscribers = tuple(self._subscribers)
        for subscriber in subscribers:
            subscriber(values)

    def subscribe(self, subscriber: Callable[[Row], None]) -> Callable[[], None]:
        """Call `subscriber(row)` for every row from now on; returns the function that ends it."""
        with self._lock:
            self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            with self._lock:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return unsubscribe

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def since(self, start: int) -> list[Row]:
        """The rows from number `start` on: what a reader that has seen `start` rows still has to see."""
        with self._lock:
            return list(self._rows[start:])

    def column(self, name: str) -> list[float]:
        """All values under `name`; rows without it count as NaN."""
        with self._lock:
            return [row.get(name, float("nan")) for row in self._rows]

    @property
    def names(self) -> list[str]:
        """Column names in the order of their first appearance."""
        with self._lock:
            return list(dict.fromkeys(name for row in self._rows for name in row))
