"""Real spherical harmonics and their coupling, in one pinned order and norm.

Order: e3nn's, m = -l..l with y as the polar axis, so that the three components of l = 1 are (x, y, z).
Norm: the squares of one degree sum to 1 on every direction (Racah's), so Y_0 = 1 and Y_1 is the unit vector.
Parity of degree l is (-1)^l; pseudotensors do not occur.

A spherical array is (n, (l_max + 1)^2, n_channels) with the degrees one after another.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from e3nn import o3
from torch import Tensor


def spherical_harmonics(max_degree: int, unit_vectors: Tensor) -> Tensor:
    """Y_lm of unit vectors, up to `max_degree`: each degree is the coupled product of the one before with Y_1.

    unit_vectors   (n, 3)
    returns        (n, (max_degree + 1)^2)

    The same numbers as e3nn's o3.spherical_harmonics (a test holds them together), by matrix products instead of one
    polynomial per component, which is faster and faster to differentiate.
    """
    degrees = [torch.ones_like(unit_vectors[:, :1]), unit_vectors][: max_degree + 1]
    for table in _raising(max_degree, unit_vectors.dtype, unit_vectors.device):
        outer = degrees[-1].unsqueeze(2) * unit_vectors.unsqueeze(1)
        degrees.append(outer.flatten(1) @ table)
    return torch.cat(degrees, dim=1)


@lru_cache(maxsize=32)
def _raising(max_degree: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For l = 2..max_degree, ((2l - 1) * 3, 2l + 1) | takes Y_{l-1} Y_1 to Y_l."""
    tables = []
    for degree in range(2, max_degree + 1):
        # Y_{l-1} and Y_1 of one direction couple to a multiple of Y_l. At the pole all of them are 1 at m = 0, else 0.
        table = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
        tables.append((table / table[degree - 1, 1, degree]).flatten(0, 1).to(device, dtype))
    return tables


@lru_cache(maxsize=32)
def degree_of_component(max_degree: int, device: torch.device | None = None) -> Tensor:
    """((max_degree + 1)^2,) | the degree l of every component."""
    degrees = torch.arange(max_degree + 1, device=device)
    return torch.repeat_interleave(degrees, 2 * degrees + 1)


@lru_cache(maxsize=32)
def coupling(left: int, right: int, out: int) -> Tensor:
    """Clebsch-Gordan coefficients C of z_m3 = sum_{m1 m2} C[m1, m2, m3] x_m1 y_m2, for all degrees at once.

    left, right, out   highest degrees of x, y and z
    returns            ((left+1)^2, (right+1)^2, (out+1)^2), double precision; zero where l1 + l2 + l3 is odd
                       (a pseudotensor) or the triangle rule forbids

    Every z_m3 of one (l1, l2, l3) has sum C^2 = 1: sqrt(2 l3 + 1) times the 3j symbol.
    """
    table = torch.zeros((left + 1) ** 2, (right + 1) ** 2, (out + 1) ** 2, dtype=torch.float64)
    for l1 in range(left + 1):
        for l2 in range(right + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, out) + 1):
                if (l1 + l2 + l3) % 2 == 0:
                    block = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * (2 * l3 + 1) ** 0.5
                    table[l1**2 : (l1 + 1) ** 2, l2**2 : (l2 + 1) ** 2, l3**2 : (l3 + 1) ** 2] = block
    return table


def n_paths(left: int, right: int, out: int) -> list[int]:
    """For each degree l3 of the product: how many pairs (l1, l2) reach it."""
    return [
        sum(
            abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
            for l1 in range(left + 1)
            for l2 in range(right + 1)
        )
        for l3 in range(out + 1)
    ]
