"""Drift against noise of known correlation, distributions against gases and crystals."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.signal import lfilter

from workbench.analysis import drift, drift_of, msd, rdf, separate
from workbench.stream import Stream

MEV_PER_NS = 1e9  # eV/fs in meV/ns


def correlated(rng, n_runs, n_rows, time_constant):
    """(n_runs, n_rows) | stationary AR(1) noise of unit innovation."""
    r = np.exp(-1 / time_constant)
    kicks = rng.standard_normal((n_runs, n_rows))
    kicks[:, 0] /= np.sqrt(1 - r**2)
    return lfilter([1], [1, -r], kicks, axis=1)


def coverage(noise, slope=1e-5):
    """How often the interval holds the true slope."""
    times = 0.5 * np.arange(noise.shape[1])
    truth = slope / 7 * MEV_PER_NS
    found = [drift(times, slope * times + row, n_atoms=7) for row in noise]
    return np.mean([d.low_meV_per_atom_per_ns < truth < d.high_meV_per_atom_per_ns for d in found])


@pytest.mark.parametrize("time_constant", [0.1, 10, 100, 300])
def test_the_interval_covers_the_truth_in_95_percent_of_runs(time_constant):
    noise = correlated(np.random.default_rng(1), 800, 3000, time_constant)
    assert 0.93 < coverage(noise) < 0.985


def test_the_interval_nearly_holds_even_for_a_random_walk():
    walks = np.random.default_rng(2).standard_normal((800, 3000)).cumsum(axis=1)
    assert 0.84 < coverage(walks) < 0.96


def test_the_interval_is_not_wider_than_it_must_be():
    """For white noise, the textbook error of a slope: sigma sqrt(12 / n^3) per row."""
    n = 3200
    noise = np.random.default_rng(3).standard_normal((200, n))
    found = [drift(np.arange(n), row, n_atoms=1) for row in noise]
    half = np.median([(d.high_meV_per_atom_per_ns - d.low_meV_per_atom_per_ns) / 2 for d in found])
    assert half / (1.96 * np.sqrt(12 / n**3) * MEV_PER_NS) < 1.2


@pytest.mark.parametrize("n_rows", [32, 63, 1000])
def test_a_line_is_found_exactly(n_rows):
    times = 2.0 * np.arange(n_rows) + 10
    found = drift(times, -1e5 + 3e-6 * times, n_atoms=3)
    assert found.meV_per_atom_per_ns == pytest.approx(1000, rel=1e-4)
    np.testing.assert_allclose(found.line(times), -1e5 + 3e-6 * times, atol=1e-9)


def test_verdicts_say_what_the_numbers_mean():
    rng = np.random.default_rng(4)
    times = np.arange(4000.0)
    kinetic = 1 + 0.1 * rng.standard_normal(4000)
    noise = 1e-3 * rng.standard_normal(4000)
    assert drift(times[:10], noise[:10], 5).verdict.startswith("too early")
    assert np.isnan(drift(times[:10], noise[:10], 5).meV_per_atom_per_ns)
    assert drift(times, noise, 5, kinetic).verdict.startswith("no drift")
    assert drift(times, 100 * noise.cumsum(), 5, kinetic).verdict.startswith("too short")
    assert drift(times, noise + 1e-6 * times, 5, kinetic).verdict.startswith("small drift")
    steep = drift(times, noise - 1e-4 * times, 5, kinetic)
    assert steep.verdict.startswith("energy is not conserved: the run loses")
    assert steep.ratio == pytest.approx(1e-4 * 3999 / kinetic.std(), rel=0.01)


def test_drift_is_cheap_enough_to_be_live():
    numbers = np.random.default_rng(5).standard_normal(20_000).tolist()
    rows = [{"time_fs": float(k), "conserved_energy": x, "kinetic_energy": x} for k, x in enumerate(numbers)]
    drift_of(rows, 10)
    seconds = []
    for _ in range(20):
        started = time.process_time()
        drift_of(rows, 10)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.05


def test_a_stream_is_fitted_as_its_columns_are():
    stream = Stream()
    rng = np.random.default_rng(8)
    assert drift_of(stream.since(0), 3).verdict.startswith("too early")
    for k, (energy, kinetic) in enumerate(rng.standard_normal((500, 2))):
        stream.emit(time_fs=0.5 * k, conserved_energy=energy, kinetic_energy=kinetic)
    columns = [stream.column(name) for name in ("time_fs", "conserved_energy", "kinetic_energy")]
    assert drift_of(stream.since(0), 3) == drift(*columns[:2], 3, columns[2])
    stream.emit(time_fs=250.0, kinetic_energy=1.0)
    with pytest.raises(ValueError, match="no 'conserved_energy'"):
        drift_of(stream.since(0), 3)


@pytest.mark.parametrize(
    ("times", "energies", "n_atoms", "complaint"),
    [
        ([0, 1, 2], [0, 1], 1, "shapes"),
        ([0, 1], [0, float("nan")], 1, "not finite"),
        ([0, 0], [0, 1], 1, "do not ascend"),
        ([0, 1], [0, 1], 0, "n_atoms"),
    ],
)
def test_columns_that_cannot_be_fitted_are_refused(times, energies, n_atoms, complaint):
    with pytest.raises(ValueError, match=complaint):
        drift(times, energies, n_atoms)


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(6)
    frames = [
        Atoms("Ar100Kr60", positions=rng.uniform(0, 8, (160, 3)), cell=(8, 8, 8), pbc=True) for _ in range(25)
    ]
    for pair in (None, ("Ar", "Kr"), ("Kr", "Ar")):
        r, g = rdf(frames, cutoff=5.0, n_bins=10, pair=pair)  # beyond half the cell
        np.testing.assert_allclose(g[3:], 1, atol=0.06)
        assert r[0] == 0.25


def test_a_crystal_has_its_neighbours_where_they_are():
    copper = bulk("Cu", "fcc", a=3.6, cubic=True)  # smaller than the cutoff: images count
    r, g = rdf(copper, cutoff=4.0, n_bins=80)
    assert all(min(abs(x - 3.6 / 2**0.5), abs(x - 3.6)) <= 0.05 for x in r[g > 0])
    density, width = 4 / 3.6**3, 0.05
    shells = 4 / 3 * np.pi * ((r + width / 2) ** 3 - (r - width / 2) ** 3)
    assert (g * density * shells)[r < 3].sum() == pytest.approx(12)
    assert (g * density * shells)[r > 3].sum() == pytest.approx(6)


def test_a_radial_distribution_says_what_it_lacks():
    with pytest.raises(ValueError, match="three periodic"):
        rdf(molecule("H2O"))
    with pytest.raises(ValueError, match="no atom is 'N'"):
        rdf(bulk("Cu"), pair=("Cu", "N"))
    with pytest.raises(ValueError, match="no frames"):
        rdf([])


def test_displacements_of_known_motions():
    atoms = Atoms("H50")
    flying = [Atoms("H50", positions=np.full((50, 3), 0.1 * k)) for k in range(9)]
    np.testing.assert_allclose(msd(flying), [3 * (0.1 * k) ** 2 for k in range(5)])
    steps = np.random.default_rng(7).standard_normal((400, 50, 3))
    walking = [Atoms(atoms.symbols, positions=p) for p in steps.cumsum(axis=0)]
    lags = np.arange(11)
    np.testing.assert_allclose(msd(walking)[:11], 3 * lags, rtol=0.08)
    half = msd(walking, index=range(25))
    assert half[5] != msd(walking)[5]


def test_wrapped_positions_are_refused():
    cell = dict(cell=(5, 5, 5), pbc=True)
    frames = [Atoms("H", positions=[[x, 0, 0]], **cell) for x in (4.8, 4.95, 0.1)]
    with pytest.raises(ValueError, match="not wrapped"):
        msd(frames)


def test_fragments_are_pulled_apart_rigidly():
    dimer = molecule("H2O") + molecule("CH4")
    dimer.positions[3:] += (0.3, 0.1, 4.0)
    before = dimer.positions.copy()
    far = separate(dimer, range(3, 8), [4.0, 12.5])
    for atoms, distance in zip(far, (4.0, 12.5), strict=True):
        centres = atoms[3:].get_center_of_mass() - atoms[:3].get_center_of_mass()
        assert np.linalg.norm(centres) == pytest.approx(distance)
        np.testing.assert_allclose(atoms[3:].get_all_distances(), dimer[3:].get_all_distances())
        np.testing.assert_array_equal(atoms.positions[:3], before[:3])
    up = separate(dimer, range(3, 8), [9.0], axis=(0, 0, 2))[0]
    np.testing.assert_allclose((up.positions - before)[3:, :2], 0, atol=1e-12)
    centres = up[3:].get_center_of_mass() - up[:3].get_center_of_mass()
    assert centres[2] == pytest.approx(9.0)
    np.testing.assert_array_equal(dimer.positions, before)


def test_a_fragment_must_be_a_part():
    with pytest.raises(ValueError, match="3 of 3"):
        separate(molecule("H2O"), [0, 1, 2], [3.0])
    with pytest.raises(ValueError, match="no length"):
        separate(Atoms("H2", positions=np.zeros((2, 3))), [0], [1.0])
