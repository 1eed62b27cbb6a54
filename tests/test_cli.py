"""The command line, run as people and machines run it: words in, one answer and an exit code out."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest

from workbench import catalogue
from workbench.analysis import drift
from workbench.card import card
from workbench.cli import COMMANDS, main
from workbench.dynamics import run_md
from workbench.evaluation import evaluate
from workbench.models.lorem import LoremConfig
from workbench.predict import predict
from workbench.runs import Run, TrainingConfig
from workbench.splits import split
from workbench.structures import write

ROOT = Path(__file__).resolve().parent.parent
LOREM_JAX = ROOT / "tests" / "golden" / "lorem_checkpoint"
FAIRCHEM = ROOT / "tests" / "golden" / "allscaip_checkpoint"
ETHANOL = catalogue.load("ethanol")


def answer(*words: str | Path) -> dict[str, Any]:
    """The JSON document of a command that succeeds."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main([*map(str, words), "--json"]) == 0
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def process(*words: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "workbench", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


TRAIN = ("train", "ethanol", "--index", "0:8", "--validation", "2", "--preset", "tiny", "--set", "cutoff=4")
TRAIN += ("--set", "max_degree_lr=1", "--batch_size", "3", "--learning-rate=0.002")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer to a training of two epochs."""
    return answer(*TRAIN, "--epochs", "2", "--folder", tmp_path_factory.mktemp("runs") / "first")


def test_train_does_what_its_flags_say(trained: dict[str, Any]) -> None:
    run = Run.open(trained["folder"])
    assert trained["command"] == "train"
    assert trained["outcome"]["state"] == "finished"
    assert trained["outcome"]["step"] == 4  # two batches of three in each epoch
    assert run.config == TrainingConfig(epochs=2, batch_size=3, learning_rate=0.002)
    config = run.model().config
    assert (config.cutoff, config.max_degree, config.max_degree_lr) == (4.0, 2, 1)
    assert trained["model"]["config"] == asdict(config)
    assert {name: run.data[name]["n_structures"] for name in run.data} == {"train": 6, "validation": 2}
    assert trained["best_validation"]["loss"] == pytest.approx(trained["outcome"]["best_loss"])


def test_train_resumes_with_the_settings_of_the_folder(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(trained["folder"], tmp_path / "run"))
    data = TRAIN[:6]
    again = answer(*data, "--folder", folder, "--resume", "--epochs", "3")
    assert again["outcome"]["step"] == 6
    assert again["model"] == trained["model"]
    assert Run.open(folder).config.batch_size == 3

    assert main([*data, "--folder", str(folder), "--resume", "--batch-size", "1"]) == 2
    assert "batch_size is 1, was 3" in capsys.readouterr().err
    assert main([*TRAIN, "--folder", str(folder)]) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_train_begins_with_a_trained_model(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two stages on the command line; the second hardly moves, to show the weights that it began with."""
    allscaip = ("--model", "allscaip", "--preset", "tiny", "--set", "direct_forces=true")
    settings = (*TRAIN[:6], "--epochs", "1", "--batch_size", "3")
    first = answer(*settings, *allscaip, "--rotate", "--folder", tmp_path / "direct")
    assert Run.open(first["folder"]).config.rotate
    assert Run.open(first["folder"]).model().gives == {"energy", "forces"}
    still = ("--learning-rate", "1e-30", "--final-learning-rate", "1e-30")
    begun = ("--from", first["folder"], "--set", "direct_forces=false", *still)
    second = answer(*settings, *begun, "--model", "allscaip", "--folder", tmp_path / "conservative")
    assert second["model"]["config"] == {**first["model"]["config"], "direct_forces": False}
    run = Run.open(second["folder"])
    assert not run.config.rotate
    frame = ETHANOL[0]
    assert predict(run.model(), frame).energy == predict(Run.open(first["folder"]).model(), frame).energy
    resumed = ("--folder", tmp_path / "conservative", "--resume", "--epochs", "2")
    assert answer(*TRAIN[:6], *resumed)["outcome"]["epoch"] == 2.0

    capsys.readouterr()
    for words, message in [
        (("--model", "lorem"), "holds the model allscaip"),
        (("--preset", "small"), "settings come from --from"),
        (("--set", "cutof=4"), "Did you mean 'cutoff'"),
    ]:
        assert main([*settings, "--from", first["folder"], *words, "--folder", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_train_divides_as_the_data_say(tmp_path: Path) -> None:
    settings = ("--preset", "tiny", "--epochs", "1", "--max-minutes", "0.001", "--index", "::50")
    said = answer("train", "ethanol", *settings, "--folder", tmp_path / "said")
    assert said["data"] == {"train": 16, "validation": 2, "split": "as the data say"}
    write(tmp_path / "held out.xyz", ETHANOL[900:903])
    train = ("train", "ethanol", "--split", "train", *settings, "--folder", tmp_path / "file")
    named = answer(*train, "--validation", tmp_path / "held out.xyz")
    assert (named["data"]["train"], named["data"]["validation"]) == (16, 3)


def test_evaluate_says_what_the_function_says(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [frame for frame in ETHANOL if frame.info["split"] == "test"][::30]
    expected = evaluate(Run.open(trained["folder"]).model(), frames).numbers
    write(tmp_path / "test.xyz", frames)
    for place in (trained["folder"], Path(trained["folder"]) / "best.safetensors"):
        got = answer("evaluate", place, tmp_path / "test.xyz", "--device", "cpu")
        assert (got["n_structures"], got["n_atoms"]) == (4, 36)
        assert got["errors"] == pytest.approx(expected, rel=1e-4)
    assert (
        answer("evaluate", trained["folder"], "ethanol", "--index", "::30", "--split", "test")["n_structures"]
        > 0
    )

    capsys.readouterr()
    assert main(["evaluate", trained["folder"], str(tmp_path / "test.xyz")]) == 0
    assert f"{expected['forces_rmse_meV_per_A']:.4g}" in capsys.readouterr().out


def test_card_is_that_of_the_function(trained: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("card", trained["folder"], "ethanol", "--index", "0:8", "--validation", "2")
    shown = answer(*asked, "--test", "ethanol", "--test-index", "500:504")
    train, _, _ = split(ETHANOL[:8], validation=2, test=0, seed=0)
    run = Run.open(trained["folder"])
    assert shown["card"] == card(run, train, ETHANOL[500:504])
    assert shown["n_test"] == 4
    assert main([*asked, "--test", "ethanol", "--test-index", "500:504"]) == 0
    assert capsys.readouterr().out == shown["card"]
    assert answer(*asked)["card"] == card(
        run, train, [atoms for atoms in ETHANOL if atoms.info["split"] == "test"]
    )


def test_md_judges_the_drift_of_the_rows_it_wrote(trained: dict[str, Any], tmp_path: Path) -> None:
    rows_at, frames_at = tmp_path / "rows.csv", tmp_path / "run.traj"
    got = answer(
        *(
            "md",
            trained["folder"],
            "ethanol",
            "--ensemble",
            "nve",
            "--time-ps",
            "0.02",
            "--temperature_K",
            "50",
        ),
        *("--precision", "float64", "--interval", "20", "--rows", rows_at, "--trajectory", frames_at),
    )
    assert (got["state"], got["n_steps"], got["time_fs"]) == ("finished", 40, 20.0)
    with rows_at.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    columns = [[row[name] for row in rows] for name in ("time_fs", "conserved_energy", "kinetic_energy")]
    expected = drift(columns[0], columns[1], 9, columns[2])
    assert got["drift"]["meV_per_atom_per_ns"] == pytest.approx(expected.meV_per_atom_per_ns, rel=1e-6)
    assert got["drift"]["low_meV_per_atom_per_ns"] < got["drift"]["high_meV_per_atom_per_ns"]
    assert got["drift"]["verdict"] == expected.verdict

    same = run_md(ETHANOL[0], Run.open(trained["folder"]).model().double(), n_steps=40, temperature_K=50)
    assert rows[-1]["potential_energy"] == pytest.approx(same.atoms.get_potential_energy(), abs=1e-9)
    assert len(ase.io.read(frames_at, ":")) == 3


def test_md_prints_the_drift_with_its_interval(
    trained: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["md", trained["folder"], "ethanol", "--n-steps", "33", "--temperature-K", "20"]) == 0
    assert "meV/atom/ns" in capsys.readouterr().out
    langevin = ("--ensemble", "langevin", "--n-steps", "2", "--temperature-K", "20")
    assert "drift" not in answer("md", trained["folder"], "ethanol", *langevin)


def test_md_that_explodes_fails_and_keeps_what_it_had(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "md",
        trained["folder"],
        "ethanol",
        "--n-steps",
        "50",
        "--temperature-K",
        "3000",
        "--timestep-fs",
        "30",
    ]
    assert main([*words, "--trajectory", str(tmp_path / "kept.xyz"), "--json"]) == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["state"] == "exploded"
    assert document["error"] in shown.err
    assert len(ase.io.read(tmp_path / "kept.xyz", ":")) >= 1


def test_explain_writes_what_predict_says(trained: dict[str, Any], tmp_path: Path) -> None:
    expected = predict(Run.open(trained["folder"]).model(), ETHANOL[-1], diagnose=True)
    explain = ("explain", trained["folder"], "ethanol", "--index", "-1", "--out")
    got = answer(*explain, tmp_path / "shown.npz")
    answer(*explain, tmp_path / "shown.json")

    assert got["energy"] == pytest.approx(expected.energy)
    arrays = np.load(tmp_path / "shown.npz")
    nested = json.loads((tmp_path / "shown.json").read_text())
    np.testing.assert_allclose(arrays["prediction/forces"], expected.forces, atol=1e-6)
    for k, multipole in enumerate(expected.diagnostics.multipoles):
        np.testing.assert_allclose(arrays[f"multipoles/{k}/values"], multipole.values, atol=1e-6)
        np.testing.assert_allclose(nested["multipoles"][str(k)]["potentials"], multipole.potentials, atol=1e-6)
        assert nested["multipoles"][str(k)]["label"] == str(arrays[f"multipoles/{k}/label"]) == multipole.label
    for name, values in expected.diagnostics.atoms.items():
        np.testing.assert_allclose(arrays[f"atoms/{name}"], values, atol=1e-6)
        (row,) = [row for row in got["summary"] if row["quantity"] == name]
        assert row["largest"] == pytest.approx(values.max(), abs=1e-6)
        assert row["at"] == f"{ETHANOL[-1].symbols[values.argmax()]}{values.argmax()}"


def test_a_checkpoint_of_lorem_jax_is_as_good_as_a_run(tmp_path: Path) -> None:
    expected = json.loads((LOREM_JAX / "expected.json").read_text())["ethanol"]
    ase.Atoms(expected["numbers"], expected["positions"]).write(tmp_path / "ethanol.xyz")
    got = answer("explain", LOREM_JAX, tmp_path / "ethanol.xyz", "--out", tmp_path / "shown.npz")
    assert got["energy"] == pytest.approx(expected["calculator, float32"]["energy"], abs=1e-4)


def test_a_checkpoint_of_fairchem_is_as_good_as_a_run(tmp_path: Path) -> None:
    expected = json.loads((FAIRCHEM / "expected.json").read_text())["ethanol"]
    ase.Atoms(expected["numbers"], expected["positions"]).write(tmp_path / "ethanol.xyz")
    got = answer(
        "explain", FAIRCHEM / "checkpoint.pt", tmp_path / "ethanol.xyz", "--out", tmp_path / "shown.npz"
    )
    assert got["energy"] == pytest.approx(expected["energy"], abs=1e-3)


def test_data_lists_shows_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [d["name"] for d in answer("data", "list")["datasets"]] == list(catalogue.DATASETS)
    shown = answer("data", "show", "water_box")
    assert (shown["n_frames"], shown["n_atoms"], shown["periodic_directions"]) == (72, [48, 48], [3])
    assert shown["labels"]["stress"] == "REF_stress"
    clean = tmp_path / "clean.xyz"
    write(clean, ETHANOL[::200])
    assert not [f for f in answer("data", "check", clean)["findings"] if f["severity"] == "error"]

    broken = [frame.copy() for frame in ETHANOL[:3]]  # copies carry no labels
    broken[1].positions[1] = broken[1].positions[0]
    write(tmp_path / "broken.xyz", broken)
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "broken.xyz")]) == 1
    found = capsys.readouterr()
    assert "on top of each other" in found.out
    assert "errors" in found.err
    assert main(["data", "check", str(tmp_path / "broken.xyz"), "--needed", "--json"]) == 1
    (finding,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["severity"] == "error"]
    assert finding["frames"] == [1]
    assert finding["fix"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate nowhere ethanol", "no run and no checkpoint nowhere"),
        ("evaluate RUN ethanl", "Did you mean ethanol?"),
        ("evaluate RUN ethanol --index 5000", "has no frame 5000"),
        ("evaluate RUN ethanol --split far", "there are ['test', 'train', 'validation']"),
        ("evaluate RUN ethanol --units eV", "is read as the catalogue says"),
        ("evaluate RUN ion_pair", "not trained on"),
        (
            "card RUN ethanol --index 0:8 --validation 2 --test ethanol --test-index 0:1",
            "1 of 1 test structures",
        ),
        ("card RUN ethanol --test ethanol", "was trained on 6 other structures"),
        ("card RUN ion_pair --validation 2", "Say with --test what to test with"),
        ("card nowhere ethanol", "nowhere is no run"),
        ("md RUN ethanol --temperature-K 300", "n_steps or as time_ps"),
        ("md RUN ethanol --n-steps 5", "give temperature_K"),
        ("md RUN ethanol --n-steps 5 --ensemble nvt", "no ensemble 'nvt'"),
        ("explain RUN ethanol --out shown.txt", "ends in .npz or .json"),
        ("train ethanol --folder new --preset huge", "no preset 'huge'"),
        ("train ethanol --folder new --set cutof=4", "Did you mean 'cutoff'?"),
        ("train ethanol --folder new --set cutoff=far", "cutoff is a number"),
        ("train ethanol --folder new --set max_degree=2.5", "max_degree is a whole number"),
        ("train ethanol --folder new --set long_range=0", "long_range is true or false"),
        ("train ethanol --folder new --set cutoff", "expected NAME=VALUE"),
        ("train ethanol --folder new --optimizer sgd", "expected one of ('adam', 'lamb')"),
        ("train ethanol --folder new --index 0:3 --validation 7", "7"),
        ("data check", "needs DATA"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    words: str, message: str, trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"RUN": trained["folder"], "new": str(tmp_path / "new")}
    assert main([places.get(word, word) for word in words.split()]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [
        "",
        "trian",
        "md",
        "train ethanol",
        "train ethanol --folder x --epoch 3",
        "train ethanol --folder x --epochs z",
    ],
)
def test_misspelt_words_are_answered_in_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_error_is_one_json_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "nowhere", "ethanol", "--json"]) == 2
    assert "nowhere" in json.loads(capsys.readouterr().out)["error"]
    assert main(["evaluate", "nowhere", "ethanol", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_what_is_no_mistake_of_the_user_fails_with_1(
    trained: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.npz").mkdir()
    assert main(["explain", trained["folder"], "ethanol", "--out", str(tmp_path / "folder.npz")]) == 1
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_says_what_it_means(name: str) -> None:
    parser = argparse.ArgumentParser()
    COMMANDS[name].options(parser)
    assert [action.dest for action in parser._actions if not (action.help or "").strip()] == []
    assert [action.dest for action in parser._actions if str(action.help).lstrip().startswith("[")] == []


def test_help_shows_the_settings_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for field in fields(LoremConfig):
        assert re.search(rf"  {field.name}={field.default} +\w", shown)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, workbench.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert "evaluate" in shown
    assert not [name for name in ("torch", "numpy", "ase", "lightning") if f"'{name}'" in shown]
    assert process("--help").communicate(timeout=100)[0].startswith("usage: workbench")


def interrupted(words: list[str], watched: Path) -> tuple[int, str]:
    """Exit code and standard output of a command that gets Ctrl-C once `watched` has some lines."""
    running = process(*words)
    end = time.monotonic() + 200
    while not (watched.is_file() and watched.read_text().count("\n") > 3):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=100)
    return running.returncode, out


def test_ctrl_c_stops_a_training_and_resume_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [
        "train",
        "ethanol",
        "--index",
        "0:8",
        "--validation",
        "2",
        "--preset",
        "tiny",
        "--folder",
        str(folder),
    ]
    code, out = interrupted([*words, "--epochs", "100000", "--json"], folder / "metrics.csv")
    assert code == 130
    stopped = json.loads(out)["outcome"]
    assert stopped["state"] == "stopped"
    assert stopped["step"] > 0

    further = answer(*words, "--resume", "--epochs", str(int(stopped["epoch"]) + 2))["outcome"]
    assert further["state"] == "finished"
    assert further["step"] > stopped["step"]


def test_ctrl_c_stops_dynamics_and_keeps_what_was_done(trained: dict[str, Any], tmp_path: Path) -> None:
    rows, frames = tmp_path / "rows.csv", tmp_path / "run.traj"
    words = [
        "md",
        trained["folder"],
        "ethanol",
        "--time-ps",
        "1000",
        "--temperature-K",
        "10",
        "--interval",
        "1",
    ]
    code, out = interrupted([*words, "--rows", str(rows), "--trajectory", str(frames), "--json"], rows)
    assert code == 130
    document = json.loads(out)
    assert document["state"] == "stopped"
    assert len(rows.read_text().splitlines()) == document["n_steps"] + 2  # the header and step 0
    assert len(ase.io.read(frames, ":")) == document["n_steps"] + 1


@pytest.mark.skipif(find_spec("jupyterlab") is None, reason="JupyterLab is not installed")
def test_lab_starts_jupyterlab() -> None:
    lab = process("lab", "--", "--version")
    out, err = lab.communicate(timeout=200)
    assert lab.returncode == 0, err
    assert int(out.split(".")[0]) >= 4
