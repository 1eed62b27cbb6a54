"""What does a batch gain? Dynamics with ASE, and of 1, 8 and 32 replicas at once with torch-sim, in turns.

python benchmarks/batched.py                  a table on the screen, and results/batched_cpu.json
python benchmarks/batched.py --device cuda    the same on an NVIDIA GPU, with results/batched_cuda.json

Needs torch-sim, which needs Python 3.12: pip install -e '.[torch-sim]'.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from systems import one

from workbench import Calculator, build
from workbench.ensembles import degrees_of_freedom, draw_velocities
from workbench.models import Potential

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
MODEL, PRESET = "lorem", "small"
TIMESTEP_FS = 0.1  # random weights hold nothing together: a short way
# System, steps of a turn, replicas. A batch of 32 boxes is for a GPU: here it would wait for memory.
SYSTEMS = (("aspirin", 5, (1, 8, 32)), ("water:192", 2, (1, 8)))
ON_GPU = (("aspirin", 20, (1, 8, 32, 128)), ("water:192", 20, (1, 8, 32)))
Turn = Callable[[int], None]  # so many steps


def replica(system: str, seed: int) -> ase.Atoms:
    """The same structure with velocities of its own."""
    atoms = one(system, 0)
    draw_velocities(atoms, 300, degrees_of_freedom(atoms, "nve"), np.random.default_rng(seed))
    return atoms


def with_ase(system: str, model: Potential, device: str) -> Turn:
    atoms = replica(system, 0)
    atoms.calc = Calculator(model, device=device)
    return VelocityVerlet(atoms, TIMESTEP_FS * units.fs).run  # type: ignore[no-any-return]


def with_torch_sim(system: str, n_replicas: int, model: Potential, device: str) -> Turn:
    """torch-sim's velocity Verlet of all replicas in one batch."""
    if sys.path[0] == str(HERE):
        sys.path.append(
            sys.path.pop(0)
        )  # torch-sim imports PyTables, which has the name of a file beside this one
    import torch_sim as ts

    from workbench.torch_sim import TorchSimModel

    batched = TorchSimModel(model, device=device)
    frames = [replica(system, seed) for seed in range(n_replicas)]
    state = ts.nve_init(ts.io.atoms_to_state(frames, batched.device, batched.dtype), batched, kT=0.0)
    momenta = np.concatenate([atoms.get_momenta() for atoms in frames])
    state.momenta = torch.tensor(momenta, device=batched.device)
    timestep = torch.tensor(TIMESTEP_FS * units.fs, dtype=batched.dtype, device=batched.device)

    def turn(n_steps: int) -> None:
        nonlocal state
        for _ in range(n_steps):
            state = ts.nve_step(state, batched, dt=timestep)

    return turn


def clock(device: str) -> float:
    """CPU time of this process, which neighbours do not lengthen; with a GPU the time that passes."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def race(
    system: str, n_steps: int, replicas: tuple[int, ...], rounds: int, device: str
) -> list[dict[str, Any]]:
    """ms per step and structure of each contestant, in every round."""
    torch.manual_seed(0)
    model = build(MODEL, PRESET)
    turns: dict[str, tuple[int, Turn]] = {"ASE": (1, with_ase(system, model, device))}
    for n in replicas:
        turns[f"torch-sim, {n} at once"] = (n, with_torch_sim(system, n, model, device))
    times: dict[str, list[float]] = {name: [] for name in turns}
    for n in range(-1, rounds):
        for name, (n_replicas, turn) in turns.items():
            began = clock(device)
            turn(n_steps)
            if n >= 0:  # the first warms up
                times[name].append(1000 * (clock(device) - began) / n_steps / n_replicas)
    return [{"system": system, "contestant": name, "ms": values} for name, values in times.items()]


def measure(device: str, rounds: int, systems: tuple[Any, ...]) -> dict[str, Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [row for system in systems for row in race(*system, rounds, device)]
    finally:
        torch.set_num_threads(before)
    place = torch.cuda.get_device_name() if device == "cuda" else "processor, one thread"
    return {"model": f"{MODEL} {PRESET}", "device": place, "rows": rows}


def circumstances() -> dict[str, Any]:
    """Those of run.py, asked in a process of its own: it needs the file beside this one."""
    code = "import json, run; print(json.dumps(run.circumstances()))"
    asked = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    return dict(json.loads(asked.stdout))


def table(found: dict[str, Any]) -> str:
    kind = "CPU ms" if found["device"].startswith("processor") else "ms"
    lines = [f"|  | {kind} per step and structure (least) | × ASE, median of turns |", "| --- | ---: | ---: |"]
    for row in found["rows"]:
        alone = next(r for r in found["rows"] if (r["system"], r["contestant"]) == (row["system"], "ASE"))
        ratio = median(mine / its for mine, its in zip(row["ms"], alone["ms"], strict=True))
        lines.append(
            f"| {row['system']}, {row['contestant']} | {median(row['ms']):.2f} ({min(row['ms']):.2f}) | {ratio:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each [7]")
    parser.add_argument(
        "--smallest", action="store_true", help="a water molecule, once, and no file: for the tests"
    )
    options = parser.parse_args()
    systems = ON_GPU if options.device == "cuda" else SYSTEMS
    if options.smallest:
        systems, options.rounds = (("H2O", 1, (1, 2)),), 1
    found = {"circumstances": circumstances(), **measure(options.device, options.rounds, systems)}
    if not options.smallest:
        path = RESULTS / f"batched_{options.device}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
