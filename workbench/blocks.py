"""Means and slopes of rows that remember each other, with intervals that say so. numpy and scipy only."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

N_BLOCKS = 32


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % confidence interval, in the unit of the values."""

    value: float
    low: float
    high: float
    n_rows: int

    @property
    def error(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}"


def mean(values: ArrayLike) -> Mean:
    """The mean of a correlated series with its 95 % confidence interval.

    values   (n_rows,) in the order of time, at least 32

    The rows are averaged in 32 blocks. What correlation is left between blocks is taken as r^|i-j|, with r and the
    variance such that the deviations from the mean have their expected lag-1 correlation and sum of squares; the
    interval uses Student's t with (32 - 1)(1 - r)/(1 + r) degrees of freedom. It covers the truth in 95 % of series
    that forget themselves within a thirtieth of their length, and in about 90 % within a tenth (tests).

    Raises ValueError for fewer rows or numbers that are not finite. Leave out the equilibration yourself.
    """
    rows = np.asarray(values, dtype=float)
    if rows.ndim != 1 or len(rows) < N_BLOCKS:
        raise ValueError(f"the values have shape {rows.shape}; expected one column of at least {N_BLOCKS} rows")
    if not np.isfinite(rows).all():
        raise ValueError(f"{int((~np.isfinite(rows)).sum())} of {len(rows)} values are not finite")
    middle, error = rows.mean(), _error(block_means(rows))
    return Mean(float(middle), float(middle - error), float(middle + error), len(rows))


def block_means(rows: np.ndarray) -> np.ndarray:
    """(32,) | means of as many stretches of nearly equal length."""
    edges = np.linspace(0, len(rows), N_BLOCKS + 1).astype(int)
    return np.add.reduceat(rows, edges[:-1]) / np.diff(edges)


def _error(blocks: np.ndarray) -> float:
    """Half the width of the interval of the mean of (32,) blocks."""
    residuals = blocks - blocks.mean()
    squares = residuals @ residuals
    if squares == 0:
        return 0.0
    r, variance = noise(residuals, line=False)
    freedom = max((N_BLOCKS - 1) * (1 - r) / (1 + r), 2.0)
    return float(np.sqrt(squares * variance) * student.ppf(0.975, freedom))


def noise(residuals: np.ndarray, line: bool) -> tuple[float, float]:
    """The correlation r between neighbouring blocks, and the variance of the fitted number over the sum of squares.

    residuals   (32,) of a fit of a straight line, whose slope per block is the fitted number, or of a constant
    """
    rs, lag_ones, variances = _correlated_noise(line)
    lag_one = (residuals[1:] @ residuals[:-1]) / (residuals @ residuals)
    return float(np.interp(lag_one, lag_ones, rs)), float(np.interp(lag_one, lag_ones, variances))


@functools.cache
def _correlated_noise(line: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For noise with correlation r^|i-j| between blocks, a table over r: r itself, the expected lag-1 correlation of
    the residuals of the fit, and the variance of the fitted number over the expected sum of squared residuals."""
    x = np.arange(N_BLOCKS) - (N_BLOCKS - 1) / 2
    ones = np.ones(N_BLOCKS)
    design = np.stack([ones, x], axis=1) if line else ones[:, None]
    weights = x / (x @ x) if line else ones / N_BLOCKS
    residual = np.eye(N_BLOCKS) - design @ np.linalg.solve(design.T @ design, design.T)
    apart = np.abs(np.subtract.outer(np.arange(N_BLOCKS), np.arange(N_BLOCKS)))
    rs = np.concatenate([np.linspace(0, 0.9, 46), 1 - np.geomspace(0.1, 1e-3, 40)[1:]])
    lag_ones, variances = [], []
    for r in rs:
        covariance = r**apart
        left = residual @ covariance @ residual
        lag_ones.append(np.trace(left, offset=1) / np.trace(left))
        variances.append((weights @ covariance @ weights) / np.trace(left))
    return rs, np.array(lag_ones), np.array(variances)
