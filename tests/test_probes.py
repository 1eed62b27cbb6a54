"""What a model says of itself, against finite differences and against models whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from scipy.stats import spearmanr
from structures_for_tests import EVERY_KIND, ethanol, salt, water_pair
from torch import Tensor, nn

from workbench import analysis
from workbench.diagnostics import Attention
from workbench.graphs import Graph
from workbench.models import Potential, build
from workbench.models.contract import Output
from workbench.predict import predict
from workbench.probes import fragment_error, influence, rank_correlation, rotation_error


def model(name: str, **config: Any) -> Potential:
    torch.manual_seed(0)
    return build(name, "tiny", **config).double()


class NoBatches(torch.autograd.Function):
    """The identity, with a backward pass that cannot be vectorised."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if float(gradient.abs().sum()) < 0:
            raise ArithmeticError
        return gradient.clone()


@dataclass(frozen=True)
class SpringsConfig:
    cutoff: float = 5.0
    field: float = 0.0
    bonding: float = 0.0


class Springs(Potential):
    """Forces sum_j W (r_j - r_i) with a matrix W, given directly; energy `field` x_0 + `bonding` (N - 1)."""

    name = "springs"
    Config = SpringsConfig
    presets: dict[str, Any] = {}  # noqa: RUF012
    gives = frozenset({"energy", "forces"})
    rotation_invariant = False
    size_consistent = False
    long_ranged = False
    periodic = frozenset({0})

    def __init__(self, config: SpringsConfig) -> None:
        super().__init__(config)
        self.matrix = nn.Parameter(torch.arange(9.0).reshape(3, 3))

    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        positions = NoBatches.apply(graph.positions)
        sums = torch.zeros_like(graph.cell[:, 0]).index_add(0, graph.structure_index, positions)
        pulled = sums[graph.structure_index] - graph.sizes[graph.structure_index, None] * positions
        first = torch.cumsum(graph.sizes, 0) - graph.sizes
        energies = torch.zeros_like(positions[:, 0]).index_add(
            0, first, self.config.field * positions[first, 0] + self.config.bonding * (graph.sizes - 1).double()
        )
        return Output(energies, forces=pulled @ self.matrix.to(positions.dtype).T)


# Influence


def by_finite_differences(model: Potential, atoms: ase.Atoms, step: float = 1e-4) -> np.ndarray:
    n_atoms = len(atoms)
    change = np.zeros((n_atoms, 3, n_atoms, 3))
    for j in range(n_atoms):
        for b in range(3):
            there, back = atoms.copy(), atoms.copy()
            there.positions[j, b] += step
            back.positions[j, b] -= step
            forward, backward = predict(model, [there, back])
            assert forward.forces is not None
            assert backward.forces is not None
            change[:, :, j, b] = (forward.forces - backward.forces) / (2 * step)
    return np.sqrt(np.square(change).sum(axis=(1, 3)))


@pytest.mark.parametrize("kind", ["molecule", "tiny cell", "slab"])
@pytest.mark.parametrize(
    ("name", "config"), [("lorem", {}), ("mlanet", {}), ("allscaip", {}), ("allscaip", {"direct_forces": True})]
)
def test_influence_is_the_derivative_of_the_forces(name: str, config: dict[str, Any], kind: str) -> None:
    probed, atoms = model(name, **config), EVERY_KIND[kind]()
    found, expected = influence(probed, atoms), by_finite_differences(probed, atoms)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())
    asymmetry = np.abs(found - found.T).max() / found.max()
    if config:
        assert asymmetry > 0.01, "forces that are no gradient need no symmetric influence; these are random"
    else:
        assert asymmetry < 1e-12, "the Hessian is symmetric"


def test_influence_takes_portions_that_fit_the_memory() -> None:
    probed, atoms = model("lorem"), ethanol()
    in_one = influence(probed, atoms)
    np.testing.assert_allclose(influence(probed, atoms, memory_GB=1e-9), in_one, rtol=1e-10)
    np.testing.assert_allclose(influence(probed, atoms, memory_GB=2e-3), in_one, rtol=1e-10)


def test_influence_of_a_model_whose_kernel_knows_no_batches() -> None:
    springs = Springs(SpringsConfig())
    atoms, norm = ethanol(), np.sqrt(np.square(np.arange(9)).sum())
    expected = np.full((9, 9), norm)
    np.fill_diagonal(expected, 8 * norm)
    np.testing.assert_allclose(influence(springs, atoms), expected, rtol=1e-6)


