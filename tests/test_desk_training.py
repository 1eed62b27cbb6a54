"""What the TrainingPanel is handed: real trainings on a few distorted water molecules."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structures_for_tests import labelled_water

from workbench import catalogue, desk
from workbench.conversion import convert
from workbench.desk.frames import parts, spread
from workbench.desk.learning import FORM, Training
from workbench.desk.settings import GIVEN
from workbench.models import build
from workbench.runs import Run, TrainingConfig
from workbench.stored import StoredFrames, open_frames
from workbench.structures import write
from workbench.training import fit

SMALL = {"max_degree": 1, "max_degree_lr": 1, "n_features": 8, "n_spherical": 2, "n_radial": 6}
PATIENCE_S = 60.0


FRAMES = labelled_water(20)


class Desk:
    """The callables that `desk.training` returns, asked with what their form says."""

    def __init__(self, folder: Path, data: Any = FRAMES, **overrides: Any) -> None:
        self.given = desk.training(data, folder=folder, **{"epochs": 2, **SMALL, **overrides})
        self.values = {field.name: field.default for field in self.given["fields"]}

    def begin(self, **values: Any) -> Training:
        asked = {**self.values, **values}
        details = {field.name: field.default for field in self.given["details"](asked)}
        return self.given["begin"](asked, details)

    def __getattr__(self, name: str) -> Any:
        return self.given[name]


def wait_until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ended(training: Training) -> Training:
    training.join(PATIENCE_S)
    return training


def test_the_form_says_what_training_config_says_and_what_was_asked_for(tmp_path):
    asked = Desk(tmp_path, learning_rate=1e-4, loss="absolute", name="first")
    assert {"data", "model", "preset", "structures", "name"} == asked.values.keys() - set(
        TrainingConfig.__dataclass_fields__
    )
    assert TrainingConfig.__dataclass_fields__.keys() <= asked.values.keys()
    assert asked.values["learning_rate"] == 1e-4
    assert asked.values["data"] == GIVEN
    assert [field.name for field in asked.fields if not field.help] == []
    TrainingConfig.of({n: v for n, v in asked.values.items() if n in TrainingConfig.__dataclass_fields__})
    details = {field.name: field for field in asked.details(asked.values)}
    assert details["n_features"].default == 8
    assert details["cutoff"].unit == "Å"
    other = asked.details({**asked.values, "model": "allscaip", "preset": "tiny"})
    assert {field.name: field.default for field in other}["n_features"] == 64
    assert asked.choices({"model": "mlanet"}) == {"preset": ["tiny", "small", "paper"]}


def test_a_function_wins_over_the_room_of_its_name():
    importlib.import_module("workbench.desk.training")
    assert callable(desk.training)
    assert set(desk.__all__) == {"dataset", "dynamics", "race", "separation", "training"}
    assert desk.race.__module__ == "workbench.desk.race"
    with pytest.raises(AttributeError, match="no attribute 'trainin'; it has dataset"):
        _ = desk.trainin


def test_advice_on_rotations(tmp_path):
    asked = Desk(tmp_path)
    assert asked.advice(asked.values) == ""
    assert "Switch on 'rotate'" in asked.advice({**asked.values, "model": "allscaip"})
    assert asked.advice({**asked.values, "model": "allscaip", "rotate": True}) == ""
    assert "learns nothing" in asked.advice({**asked.values, "rotate": True})


def test_unknown_settings_are_refused_with_a_hint(tmp_path):
    with pytest.raises(TypeError, match=r"unknown setting 'epoch'\. Did you mean 'epochs'"):
        desk.training("ethanol", folder=tmp_path, epoch=3)
    with pytest.raises(ValueError, match="epochs is 0"):
        desk.training("ethanol", folder=tmp_path, epochs=0)
    with pytest.raises(ValueError, match=re.escape("expected one of ['allscaip', 'lorem', 'mlanet']")):
        desk.training("ethanol", folder=tmp_path, model="loren")
    with pytest.raises(ValueError, match="preset is 'huge'"):
        desk.training("ethanol", folder=tmp_path, preset="huge")


def test_a_training_tells_its_rows_its_facts_and_how_well_it_predicts(tmp_path):
    told = []
    training = Desk(tmp_path).begin()
    training.watch(lambda: told.append(1))
    ended(training)
    assert training.name == "frames-lorem-tiny-1"
    assert training.state == "done"
    assert training.share == 1.0
    assert training.facts.endswith(
        "parameters; 18 structures to learn, 2 to validate (10% held back, drawn with seed 0)."
    )
    assert training.outcome.startswith("finished: all 2 epochs are done")
    assert len(told) >= len(training.stream)
    run = Run.open(training.folder)
    best = min(row["validation_loss"] for row in run.metrics.since(0) if "validation_loss" in row)
    assert run.outcome is not None
    assert run.outcome.best_loss == pytest.approx(best)
    shown = training.comparison
    assert shown is not None
    assert shown.epoch == run.outcome.best_epoch
    assert len(shown.frames) == 2
    (row,) = [row for row in training.stream.since(0) if row.get("validation_loss") == best]
    assert shown.energy is not None
    assert shown.forces is not None
    assert 1000 * shown.energy.mae == pytest.approx(row["validation_energy_mae_meV_per_atom"], rel=1e-4)
    assert 1000 * shown.forces.mae == pytest.approx(row["validation_forces_mae_meV_per_A"], rel=1e-4)
    assert training.complaint == ""


def test_predictions_are_compared_while_the_training_goes_on(tmp_path):
    training = Desk(tmp_path, epochs=100_000).begin()
    wait_until(lambda: training.comparison is not None)
    assert training.alive
    training.pause()
    assert training.state == "paused"
    training.resume()
    training.stop()
    ended(training)
    assert training.state == "stopped"
    assert training.outcome.startswith("stopped: it was asked to stop")


def test_a_run_is_listed_and_reopened_as_it_was(tmp_path):
    asked = Desk(tmp_path)
    first = ended(asked.begin(name="first"))
    ended(asked.begin(learning_rate=1e-4))
    names = [entry.name for entry in asked.earlier()]
    assert names == ["frames-lorem-tiny-1", "first"]
    words = asked.earlier()[1].words
    assert words.startswith("lorem · finished")
    assert "meV/atom" in words
    again = asked.reopen("first")
    assert again.state == "done"
    assert not again.alive
    assert again.outcome == first.outcome
    assert again.values["learning_rate"] == 2e-3
    assert again.values["data"] == GIVEN
    assert again.details["n_features"] == 8
    again.look()
    wait_until(lambda: again.comparison is not None)
    assert again.comparison.epoch == first.comparison.epoch
    np.testing.assert_allclose(again.comparison.forces.predicted, first.comparison.forces.predicted, atol=1e-6)
    assert again.settings == first.settings
    differ = {n for n in first.settings if first.settings[n] != asked.reopen(names[0]).settings.get(n)}
    assert differ == {"learning_rate"}
    with pytest.raises(FileNotFoundError, match="is no run"):
        asked.reopen("second")


def test_a_reopened_run_without_its_data_says_so_and_shows_its_curves(tmp_path):
    ended(Desk(tmp_path).begin(name="first"))
    other = Desk(tmp_path, labelled_water(20, seed=5))
    again = other.reopen("first")
    assert len(again.stream) > 0
    again.look()
    wait_until(lambda: again.complaint)
    assert "no longer holds the structures" in again.complaint
    assert again.comparison is None


def test_a_run_of_the_command_line_is_reopened_too(tmp_path):
    from workbench.models import build

    config = TrainingConfig(epochs=1)
    fit(
        build("lorem", "tiny", **SMALL),
        FRAMES[:4],
        FRAMES[4:6],
        config,
        folder=tmp_path / "plain",
        progress=False,
    )
    again = Desk(tmp_path).reopen("plain")
    assert again.facts == "lorem; 4 structures to learn, 2 to validate."
    again.look()
    wait_until(lambda: again.complaint)
    assert "does not say which data" in again.complaint


def test_a_run_is_gone_on_with_to_the_digit(tmp_path):
    asked = Desk(tmp_path, schedule="constant")
    whole = ended(asked.begin(name="whole", epochs=4))
    half = ended(asked.begin(name="half"))
    on = ended(asked.proceed("half", {**asked.values, "epochs": 4, "learning_rate": 0.1}))
    assert on.values["learning_rate"] == 2e-3, "what may not change comes from the run"
    assert on.outcome.startswith("finished: all 4 epochs")
    assert len(on.stream) > len(half.stream)
    a, b = (Run.open(training.folder).model("last").state_dict() for training in (whole, on))
    assert all((a[name] == b[name]).all() for name in a)


def test_mistakes_are_told_in_words_and_lose_nothing(tmp_path):
    asked = Desk(tmp_path)
    first = ended(asked.begin(name="first"))
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    for begun, words in (
        (asked.begin(name="first"), "first holds a run already. Choose another name"),
        (asked.begin(data="ethanl"), "no data set of that name"),
        (asked.begin(structures=500), "structures is 500; the frames given has 18 to train on"),
        (asked.begin(stress_weight=1.0), "stress"),
        (asked.proceed("first", asked.values), "first has done its 2 epochs; ask for more of them"),
    ):
        wait_until(lambda begun=begun: not begun.alive)
        assert begun.state == "failed"
        assert words in begun.report
        assert "Traceback" not in begun.report
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["first"], "a folder of nothing is left"
    with pytest.raises(ValueError, match="expected a plain word"):
        asked.begin(name="../elsewhere")


def test_a_training_that_diverges_says_so_and_can_be_reopened(tmp_path):
    asked = Desk(
        tmp_path, learning_rate=0.1, gradient_clip=0.0, epochs=500, optimizer="adam", warm_up_epochs=0.0
    )
    broken = labelled_water(20)
    broken[3].calc.results["energy"] = 1e300
    asked = Desk(tmp_path, broken)
    training = asked.begin(name="wild")
    wait_until(lambda: not training.alive)
    assert training.state == "failed"
    assert "Lower learning_rate" in training.report
    assert training.outcome.startswith("diverged")
    again = asked.reopen("wild")
    assert again.state == "failed"
    assert again.outcome == training.outcome


def test_nobody_goes_on_with_what_is_under_way(tmp_path):
    asked = Desk(tmp_path, epochs=100_000)
    training = asked.begin(name="long")
    wait_until(lambda: len(training.stream) > 2)
    assert asked.reopen("long") is training
    with pytest.raises(ValueError, match="long is being trained already"):
        asked.proceed("long", asked.values)
    assert "under way" in asked.earlier()[0].words
    training.stop()
    ended(training)


def test_what_cannot_be_shown_does_not_end_a_training(tmp_path, monkeypatch):
    def breaks(*_):
        raise RuntimeError("no memory left")

    monkeypatch.setattr("workbench.desk.learning.evaluate", breaks)
    training = Desk(tmp_path).begin()
    wait_until(lambda: training.complaint)
    ended(training)
    assert training.state == "done"
    assert "predictions cannot be shown: no memory left" in training.complaint


def test_the_form_is_kept_with_the_run(tmp_path):
    training = ended(Desk(tmp_path).begin(seed=3))
    said = json.loads((training.folder / FORM).read_text(encoding="utf-8"))
    assert said["values"]["seed"] == 3
    assert said["details"]["n_features"] == 8


def test_structures_to_learn_from():
    train, validation, how = parts("ethanol")
    assert len(train) > 4 * len(validation) > 0
    assert how == "as the data say"
    few, same, _ = parts("ethanol", n_train=10)
    assert len(few) == 10
    assert len(same) == len(validation)
    near, held_back, how = parts("ion_pair")
    assert {frame.info["split"] for frame in near + held_back} == {catalogue.DATASETS["ion_pair"].split[0]}
    assert "drawn with seed 0" in how
    with pytest.raises(ValueError, match="none are"):
        parts(GIVEN)
    assert spread(list(range(10)), 3) == [0, 4, 9]  # type: ignore[arg-type, comparison-overlap]
    assert spread([], 3) == []


@pytest.fixture
def stored(tmp_path, monkeypatch) -> tuple[Path, list[int]]:
    """A file of stored frames with a split, and the numbers of those that have been made since."""
    frames = labelled_water(40)
    for number, atoms in enumerate(frames):
        atoms.info["split"] = "validation" if number % 4 == 3 else "train"
    write(tmp_path / "water.xyz", frames)
    convert(tmp_path / "water.xyz", tmp_path / "water.h5")
    made, whole = [], StoredFrames._frame

    def counted(self: StoredFrames, number: int) -> Any:
        made.append(number)
        return whole(self, number)

    monkeypatch.setattr(StoredFrames, "_frame", counted)
    return tmp_path / "water.h5", made


def test_stored_structures_are_divided_without_being_read(stored):
    path, made = stored
    for data, given in ((str(path), None), (GIVEN, open_frames(path))):
        train, validation, how = parts(data, given, n_train=5)
        assert [len(train), len(validation), how] == [5, 10, "as the data say"]
        assert made == []
        assert [atoms.info["split"] for atoms in train] == ["train"] * 5
        assert made == [0, 9, 18, 29, 38], "evenly spaced"
        made.clear()


def test_panels_make_those_stored_structures_that_they_show(stored, tmp_path):
    path, made = stored
    Desk(tmp_path / "runs", open_frames(path))
    desk.race(open_frames(path), folder=tmp_path / "runs")
    assert made == []
    for data in (path, open_frames(path)):
        moved = desk.dynamics(data, build("lorem", "tiny"), frame=7)
        assert set(made) == {7}
        assert len(moved["atoms"]) == 3
        made.clear()


def test_a_training_from_disk_is_begun_by_the_panel_and_resumed_by_fit(stored, tmp_path):
    path, _ = stored
    training = ended(Desk(tmp_path / "runs", str(path), structures=8).begin(name="disk"))
    assert training.state == "done"
    assert training.comparison is not None
    assert len(training.comparison.frames) == 10
    train, validation, _ = parts(str(path), n_train=8)
    run = Run.open(training.folder)
    assert run.data["train"] == train.fingerprint()
    config = dataclasses.replace(run.config, epochs=3)
    again = fit(run.model(), train, validation, config, folder=run.folder, resume=True, progress=False)
    assert again.outcome.epoch == 3
