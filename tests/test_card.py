"""The card of a trained model says what is so, and refuses a test that is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench import catalogue, evaluate, fit
from workbench.card import card
from workbench.models import build
from workbench.runs import Run, TrainingConfig


@pytest.fixture(scope="module")
def ethanol():
    return catalogue.load("ethanol")


@pytest.fixture(scope="module")
def run(ethanol, tmp_path_factory) -> Run:
    torch.manual_seed(0)
    model = build("lorem", "tiny", n_features=8, max_degree=1, max_degree_lr=1)
    folder = tmp_path_factory.mktemp("runs") / "first"
    return fit(model, ethanol[:12], ethanol[12:16], TrainingConfig(epochs=1), folder=folder, progress=False)


def test_states_the_errors_of_the_best_model(run, ethanol):
    test = ethanol[500:510]
    text = card(run, ethanol[:12], test)
    errors = evaluate(run.model(), test)
    row = next(line for line in text.splitlines() if line.startswith("| forces"))
    zero = 1000 * np.sqrt(np.mean(errors.forces.reference**2))
    wanted = [1000 * errors.forces.mae, 1000 * errors.forces.rmse, zero]
    assert [float(cell.split()[0]) for cell in row.split("|")[2:5]] == pytest.approx(wanted, rel=6e-3)
    assert "On 10 structures" in text


def test_states_how_close_pairs_came(run, ethanol):
    numbers = ethanol[0].numbers
    oxygen, hydrogens = np.flatnonzero(numbers == 8), np.flatnonzero(numbers == 1)
    closest = min(atoms.get_all_distances()[oxygen][:, hydrogens].min() for atoms in ethanol[:12])
    assert f"H–O {closest:.2f}" in card(run, ethanol[:12], ethanol[500:502])


def test_names_what_made_it(run, ethanol):
    text = card(run, ethanol[:12], ethanol[500:502])
    for words in (
        "a lorem potential",
        "12 structures to train on",
        run.data["train"]["sha256"][:16],
        "torch 2",
        "C2H6O",
    ):
        assert words in text
    assert f"{run.model().n_parameters:,} parameters" in text
    assert "the gradient of its energy" in text


def test_refuses_a_test_that_was_trained_on(run, ethanol):
    with pytest.raises(ValueError, match="2 of 4 test structures were trained on"):
        card(run, ethanol[:12], [*ethanol[500:502], *ethanol[3:5]])


def test_refuses_data_that_it_was_not_trained_on(run, ethanol):
    with pytest.raises(ValueError, match="trained on 12 other structures than these 11"):
        card(run, ethanol[:11], ethanol[500:502])
