"""Training from a set on disk: how long until the first step, how much memory, and how fast beside a set in memory.

    python benchmarks/streaming.py --frames 1000000

makes a set of rattled water molecules with the energies and forces of springs, in a temporary folder, trains LOREM
`tiny` on it for a number of steps, and on a thousand of its frames held in memory. Nothing is learned here: what is
measured is reading.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.build import molecule

from workbench.jobs import Control
from workbench.models import build
from workbench.runs import TrainingConfig
from workbench.splits import split
from workbench.stored import COLUMNS, FORMAT, NO_SPLIT, StoredFrames, open_frames
from workbench.stream import Row, Stream
from workbench.training import fit

SPRING = 30.0  # eV/Å^2
AT_ONCE = 100_000  # frames


def generate(path: Path, n_frames: int, seed: int = 0) -> StoredFrames:
    """A set of water molecules, each atom on a spring, in the layout that `workbench.stored` describes."""
    water, rng = molecule("H2O"), np.random.default_rng(seed)
    shape = {"frame": n_frames, "fence": n_frames + 1, "atom": 3 * n_frames, "letter": 0}
    about = {
        "source": "springs",
        "units": "eV, Å",
        "n_frames": n_frames,
        "splits": [],
        "sha256": f"seed {seed}",
    }
    about |= {"labels": {"energy": n_frames, "forces": n_frames}}
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["about"] = np.bytes_(FORMAT), np.bytes_(json.dumps(about))
        for name, (kind, entry, of) in COLUMNS.items():
            if name not in ("stress", "charges", "dipole"):
                file.create_dataset(name, (shape[of], *entry), kind)
        file["first_atom"][:] = 3 * np.arange(n_frames + 1)
        for name, value in {"split": NO_SPLIT, "state": np.nan, "cell": 0, "pbc": 0, "first_letter": 0}.items():
            file[name][:] = np.full(file[name].shape, value)  # h5py writes a lone number entry by entry
        for start in range(0, n_frames, AT_ONCE):
            n = min(AT_ONCE, n_frames - start)
            moved = 0.1 * rng.normal(size=(n, 3, 3))
            atoms = slice(3 * start, 3 * (start + n))
            file["numbers"][atoms] = np.tile(water.numbers, n)
            file["positions"][atoms] = (water.positions + moved).reshape(-1, 3)
            file["forces"][atoms] = (-SPRING * (moved - moved.mean(axis=1, keepdims=True))).reshape(-1, 3)
            inner = moved - moved.mean(axis=1, keepdims=True)
            file["energy"][start : start + n] = 0.5 * SPRING * np.square(inner).sum(axis=(1, 2))
    return open_frames(path)


def timed(frames: Any, folder: Path, n_steps: int, workers: int) -> dict[str, float]:
    """Train for some steps. Seconds from the call to the first step, steps/s after it, memory so far [GB]."""
    control, stream, at = Control(), Stream(), []

    def count(row: Row) -> None:
        if "loss" in row:
            at.append(time.monotonic())
            if len(at) > n_steps:
                control.stop()

    stream.subscribe(count)
    began = time.monotonic()
    train, validation, _ = split(frames, validation=64, test=0)
    model = build("lorem", "tiny", cutoff=4.0)
    config = TrainingConfig(epochs=1000, batch_size=8, device="cpu")
    fit(
        model,
        train,
        validation,
        config,
        folder=folder,
        stream=stream,
        control=control,
        progress=False,
        workers=workers,
    )
    return {
        "first_step_s": at[0] - began,
        "steps_per_s": (len(at) - 1) / (at[-1] - at[0]),
        "memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def measure(n_frames: int, n_steps: int, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    generate(folder / "set.h5", n_frames)
    made, opening = time.monotonic() - began, time.monotonic()
    stored = open_frames(folder / "set.h5")
    found: dict[str, Any] = {
        "n_frames": n_frames,
        "file_MB": (folder / "set.h5").stat().st_size / 1e6,
        "generated_in_s": made,
        "opened_in_s": time.monotonic() - opening,
    }
    timed(stored[:200], folder / "warm", 5, 0)  # what loads once only
    found["disk"] = timed(stored, folder / "disk", n_steps, 0)
    found["disk, 1 worker"] = timed(stored, folder / "worker", n_steps, 1)
    found["memory, 1000 frames"] = timed(list(stored[:1000]), folder / "memory", n_steps, 0)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(asked.frames, asked.steps, Path(temporary)), indent=2))
