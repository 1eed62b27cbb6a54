"""How many processor threads a computation is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# On two quiet cores a second thread makes a training step of 72 atoms 1.15 times as slow and a call of 192 atoms 1.4
# times as fast. Beside three busy processes, where OpenMP's threads wait for each other by spinning, it makes that step
# 4.5 times as slow (1.2 times with OMP_WAIT_POLICY=PASSIVE, as `make lab` sets it).
MANY_ATOMS = 100


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
