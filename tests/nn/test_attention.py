"""Attention against its definition, and the ways it is made cheaper against the plain way."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.nn.attention import NeighbourhoodAttention, Normalised
from workbench.nn.harmonics import spherical_harmonics
from workbench.nn.radial import gaussian_linear
from workbench.nn.reorder import Reorder


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def neighbourhood() -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """Tokens, log envelopes with an empty place, Legendre polynomials, harmonics; the first place has no direction."""
    directions = torch.nn.functional.normalize(randn(3, 5, 3), dim=2)
    directions[:, 0] = 0
    harmonics = spherical_harmonics(2, directions.flatten(0, 1)).reshape(3, 5, 9)
    angles = [(y @ y.mT)[:, None] for y in (harmonics[:, :, l**2 : (l + 1) ** 2] for l in range(1, 3))]  # noqa: E741
    log_envelope = -torch.rand(3, 5, dtype=torch.float64)
    log_envelope[0, 4] = -torch.inf
    return randn(3, 5, 12), log_envelope, angles, harmonics


def test_angles_are_legendre_polynomials_and_the_same_as_expanded_channels() -> None:
    """fairchem repeats every channel of degree l for its 2 l + 1 components and multiplies with the harmonics."""
    tokens, log_envelope, angles, harmonics = neighbourhood()
    layer = NeighbourhoodAttention(12, 2, 0.5, (3, 2, 1)).double()
    updated, weights = layer(tokens, log_envelope, angles)
    q, k, v = (x.unflatten(2, (2, 6)).transpose(1, 2) for x in layer.qkv(layer.norm(tokens)).chunk(3, dim=2))
    degree = [0, 0, 0, 1, 1, 2]
    expanded = [
        torch.cat(
            [x[..., c : c + 1] * harmonics[:, None, :, l**2 : (l + 1) ** 2] for c, l in enumerate(degree)],  # noqa: E741
            3,
        )
        for x in (q, k)
    ]
    logits = expanded[0] @ expanded[1].transpose(2, 3) / math.sqrt(6) + log_envelope[:, None, None]
    expected = torch.softmax(logits, 3)
    np.testing.assert_allclose(weights.detach(), expected.detach(), atol=1e-12)
    mixed = (expected @ v).transpose(1, 2).flatten(2)
    np.testing.assert_allclose(updated.detach(), (tokens + 0.5 * layer.out(mixed)).detach(), atol=1e-12)
    assert (weights[0, :, :, 4] == 0).all(), "an empty place is attended to"
    np.testing.assert_allclose(weights.detach().sum(3), 1, atol=1e-12)
    cosines = angles[0]
    np.testing.assert_allclose(angles[1][..., 1:, 1:], (1.5 * cosines**2 - 0.5)[..., 1:, 1:], atol=1e-12)


@pytest.mark.parametrize("frequencies", [None, (3, 2, 1)])
def test_only_the_own_token_is_the_first_of_all(frequencies: tuple[int, ...] | None) -> None:
    tokens, log_envelope, angles, _ = neighbourhood()
    angles = angles if frequencies else []
    layer = NeighbourhoodAttention(12, 2, 0.5, frequencies).double()
    every, all_weights = layer(tokens, log_envelope, angles)
    own, weights = layer(tokens, log_envelope, angles, own_only=True)
    np.testing.assert_allclose(own.detach(), every[:, :1].detach(), atol=1e-12)
    np.testing.assert_allclose(weights.detach(), all_weights[:, :, :1].detach(), atol=1e-12)


def test_norms_are_rms_norms_to_every_derivative() -> None:
    x = randn(3, 4, 5).requires_grad_()
    np.testing.assert_allclose(
        Normalised.apply(x, 0.1)[0].detach(),
        torch.nn.functional.rms_norm(x, (5,), eps=0.1).detach(),
        atol=1e-14,
    )

    def norm(x: Tensor) -> Tensor:
        return Normalised.apply(x, 0.1)[0]

    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_gaussians_by_portions_are_all_gaussians() -> None:
    distances = torch.rand(3000, dtype=torch.float64) * 6
    distances[:500] = 0
    distances.requires_grad_()
    weight = randn(7, 512)
    centres = torch.linspace(0, 6, 512, dtype=torch.float64)
    width = 2 * centres[1]
    plain = torch.exp(-0.5 * ((distances[:, None] - centres) / width) ** 2) @ weight.T
    found = gaussian_linear(distances, 6.0, weight)
    np.testing.assert_allclose(found.detach(), plain.detach(), atol=1e-13)
    slopes, expected = (torch.autograd.grad(v.square().sum(), distances)[0] for v in (found, plain))
    np.testing.assert_allclose(slopes, expected, atol=1e-9)


def test_reordering_and_its_gradients() -> None:
    order = torch.randperm(6)
    x = randn(6, 2).requires_grad_()

    def reorder(rows: Tensor) -> Tensor:
        return Reorder.apply(rows, order, order.argsort())

    np.testing.assert_array_equal(reorder(x).detach(), x[order].detach())
    assert torch.autograd.gradcheck(reorder, (x,))
    assert torch.autograd.gradgradcheck(reorder, (x,))
