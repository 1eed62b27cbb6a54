"""DynamicsPanel without a browser, on real runs of ASE."""

import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.md.verlet import VelocityVerlet

from widgets.dynamics_panel import DynamicsPanel
from widgets.pair_distances import Bonds, PairDistances
from widgets.question import Question
from workbench import jobs
from workbench.analysis import rdf
from workbench.desk.field import Field
from workbench.stream import Stream

N_STEPS = 60


@dataclass
class Outcome:
    state: str
    reason: str


@pytest.fixture
def atoms():
    return Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.2]])


def run(atoms, stream, show, timestep_fs=1.0, *, control):
    moving = atoms.copy()
    moving.calc = LennardJones(sigma=1.0, epsilon=0.01)
    moving.set_momenta([[0, 0, 0.1], [0, 0, -0.1]])
    dynamics = VelocityVerlet(moving, timestep_fs * units.fs)
    for step in range(N_STEPS):
        if control.wait_and_see_stop():
            break
        dynamics.run(1)
        stream.emit(
            time_fs=timestep_fs * step,
            total_energy=moving.get_total_energy(),
            temperature_K=moving.get_temperature(),
        )
        show(moving.copy())
        time.sleep(0.001)
    if timestep_fs > 5:
        return Outcome("exploded", "exploded at step 60: atom <1> has left")
    return Outcome("finished", f"finished {N_STEPS} steps")


def flat(stream):
    return SimpleNamespace(
        meV_per_atom_per_ns=1.0, low_meV_per_atom_per_ns=-2.0, high_meV_per_atom_per_ns=4.0, verdict="no drift"
    )


FIELDS = [Field("timestep_fs", "timestep", 1.0, low=0.1, high=10, unit="fs"), Field("frame", "frame", 0)]


@pytest.fixture
def panel_of(atoms):
    panels = []

    def make(drift=flat, **more):
        panel = DynamicsPanel(
            atoms,
            lambda stream, show, **values: jobs.start(run, atoms, stream, show, values.get("timestep_fs", 1.0)),
            Stream,
            drift,
            **more,
        )
        panels.append(panel)
        return panel

    yield make
    for panel in panels:
        panel.close()
        assert panel.stream._subscribers == []


