"""Training: it learns, what it keeps can be trusted, and a run that was stopped or killed goes on to the digit."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation
from structures_for_tests import labelled_water

from workbench import jobs
from workbench.checkpoint import build_from
from workbench.evaluation import evaluate
from workbench.models import Potential, build
from workbench.predict import predict
from workbench.probes import influence, rotation_error
from workbench.runs import Run, TrainingConfig
from workbench.stream import Row, Stream
from workbench.training import Diverged, fit

ROOT = Path(__file__).resolve().parent.parent
SHORT = TrainingConfig(epochs=4, batch_size=4, constant_epochs=2, precision="float64", device="cpu")


TRAIN, VALIDATION = labelled_water(14, 0), labelled_water(5, 1)
STEPS = 4 * 4  # of SHORT: four epochs of 14 frames in batches of at most 4


SMALL = {"cutoff": 4.0, "max_degree": 2, "max_degree_lr": 1, "n_features": 16, "n_spherical": 2, "n_radial": 8}


def model(seed: int = 0, **config: Any) -> Potential:
    """LOREM, as small as its parts allow."""
    torch.manual_seed(seed)
    return build("lorem", "tiny", **{**SMALL, **config})


def train(folder: Path, config: TrainingConfig = SHORT, **options: Any) -> Run:
    return fit(
        options.pop("model", None) or model(),
        options.pop("train", TRAIN),
        options.pop("validation", VALIDATION),
        config,
        folder=folder,
        progress=False,
        **options,
    )


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return run.model(which).state_dict()


def assert_same(a: Run, b: Run) -> None:
    """Both runs kept the same weights, to the digit, and measured the same on the way."""
    for which in ("last", "best"):
        for name, tensor in weights(a, which).items():
            assert torch.equal(tensor, weights(b, which)[name]), f"{which}: {name} differs"
    assert validations(a) == validations(b)
    assert a.outcome is not None
    assert b.outcome is not None
    assert (a.outcome.best_loss, a.outcome.best_epoch) == (b.outcome.best_loss, b.outcome.best_epoch)


def validations(run: Run) -> list[tuple[float, float]]:
    rows = run.metrics.since(0)
    return [(row["step"], row["validation_loss"]) for row in rows if "validation_loss" in row]


def stop_at(step: int, act: Any) -> Stream:
    """A stream whose subscriber acts in the training's own thread when that step is done."""
    stream = Stream()

    def see(row: Row) -> None:
        if row["step"] == step and "loss" in row:
            act()

    stream.subscribe(see)
    return stream


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Sums of several threads come in no fixed order, and here digits are compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Learning


def test_it_learns(tmp_path: Path) -> None:
    start = model()
    config = dataclasses.replace(SHORT, epochs=25, learning_rate=5e-3)
    run = train(tmp_path / "run", config, model=start)
    losses = [loss for _, loss in validations(run)]
    assert losses[-1] < 0.1 * losses[0]
    errors = evaluate(start, VALIDATION)
    assert errors.forces is not None
    spread = np.concatenate([atoms.get_forces() for atoms in VALIDATION]).std()
    assert errors.forces.rmse < 0.3 * spread


def test_the_model_holds_the_best_weights_and_knows_its_elements(tmp_path: Path) -> None:
    trained = model()
    run = train(tmp_path / "run", model=trained)
    assert run.outcome is not None
    assert run.outcome.state == "finished"
    assert run.outcome.best_loss == min(loss for _, loss in validations(run))
    for name, tensor in weights(run, "best").items():
        assert torch.equal(trained.state_dict()[name], tensor)
    assert trained.known.nonzero().flatten().tolist() == [1, 8]
    # 14 waters have one composition: the baseline explains their mean energy.
    mean = np.mean([atoms.get_potential_energy() for atoms in TRAIN])
    assert float(2 * trained.baseline[1] + trained.baseline[8]) == pytest.approx(mean)
    errors = evaluate(trained, VALIDATION)
    weighted = 0.5 * errors.energy.rmse**2 + 0.5 * errors.forces.rmse**2  # type: ignore[union-attr]
    assert weighted == pytest.approx(run.outcome.best_loss)


