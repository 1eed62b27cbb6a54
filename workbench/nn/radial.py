"""Functions of one distance: envelopes and radial bases."""

from __future__ import annotations

from math import lgamma

import torch
from torch import Tensor

from workbench.nn.reorder import Reorder


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

    Many distances are taken in their order by portions, each of which only meets the Gaussians near it: beyond nine
    widths they are below 1e-17.
    """
    n_radial = weight.shape[1]
    spacing = cutoff / (n_radial - 1)
    if len(distances) * n_radial < 500_000:
        return _gaussians(distances, spacing, 0, n_radial) @ weight.T
    ascending, order = distances.detach().sort()
    ends = [*ascending[_PORTION - 1 :: _PORTION].tolist(), float(ascending[-1])]
    beginnings = ascending[::_PORTION].tolist()
    reach = 18 * spacing
    parts = []
    for portion, least, most in zip(distances[order].split(_PORTION), beginnings, ends, strict=False):
        first = max(0, int((least - reach) / spacing))
        last = min(n_radial, int((most + reach) / spacing) + 2)
        parts.append(_gaussians(portion, spacing, first, last) @ weight[:, first:last].T)
    return Reorder.apply(torch.cat(parts), order.argsort(), order)


_PORTION = 512


def _gaussians(distances: Tensor, spacing: float, first: int, last: int) -> Tensor:
    """(n, last - first) | the Gaussians with these numbers."""
    centres = torch.arange(first, last, dtype=torch.float64, device=distances.device) * spacing
    scaled = (distances.unsqueeze(1) - centres.to(distances.dtype)) * (0.5**0.5 / (2 * spacing))
    return torch.exp(-scaled.square())