def wait_until(condition, patience_s=20.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def do_run(panel):
    panel.start()
    wait_until(lambda: panel.controls._ended)


def test_a_run_moves_the_atoms_and_fills_the_plots(panel_of):
    panel = panel_of()
    before = panel.view.scene().positions.copy()
    do_run(panel)
    assert panel.controls.state == "done"
    assert np.abs(panel.view.scene().positions - before).max() > 1e-6
    picoseconds, energies = panel.curves.curve(panel.name)
    assert len(picoseconds) == N_STEPS
    assert picoseconds[-1] == (N_STEPS - 1) / 1000
    assert energies[0] == 0.0
    rows = panel.stream.column("total_energy")
    np.testing.assert_allclose(energies, (np.array(rows) - rows[0]) * 500, atol=1e-12)  # eV of two to meV/atom
    _, temperatures = panel.curves.curve(panel.name, "temperature")
    np.testing.assert_array_equal(temperatures, panel.stream.column("temperature_K"))
    assert panel.log.text == ""
    assert "finished 60 steps" in panel._end.value
    assert "temperature" in panel._tiles.value


def test_the_conserved_energy_is_drawn_where_there_is_one(panel_of):
    panel = panel_of()
    stream = Stream()
    for step in range(3):
        stream.emit(time_fs=step, total_energy=-step, conserved_energy=1.0, temperature_K=300)
    from widgets.run_energies import EnergyRows

    rows = EnergyRows(stream, 2, *panel._columns).since(0)
    assert [row["energy"] for row in rows] == [0, 0, 0]


def test_the_drift_is_said_and_drawn_with_its_slope(panel_of):
    panel = panel_of()
    do_run(panel)
    wait_until(lambda: panel.drift is not None)
    assert "no drift. 95 % confidence interval -2 to +4 meV/atom/ns" in panel.describe()
    (fitted,) = [trace for trace in panel.curves._figure.data if trace.name == "fitted drift"]
    assert (fitted.y[1] - fitted.y[0]) / (fitted.x[1] - fitted.x[0]) == pytest.approx(1e-3)  # meV/atom/ps


def test_without_a_conserved_energy_there_is_nothing_to_judge(panel_of):
    panel = panel_of(drift=lambda stream: None)
    do_run(panel)
    assert "conserves no energy" in panel._verdict.value
    assert "conserves no energy" in panel.describe()


def test_a_second_run_takes_the_place_of_the_first(panel_of):
    panel = panel_of()
    figure = panel.curves._figure
    do_run(panel)
    first = panel.stream
    do_run(panel)
    assert panel.stream is not first
    assert len(first) == len(panel.stream) == N_STEPS
    assert first._subscribers == []
    assert panel.curves._figure is figure
    assert panel.curves.shown == ["2: run"]


def test_kept_runs_stay_beside_the_next_one(panel_of):
    panel = panel_of(fields=FIELDS, name=lambda values: f"{values['timestep_fs']:g} fs")
    assert panel.keep_button.disabled
    with pytest.raises(ValueError, match="no run to keep"):
        panel.keep()
    do_run(panel)
    panel.keep_button.click()
    panel.form.set(timestep_fs=2.0)
    do_run(panel)
    assert panel.curves.shown == ["1: 1 fs", "2: 2 fs"]
    assert panel.curves.curve("1: 1 fs")[0][-1] == pytest.approx(0.059)
    assert panel.curves.curve("2: 2 fs")[0][-1] == pytest.approx(0.118)
    assert "1: 1 fs" in panel._table.value
    assert "2: 2 fs" in panel._table.value
    assert "+1 ± 3" in panel._table.value
    panel.forget_button.click()
    assert panel.curves.shown == ["2: 2 fs"]
    assert panel._table.value == ""
    assert panel.log.text == ""


def test_an_explosion_is_explained(panel_of):
    panel = panel_of(fields=FIELDS)
    panel.form.set(timestep_fs=6.0)
    do_run(panel)
    assert 'role="alert"' in panel._end.value
    assert "atom &lt;1&gt; has left" in panel._end.value
    panel.form.set(timestep_fs=1.0)
    do_run(panel)
    assert "exploded" not in panel._end.value


def test_the_form_chooses_the_structure(panel_of):
    shown = [Atoms("Ar2", [[0, 0, 0], [0, 0, 1.2]]), Atoms("Ar3", [[0, 0, 0], [0, 0, 1.2], [0, 1.1, 0]])]
    panel = panel_of(
        fields=FIELDS,
        structure=lambda values: shown[values["frame"]],
        advice=lambda values: f"frame {values['frame']} is fine",
    )
    panel.form.set(frame=1)
    assert len(panel.view.scene().positions) == 3
    assert "frame 1 is fine" in panel._advice.value


def test_a_cause_is_looked_for_from_the_newest_frame(panel_of):
    asked = []

    def worker(progress, control):
        progress(0.5)
        return SimpleNamespace(verdict="The timestep is too long.")

    def why(atoms, progress, **values):
        asked.append((atoms, values))
        return jobs.start(worker, progress)

    panel = panel_of(fields=FIELDS, why=why)
    panel.question.button.click()
    assert "start a run first" in panel.question.log.text
    do_run(panel)
    assert panel.question.log.text == ""
    panel.question.button.click()
    wait_until(lambda: panel.question.answer is not None)
    (atoms, values) = asked[0]
    np.testing.assert_array_equal(atoms.positions, panel._latest.positions)
    assert values == panel.form.values
    assert "The timestep is too long." in panel.question._said.value
    assert "Why does it drift? The timestep is too long." in panel.describe()
    panel.form.set(timestep_fs=6.0)
    do_run(panel)
    assert panel.question.answer is None
    panel.question.button.click()
    wait_until(lambda: len(asked) == 2)
    np.testing.assert_array_equal(asked[1][0].positions, panel._first.positions)


def test_a_question_can_be_given_up_and_shows_its_failure():
    def slow(control):
        while not control.wait_and_see_stop():
            time.sleep(0.01)

    def wrong(control):
        raise ValueError("no velocities")

    question = Question("Why?", lambda progress: jobs.start(slow))
    question.button.click()
    wait_until(lambda: question.button.description == "Give up")
    question.button.click()
    wait_until(lambda: question.button.description == "Why?")
    assert question.answer is None
    question._ask = lambda progress: jobs.start(wrong)
    question.button.click()
    wait_until(lambda: "no velocities" in question.log.text)
    assert question.log.text.count("no velocities") == 1
    question.close()


def test_the_trajectory_goes_to_the_browser(panel_of, tmp_path):
    path = tmp_path / "run.xyz"
    panel = panel_of(saved=lambda: path)
    assert panel.save_button.disabled
    sent = []
    panel.save_button.send = lambda message, buffers: sent.append((message, buffers))
    panel.save_button._handle_custom_msg({"type": "wanted"}, [])
    assert sent == []
    assert "no run has been saved yet" in panel.log.text
    do_run(panel)
    assert not panel.save_button.disabled
    path.write_text("frames")
    panel.save_button._handle_custom_msg({"type": "wanted"}, [])
    assert sent == [({"type": "file", "name": "run.xyz"}, [b"frames"])]


def test_a_fit_that_fails_is_shown_and_stops_nothing(panel_of):
    def fails(stream):
        raise ValueError("too few rows")

    panel = panel_of(drift=fails)
    do_run(panel)
    assert len(panel.stream) == N_STEPS
    assert "too few rows" in panel.log.text + panel.controls.log.text


def test_too_early_to_tell_draws_no_line(panel_of):
    early = SimpleNamespace(meV_per_atom_per_ns=float("nan"), verdict="too early to tell: 3 rows")
    panel = panel_of(drift=lambda stream: early)
    do_run(panel)
    wait_until(lambda: panel.drift is not None)
    assert "Energy drift: too early to tell: 3 rows." in panel.describe()
    assert all(trace.name != "fitted drift" for trace in panel.curves._figure.data)


def test_has_a_picture(panel_of):
    panel = panel_of()
    assert panel.picture().startswith(b"\x89PNG")
    do_run(panel)
    assert panel.picture().startswith(b"\x89PNG")


def test_bonds_are_found_by_kind_also_across_the_cell():
    ethanol = Bonds(molecule("CH3CH2OH"))
    assert {name: len(first) for name, (first, _, _) in ethanol.kinds.items()} == {
        "C–C": 1,
        "C–H": 5,
        "C–O": 1,
        "H–O": 1,
    }
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    bonds = Bonds(salt)
    assert {name: len(first) for name, (first, _, _) in bonds.kinds.items()} == {"Cl–Na": 24}
    assert bonds.longest(salt.positions, salt.cell.array) == [pytest.approx(2.82)]
    gas = Bonds(Atoms("He2", [[0, 0, 0], [0, 0, 9]]))
    assert gas.kinds == {}
    assert gas.longest(np.zeros((2, 3)), np.zeros((3, 3))) == []


def test_the_longest_bonds_are_followed():
    atoms = molecule("H2O")
    view = PairDistances(atoms)
    atoms.set_distance(0, 1, 1.4, fix=0)
    atoms.info["time_fs"] = 2000.0
    view.add(atoms)
    view.flush()
    ((name, x, y),) = view.curves()
    assert name == "H–O"
    assert x[-1] == 2.0
    assert y[-1] == pytest.approx(1.4)
    assert view._figure.data[0].y[-1] == pytest.approx(1.4)
    assert "H–O 1.40 Å (up to 1.40)" in view.describe()
    assert view.picture().startswith(b"\x89PNG")
    view.close()


def test_the_radial_distribution_is_the_mean_over_the_frames_of_the_run():
    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    view = PairDistances(salt, lambda atoms, pair: rdf(atoms, pair=pair))
    view.flush()
    rattled = []
    for seed in range(3):
        frame = salt.copy()
        frame.rattle(0.1, seed=seed)
        rattled.append(frame)
        view.add(frame)
        view.flush()
    _, r, g = view.curves()[0]
    np.testing.assert_allclose(r, rdf(rattled)[0])
    assert view._n_frames <= 3
    if view._n_frames == 3:  # the pump may have been faster than a frame
        np.testing.assert_allclose(g, rdf(rattled)[1])
    view._pair.value = ("Cl", "Na")
    view.flush()
    _, r, g = view.curves()[0]
    assert g[r < 2].max() == 0
    view._what.value = "longest bonds"
    view.flush()
    assert view.curves()[0][0] == "Cl–Na"
    view.close()
