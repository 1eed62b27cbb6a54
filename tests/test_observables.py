"""Means of correlated rows against noise of known correlation; observables against systems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from scipy.signal import lfilter

from workbench import analysis
from workbench.blocks import mean
from workbench.dynamics import run_md
from workbench.observables import (
    CM2_PER_S,
    KJ_PER_MOL,
    density,
    diffusion,
    heat_of_vaporisation,
    vibrational_spectrum,
)


def correlated(rng, n_runs, n_rows, time_constant):
    """(n_runs, n_rows) | stationary AR(1) noise of unit innovation."""
    r = np.exp(-1 / time_constant)
    kicks = rng.standard_normal((n_runs, n_rows))
    kicks[:, 0] /= np.sqrt(1 - r**2)
    return lfilter([1], [1, -r], kicks, axis=1)


@pytest.mark.parametrize(("time_constant", "least"), [(0.1, 0.93), (10, 0.93), (100, 0.93), (300, 0.88)])
def test_the_interval_of_a_mean_covers_the_truth(time_constant, least):
    noise = 5 + correlated(np.random.default_rng(1), 800, 3000, time_constant)
    found = [mean(row) for row in noise]
    assert least < np.mean([one.low < 5 < one.high for one in found]) < 0.985


def test_the_interval_is_not_wider_than_it_must_be():
    """For white noise, the textbook error: sigma / sqrt(n)."""
    noise = np.random.default_rng(3).standard_normal((200, 3200))
    assert np.median([mean(row).error for row in noise]) / (1.96 / 3200**0.5) < 1.2


def test_a_mean_says_what_it_needs():
    assert mean(np.full(40, 3.0)).error == 0
    assert str(mean(np.full(40, 3.0))) == "3 ± 0"
    with pytest.raises(ValueError, match="at least 32"):
        mean(np.zeros(10))
    with pytest.raises(ValueError, match="1 of 40 values"):
        mean(np.where(np.arange(40) == 7, np.nan, 0.0))


def test_density_of_a_crystal_that_breathes():
    rng = np.random.default_rng(0)
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    frames = []
    for factor in 1 + 0.01 * rng.standard_normal(64):
        frame = salt.copy()
        frame.set_cell(salt.cell.array * factor, scale_atoms=True)
        frames.append(frame)
    found = density(frames)
    assert found.low < 2.164 < found.high  # g/cm^3, of this cell: 4 x 58.44 g/mol / (5.64 Å)^3
    assert 0 < found.error < 0.05
    with pytest.raises(ValueError, match="a cell of three vectors"):
        density([Atoms("H")] * 40)


def test_heat_of_vaporisation_adds_up():
    rng = np.random.default_rng(1)
    liquid = -10.0 + 0.1 * rng.standard_normal(400)  # of 20 molecules: -0.5 eV each
    gas = -0.05 + 0.02 * rng.standard_normal(400)
    found = heat_of_vaporisation(liquid, 20, gas, 300)
    assert found.low < 0.45 + units.kB * 300 < found.high
    # The gas's error dominates: 0.02 / sqrt(400), for each molecule of the liquid 0.005 / sqrt(400).
    assert found.error == pytest.approx(2 * np.hypot(0.02, 0.005) / 20, rel=0.4)
    at_rest = heat_of_vaporisation(liquid, 20, -0.05, 300)
    assert at_rest.error < found.error / 2
    assert pytest.approx(96.485, rel=1e-4) == KJ_PER_MOL
    with pytest.raises(ValueError, match="n_molecules is 0"):
        heat_of_vaporisation(liquid, 0, gas, 300)


def walk(n_frames, step, rng, n_atoms=40, spacing_fs=10.0):
    """Brownian motion: each coordinate gains `step` x a normal number per frame."""
    places = (step * rng.standard_normal((n_frames, n_atoms, 3))).cumsum(axis=0)
    frames = [Atoms(f"Ar{n_atoms}", one) for one in places]
    for number, frame in enumerate(frames):
        frame.info["time_fs"] = spacing_fs * number
    return frames


def test_a_random_walk_diffuses_as_einstein_says():
    rng = np.random.default_rng(2)
    truth = 0.1**2 / (2 * 10.0)
    found = [diffusion(walk(400, 0.1, rng)) for _ in range(40)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, rel=0.05)
    assert np.mean([one.low < truth < one.high for one in found]) > 0.85
    assert found[0].value * CM2_PER_S == pytest.approx(5e-5, rel=0.5)
    one_kind = diffusion(walk(400, 0.1, rng), index=[0, 1, 2])
    assert one_kind.error > np.median([one.error for one in found])


def test_diffusion_refuses_what_it_cannot_read():
    frames = walk(400, 0.1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 160"):
        diffusion(frames[:100])
    with pytest.raises(ValueError, match="leave it out"):
        diffusion([*frames[:-2], frames[-1]])
    with pytest.raises(ValueError, match="time_fs"):
        diffusion([Atoms("H")] * 200)


class Spring(Calculator):
    """Two atoms on a spring of constant k [eV/Å^2]."""

    implemented_properties = ("energy", "forces")
    k = 60.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vector = self.atoms.positions[1] - self.atoms.positions[0]
        length = np.linalg.norm(vector)
        force = self.k * (length - 1.1) * vector / length
        self.results = {"energy": 0.5 * self.k * (length - 1.1) ** 2, "forces": np.array([force, -force])}


def test_a_spring_vibrates_at_its_frequency():
    atoms = Atoms("NO", [[0, 0, 0], [0, 0, 1.12]], calculator=Spring())
    atoms.set_momenta(np.zeros((2, 3)))
    frames = []
    run_md(atoms, temperature_K=0, timestep_fs=0.5, n_steps=4000, interval=2, watch=frames.append)
    wavenumbers, intensity = vibrational_spectrum(frames)
    m = atoms.get_masses()
    omega = (Spring.k * (1 / m[0] + 1 / m[1])) ** 0.5 * units.fs  # 1/fs
    expected = omega / (2 * np.pi * 2.99792458e-5)
    assert wavenumbers[intensity.argmax()] == pytest.approx(expected, abs=2 * wavenumbers[1])
    assert np.sum(intensity) * wavenumbers[1] == pytest.approx(1)
    near = np.abs(wavenumbers - expected) < 4 * wavenumbers[1]
    assert intensity[near].sum() > 0.95 * intensity.sum()


def test_analysis_has_them_at_hand():
    assert analysis.density is density
    assert analysis.diffusion is diffusion
    assert analysis.heat_of_vaporisation is heat_of_vaporisation
    assert analysis.vibrational_spectrum is vibrational_spectrum
    assert analysis.mean is mean
