"""Any of our models as a contestant, and the parts of its time.

Arguments: its name, a preset, and values that differ from the preset, as JSON. `--sum ewald` or `--sum mesh` sums
crystals of every size in this way.
"""

from __future__ import annotations

import argparse
import json
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
MESH_FROM = {"ewald": 10**9, "mesh": 0}  # atoms
MD_STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("preset")
    parser.add_argument("config", nargs="?", type=json.loads, default={})
    parser.add_argument("--sum", choices=MESH_FROM)
    options = parser.parse_args()
    if options.sum is not None:
        longrange.MESH_FROM_N_ATOMS = MESH_FROM[options.sum]
    torch.manual_seed(0)
    model = workbench.build(options.name, options.preset, **options.config)
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
    return {
        "energy and forces": lambda: (structure.get_potential_energy(), structure.get_forces()),
        "model alone": lambda: properties(frozen, graph),
        "graph from new pairs": lambda: graphs.graph(structure, model.cutoff),
        "graph from kept pairs": lambda: calculator.neighbours.graph(structure),
        **dynamics_of(structure, calculator),
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
    main()
