"""A compiled model says what the model says."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from ase.build import molecule
from structures_for_tests import ethanol, salt

import workbench
from workbench.calculator import Calculator
from workbench.compiled import MOST_ATOMS, compile_model, record
from workbench.dynamics import run_md


def stretched(atoms, factor):
    """The same molecule, with more or fewer pairs within the cutoff."""
    atoms = atoms.copy()
    atoms.positions *= factor
    return atoms


@pytest.mark.parametrize(("name", "dtype"), [("lorem", torch.float32), ("mlanet", torch.float64)])
def test_recorded_operators_give_the_same_for_other_positions(name, dtype):
    torch.manual_seed(0)
    model = workbench.build(name, "tiny", cutoff=2.5)
    atoms = ethanol()
    ordinary = Calculator(model, dtype=dtype)
    recorded = Calculator(model, dtype=dtype, compiled="eager")
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    for factor in (1.0, 0.9, 1.3):
        one, other = stretched(atoms, factor), stretched(atoms, factor)
        one.calc, other.calc = ordinary, recorded
        assert other.get_potential_energy() == pytest.approx(one.get_potential_energy(), rel=tolerance)
        np.testing.assert_allclose(other.get_forces(), one.get_forces(), atol=tolerance * 10)
        np.testing.assert_allclose(
            other.get_potential_energies(), one.get_potential_energies(), atol=tolerance * 10
        )


def test_another_molecule_is_recorded_anew_and_dynamics_is_the_same():
    torch.manual_seed(0)
    model = workbench.build("lorem", "tiny", max_degree=1, max_degree_lr=1)
    calculator = Calculator(model, compiled="eager")
    for atoms in (ethanol(), molecule("H2O")):
        atoms.calc = calculator
        other = atoms.copy()
        other.calc = Calculator(model)
        assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), rel=1e-6)
    ends = [run_md(one, n_steps=20, temperature_K=300, seed=1).atoms.positions for one in (atoms, other)]
    np.testing.assert_allclose(*ends, atol=1e-5)


def test_charges_are_computed_the_ordinary_way():
    atoms = ethanol()
    atoms.calc = Calculator(workbench.build("lorem", "tiny"), compiled="eager")
    assert atoms.get_charges().shape == (9,)


def test_what_cannot_be_compiled_is_refused():
    lorem = workbench.build("lorem", "tiny").requires_grad_(False)
    with pytest.raises(ValueError, match=r"molecules of at most .* pbc=\[True, True, True\]"):
        compile_model(lorem, salt())
    chain = molecule("H2O").repeat(1)
    for _ in range(MOST_ATOMS // 3):
        chain += molecule("H2O")
    with pytest.raises(ValueError, match=f"at most {MOST_ATOMS} atoms"):
        compile_model(lorem, chain)
    with pytest.raises(ValueError, match="which depends on the positions"):
        compile_model(workbench.build("allscaip", "tiny").requires_grad_(False), ethanol())


def test_what_goes_by_a_value_is_refused_and_constants_stay():
    with pytest.raises(ValueError, match="goes by the outcome of"):
        record(lambda x: (x * float(x.sum()),), torch.ones(3))
    with pytest.raises(ValueError, match="goes by the outcome of"):
        record(lambda x: (x[x > 0],), torch.ones(3))
    table = torch.zeros(3)

    def adds(x):
        return (table.clone().add_(x) + torch.zeros(3).add_(x),)

    recorded = record(adds, torch.ones(3))
    for x in (torch.ones(3), torch.arange(3.0)):
        assert torch.equal(recorded(x)[0], 2 * x)
        assert torch.equal(recorded(x)[0], 2 * x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, of its compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_machine_code_gives_the_same():
    torch.manual_seed(0)
    model = workbench.build(
        "lorem", "tiny", max_degree=1, max_degree_lr=1, n_features=4, n_spherical=2, n_radial=4
    )
    water, other = molecule("H2O"), molecule("H2O")
    water.calc, other.calc = Calculator(model, compiled=True), Calculator(model)
    np.testing.assert_allclose(water.get_forces(), other.get_forces(), atol=1e-5)
