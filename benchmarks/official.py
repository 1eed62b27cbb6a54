"""AllScAIP beside the official code (fairchem-core) at the same weights: time and memory of energy and forces.

python benchmarks/official.py
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from peers.environments import ROOT
from race import Contestant, race
from speed import WHOLE, shown

PYTHON = ROOT / "fairchem" / "bin" / "python"
VARIANTS = ("NeAnNoSi", "NeNo")  # with the biases of angles and distances, and without
CODES = ("official", "ours")
ROUNDS = (("aspirin", 12), ("water:192", 4), ("water:648", 2))
SAME = 1e-5  # relative, in single precision


def measure() -> dict[str, Any]:
    """Everything, as {"contestants": facts by name, "times": records}.

    Raises ValueError where the two codes do not give aspirin the same energy.
    """
    facts, times = {}, []
    for variant in VARIANTS:
        # The official one comes first: it makes the weights.
        running = [Contestant(f"{variant}, official", ("allscaip.py", "--variant", variant), PYTHON)]
        try:
            running.append(Contestant(f"{variant}, ours", ("allscaip_workbench.py", "--variant", variant)))
            official, ours = (one.facts["energy_of_aspirin"] for one in running)
            if abs(ours - official) > SAME * abs(official):
                raise ValueError(
                    f"{variant}: aspirin has {official} eV by the official code, {ours} eV by ours"
                )
            facts |= {one.name: one.facts for one in running}
            for system, n_rounds in ROUNDS:
                times += shown(race(running, system, n_rounds, WHOLE))
        finally:
            for one in running:
                one.close()
    return {"contestants": facts, "times": [one.record() for one in times]}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps(measure()["contestants"], indent=1))
