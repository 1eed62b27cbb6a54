"""What compiling gains for a molecule, and what it costs first: energy and forces of aspirin, in turns with the
ordinary way.

python benchmarks/compiled.py       a table on the screen, and results/compiled.json; some minutes, most of it compiling
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from run import RESULTS, circumstances
from systems import one

from workbench import Calculator, build

MODELS = (("lorem", "tiny"), ("lorem", "small"), ("mlanet", "small"))
SYSTEM = "aspirin"
ROUNDS = 40


def caller(name: str, preset: str, compiled: bool) -> Callable[[], float]:
    """A call of energy and forces at positions that move a little; returns its CPU time [s]."""
    torch.manual_seed(0)
    atoms, rng = one(SYSTEM, 0), np.random.default_rng(0)
    atoms.calc = Calculator(build(name, preset), compiled=compiled)

    def call() -> float:
        atoms.positions += rng.uniform(-1e-3, 1e-3, atoms.positions.shape)
        began = time.process_time()
        atoms.get_forces()
        return time.process_time() - began

    return call


def measure() -> list[dict[str, Any]]:
    rows = []
    for name, preset in MODELS:
        ways = {"ordinary": caller(name, preset, False), "compiled": caller(name, preset, True)}
        began = time.perf_counter()
        ways["compiled"]()
        first_s = time.perf_counter() - began
        for call in ways.values():
            call()
        times = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, call in ways.items():
                times[way].append(1000 * call())
        row = {"model": f"{name} {preset}", "first_s": first_s}
        row |= {way: median(times[way]) for way in ways} | {"rounds": times}
        rows.append(row)
        saved = (row["ordinary"] - row["compiled"]) / 1000
        print(
            f"{row['model']:14s} {row['ordinary']:7.2f} ms, compiled {row['compiled']:7.2f} ms: x "
            f"{row['ordinary'] / row['compiled']:.2f}; {first_s:.0f} s of compiling, earned back after "
            f"{first_s / saved:.0f} steps",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    said = circumstances()
    record = {"circumstances": said, "rows": measure()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "compiled.json").write_text(json.dumps(record, indent=1) + "\n")
