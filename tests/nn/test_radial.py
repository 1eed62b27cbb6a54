"""Radial functions: partition of unity, envelope, safe ends."""

from __future__ import annotations

from math import comb

import torch

from workbench.nn.neighbourhood import Neighbourhood
from workbench.nn.radial import bernstein_basis, cosine_envelope


def test_bernstein_polynomials() -> None:
    r = torch.linspace(0, 5, 41, dtype=torch.float64)
    basis = bernstein_basis(r, 5.0, 12)
    x = r[:, None] / 5
    k = torch.arange(12)
    binomial = torch.tensor([comb(11, int(i)) for i in k], dtype=torch.float64)
    torch.testing.assert_close(basis, binomial * x**k * (1 - x) ** (11 - k), rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.sum(1), torch.ones(41, dtype=torch.float64))


def test_the_basis_is_finite_at_both_ends_in_single_precision() -> None:
    r = torch.tensor([0.0, 1e-12, 5.0, 5.0 - 1e-7], requires_grad=True)
    basis = bernstein_basis(r, 5.0, 32)
    (gradient,) = torch.autograd.grad(basis.sum(), r)
    assert torch.isfinite(basis).all()
    assert torch.isfinite(gradient).all()


def test_the_envelope_ends_flat() -> None:
    r = torch.tensor([0.0, 2.5, 5.0, 6.0], dtype=torch.float64, requires_grad=True)
    envelope = cosine_envelope(r, 5.0)
    torch.testing.assert_close(envelope, torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64))
    (slope,) = torch.autograd.grad(envelope.sum(), r)
    assert slope[2:].abs().max() < 1e-15


def test_sums_over_neighbours_by_kind() -> None:
    generator = torch.Generator().manual_seed(0)
    n_atoms, n_kinds, n_pairs = 7, 3, 40
    receivers = torch.randint(0, n_atoms - 1, (n_pairs,), generator=generator)  # the last atom has no neighbour
    kinds = torch.randint(0, n_kinds, (n_pairs,), generator=generator)
    left, right = (torch.randn(n_pairs, n, dtype=torch.float64, generator=generator) for n in (4, 5))
    expected = torch.zeros(n_atoms, n_kinds, 4, 5, dtype=torch.float64)
    for p in range(n_pairs):
        expected[receivers[p], kinds[p]] += left[p][:, None] * right[p]
    here = Neighbourhood.sorted(receivers, kinds, n_atoms, n_kinds)
    torch.testing.assert_close(here.outer_sum(left, right), expected)
    none = Neighbourhood.sorted(receivers[:0], kinds[:0], n_atoms, n_kinds)
    assert none.outer_sum(left[:0], right[:0]).abs().max() == 0
