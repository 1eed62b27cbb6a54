"""Functions of one distance: envelopes and radial bases."""

from __future__ import annotations

from math import lgamma

import torch
from torch import Tensor


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


def gaussian_basis(distances: Tensor, cutoff: float, n_radial: int) -> Tensor:
    """exp(-(r - c)^2 / 2 w^2) with centres c evenly from 0 to the cutoff and the width w of two spacings.

    distances   (...)              Å
    returns     (..., n_radial)
    """
    spacing = cutoff / (n_radial - 1)
    centres = torch.linspace(0, cutoff, n_radial, dtype=torch.float64).to(distances)
    scaled = (distances.unsqueeze(-1) - centres) * (0.5**0.5 / (2 * spacing))
    return torch.exp(-scaled.square())
