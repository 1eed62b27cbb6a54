"""The benchmarks of batches and of processes run at their smallest, and their tables tell what they measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def said(script: str, *words: str) -> str:
    command = [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / script), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one() -> None:
    rows: list[dict[str, Any]] = json.loads(said("processes.py", "--smallest", "--precision", "float64"))
    assert [row["processes"] for row in rows] == [1, 2]
    for row in rows:
        assert row["efficiency"] == pytest.approx(row["faster"][0] / row["processes"])
        assert row["steps_per_s"][0] > 0
        assert row["difference"]["loss"] < 1e-12
        assert row["difference"]["weights"] < 1e-10
    assert rows[1]["difference"]["weights"] > 0  # the sums are taken in another order: two really trained


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch_sim") is None, reason="torch-sim is not installed; it needs Python 3.12")
def test_batches_are_raced_with_ase() -> None:
    lines = said("batched.py", "--smallest").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| H2O")
    ]
    assert [row[0] for row in cells] == ["H2O, ASE", "H2O, torch-sim, 1 at once", "H2O, torch-sim, 2 at once"]
    assert float(cells[0][2]) == 1
    assert all(float(row[2]) > 0 for row in cells)
