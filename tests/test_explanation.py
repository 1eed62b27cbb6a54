"""Files and tables of one prediction, for diagnostics of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest

from workbench import explanation
from workbench.diagnostics import Attention, Diagnostics, Multipoles
from workbench.predict import Prediction

WATER = ase.Atoms("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
WEIGHTS = np.array([[[0.5, 0.25, 0.25], [0.9, 0.0, 0.1], [0.2, 0.2, 0.6]]])
VECTORS = np.array([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0], [0.0, 0.0, -2.0]])
SHOWN = Diagnostics(
    attention=(Attention("layer 0", WEIGHTS),),
    multipoles=(Multipoles("dipole", 1, VECTORS, -VECTORS),),
    atoms={"energy [eV]": np.array([1.0, -2.0, 0.5])},
)
PREDICTION = Prediction(
    -1.5, np.array([1.0, -2.0, -0.5]), np.array([[3.0, 4, 0], [0, 0, 0], [0, 1, 0]]), None, SHOWN
)


def test_a_file_holds_every_array_under_its_name(tmp_path: Path) -> None:
    arrays = np.load(explanation.write(tmp_path / "shown.npz", WATER, PREDICTION))
    np.testing.assert_array_equal(arrays["attention/0/weights"], WEIGHTS)
    np.testing.assert_array_equal(arrays["multipoles/0/potentials"], -VECTORS)
    np.testing.assert_array_equal(arrays["structure/positions"], WATER.positions)
    assert "attention/0/pairs" not in arrays  # the weights are of all pairs
    assert "prediction/stress" not in arrays

    nested = json.loads(
        explanation.write(tmp_path / "shown.json", WATER, PREDICTION).read_text(encoding="utf-8")
    )
    assert nested["attention"]["0"]["weights"] == WEIGHTS.tolist()
    assert nested["attention"]["0"]["normalised"] is True
    assert nested["prediction"]["stress"] is None
    with pytest.raises(ValueError, match=r"ends in '\.txt'"):
        explanation.write(tmp_path / "shown.txt", WATER, PREDICTION)


def test_the_summary_takes_norms_of_what_turns_with_the_molecule() -> None:
    charge, potential, energy, attention = explanation.summary(WATER, PREDICTION)
    assert (charge["smallest"], charge["largest"], charge["at"]) == (1.0, 5.0, "O0")
    assert potential["largest"] == 5.0
    assert (energy["smallest"], energy["mean"], energy["at"]) == (-2.0, pytest.approx(-1 / 6), "O0")
    assert (attention["quantity"], attention["largest"]) == ("layer 0: attention (1, 3, 3)", 0.9)
    assert explanation.largest_force(PREDICTION) == 5.0


def test_a_model_that_shows_nothing_has_an_empty_summary(tmp_path: Path) -> None:
    bare = Prediction(-1.5, np.zeros(3), None, None, None)
    assert explanation.summary(WATER, bare) == []
    assert np.isnan(explanation.largest_force(bare))
    assert "multipoles/0/values" not in np.load(explanation.write(tmp_path / "bare.npz", WATER, bare))
