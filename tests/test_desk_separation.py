"""Two fragments drawn apart: geometry, forces, zeros, cutoffs, and the power law of the tail."""

from __future__ import annotations

from types import SimpleNamespace

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.lj import LennardJones

from workbench import build, catalogue
from workbench.checks import labels
from workbench.desk.separation import separation, two_fragments
from workbench.desk.tail import tail


def curve(distance, energy, force=None, limit=0.0):
    force = np.zeros_like(distance) if force is None else force
    return SimpleNamespace(distance=distance, energy=energy, force=force, limit=limit)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    found = {}
    for name, long_range in (("LOREM", True), ("local twin", False)):
        found[name] = build("lorem", "tiny", long_range=long_range)
    return found


@pytest.fixture(scope="module")
def ions(models):
    return separation("ion_pair", models, n_points=25, progress=False)


@pytest.mark.parametrize("exponent", [1, 2, 3, 6])
def test_a_power_law_is_found_exactly(exponent) -> None:
    r = np.linspace(5, 15, 30)
    fit = tail(curve(r, 0.7 - 2.5 * r**-exponent, limit=0.7), 8, 15)
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.high - fit.low < 1e-6
    assert fit.factor == pytest.approx(-2.5)
    assert f"({exponent})" in fit.verdict
    np.testing.assert_allclose(fit.energy(r), -2.5 * r**-exponent)
    np.testing.assert_allclose(fit.force(r), -2.5 * exponent * r ** -(exponent + 1.0))


def test_where_the_zero_is_not_known_the_force_gives_the_exponent() -> None:
    r = np.linspace(5, 15, 30)
    fit = tail(curve(r, 8.0 - 1.5 / r**3, -4.5 / r**4, limit=np.nan), 8, 15)
    assert fit.of_force
    assert fit.exponent == pytest.approx(3)
    np.testing.assert_allclose(fit.force(r), -4.5 / r**4)


def test_the_interval_holds_an_exponent_that_changes_and_the_truth_under_noise() -> None:
    r = np.linspace(8, 15, 40)
    mixed = tail(curve(r, -1 / r - 20 / r**4), 8, 15)
    assert mixed.high - mixed.low > 0.02, "five stretches of another slope each are no certainty"
    rng = np.random.default_rng(0)
    hits = [
        (fit := tail(curve(r, r**-3.0 * np.exp(0.05 * rng.normal(size=40))), 8, 15)).low < 3 < fit.high
        for _ in range(200)
    ]
    assert np.mean(hits) > 0.88


def test_what_is_no_power_law_is_said_in_words() -> None:
    r = np.linspace(5, 15, 30)
    for values, words in (
        (0 * r, "does not feel"),
        (np.where(r < 9, 1 / r, 0), "nothing at all from"),
        (np.sin(r), "changes its sign"),
        (np.exp(-1.2 * r), "faster than any power"),
    ):
        fit = tail(curve(r, values), 7, 12)
        assert words in fit.verdict
    assert "needs 4" in tail(curve(r, 1 / r), 14.5, 15).verdict
    assert np.isnan(tail(curve(r, 0 * r), 7, 12).exponent)


def test_the_references_dimers_fall_off_as_their_classes_do() -> None:
    pairs = separation("dimers", progress=False)["separations"]
    exponents = {name: tail(s.curves["GFN2-xTB"], 9.9, 15).exponent for name, s in pairs.items()}
    assert len(pairs) == 13
    for name, wanted in (
        ("CH3NH3+ BF4- (charged-charged)", 1),
        ("CH3NH3+ H2O (charged-polar)", 2),
        ("H2O CH3CN (polar-polar)", 3),
    ):
        assert exponents[name] == pytest.approx(wanted, abs=0.1)


def test_the_way_passes_through_the_labelled_structures(ions) -> None:
    (found,) = ions["separations"].values()
    frames = [a for a in catalogue.load("ion_pair") if a.info["orientation"] == 0]
    assert found.curves["GFN2-xTB"].measured
    for atoms in frames:
        index = int(np.abs(found.distance - atoms.info["distance"]).argmin())
        assert found.distance[index] == pytest.approx(atoms.info["distance"], abs=1e-6)
        np.testing.assert_allclose(found.frames[index].positions, atoms.positions, atol=1e-6)
    near = [a.info["distance"] for a in frames if a.info["split"] == "near"]
    assert found.trained == pytest.approx((min(near), max(near)), abs=1e-6)


