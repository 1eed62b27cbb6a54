"""Does dynamics keep its energy? The tour's model, trained with and without softened norms, and a run of NVE with each.

python benchmarks/drift.py          the numbers, on the screen; `run.py --only drift` keeps them and draws them
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from workbench import Stream, TrainingConfig, build, catalogue, evaluate, fit, run_md
from workbench.analysis import drift_of

SOFTENINGS = (0.0, 0.1)
EPOCHS = 12
TIMESTEP_FS = 0.5
TEMPERATURE_K = 300.0
TEST_FRAME = 40  # of the tour
EVERY = 10  # rows of the stream between those that are kept for the figure


def measure(time_ps: float = 10.0, epochs: int = EPOCHS) -> dict[str, Any]:
    """One row per softening of the norms."""
    return {"rows": [row(softening, time_ps, epochs) for softening in SOFTENINGS]}


def row(softening: float, time_ps: float, epochs: int) -> dict[str, Any]:
    """Train as notebooks/00_tour.ipynb does, then NVE: error on the test frames, drift and wander of the energy."""
    ethanol = catalogue.load("ethanol")
    train, validation, test = (
        [atoms for atoms in ethanol if atoms.info["split"] == part] for part in ("train", "validation", "test")
    )
    torch.manual_seed(0)
    model = build("lorem", "tiny", norm_softening=softening)
    config = TrainingConfig(
        epochs=epochs, learning_rate=5e-3, constant_epochs=min(3, epochs - 1), seed=0, device="cpu"
    )
    with TemporaryDirectory() as folder:
        fit(model, train, validation[::2], config, folder=folder, progress=False)
    atoms = test[TEST_FRAME]
    rows = Stream()
    run = run_md(
        atoms, model, temperature_K=TEMPERATURE_K, timestep_fs=TIMESTEP_FS, time_ps=time_ps, stream=rows
    )
    steps = rows.since(0)
    drift = drift_of(steps, len(atoms))
    energy = 1000 * np.array([step["total_energy"] for step in steps]) / len(atoms)  # meV/atom
    return {
        "norm_softening": softening,
        "forces_rmse_meV_per_A": 1000 * evaluate(model, test).forces.rmse,
        "state": run.state,
        "time_ps": steps[-1]["time_fs"] / 1000,
        "drift_meV_per_atom_per_ns": drift.meV_per_atom_per_ns,
        "low": drift.low_meV_per_atom_per_ns,
        "high": drift.high_meV_per_atom_per_ns,
        "verdict": drift.verdict,
        "std_meV_per_atom": float(energy.std()),
        "range_meV_per_atom": float(np.ptp(energy)),
        "curve": {
            "time_ps": [step["time_fs"] / 1000 for step in steps[::EVERY]],
            "meV_per_atom": (energy - energy[0])[::EVERY].round(4).tolist(),
        },
    }


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The total energy along each run, one panel per softening, each on a scale of its own."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4.6 * len(rows), 3.0), squeeze=False)
    for axis, one in zip(axes.flat, rows, strict=True):
        axis.plot(one["curve"]["time_ps"], one["curve"]["meV_per_atom"], lw=0.7, color="tab:blue")
        axis.set(title=f"norm_softening {one['norm_softening']:g}", xlabel="time / ps")
    axes.flat[0].set_ylabel("energy from the first / meV/atom")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(), indent=1))
