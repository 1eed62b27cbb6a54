"""How many processor threads a computation is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Below so many atoms at once, one thread is as fast as several on a quiet machine; on a busy one, where OpenMP's
#: threads wait for each other by spinning, several took five times as long (the tour, two threads, load 3).
MANY_ATOMS = 300


@contextmanager
def threads_for(n_atoms: float) -> Iterator[None]:
    """Compute with one thread inside when there are few atoms; torch's own number is back afterwards."""
    before = torch.get_num_threads()
    if n_atoms < MANY_ATOMS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
