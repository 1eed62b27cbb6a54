"""DynamicsPanel without a browser, on a real run of ASE."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet

from widgets.dynamics_panel import DynamicsPanel
from workbench import jobs
from workbench.stream import Stream

N_STEPS = 60


@pytest.fixture
def atoms():
    return Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.2]])


def run(atoms, stream, show, control):
    moving = atoms.copy()
    moving.calc = LennardJones(sigma=1.0, epsilon=0.01)
    dynamics = VelocityVerlet(moving, 1.0 * units.fs)
    for step in range(N_STEPS):
        if control.wait_and_see_stop():
            break
        dynamics.run(1)
        stream.emit(
            time_fs=float(step), total_energy=moving.get_total_energy(), temperature_K=moving.get_temperature()
        )
        show(moving)
        time.sleep(0.001)


def flat(stream):
    return SimpleNamespace(
        meV_per_atom_per_ns=1.0, low_meV_per_atom_per_ns=-2.0, high_meV_per_atom_per_ns=4.0, verdict="no drift"
    )


def panel_of(atoms, drift=flat):
    return DynamicsPanel(atoms, lambda stream, show: jobs.start(run, atoms, stream, show), Stream, drift)


def wait_until(condition, patience_s=10.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_run_moves_the_atoms_and_fills_the_plots(atoms):
    panel = panel_of(atoms)
    before = panel.view.scene().positions.copy()
    panel.start()
    wait_until(lambda: panel.controls._ended)
    assert panel.controls.state == "done"
    assert np.abs(panel.view.scene().positions - before).max() > 1e-6
    (_, picoseconds, energies) = panel.energy_plot.curves()[0]
    assert len(picoseconds) == N_STEPS
    assert picoseconds[-1] == (N_STEPS - 1) / 1000
    assert energies[0] == 0.0
    assert len(panel.temperature_plot._figure.data[0].x) == N_STEPS
    assert panel.log.text == ""
    panel.close()


def test_energies_are_shown_per_atom_from_the_start_of_the_run(atoms):
    panel = panel_of(atoms, drift=None)
    np.testing.assert_allclose(panel._per_atom_meV(np.array([2.0, 2.5, 3.0])), [0, 250.0, 500.0])
    panel.close()


def test_the_drift_is_said_and_drawn_with_its_slope(atoms):
    panel = panel_of(atoms)
    panel.start()
    wait_until(lambda: panel.controls._ended and panel.drift is not None)
    assert "no drift. 95 % confidence interval -2 to +4 meV/atom/ns" in panel.describe()
    fitted = panel.energy_plot._figure.data[1]
    assert (fitted.y[1] - fitted.y[0]) / (fitted.x[1] - fitted.x[0]) == pytest.approx(1e-3)  # meV/atom/ps
    panel.close()


def test_a_second_run_has_a_stream_of_its_own_in_the_same_figures(atoms):
    panel = panel_of(atoms)
    figure = panel.energy_plot._figure
    panel.start()
    wait_until(lambda: panel.controls._ended)
    first = panel.stream
    panel.start()
    wait_until(lambda: panel.controls._ended)
    assert panel.stream is not first
    assert len(first) == len(panel.stream) == N_STEPS
    assert first._subscribers == []
    assert panel.energy_plot._figure is figure
    panel.close()
    assert panel.stream._subscribers == []


def test_a_fit_that_fails_is_shown_and_stops_nothing(atoms):
    def fails(stream):
        raise ValueError("too few rows")

    panel = panel_of(atoms, drift=fails)
    panel.start()
    wait_until(lambda: panel.controls.state == "done" and panel.controls._ended)
    assert len(panel.stream) == N_STEPS
    assert "too few rows" in panel.log.text + panel.controls.log.text
    panel.close()


def test_too_early_to_tell_draws_no_line(atoms):
    early = SimpleNamespace(meV_per_atom_per_ns=float("nan"), verdict="too early to tell: 3 rows")
    panel = panel_of(atoms, drift=lambda stream: early)
    panel.start()
    wait_until(lambda: panel.controls._ended and panel.drift is not None)
    assert "Energy drift: too early to tell: 3 rows." in panel.describe()
    assert len(panel.energy_plot._figure.data[1].x) == 0
    panel.close()


def test_has_a_picture(atoms):
    panel = panel_of(atoms)
    assert panel.picture().startswith(b"\x89PNG")
    panel.close()
