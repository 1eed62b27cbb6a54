"""Trained models to look into: the right structure for each, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench import catalogue
from workbench.desk.inside import example, inside, trained
from workbench.models import build
from workbench.runs import Run, TrainingConfig
from workbench.training import fit

ETHANOL = catalogue.load("ethanol")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs of one epoch, and what is no run."""
    for name in ("older", "newer"):
        model = build("lorem", "tiny", cutoff=4.0, max_degree_lr=1)
        settings = TrainingConfig(epochs=1, batch_size=2)
        fit(model, ETHANOL[:4], ETHANOL[4:6], settings, folder=tmp_path / name, progress=False)
    (tmp_path / "no run").mkdir()
    return tmp_path


def test_lists_what_has_a_model(runs: Path, tmp_path: Path) -> None:
    assert trained(runs) == ["newer", "older"]
    assert trained(runs, "ion_pair") == []
    (runs / "older" / "form.json").write_text(json.dumps({"values": {"data": "ion_pair"}}))
    assert trained(runs, "ion_pair") == ["older"]
    assert trained(tmp_path / "nothing") == []


def test_an_example_is_of_the_data_and_not_of_the_training(runs: Path) -> None:
    found = example(runs / "newer")
    assert found.get_chemical_formula() == "C2H6O"
    assert found.info["split"] != "train"
    (runs / "newer" / "form.json").write_text(json.dumps({"values": {"data": "ion_pair"}}))
    assert example(runs / "newer").info["split"] == "far", "the form knows better than the elements"


def test_what_a_model_says_of_its_example(runs: Path) -> None:
    found = inside(runs / "newer")
    assert found.prediction.forces.shape == (9, 3)
    assert np.isfinite(found.prediction.energy)
    assert {one.degree for one in found.prediction.diagnostics.multipoles} >= {0, 1}


def test_says_what_is_missing(runs: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no run"):
        example(runs / "no run")
    data = runs / "newer" / "data.json"
    facts = Run.open(runs / "newer").data
    facts["train"]["elements"] = ["U"]
    data.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="just the elements U"):
        example(runs / "newer")
