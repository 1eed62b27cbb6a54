"""Dynamics judged by physics: conservation, equipartition, the ideal gas; and by what is left when they end badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators import calculator
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from workbench.analysis import drift
from workbench.calculator import Calculator
from workbench.dynamics import Bounds, run_md
from workbench.ensembles import degrees_of_freedom
from workbench.jobs import start
from workbench.models import build
from workbench.models.contract import Output, Potential
from workbench.predict import predict
from workbench.stream import Stream


class Springs(calculator.Calculator):
    """Every two atoms joined by a spring at its rest length: 3N - 6 vibrations, harmonic when cold."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces"]

    def __init__(self, rest, stiffness=20.0):
        super().__init__()
        self.rest, self.stiffness, self.n_calls = rest, stiffness, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=calculator.all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        vectors = atoms.positions[:, None] - atoms.positions[None]
        lengths = np.linalg.norm(vectors, axis=2) + np.eye(len(atoms))
        stretch = (lengths - self.rest) * (1 - np.eye(len(atoms)))
        energy = 0.25 * self.stiffness * (stretch**2).sum()
        forces = -self.stiffness * (stretch[:, :, None] * vectors / lengths[:, :, None]).sum(axis=1)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}


class Nothing(calculator.Calculator):
    """An ideal gas."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=calculator.all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": 0.0,
            "free_energy": 0.0,
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
        }


@dataclass(frozen=True)
class MorseConfig:
    cutoff: float = 6.0
    depth: float = 0.34
    width: float = 1.36
    length: float = 2.87


class Morse(Potential):
    """A pair potential of copper, smooth to zero at its cutoff."""

    name: ClassVar = "morse"
    Config: ClassVar = MorseConfig
    presets: ClassVar = {}
    gives: ClassVar = frozenset({"energy"})
    rotation_invariant: ClassVar = True
    size_consistent: ClassVar = True
    long_ranged: ClassVar = False
    periodic: ClassVar = frozenset({0, 3})

    def __init__(self, config=MorseConfig()):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        self.known.zero_()
        self.known[29] = True
        self.baseline[29] = -10.0
        self.n_calls = 0

    def forward(self, graph, diagnose=False):
        self.n_calls += 1
        c = self.config
        r = graph.vectors.to(self.dtype).norm(dim=1)
        decay = torch.exp(-c.width * (r - c.length))
        pairs = 0.5 * c.depth * (decay**2 - 2 * decay) * (1 - (r / c.cutoff) ** 2) ** 3
        zeros = pairs.new_zeros(graph.n_atoms)
        return Output(self.scale * zeros.index_add(0, graph.receivers, pairs))


@pytest.fixture
def tetrahedron():
    atoms = Atoms("C4", positions=[(0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)])
    atoms.calc = Springs(rest=2**0.5)
    return atoms


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = Calculator(Morse())
    return atoms


def column(run, name):
    return np.array(run.stream.column(name))


# Conservation


def test_nve_conserves_energy_and_its_error_falls_with_the_square_of_the_timestep(tetrahedron):
    def fluctuation(timestep):
        run = run_md(tetrahedron, temperature_K=100, timestep_fs=timestep, time_ps=0.4)
        found = drift(column(run, "time_fs"), column(run, "conserved_energy"), 4, column(run, "kinetic_energy"))
        assert found.verdict.startswith("no drift")
        assert abs(found.meV_per_atom_per_ns) < 1000
        return column(run, "total_energy").std()

    assert fluctuation(1.0) / fluctuation(0.5) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("ensemble", ["nve", "bussi", "nose-hoover"])
def test_the_conserved_energy_is_conserved(tetrahedron, ensemble):
    run = run_md(tetrahedron, ensemble=ensemble, temperature_K=100, timestep_fs=0.25, n_steps=1200)
    conserved = column(run, "conserved_energy")
    assert np.ptp(conserved) < 0.02 * np.ptp(column(run, "kinetic_energy"))
    assert ensemble == "nve" or np.ptp(column(run, "total_energy")) > 10 * np.ptp(conserved)


def test_momentum_and_rotation_start_and_stay_zero(tetrahedron):
    run = run_md(tetrahedron, temperature_K=300, n_steps=200)
    np.testing.assert_allclose(run.atoms.get_momenta().sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(run.atoms.get_angular_momentum(), 0, atol=1e-9)
    assert run.stream[0]["temperature_K"] == pytest.approx(300)


# Ensembles


@pytest.mark.parametrize("ensemble", ["langevin", "bussi", "nose-hoover"])
def test_thermostats_reach_equipartition(tetrahedron, ensemble):
    """Of the six vibrations each holds k_B T / 2 of potential energy, however the velocities are counted."""
    run = run_md(
        tetrahedron,
        ensemble=ensemble,
        temperature_K=200,
        timestep_fs=2.0,
        thermostat_time_fs=20,
        n_steps=3000,
        seed=3,
    )
    settled = slice(200, None)
    assert column(run, "potential_energy")[settled].mean() == pytest.approx(6 / 2 * units.kB * 200, rel=0.15)
    assert column(run, "temperature_K")[settled].mean() == pytest.approx(200, rel=0.15)


def test_npt_of_an_ideal_gas_gives_the_gas_law():
    gas = Atoms("Ar27", positions=np.random.default_rng(0).uniform(0, 30, (27, 3)), cell=(30, 30, 30), pbc=True)
    gas.calc = Nothing()
    volume = 28 * units.kB * 300 / (1000 * units.bar)  # <V> = (N + 1) k_B T / P
    gas.set_cell(np.eye(3) * volume ** (1 / 3), scale_atoms=True)
    run = run_md(
        gas,
        ensemble="npt",
        temperature_K=300,
        pressure_bar=1000,
        timestep_fs=4,
        barostat_time_fs=200,
        n_steps=2500,
        seed=1,
    )
    assert run.state == "finished"
    assert column(run, "volume").mean() == pytest.approx(volume, rel=0.1)
    assert column(run, "temperature_K").mean() == pytest.approx(300, rel=0.03)
    assert np.ptp(column(run, "conserved_energy")) < 1e-3 * np.ptp(column(run, "total_energy"))


def test_a_barostat_too_fast_for_its_timestep_is_noticed(copper):
    settings = {"temperature_K": 100, "timestep_fs": 4, "barostat_time_fs": 100}
    run = run_md(copper, ensemble="npt", pressure_bar=2e5, n_steps=400, **settings)
    assert run.state == "exploded"
    assert "the volume is" in run.reason
    assert all(np.isfinite(value) for row in run.stream.since(0) for value in row.values())


def test_pressure_compresses_copper(copper):
    def last_volume(pressure_bar):
        run = run_md(
            copper,
            ensemble="npt",
            temperature_K=100,
            pressure_bar=pressure_bar,
            timestep_fs=3,
            barostat_time_fs=200,
            n_steps=400,
        )
        assert run.state == "finished"
        return column(run, "volume")[200:].mean()

    assert last_volume(1e5) < 0.95 * last_volume(0)
    assert copper.get_volume() == pytest.approx(bulk("Cu", cubic=True).get_volume())


@pytest.mark.parametrize(
    ("atoms", "ensemble", "n_free"),
    [
        (Atoms("Ar"), "nve", 3),
        (Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.7)]), "nve", 1),
        (molecule("CO2"), "nose-hoover", 4),
        (molecule("CH3CH2OH"), "bussi", 21),
        (molecule("CH3CH2OH"), "langevin", 24),
        (bulk("Cu", cubic=True), "nve", 9),
    ],
)
def test_only_free_motion_counts(atoms, ensemble, n_free):
    assert degrees_of_freedom(atoms, ensemble) == n_free


def test_fixed_atoms_stay(tetrahedron):
    tetrahedron.set_constraint(FixAtoms([0, 1]))
    run = run_md(tetrahedron, ensemble="langevin", temperature_K=300, n_steps=50)
    np.testing.assert_array_equal(run.atoms.positions[:2], tetrahedron.positions[:2])
    assert len(run.atoms.constraints) == 1
    assert degrees_of_freedom(run.atoms, "langevin") == 6


# Reproducibility and what goes in


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_a_seed_gives_the_run_again(tetrahedron, ensemble):
    def end(seed):
        return run_md(tetrahedron, ensemble=ensemble, temperature_K=300, n_steps=30, seed=seed).atoms.positions

    np.testing.assert_array_equal(end(5), end(5))
    assert abs(end(5) - end(6)).max() > 1e-3


def test_the_input_is_not_modified(tetrahedron):
    tetrahedron.info["REF_energy"] = -3.0
    tetrahedron.arrays["REF_forces"] = np.ones((4, 3))
    before = tetrahedron.copy()
    run = run_md(tetrahedron, ensemble="langevin", temperature_K=300, n_steps=20)
    assert tetrahedron == before
    assert "momenta" not in tetrahedron.arrays
    assert not tetrahedron.constraints
    assert not run.atoms.constraints
    # A label of the first frame is not one of the last.
    assert "REF_energy" not in run.atoms.info
    assert "REF_forces" not in run.atoms.arrays


def test_a_run_continues_where_it_ended(tetrahedron):
    whole = run_md(tetrahedron, temperature_K=300, n_steps=40)
    half = run_md(tetrahedron, temperature_K=300, n_steps=20)
    rest = run_md(half.atoms, n_steps=20)
    np.testing.assert_allclose(rest.atoms.positions, whole.atoms.positions, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"ensemble": "bussy", "temperature_K": 300}, "Did you mean 'bussi'"),
        ({"ensemble": "langevin"}, "needs a temperature"),
        ({"ensemble": "bussi", "temperature_K": 0}, "above 0 K"),
        ({}, "carry no velocities"),
        ({"temperature_K": 300, "pressure_bar": 1}, "ensemble='npt'"),
        ({"temperature_K": 300, "pressure_bar": 1, "ensemble": "npt"}, "three periodic"),
        ({"temperature_K": 300, "timestep_fs": -1}, "timestep_fs"),
        ({"temperature_K": 300, "time_ps": 1}, "one of them"),
        ({"temperature_K": 300, "interval": 0}, "interval"),
        ({"temperature_K": 300, "trajectory": "run.pdb"}, "no trajectory"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tetrahedron, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        run_md(tetrahedron, n_steps=1, **settings)


def test_atoms_without_a_way_to_forces_are_refused():
    atoms = molecule("H2O")
    with pytest.raises(ValueError, match="nothing to compute forces with"):
        run_md(atoms, temperature_K=300, n_steps=1)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="labels of one geometry"):
        run_md(atoms, temperature_K=300, n_steps=1)
    with pytest.raises(ValueError, match="no atoms"):
        run_md(Atoms(), Morse(), temperature_K=300, n_steps=1)


# What comes out


@pytest.mark.parametrize("name", ["run.traj", "new/run.extxyz"])
def test_frames_hold_what_was_computed(tetrahedron, tmp_path, name):
    seen = []
    run = run_md(
        tetrahedron, temperature_K=300, n_steps=25, trajectory=tmp_path / name, interval=10, watch=seen.append
    )
    frames = ase.io.read(run.trajectory, ":")
    assert [frame.info["step"] for frame in frames] == [0, 10, 20, 25] == [frame.info["step"] for frame in seen]
    assert frames[1].info["time_fs"] == 5.0
    for frame, live in zip(frames, seen, strict=True):
        row = run.stream[int(frame.info["step"])]
        assert frame.get_potential_energy() == pytest.approx(row["potential_energy"], abs=1e-7)
        assert frame.get_kinetic_energy() == pytest.approx(row["kinetic_energy"], abs=1e-6)
        np.testing.assert_allclose(frame.positions, live.positions, atol=1e-7)
        again = tetrahedron.copy()
        again.positions = live.positions
        np.testing.assert_allclose(tetrahedron.calc.get_forces(again), live.get_forces(), atol=1e-12)
    np.testing.assert_array_equal(seen[-1].positions, run.atoms.positions)


def test_the_stream_has_a_row_for_every_step(tetrahedron):
    stream = Stream()
    run = run_md(tetrahedron, temperature_K=300, timestep_fs=0.5, time_ps=0.02, stream=stream)
    assert run.stream is stream
    assert stream.column("step") == list(range(41))
    np.testing.assert_allclose(column(run, "time_fs"), 0.5 * np.arange(41))
    total = column(run, "potential_energy") + column(run, "kinetic_energy")
    np.testing.assert_allclose(total, column(run, "total_energy"))
    assert stream[40]["seconds_left"] == 0
    assert stream[40]["steps_per_s"] > 0


# Bad ends


def test_an_explosion_stops_with_its_reason_and_keeps_the_frames(copper, tmp_path):
    copper.rattle(0.1, seed=0)
    run = run_md(
        copper, temperature_K=600, timestep_fs=40, n_steps=1000, trajectory=tmp_path / "a.traj", interval=1
    )
    assert run.state == "exploded"
    assert "would move atom" in run.reason
    assert "timestep" in run.reason
    frames = ase.io.read(run.trajectory, ":")
    assert len(frames) == run.n_steps + 1 == len(run.stream) > 1
    assert np.isfinite(frames[-1].positions).all()
    np.testing.assert_array_equal(frames[-1].positions, run.atoms.positions)


class Poisoned(Springs):
    """Forces that are no numbers from the tenth geometry on."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if self.n_calls >= 10:
            self.results["forces"] = self.results["forces"] * np.nan


