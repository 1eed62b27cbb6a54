"""Functions of one distance: envelopes and radial bases."""

from __future__ import annotations

from math import lgamma
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


def cosine_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """(cos(pi r / r_c) + 1) / 2 below the cutoff, 0 beyond; value and slope vanish there."""
    x = (distances / cutoff).clamp(max=1.0)
    return 0.5 * (torch.cos(torch.pi * x) + 1)


def bernstein_basis(distances: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """Bernstein polynomials b_k(x) = C(n, k) x^k (1 - x)^(n - k) of x = r / r_c, for k = 0..n = n_radial - 1.

    distances   (n_pairs,)   Å
    returns     (n_pairs, n_radial); they are non-negative and sum to 1 for 0 <= r <= r_c
    """
    n = n_radial - 1
    k = torch.arange(n_radial, dtype=distances.dtype, device=distances.device)
    log_binomial = torch.tensor(
        [lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) for i in range(n_radial)],
        dtype=distances.dtype,
        device=distances.device,
    )
    # In logarithms, because x^k underflows; kept away from 0 and 1, where they are infinite.
    tiny = torch.finfo(distances.dtype).eps
    x = (distances / cutoff).clamp(tiny, 1 - tiny).unsqueeze(-1)
    return torch.exp(log_binomial + k * torch.log(x) + (n - k) * torch.log1p(-x))


def gaussian_linear(distances: Tensor, cutoff: float, weight: Tensor) -> Tensor:
    """A linear map of the Gaussians exp(-(r - c)^2 / 2 w^2), centres c evenly from 0 to the cutoff, w two spacings.

    distances   (n,)                Å, none negative
    weight      (n_out, n_radial)
    returns     (n, n_out)

    Every distance meets only the Gaussians within nine widths of it; the others are below 1e-17.
    """
    spacing = cutoff / (weight.shape[1] - 1)
    return GaussianSum.apply(distances, weight.T.contiguous(), spacing, 0)


_REACH = 18  # spacings, nine widths


class GaussianSum(torch.autograd.Function):
    """sum_k weight_k exp(-(r - c_k)^2 / 2 w^2), or its derivative of some order by r: (n, n_out).

    No array of all distances by all Gaussians is made, unless gradients of the weights are wanted.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(distances: Tensor, weight: Tensor, spacing: float, order: int) -> Tensor:
        near, values = _gaussians(distances, len(weight), spacing, order)
        return embedding_bag(near, weight, per_sample_weights=values, mode="sum")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, int], output: Tensor) -> None:
        distances, weight, ctx.spacing, ctx.order = inputs
        ctx.save_for_backward(distances, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        distances, weight = ctx.saved_tensors
        by_distance = by_weight = None
        if ctx.needs_input_grad[0]:
            slope = GaussianSum.apply(distances, weight, ctx.spacing, ctx.order + 1)
            by_distance = (gradient * slope).sum(1)
        if ctx.needs_input_grad[1]:
            near, values = _gaussians(distances, len(weight), ctx.spacing, ctx.order)
            of_all = values.new_zeros(len(distances), len(weight)).scatter(1, near, values)
            by_weight = of_all.T @ gradient
        return by_distance, by_weight, None, None


def _gaussians(distances: Tensor, n_radial: int, spacing: float, order: int) -> tuple[Tensor, Tensor]:
    """(n, n_near) each | which Gaussians are near, and their values, or derivatives of some order by the distance."""
    n_near = min(2 * _REACH + 1, n_radial)
    first = (distances.detach() / spacing).round() - _REACH
    first = first.clamp(0, n_radial - n_near).double()
    places = torch.arange(n_near, device=distances.device)
    near = first.long().unsqueeze(1) + places
    per_distance = 0.5**0.5 / (2 * spacing)
    beyond_first = ((distances - first * spacing) * per_distance).to(
        distances.dtype
    )  # of small numbers, in double
    x = beyond_first.unsqueeze(1) - places.to(distances.dtype) * (spacing * per_distance)
    values, before = torch.exp(-x.square()), torch.zeros_like(x)
    for n in range(order):  # the recursion of Hermite's polynomials
        values, before = -2 * per_distance * (x * values + n * per_distance * before), values
    return near, values
