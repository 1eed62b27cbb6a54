"""Do the networks of accuracy.py hold a molecule together? NVT at 500 K, judged as published, and NVE with gradient and
with direct forces.

    python benchmarks/stability.py --data FOLDER    after accuracy.py; results/stability.json

The criterion is that of Fu et al., "Forces are not enough" (arXiv:2210.07237): a run is unstable from the first frame
in which a bond departs by more than 0.5 Å from its mean length in the data. They run Nosé-Hoover for 300 ps, from five
frames; here it is Langevin, one frame, and as long as the CPU time given allows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from accuracy import RESULTS, WEIGHTS, Budget, Training, read
from ase.data import covalent_radii
from run import circumstances

from workbench import Stream, run_md
from workbench.analysis import drift_of
from workbench.runs import Run

NVT = (Training("md17_ethanol"), Training("rmd17_aspirin"))
NVE = (Training("md17_ethanol"), Training("md17_ethanol", variant="direct"))
HEAT_K, WARM_K = 500.0, 300.0  # of NVT and of NVE
TIMESTEP_FS = 0.5
EVERY = 20  # steps between frames that are looked at
DEPARTURE = 0.5  # Å
BONDED = 1.25  # times the sum of covalent radii
LONGEST = 10_000_000  # steps; the time given ends a run first


class Bonds:
    """The bonds of a molecule and their mean lengths in the data.

    worst   the largest departure of a bond seen so far [Å]
    """

    def __init__(self, frames: list[ase.Atoms]) -> None:
        means = np.mean([frame.get_all_distances() for frame in frames], axis=0)
        radii = covalent_radii[frames[0].numbers]
        self.i, self.j = np.nonzero(np.triu(means < BONDED * (radii[:, None] + radii), k=1))
        self.lengths, self.worst = means[self.i, self.j], 0.0

    def departure(self, atoms: ase.Atoms) -> float:
        """The largest of this frame [Å]."""
        now = np.linalg.norm(atoms.positions[self.i] - atoms.positions[self.j], axis=1)
        found = float(np.abs(now - self.lengths).max())
        self.worst = max(self.worst, found)
        return found


def heated(training: Training, parts: dict[str, list[ase.Atoms]], seconds: float) -> dict[str, Any]:
    """NVT until a bond departs or the CPU time [s] is over."""
    bonds, budget, rows = Bonds(parts["train"]), Budget(seconds), Stream()

    def watch(atoms: ase.Atoms) -> None:
        if bonds.departure(atoms) > DEPARTURE:
            budget.stop()

    run = run_md(
        parts["test"][0],
        Run.open(WEIGHTS / training.name.replace(" ", "_")).model("best"),
        ensemble="langevin",
        temperature_K=HEAT_K,
        timestep_fs=TIMESTEP_FS,
        n_steps=LONGEST,
        interval=EVERY,
        watch=watch,
        stream=rows,
        control=budget,
    )
    temperatures = [row["temperature_K"] for row in rows.since(0)]
    return {
        "data": training.data,
        "time_ps": run.n_steps * TIMESTEP_FS / 1000,
        "stable": bonds.worst <= DEPARTURE and run.state != "exploded",
        "ended": run.reason,
        "n_bonds": len(bonds.lengths),
        "worst_departure_A": bonds.worst,
        "mean_temperature_K": float(np.mean(temperatures[len(temperatures) // 5 :])),
    }


def free(training: Training, parts: dict[str, list[ase.Atoms]], seconds: float) -> dict[str, Any]:
    """NVE for the CPU time [s]: what the total energy does."""
    budget, rows = Budget(seconds), Stream()
    atoms = parts["test"][0]
    run = run_md(
        atoms,
        Run.open(WEIGHTS / training.name.replace(" ", "_")).model("best"),
        temperature_K=WARM_K,
        timestep_fs=TIMESTEP_FS,
        n_steps=LONGEST,
        stream=rows,
        control=budget,
    )
    steps = rows.since(0)
    drift = drift_of(steps, len(atoms))
    energy = 1000 * np.array([step["total_energy"] for step in steps]) / len(atoms)
    return {
        "data": training.data,
        "forces": training.variant or "gradient",
        "time_ps": run.n_steps * TIMESTEP_FS / 1000,
        "ended": run.reason,
        "drift_meV_per_atom_per_ps": drift.meV_per_atom_per_ns / 1000,
        "low": drift.low_meV_per_atom_per_ns / 1000,
        "high": drift.high_meV_per_atom_per_ns / 1000,
        "std_meV_per_atom": float(energy.std()),
        "range_meV_per_atom": float(np.ptp(energy)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the published sets")
    parser.add_argument("--nvt-seconds", type=float, default=35.0, help="of CPU time, for each molecule")
    parser.add_argument("--nve-seconds", type=float, default=20.0, help="of CPU time, for each kind of forces")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of stability.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    sets = {name: read(options.data, name) for name in {training.data for training in (*NVT, *NVE)}}
    found: dict[str, Any] = {"circumstances": circumstances(), "nvt": [], "nve": []}
    for training in NVE:
        found["nve"].append(free(training, sets[training.data], options.nve_seconds))
        print(found["nve"][-1], flush=True)
    for training in NVT:
        found["nvt"].append(heated(training, sets[training.data], options.nvt_seconds))
        print(found["nvt"][-1], flush=True)
    (options.out / "stability.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
