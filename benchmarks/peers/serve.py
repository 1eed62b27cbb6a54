"""A contestant's end of a race: a process of its own, one thread, that makes one timed call whenever it is asked.

It imports ASE, numpy and torch alone, so that it runs in every contestant's environment. The other end is race.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from systems import systems

JITTER = 1e-3  # Å; every call sees other positions, so that nothing can be remembered


def serve(prepare: Callable[[list[ase.Atoms]], dict[str, Callable[[], Any]]], **facts: Any) -> None:
    """Answer requests, one JSON object a line, until the other end closes.

    prepare   structures -> the calls that can be timed on them, by name; a call is preceded by moving the atoms
    facts     what the contestant says of itself: parameters, versions
    """
    torch.set_num_threads(1)
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    idle = {"torch": torch.__version__, "idle_MB": memory_MB("VmRSS")}
    replies.write(json.dumps({**idle, **facts}) + "\n")
    rng = np.random.default_rng(0)
    atoms: list[ase.Atoms] = []
    calls: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "system" in request:
            atoms, calls = [], {}  # what they hold must not count for the next one
            forget_peak()
            atoms = systems(request["system"])
            calls = prepare(atoms)
            reply = {"n_atoms": sum(map(len, atoms)), "calls": list(calls)}
        else:
            for one in atoms:
                one.positions += rng.uniform(-JITTER, JITTER, (len(one), 3))
            wall, cpu = time.perf_counter(), time.process_time()
            calls[request["call"]]()
            reply = {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "peak_MB": memory_MB("VmHWM"),
            }
        replies.write(json.dumps(reply) + "\n")


def forget_peak() -> None:
    """Begin a new peak of the resident memory, where the kernel allows it (Linux)."""
    with contextlib.suppress(OSError):  # elsewhere the peak is that of all systems so far
        Path("/proc/self/clear_refs").write_text("5")


def memory_MB(kind: str) -> float:
    """Resident memory in MB: what it is ("VmRSS") or its peak ("VmHWM"); elsewhere than on Linux always the peak."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{kind}:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def energy_and_forces(
    calculator: Any, learner: Callable[[list[ase.Atoms]], Callable[[], Any]] | None = None
) -> Callable[[list[ase.Atoms]], dict[str, Callable[[], Any]]]:
    """What a peer can be asked: energy and forces of one structure through its ASE calculator, and, where there is a
    `learner`, a step of training on several structures, for which that makes the call."""

    def prepare(atoms: list[ase.Atoms]) -> dict[str, Callable[[], Any]]:
        if learner is not None and len(atoms) > 1:
            return {"training step": learner(atoms)}
        (structure,) = atoms
        structure.calc = calculator
        return {"energy and forces": lambda: (structure.get_potential_energy(), structure.get_forces())}

    return prepare


def training_step(
    model: torch.nn.Module, predict: Callable[[], tuple[torch.Tensor, torch.Tensor]], sizes: list[int]
) -> Callable[[], None]:
    """Errors of energy per atom and forces, squared; backward; Adam. The labels are zeros, which cost what any cost.

    predict   to energies (n_structures,) and forces (n_atoms, 3) that the weights can be differentiated through
    sizes     atoms in each structure
    """
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        energies, forces = predict()
        (
            0.5 * (energies / energies.new_tensor(sizes)).square().mean() + 0.5 * forces.square().mean()
        ).backward()
        optimizer.step()

    return step
