"""Poolings over atoms: their values, that copies change nothing, and how smooth they are."""

from __future__ import annotations

from math import log

import pytest
import torch

from workbench.nn.pooling import PooledEnergy, max_pool, mean_pool

INDEX = torch.tensor([0, 0, 0, 1, 1, 2])
SIZES = torch.tensor([3, 2, 1])


def features() -> torch.Tensor:
    return torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_mean_and_maximum_are_those_of_each_structure() -> None:
    h = features()
    parts = h.split(SIZES.tolist())
    torch.testing.assert_close(mean_pool(h, INDEX, SIZES), torch.stack([p.mean(0) for p in parts]))
    largest, shares = max_pool(h, INDEX, SIZES)
    torch.testing.assert_close(largest, torch.stack([p.max(0).values for p in parts]))
    assert set(shares.flatten().tolist()) == {0.0, 1.0}
    alike, halves = max_pool(h[[0, 0]], torch.zeros(2, dtype=torch.int64), torch.tensor([2]))
    torch.testing.assert_close(alike, h[:1])
    assert halves.eq(0.5).all()


@pytest.mark.parametrize("sharpness", [1.0, 10.0, 300.0])
def test_the_smooth_maximum_lies_just_below(sharpness: float) -> None:
    h = 100 * features()  # so that exp(b h) alone would overflow
    hard, _ = max_pool(h, INDEX, SIZES)
    soft, shares = max_pool(h, INDEX, SIZES, sharpness)
    assert (soft <= hard + 1e-12).all()
    assert (soft >= hard - SIZES.double().log().unsqueeze(1) / sharpness - 1e-12).all()
    torch.testing.assert_close(shares[:3].sum(0), torch.ones(4, dtype=torch.float64))
    two = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    value, _ = max_pool(two, torch.zeros(2, dtype=torch.int64), torch.tensor([2]), 1.0)
    assert value.item() == pytest.approx(log((1 + torch.e) / 2))


@pytest.mark.parametrize("sharpness", [0.0, 5.0])
def test_shares_are_derivatives(sharpness: float) -> None:
    h = features().requires_grad_(True)
    largest, shares = max_pool(h, INDEX, SIZES, sharpness)
    (gradient,) = torch.autograd.grad(largest.sum(), h)
    torch.testing.assert_close(gradient, shares)
    if sharpness:
        assert torch.autograd.gradgradcheck(lambda x: max_pool(x, INDEX, SIZES, sharpness)[0], h)


def test_only_the_smooth_maximum_has_no_kink() -> None:
    """Two atoms change places at x = 0."""
    zero = torch.zeros(2, dtype=torch.int64)
    slopes = {}
    for sharpness in (0.0, 10.0):
        x = torch.linspace(-1e-3, 1e-3, 10, dtype=torch.float64, requires_grad=True)
        values = torch.stack(
            [max_pool(torch.stack([v, -v])[:, None], zero, torch.tensor([2]), sharpness)[0] for v in x]
        )
        (slopes[sharpness],) = torch.autograd.grad(values.sum(), x)
    assert slopes[0.0].diff().max() == pytest.approx(2.0)
    assert slopes[10.0].diff().max() < 0.003


@pytest.mark.parametrize("sharpness", [0.0, 10.0])
@pytest.mark.parametrize("readout", ["extensive", "literal", "local"])
def test_copies_have_the_same_energy_where_it_is_extensive(readout: str, sharpness: float) -> None:
    torch.manual_seed(0)
    energy = PooledEnergy(4, readout, sharpness).double()
    h = features()[:3]

    def total(copies: int) -> float:
        index, sizes = torch.zeros(3 * copies, dtype=torch.int64), torch.tensor([3 * copies])
        own, pooled, _ = energy(h.repeat(copies, 1), index, sizes)
        return (own.sum() + 3 * copies * pooled.sum()).item()

    error = abs(total(5) / 5 - total(1))
    if readout == "literal":
        assert error > 1e-3
    else:
        assert error < 1e-14


@pytest.mark.parametrize("readout", ["extensive", "literal", "local"])
def test_structures_of_a_batch_do_not_mix(readout: str) -> None:
    torch.manual_seed(0)
    energy = PooledEnergy(4, readout, 10.0).double()
    h = features()
    own, pooled, shares = energy(h, INDEX, SIZES)
    alone = energy(h[3:5], torch.zeros(2, dtype=torch.int64), torch.tensor([2]))
    for found, expected in zip((own[3:5], pooled[1:2], shares[3:5]), alone, strict=True):
        torch.testing.assert_close(found, expected)