def test_stress_is_learned_from_strained_crystals(tmp_path: Path) -> None:
    rng, frames = np.random.default_rng(0), []
    for _ in range(10):
        atoms = bulk("Cu")
        strain = np.eye(3) + rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.calc = EMT()
        energy, stress = atoms.get_potential_energy(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, stress=stress)
        frames.append(atoms)
    config = TrainingConfig(epochs=30, batch_size=4, forces_weight=0, stress_weight=1000, learning_rate=3e-3)
    run = train(tmp_path / "run", config, train=frames[:8], validation=frames[8:])
    column = [v for v in run.metrics.column("validation_stress_rmse_meV_per_A3") if not np.isnan(v)]
    assert column[-1] < 0.6 * column[0]
    assert "forces_mae_meV_per_A" not in run.metrics.names


def test_evaluation_is_prediction_against_labels() -> None:
    untrained = model()
    errors = evaluate(untrained, VALIDATION, batch_size=2)
    predictions = predict(untrained, VALIDATION)
    energies = [p.energy - a.get_potential_energy() for p, a in zip(predictions, VALIDATION, strict=True)]
    forces = np.concatenate([p.forces for p in predictions])
    labelled = np.concatenate([a.get_forces() for a in VALIDATION])
    assert errors.numbers["energy_mae_meV_per_atom"] == pytest.approx(
        1000 * np.abs(energies).mean() / 3, rel=1e-5
    )
    assert errors.numbers["forces_rmse_meV_per_A"] == pytest.approx(
        1000 * np.sqrt(np.square(forces - labelled).mean()), rel=1e-4
    )
    assert errors.forces is not None
    np.testing.assert_array_equal(errors.forces.reference, labelled)
    assert errors.stress is None


# Going on


@pytest.mark.parametrize(
    "settings",
    [
        {"ema_decay": 0.9},
        {"optimizer": "lamb", "gradient_clip": 1.0, "schedule": "cosine"},
        {"rotate": True, "weight_decay": 0.1, "warm_up_epochs": 1.0, "loss": "absolute"},
    ],
)
def test_a_stopped_run_goes_on_to_the_digit(settings: dict[str, Any], tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, **settings)
    whole = train(tmp_path / "whole", config)
    control = jobs.Control()
    stopped = train(tmp_path / "halves", config, control=control, stream=stop_at(6, control.stop))
    assert stopped.outcome is not None
    assert (stopped.outcome.state, stopped.outcome.step) == ("stopped", 7)  # in the middle of the second epoch
    stream = Stream()
    resumed = train(tmp_path / "halves", config, model=model(seed=5), resume=True, stream=stream)
    assert_same(whole, resumed)
    steps = [int(row["step"]) for row in stream.since(0) if "loss" in row]
    assert steps[-9:] == list(range(8, STEPS + 1))
    assert sorted(set(steps)) == steps, "a step was told twice"


def test_a_run_killed_before_its_first_save_begins_with_its_own_weights(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, epochs=1)
    whole = train(tmp_path / "whole", config)

    def die() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        train(tmp_path / "run", config, stream=stop_at(1, die))
    state = Run.open(tmp_path / "run").state()
    assert state is not None
    assert state["at"]["step"] == 0
    assert_same(whole, train(tmp_path / "run", config, model=model(seed=5), resume=True))


