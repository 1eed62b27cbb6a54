"""Clebsch-Gordan coefficients of real spherical harmonics, in e3nn's order and with its signs.

A test holds them to e3nn's own. e3nn itself loads torch's compiler, which takes as long as two thirds of torch:
everybody would wait for that before a first prediction.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, sqrt

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=1024)
def clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    """C of the product z_m3 = sum_{m1 m2} C[m1, m2, m3] x_m1 y_m2 that turns as degree l3 when x and y turn.

    returns   (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), double precision; sum C^2 = 1. Read only, for it is kept

    Raises ValueError where the triangle rule forbids a product.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"degrees {l1} and {l2} do not couple to {l3}; expected {abs(l1 - l2)} to {l1 + l2}")
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            table[l1 + m1, l2 + m2, l3 + m1 + m2] = _of_angular_momenta(l1, m1, l2, m2, l3)
    real = np.einsum(
        "abc,ax,by,cz->xyz", table, _to_real(l1), _to_real(l2), _to_real(l3).conj(), optimize=True
    ).real
    return torch.from_numpy(real / np.linalg.norm(real))


def _of_angular_momenta(j1: int, m1: int, j2: int, m2: int, j3: int) -> float:
    """<j1 m1 j2 m2 | j3 m1+m2>, but for a factor of the j alone, by the formula of Racah, Phys. Rev. 62, 438 (1942)."""
    m3 = m1 + m2
    prefactor = 1
    for j, m in ((j1, m1), (j2, m2), (j3, m3)):
        prefactor *= factorial(j + m) * factorial(j - m)
    total = 0.0
    for k in range(max(0, j2 - j3 - m1, j1 - j3 + m2), min(j1 + j2 - j3, j1 - m1, j2 + m2) + 1):
        terms = (k, j1 + j2 - j3 - k, j1 - m1 - k, j2 + m2 - k, j3 - j2 + m1 + k, j3 - j1 - m2 + k)
        denominator = 1
        for term in terms:
            denominator *= factorial(term)
        total += (-1) ** k / denominator
    return sqrt(prefactor) * total


@lru_cache(maxsize=32)
def _to_real(degree: int) -> np.ndarray:
    """(2 l + 1, 2 l + 1) | rows: complex harmonics, m = -l..l; columns: e3nn's real ones. Unitary."""
    table = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    table[degree, degree] = 1
    for m in range(1, degree + 1):
        plus, minus, half = degree + m, degree - m, sqrt(0.5)
        table[minus, minus], table[minus, plus] = -1j * half, half
        table[plus, minus], table[plus, plus] = 1j * (-1) ** m * half, (-1) ** m * half
    return np.asarray((-1j) ** degree * table)
