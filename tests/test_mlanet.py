"""MLANet beyond the contract: what its Config decides, in double precision."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import ase
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from structures_for_tests import ethanol, salt, slab, tiny_cell, water_pair

from workbench.graphs import collate, graph
from workbench.models.mlanet import MLANet, MLANetConfig
from workbench.nn.dual_attention import PATHS
from workbench.nn.pooling import READOUTS
from workbench.predict import predict, properties

DIRECT = {"forces": "direct", "max_sharpness": 0.0}


def build(seed: int = 0, **settings: Any) -> MLANet:
    """A small one, whose preset has gradient forces."""
    torch.manual_seed(seed)
    config = {**MLANet.presets["tiny"], "n_channels": 8, "n_hidden": 16, **settings}
    return MLANet(MLANetConfig(**config)).double().eval()


def energy(model: MLANet, atoms: ase.Atoms) -> float:
    return predict(model, atoms).energy


def raw_forces(model: MLANet, atoms: ase.Atoms) -> np.ndarray:
    """As in training, where direct forces are not projected."""
    model.train()
    forces = properties(model, graph(atoms, model.cutoff)).forces
    model.eval()
    return forces.detach().numpy()


# Symmetry, in every configuration


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize(("degree", "forces"), list(product((1, 2, 3), ("gradient", "direct"))))
def test_turned_and_inverted_it_gives_the_same(degree: int, paths: str, forces: str) -> None:
    model = build(max_degree=degree, paths=paths, forces=forces, dispersion=True)
    turn = -Rotation.random(random_state=0).as_matrix()
    for atoms in (ethanol(), salt()):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ turn.T)
        moved.positions = atoms.positions @ turn.T
        here, there = predict(model, atoms), predict(model, moved)
        assert there.energy == pytest.approx(here.energy, abs=1e-12)
        np.testing.assert_allclose(there.forces, here.forces @ turn.T, atol=1e-10 * np.abs(here.forces).max())
        if here.stress is not None:
            np.testing.assert_allclose(there.stress, turn @ here.stress @ turn.T, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, DIRECT], ids=["gradient", "direct"])
def test_another_choice_of_cell_changes_nothing(settings: dict[str, Any]) -> None:
    model, atoms = build(**settings), salt()
    other = atoms.copy()
    other.set_cell(np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ atoms.cell.array)
    other.wrap()
    here, there = predict(model, atoms), predict(model, other)
    assert there.energy == pytest.approx(here.energy, abs=1e-12)
    np.testing.assert_allclose(there.forces, here.forces, atol=1e-12)
    np.testing.assert_allclose(there.stress, here.stress, atol=1e-13)


# The cutoff


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("settings", [{}, DIRECT], ids=["gradient", "direct"])
@pytest.mark.parametrize("symbols", ["CO", "OHNa"])
def test_nothing_jumps_where_a_neighbour_enters(symbols: str, settings: dict[str, Any], paths: str) -> None:
    """Of a pair, which is a lone atom's first neighbour, and of a triple."""
    model = build(paths=paths, **settings)
    found = []
    for x in (model.cutoff - 1e-4, model.cutoff + 1e-4):
        positions = np.array(
            [[0, 0, 0], [-x, 0, 0]] if symbols == "CO" else [[0, 0, 0], [0.9, 0.3, 0], [-x, 0, 0]]
        )
        found.append(
            (energy(model, ase.Atoms(symbols, positions)), raw_forces(model, ase.Atoms(symbols, positions)))
        )
    (inside, forces_inside), (outside, forces_outside) = found
    assert inside == pytest.approx(outside, abs=1e-11)
    np.testing.assert_allclose(forces_inside, forces_outside, atol=1e-6)


# Extent


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("settings", [{}, DIRECT], ids=["gradient", "direct"])
def test_a_supercell_has_the_same_energy_per_atom_and_forces(readout: str, settings: dict[str, Any]) -> None:
    model, atoms = build(readout=readout, dispersion=True, **settings), salt()
    one, two = predict(model, atoms), predict(model, atoms * (2, 1, 1))
    error = abs(two.energy / 16 - one.energy / 8)
    if readout == "literal":
        assert error > 1e-4
    else:
        assert error < 1e-13
        np.testing.assert_allclose(two.forces[:8], one.forces, atol=1e-12)
        np.testing.assert_allclose(two.stress, one.stress, atol=1e-13)


@pytest.mark.parametrize("readout", READOUTS)
def test_far_fragments_know_of_each_other_as_declared(readout: str) -> None:
    model = build(readout=readout)
    first, second = ethanol(), water_pair(0)[:3]
    far = second.copy()
    far.positions += 50
    error = abs(energy(model, first + far) - energy(model, first) - energy(model, second))
    assert model.size_consistent == (readout == "local")
    assert error < 1e-12 if model.size_consistent else error > 1e-4


