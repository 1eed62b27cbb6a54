"""The cause of a drift: a case that has it for each cause, and one that has none."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLength

from workbench.drift_cause import diagnose_drift
from workbench.dynamics import run_md
from workbench.jobs import Control
from workbench.models import build
from workbench.path_work import Surface

SIGMA, EPSILON = 3.4, 0.0104  # argon


class Argon(Calculator):
    """Lennard-Jones between all pairs, or broken off at `cutoff`, where the energy jumps; in numpy."""

    implemented_properties = ("energy", "forces")

    def __init__(self, cutoff: float = np.inf) -> None:
        super().__init__()
        self.cutoff = cutoff

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vectors = self.atoms.positions[:, None] - self.atoms.positions
        distances = np.linalg.norm(vectors, axis=2) + np.where(np.eye(len(self.atoms)), np.inf, 0)
        c6 = np.where(distances < self.cutoff, (SIGMA / distances) ** 6, 0.0)
        pushes = 24 * EPSILON * (2 * c6**2 - c6) / distances**2
        self.results = {
            "energy": float(2 * EPSILON * (c6**2 - c6).sum()),
            "forces": (pushes[:, :, None] * vectors).sum(axis=1),
        }


def drop(temperature_K: float, calculator: Calculator) -> ase.Atoms:
    """Thirteen argon atoms, warm, with velocities."""
    atoms = bulk("Ar", cubic=True, a=5.4) * (2, 2, 2)
    nearest = np.argsort(np.linalg.norm(atoms.positions - atoms.positions[16], axis=1))[:13]
    atoms = ase.Atoms("Ar13", atoms.positions[nearest], calculator=Argon())
    atoms = run_md(atoms, temperature_K=temperature_K, timestep_fs=5, n_steps=400, seed=1).atoms
    atoms.calc = calculator
    return atoms


def sums_to_the_whole(found):
    slopes = sum(part.meV_per_atom_per_ns for part in found.parts.values())
    return slopes == pytest.approx(found.total.meV_per_atom_per_ns, rel=1e-4, abs=1e-6)


def test_a_good_run_is_acquitted():
    found = diagnose_drift(drop(40, Argon()), timestep_fs=5.0, n_steps=200)
    assert found.cause == "none"
    assert found.verdict.startswith("No cause found")
    assert found.forces_error < 1e-6
    assert found.breaks == ()
    assert sums_to_the_whole(found)
    # A second-order integrator wanders a quarter as far at half the timestep, and energy is conserved to rounding.
    first, half = found.reruns
    assert first.wander_meV_per_atom / half.wander_meV_per_atom == pytest.approx(4, rel=0.2)
    assert abs(found.parts["precision"].meV_per_atom_per_ns) < 1e-6


def test_a_timestep_that_is_too_long_is_found():
    found = diagnose_drift(drop(40, Argon()), timestep_fs=90.0, n_steps=600)
    assert found.cause == "timestep"
    assert "timestep of 90 fs is too long" in found.verdict
    assert "Take 45 fs" in found.verdict
    assert found.forces_error < 1e-6
    assert sums_to_the_whole(found)


def test_a_jump_at_the_cutoff_is_found_with_its_height_and_its_pair():
    cutoff = 4.5
    found = diagnose_drift(drop(40, Argon(cutoff)), timestep_fs=5.0, n_steps=400, cutoff=cutoff)
    assert found.cause == "cutoff"
    c6 = (SIGMA / cutoff) ** 6
    height = 4 * EPSILON * (c6 - c6**2)
    assert found.breaks
    for place in found.breaks:
        assert abs(place.energy) == pytest.approx(height, rel=1e-3)
        assert place.distance == pytest.approx(cutoff, abs=1e-4)
    assert f"{1000 * height:.2g} meV when atoms" in found.verdict
    assert sums_to_the_whole(found)
    assert abs(found.parts["surface"].meV_per_atom_per_ns) > 100 * abs(
        found.parts["timestep"].meV_per_atom_per_ns
    )


def test_without_a_cutoff_a_jump_is_laid_to_the_surface():
    found = diagnose_drift(drop(40, Argon(4.5)), timestep_fs=5.0, n_steps=300)
    assert found.cause == "surface"
    assert "not where a pair passes the cutoff" in found.verdict


def test_kinks_of_ases_lennard_jones_are_seen_and_do_not_matter():
    """Shifted to zero at its cutoff, its energy is continuous and its force is not."""
    cutoff = 4.2
    calculator = LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=cutoff)
    found = diagnose_drift(drop(40, calculator), timestep_fs=10.0, n_steps=100, cutoff=cutoff)
    assert found.cause == "none"
    assert "its few kinks along the path matter little" in found.verdict
    c6 = (SIGMA / cutoff) ** 6
    force = 24 * EPSILON / cutoff * (c6 - 2 * c6**2)  # between two atoms, of which the path sees a part
    assert found.breaks
    for place in found.breaks:
        assert place.energy == 0
        assert place.pair is not None
        assert 0 < abs(place.force) < 2**0.5 * force


def crystal(model):
    """At rest but for a hundredth of a kelvin."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    return run_md(atoms, model, temperature_K=0.01, timestep_fs=1, n_steps=2).atoms


