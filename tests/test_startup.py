"""What is loaded before the first prediction: modules are counted, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {"lightning", "pytorch_lightning", "torchmetrics", "tensorboard"}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python holds after `code`."""
    code += "\nimport sys, json; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import workbench", "from workbench.cli import main"])
def test_the_library_and_its_command_line_begin_without_torch(code: str) -> None:
    assert not loaded_by(code) & {*TRAINING, "torch", "numpy", "ase", "e3nn"}


@pytest.mark.parametrize("model", ["lorem", "allscaip", "mlanet"])
def test_a_prediction_loads_nothing_of_training(model: str) -> None:
    code = f"""
from ase.build import bulk, molecule
from workbench import Calculator, build, predict, run_md
model = build("{model}", "tiny")
predict(model, [molecule("H2O"), bulk("NaCl", "rocksalt", a=5.6)], diagnose=True)
run_md(molecule("H2O"), model, temperature_K=300, n_steps=1)
"""
    assert not loaded_by(code) & TRAINING


def test_the_benchmark_of_the_start_tells_apart_what_it_measures() -> None:
    benchmarks = ROOT / "benchmarks"
    words = ["startup.py", "--rounds", "1", "--only", "import workbench", "first prediction, LOREM"]
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, cwd=benchmarks)
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["import torch", "import workbench", "first prediction, LOREM"]
    ratios = [float(row[2]) for row in rows]
    assert ratios[0] == 1
    assert ratios[1] < 1 < ratios[2]
