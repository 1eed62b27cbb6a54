"""AllScAIP: what is its own, beyond the contract that every model keeps."""

import ase
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from structures_for_tests import EVERY_KIND, ethanol, salt, water_pair

from workbench.graphs import graph
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