def test_every_periodicity_works() -> None:
    wire = tiny_cell()
    wire.pbc = (True, False, False)
    for settings in ({}, DIRECT):
        model = build(**settings)
        structures = [ethanol(), wire, slab(), tiny_cell(), ase.Atoms("Na", cell=np.eye(3) * 2.5, pbc=True)]
        together = properties(model, collate([graph(atoms, model.cutoff) for atoms in structures]))
        for atoms, expected in zip(structures, together.energy.tolist(), strict=True):
            found = predict(model, atoms)
            assert found.energy == pytest.approx(expected, abs=1e-12)
            assert np.isfinite(found.forces).all()


# Direct and gradient forces


def test_what_it_gives_follows_from_its_settings() -> None:
    assert build().gives == {"energy"}
    assert build(**DIRECT).gives == {"energy", "forces", "stress"}
    assert build(forces="direct", max_degree=1).gives == {"energy", "forces"}
    assert MLANet(MLANetConfig()).gives == {"energy", "forces", "stress"}


def test_without_features_of_degree_2_the_stress_is_the_strain_derivative() -> None:
    direct, atoms = build(forces="direct", max_degree=1), salt()
    gradient = build(max_degree=1)
    shared = direct.state_dict()
    gradient.load_state_dict({name: shared[name] for name in gradient.state_dict()})
    assert energy(gradient, atoms) == energy(direct, atoms)
    np.testing.assert_allclose(predict(direct, atoms).stress, predict(gradient, atoms).stress, atol=1e-14)
    assert np.abs(predict(direct, atoms).forces - predict(gradient, atoms).forces).max() > 1e-3


def asymmetry(model: MLANet, atoms: ase.Atoms) -> float:
    """||J - J^T|| / ||J + J^T|| of the forces' derivatives by the positions, which a gradient makes 0."""
    batch = graph(atoms, model.cutoff)

    def forces(positions: torch.Tensor) -> torch.Tensor:
        moved = replace(batch, positions=positions)
        output = model(moved)
        if output.forces is not None:
            return output.forces.flatten()
        (gradient,) = torch.autograd.grad(output.atom_energies.sum(), positions, create_graph=True)
        return -gradient.flatten()

    matrix = torch.autograd.functional.jacobian(forces, batch.positions.requires_grad_(True)).flatten(1)
    return float((matrix - matrix.T).norm() / (matrix + matrix.T).norm())


def test_direct_forces_are_no_gradient() -> None:
    assert asymmetry(build(), ethanol()) < 1e-12
    assert asymmetry(build(**DIRECT), ethanol()) > 0.02
    assert asymmetry(build(**DIRECT, project_forces=False), ethanol()) > 0.02


def test_outside_of_training_direct_forces_neither_push_nor_turn() -> None:
    model = build(**DIRECT)
    pieces = water_pair(30.0)  # two fragments, each on its own
    found, raw = predict(model, pieces).forces, raw_forces(model, pieces)
    for part in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(found[part].sum(0), 0, atol=1e-13)
        np.testing.assert_allclose(np.cross(pieces.positions[part], found[part]).sum(0), 0, atol=1e-12)
        assert np.abs(raw[part].sum(0)).max() > 1e-3
    crystal = predict(model, salt()).forces
    np.testing.assert_allclose(
        crystal, raw_forces(model, salt()) - raw_forces(model, salt()).mean(0), atol=1e-14
    )
    free = build(**DIRECT, project_forces=False)
    np.testing.assert_array_equal(predict(free, pieces).forces, raw_forces(free, pieces))
    assert np.abs(predict(model, ase.Atoms("O")).forces).max() == 0


def test_the_direct_stress_is_symmetric_and_only_of_crystals() -> None:
    model = build(**DIRECT)
    batch = collate([graph(atoms, model.cutoff) for atoms in (salt(), slab(), ethanol())])
    stress = properties(model, batch, stress=True).stress
    torch.testing.assert_close(stress[0], stress[0].T)
    assert stress[0].isfinite().all()
    assert stress[1:].isnan().all()


