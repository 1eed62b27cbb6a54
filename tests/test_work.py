"""The hot paths do no more work than they did: operators and bytes are counted, which no machine changes.

    python tests/test_work.py       what they do now, to put below after a change that was meant

A ceiling that is exceeded is a slower program: profile before raising it. One that is far too high guards nothing.
"""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import workbench
from workbench import dynamics, graphs
from workbench.calculator import Calculator
from workbench.losses import loss, residuals
from workbench.models import MODELS, Potential
from workbench.predict import properties

# Operators and thousands of bytes written: energy and forces of ethanol, of a box of water; a step of training.
CEILINGS = {
    "allscaip": {"ethanol": (1088, 6150), "water": (1110, 209503), "training": (3348, 49359)},
    "lorem": {"ethanol": (490, 700), "water": (723, 19741), "training": (2059, 6099)},
    "mlanet": {"ethanol": (881, 7318), "water": (884, 401230), "training": (2850, 50962)},
}
SLACK = 1.03  # another release of torch may split an operator in two


class Work(TorchDispatchMode):
    """Counts the operators that are carried out, views apart, and the bytes that they write."""

    def __init__(self) -> None:
        super().__init__()
        self.n_operators = 0
        self.n_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.n_operators += 1
            self.n_bytes += sum(x.nbytes for x in tree_leaves(out) if isinstance(x, torch.Tensor))
        return out


def box(n: int) -> ase.Atoms:
    """n^3 molecules of water, 3.1 Å apart."""
    water = molecule("H2O")
    water.set_cell([3.1] * 3)
    water.pbc = True
    atoms = water.repeat(n)
    atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


def calling(model: Potential, atoms: ase.Atoms) -> Work:
    """Energy and forces of one structure, the second time."""
    atoms = atoms.copy()
    atoms.calc = Calculator(model)
    atoms.get_forces()
    atoms.positions += 1e-3
    with Work() as work:
        atoms.get_potential_energy()
        atoms.get_forces()
    return work


def learning(model: Potential, structures: list[ase.Atoms]) -> Work:
    """A step of training on energies and forces, the second time."""
    model.train()
    graph = graphs.collate([graphs.graph(one, model.cutoff) for one in structures])
    labels = {
        "energy": torch.zeros(graph.n_structures, dtype=torch.float64),
        "forces": torch.zeros(graph.n_atoms, 3, dtype=torch.float64),
    }
    for work in (Work(), Work()):
        with work:
            predicted = properties(model, graph, create_graph=True)
            loss(residuals(predicted, labels, graph.sizes), {"energy": 0.5, "forces": 0.5}).backward()
    return work


def measured(name: str) -> dict[str, Work]:
    torch.manual_seed(0)
    model = workbench.build(name, "tiny")
    ethanol = molecule("CH3CH2OH")
    return {
        "ethanol": calling(model, ethanol),
        "water": calling(model, box(3)),
        "training": learning(model, [ethanol, molecule("H2O"), ethanol]),
    }


@pytest.mark.parametrize("name", sorted(CEILINGS))
def test_no_more_operators_and_bytes_than_before(name: str) -> None:
    for what, work in measured(name).items():
        operators, kilobytes = CEILINGS[name][what]
        assert work.n_operators <= SLACK * operators, f"{name}, {what}: {work.n_operators} operators"
        assert work.n_bytes <= SLACK * 1e3 * kilobytes, f"{name}, {what}: {work.n_bytes / 1e3:.0f} kB written"


@pytest.mark.parametrize("name", sorted(CEILINGS))
def test_operators_do_not_grow_with_the_atoms(name: str) -> None:
    """Nothing loops over atoms or pairs."""
    model = workbench.build(name, "tiny")
    small, large = (calling(model, box(n)).n_operators for n in (2, 3))
    assert large <= 1.1 * small


def test_a_step_of_dynamics_asks_the_model_once_and_seldom_searches() -> None:
    torch.manual_seed(0)
    atoms = box(2)
    atoms.calc = Calculator(workbench.build("lorem", "tiny"))
    asked = 0
    forward = atoms.calc.model.forward

    def counted(*given, **named):
        nonlocal asked
        asked += 1
        return forward(*given, **named)

    atoms.calc.model.forward = counted
    run = dynamics.run_md(atoms, n_steps=20, timestep_fs=0.5, temperature_K=100, ensemble="nve")
    assert run.state == "finished"
    assert asked == 21  # and the first positions
    assert atoms.calc.neighbours.n_searches <= 2


if __name__ == "__main__":
    for name in sorted(MODELS):
        found = {what: (work.n_operators, round(work.n_bytes / 1e3)) for what, work in measured(name).items()}
        print(f'    "{name}": {found},')
