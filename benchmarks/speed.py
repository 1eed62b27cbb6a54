"""Speed and memory of LOREM's presets, the parts of their time, dynamics; and peers beside them: one run, one thread.

python benchmarks/speed.py [--peers]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from race import Contestant, Times, race

# The last ones without their long-range block: what that block costs is the difference.
PRESETS = ("tiny", "small", "paper")
TWINS = ("small", "paper")
OURS: dict[str, tuple[str, ...]] = {f"LOREM {preset}": ("lorem.py", preset) for preset in PRESETS}
LOCAL: dict[str, tuple[str, ...]] = {
    f"LOREM {preset}, local": ("lorem.py", preset, "local") for preset in TWINS
}
# Systems and rounds of energy and forces; the water boxes are at 1 g/cm3.
INFERENCE = (("aspirin", 15), ("water:192", 7), ("water:648", 3))
# One molecule, open and in a periodic box: next to no arithmetic, so what is left is Python and dispatch.
SMALLEST = {"aspirin": "H2O", "water:192": "water:3", "water:648": "water:3"}
TRAINING = (("8*ethanol", 10), ("4*water:192", 3))
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
    ours = {"LOREM tiny": ("lorem.py", "tiny")} if smallest else OURS
    twins = {"LOREM tiny, local": ("lorem.py", "tiny", "local")} if smallest else LOCAL
    return results(
        [Contestant(name, command) for name, command in (ours | twins).items()],
        lambda running: all_races(running, len(ours), smallest),
    )


def measure_peers() -> dict[str, Any]:
    """Energy and forces of the product and of those of peers/environments.py whose environment is there."""
    from peers.environments import PEERS

    running = [Contestant(name, command) for name, command in (OURS | LOCAL).items()]
    running += [Contestant(p.name, p.command, p.python, p.variables) for p in PEERS if p.python.exists()]
    return results(running, inference)


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


def all_races(product: Sequence[Contestant], n_ours: int, smallest: bool) -> list[Times]:
    """Inference, its parts, dynamics and training."""
    main = [one for one in product[:n_ours] if one.name != "LOREM tiny"] or product[:n_ours]
    times = inference(product, smallest)
    for system in ("aspirin",) if smallest else dict.fromkeys([*SMALLEST, *SMALLEST.values()]):
        times += race(product, system, 1 if smallest else 5, GRAPHS if system in SMALLEST else WHOLE)
    for system, n_rounds in (("H2O", 1),) if smallest else DYNAMICS:
        times += shown(race(main[:1], system, n_rounds, MD_CALLS))
    for system, n_rounds in (("2*H2O", 1),) if smallest else TRAINING:
        times += shown(race(main, system, n_rounds))
    return times


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
