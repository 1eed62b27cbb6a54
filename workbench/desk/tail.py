"""How a curve falls off at large distances: the power law of its tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

_NOTHING = 1e-7  # eV or eV/Å: less is rounding
_STRETCHES = 5
_MEANT = {
    1: "two charges",
    2: "a charge and a dipole",
    3: "two dipoles, or a charge and a quadrupole",
    4: "a charge and a dipole that it induces, or a dipole and a quadrupole",
    5: "two quadrupoles",
    6: "dispersion, or a dipole and a dipole that it induces",
}


@dataclass(frozen=True)
class Tail:
    """A power law E = factor / r^exponent, fitted to a stretch of a curve.

    exponent, low, high   and the ends of its 95 % interval; NaN where no power law can be fitted
    factor                [eV Å^exponent]
    start, end            of the stretch [Å]
    of_force              whether it was fitted to the force, exponent + 1, because the energy's zero is not known
    verdict               the same in words
    """

    exponent: float
    low: float
    high: float
    factor: float
    start: float
    end: float
    of_force: bool
    verdict: str

    def energy(self, distance: np.ndarray) -> np.ndarray:
        """The law's energy at these distances [eV], counted from the fragments far apart."""
        return self.factor * np.asarray(distance, float) ** -self.exponent

    def force(self, distance: np.ndarray) -> np.ndarray:
        """The law's force at these distances [eV/Å]."""
        return self.exponent * self.factor * np.asarray(distance, float) ** (-self.exponent - 1)


def tail(curve: Any, start: float, end: float) -> Tail:
    """The power law that the curve follows between two distances [Å], by least squares of log |E| against log r.

    curve   has `distance` (n,) [Å], `energy` (n,) [eV], `force` (n,) [eV/Å], and `limit`, the energy of the fragments
            far apart

    E is counted from the fragments far apart; where that is not known, the force is taken, of one power more. The
    interval is the jackknife's: the stretch is cut into five, and each left out in turn, so that an exponent which
    itself changes along the way widens it, as a fit of independent points would not.
    """
    of_force = not np.isfinite(curve.limit)
    values = curve.force if of_force else curve.energy - curve.limit
    inside = (curve.distance > start - 1e-6) & (curve.distance < end + 1e-6) & np.isfinite(values)
    distance, values = curve.distance[inside], values[inside]
    trouble = _why_no_law(distance, values)
    if trouble:
        return Tail(np.nan, np.nan, np.nan, np.nan, start, end, of_force, trouble)
    x, y = np.log(distance), np.log(np.abs(values))
    slope, height = np.polyfit(x, y, 1)
    stretches = np.array_split(np.arange(len(x)), min(_STRETCHES, len(x)))
    without = np.array([np.polyfit(np.delete(x, s), np.delete(y, s), 1)[0] for s in stretches])
    k = len(without)
    error = np.sqrt((k - 1) / k * ((without - without.mean()) ** 2).sum()) * student.ppf(0.975, k - 1)
    n = -float(slope) - of_force
    factor = float(np.sign(values[0]) * np.exp(height)) / (n if of_force else 1.0)
    return Tail(n, n - error, n + error, factor, start, end, of_force, _verdict(n, n - error, n + error))


def _why_no_law(distance: np.ndarray, values: np.ndarray) -> str:
    """Why no power law can be fitted; "" where one can."""
    if len(values) < 4:
        return f"{len(values)} points in this stretch; a fit needs 4"
    if np.abs(values).max() < _NOTHING:
        return "nothing at all: it does not feel the other fragment here"
    if np.abs(values).min() < _NOTHING:
        gone = float(distance[np.abs(values) < _NOTHING][0])
        return f"nothing at all from {gone:.1f} Å on; no power law"
    if np.sign(values).min() != np.sign(values).max():
        return "it changes its sign in this stretch; no power law"
    return ""


def _verdict(n: float, low: float, high: float) -> str:
    """What the exponent is like."""
    nearest = round(n)
    if nearest in _MEANT and (low <= nearest <= high or abs(n - nearest) < 0.1):
        return (
            f"as between {_MEANT[nearest]} ({nearest})"
            if nearest < 6
            else f"as by {_MEANT[nearest]} ({nearest})"
        )
    if n > 8:
        return "falls faster than any power law of two molecules"
    if n < 1:
        return "falls more slowly than two charges do"
    return f"between the whole exponents {int(np.floor(n))} and {int(np.ceil(n))}: none of them alone"