@pytest.mark.parametrize("ensemble", ["nve", "nose-hoover"])
def test_forces_that_are_no_numbers_stop_the_run(tetrahedron, tmp_path, ensemble):
    tetrahedron.calc = Poisoned(rest=2**0.5)
    run = run_md(
        tetrahedron, ensemble=ensemble, temperature_K=300, n_steps=50, trajectory=tmp_path / "a.extxyz"
    )
    assert run.state == "exploded"
    assert "finite" in run.reason
    assert run.n_steps == 8
    assert np.isfinite(run.atoms.positions).all()
    assert [frame.info["step"] for frame in ase.io.read(run.trajectory, ":")] == [0, 8]


def test_an_atom_that_flies_off_is_noticed():
    atoms = molecule("CH4")
    atoms.calc = Nothing()
    atoms.set_velocities(0.1 * (atoms.positions - atoms.positions[0]))
    run = run_md(atoms, n_steps=2000)
    assert run.state == "exploded"
    assert "has left the rest" in run.reason
    reach = atoms.get_distance(0, 1) * 2.5
    assert run.atoms.get_distance(0, 1) == pytest.approx(reach, rel=0.05)
    free = run_md(atoms, n_steps=run.n_steps + 100, bounds=Bounds(bond_stretch=100))
    assert free.state == "finished"


