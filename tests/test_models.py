"""THE contract: what every model must keep, in double precision, for each of MODELS or, with `--model mine.py`, for one
in a file of its own.

A model that declares an exception (not rotation invariant, not size consistent) is measured instead, and the test
fails when the measurement does not bear the declaration out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from structures_for_tests import EVERY_KIND, ethanol, salt, slab, tiny_cell, water_pair

from workbench.checkpoint import load, save
from workbench.graphs import collate, graph
from workbench.models import MODELS, Potential, build
from workbench.nn.harmonics import spherical_harmonics
from workbench.predict import predict, properties

Kind = Callable[[], ase.Atoms]
kinds = pytest.mark.parametrize("kind", EVERY_KIND.values(), ids=list(EVERY_KIND))


@pytest.fixture
def model(model_name: str) -> Potential:
    torch.manual_seed(0)
    model = build(model_name, "tiny").double()
    with torch.no_grad():  # larger than at the start of training, so that every part of the model is at work
        for weight in model.parameters():
            weight *= 1.5
    return model.eval()


def energy(model: Potential, atoms: ase.Atoms) -> float:
    return predict(model, atoms).energy


# Derivatives


@kinds
def test_forces_are_the_negative_gradient(model: Potential, kind: Kind) -> None:
    if "forces" in model.gives:
        pytest.skip(f"{model.name} gives forces directly: they need not be a gradient")
    atoms = kind()
    forces = predict(model, atoms).forces
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2), (len(atoms) - 1, 1)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(energy(model, moved))
        assert forces[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-6, abs=2e-7)


@pytest.mark.parametrize("kind", [salt, tiny_cell])
def test_stress_is_the_strain_derivative(model: Potential, kind: Kind) -> None:
    atoms = kind()
    stress = predict(model, atoms).stress
    np.testing.assert_allclose(stress, stress.T, atol=1e-12)
    step = 1e-5
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        ends = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            ends.append(energy(model, strained))
        expected = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
        assert stress[a, b] == pytest.approx(expected, rel=2e-6, abs=1e-8)


@pytest.mark.parametrize("kind", [ethanol, salt])
def test_forces_are_differentiable_again(model: Potential, kind: Kind) -> None:
    """Training on forces: the gradient of a force loss by a weight, against finite differences."""
    batch = graph(kind(), model.cutoff)
    weight = max(model.parameters(), key=lambda w: w.numel())

    def loss() -> torch.Tensor:
        return properties(model, batch, create_graph=True).forces.square().sum()

    (gradient,) = torch.autograd.grad(loss(), [weight])
    assert torch.isfinite(gradient).all()
    place = np.unravel_index(int(gradient.abs().argmax()), tuple(gradient.shape))
    step = 1e-5
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * step
        ends.append(loss().item())
        with torch.no_grad():
            weight[place] -= sign * step
    assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("kind", [salt, tiny_cell])
def test_stress_is_differentiable_again(model: Potential, kind: Kind) -> None:
    model.train()
    result = properties(model, graph(kind(), model.cutoff), stress=True, create_graph=True)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(result.stress.square().sum(), weights, allow_unused=True)
    assert all(g is None or torch.isfinite(g).all() for g in gradients)
    assert any(g is not None and g.abs().max() > 0 for g in gradients)


# Symmetries


@kinds
def test_translation_changes_nothing(model: Potential, kind: Kind) -> None:
    atoms = kind()
    moved = atoms.copy()
    moved.positions += [7.3, -2.1, 11.9]
    here, there = predict(model, atoms), predict(model, moved)
    assert there.energy == pytest.approx(here.energy, abs=1e-9)
    np.testing.assert_allclose(there.forces, here.forces, atol=1e-9)


@kinds
def test_permutation_permutes(model: Potential, kind: Kind) -> None:
    atoms = kind()
    order = np.random.default_rng(0).permutation(len(atoms))
    here, there = predict(model, atoms), predict(model, atoms[order])
    assert there.energy == pytest.approx(here.energy, abs=1e-9)
    np.testing.assert_allclose(there.forces, here.forces[order], atol=1e-9)


def turned(atoms: ase.Atoms, matrix: np.ndarray) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions = atoms.positions @ matrix.T
    copy.set_cell(atoms.cell.array @ matrix.T)
    return copy


@kinds
def test_rotation_and_reflection(model: Potential, kind: Kind) -> None:
    atoms = kind()
    here = predict(model, atoms)
    worst = 0.0
    for matrix in Rotation.random(3, random_state=0).as_matrix():
        for improper in (1, -1):
            there = predict(model, turned(atoms, improper * matrix))
            worst = max(worst, abs(there.energy - here.energy))
            if model.rotation_invariant:
                np.testing.assert_allclose(there.forces, here.forces @ (improper * matrix).T, atol=1e-8)
    if model.rotation_invariant:
        assert worst < 1e-8
    else:
        assert worst > 1e-8, f"{model.name} declares that it is not rotation invariant, but measured {worst} eV"


def turning(degree: int, matrix: np.ndarray) -> np.ndarray:
    """(2l + 1, 2l + 1) | how the components of one degree turn: D of Y(R u) = D Y(u)."""
    directions = np.random.default_rng(0).normal(size=(100, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    part = slice(degree**2, (degree + 1) ** 2)
    before, after = (
        spherical_harmonics(degree, torch.tensor(u)).numpy()[:, part]
        for u in (directions, directions @ matrix.T)
    )
    return np.linalg.lstsq(before, after, rcond=None)[0].T


@pytest.mark.parametrize("kind", [ethanol, salt])
def test_multipoles_turn_with_the_structure(model: Potential, kind: Kind) -> None:
    atoms = kind()
    matrix = Rotation.random(random_state=1).as_matrix()
    here = predict(model, atoms, diagnose=True).diagnostics
    there = predict(model, turned(atoms, matrix), diagnose=True).diagnostics
    for before, after in zip(here.multipoles, there.multipoles, strict=True):
        turn = turning(before.degree, matrix)
        np.testing.assert_allclose(after.values, before.values @ turn.T, atol=1e-8)
        np.testing.assert_allclose(after.potentials, before.potentials @ turn.T, atol=1e-8)


# Batches and views


def test_a_batch_gives_what_single_structures_give(model: Potential) -> None:
    structures = [kind() for kind in EVERY_KIND.values()] + [salt(), ase.Atoms("Na"), ethanol()]
    batch = collate([graph(atoms, model.cutoff) for atoms in structures])
    together = properties(model, batch)
    first = 0
    for index, atoms in enumerate(structures):
        alone = predict(model, atoms)
        assert together.energy[index].item() == pytest.approx(alone.energy, abs=1e-9)
        forces = together.forces[first : first + len(atoms)].detach().numpy()
        np.testing.assert_allclose(forces, alone.forces, atol=1e-9)
        first += len(atoms)


@kinds
def test_diagnosing_changes_no_digit(model: Potential, kind: Kind) -> None:
    atoms = kind()
    plain, shown = predict(model, atoms), predict(model, atoms, diagnose=True)
    assert plain.energy == shown.energy
    np.testing.assert_array_equal(plain.forces, shown.forces)
    assert plain.diagnostics is None
    assert shown.diagnostics.multipoles or shown.diagnostics.attention or shown.diagnostics.atoms
    for attention in shown.diagnostics.attention:
        if attention.normalised and attention.pairs is None:
            np.testing.assert_allclose(attention.weights.sum(-1), 1, atol=1e-10)


def test_saved_and_loaded_it_is_the_same(model: Potential, tmp_path: Path) -> None:
    save(model, tmp_path / "model.safetensors")
    here, there = predict(model, salt()), predict(load(tmp_path / "model.safetensors"), salt())
    assert there.energy == here.energy
    np.testing.assert_array_equal(there.forces, here.forces)


def test_single_precision_agrees(model: Potential) -> None:
    atoms = salt()
    double = predict(model, atoms)
    single = predict(model.float(), atoms)
    assert single.energy == pytest.approx(double.energy, abs=1e-4)
    np.testing.assert_allclose(single.forces, double.forces, atol=1e-4)


# Smoothness


def approached(distance: float) -> ase.Atoms:
    """A hydroxyl, and a third atom at this distance from its oxygen."""
    return ase.Atoms("OHNa", [[0, 0, 0], [0.9, 0.3, 0], [-distance, 0, 0]])


def test_energy_and_forces_are_continuous_at_the_cutoff(model: Potential) -> None:
    """Where a neighbour enters: both sides agree, and nothing bends within a small way."""
    step = 1e-6
    inside, outside = (predict(model, approached(model.cutoff + sign * step)) for sign in (-1, 1))
    assert outside.energy == pytest.approx(inside.energy, abs=20 * step)
    np.testing.assert_allclose(outside.forces, inside.forces, atol=20 * step)
    energies = [energy(model, approached(model.cutoff + x)) for x in np.linspace(-0.02, 0.02, 81)]
    assert np.abs(np.diff(energies, 2)).max() < 1e-5


def test_the_cutoff_in_a_crystal_leaves_only_the_stated_step(model: Potential) -> None:
    """Ewald's real-space part ends at four smearings, where 6e-5 of each pair's 1/r is left."""
    base = salt()
    places = np.linspace(-0.3, 0.3, 601)
    energies = []
    for x in places:
        moved = base.copy()
        moved.positions[0, 0] += x
        energies.append(energy(model, moved))
    assert np.abs(np.diff(energies, 2)).max() < 5e-5


# Near and far


def test_it_sees_beyond_the_cutoff_if_it_says_so(model: Potential) -> None:
    """Far beyond the cutoff, does it change the forces on one molecule how far away another one is?"""
    near, far = (predict(model, water_pair(d)).forces[:3] for d in (4 * model.cutoff, 4 * model.cutoff + 1))
    assert (np.abs(near - far).max() > 1e-7) == model.long_ranged


def test_size_consistency_is_as_declared(model: Potential) -> None:
    """Two different molecules: a mean over all atoms would not notice a second copy."""
    alone = energy(model, ethanol()) + energy(model, water_pair(0)[:3])
    errors = []
    for distance in (100.0, 10000.0):
        water = water_pair(0)[:3]
        water.positions += [distance, 0, 0]
        errors.append(abs(energy(model, ethanol() + water) - alone))
    if model.size_consistent:
        assert errors[1] < 0.02 * errors[0] + 1e-9  # falls as 1/r or faster
    else:
        assert errors[1] > 1e-6


@pytest.mark.parametrize(
    "atoms",
    [
        ase.Atoms("O"),
        ase.Atoms("ONa", [[0, 0, 0], [0, 0, 50]]),
        ase.Atoms("Na", cell=np.eye(3) * 2.5, pbc=True),
        ase.Atoms("Na", cell=np.eye(3) * 30, pbc=True),
        tiny_cell(),
        slab(),
    ],
    ids=["lone atom", "atoms without neighbours", "own images", "alone in its cell", "tiny cell", "slab"],
)
def test_borders_work(model: Potential, atoms: ase.Atoms) -> None:
    result = predict(model, atoms, diagnose=True)
    assert np.isfinite(result.energy)
    assert np.isfinite(result.forces).all()
    np.testing.assert_allclose(result.forces.sum(0), 0, atol=1e-9)


def test_a_supercell_has_the_same_energy_per_atom(model: Potential) -> None:
    atoms = salt()
    doubled = atoms * (2, 1, 1)
    if model.size_consistent:
        assert energy(model, doubled) == pytest.approx(2 * energy(model, atoms), abs=2e-4)


def test_what_it_cannot_treat_is_refused(model: Potential) -> None:
    for count in {0, 1, 2, 3} - model.periodic:
        atoms = salt()
        atoms.pbc = [axis < count for axis in range(3)]
        with pytest.raises(ValueError, match="periodic directions"):
            predict(model, atoms)
    with pytest.raises(ValueError, match="no atoms"):
        predict(model, ase.Atoms())
    broken = ethanol()
    broken.positions[2, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        predict(model, broken)
    model.known[8] = False
    with pytest.raises(ValueError, match="not trained on O"):
        predict(model, ethanol())


def test_settings_are_checked(model_name: str) -> None:
    with pytest.raises(ValueError, match="Did you mean"):
        build(model_name, cutof=3.0)
    with pytest.raises(ValueError, match="expected more than 0"):
        build(model_name, cutoff=-1.0)
    with pytest.raises(ValueError, match="no preset"):
        build(model_name, "gigantic")
    kind = MODELS[model_name]
    for preset in kind.presets:
        assert replace(kind.Config(**kind.presets[preset])) == build(model_name, preset).config


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no model is called"):
        build("lorm")