def test_the_references_energies_are_interaction_energies_and_its_force_their_slope(ions) -> None:
    (found,) = ions["separations"].values()
    reference = found.curves["GFN2-xTB"]
    frames = sorted(
        (a for a in catalogue.load("ion_pair") if a.info["orientation"] == 0), key=lambda a: a.info["distance"]
    )
    np.testing.assert_allclose(reference.energy, [a.info["interaction_energy"] for a in frames], atol=1e-6)
    # Far out it is Coulomb's law, whose slope is known.
    far = reference.distance > 9
    np.testing.assert_allclose(reference.force[far], -14.3996 / reference.distance[far] ** 2, rtol=0.02)
    np.testing.assert_array_equal(reference.charges[0], labels(frames[0])["charges"])


def test_a_models_force_is_minus_the_slope_of_its_energy(models) -> None:
    step = 1e-3
    frames = [a for a in catalogue.load("ion_pair") if a.info["orientation"] == 0]
    at = [6.0 - step, 6.0, 6.0 + step, 11.0 - step, 11.0, 11.0 + step]
    (found,) = separation(frames, models, distances=at, progress=False)["separations"].values()
    for name in models:
        energy, force = found.curves[name].energy, found.curves[name].force
        for middle in (1, 4):
            slope = (energy[middle + 1] - energy[middle - 1]) / (2 * step)
            assert force[middle] == pytest.approx(-slope, abs=1e-6)


def test_the_local_twin_ends_at_its_cutoff_and_its_limit_is_what_it_says_there(ions, models) -> None:
    (found,) = ions["separations"].values()
    twin, model = found.curves["local twin"], found.curves["LOREM"]
    for (_, cutoff, edge), name in zip(found.cutoffs, models, strict=True):
        assert cutoff == models[name].cutoff
        beyond = found.distance > edge
        assert beyond.any()
        assert not beyond.all()
    np.testing.assert_allclose(twin.energy[beyond], twin.limit, atol=1e-9)
    np.testing.assert_allclose(twin.force[beyond], 0, atol=1e-9)
    assert np.abs(model.energy[beyond] - model.limit).min() > 1e-7, "the long-range model feels nothing either"
    assert model.charges.shape == (len(found.distance), 13)
    assert "learned" in model.label
    assert twin.charges is None


def test_two_fragments_and_a_calculator_give_its_law() -> None:
    argon, krypton = ase.Atoms("Ar", [[0, 0, 0]]), ase.Atoms("Kr", [[0, 0, 4.0]])
    handed = separation((argon, krypton), reference=LennardJones(sigma=3.4, rc=1e3), progress=False)
    (found,) = handed["separations"].values()
    np.testing.assert_allclose(found.distance[[0, -1]], [4, 16])
    at = found.curves["reference"]
    slope = np.gradient(at.energy, at.distance)[20:-1]
    np.testing.assert_allclose(slope, -at.force[20:-1], rtol=0.03)
    fit = handed["fit"](at, 10, 16)
    assert fit.of_force
    assert fit.exponent == pytest.approx(6, abs=0.05)
    assert found.trained is None


def test_which_fragment_moves_is_seen_from_the_frames() -> None:
    pair = molecule("H2O") + molecule("CH4")
    pair.positions[3:] += [4, 0, 0]
    frames = []
    for distance in (0.0, 1.0, 2.5):
        atoms = pair.copy()
        atoms.positions[3:] += [0.6 * distance, 0.8 * distance, 0]
        atoms.positions += 0.3 * distance  # the pair as a whole may stand anywhere
        frames.append(atoms)
    moving, axis = two_fragments("pair", frames)
    np.testing.assert_array_equal(moving, np.arange(3, 8))
    np.testing.assert_allclose(axis, [0.6, 0.8, 0], atol=1e-12)
    frames[1].rattle(0.05, seed=0)
    with pytest.raises(ValueError, match="not two rigid fragments"):
        two_fragments("pair", frames)
    with pytest.raises(ValueError, match="nothing moves"):
        two_fragments("pair", [pair, pair])


def test_wrong_input_is_refused_in_words(models) -> None:
    water = molecule("H2O")
    with pytest.raises(ValueError, match="nothing to draw"):
        separation((water, ase.Atoms("Ar", [[0, 0, 4.0]])))
    with pytest.raises(ValueError, match="centres of the two fragments coincide"):
        separation((water, water), models)
    with pytest.raises(ValueError, match="orientation=99 is none of them"):
        separation("ion_pair", orientation=99)
    with pytest.raises(ValueError, match="expected a model"):
        separation("ion_pair", {"LOREM": "lorem"})
