"""LOREM as a contestant, and the parts of its time. Arguments: a preset, then any of `local` (without the long-range
block), `ewald` and `mesh` (sum crystals of every size in this way)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import torch
from ase.md.verlet import VelocityVerlet
from serve import serve

import workbench
from workbench import dynamics, graphs
from workbench.calculator import Calculator
from workbench.losses import loss, residuals
from workbench.nn import longrange
from workbench.predict import properties

WEIGHTS = {"energy": 0.5, "forces": 0.5}
MD_STEPS = 10


def main(preset: str, *options: str) -> None:
    for option in options:
        if option not in ("local", "ewald", "mesh"):
            raise SystemExit(f"{option!r} is no option; expected 'local', 'ewald' or 'mesh'")
    if "ewald" in options:
        longrange.MESH_FROM_N_ATOMS = 10**9
    if "mesh" in options:
        longrange.MESH_FROM_N_ATOMS = 0
    torch.manual_seed(0)
    model = workbench.build("lorem", preset, long_range="local" not in options)
    serve(lambda atoms: calls(model, atoms), parameters=model.n_parameters, workbench=workbench.__version__)


def calls(model: Any, atoms: list[ase.Atoms]) -> dict[str, Callable[[], Any]]:
    """One structure: energy and forces, whole and in parts, and dynamics. Several: a step of training."""
    if len(atoms) > 1:
        return {"training step": training_step(model, atoms)}
    structure = atoms[0]
    calculator = Calculator(model)
    structure.calc = calculator
    frozen = calculator.model
    graph = graphs.graph(structure, model.cutoff)
    mover = dynamics_of(structure, calculator)
    return {
        "energy and forces": lambda: (structure.get_potential_energy(), structure.get_forces()),
        "model alone": lambda: properties(frozen, graph),
        "graph from new pairs": lambda: graphs.graph(structure, model.cutoff),
        "graph from kept pairs": lambda: calculator.neighbours.graph(structure),
        **mover,
    }


def dynamics_of(structure: ase.Atoms, calculator: Calculator) -> dict[str, Callable[[], Any]]:
    """Ten steps of NVE: by the product's run_md, and by ASE's integrator around the same calculator."""

    def moving() -> ase.Atoms:
        atoms = structure.copy()
        speeds = np.sqrt(ase.units.kB * 300 / atoms.get_masses())[:, None]
        atoms.set_velocities(speeds * np.random.default_rng(0).normal(size=(len(atoms), 3)))
        atoms.calc = calculator
        return atoms

    def by_ase() -> None:
        VelocityVerlet(moving(), timestep=0.5 * ase.units.fs).run(MD_STEPS)

    def by_product(n_steps: int) -> None:
        run = dynamics.run_md(moving(), n_steps=n_steps)
        if run.state != "finished":
            raise RuntimeError(f"dynamics of an untrained model: {run.reason}")

    return {
        f"run_md, {MD_STEPS} steps": lambda: by_product(MD_STEPS),
        "run_md, 0 steps": lambda: by_product(0),
        f"ASE VelocityVerlet, {MD_STEPS} steps": by_ase,
    }


def training_step(model: Any, atoms: list[ase.Atoms]) -> Callable[[], None]:
    """Errors of energy per atom and forces, squared; backward; Adam. The labels are zeros, which cost what any cost.

    The graphs are built once, as training does.
    """
    model.train()
    graph = graphs.collate([graphs.graph(one, model.cutoff) for one in atoms])
    labels = {
        "energy": torch.zeros(graph.n_structures, dtype=torch.float64),
        "forces": torch.zeros(graph.n_atoms, 3, dtype=torch.float64),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        predicted = properties(model, graph, create_graph=True)
        loss(residuals(predicted, labels, graph.sizes), WEIGHTS).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main(*sys.argv[1:])
