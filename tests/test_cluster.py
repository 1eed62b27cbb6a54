"""The scripts of docs/cluster/ run here in miniature: a job that is stopped goes on, and so does a sweep."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from structures_for_tests import labelled_water

from workbench import write
from workbench.cli import main
from workbench.runs import Run

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "docs" / "cluster"

# What SLURM's srun does for two tasks; the signal at the end of a job's time goes to them, not to the script.
SRUN = """#!/usr/bin/env bash
while [ "${1#--}" != "$1" ]; do shift; done
export SLURM_JOB_NAME=train SLURM_NTASKS=2 SLURM_NNODES=1 SLURM_NTASKS_PER_NODE=2 SLURM_STEP_NUM_TASKS=2
export SLURM_NODEID=0 SLURM_NODELIST=127.0.0.1
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" & first=$!
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
echo $first $second > tasks
wait $first; code=$?
wait $second || code=$?
exit $code
"""


# What stands before the commands of the machine. A link to an environment's Python would not find its packages.
COMMANDS = {
    "srun": SRUN,
    "scontrol": '#!/bin/sh\necho "$@" >> scontrol.log\n',
    "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the scripts run, with data in it."""
    write(tmp_path / "water.xyz", labelled_water(24))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands."""
    for name, script in COMMANDS.items():
        command = folder / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(script)
        command.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]))


def started(*words: str | Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in words],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def n_rows(run: Path) -> int:
    return len((run / "metrics.csv").read_text().splitlines()) - 1 if (run / "metrics.csv").is_file() else 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_job_whose_time_is_over_queues_itself_and_goes_on(folder: Path) -> None:
    words = (SCRIPTS / "train_slurm.sh", "water.xyz", "--preset", "tiny", "--folder", "run", "--epochs")
    job = started(*words, "100000", SLURM_JOB_ID="7", MASTER_PORT=str(free_port()))
    wait_for(lambda: n_rows(folder / "run") > 3, job)
    for task in (folder / "tasks").read_text().split():
        os.kill(int(task), signal.SIGINT)
    assert "queued again" in said(job, code=130)
    assert (folder / "scontrol.log").read_text() == "requeue 7\n"
    before = Run.open("run").outcome
    assert before is not None
    assert before.state == "stopped"

    epochs = str(int(before.epoch) + 3)
    assert "finished" in said(started(*words, epochs, PROCESSES="1"))  # without SLURM, by torchrun
    run = Run.open("run")
    steps = [row["step"] for row in run.metrics.since(0) if "validation_loss" in row]
    assert run.outcome is not None
    assert run.outcome.state == "finished"
    assert steps[0] < before.step < steps[-1] == run.outcome.step  # in one table
    assert (folder / "scontrol.log").read_text() == "requeue 7\n"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("optuna") is None, reason="Optuna is not installed: pip install '.[sweep]'")
def test_a_sweep_survives_its_workers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from optuna import load_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    words = (
        sys.executable,
        SCRIPTS / "sweep.py",
        "water.xyz",
        "--folder",
        "sweep",
        "--trials",
        "3",
        "--epochs",
        "30",
    )
    stopped = started(*words)
    wait_for(lambda: n_rows(folder / "sweep" / "trial-0") > 3, stopped)
    stopped.send_signal(signal.SIGINT)
    assert "trial 0 has done is kept" in said(stopped, code=1)
    outcome = Run.open("sweep/trial-0").outcome
    assert outcome is not None
    assert outcome.state == "stopped"

    killed = started(*words)
    wait_for(lambda: n_rows(folder / "sweep" / "trial-0") > outcome.step + 3, killed)
    killed.kill()
    killed.communicate()
    first, second = started(*words), started(*words)
    said(first), said(second)
    report = said(started(*words))  # nothing is left to do: the best of all

    study = load_study(
        study_name="sweep", storage=JournalStorage(JournalFileBackend(str(folder / "sweep" / "journal.log")))
    )
    trials = study.get_trials()
    assert [trial.state.name for trial in trials].count("FAIL") == 2  # the stopped one and the killed one
    of_first = [trial for trial in trials if trial.user_attrs.get("folder") == "trial-0"]
    assert [trial.state.name for trial in of_first[:2]] == ["FAIL", "FAIL"]
    assert of_first[2].state.name in ("COMPLETE", "PRUNED")
    assert len({tuple(trial.params.items()) for trial in of_first}) == 1
    done = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert 3 <= len(done) <= 4  # two workers may end one each
    assert len({trial.user_attrs["folder"] for trial in done}) == len(done)  # nothing is done twice

    command = report.splitlines()[-1].split()
    assert command[:3] == ["workbench", "train", "water.xyz"]
    assert main(command[1:]) == 0
    capsys.readouterr()
    again = [row for row in Run.open("sweep-best").metrics.since(0) if row.get("best") == 1]
    assert again[-1]["validation_forces_rmse_meV_per_A"] == pytest.approx(study.best_value)
