"""Attention between all atoms against its definition, and by portions against one piece."""

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.nn import all_to_all
from workbench.nn.all_to_all import AllToAllAttention, Places, SineSum, sinc_bias

CELLS = torch.tensor([[[4.0, 0, 0], [0, 5, 0], [0, 0, 6]], [[4.0, 0, 0], [2, 5, 0], [0, 1, 6]]]).double()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(n_portions: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Output, weights and gradients of attention among 7 and 5 atoms, in one piece or in portions."""
    torch.manual_seed(1)
    layer = AllToAllAttention(8, 2, 0.5, n_sinc=6).double()
    x = randn(2, 7, 8).requires_grad_()
    positions = (5 * randn(2, 7, 3)).requires_grad_()
    absent = torch.arange(7) >= torch.tensor([[7], [5]])
    layer.radial.data += 0.3 * randn(2, 6)
    places = Places(positions, CELLS, torch.tensor([[True] * 3, [True, False, True]]))
    bias = sinc_bias(places.distances(0, 7, torch.float64), layer.radial)
    if n_portions > 1:
        bias = None
        monkeypatch.setattr(all_to_all, "WHOLE", 1)
        monkeypatch.setattr(all_to_all, "PORTION", 2 * 2 * 7 * 7 // n_portions)
        monkeypatch.setattr(all_to_all, "PAIRS_AT_ONCE", 5)
    out, weights = layer(x, absent, places, bias, show=True)
    gradients = torch.autograd.grad((out[~absent] ** 2).sum(), [x, positions, layer.radial], create_graph=True)
    again = torch.autograd.grad(gradients[1].square().sum(), [x, positions, layer.radial])
    return [out, weights, *gradients, *again]


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attention(1, monkeypatch)
    for a, b in zip(whole, attention(3, monkeypatch), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-10)
    weights = whole[1]
    np.testing.assert_allclose(weights.detach().sum(3), 1, atol=1e-12)
    assert (weights[1, :, :, 5:] == 0).all()


def test_the_bias_by_distance() -> None:
    distances = torch.linspace(0, 40, 10, dtype=torch.float64).reshape(1, 2, 5)
    weights = randn(3, 32)
    omega = np.geomspace(np.pi / 120, np.pi / 0.25, 32)
    sinc = np.sinc(distances[0, ..., None].numpy() * omega / np.pi)
    expected = np.log(np.log1p(np.exp(sinc @ weights.numpy().T)) + 1e-6)
    np.testing.assert_allclose(sinc_bias(distances, weights)[0], expected.transpose(2, 0, 1), atol=1e-10)


def test_the_bias_is_smooth_through_the_series_near_zero() -> None:
    weights = randn(2, 4)
    distances = torch.tensor([0.0, 1e-9, 0.0007, 0.2], dtype=torch.float64).reshape(2, 1, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(sinc_bias, (distances, weights))


def test_sums_of_sines_to_every_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_to_all, "PAIRS_AT_ONCE", 3)
    r, weights, omega = randn(7).requires_grad_(), randn(2, 4).requires_grad_(), torch.rand(4).double()
    for quarters in range(4):
        expected = weights @ torch.sin(torch.outer(omega, r) + quarters * torch.pi / 2)
        np.testing.assert_allclose(
            SineSum.apply(r, weights, omega, quarters).detach(), expected.detach(), atol=1e-14
        )
    assert torch.autograd.gradcheck(SineSum.apply, (r, weights, omega, 1))
    assert torch.autograd.gradgradcheck(SineSum.apply, (r, weights, omega, 0))