KILLED = """
import sys; sys.path.insert(0, {tests!r})
from test_training import *
stream = Stream()
stream.subscribe(lambda row: print(int(row["step"]), flush=True))
torch.set_num_threads(1)
train(Path({folder!r}), dataclasses.replace(SHORT, ema_decay=0.9, save_every_minutes=0.0), stream=stream)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_digit(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, ema_decay=0.9)
    whole = train(tmp_path / "whole", config)
    folder = tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 10:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    killed = Run.open(folder)
    assert killed.outcome is None
    state = killed.state()
    assert state is not None
    assert 1 <= state["at"]["step"] < STEPS
    resumed = train(folder, config, model=model(seed=5), resume=True)
    assert_same(whole, resumed)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path / "run")
    before = (tmp_path / "run" / "state.pt").stat().st_mtime_ns
    again = train(tmp_path / "run", resume=True)
    assert again.outcome == first.outcome
    assert (tmp_path / "run" / "state.pt").stat().st_mtime_ns == before
    longer = train(tmp_path / "run", dataclasses.replace(SHORT, epochs=5), resume=True)
    assert longer.outcome is not None
    assert longer.outcome.step == STEPS + 4


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, dataclasses.replace(SHORT, epochs=1))
    with pytest.raises(FileExistsError, match="resume=True"):
        train(folder)
    for options, message in [
        ({"train": TRAIN[:-1]}, r"the train data is other \(13 structures, was 14\)"),
        ({"validation": labelled_water(5, 2)}, "the validation data is other"),
        ({"model": model(n_features=8)}, "the model's n_features is 8, was 16"),
        (
            {"config": dataclasses.replace(SHORT, learning_rate=0.1)},
            "the training's learning_rate is 0.1, was 0.001",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            train(folder, resume=True, **options)


def test_a_run_from_before_a_setting_existed_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, dataclasses.replace(SHORT, epochs=2))
    written = json.loads((folder / "config.json").read_text())
    for name in ("rotate", "weight_decay", "warm_up_epochs", "loss"):
        del written["training"][name]
    del written["model"]["config"]["norm_softening"]
    (folder / "config.json").write_text(json.dumps(written))
    assert Run.open(folder).config == dataclasses.replace(SHORT, epochs=2)
    with pytest.raises(ValueError, match="training's rotate is True, was False"):
        train(folder, dataclasses.replace(SHORT, rotate=True), model=model(norm_softening=0.0), resume=True)
    longer = train(folder, model=model(norm_softening=0.0), resume=True)
    assert longer.outcome is not None
    assert longer.outcome.step == STEPS


# Rotations and two stages


def turned(frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """The same molecules and labels, each in another orientation."""
    rotations = Rotation.from_quat(np.random.default_rng(7).normal(size=(len(frames), 4))).as_matrix()
    found = []
    for frame, rotation in zip(frames, rotations, strict=True):
        atoms = frame.copy()
        atoms.positions = frame.positions @ rotation.T
        energy, forces = frame.get_potential_energy(), frame.get_forces() @ rotation.T
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


def test_training_frames_are_turned_and_validation_frames_are_not(tmp_path: Path) -> None:
    still = {"learning_rate": 1e-30, "final_learning_rate": 1e-30}
    one_step = {"epochs": 3, "batch_size": 14}
    config = dataclasses.replace(SHORT, rotate=True, **one_step, **still)
    losses = {}
    for name, start in (("lorem", model()), ("allscaip", directed())):
        stream = Stream()
        run = train(tmp_path / name, config, model=start, stream=stream)
        assert len({loss for _, loss in validations(run)}) == 1, "a model that stands still is judged alike"
        losses[name] = np.array([row["loss"] for row in stream.since(0) if "loss" in row])
        assert len(losses[name]) == 3
    assert np.ptp(losses["lorem"]) < 1e-9 * losses["lorem"][0], "an invariant model sees no difference"
    assert np.ptp(losses["allscaip"]) > 1e-4 * losses["allscaip"][0], "a model that is not, does"


TINY = {"n_features": 16, "n_heads": 2, "n_radial": 16, "frequencies": (3, 2, 1, 1, 1)}


def directed(**config: Any) -> Potential:
    """AllScAIP, which is not rotation invariant, as small as its parts allow."""
    torch.manual_seed(0)
    return build("allscaip", "tiny", **{**TINY, **config})


def test_rotations_teach_a_model_what_turned_structures_are(tmp_path: Path) -> None:
    """All training molecules lie in one plane; what is validated is turned."""
    config = dataclasses.replace(
        SHORT, epochs=40, learning_rate=5e-3, gradient_clip=1.0, precision="float32", seed=1
    )
    errors, spreads = {}, {}
    for rotate in (False, True):
        learnt = directed(direct_forces=True)
        train(tmp_path / str(rotate), dataclasses.replace(config, rotate=rotate), model=learnt)
        errors[rotate] = evaluate(learnt, turned(VALIDATION)).numbers["forces_rmse_meV_per_A"]
        spreads[rotate] = rotation_error(learnt, VALIDATION).relative_forces
    assert errors[True] < 0.9 * errors[False]
    assert spreads[True] < 0.9 * spreads[False]


def test_direct_forces_first_then_the_gradient_of_the_energy(tmp_path: Path) -> None:
    """The second stage begins with the energies of the first and ends with forces that are their gradient."""
    first = dataclasses.replace(SHORT, epochs=15, learning_rate=5e-3, precision="float32", loss="absolute")
    direct = directed(direct_forces=True)
    run = train(tmp_path / "direct", first, model=direct)
    errors = [
        row["validation_forces_mae_meV_per_A"] for row in run.metrics.since(0) if "validation_loss" in row
    ]
    assert min(errors) < 0.5 * errors[0], "direct forces are learned"
    tuned = build_from(run.folder / "best.safetensors", direct_forces=False)
    assert predict(tuned, VALIDATION[0]).energy == predict(direct, VALIDATION[0]).energy
    before = evaluate(tuned, VALIDATION).numbers["forces_mae_meV_per_A"]
    second = dataclasses.replace(first, epochs=8, learning_rate=4e-3, loss="squared")
    train(tmp_path / "conservative", second, model=tuned)
    assert evaluate(tuned, VALIDATION).numbers["forces_mae_meV_per_A"] < 0.9 * before
    hessian = influence(tuned, VALIDATION[0])
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-4 * hessian.max())


# Ending


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_batch_system_stop_after_the_step_and_keep_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    run = train(tmp_path / "run", stream=stop_at(3, lambda: signal.raise_signal(number)))
    assert run.outcome is not None
    assert (run.outcome.state, run.outcome.step) == ("stopped", 4)
    assert run.outcome.best_epoch == 1.0  # it was validated, so that there is a best model
    assert signal.getsignal(number) is before


def test_it_can_be_paused_and_stopped_from_another_thread(tmp_path: Path) -> None:
    stream = Stream()
    config = dataclasses.replace(SHORT, epochs=100_000)
    job = jobs.start(
        fit, model(), TRAIN, VALIDATION, config, folder=tmp_path / "run", stream=stream, progress=False
    )
    wait_for(lambda: len(stream) > 5)
    job.pause()
    time.sleep(0.5)
    rows = len(stream)
    time.sleep(3.0)
    assert len(stream) == rows
    assert job.state == "paused"
    job.resume()
    wait_for(lambda: len(stream) > rows + 3)
    job.stop()
    run = job.join(timeout=60)
    assert job.state == "stopped"
    assert run.outcome.state == "stopped"
    paused = max(b["minutes"] - a["minutes"] for a, b in pairs(stream))
    assert 60 * paused < 2.0, "the pause counted as training"


def wait_for(condition: Any, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def pairs(stream: Stream) -> list[tuple[Row, Row]]:
    rows = [row for row in stream.since(0) if "minutes" in row]
    return list(itertools.pairwise(rows))


def test_a_run_under_way_is_nobody_elses(tmp_path: Path) -> None:
    stream = Stream()
    config = dataclasses.replace(SHORT, epochs=100_000)
    job = jobs.start(
        fit, model(), TRAIN, VALIDATION, config, folder=tmp_path / "run", stream=stream, progress=False
    )
    wait_for(lambda: len(stream) > 2)
    job.pause()
    with pytest.raises(BlockingIOError, match=rf"run is being written by process {os.getpid()} on "):
        train(tmp_path / "run", config, resume=True)
    job.stop()
    stopped = job.join(timeout=60)
    resumed = train(tmp_path / "run", dataclasses.replace(config, epochs=1), resume=True)
    assert resumed.outcome.step >= stopped.outcome.step


def test_trainings_that_overlap_leave_the_process_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    level = logging.getLogger("lightning.pytorch").level
    config = dataclasses.replace(SHORT, epochs=100_000)
    begun = []
    for name in ("a", "b"):
        stream = Stream()
        options = {"folder": tmp_path / name, "stream": stream, "progress": False}
        begun.append(jobs.start(fit, model(), TRAIN, VALIDATION, config, **options))
        wait_for(lambda stream=stream: len(stream) > 2)
    for job in begun:  # the first to begin is the first to end
        job.stop()
        job.join(timeout=60)
    assert logging.getLogger("lightning.pytorch").level == level
    assert jobs.start(lambda control: torch.get_num_threads()).join(timeout=60) == 2


def test_it_stops_early_or_when_the_time_is_over(tmp_path: Path) -> None:
    still = dataclasses.replace(SHORT, learning_rate=1e-30, final_learning_rate=1e-30, patience=2)
    run = train(tmp_path / "still", still)
    assert run.outcome is not None
    assert (run.outcome.state, run.outcome.epoch, run.outcome.best_epoch) == ("early", 3.0, 1.0)
    again = train(tmp_path / "still", still, resume=True)
    assert again.outcome == run.outcome
    short = train(tmp_path / "short", dataclasses.replace(SHORT, epochs=100_000, max_minutes=0.02))
    assert short.outcome is not None
    assert short.outcome.state == "out of time"
    assert short.outcome.minutes < 0.2
    assert all(row["seconds_left"] <= 1.2 for row in short.metrics.since(0) if "loss" in row)


def test_a_loss_that_is_not_finite_ends_it_and_keeps_what_was_good(tmp_path: Path) -> None:
    rising = dataclasses.replace(SHORT, schedule="exponential", final_learning_rate=1e60, constant_epochs=1)
    with pytest.raises(Diverged, match="Lower learning_rate"):
        train(tmp_path / "run", rising)
    run = Run.open(tmp_path / "run")
    assert run.outcome is not None
    assert run.outcome.state == "diverged"
    assert "the loss is" in run.outcome.reason
    assert run.outcome.best_epoch is not None
    for tensor in weights(run, "best").values():
        assert torch.isfinite(tensor).all()


def test_a_full_disk_ends_it_and_keeps_what_was_saved(tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, save_every_minutes=0.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = stop_at(7, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1])))
    try:
        with pytest.raises(OSError, match="before is intact"):
            train(tmp_path / "run", config, stream=full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    state = Run.open(tmp_path / "run").state()
    assert state is not None
    assert state["at"]["step"] == 6
    assert_same(train(tmp_path / "whole"), train(tmp_path / "run", resume=True))


# The folder


def test_a_run_is_a_folder_that_can_be_reopened(tmp_path: Path) -> None:
    stream = Stream()
    train(tmp_path / "run", stream=stream)
    run = Run.open(tmp_path / "run")
    assert run.config == SHORT
    assert run.model_name == "lorem"
    assert run.data["train"]["n_structures"] == 14
    assert run.data["train"]["elements"] == ["H", "O"]
    assert set(run.versions) >= {"python", "torch", "ase"}
    last = stream[len(stream) - 1]
    assert run.metrics[len(run.metrics) - 1] == last
    assert last["validation_forces_mae_meV_per_A"] == pytest.approx(
        evaluate(run.model("last"), VALIDATION).numbers["forces_mae_meV_per_A"]
    )
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert "energy_rmse_meV_per_atom" in next(csv.reader(file))
    with pytest.raises(FileNotFoundError, match="is no run"):
        Run.open(tmp_path)


def test_rows_tell_what_a_panel_shows(tmp_path: Path) -> None:
    stream = Stream()
    train(tmp_path / "run", stream=stream)
    rows = [row for row in stream.since(0) if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert rows[-1]["epoch"] == 4.0
    assert rows[-1]["seconds_left"] == 0.0
    assert rows[0]["seconds_left"] > 0
    assert all(row["structures_per_s"] > 0 and row["memory_GB"] > 0.05 for row in rows)
    assert rows[0]["learning_rate"] == 1e-3
    assert rows[-1]["learning_rate"] == pytest.approx(SHORT.learning_rate_at(15 / 4))


def test_it_validates_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    run = train(tmp_path / "run", dataclasses.replace(SHORT, validate_every=3))
    assert [step for step, _ in validations(run)] == [12, 16]


def test_progress_is_one_line_with_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(model(), TRAIN, VALIDATION, SHORT, folder=tmp_path / "run")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "100%" in shown.err
    assert "meV/atom" in shown.err
    assert "validation" in shown.err
    assert "\n" not in shown.err.strip()
    fit(model(), TRAIN, VALIDATION, SHORT, folder=tmp_path / "silent", progress=False)
    assert capsys.readouterr() == ("", "")


# The config


def test_the_config_makes_the_round_trip_through_json() -> None:
    config = TrainingConfig(epochs=7, optimizer="lamb", ema_decay=0.99, max_minutes=1.5)
    assert TrainingConfig.of(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0; expected more"),
        ({"epochs": 2.5}, "epochs is 2.5; expected a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected a number"),
        ({"batch_size": "8"}, "batch_size is '8'; expected a number"),
        ({"optimizer": "adma"}, r"optimizer is 'adma'; expected one of \('adam', 'lamb'\)"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; expected less than 1"),
        ({"rotate": 1}, "rotate is 1; expected True or False"),
        ({"loss": "huber"}, r"loss is 'huber'; expected one of \('squared', 'absolute'\)"),
        ({"optimizer": "lamb", "weight_decay": 0.1}, "weight_decay goes with optimizer 'adam'"),
        ({"energy_weight": 0, "forces_weight": 0}, "are all 0"),
        ({"learning_rat": 0.1}, "no setting 'learning_rat'. Did you mean 'learning_rate'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.of(settings)


def test_schedules_start_and_end_where_they_should() -> None:
    for schedule in ("linear", "cosine", "exponential"):
        config = TrainingConfig(schedule=schedule, epochs=110, constant_epochs=10, final_learning_rate=1e-5)
        assert config.learning_rate_at(0) == config.learning_rate_at(10) == 1e-3
        assert config.learning_rate_at(110) == pytest.approx(1e-5)
        middle = {"linear": 5.05e-4, "cosine": 5.05e-4, "exponential": 1e-4}[schedule]
        assert config.learning_rate_at(60) == pytest.approx(middle)
    assert TrainingConfig(schedule="constant").learning_rate_at(99) == 1e-3


def test_a_warm_up_rises_from_a_fifth_and_then_falls() -> None:
    config = TrainingConfig(
        epochs=100, warm_up_epochs=5, constant_epochs=0, schedule="cosine", learning_rate=8e-4
    )
    rates = [config.learning_rate_at(epoch) for epoch in (0, 2.5, 5)]
    assert rates == pytest.approx([1.6e-4, 4.8e-4, 8e-4])
    assert config.learning_rate_at(52.5) == pytest.approx(4e-4, rel=0.01)
    assert config.learning_rate_at(100) == pytest.approx(1e-6)
    held = TrainingConfig(epochs=100, warm_up_epochs=5, constant_epochs=20, learning_rate=8e-4)
    assert held.learning_rate_at(1) == pytest.approx(8e-4 * (0.2 + 0.8 / 5))
    assert held.learning_rate_at(5) == held.learning_rate_at(20) == 8e-4
    short = TrainingConfig(epochs=2, warm_up_epochs=5, constant_epochs=0)
    assert short.learning_rate_at(1) == pytest.approx(1e-3 * (0.2 + 0.8 / 5))


def test_an_absolute_loss_is_told_as_such(tmp_path: Path) -> None:
    trained = model()
    run = train(tmp_path / "run", dataclasses.replace(SHORT, loss="absolute"), model=trained)
    errors = evaluate(trained, VALIDATION)
    assert errors.forces is not None
    lengths = np.linalg.norm((errors.forces.predicted - errors.forces.reference).reshape(-1, 3), axis=1)
    assert run.outcome is not None
    assert run.outcome.best_loss == pytest.approx(0.5 * errors.energy.mae + 0.5 * lengths.mean())  # type: ignore[union-attr]


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    unlabelled = [molecule("H2O")]
    for options, message in [
        ({"train": unlabelled}, r"frame 0 of the training data \(H2O\) has no label 'energy'"),
        ({"validation": []}, "the validation data has no frames"),
        ({"validation": [with_sulphur()]}, "holds S, which no training frame does"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(folder, **options)
    assert not folder.exists()


def with_sulphur() -> ase.Atoms:
    atoms = molecule("SH2")
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((3, 3)))
    return atoms


# Several processes

WORKER = """
import sys; sys.path.insert(0, {tests!r})
from test_training import *
torch.set_num_threads(1)
train(Path({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_processes_train_as_one_does(launcher: str, tmp_path: Path) -> None:
    """Each takes half of every batch; the weights come out as from one process, to rounding."""
    alone = train(tmp_path / "alone")
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "two")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    port = str(free_port())
    if launcher == "torchrun":
        arguments = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", str(script)]
        processes = [subprocess.Popen([sys.executable, *arguments], env=environment)]
    else:  # what srun tells its processes
        environment |= {
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_NAME": "train",
            "SLURM_NTASKS": "2",
            "SLURM_NNODES": "1",
        }
        environment |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0"}
        environment |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
        processes = [
            subprocess.Popen(
                [sys.executable, str(script)], env={**environment, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
            )
            for rank in ("0", "1")
        ]
    assert [process.wait(timeout=240) for process in processes] == [0] * len(processes)
    two = Run.open(tmp_path / "two")
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=1e-7, atol=1e-9)
    for (step, a), (_, b) in zip(validations(alone), validations(two), strict=True):
        assert a == pytest.approx(b, rel=1e-8), f"step {step}"
    rows = [row for row in two.metrics.since(0) if "loss" in row]
    assert rows[0]["loss"] == pytest.approx(alone.metrics[0]["loss"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
