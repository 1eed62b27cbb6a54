"""How many processor threads a computation is worth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workbench.overlap import Changed

# On two quiet cores a second thread makes a training step of 72 atoms 1.15 times as slow and a call of 192 atoms 1.4
# times as fast. Beside three busy processes, where OpenMP's threads wait for each other by spinning, it makes that step
# 4.5 times as slow (1.2 times with OMP_WAIT_POLICY=PASSIVE, as `make lab` sets it).
MANY_ATOMS = 100

# torch's number belongs to a thread, and a new thread begins with what any other has set last: while somebody is
# inside, that may be the number of a block. So what the user has set is asked for while nobody is.
_own = Changed(torch.get_num_threads, torch.set_num_threads)
_here = threading.local()  # numbers: of the blocks that this thread is inside


@contextmanager
def threads_for(n_atoms: float) -> Iterator[None]:
    """Compute with one thread inside when there are few atoms; torch's own number is back afterwards, also where
    blocks of several threads overlap."""
    with _own as own:
        inside = _here.__dict__.setdefault("numbers", [])
        before = inside[-1] if inside else own
        inside.append(1 if n_atoms < MANY_ATOMS else own)
        torch.set_num_threads(inside[-1])
        try:
            yield
        finally:
            inside.pop()
            torch.set_num_threads(before)