def test_heat_beyond_bounds_is_noticed(tetrahedron):
    run = run_md(tetrahedron, temperature_K=300, n_steps=10, bounds=Bounds(temperature_K=299))
    assert run.state == "exploded"
    assert run.n_steps == 0
    assert "300 K" in run.reason


def test_an_error_of_the_calculator_comes_through_and_the_frames_stay(tetrahedron, tmp_path):
    class Broken(Springs):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            if self.n_calls == 8:
                raise OSError("the licence server is down")

    tetrahedron.calc = Broken(rest=2**0.5)
    with pytest.raises(OSError, match="licence"):
        run_md(tetrahedron, temperature_K=300, n_steps=50, trajectory=tmp_path / "a.traj")
    assert [frame.info["step"] for frame in ase.io.read(tmp_path / "a.traj", ":")] == [0, 6]


def test_ctrl_c_keeps_the_last_complete_step(tetrahedron, tmp_path):
    class Interrupted(Springs):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            if self.n_calls == 8:
                raise KeyboardInterrupt  # as it comes: in the middle of a step

    tetrahedron.calc = Interrupted(rest=2**0.5)
    run = run_md(tetrahedron, temperature_K=300, n_steps=50, trajectory=tmp_path / "a.traj")
    assert (run.state, run.n_steps) == ("stopped", 6)
    tetrahedron.calc = Springs(rest=2**0.5)
    clean = run_md(tetrahedron, temperature_K=300, n_steps=6)
    np.testing.assert_array_equal(run.atoms.positions, clean.atoms.positions)
    np.testing.assert_array_equal(ase.io.read(run.trajectory).positions, clean.atoms.positions)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step(tetrahedron, number):
    run = run_md(
        tetrahedron,
        temperature_K=300,
        n_steps=50,
        interval=1,
        watch=lambda frame: os.kill(os.getpid(), number) if frame.info["step"] == 7 else None,
    )
    assert (run.state, run.n_steps) == ("stopped", 7)


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def test_a_job_pauses_resumes_and_stops(tetrahedron):
    stream = Stream()
    job = start(run_md, tetrahedron, temperature_K=300, n_steps=10**7, stream=stream)
    wait_until(lambda: len(stream) > 20)
    job.pause()
    time.sleep(0.1)
    n_rows = len(stream)
    time.sleep(0.1)
    assert len(stream) == n_rows
    assert job.state == "paused"
    job.resume()
    wait_until(lambda: len(stream) > n_rows + 20)
    job.stop()
    run = job.join(20)
    assert run.state == "stopped"
    assert run.n_steps == len(stream) - 1
    assert f"of {10**7} steps" in run.reason


