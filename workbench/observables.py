"""What a trajectory says of the substance: density, heat of vaporisation, displacement, vibrations. Each mean comes
with its 95 % confidence interval, though neighbouring frames are alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot, inf

import ase
import numpy as np
from ase import units
from numpy.typing import ArrayLike
from scipy.stats import t as student

from workbench.blocks import Mean, mean

KJ_PER_MOL = units.mol / units.kJ  # of one eV: 96.485
CM2_PER_S = 0.1  # of one Å^2/fs
N_PIECES = 8  # of a trajectory, for the error of a diffusion coefficient
SPEED_OF_LIGHT = 2.99792458e-5  # cm/fs


def density(frames: Iterable[ase.Atoms]) -> Mean:
    """Mass density [g/cm^3] of the frames of a run at constant pressure, with its error.

    Raises ValueError for fewer than 32 frames or one without a cell.
    """
    values = []
    for frame in frames:
        if frame.cell.rank < 3:
            raise ValueError(
                f"a density needs a cell of three vectors; the frame has {frame.cell.array.tolist()}"
            )
        values.append(frame.get_masses().sum() / frame.get_volume())
    return _scaled(mean(values), 1e24 / units.mol)  # amu/Å^3 in g/cm^3


def heat_of_vaporisation(
    liquid_energy: ArrayLike, n_molecules: int, gas_energy: ArrayLike, temperature_K: float
) -> Mean:
    """Heat of vaporisation, <E_gas> - <E_liquid> / n + k_B T [eV per molecule; times KJ_PER_MOL: kJ/mol].

    liquid_energy   (n_rows,)   potential energies of a box of liquid along a run [eV]
    n_molecules     in the box
    gas_energy      (n_rows,)   potential energies of one molecule along a run at the same temperature; or one number
                                for a molecule at rest, which leaves out its vibrations

    The kinetic energies cancel classically, the gas is ideal, and the volume of the liquid is neglected. Leave out the
    equilibration. The errors of both means are independent.

    Raises ValueError for fewer than 32 rows.
    """
    if n_molecules < 1:
        raise ValueError(f"n_molecules is {n_molecules}; expected at least 1")
    liquid = _scaled(mean(liquid_energy), 1 / n_molecules)
    one = np.asarray(gas_energy, dtype=float)
    gas = Mean(float(one), float(one), float(one), 1) if one.ndim == 0 else mean(one)
    value = gas.value - liquid.value + units.kB * temperature_K
    error = hypot(gas.error, liquid.error)
    return Mean(value, value - error, value + error, liquid.n_rows)


def msd(frames: Sequence[ase.Atoms], index: ArrayLike | None = None) -> np.ndarray:
    """Mean squared displacement after 0, 1, 2 ... frames, over all atoms and all starting frames [Å^2].

    index     the atoms to count, e.g. all oxygens; None counts all
    returns   (n_frames // 2 + 1,); longer lags would rest on too few starts

    Positions must not be wrapped into the cell (`run_md` does not); raises ValueError when they seem to be.
    """
    chosen = slice(None) if index is None else np.asarray(index)
    positions = np.array([frame.positions[chosen] for frame in frames])  # (n_frames, n_atoms, 3)
    if len(positions) < 2:
        raise ValueError(f"there are {len(positions)} frames; a displacement needs at least two")
    heights = [
        h for frame in frames for h, periodic in zip(frame.cell.lengths(), frame.pbc, strict=True) if periodic
    ]
    jump = np.linalg.norm(np.diff(positions, axis=0), axis=2).max()
    if jump > 0.5 * min(heights, default=inf):
        raise ValueError(
            f"an atom moves {jump:.1f} Å between frames, more than half the cell; use positions that are not wrapped"
        )
    lags = range(1, len(positions) // 2 + 1)
    moved = (positions[lag:] - positions[:-lag] for lag in lags)
    return np.array([0.0, *(float((m**2).sum(axis=2).mean()) for m in moved)])


def diffusion(frames: Sequence[ase.Atoms], index: ArrayLike | None = None) -> Mean:
    """Self-diffusion coefficient in three dimensions [Å^2/fs; times CM2_PER_S: cm^2/s].

    frames   equally spaced, with `info["time_fs"]` as `run_md` writes them and positions that are not wrapped
    index    the atoms to count, e.g. all oxygens; None counts all

    The trajectory is cut into 8 pieces; of each, a line is fitted to the mean squared displacement from a tenth to
    half of its length; the interval comes from the spread of the eight (Student's t). A piece must be longer than the
    atoms rattle in place. In a periodic box the coefficient is too small, by k_B T 2.837 / (6 pi viscosity L) (Yeh
    and Hummer, J. Phys. Chem. B 108, 15873 (2004)).

    Raises ValueError for fewer than 160 frames, or as `msd` does.
    """
    spacing = _spacing(frames)
    length = len(frames) // N_PIECES
    if length < 20:
        raise ValueError(f"there are {len(frames)} frames; {N_PIECES} pieces need at least {20 * N_PIECES}")
    slopes = []
    for piece in range(N_PIECES):
        moved = msd(frames[piece * length : (piece + 1) * length], index)
        lags = np.arange(len(moved))
        late = lags >= length / 10
        slopes.append(np.polyfit(lags[late] * spacing, moved[late], 1)[0] / 6)
    value = float(np.mean(slopes))
    error = float(np.std(slopes, ddof=1) / N_PIECES**0.5 * student.ppf(0.975, N_PIECES - 1))
    return Mean(value, value - error, value + error, len(frames))


def vibrational_spectrum(frames: Sequence[ase.Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Vibrational density of states: the power of the mass-weighted velocities.

    frames    equally spaced, with velocities and `info["time_fs"]`; two per period of the fastest vibration at least
    returns   wavenumbers (n,) [1/cm] and density (n,), which integrates to 1

    A window (Hann's) keeps strong lines from leaking; it widens them to about 2 / (length of the run).
    """
    spacing = _spacing(frames)
    velocities = np.array([frame.get_velocities() for frame in frames])
    weighted = velocities * np.sqrt(frames[0].get_masses())[:, None] * np.hanning(len(frames))[:, None, None]
    power = (np.abs(np.fft.rfft(weighted, axis=0)) ** 2).sum(axis=(1, 2))
    wavenumbers = np.fft.rfftfreq(len(frames), spacing) / SPEED_OF_LIGHT
    return wavenumbers, power / (power.sum() * wavenumbers[1])


def _spacing(frames: Sequence[ase.Atoms]) -> float:
    """Time between frames [fs]."""
    if len(frames) < 2 or any("time_fs" not in frame.info for frame in frames):
        raise ValueError('expected two frames at least, each with info["time_fs"], as run_md writes them')
    gaps = np.diff([frame.info["time_fs"] for frame in frames])
    if not (gaps > 0).all() or np.ptp(gaps) > 1e-6 * gaps[0]:
        raise ValueError(
            f"the frames are {gaps.min():g} to {gaps.max():g} fs apart; expected equal steps forward. The last "
            "frame of a stopped run may lie between: leave it out"
        )
    return float(gaps[0])


def _scaled(one: Mean, factor: float) -> Mean:
    return Mean(one.value * factor, one.low * factor, one.high * factor, one.n_rows)
