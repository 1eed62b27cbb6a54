"""Bessel functions of one distance, and the polynomial envelope that goes with them.

Gasteiger, Groß, Günnemann, "Directional message passing for molecular graphs", ICLR 2020, Eqs. 7 and 8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def polynomial_envelope(distances: Tensor, cutoff: float) -> Tensor:
    """1 - 28 t^6 + 48 t^7 - 21 t^8 of t = r / r_c, and 0 beyond; value, slope and curvature vanish at the cutoff.

    Computed as (1 - t)^3 times the first terms of (1 - t)^-3, which loses no digit near the cutoff.
    """
    t = (distances / cutoff).clamp(max=1.0)
    series = 21.0 * t + 15.0
    for coefficient in (10.0, 6.0, 3.0, 1.0):
        series = series * t + coefficient
    return (1 - t) ** 3 * series


class Bessel(nn.Module):
    """sqrt(2 / r_c) sin(f_n r / r_c) / r for n = 1..n_radial, whose frequencies f_n are learned from n pi on.

    forward   (n_pairs,) [Å] -> (n_pairs, n_radial)
    """

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.frequencies = nn.Parameter(torch.pi * torch.arange(1.0, n_radial + 1))

    def forward(self, distances: Tensor) -> Tensor:
        r = distances.unsqueeze(1)
        return (2 / self.cutoff) ** 0.5 * torch.sin(self.frequencies * (r / self.cutoff)) / r
