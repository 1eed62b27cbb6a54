"""Losses and errors against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.losses import errors, loss, mean_loss, residuals, sums
from workbench.models import build
from workbench.optimizers import Lamb, adam, average
from workbench.predict import Properties

SIZES = torch.tensor([2, 3])


def predicted() -> Properties:
    """Two structures, of two and three atoms."""
    return Properties(
        energy=torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),
        atom_energies=torch.zeros(5),
        forces=torch.zeros(5, 3, dtype=torch.float64),
        stress=None,
        diagnostics=None,
    )


def labels() -> dict[str, torch.Tensor]:
    forces = torch.zeros(5, 3, dtype=torch.float64)
    forces[4, 1] = 3.0
    return {"energy": torch.tensor([3.0, 5.0], dtype=torch.float64), "forces": forces}


def test_the_loss_is_the_weighted_mean_of_squares() -> None:
    """Errors per atom are -2/2 and -3/3 eV, one of 15 force components is off by 3 eV/Å."""
    difference = residuals(predicted(), labels(), SIZES)
    value = loss(difference, {"energy": 10.0, "forces": 0.5})
    assert value.item() == pytest.approx(10.0 * (1 + 1) / 2 + 0.5 * 9 / 15)


def test_the_absolute_loss_is_the_weighted_mean_of_lengths() -> None:
    """Errors per atom are 1 and 1 eV; of five forces one is off by (2, 3, 6), whose length is 7; one stress by 3."""
    difference = residuals(predicted(), labels(), SIZES)
    difference["forces"][4] = torch.tensor([2.0, 3.0, 6.0])
    difference["stress"] = torch.zeros(2, 3, 3, dtype=torch.float64)
    difference["stress"][1] = torch.ones(3, 3)
    weights = {"energy": 10.0, "forces": 0.5, "stress": 4.0}
    expected = 10.0 * (1 + 1) / 2 + 0.5 * 7 / 5 + 4.0 * 3 / 2
    assert loss(difference, weights, kind="absolute").item() == pytest.approx(expected)


def test_the_absolute_loss_has_a_gradient_where_an_error_is_zero() -> None:
    error = torch.zeros(2, 3, requires_grad=True)
    loss({"forces": error}, {"forces": 1.0}, kind="absolute").backward()
    assert error.grad is not None
    assert error.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("kind", ["squared", "absolute"])
def test_the_loss_does_not_change_when_the_structure_turns(kind: str) -> None:
    rng = np.random.default_rng(0)
    turn = torch.tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    forces, stress = torch.tensor(rng.normal(size=(5, 3))), torch.tensor(rng.normal(size=(2, 3, 3)))
    weights = {"forces": 1.0, "stress": 2.0}
    here = loss({"forces": forces, "stress": stress}, weights, kind=kind)
    there = loss({"forces": forces @ turn.T, "stress": turn @ stress @ turn.T}, weights, kind=kind)
    torch.testing.assert_close(there, here)


@pytest.mark.parametrize("kind", ["squared", "absolute"])
def test_shares_of_two_devices_add_up_to_the_loss_of_all(kind: str) -> None:
    difference = residuals(predicted(), labels(), SIZES)
    weights, counts = {"energy": 10.0, "forces": 0.5}, {"energy": 2, "forces": 15}
    first = {"energy": difference["energy"][:1], "forces": difference["forces"][:2]}
    second = {"energy": difference["energy"][1:], "forces": difference["forces"][2:]}
    together = loss(first, weights, counts, kind) + loss(second, weights, counts, kind)
    assert together.item() == pytest.approx(loss(difference, weights, kind=kind).item())
    assert mean_loss(sums(first) + sums(second), weights, kind) == pytest.approx(together.item())


def test_the_loss_reaches_the_prediction() -> None:
    found = predicted()
    loss(residuals(found, labels(), SIZES), {"energy": 1.0}).backward()
    # d/dE of (1/2) sum ((E - E_ref) / N)^2 is (E - E_ref) / N^2
    torch.testing.assert_close(found.energy.grad, torch.tensor([-2 / 4, -3 / 9], dtype=torch.float64))


def test_errors_are_mae_and_rmse_in_thousandths() -> None:
    difference = residuals(predicted(), labels(), SIZES)
    named = errors(sums(difference), tuple(difference))
    assert named["energy_mae_meV_per_atom"] == pytest.approx(1000)
    assert named["forces_mae_meV_per_A"] == pytest.approx(1000 * 3 / 15)
    assert named["forces_rmse_meV_per_A"] == pytest.approx(1000 * np.sqrt(9 / 15))


def test_sums_add_over_batches() -> None:
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.normal(size=(7, 3)))
    apart = sums({"forces": values[:2]}) + sums({"forces": values[2:]})
    torch.testing.assert_close(apart, sums({"forces": values}))


def test_a_label_that_was_not_predicted_is_an_error() -> None:
    with pytest.raises(ValueError, match="no prediction"):
        residuals(predicted(), {"stress": torch.zeros(2, 3, 3)}, SIZES)
    with pytest.raises(ValueError, match=r"shape \(4, 3\); expected \(5, 3\)"):
        residuals(predicted(), {"forces": torch.zeros(4, 3)}, SIZES)
    with pytest.raises(ValueError, match="no loss"):
        loss({"energy": torch.zeros(2)}, {"energy": 0.0})


def test_adam_decays_matrices_as_adamw_does() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.RMSNorm(4), torch.nn.Linear(4, 3)).double()
    twin = torch.nn.Sequential(torch.nn.Embedding(7, 4), torch.nn.RMSNorm(4), torch.nn.Linear(4, 3)).double()
    twin.load_state_dict(layers.state_dict())
    matrix = [twin[2].weight]
    others = [weight for weight in twin.parameters() if weight is not twin[2].weight]
    reference = torch.optim.AdamW(
        [{"params": matrix}, {"params": others, "weight_decay": 0.0}], weight_decay=0.1
    )
    ours = adam(layers, weight_decay=0.1)
    for _ in range(3):
        for net, optimizer in ((layers, ours), (twin, reference)):
            for group in optimizer.param_groups:
                group["lr"] = 0.01
            optimizer.zero_grad()
            net(torch.tensor([1, 5])).square().sum().backward()
            optimizer.step()
    for a, b in zip(layers.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["lorem", "allscaip"])
def test_a_decay_leaves_biases_norms_and_tables_of_elements(name: str) -> None:
    model = build(name, "tiny")
    decaying, others = (group["params"] for group in adam(model, weight_decay=0.1).param_groups)
    chosen, left = set(map(id, decaying)), set(map(id, others))
    tables = {"species", "element.weight", "charge.weight", "spin.weight"}
    scales = {
        f"blocks.{layer}.nodes.radial" for layer in range(2)
    }  # of distances, one number per head and function
    for weight_name, weight in model.named_parameters():
        decays = weight.ndim > 1 and weight_name not in tables | scales
        assert (id(weight) in chosen, id(weight) in left) == (decays, not decays), weight_name
    assert len(adam(model).param_groups) == 1


def test_lamb_takes_the_steps_of_the_paper() -> None:
    """Two steps in numpy, written as the algorithm stands in the paper, from the same gradients."""
    start = np.array([[3.0, -4.0], [0.5, 1.0]])
    gradients = [np.array([[0.1, -0.2], [0.3, 0.4]]), np.array([[-0.5, 0.2], [0.1, 0.0]])]
    rate, b1, b2, eps = 0.01, 0.9, 0.999, 1e-6
    expected, mean, square = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(gradients, start=1):
        mean = b1 * mean + (1 - b1) * g
        square = b2 * square + (1 - b2) * g**2
        update = (mean / (1 - b1**t)) / (np.sqrt(square / (1 - b2**t)) + eps)
        expected = expected - rate * np.linalg.norm(expected) / np.linalg.norm(update) * update
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = Lamb([weight], lr=rate)
    for g in gradients:
        weight.grad = torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_lamb_moves_weights_that_start_at_zero() -> None:
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    weight.grad = torch.ones(3, dtype=torch.float64)
    Lamb([weight], lr=0.1).step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), -0.1, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_average_begins_short_and_grows_long() -> None:
    model = torch.nn.Linear(1, 1, bias=False).double()
    mean = average(model, decay=0.5)
    expected = None
    for n, value in enumerate((1.0, 3.0, -2.0, 7.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        mean.update_parameters(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert mean.module.weight.item() == pytest.approx(expected)
