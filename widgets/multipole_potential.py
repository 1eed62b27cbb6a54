"""The electrostatic potential that multipoles on atoms make in the space between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from widgets.harmonics import harmonics

_PAIRS_AT_ONCE = 500_000


def potential(
    points: np.ndarray, positions: np.ndarray, multipoles: Sequence[Any], smearing: float
) -> np.ndarray:
    r"""V(r) = sum_j sum_lm Q_jlm Y_lm(n) P(l + 1/2, d^2 / 2 σ^2) / d^(l + 1), with r - r_j = d n; open boundary.

    points       (n_points, 3) [Å]
    positions    (n_atoms, 3) [Å]
    multipoles   objects with `degree` l and `values` (n_atoms, 2l + 1), harmonics as in `widgets.harmonics`
    smearing     σ [Å]
    returns      (n_points,) [charge / Å]

    That is the exact potential of charge densities proportional to d^l Y_lm exp(-d^2 / 2 σ^2): it is finite everywhere
    and that of point multipoles from a few σ on. P is the regularised incomplete gamma function (for l = 0 the erf
    of Ewald summation); Jackson, Classical Electrodynamics, 3rd ed., eq. (4.1).
    """
    by_degree: dict[int, np.ndarray] = {}
    for one in multipoles:
        by_degree[one.degree] = by_degree.get(one.degree, 0.0) + np.asarray(one.values, float)
    total = np.zeros(len(points))
    step = max(1, _PAIRS_AT_ONCE // max(len(points), 1))
    for start in range(0, len(positions), step):
        block = slice(start, start + step)
        spans = points[:, None] - positions[None, block]
        distances = np.maximum(np.linalg.norm(spans, axis=2), 1e-6 * smearing)
        directions = spans / distances[..., None]
        for degree, values in by_degree.items():
            weights = _radial(degree, distances, smearing)
            total += np.einsum(
                "pj,pjm,jm->p", weights, harmonics(degree, directions), values[block], optimize=True
            )
    return total


def _radial(degree: int, distances: np.ndarray, smearing: float) -> np.ndarray:
    """P(l + 1/2, d^2 / 2 σ^2) / d^(l + 1); P is 1 from seven σ on, which spares most of the special functions."""
    from scipy.special import gammainc

    share = np.ones_like(distances)
    near = distances < 7 * smearing
    share[near] = gammainc(degree + 0.5, distances[near] ** 2 / (2 * smearing**2))
    return share / distances ** (degree + 1)