@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("settings", [{}, {"max_sharpness": 0.0, "readout": "literal"}, DIRECT])
def test_forces_can_be_trained_on(paths: str, settings: dict[str, Any]) -> None:
    """The gradient of a force loss by a weight, against finite differences."""
    model = build(paths=paths, dispersion=True, **settings)
    batch = graph(ethanol(), model.cutoff)

    def loss() -> torch.Tensor:
        return properties(model, batch, create_graph=True).forces.square().sum()

    weights = [weight for weight in model.parameters() if weight.numel() > 20]
    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    used = [(w, g) for w, g in zip(weights, gradients, strict=True) if g is not None]
    assert all(g.isfinite().all() for _, g in used)
    step = 1e-5
    for weight, gradient in used[:: max(len(used) // 4, 1)]:
        place = np.unravel_index(int(gradient.abs().argmax()), tuple(gradient.shape))
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            ends.append(loss().item())
            with torch.no_grad():
                weight[place] -= sign * step
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-9)


# Charge


def charged(charge: int) -> ase.Atoms:
    atoms = ethanol()
    atoms.info["charge"] = charge
    return atoms


def test_the_total_charge_is_an_input() -> None:
    model = build()
    energies = [energy(model, charged(q)) for q in (-1, 0, 1, 2)]
    assert np.abs(np.subtract.outer(energies, energies))[~np.eye(4, dtype=bool)].min() > 1e-3
    assert energy(model, ethanol()) == energies[1]
    blind = build(charge_input=False)
    assert energy(blind, charged(1)) == energy(blind, charged(-1)) == energy(blind, ethanol())
    batch = collate([graph(charged(q), model.cutoff) for q in (-1, 0, 1, 2)])
    np.testing.assert_allclose(properties(model, batch).energy.detach(), energies, atol=1e-12)


# Dispersion


@pytest.mark.parametrize("settings", [{}, DIRECT], ids=["gradient", "direct"])
def test_dispersion_is_added_and_nothing_else_changes(settings: dict[str, Any]) -> None:
    near, far = build(**settings), build(dispersion=True, dispersion_cutoff=9.0, **settings)
    far.load_state_dict({**far.state_dict(), **near.state_dict()})
    assert (near.cutoff, far.cutoff) == (5.0, 9.0)
    atoms = salt()
    batch = graph(atoms, 9.0)
    alone = far.dispersion(batch.numbers, batch.receivers, batch.senders, batch.vectors, derivatives=True)
    without, together = predict(near, atoms), predict(far, atoms, diagnose=True)
    assert together.energy - without.energy == pytest.approx(alone.energies.sum().item(), abs=1e-12)
    np.testing.assert_allclose(together.forces - without.forces, alone.forces.detach(), atol=1e-12)
    stress = alone.virials.sum(0).detach() / atoms.get_volume()
    np.testing.assert_allclose(together.stress - without.stress, stress, atol=1e-13)
    shown = together.diagnostics.atoms["dispersion energy [eV]"]
    np.testing.assert_allclose(shown, alone.energies.detach(), atol=1e-14)


def test_only_dispersion_reaches_beyond_the_cutoff() -> None:
    for dispersion in (False, True):
        model = build(dispersion=dispersion)
        near, far = (predict(model, water_pair(d)).forces for d in (8.0, 9.0))
        assert (np.abs(near - far).max() > 1e-6) == dispersion


def test_dispersion_can_be_trained_alone_or_left_as_it_is() -> None:
    model = build(dispersion=True)
    batch = graph(water_pair(6.0), model.cutoff)
    properties(model, batch, create_graph=True).energy.sum().backward()
    assert model.dispersion.strength.grad[[1, 8]].abs().min() > 0
    assert model.dispersion.strength.grad[6] == 0
    assert model.dispersion.reach.grad.abs() > 0
    model.zero_grad()
    model.dispersion.requires_grad_(False)
    properties(model, batch, create_graph=True).forces.square().sum().backward()
    assert model.dispersion.strength.grad is None
    assert model.species.grad.abs().max() > 0


# Diagnostics


@pytest.mark.parametrize("paths", PATHS)
def test_it_shows_its_attention_gates_and_shares(paths: str) -> None:
    model = build(max_degree=2, paths=paths, dispersion=True)
    atoms = salt()
    found = predict(model, atoms, diagnose=True)
    shown, n_pairs = found.diagnostics, graph(atoms, 5.0).n_pairs
    labels = [attention.label for attention in shown.attention]
    per_layer = 6 if paths == "geometric+chemical" else 4
    assert len(labels) == len(set(labels)) == 2 * per_layer
    for attention in shown.attention:
        assert attention.weights.shape == (model.config.n_heads, n_pairs)
        assert attention.pairs.shape == (n_pairs, 2)
        assert attention.weights.min() >= 0
        if "path" in attention.label and "gate" not in attention.label:
            sums = np.zeros((len(atoms), model.config.n_heads))
            np.add.at(sums, attention.pairs[:, 0], attention.weights.T)
            assert 0.1 < sums.min() < sums.max() < 1
    parts = ("site energy [eV]", "pooled energy per atom [eV]", "dispersion energy [eV]")
    total = sum(shown.atoms[name] for name in parts)
    np.testing.assert_allclose(total, found.atom_energies, atol=1e-13)
    assert shown.atoms["share of the maximum"].sum() == pytest.approx(1)
    assert model.temperatures.shape == (2, 2 if paths == "geometric+chemical" else 1, 4)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_degree": 4}, "expected 1, 2 or 3"),
        ({"n_channels": 10}, "multiple of n_heads"),
        ({"paths": "both"}, "expected one of"),
        ({"readout": "sum"}, "expected one of"),
        ({"forces": "none"}, "expected one of"),
        ({"max_sharpness": -1.0}, "0 or more"),
        ({"dispersion_cutoff": 0.0}, "more than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLANetConfig(**settings)
