"""Real spherical harmonics in numpy: how learned charges of degree l turn, and the shape that l = 2 means.

Order and norm are e3nn's "norm": m = -l..l with y as the pole, so that l = 1 is (x, y, z), and the squares of one
degree sum to 1 on every unit vector.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, prod
from typing import Any

import numpy as np


def harmonics(degree: int, directions: Any) -> np.ndarray:
    """Y_lm of unit vectors (..., 3), m = -l..l: (..., 2l + 1).

    Standard tables have z as their pole: their (x, y, z) are our (z, x, y). No Condon-Shortley phase.
    """
    y, z, x = np.moveaxis(np.asarray(directions, float), -1, 0)
    components = [np.zeros_like(z)] * (2 * degree + 1)
    # sin^m(theta) times cos(m phi) and sin(m phi), as polynomials.
    cosine, sine = np.ones_like(z), np.zeros_like(z)
    for m in range(degree + 1):
        norm = np.sqrt((2 if m else 1) * factorial(degree - m) / factorial(degree + m))
        legendre = norm * _legendre(degree, m, z)
        components[degree - m] = legendre * sine
        components[degree + m] = legendre * cosine
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return np.stack(components, axis=-1)


def _legendre(degree: int, m: int, z: np.ndarray) -> np.ndarray:
    """P_l^m(z) / (1 - z^2)^(m/2), by its three-term recursion in l."""
    before, now = np.zeros_like(z), np.full_like(z, prod(range(1, 2 * m, 2)))
    for l_now in range(m + 1, degree + 1):
        before, now = now, ((2 * l_now - 1) * z * now - (l_now + m - 1) * before) / (l_now - m)
    return now


def turned(values: Any, degree: int, rotation: np.ndarray) -> np.ndarray:
    """Charges (n, 2l + 1) turned by a rotation (3, 3): D values, where Y(R n) = D Y(n) for every n.

    D is exact up to rounding: it is solved from more directions than it has rows.
    """
    directions, at_directions = _sampled(degree)
    after = harmonics(degree, directions @ np.asarray(rotation, float).T)
    transposed, *_ = np.linalg.lstsq(at_directions, after, rcond=None)
    return np.asarray(values, float) @ transposed


@lru_cache(maxsize=16)
def _sampled(degree: int) -> tuple[np.ndarray, np.ndarray]:
    directions = np.random.default_rng(0).normal(size=(8 * (2 * degree + 1), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, harmonics(degree, directions)


def traceless_tensors(values: Any) -> np.ndarray:
    r"""Symmetric traceless matrices (n, 3, 3) from l = 2 components (n, 5) in e3nn's order.

    M is defined by n^T M n = sum_m a_m Y_2m(n) for every unit vector n, the Y normalised so that their squares sum
    to 1: Y = (√3 xz, √3 xy, y² - (x² + z²)/2, √3 yz, √3/2 (z² - x²)).
    """
    a0, a1, a2, a3, a4 = np.asarray(values, float).T
    s = np.sqrt(3) / 2
    rows = [[-a2 / 2 - s * a4, s * a1, s * a0], [s * a1, a2, s * a3], [s * a0, s * a3, -a2 / 2 + s * a4]]
    return np.moveaxis(np.array(rows), -1, 0)


def rotation_about(axis: str, degrees: float) -> np.ndarray:
    """The matrix (3, 3) that turns by so many degrees about "x", "y" or "z", counter-clockwise seen from its tip."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.radians(degrees)
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix
