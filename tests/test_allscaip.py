"""AllScAIP: what is its own, beyond the contract that every model keeps."""

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from scipy.spatial.transform import Rotation
from structures_for_tests import EVERY_KIND, ethanol, salt, water_pair
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.graphs import collate, graph
from workbench.models import Potential, build
from workbench.nn import all_to_all, attention
from workbench.predict import predict, properties


def model(**config: object) -> Potential:
    torch.manual_seed(0)
    found = build("allscaip", "tiny", **config).double()
    with torch.no_grad():
        for weight in found.parameters():
            weight *= 1.5
    return found


def energy(model: Potential, atoms: ase.Atoms) -> float:
    return predict(model, atoms).energy


@pytest.mark.parametrize("kind", EVERY_KIND.values(), ids=list(EVERY_KIND))
def test_what_it_shows_is_what_the_energy_used(kind, monkeypatch) -> None:
    """Every softmax of an ordinary prediction, against the attention that a diagnosing one shows."""
    found, atoms, used = model(), kind(), []

    class Watching:
        def __getattr__(self, name):
            return getattr(torch, name)

        def softmax(self, logits, dim):
            used.append(torch.softmax(logits, dim))
            return used[-1]

    for module in (attention, all_to_all):
        monkeypatch.setattr(module, "torch", Watching())
    predict(found, atoms)
    shown = predict(found, atoms, diagnose=True).diagnostics.attention
    assert [a.label for a in shown[:3]] == [
        "layer 0, source neighbourhood",
        "layer 0, destination neighbourhood",
        "layer 0, all atoms",
    ]
    assert len(shown) == 6
    for a, weights in zip(shown, used, strict=False):
        np.testing.assert_array_equal(a.weights, weights.detach())
        if a.centers is not None:
            np.testing.assert_array_equal(a.members[:, 0], a.centers)
            empty = a.members < 0
            assert (a.weights.transpose(0, 3, 1, 2)[empty] == 0).all(), "an empty place is attended to"


def test_the_two_ends_of_a_neighbour_pair_are_mutual() -> None:
    first = predict(model(), salt(), diagnose=True).diagnostics.attention[0]
    pairs = [
        (i, int(j)) for i, row in zip(first.centers, first.members, strict=True) for j in row[1:] if j >= 0
    ]
    assert sorted(pairs) == sorted((j, i) for i, j in pairs)


def test_without_harmonics_of_directions_turning_changes_nothing() -> None:
    found, atoms = model(max_degree=0), ethanol()
    assert found.rotation_invariant
    here = predict(found, atoms)
    matrix = Rotation.random(random_state=0).as_matrix()
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.T
    there = predict(found, turned)
    assert there.energy == pytest.approx(here.energy, abs=1e-9)
    np.testing.assert_allclose(there.forces, here.forces @ matrix.T, atol=1e-9)


def test_without_all_to_all_attention_far_fragments_do_not_meet() -> None:
    local, far = model(all_to_all=False), model()
    assert local.size_consistent
    assert not far.size_consistent
    alone = [water_pair(0)[:3], water_pair(0)[3:]]
    for found, meets in ((local, False), (far, True)):
        error = energy(found, water_pair(500.0)) - sum(energy(found, one) for one in alone)
        assert (abs(error) > 1e-6) == meets, error


def test_without_distances_it_does_not_know_how_far_a_fragment_is() -> None:
    """The paper's NeNo: far attention is by content alone."""
    content, distance = model(radial_bias=False), model()
    for found, knows in ((content, False), (distance, True)):
        difference = energy(found, water_pair(20.0)) - energy(found, water_pair(30.0))
        assert (abs(difference) > 1e-9) == knows, difference


def largest_bend(found: Potential) -> float:
    """Largest second difference of the energy as two waters part by 0.005 Å a time: pairs stop being neighbours."""
    apart = [water_pair(d) for d in np.arange(3.0, 7.0, 0.005)]
    energies = np.array([result.energy for result in predict(found, apart)])
    return np.abs(np.diff(energies, 2)).max()


def test_a_smooth_model_has_no_jumps_and_the_published_one_has() -> None:
    smooth, published = largest_bend(model()), largest_bend(model(smooth=False))
    assert smooth < 1e-3
    assert published > 30 * smooth, "the published feature counts a neighbour fully as soon as it is one"


def by_portions(monkeypatch: pytest.MonkeyPatch, n_at_once: int) -> None:
    """Let small systems go the way of large ones."""
    monkeypatch.setattr(all_to_all, "WHOLE", 1)
    monkeypatch.setattr(all_to_all, "PORTION", n_at_once)
    monkeypatch.setattr(all_to_all, "PAIRS_AT_ONCE", 64)
    monkeypatch.setattr(attention, "TOKENS_AT_ONCE", 32)
    monkeypatch.setattr(attention, "KEPT", 1)


@pytest.mark.parametrize("kind", EVERY_KIND.values(), ids=list(EVERY_KIND))
def test_by_portions_it_is_the_same_model(kind, monkeypatch) -> None:
    found, atoms = model(), kind()
    whole = predict(found, atoms, diagnose=True)
    by_portions(monkeypatch, 100)
    parts = predict(found, atoms, diagnose=True)
    assert predict(found, atoms).energy == parts.energy
    assert parts.energy == pytest.approx(whole.energy, abs=1e-10)
    np.testing.assert_allclose(parts.forces, whole.forces, atol=1e-10)
    for a, b in zip(parts.diagnostics.attention, whole.diagnostics.attention, strict=True):
        np.testing.assert_allclose(a.weights, b.weights, atol=1e-12)


def test_by_portions_forces_are_slopes_and_can_be_trained_on(monkeypatch) -> None:
    found, atoms = model(), salt()
    batch = collate([graph(one, found.cutoff) for one in (atoms, ethanol())])

    def slopes() -> list[torch.Tensor]:
        loss = properties(found, batch, create_graph=True).forces.square().sum()
        return torch.autograd.grad(loss, list(found.parameters()), allow_unused=True)

    whole = slopes()
    by_portions(monkeypatch, 100)
    for (name, _), a, b in zip(found.named_parameters(), whole, slopes(), strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, atol=1e-9 * (1 + a.abs().max()), err_msg=name)
    forces, step = predict(found, atoms).forces, 1e-4
    for i, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            energies.append(energy(found, moved))
        assert forces[i, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=1e-6)


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation makes."""

    n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor) and not one._is_view():
                self.n = max(self.n, one.numel())
        return made


def memory(found: Potential, n_layers_of_atoms: int) -> tuple[int, int]:
    """Numbers in the largest tensor of a prediction with forces, and bytes that its forward keeps for the gradient."""
    crystal = bulk("Cu", "sc", a=2.5) * (6, 6, n_layers_of_atoms)
    crystal.rattle(0.05, seed=0)
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    with Largest() as largest, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        properties(found, graph(crystal, found.cutoff))
    return largest.n, sum(kept)


def test_memory_is_linear_in_the_atoms_when_nobody_looks(monkeypatch) -> None:
    sizes = {"n_features": 16, "frequencies": (2, 2, 0, 0, 0), "n_neighbours": 4, "cutoff": 2.6}
    found = model(**sizes).requires_grad_(False)
    whole = [np.array(memory(found, n)) for n in (6, 12)]
    assert (whole[1] > 3 * whole[0]).all(), "a table of all pairs was expected: the test sees no difference"
    by_portions(monkeypatch, 2000)
    parts = [np.array(memory(found, n)) for n in (6, 12)]
    assert (parts[1] < 2.1 * parts[0]).all()
    assert (parts[1] < 0.2 * whole[1]).all()


def test_direct_forces_are_no_gradient_and_need_none() -> None:
    found = model(direct_forces=True)
    assert found.gives == {"energy", "forces"}
    assert not found.rotation_invariant
    here = properties(found, graph(ethanol(), found.cutoff))
    assert here.forces.shape == (9, 3)
    assert np.abs(here.forces.detach().numpy().sum(0)).max() > 1e-6, "nothing makes direct forces sum to zero"


def test_charge_and_multiplicity_matter_and_must_make_sense() -> None:
    found, atoms = model(), ethanol()
    neutral = energy(found, atoms)
    for key, value in (("charge", 1), ("spin", 3)):
        other = atoms.copy()
        other.info[key] = value
        assert abs(energy(found, other) - neutral) > 1e-6
    for key, value in (("charge", 0.5), ("charge", 101), ("spin", -1)):
        other = atoms.copy()
        other.info[key] = value
        with pytest.raises(ValueError, match="expects whole charges"):
            predict(found, other)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"n_heads": 5}, "multiple of n_heads"),
        ({"frequencies": (20, 10, 4, 10, 20)}, "n_features / n_heads = 16"),
        ({"n_radial": 1}, "2 or more"),
        ({"max_degree": -1}, "0 or more"),
    ],
)
def test_settings_that_make_no_model(config, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        build("allscaip", "tiny", **config)
