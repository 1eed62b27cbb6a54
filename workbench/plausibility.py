"""Plausibility: numbers that are well formed and yet look wrong by physics: another unit or sign, frames too alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import ase
import numpy as np
import vesin
from ase import units
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import complete_cell

_THINNEST = 0.1  # a periodic cell thinner than this holds no atom [Å]
_FARTHEST = 1e5  # [Å]
_DENSEST = 2.0  # atoms for each Å^3, far more than matter has; distances between as many would fill the memory
_ROOM = 2.0  # what atoms take up beyond their centres, along a direction that is not periodic [Å]
# severity, what, frames, fix
Complaint = tuple[Literal["error", "warning"], str, tuple[int, ...], str]
Labelled = list[dict[str, np.ndarray]]

_FACTORS = {  # how far off numbers are when they are in another unit
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "Ha": units.Ha,
}


def where(holds: Callable[[int], Any], n_frames: int) -> tuple[int, ...]:
    return tuple(i for i in range(n_frames) if holds(i))


def spans(atoms: ase.Atoms) -> bool:
    """Whether the periodic cell vectors span a length, an area or a volume, as many of them as there are."""
    periodic = atoms.cell.array[atoms.pbc]
    return not len(periodic) or bool(np.linalg.svd(periodic, compute_uv=False)[-1] > _THINNEST)


def far(atoms: ase.Atoms) -> bool:
    """Whether positions or cell reach beyond any structure; searching pairs there can end the whole process."""
    return bool(max(np.abs(atoms.positions).max(initial=0.0), np.abs(atoms.cell.array).max()) > _FARTHEST)


def crowded(atoms: ase.Atoms) -> bool:
    """Whether far more atoms are in the cell, or in the box they fill, than can be."""
    return whole(atoms) and len(atoms) > _DENSEST * _room(atoms)


def _room(atoms: ase.Atoms) -> float:
    """Volume of the cell, where it is periodic, times what the atoms fill of the other directions [Å^3]."""
    cell = complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    extent = np.ptp(atoms.positions @ np.linalg.inv(cell), axis=0)
    along = np.linalg.norm(cell, axis=1)
    return float(abs(np.linalg.det(cell)) * np.where(atoms.pbc, 1.0, extent + _ROOM / along).prod())


def whole(atoms: ase.Atoms) -> bool:
    """Whether these are atoms with places and, where it is periodic, a cell."""
    return bool(
        len(atoms)
        and np.isfinite(atoms.positions).all()
        and np.isfinite(atoms.cell.array).all()
        and not far(atoms)
        and spans(atoms)
        and atoms.numbers.min() >= 1
        and atoms.numbers.max() < len(covalent_radii)
    )


def sound(atoms: ase.Atoms) -> bool:
    """Whether distances between these atoms can be computed."""
    return whole(atoms) and not crowded(atoms)


def close_pairs(atoms: ase.Atoms, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs closer than `reach` times the sum of their covalent radii, periodic images included, each once.

    returns   i (n_pairs,), j (n_pairs,), distances as shares of the radii's sum (n_pairs,)
    """
    radii = covalent_radii[atoms.numbers]
    cell = complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    # A shorter search would make more empty boxes than there are pairs.
    search = vesin.NeighborList(cutoff=max(2 * reach * radii.max(), 3.0), full_list=False)
    i, j, distances = search.compute(
        points=atoms.positions, box=cell, periodic=atoms.pbc, quantities="ijd", copy=True
    )
    share = distances / (radii[i] + radii[j])
    near = share < reach
    return i[near], j[near], share[near]


def _pairs_in_time(frames: Sequence[ase.Atoms], step: int) -> list[tuple[int, int, np.ndarray]]:
    """(i, i + step, displacement (n_atoms, 3) in Å) of the same atoms in the same cell."""
    found = []
    for first, (before, after) in enumerate(zip(frames, frames[step:], strict=False)):
        same = len(before) == len(after) and (before.numbers == after.numbers).all()
        if not same or (before.cell.array != after.cell.array).any() or not (sound(before) and sound(after)):
            continue
        moved = after.positions - before.positions
        if before.pbc.any():
            # Frames may be wrapped into the cell between the two: take the nearest image.
            cell = complete_cell(before.cell.array)
            moved -= np.where(before.pbc, np.round(moved @ np.linalg.inv(cell)), 0.0) @ cell
        found.append((first, first + step, moved))
    return found


def _median_rms(pairs: list[tuple[int, int, np.ndarray]]) -> float:
    return float(np.median([np.sqrt((moved**2).sum(axis=1).mean()) for _, _, moved in pairs]))


