"""TrainingPanel without a browser, on real trainings of a few distorted molecules."""

import time

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from widgets import table
from widgets.run_curves import RunCurves
from widgets.run_list import differing
from widgets.training_panel import TrainingPanel
from workbench import desk
from workbench.stream import Stream

SMALL = {"max_degree": 1, "max_degree_lr": 1, "n_features": 8, "n_spherical": 2, "n_radial": 6}


def molecules(n):
    """Distorted water and ammonia with the energies and forces of ASE's effective-medium theory."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(n):
        atoms = molecule(("H2O", "NH3")[number % 2])
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info["split"] = "validation" if number >= n - 6 else "train"
        frames.append(atoms)
    return frames


FRAMES = molecules(22)


def wait_until(condition, patience_s=60.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def make(folder):
    made = []

    def panel(**overrides):
        made.append(
            TrainingPanel(**desk.training(FRAMES, folder=folder, **{"epochs": 2, **SMALL, **overrides}))
        )
        return made[-1]

    yield panel
    for one in made:
        one.close()
        if one.controls.job is not None:
            wait_until(lambda one=one: one.controls.state not in ("running", "paused", "stopping"))


def finish(panel):
    """Wait for the end of a run, and until all that it leads to is done."""
    wait_until(lambda: panel.controls._ended and not panel.controls._pump.alive)


def train(panel, **values):
    panel.form.set(**values)
    panel.start()
    finish(panel)
    return panel.run


def test_the_whole_way_from_the_form_to_the_worst_structure(make):
    panel = make(learning_rate=1e-3)
    assert panel.errors.view is None, "no viewer before there is a structure"
    assert "Nothing is being trained" in panel.describe()
    run = train(panel, name="first")
    assert panel.controls.state == "done"
    assert panel.log.text == ""
    assert panel.controls.log.text == ""
    assert panel._fold.selected_index is None
    assert run.values["learning_rate"] == 1e-3
    wait_until(lambda: panel._shown is run.comparison)
    assert panel.curves.shown == ["first"]
    assert "epoch 2" in panel._tiles.value.replace('</div><div style="font-size:14px">', " ")
    forces = run.comparison.forces
    errors = np.linalg.norm(forces.predicted - forces.reference, axis=1)
    ends = np.cumsum([len(frame) for frame in run.comparison.frames])
    worst = int(np.searchsorted(ends, errors.argmax(), side="right"))
    assert panel.errors.chosen == worst, "at first the structure with the worst force is shown"
    largest = f"{errors.max():.3g} eV/Å" if errors.max() >= 1 else f"{1000 * errors.max():.3g} meV/Å"
    assert f"largest error of a force {largest}" in panel.describe()
    assert panel.errors.energies.errors()["all"][0] == pytest.approx(run.comparison.energy.mae)
    assert panel.picture().startswith(b"\x89PNG")


def test_a_click_on_a_point_shows_its_structure(make):
    panel = make()
    run = train(panel)
    wait_until(lambda: panel._shown is run.comparison)
    frames = run.comparison.frames
    for index in (0, 1, 3):  # water, ammonia, ammonia
        panel.errors._energy_clicked(index, "all")
        assert panel.errors.chosen == index
        view = panel.errors.view
        assert list(view.numbers) == list(frames[index].numbers)
        np.testing.assert_array_equal(view.scene().positions, frames[index].positions)
    before = panel.errors.view
    panel.errors._force_clicked(3 * (3 + 4 + 2) + 1, "all")  # the y of the last atom of the third
    assert panel.errors.chosen == 2
    assert panel.errors.view is not before
    panel.errors.worst_energy_button.click()
    energy = run.comparison.energy
    assert panel.errors.chosen == int(np.abs(energy.predicted - energy.reference).argmax())
    errors = panel.errors._force_errors()
    colouring = panel.errors.view._colouring
    scale = {"eV/Å": 1, "meV/Å": 1000}[colouring.unit]
    np.testing.assert_allclose(colouring.values, scale * np.linalg.norm(errors, axis=1))


def test_choices_that_hang_on_the_model_follow_it(make):
    panel = make()
    assert panel.details.values["n_features"] == 8
    panel.form.controls["model"].value = "allscaip"
    assert [value for _, value in panel.form.controls["preset"].options] == ["tiny", "small", "medium"]
    assert panel.details.values["n_features"] == 64
    assert "rotate" in panel._advice.value
    panel.form.set(preset="small")
    assert panel.details.values["n_features"] == 256
    panel.form.set(model="lorem", preset="tiny")
    assert panel.details.values["n_features"] == 8


def test_pause_resume_stop_and_continue(make):
    panel = make(epochs=100_000, name="long")
    panel.start()
    wait_until(lambda: panel.run.comparison is not None)
    assert panel.runs.disabled
    assert panel._proceed_button.disabled
    panel.controls.pause_button.click()
    assert panel.controls.state == "paused"
    time.sleep(0.3)
    reached = len(panel.run.stream)
    time.sleep(0.3)
    assert len(panel.run.stream) == reached
    with pytest.raises(ValueError, match="long is being trained; stop it"):
        panel.open("long")
    panel.controls.pause_button.click()
    wait_until(lambda: len(panel.run.stream) > reached)
    panel.controls.stop_button.click()
    finish(panel)
    first = panel.run
    assert first.outcome.startswith("stopped")
    assert not panel._proceed_button.disabled
    panel._proceed_button.click()
    wait_until(lambda: panel.run is not first and len(panel.run.stream) > 1.1 * len(first.stream) / 2)
    assert panel.run.name == "long"
    assert panel.curves.shown == ["long"]
    panel.controls.stop()
    finish(panel)


def test_earlier_runs_are_compared_and_opened(make):
    panel = make()
    train(panel, name="first")
    train(panel, name="second", learning_rate=1e-4, batch_size=4)
    assert list(panel.runs.boxes) == ["second", "first"]
    panel.runs.boxes["first"].value = True
    assert panel.curves.shown == ["second", "first"]
    text = panel.runs.describe()
    assert "learning rate" in text
    assert "batch size" in text
    assert "seed" not in text
    assert "0.0001" in panel.runs._table.value
    panel.runs.open_buttons["first"].click()
    assert panel.run.name == "first"
    assert panel.form.values["learning_rate"] == 2e-3
    assert panel.form.values["batch_size"] == 8
    assert panel.curves.shown == ["first"]
    assert panel.controls.describe() == "not started"
    assert "finished" in panel.describe()
    wait_until(lambda: panel._shown is not None)
    panel.runs.boxes["first"].value = False
    assert panel.runs._table.value == ""
    assert panel.log.text == panel.runs.log.text == ""


def test_a_new_panel_after_a_restart_shows_what_was(make):
    first = make()
    run = train(first, name="first", epochs=3)
    first.close()
    second = make()
    second.open("first")
    wait_until(lambda: second._shown is not None)
    assert second.form.values["epochs"] == 3
    assert second.run.outcome == run.outcome
    assert second.errors.energies.errors()["all"] == pytest.approx(first.errors.energies.errors()["all"])
    second._proceed_button.click()
    finish(second)
    assert "first has done its 3 epochs; ask for more of them" in second.controls.log.text
    second.form.set(epochs=4)
    second.proceed()
    finish(second)
    assert "all 4 epochs are done" in second.run.outcome


def test_mistakes_are_said_in_words(make):
    panel = make(name="first")
    train(panel)
    for values, words in (
        ({}, "first holds a run already. Choose another name"),
        ({"name": "second", "data": "nowhere.xyz"}, "there is no file nowhere.xyz"),
    ):
        train(panel, **values)
        assert panel.controls.state == "failed"
        assert words in panel.controls.log.text
        assert "Traceback" not in panel.controls.log.text
    train(panel, name="third", data="the frames given")
    assert panel.controls.state == "done"
    assert panel.controls.log.text == ""


def test_what_differs_between_runs():
    a = {"model": "lorem", "epochs": 3, "cutoff": 5.0}
    assert differing({"a": a, "b": {**a, "epochs": 4}}) == [("epochs", "3", "4")]
    assert differing({"a": a, "b": {"model": "mlanet", "epochs": 3}}) == [
        ("model", "lorem", "mlanet"),
        ("cutoff", "5.0", "–"),
    ]
    assert table.as_text(("setting", "a", "b"), [("epochs", "3", "40")]) == "setting  a  b\nepochs   3  40"
    assert "&lt;b&gt;" in table.as_html(("<b>", "a"), [])


class TestRunCurves:
    def emit(self, stream, epochs):
        for epoch in range(epochs):
            stream.emit(step=epoch, epoch=epoch + 1.0, loss=1 / (epoch + 1), learning_rate=1e-3)
            stream.emit(validation_loss=2 / (epoch + 1))

    def test_validations_stand_where_the_step_before_them_stood(self):
        stream, curves = Stream(), RunCurves()
        self.emit(stream, 5)
        curves.show("a", stream)
        x, y = curves._curve(curves._runs["a"], "validation_loss")
        np.testing.assert_array_equal(x, [1, 2, 3, 4, 5])
        np.testing.assert_allclose(y, 2 / x)
        self.emit(stream, 1)
        curves.flush()
        assert len(curves._curve(curves._runs["a"], "loss")[0]) == 6
        curves.close()
        assert stream._subscribers == []

    def test_traces_are_used_again_and_hidden_runs_leave(self):
        curves = RunCurves()
        streams = [Stream() for _ in range(3)]
        for name, stream in zip("abc", streams, strict=True):
            self.emit(stream, 3)
            curves.show(name, stream, steps=name == "a")
        n = len(curves._figure.data)
        curves.hide("b")
        assert streams[1]._subscribers == []
        curves.show("d", streams[1])
        assert len(curves._figure.data) == n
        assert [trace.name for trace in curves._figure.data if trace.showlegend] == ["a", "d", "c"]
        assert "learning rate" in curves.describe() or "validation loss" in curves.describe()
        curves.hide("nobody")
        for name in "ef":
            curves.show(name, Stream())
        curves.show("g", Stream())
        with pytest.raises(ValueError, match="hide one"):
            curves.show("h", Stream())
        assert curves.picture().startswith(b"\x89PNG")
