"""Speed and memory of the models, the parts of their time, dynamics and training; and peers beside them: one run, one
thread.

python benchmarks/speed.py [--peers]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from race import Contestant, Times, race

OURS: dict[str, tuple[str, ...]] = {
    **{f"LOREM {preset}": ("model.py", "lorem", preset) for preset in ("tiny", "small", "paper")},
    **{f"MLANet {preset}": ("model.py", "mlanet", preset) for preset in ("tiny", "small")},
    "AllScAIP tiny": ("model.py", "allscaip", "tiny"),
}
# Without the long-range block: what that costs is the difference.
LOCAL: dict[str, tuple[str, ...]] = {
    f"LOREM {preset}, local": ("model.py", "lorem", preset, json.dumps({"long_range": False}))
    for preset in ("small", "paper")
}
LEARNERS = (
    "NequIP, preset S",
    "NequIP, 3 layers, l = 2",
    "MACE 96x0e+96x1o",
)  # peers that offer a step of training
RACED = ("LOREM small", "MLANet small")  # of like size as the peers
MOVED = ("LOREM small", "MLANet small", "AllScAIP tiny")
# Systems and rounds of energy and forces; the water boxes are at 1 g/cm3.
INFERENCE = (("aspirin", 15), ("water:192", 7), ("water:648", 3))
# One molecule, open and in a periodic box: next to no arithmetic, so what is left is Python and dispatch.
SMALLEST = {"aspirin": "H2O", "water:192": "water:3", "water:648": "water:3"}
TRAINING = (("8*ethanol", 10), ("4*water:192", 3))
LARGEST_OF_SLOW = "8*ethanol"  # a step of MACE on four boxes takes more than ten seconds
DYNAMICS = (("aspirin", 4), ("water:192", 2))
WHOLE = ("energy and forces",)
GRAPHS = ("graph from new pairs", "graph from kept pairs")
MD_STEPS = 10
MD_CALLS = (
    "model alone",
    f"run_md, {MD_STEPS} steps",
    "run_md, 0 steps",
    f"ASE VelocityVerlet, {MD_STEPS} steps",
)


def measure(smallest: bool = False) -> dict[str, Any]:
    """The product alone, with all the parts of its time, as {"contestants": facts by name, "times": records}.

    smallest   the least that exercises every part, for the tests
    """
    ours = {name: OURS[name] for name in (("LOREM tiny",) if smallest else OURS)}
    twins = {"LOREM tiny, local": ("model.py", "lorem", "tiny", '{"long_range": false}')} if smallest else LOCAL
    return results(
        [Contestant(name, command) for name, command in (ours | twins).items()],
        lambda running: all_races(running, len(ours), smallest),
    )


def measure_peers() -> dict[str, Any]:
    """Energy and forces, and a step of training, of the product and of those of peers/environments.py whose environment
    is there."""
    from peers.environments import PEERS

    running = [Contestant(name, OURS[name]) for name in RACED]
    running += [Contestant(name, LOCAL[name]) for name in ("LOREM small, local",)]
    running += [Contestant(p.name, p.command, p.python, p.variables) for p in PEERS if p.python.exists()]
    learners = [*running[: len(RACED)], *(one for one in running if one.name in LEARNERS)]
    return results(running, lambda running: inference(running) + training(learners))


def results(
    running: Sequence[Contestant], races: Callable[[Sequence[Contestant]], list[Times]]
) -> dict[str, Any]:
    """What the races give; then the contestants end."""
    try:
        times = races(running)
    finally:
        for one in running:
            one.close()
    return {"contestants": {one.name: one.facts for one in running}, "times": [one.record() for one in times]}


def inference(running: Sequence[Contestant], smallest: bool = False) -> list[Times]:
    times = []
    for system, n_rounds in (("H2O", 1),) if smallest else INFERENCE:
        times += shown(race(running, system, n_rounds, WHOLE))
    return times


def training(running: Sequence[Contestant], smallest: bool = False) -> list[Times]:
    times = []
    for system, n_rounds in (("2*H2O", 1),) if smallest else TRAINING:
        fast = [one for one in running if system == LARGEST_OF_SLOW or not one.name.startswith("MACE")]
        times += shown(race(fast, system, n_rounds, ("training step",)))
    return times


def all_races(product: Sequence[Contestant], n_ours: int, smallest: bool) -> list[Times]:
    """Inference, its parts, dynamics and training."""
    times = inference(product, smallest)
    for system in ("aspirin",) if smallest else dict.fromkeys([*SMALLEST, *SMALLEST.values()]):
        times += race(product, system, 1 if smallest else 5, GRAPHS if system in SMALLEST else WHOLE)
    moved = [one for one in product if one.name in MOVED] or product[:1]
    for system, n_rounds in (("H2O", 1),) if smallest else DYNAMICS:
        times += shown(race(moved, system, n_rounds, MD_CALLS))
    return times + training(product[:n_ours], smallest)


def shown(times: list[Times]) -> list[Times]:
    """The same, after a line each on the screen: a long run is not silent."""
    for one in times:
        record = one.record()
        print(
            f"{one.system:12s} {one.contestant:24s} {one.call:30s} {record['cpu_ms']:9.1f} ms CPU "
            f"{record['wall_ms']:9.1f} ms wall {one.peak_MB:6.0f} MB",
            flush=True,
        )
    return times


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="beside the peers whose environments exist")
    measured = measure_peers() if parser.parse_args().peers else measure()
    print(json.dumps(measured["contestants"], indent=1))