def trajectories(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    if len({atoms.info.get("split") for atoms in frames}) > 1:  # whoever made the set has split it
        return
    steps = _pairs_in_time(frames, 1)
    apart = _pairs_in_time(frames, max(2, len(frames) // 2))
    if len(steps) > 10 and len(apart) > 5 and 0 < _median_rms(steps) < 0.3 * _median_rms(apart):
        what = (
            "consecutive frames are nearly the same: a trajectory, whose random split would test on what it saw"
        )
        fix = "Split by blocks of frames: split(frames, group=[i // 50 for i in range(len(frames))])"
        yield "warning", what, tuple(i for i, _, _ in steps), fix
    yield from _work(steps, data)


def _work(steps: list[tuple[int, int, np.ndarray]], data: Labelled) -> Iterator[Complaint]:
    """Compare energy differences of consecutive frames with the work of the forces, -F·dx by the trapezoid."""
    usable = [
        (i, -0.5 * np.vdot(data[i]["forces"] + data[j]["forces"], moved), data[j]["energy"] - data[i]["energy"])
        for i, j, moved in steps
        if all({"energy", "forces"} <= data[k].keys() for k in (i, j)) and 0 < np.abs(moved).max() < 0.3
    ]
    if len(usable) < 10:
        return
    work = np.array([float(w) for _, w, _ in usable])
    change = np.array([float(c) for _, _, c in usable])
    if not (np.isfinite(work).all() and np.isfinite(change).all()):
        return
    norms = np.linalg.norm(work) * np.linalg.norm(change)
    if norms == 0 or abs(work @ change) < 0.9 * norms:
        return
    slope = float(work @ change / (work @ work))
    if 0.7 < slope < 1.4:
        return
    what = f"energy differences are {slope:.3g} times the work of the forces along consecutive frames"
    explained = [f"energies look like {u}" for u, f in _FACTORS.items() if abs(slope * f - 1) < 0.15]
    explained += [f"forces look like {u}/Å" for u, f in _FACTORS.items() if abs(slope / f - 1) < 0.15]
    if abs(slope + 1) < 0.3:
        explained.append("the forces look like gradients, of opposite sign")
    if abs(slope * units.Bohr - 1) < 0.15:
        explained.append("forces look like eV/Bohr")
    if abs(slope * units.Bohr / units.Ha - 1) < 0.15:
        explained.append("forces look like Ha/Bohr")
    fix = "Give the units when reading, such as read(path, units='kcal/mol, Å'); forces are -dE/dr in eV/Å"
    yield "error", "; ".join([what, *explained]), tuple(i for i, _, _ in usable), fix


def lengths(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    noble = {atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")}
    bonded = [i for i, atoms in enumerate(frames) if sound(atoms) and not set(atoms.numbers) <= noble]
    nearest = []
    for index in bonded[:: max(1, len(bonded) // 20)]:
        i, j, share = close_pairs(frames[index], 2.3)
        best = np.full(len(frames[index]), np.inf)
        np.minimum.at(best, i, share)
        np.minimum.at(best, j, share)
        nearest.append(best)
    if nearest and 1.6 < np.median(np.concatenate(nearest)) < 2.3:
        what = "neighbouring atoms are about 1.9 bond lengths apart: positions look like Bohr"
        yield "warning", what, tuple(bonded), "If so, read(path, units='eV, Bohr'), with the energy's own unit"


def energies(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    """All-electron energies are known to a few per cent, so that their unit shows; others stay unjudged.

    Thomas-Fermi energy of an atom with Scott's and Schwinger's corrections: Englert & Schwinger, Phys. Rev. A 32,
    26 (1985): E = -0.768745 Z^(7/3) + Z^2 / 2 - 0.269900 Z^(5/3) Ha.
    """
    have = where(lambda i: "energy" in data[i] and sound(frames[i]), len(frames))
    if not have:
        return
    z = np.arange(len(covalent_radii))
    atom = (-0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)) * units.Ha
    ratios = np.array([data[i]["energy"] / atom[frames[i].numbers].sum() for i in have])
    for unit, factor in _FACTORS.items():
        if (
            np.isfinite(ratios).all()
            and (np.abs(np.percentile(ratios, [10, 50, 90]) * factor - 1) < 0.04).all()
        ):
            what = f"energies look like {unit} (all electrons have {factor:.3g} times as much in eV)"
            yield "warning", what, have, f"If so, read(path, units='{unit}, Å'), with the length's own unit"


def force_sizes(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    have = where(lambda i: "forces" in data[i] and data[i]["forces"].size, len(frames))
    rms = np.sqrt(np.mean(np.concatenate([data[i]["forces"].ravel() for i in have]) ** 2)) if have else 0.0
    if rms > 10:
        what = f"forces are {rms:.3g} eV/Å in the mean square, ten times what hot molecules feel: look like kcal/mol/Å"
        yield "warning", what, have, "If so, read(path, units='kcal/mol, Å')"
