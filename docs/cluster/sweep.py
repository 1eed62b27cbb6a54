"""A sweep over settings by as many processes as there are: each trial is a training with a small budget, and those
that fall behind the others are ended early.

    python docs/cluster/sweep.py ethanol --folder runs/sweep --trials 40 --max-minutes 10

The same line, started again, is one more worker: beside the first, on another GPU, on any machine that shares the
folder (an array job of SLURM starts ten with --array=0-9). What they know stands in runs/sweep/journal.log, each
training in a folder beside it. A worker that is stopped (Ctrl-C, SIGTERM at the end of a job's time) or killed leaves
its trial to the next one, which goes on where it was. At the end: the best settings, as a line to train with.

Needs Optuna (Akiba et al., arXiv 1907.10902): pip install 'longrange-workbench[sweep]'.
"""

from __future__ import annotations

import argparse
import secrets
import shlex
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from workbench import Stream, TrainingConfig, build, fit, flags, split
from workbench.jobs import Control
from workbench.lock import sole_writer
from workbench.splits import given_split
from workbench.stream import Row
from workbench.training import Diverged

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """The settings of a trial: change what is searched here. Not the weights of the loss, for they move its scale."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 2e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [4, 8, 16]),
        "ema_decay": trial.suggest_categorical("ema_decay", [0.0, 0.99]),
    }


def main() -> None:
    options = arguments()
    folder = Path(options.folder)
    worker = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    train, validation = parts(options.data)
    with sole_writer(
        folder / "workers" / worker
    ):  # held while this process lives, which tells the others that it does
        study = optuna.create_study(
            study_name="sweep",
            storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
            load_if_exists=True,
            # What others are trying counts as tried, so that workers do not all go to one place.
            sampler=optuna.samplers.TPESampler(constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=options.epochs // 10),
        )
        while len(study.get_trials(deepcopy=False, states=DONE)) < options.trials:
            take_up_dead(study, folder)
            trial = study.ask()
            if not attempt(study, trial, worker, options, train, validation):
                sys.exit(f"stopped; what trial {trial.number} has done is kept for the next worker")
    print(report(study, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a file, or a data set by name (workbench data list)")
    parser.add_argument("--folder", required=True, help="of the sweep; all workers name the same one")
    parser.add_argument("--trials", type=int, default=20, help="of all workers together [20]")
    parser.add_argument("--model", default="lorem", help="[lorem]")
    parser.add_argument("--preset", default="tiny", help="[tiny]")
    parser.add_argument("--epochs", type=int, default=30, help="of a trial [30]")
    parser.add_argument("--max-minutes", type=float, default=0.0, help="of a trial; 0 is off [0]")
    parser.add_argument(
        "--judge", default="forces_rmse_meV_per_A", help="error on the validation frames [%(default)s]"
    )
    return parser.parse_args()


def parts(name: str) -> tuple[Sequence[ase.Atoms], Sequence[ase.Atoms]]:
    """Frames to train on and to validate on, as `workbench train` takes them."""
    frames = flags.frames(name)
    try:
        train, validation, _ = given_split(frames)
    except ValueError:
        train, validation, _ = split(frames, validation=0.1, test=0, seed=0)
    return train, validation


def take_up_dead(study: optuna.Study, folder: Path) -> None:
    """Hand on the trials of workers that were killed: of those the system has let go of what they held."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "worker" not in trial.user_attrs:
            continue  # it is just being begun
        try:
            with (
                warnings.catch_warnings(action="error", category=UserWarning),
                sole_writer(folder / "workers" / trial.user_attrs["worker"]),
            ):
                if study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING:
                    hand_on(study, trial.number)
        except (BlockingIOError, UserWarning):
            continue  # it lives, or the file system has no locks and nobody can tell


def hand_on(study: optuna.Study, number: int) -> None:
    """Queue the settings and the folder of a trial that was not ended."""
    trial = study.get_trials(deepcopy=False)[number]
    study.enqueue_trial(trial.params, user_attrs={"folder": trial.user_attrs["folder"]})
    study.tell(number, state=TrialState.FAIL)


def attempt(
    study: optuna.Study,
    trial: optuna.Trial,
    worker: str,
    options: argparse.Namespace,
    train: Sequence[ase.Atoms],
    validation: Sequence[ase.Atoms],
) -> bool:
    """Train with the settings of a trial and tell how it was; False when the worker was asked to end."""
    config = TrainingConfig(epochs=options.epochs, max_minutes=options.max_minutes, **suggest(trial))
    name = trial.user_attrs.get("folder", f"trial-{trial.number}")
    trial.set_user_attr("folder", name)
    trial.set_user_attr("worker", worker)
    stream, control, hopeless = Stream(), Control(), []
    judged = f"validation_{options.judge}"

    def look(row: Row) -> None:
        if "validation_loss" in row:
            trial.report(row[judged], step=round(row["epoch"]))
            if trial.should_prune():
                hopeless.append("it fell behind")
                control.stop()

    stream.subscribe(look)
    torch.manual_seed(0)  # the same first weights for all
    try:
        run = fit(
            build(options.model, options.preset), train, validation, config,
            folder=Path(options.folder, name), stream=stream, control=control, resume=True, progress=False,
        )  # fmt: skip
    except Diverged as error:
        hopeless.append(str(error))
    if hopeless:
        study.tell(trial, state=TrialState.PRUNED)
    elif run.outcome is None or run.outcome.state == "stopped":
        hand_on(study, trial.number)
        return False
    else:
        rows = [row for row in run.metrics.since(0) if "validation_loss" in row]
        study.tell(
            trial, min(rows, key=lambda row: row["validation_loss"])[judged]
        )  # of the model that is kept
    return True


def report(study: optuna.Study, options: argparse.Namespace) -> str:
    """How many trials there were, and the best settings as a command."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    complete, pruned = (states.count(state) for state in DONE)
    text = f"{complete} trials complete, {pruned} ended early"
    if not complete:
        return f"{text}; none tells which settings are good. Give them more time, or look into {options.folder}"
    best = study.best_trial
    settings = {"model": options.model, "preset": options.preset, "epochs": options.epochs, **best.params}
    words = ["workbench", "train", options.data, "--folder", f"{options.folder}-best"]
    words += [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    folder = Path(options.folder, best.user_attrs["folder"])
    return f"{text}\nbest: {options.judge} {best.value:.4g}, in {folder}\n{shlex.join(words)}"


if __name__ == "__main__":
    main()
