"""What MLANet costs with features up to l_max 1, 2 and 3, with gradient and with direct forces, and beside NequIP.

    python benchmarks/degrees.py            results/degrees.json; NequIP where build/peers/nequip is installed
    python benchmarks/degrees.py --smallest the least that exercises it

Timed as README.md says: every contestant is a process of its own and makes one call a round, CPU times, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.environments import PEERS
from race import Contestant, Times, race
from run import circumstances
from speed import results, shown

RESULTS = Path(__file__).resolve().parent / "results"
STEP = "8*ethanol"  # of training
FORCES: dict[str, dict[str, str]] = {"gradient": {}, "direct": {"forces": "direct"}}
INFERENCE = (("aspirin", 7), ("water:192", 3))


def learners(degrees: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """`tiny`, once for every degree, and with direct forces for the second of them."""
    kinds = [(degree, kind) for kind in FORCES for degree in (degrees if kind == "gradient" else degrees[1:2])]
    return {
        f"tiny, l_max {degree}, {kind}": (
            "model.py",
            "mlanet",
            "tiny",
            json.dumps({"max_degree": degree, **FORCES[kind]}),
        )
        for degree, kind in kinds
    }


def callers() -> dict[str, tuple[str, ...]]:
    """The presets, as they are raced against NequIP."""
    return {
        "MLANet tiny": ("model.py", "mlanet", "tiny"),
        "MLANet small": ("model.py", "mlanet", "small"),
        "MLANet small, direct": ("model.py", "mlanet", "small", json.dumps(FORCES["direct"])),
        "MLANet paper, direct": ("model.py", "mlanet", "paper"),
    }


def training(smallest: bool = False) -> dict[str, Any]:
    """A step of every degree."""
    running = [Contestant(name, command) for name, command in learners((1,) if smallest else (1, 2, 3)).items()]
    system, n_rounds = ("2*H2O", 1) if smallest else (STEP, 7)
    return results(running, lambda running: shown(race(running, system, n_rounds)))


def inference(smallest: bool = False) -> dict[str, Any]:
    """Energy and forces of ours and of NequIP's preset S, in one run."""
    commands = dict(list(callers().items())[:1]) if smallest else callers()
    running = [Contestant(name, command) for name, command in commands.items()]
    if not smallest:
        peers = [peer for peer in PEERS if peer.environment == "nequip" and peer.python.exists()]
        running += [Contestant(p.name, p.command, p.python, p.variables) for p in peers]

    def races(running: Sequence[Contestant]) -> list[Times]:
        rounds = (("H2O", 1),) if smallest else INFERENCE
        return [one for system, n in rounds for one in shown(race(running, system, n))]

    return results(running, races)


def measure(smallest: bool = False) -> dict[str, Any]:
    """Both parts, and where they were measured."""
    before = circumstances()
    found = {"training": training(smallest), "inference": inference(smallest)}
    before["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
    return {"circumstances": before, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smallest", action="store_true", help="the least that exercises every part")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of degrees.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "degrees.json"
    record.write_text(json.dumps(measure(options.smallest), indent=1) + "\n")


if __name__ == "__main__":
    main()