KILLED = """
import sys
from ase.build import molecule
from ase.calculators.emt import EMT
from workbench.dynamics import run_md
atoms = molecule("H2O")
atoms.calc = EMT()
run_md(atoms, temperature_K=50, timestep_fs=0.1, n_steps=10**7, trajectory=sys.argv[1], interval=1)
"""


@pytest.mark.parametrize("name", ["run.traj", "run.extxyz"])
def test_a_killed_run_leaves_its_frames(tmp_path, name):
    path = tmp_path / name
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], cwd=root)
    try:
        wait_until(lambda: path.exists() and path.stat().st_size > 5000, seconds=60)
        assert len(ase.io.read(path, ":")) > 2  # while it goes on
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    frames = ase.io.read(path, ":")
    assert [frame.info["step"] for frame in frames] == list(range(len(frames)))


# The calculator


def test_the_calculator_says_what_predict_says(copper):
    copper.rattle(0.1, seed=1)
    prediction = predict(Morse(), copper)
    assert copper.get_potential_energy() == pytest.approx(prediction.energy, abs=1e-12)
    assert copper.get_potential_energy(force_consistent=True) == copper.get_potential_energy()
    np.testing.assert_allclose(copper.get_forces(), prediction.forces, atol=1e-12)
    np.testing.assert_allclose(copper.get_stress(voigt=False), prediction.stress, atol=1e-12)
    assert copper.get_potential_energies().sum() == pytest.approx(prediction.energy)


