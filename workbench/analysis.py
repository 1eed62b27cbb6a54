"""What a run or a set of structures says: energy drift with its error bar, radial distribution, mean squared
displacement, fragments pulled apart. Numbers and atoms in, numbers and atoms out.

What a model says of itself (`influence`, `rotation_error`, ...) is measured in `workbench.probes`, what a trajectory
says of a substance (`density`, `diffusion`, ...) in `workbench.observables`; both are at hand here too. Why an energy
drifts is found by `workbench.drift_cause`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from operator import itemgetter

import ase
import numpy as np
import vesin
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from scipy.stats import t as student

from workbench.blocks import N_BLOCKS, Mean, block_means, mean, noise
from workbench.observables import density, diffusion, heat_of_vaporisation, msd, vibrational_spectrum
from workbench.probes import fragment_error, influence, rank_correlation, rotation_error

__all__ = [
    "Drift",
    "Mean",
    "density",
    "diffusion",
    "drift",
    "drift_of",
    "fragment_error",
    "heat_of_vaporisation",
    "influence",
    "mean",
    "msd",
    "rank_correlation",
    "rdf",
    "rotation_error",
    "separate",
    "vibrational_spectrum",
]

EV_PER_FS_IN_MEV_PER_NS = 1e9


@dataclass(frozen=True)
class Drift:
    """The trend of an energy that ought to be conserved.

    ratio is the energy that the trend has moved over the run divided by the standard deviation of the kinetic
    energy: below 1, the drift hides in the thermal fluctuation of this run (None without kinetic energies).
    """

    meV_per_atom_per_ns: float
    low_meV_per_atom_per_ns: float  # 95 % confidence interval
    high_meV_per_atom_per_ns: float
    ratio: float | None
    verdict: str  # in words
    n_atoms: int
    n_rows: int
    mean_time_fs: float  # the fitted line goes through (mean_time_fs, mean_energy)
    mean_energy: float  # [eV]

    def line(self, time_fs: ArrayLike) -> np.ndarray:
        """The fitted energy at these times [eV]."""
        slope = self.meV_per_atom_per_ns * self.n_atoms / EV_PER_FS_IN_MEV_PER_NS
        return self.mean_energy + slope * (np.asarray(time_fs, dtype=float) - self.mean_time_fs)


def drift(
    time_fs: ArrayLike, energy: ArrayLike, n_atoms: int, kinetic_energy: ArrayLike | None = None
) -> Drift:
    r"""Fit E(t) = a + b t and say how sure b is, though neighbouring rows are correlated.

    time_fs          (n_rows,)   ascending
    energy           (n_rows,)   eV, of all atoms: the stream's conserved_energy
    kinetic_energy   (n_rows,)   eV, of all atoms: gives the ratio and with it the verdict

    The rows are averaged in 32 blocks and the line is fitted to those. What correlation is left between blocks is
    taken as r^|i-j|; r and the variance are chosen so that the fit's residuals have their expected lag-1
    correlation and sum of squares (which a fit makes smaller than the noise's own: hence the matching). The
    interval uses Student's t with (32 - 2)(1 - r)/(1 + r) degrees of freedom. It covers the truth in 95 % of runs
    when the energy forgets itself within a tenth of the run, in about 88 % when the energy is a random walk (tests).

    Fewer than 32 rows give NaN and the verdict "too early to tell". Raises ValueError for columns of different
    length, energies that are not finite, or time that does not advance.
    """
    times, energies = np.asarray(time_fs, dtype=float), np.asarray(energy, dtype=float)
    kinetic = None if kinetic_energy is None else np.asarray(kinetic_energy, dtype=float)
    _check_columns(times, energies, kinetic, n_atoms)
    if len(times) < N_BLOCKS:
        verdict = f"too early to tell: {len(times)} rows, {N_BLOCKS} are needed"
        return Drift(nan, nan, nan, None, verdict, n_atoms, len(times), nan, nan)
    slope, error, mean_time, mean_energy = _trend(times, energies)
    unit = EV_PER_FS_IN_MEV_PER_NS / n_atoms
    ratio = worst = None
    if kinetic is not None:
        fluctuation = float(kinetic.std()) or nan
        span = times[-1] - times[0]
        ratio = abs(slope) * span / fluctuation
        worst = (abs(slope) + error) * span / fluctuation
    return Drift(
        meV_per_atom_per_ns=slope * unit,
        low_meV_per_atom_per_ns=(slope - error) * unit,
        high_meV_per_atom_per_ns=(slope + error) * unit,
        ratio=ratio,
        verdict=_verdict(slope * unit, error * unit, ratio, worst),
        n_atoms=n_atoms,
        n_rows=len(times),
        mean_time_fs=mean_time,
        mean_energy=mean_energy,
    )


def drift_of(rows: Sequence[Mapping[str, float]], n_atoms: int) -> Drift:
    """The drift of a run so far, from the rows of its Stream taken at one moment.

    >>> drift_of(stream.since(0), len(atoms)).verdict   # doctest: +SKIP

    Raises ValueError when rows lack `conserved_energy`: Langevin dynamics conserve none.
    """
    names = ("time_fs", "conserved_energy", "kinetic_energy")
    try:
        times, energies, kinetic = (
            np.fromiter(map(itemgetter(name), rows), float, len(rows)) for name in names
        )
    except KeyError as missing:
        raise ValueError(
            f"some rows have no {missing}; a drift needs {', '.join(names)} in each: run NVE, Bussi, Nosé-Hoover or NPT"
        ) from None
    return drift(times, energies, n_atoms, kinetic)


def _check_columns(times: np.ndarray, energies: np.ndarray, kinetic: np.ndarray | None, n_atoms: int) -> None:
    if (
        times.ndim != 1
        or times.shape != energies.shape
        or (kinetic is not None and kinetic.shape != times.shape)
    ):
        shapes = [column.shape for column in (times, energies, kinetic) if column is not None]
        raise ValueError(f"the columns have shapes {shapes}; expected one number per row in each")
    if n_atoms < 1:
        raise ValueError(f"n_atoms is {n_atoms}; expected at least 1")
    if not np.isfinite(energies).all():
        raise ValueError(
            "some energies are not finite; fit a column that every row has (Langevin dynamics conserve no energy)"
        )
    if not (np.diff(times) > 0).all():
        raise ValueError("the times do not ascend; fit one run at a time, its rows in order")


def _trend(times: np.ndarray, energies: np.ndarray) -> tuple[float, float, float, float]:
    """Slope and half the width of its 95 % interval [eV/fs]; mean time [fs] and mean energy [eV]."""
    t = block_means(times)
    offset = energies[0]  # keeps the digits of a large total energy
    e = block_means(energies - offset)
    mean_time, mean_energy = t.mean(), e.mean()
    t, e = t - mean_time, e - mean_energy
    slope = (t @ e) / (t @ t)
    residuals = e - slope * t
    squares = residuals @ residuals
    if squares == 0:
        return float(slope), 0.0, float(mean_time), float(offset + mean_energy)
    r, variance = noise(residuals, line=True)
    # `variance` is of a slope per block; blocks are this far apart in time.
    spacing = np.sqrt((t @ t) / (N_BLOCKS * (N_BLOCKS**2 - 1) / 12))
    error = np.sqrt(squares * variance) / spacing
    freedom = max((N_BLOCKS - 2) * (1 - r) / (1 + r), 2.0)
    return (
        float(slope),
        float(error * student.ppf(0.975, freedom)),
        float(mean_time),
        float(offset + mean_energy),
    )


def _verdict(slope: float, error: float, ratio: float | None, worst: float | None) -> str:
    """`slope` and `error` in meV/atom/ns; `worst` is the ratio at the far end of the interval."""
    digits = 0 if error >= 10 else 3
    number = f"{slope:+,.{digits}f} ± {error:,.{digits}f} meV/atom/ns"
    if abs(slope) <= error:
        if worst is not None and not worst < 1:
            return f"too short to tell: {number}, and a drift that matters is still possible"
        return f"no drift: {number} does not differ from zero"
    verb = "gains" if slope > 0 else "loses"
    if ratio is None:
        return f"the run {verb} energy: {number}"
    if ratio < 1:
        return f"small drift: {number}; over this run {ratio:.2g} of the fluctuation of the kinetic energy"
    return (
        f"energy is not conserved: the run {verb} {number}, {ratio:.2g} times the fluctuation of the kinetic "
        "energy. Timestep, precision, a jump at the cutoff, or forces that are not a gradient?"
    )


def rdf(
    frames: ase.Atoms | Iterable[ase.Atoms],
    cutoff: float = 6.0,
    n_bins: int = 120,
    pair: tuple[str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Radial distribution function g(r), averaged over frames; 1 is what an ideal gas of that density has.

    cutoff    Å; may exceed half the cell, images are counted
    pair      e.g. ("O", "H"), or None for all atoms
    returns   r (n_bins,) the middles of the bins [Å], g (n_bins,)

    Raises ValueError for a frame without three periodic directions or an element that is not there.
    """
    edges = np.linspace(0, cutoff, n_bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    total, n_frames = np.zeros(n_bins), 0
    for frame in [frames] if isinstance(frames, ase.Atoms) else frames:
        if not frame.pbc.all():
            raise ValueError(
                f"a density needs three periodic directions; the frame has pbc={frame.pbc.tolist()}"
            )
        search = vesin.NeighborList(cutoff=cutoff, full_list=True)
        i, j, distances = search.compute(
            points=frame.positions, box=frame.cell.array, periodic=True, quantities="ijd"
        )
        first, second = (np.ones(len(frame), bool),) * 2 if pair is None else _two_kinds(frame, pair)
        counts, _ = np.histogram(distances[first[i] & second[j]], bins=edges)
        # Expected around `first` atoms in a gas: all `second` ones, spread evenly.
        total += counts * frame.get_volume() / (first.sum() * second.sum() * shells)
        n_frames += 1
    if n_frames == 0:
        raise ValueError("there are no frames; a radial distribution needs at least one")
    return 0.5 * (edges[1:] + edges[:-1]), total / n_frames


def _two_kinds(frame: ase.Atoms, pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """(n_atoms,) each | whether an atom is of the first element, of the second."""
    for symbol in pair:
        if symbol not in chemical_symbols or symbol not in frame.symbols:
            raise ValueError(f"no atom is {symbol!r}; the frame holds {sorted(set(frame.symbols))}")
    symbols = np.array(frame.get_chemical_symbols())
    return symbols == pair[0], symbols == pair[1]


def separate(
    atoms: ase.Atoms, index: ArrayLike, distances: Iterable[float], axis: ArrayLike | None = None
) -> list[ase.Atoms]:
    """The structure with one fragment moved away rigidly: the geometries of a binding curve.

    index       atoms of the fragment that moves; the others stay
    distances   Å, between the centres of mass of the two fragments, along `axis`
    axis        (3,) direction of the move; None takes the line between the centres
    returns     one copy per distance, without calculators

    Raises ValueError when a fragment is empty or the centres coincide and no axis is given.
    """
    moving = np.zeros(len(atoms), bool)
    moving[np.asarray(index)] = True
    if moving.all() or not moving.any():
        raise ValueError(f"the fragment has {moving.sum()} of {len(atoms)} atoms; expected some but not all")
    masses = atoms.get_masses()
    between = np.average(atoms.positions[moving], axis=0, weights=masses[moving]) - np.average(
        atoms.positions[~moving], axis=0, weights=masses[~moving]
    )
    direction = between if axis is None else np.asarray(axis, dtype=float)
    if np.linalg.norm(direction) < 1e-6:
        raise ValueError("the direction has no length; give an axis, e.g. (0, 0, 1)")
    direction = direction / np.linalg.norm(direction)
    curve = []
    for distance in distances:
        moved = atoms.copy()
        moved.positions[moving] += (distance - between @ direction) * direction
        curve.append(moved)
    return curve
