"""How time and memory grow: the neighbour list to 100 000 atoms, LOREM by Ewald summation and on a mesh, the models
beside each other.

python benchmarks/scaling.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torchpme
from race import Contestant, race
from speed import WHOLE, shown
from systems import one as structure

from workbench.graphs import neighbours

CUTOFF = 5.0  # Å
DENSITY = 0.1  # atoms/Å^3, that of water
NEIGHBOURS_OF = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
SYSTEMS = (
    "salt:64",
    "salt:216",
    "salt:512",
    "salt:1728",
    "water:192",
    "water:375",
    "water:648",
    "water:1536",
    "water:5184",
)
LARGEST_EWALD = 2000  # atoms; time grows as n^2 and memory with it
PRESET = "small"
# The second AllScAIP is as large as the one that official.py holds to the official code.
RACED = {"n_features": 128, "n_layers": 2, "n_heads": 4, "n_radial": 512, "frequencies": [10, 5, 2, 5, 10]}
RACED |= {"cutoff": 6.0, "n_neighbours": 30}
MODELS = {
    "LOREM tiny": ("model.py", "lorem", "tiny"),
    "LOREM small": ("model.py", "lorem", "small"),
    "MLANet tiny": ("model.py", "mlanet", "tiny"),
    "MLANet small": ("model.py", "mlanet", "small"),
    "AllScAIP tiny": ("model.py", "allscaip", "tiny"),
    "AllScAIP 128 wide": ("model.py", "allscaip", "tiny", json.dumps(RACED)),
}
WATER = (24, 81, 192, 648, 1536, 5184, 12_288, 41_472, 98_304)  # atoms
FITTED_FROM = 500  # atoms
MOST_S, MOST_GB = (
    60,
    6,
)  # what a call may be expected to take; a model that would take more stays out of the next box


def measure(smallest: bool = False) -> dict[str, Any]:
    """Everything, by name; `smallest` is the least that exercises every part."""
    return {
        "neighbours": neighbour_list(smallest),
        "mesh": mesh_accuracy("water:24" if smallest else "water:648"),
        "long range": long_range(smallest),
    }


def neighbour_list(smallest: bool) -> dict[str, Any]:
    """Time of all pairs within the cutoff, of atoms at random in a periodic cube, and its exponent."""
    rows = []
    for n_atoms in NEIGHBOURS_OF[:3] if smallest else NEIGHBOURS_OF:
        edge = (n_atoms / DENSITY) ** (1 / 3)
        positions = np.random.default_rng(0).uniform(0, edge, (n_atoms, 3))
        seconds, n_pairs = [], 0
        for _ in range(5 if n_atoms < 30_000 else 3):
            began = time.process_time()
            receivers, _, _ = neighbours(positions, edge * np.eye(3), np.ones(3, bool), CUTOFF)
            seconds.append(time.process_time() - began)
            n_pairs = len(receivers)
        rows.append({"n_atoms": n_atoms, "n_pairs": n_pairs, "cpu_ms": 1000 * median(seconds)})
    # Below a thousand atoms the fixed cost of a call still counts.
    large = [row for row in rows if row["n_atoms"] >= 1000] if len(rows) > 3 else rows
    logs = np.log([[row["n_atoms"], row["cpu_ms"]] for row in large])
    return {"rows": rows, "exponent": float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])}


def mesh_accuracy(system: str) -> list[dict[str, Any]]:
    """Potentials and fields on a mesh against a converged Ewald sum, for neutral random charges in double precision.

    Only the reciprocal part, which is what the mesh changes; the splitting is that of LOREM (smearing a quarter of the
    cutoff). torch-pme rounds the number of mesh points up to a power of two, so the true spacing is mostly finer.
    """
    smearing = CUTOFF / 4
    coulomb = torchpme.CoulombPotential(smearing=smearing)
    atoms = structure(system, 0)
    charges = torch.from_numpy(np.random.default_rng(0).normal(size=(len(atoms), 10)))
    charges = charges - charges.mean(0)
    cell = torch.from_numpy(atoms.cell.array)
    no_pairs, no_distances = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)

    def summed(calculator: torchpme.Calculator) -> tuple[np.ndarray, np.ndarray, float]:
        positions = torch.from_numpy(atoms.positions).requires_grad_(True)
        began = time.process_time()
        found = calculator.to(torch.float64)(charges, cell, positions, no_pairs, no_distances)
        (gradient,) = torch.autograd.grad((found * charges).sum(), positions)
        return found.detach().numpy(), gradient.numpy(), 1000 * (time.process_time() - began)

    def error(found: np.ndarray, exact: np.ndarray) -> float:
        return float(np.sqrt(((found - exact) ** 2).mean() / (exact**2).mean()))

    exact_potentials, exact_fields, _ = summed(torchpme.EwaldCalculator(coulomb, lr_wavelength=smearing / 4))
    ways: dict[str, torchpme.Calculator] = {
        "Ewald, wavelength = smearing / 2": torchpme.EwaldCalculator(coulomb, lr_wavelength=smearing / 2)
    }
    for fraction in (1, 2):
        said = "smearing" if fraction == 1 else f"smearing / {fraction}"
        spacing = smearing / fraction
        ways[f"P3M, 4 nodes, spacing = {said}"] = torchpme.P3MCalculator(coulomb, spacing, 4)
        ways[f"PME, 6 nodes, spacing = {said}"] = torchpme.PMECalculator(coulomb, spacing, 6)
    rows = []
    for way, calculator in ways.items():
        trials = [summed(calculator) for _ in range(3)]
        rows.append(
            {
                "system": system,
                "way": way,
                "potential_error": error(trials[0][0], exact_potentials),
                "force_error": error(trials[0][1], exact_fields),
                "cpu_ms": median(trial[2] for trial in trials),
            }
        )
    return rows


def long_range(smallest: bool) -> list[dict[str, Any]]:
    """Energy and forces of LOREM by both sums, and without a long-range block, from small boxes to large."""
    preset = "tiny" if smallest else PRESET
    base = ("model.py", "lorem", preset)
    ways = {way: Contestant(way, (*base, "--sum", way)) for way in ("ewald", "mesh")}
    ways["local"] = Contestant("local", (*base, '{"long_range": false}'))
    rows = []
    try:
        for system in ("salt:64",) if smallest else SYSTEMS:
            n_atoms = len(structure(system, 0))
            taking_part = [one for way, one in ways.items() if way != "ewald" or n_atoms <= LARGEST_EWALD]
            n_rounds = 3 if n_atoms < 1000 else 1
            for times in race(taking_part, system, n_rounds, ("model alone",)):
                rows.append(times.record())
                print(
                    f"{system:12s} {times.contestant:6s} {rows[-1]['cpu_ms']:9.1f} ms {times.peak_MB:6.0f} MB",
                    flush=True,
                )
    finally:
        for one in ways.values():
            one.close()
    return rows


def models(smallest: bool = False) -> dict[str, Any]:
    """Energy and forces of every model, from few atoms of water to many, as {"contestants", "times", "exponents"}."""
    running = {name: Contestant(name, command) for name, command in MODELS.items()}
    facts = {name: one.facts for name, one in running.items()}
    records: list[dict[str, Any]] = []
    try:
        for n_atoms in (3, 24) if smallest else WATER:
            fit = [
                one
                for name, one in running.items()
                if affordable(records, name, facts[name]["idle_MB"], n_atoms)
            ]
            n_rounds = 3 if n_atoms < 1000 else 1
            records += [one.record() for one in shown(race(fit, f"water:{n_atoms}", n_rounds, WHOLE))]
    finally:
        for one in running.values():
            one.close()
    return {
        "contestants": facts,
        "times": records,
        "exponents": {name: exponents(records, name, facts[name]["idle_MB"]) for name in facts},
    }


def affordable(records: list[dict[str, Any]], name: str, idle_MB: float, n_atoms: int) -> bool:
    """Whether the model should manage so many atoms, by its last two sizes: time and memory go on as powers."""
    own = [r for r in records if r["contestant"] == name][-2:]
    if len(own) < 2:
        return len(own) == len({r["n_atoms"] for r in records})  # it has not stayed out before
    before, last = own
    if last["n_atoms"] < records[-1]["n_atoms"]:
        return False
    ratio = np.log(n_atoms / last["n_atoms"]) / np.log(last["n_atoms"] / before["n_atoms"])

    def expected(before: float, last: float) -> float:
        return float(last * max(last / before, 1.0) ** ratio)

    seconds = expected(before["cpu_ms"], last["cpu_ms"]) / 1000
    memory_MB = expected(before["peak_MB"] - idle_MB, last["peak_MB"] - idle_MB)
    return seconds <= MOST_S and memory_MB <= 1000 * MOST_GB


def draw(part: dict[str, Any], path: Path) -> None:
    """Time and memory against the number of atoms, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, what in zip(figure.subplots(1, 2), ("time", "memory"), strict=True):
        for name, facts in part["contestants"].items():
            own = [r for r in part["times"] if r["contestant"] == name]
            values = [r["cpu_ms"] if what == "time" else r["peak_MB"] - facts["idle_MB"] for r in own]
            power = part["exponents"][name][what]
            axis.loglog([r["n_atoms"] for r in own], values, "o-", ms=4, label=f"{name}: n^{power:.2f}")
        axis.set(xlabel="atoms", ylabel="CPU time / ms" if what == "time" else "memory above idle / MB")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def exponents(records: list[dict[str, Any]], name: str, idle_MB: float) -> dict[str, float]:
    """Of the time and of the memory above that of the idle process, as powers of the number of atoms."""
    own = [r for r in records if r["contestant"] == name]
    large = [r for r in own if r["n_atoms"] >= FITTED_FROM] or own
    logs = np.log([[r["n_atoms"], r["cpu_ms"], max(r["peak_MB"] - idle_MB, 1e-3)] for r in large])
    return {what: float(np.polyfit(logs[:, 0], logs[:, n], 1)[0]) for n, what in ((1, "time"), (2, "memory"))}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    print(json.dumps(measure(), indent=1))