def test_single_precision_is_found_where_the_energies_are_tiny():
    """There the rounding of single precision is as large as the thermal motion."""
    torch.manual_seed(0)
    model = build("lorem", "tiny")
    found = diagnose_drift(crystal(model), model, 1.0, n_steps=40)
    assert found.cause == "precision"
    assert [rerun.name for rerun in found.reruns] == ["as it was", "half the timestep", "double precision"]
    assert found.reruns[2].wander_meV_per_atom < 0.01 * found.reruns[0].wander_meV_per_atom
    assert found.forces_error < 1e-5
    assert sums_to_the_whole(found)
    assert model.dtype == torch.float32


def test_forces_of_their_own_are_found():
    torch.manual_seed(0)
    model = build("mlanet", "tiny", forces="direct")
    atoms = run_md(molecule("CH3CH2OH"), model, temperature_K=100, timestep_fs=0.25, n_steps=5).atoms
    found = diagnose_drift(atoms, model, 0.25, n_steps=64)
    assert found.cause == "forces"
    assert "not the gradient" in found.verdict
    assert found.forces_error > 0.1
    assert sums_to_the_whole(found)


class Valley(Argon):
    """Argon that is drawn to a plane with a constant force, which turns round there."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        height = self.atoms.positions[:, 0]
        self.results["energy"] += 0.1 * float(np.abs(height).sum())
        self.results["forces"][:, 0] -= 0.1 * np.sign(height)


def test_kinks_of_the_surface_are_found():
    atoms, valley = drop(40, Valley()), Valley()
    atoms.positions -= atoms.positions.mean(axis=0)
    atoms = run_md(atoms, ensemble="langevin", temperature_K=40, timestep_fs=5, n_steps=600).atoms
    atoms.calc = valley
    found = diagnose_drift(atoms, timestep_fs=10.0, n_steps=400, cutoff=20.0)
    assert found.cause == "surface"
    assert "has kinks, and not where a pair passes the cutoff" in found.verdict
    assert found.forces_error < 1e-3
    assert found.breaks
    assert all(place.energy == 0 and place.pair is None for place in found.breaks)
    assert sums_to_the_whole(found)


def test_held_atoms_stay_out_of_the_account():
    atoms = drop(40, Argon())
    atoms.set_constraint(FixAtoms([0, 3]))
    found = diagnose_drift(atoms, timestep_fs=5.0, n_steps=64)
    assert found.cause == "none"
    assert abs(found.parts["precision"].meV_per_atom_per_ns) < 1e-6
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(ValueError, match="FixAtoms"):
        diagnose_drift(atoms, timestep_fs=5.0, n_steps=64)


def test_it_tells_its_progress_and_can_be_stopped():
    control, shares = Control(), []

    def progress(share):
        shares.append(share)
        if share > 0.5:
            control.stop()

    atoms = drop(40, Argon())
    before = atoms.positions.copy()
    assert diagnose_drift(atoms, timestep_fs=5.0, n_steps=64, control=control, progress=progress) is None
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] < 1
    np.testing.assert_array_equal(atoms.positions, before)


def test_what_cannot_be_asked_is_refused():
    atoms = drop(40, Argon())
    with pytest.raises(ValueError, match="n_steps is 5"):
        diagnose_drift(atoms, n_steps=5)
    with pytest.raises(ValueError, match="take an earlier frame"):
        diagnose_drift(atoms, timestep_fs=200.0, n_steps=64)
    atoms.set_momenta(np.zeros((13, 3)))
    with pytest.raises(ValueError, match="no velocities"):
        diagnose_drift(atoms, n_steps=64)


def test_a_surface_computes_in_double_precision():
    torch.manual_seed(0)
    model = build("lorem", "tiny")
    atoms = molecule("H2O")
    surface = Surface(atoms, model)
    positions = np.stack([atoms.positions, atoms.positions + 0.1 * np.eye(3)])
    energies, forces = surface.energies_and_forces(positions)
    np.testing.assert_allclose(energies, surface.energies(positions), rtol=0, atol=1e-12)
    twin = build("lorem", "tiny").double()
    twin.load_state_dict(model.double().state_dict())
    from workbench.predict import predict

    expected = predict(twin, atoms)
    assert energies[0] == pytest.approx(expected.energy, abs=1e-12)
    np.testing.assert_allclose(forces[0], expected.forces, atol=1e-12)