def test_forces_and_stress_are_derivatives_of_the_energy(copper):
    copper.rattle(0.1, seed=2)
    np.testing.assert_allclose(calculate_numerical_forces(copper, 1e-5), copper.get_forces(), atol=1e-6)
    np.testing.assert_allclose(calculate_numerical_stress(copper, 1e-5), copper.get_stress(), atol=1e-8)


def test_nothing_is_computed_twice_or_in_vain(copper):
    model = copper.calc.model

    def calls(*questions):
        before = model.n_calls
        for ask in questions:
            ask()
        return model.n_calls - before

    assert calls(copper.get_forces, copper.get_potential_energy, copper.get_forces) == 1
    copper.rattle(0.01)
    assert calls(copper.get_forces, copper.get_stress) == 2
    copper.rattle(0.01)
    assert (
        calls(copper.get_forces, copper.get_stress, copper.get_potential_energy) == 1
    )  # both were asked before
    copper.rattle(0.01)
    assert calls(copper.get_forces) == 1
    copper.rattle(0.01)
    assert calls(copper.get_forces) == 1
    assert "stress" not in copper.calc.results
    copper.info["charge"] = 1
    assert calls(copper.get_forces) == 1


def test_the_calculator_keeps_its_own_copy(copper):
    model = Morse()
    copper.calc = Calculator(model, dtype=torch.float32)
    energy = copper.get_potential_energy()
    with torch.no_grad():
        model.scale.mul_(2)
    copper.rattle(1e-9)
    assert copper.get_potential_energy() == pytest.approx(energy, abs=1e-4)
    assert model.dtype == torch.float64
    assert model.scale.requires_grad


def test_what_the_calculator_cannot_mean_it_says(copper):
    with pytest.raises(calculator.PropertyNotImplementedError, match="no learned scalar charges"):
        copper.get_charges()
    cluster = copper.copy()
    cluster.pbc = False
    cluster.calc = copper.calc
    with pytest.raises(calculator.PropertyNotImplementedError, match="three periodic"):
        cluster.get_stress()
    cluster.get_forces()
    gold = bulk("Au")
    gold.calc = copper.calc
    for _ in range(2):
        with pytest.raises(ValueError, match="not trained on Au"):
            gold.get_potential_energy()
    copper.positions[2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        copper.get_forces()


def test_lorem_as_a_calculator():
    torch.manual_seed(0)
    model = build("lorem", "tiny")
    atoms = molecule("CH3CH2OH")
    prediction = predict(model, atoms, diagnose=True)
    atoms.calc = Calculator(model)
    assert atoms.get_potential_energy() == pytest.approx(prediction.energy, abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), prediction.forces, atol=1e-6)
    learned = next(m for m in prediction.diagnostics.multipoles if m.degree == 0)
    np.testing.assert_allclose(atoms.get_charges(), learned.values[:, 0], atol=1e-6)


def test_stress_of_lorem_is_the_strain_derivative():
    torch.manual_seed(0)
    salt = bulk("NaCl", "rocksalt", a=5.6) * (1, 1, 2)
    salt.rattle(0.1, seed=3)
    salt.calc = Calculator(build("lorem", "tiny"), dtype=torch.float64)
    np.testing.assert_allclose(calculate_numerical_stress(salt, 1e-4), salt.get_stress(), rtol=1e-4, atol=1e-8)


def test_lorem_conserves_energy():
    torch.manual_seed(0)
    atoms = molecule("CH3CH2OH")
    run = run_md(atoms, build("lorem", "tiny"), temperature_K=100, timestep_fs=0.25, n_steps=64)
    assert run.state == "finished"
    assert np.ptp(column(run, "total_energy")) < 0.05 * np.ptp(column(run, "potential_energy"))
