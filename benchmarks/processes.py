"""Training by several processes: how much faster, and whether it is the same training. `fit` under torchrun, one thread
each, the same batch shared among them.

python benchmarks/processes.py                                    one and two; a table, and results/processes_cpu.json
python benchmarks/processes.py --device cuda --processes 1 2 4 8    a GPU for each
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from race import ONE_THREAD
from run import RESULTS, circumstances
from safetensors.torch import load_file

from workbench import Stream, TrainingConfig, build, catalogue, fit
from workbench.splits import given_split

WARM_UP = 5  # steps that are not timed
# Set, frames of a step (over all processes), steps.
TRAININGS = (("ethanol", 32, 40), ("water_box", 8, 20))
MODEL, PRESET = "lorem", "small"


def worker(order: Mapping[str, Any]) -> None:
    """What each process does: train, and the first of them writes down how it went."""
    frames = catalogue.load(order["data"])
    train, validation, _ = given_split(frames)
    train = train[: order["batch_size"] * order["steps"]]
    epochs = -(-order["steps"] * order["batch_size"] // len(train))
    config = TrainingConfig(
        epochs=epochs,
        batch_size=order["batch_size"],
        schedule="constant",
        validate_every=epochs,
        save_every_minutes=60,
        device=order["device"],
        precision=order["precision"],
    )
    rows: list[dict[str, float]] = []

    def note(row: Mapping[str, float]) -> None:
        if "loss" in row:
            rows.append({"loss": row["loss"], "wall_s": time.perf_counter(), "cpu_s": time.process_time()})

    stream = Stream()
    stream.subscribe(note)
    torch.manual_seed(0)
    model = build(order["model"], order["preset"])
    fit(model, train, validation[:8], config, folder=order["folder"], stream=stream, progress=False)
    if rows:
        Path(order["folder"], "steps.json").write_text(json.dumps(rows))


def train(n_processes: int, order: Mapping[str, Any]) -> dict[str, Any]:
    """One training by so many processes: steps per second, CPU time of one process, losses and weights."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={n_processes}", __file__, "--worker", json.dumps(order)]
    environment = {**os.environ, **ONE_THREAD, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{n_processes} processes ended with code {run.returncode}: {run.stderr[-2000:]}")
    rows = json.loads(Path(order["folder"], "steps.json").read_text())
    timed = rows[min(WARM_UP, len(rows) - 2) :]
    first, last, n_steps = timed[0], timed[-1], len(timed) - 1
    return {
        "steps_per_s": n_steps / (last["wall_s"] - first["wall_s"]),
        "cpu_ms": 1000 * (last["cpu_s"] - first["cpu_s"]) / n_steps,
        "losses": [row["loss"] for row in rows],
        "weights": load_file(Path(order["folder"], "last.safetensors")),
    }


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """Of two trainings, relative: the largest of a loss, and of a weight in parts of the largest of its tensor."""
    losses = [abs(b - a) / abs(a) for a, b in zip(one["losses"], other["losses"], strict=True)]
    weights = [
        float((other["weights"][name] - w).abs().max() / w.abs().max().clamp(min=1e-30))
        for name, w in one["weights"].items()
        if w.is_floating_point() and w.numel()
    ]
    return {"loss": max(losses), "weights": max(weights)}


def measure(
    trainings: Sequence[tuple[str, int, int]], processes: Sequence[int], rounds: int, **settings: str
) -> list[dict[str, Any]]:
    """A row for each training and number of processes; in each round all numbers take their turn."""
    found = []
    for data, batch_size, steps in trainings:
        order = {"data": data, "batch_size": batch_size, "steps": steps, **settings}
        runs: dict[int, list[dict[str, Any]]] = {n: [] for n in processes}
        for _ in range(rounds):
            for n in processes:
                with TemporaryDirectory() as folder:
                    runs[n].append(train(n, {**order, "folder": folder}))
        alone = runs[processes[0]]
        for n in processes:
            faster = [b["steps_per_s"] / a["steps_per_s"] for a, b in zip(alone, runs[n], strict=True)]
            found.append(
                {
                    "training": f"{data}, {batch_size} frames a step",
                    "processes": n,
                    "steps_per_s": [run["steps_per_s"] for run in runs[n]],
                    "faster": faster,
                    "efficiency": median(faster) * processes[0] / n,
                    "cpu_ms": [run["cpu_ms"] for run in runs[n]],
                    "cpu_efficiency": median(
                        a["cpu_ms"] / b["cpu_ms"] * processes[0] / n
                        for a, b in zip(alone, runs[n], strict=True)
                    ),
                    "difference": difference(alone[0], runs[n][0]),
                }
            )
    return found


def table(found: Mapping[str, Any]) -> str:
    lines = ["| training | processes | steps/s | × faster | efficiency | CPU ms per step, of one process |"]
    lines[0] += " efficiency by CPU time | largest relative difference of a loss | of a weight |"
    lines.append("| --- |" + " ---: |" * 8)
    for row in found["rows"]:
        cells = [row["training"], row["processes"], f"{median(row['steps_per_s']):.2f}"]
        cells += [f"{median(row['faster']):.2f}", f"{100 * row['efficiency']:.0f} %"]
        cells += [f"{median(row['cpu_ms']):.0f}", f"{100 * row['cpu_efficiency']:.0f} %"]
        cells += [f"{row['difference'][kind]:.0e}" for kind in ("loss", "weights")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 2], metavar="N", help="the first is compared to"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    parser.add_argument("--smallest", action="store_true", help="a few steps, once, and no file: for the tests")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    settings = {"model": MODEL, "preset": PRESET, "device": options.device, "precision": options.precision}
    trainings = TRAININGS
    if options.smallest:
        settings, trainings, options.rounds = {**settings, "preset": "tiny"}, (("ethanol", 4, 6),), 1
    before = circumstances()
    found = {"circumstances": before, "settings": settings}
    found["rows"] = measure(trainings, options.processes, options.rounds, **settings)
    before["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
    if options.smallest:
        print(json.dumps(found["rows"]))
        return
    (RESULTS / f"processes_{options.device}.json").write_text(
        json.dumps(found, indent=1) + "\n", encoding="utf-8"
    )
    print(table(found))


if __name__ == "__main__":
    main()