def test_influence_leaves_the_model_as_it_was() -> None:
    probed = model("lorem")
    influence(probed, ethanol())
    assert not probed.training
    assert all(weight.requires_grad and weight.grad is None for weight in probed.parameters())


@pytest.mark.parametrize("name", ["lorem", "mlanet", "allscaip"])
def test_a_lone_atom_moves_nothing(name: str) -> None:
    np.testing.assert_allclose(influence(model(name), ase.Atoms("O")), [[0.0]], atol=1e-12)


def test_influence_refuses_what_a_prediction_refuses() -> None:
    probed = model("lorem")
    probed.known[8] = False
    with pytest.raises(ValueError, match="not trained on O"):
        influence(probed, ethanol())


# Rank correlation


def test_all_three_forms_of_attention_give_the_same_ranks() -> None:
    rng = np.random.default_rng(0)
    weights, moved = rng.random((2, 5, 5)), rng.random((5, 5))
    apart = ~np.eye(5, dtype=bool)
    expected = [spearmanr(head[apart], moved[apart]).statistic for head in weights]

    np.testing.assert_allclose(rank_correlation(Attention("all", weights), moved), expected)

    receivers, senders = np.nonzero(np.ones((5, 5)))
    pairs = Attention("pairs", weights[:, receivers, senders], pairs=np.stack([receivers, senders], 1))
    np.testing.assert_allclose(rank_correlation(pairs, moved), expected)

    centers = np.array([3, 1, 0, 4, 2])
    members = np.array([[c, *(a for a in range(5) if a != c), -1] for c in centers])
    neighbourhoods = rng.random((5, 2, 6, 6))  # rows of other members say something else
    neighbourhoods[:, :, 0, :5] = np.stack(
        [weights[:, c, m[:5]] for c, m in zip(centers, members, strict=True)]
    )
    near = Attention("near", neighbourhoods, centers=centers, members=members)
    np.testing.assert_allclose(rank_correlation(near, moved), expected)


def test_images_of_one_atom_count_together() -> None:
    """Atom 1 is seen twice from 0, with weights that are the smallest apart and the largest together."""
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 1], [0, 0]])
    weights = np.array([[0.3, 0.4, 0.2, 0.25, 0.9]])
    moved = np.zeros((4, 4))
    moved[0] = [9.0, 3.0, 2.0, 1.0]
    assert rank_correlation(Attention("p", weights, pairs=pairs), moved) == pytest.approx([1.0])
    moved[0] = [9.0, 1.0, 2.0, 3.0]
    assert rank_correlation(Attention("p", weights, pairs=pairs), moved) == pytest.approx([-1.0])


def test_equal_weights_have_no_ranks() -> None:
    weights = np.stack([np.full((4, 4), 0.25), np.random.default_rng(0).random((4, 4))])
    found = rank_correlation(Attention("all", weights), np.random.default_rng(1).random((4, 4)))
    assert np.isnan(found).tolist() == [True, False]
    alone = Attention("pairs", np.zeros((2, 0)), pairs=np.zeros((0, 2), int))
    assert np.isnan(rank_correlation(alone, np.zeros((1, 1)))).tolist() == [True, True]
    with pytest.raises(ValueError, match=r"influence has shape \(3, 3\).*speaks of 4 atoms"):
        rank_correlation(Attention("all", weights), np.ones((3, 3)))


def test_a_table_of_layers_and_heads_comes_from_a_prediction() -> None:
    probed, atoms = model("allscaip"), ethanol()
    shown = predict(probed, atoms, diagnose=True).diagnostics
    assert shown is not None
    moved = analysis.influence(probed, atoms)
    table = np.array([analysis.rank_correlation(layer, moved) for layer in shown.attention])
    assert table.shape == (6, 4)
    assert np.abs(table).max() <= 1
    distances = atoms.get_all_distances()
    apart = ~np.eye(len(atoms), dtype=bool)
    assert spearmanr(distances[apart], moved[apart]).statistic < -0.5, "near atoms move the forces most"


# Symmetries


@pytest.mark.parametrize("atoms", [ethanol, salt])
def test_an_invariant_model_has_no_rotation_error(atoms: Any) -> None:
    found = rotation_error(model("lorem"), atoms(), n_rotations=5)
    assert found.energy < 1e-12
    assert found.relative_forces < 1e-10
    assert found.rms_force == pytest.approx(np.sqrt(np.square(predict(model("lorem"), atoms()).forces).mean()))


def test_the_rotation_error_of_a_model_in_a_field() -> None:
    """Energy field x_0 of one atom at distance d from the origin: over rotations its variance is (field d)^2 / 3."""
    atoms = ase.Atoms("OH", [(0, 0, 2.0), (0, 0, 0)])
    springs = Springs(SpringsConfig(field=0.3)).double()
    found = rotation_error(springs, atoms, n_rotations=4000)
    assert found.energy == pytest.approx(0.3 * 2.0 / np.sqrt(3) / 2, rel=0.03)
    with torch.no_grad():
        springs.matrix.copy_(torch.diag(torch.tensor([1.0, 0.0, 0.0])))  # forces (2 n_x, 0, 0), n the direction
    # Turned back the force is 2 n_x (n_x, R's other entries of that row): mean (0, 0, 2/3), mean square 4/3.
    found = rotation_error(springs, atoms, n_rotations=4000)
    assert found.rms_force == pytest.approx(np.sqrt(4 / 3 / 3), rel=0.03)
    assert found.forces == pytest.approx(np.sqrt((4 / 3 - 4 / 9) / 3), rel=0.03)
    assert found.relative_forces == pytest.approx(np.sqrt(2 / 3), rel=0.03)


def test_the_rotation_error_of_many_structures_is_their_root_mean_square() -> None:
    springs = Springs(SpringsConfig(field=0.3)).double()
    near, far = (ase.Atoms("OH", [(0, 0, d), (0, 0, 0)]) for d in (1.0, 7.0))
    together = rotation_error(springs, [near, far], n_rotations=4000).energy
    assert together == pytest.approx(0.3 * np.sqrt((1 + 49) / 2) / np.sqrt(3) / 2, rel=0.03)
    assert rotation_error(springs, near) == rotation_error(springs, near)
    assert rotation_error(springs, near) != rotation_error(springs, near, seed=1)
    with pytest.raises(ValueError, match="0 structures, 20 rotations"):
        rotation_error(springs, [])


def test_what_allscaip_declares_is_so() -> None:
    directed, undirected = model("allscaip"), model("allscaip", max_degree=0)
    assert rotation_error(directed, ethanol(), n_rotations=5).relative_forces > 0.01
    assert rotation_error(undirected, ethanol(), n_rotations=5).relative_forces < 1e-10
    first, second = water_pair(3.0)[:3], molecule("CH3OH")
    far = fragment_error(directed, first, second, [50.0, 100.0])
    assert np.abs(far).min() > 1e-3
    alone = fragment_error(model("allscaip", all_to_all=False), first, second, [50.0, 100.0])
    np.testing.assert_allclose(alone, 0.0, atol=1e-12)


def test_fragments_interact_as_the_model_says() -> None:
    """Springs count `bonding` eV for each atom but the first: two fragments are one bond short of their sum."""
    springs = Springs(SpringsConfig(bonding=0.7)).double()
    found = fragment_error(springs, molecule("H2O"), molecule("CH4"), 30.0)
    np.testing.assert_allclose(found, [0.7])


def test_far_fragments_of_lorem_interact_as_one_over_r() -> None:
    found = fragment_error(model("lorem"), molecule("H2O"), ethanol(), [200.0, 400.0])
    assert found[0] / found[1] == pytest.approx(2, rel=0.02)


def test_fragments_keep_their_charge_and_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ase.Atoms] = []

    def watched(model: Potential, atoms: ase.Atoms) -> Any:
        seen.append(atoms)
        return predict(model, atoms)

    monkeypatch.setattr("workbench.probes.predict", watched)
    cation, radical = molecule("H2O"), molecule("OH")
    cation.info |= {"charge": 1, "spin": 2}
    radical.info |= {"spin": 2}
    fragment_error(Springs(SpringsConfig()), cation, radical, [12.0])
    both = seen[-1]
    assert (both.info["charge"], both.info["spin"]) == (1, 3)
    apart = both[3:].get_center_of_mass() - both[:3].get_center_of_mass()
    np.testing.assert_allclose(apart, [12.0, 0, 0], atol=1e-12)
    with pytest.raises(ValueError, match="expected molecules"):
        fragment_error(Springs(SpringsConfig()), cation, salt(), [12.0])
