"""The energy of a path, step by step: what forces did along it, what the energy did, and where the two part.

Velocity Verlet keeps an exact account. Over the step from n to n + 1, with D = r[n + 1] - r[n],

    change of E_kin = 1/2 (F[n] + F[n + 1]) . D + h^2/8 (sum |F[n + 1]|^2 / m - sum |F[n]|^2 / m)

so the total energy changes by E[n + 1] - E[n] + (this), and nothing else can make it drift. Where forces are the
gradient of a smooth energy, E[n + 1] - E[n] is minus the integral of F . dr, and what remains is the error of the
trapezium above: the timestep's. A finer rule (Simpson's, with the middle of the step) takes that error away; what it
leaves are energies that jump, or forces that are not the gradient; the latter show in finite differences of the energy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np

from workbench.graphs import collate, graph, neighbours
from workbench.models.contract import Potential
from workbench.predict import properties

ATOMS_TOGETHER = 500  # in one batch of structures along the path
DIFFERENCE = 1e-4  # Å, of the finite difference, along the step in the space of all coordinates
NEGLIGIBLE = 1e-7  # eV, below which no step is looked at
BISECTIONS = 12


class Surface:
    """The potential energy in double precision, of many geometries of one system.

    model   a Potential, of which a double-precision copy is taken; None asks the calculator of the atoms
    """

    def __init__(self, atoms: ase.Atoms, model: Potential | None) -> None:
        self._atoms = atoms.copy()
        self._atoms.info = {name: atoms.info[name] for name in ("charge", "spin") if name in atoms.info}
        self._atoms.set_constraint()
        self._calculator = atoms.calc
        self._model = (
            None if model is None else copy.deepcopy(model).double().cpu().eval().requires_grad_(False)
        )

    def energies(self, positions: np.ndarray) -> np.ndarray:
        """(n,) of (n, n_atoms, 3) [eV]."""
        return self._look(positions, forces=False)[0]

    def energies_and_forces(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) [eV] and (n, n_atoms, 3) [eV/Å]."""
        return self._look(positions, forces=True)

    def _look(self, positions: np.ndarray, forces: bool) -> tuple[np.ndarray, np.ndarray]:
        frames = [self._frame(one) for one in positions]
        if self._model is None:
            return self._ask(frames, forces)
        energies, found = [], []
        n_together = max(1, ATOMS_TOGETHER // len(self._atoms))
        for start in range(0, len(frames), n_together):
            batch = collate([graph(f, self._model.cutoff) for f in frames[start : start + n_together]])
            result = properties(self._model, batch, forces=forces)
            energies.append(result.energy.detach().numpy())
            if forces:
                assert result.forces is not None
                found.append(result.forces.detach().numpy().reshape(-1, len(self._atoms), 3))
        return np.concatenate(energies), np.concatenate(found) if forces else np.zeros(0)

    def _ask(self, frames: list[ase.Atoms], forces: bool) -> tuple[np.ndarray, np.ndarray]:
        energies, found = [], []
        for frame in frames:
            frame.calc = self._calculator
            energies.append(float(frame.get_potential_energy()))
            if forces:
                found.append(frame.get_forces())
        return np.array(energies), np.array(found)

    def _frame(self, positions: np.ndarray) -> ase.Atoms:
        frame = self._atoms.copy()
        frame.arrays["positions"] = np.array(positions)
        return frame


@dataclass(frozen=True)
class Break:
    """A place on the path where the energy jumps or its slope does."""

    step: float  # steps from the start of the path
    energy: float  # height of the jump, zero for a kink [eV]
    force: float  # change of the force along the path [eV/Å]
    pair: tuple[int, int] | None  # the two atoms that are a cutoff apart there
    distance: float | None  # of the pair that is nearest to the cutoff [Å]


@dataclass(frozen=True)
class Account:
    """What each cause has added to the total energy since the start, (n_steps + 1,) each [eV]; they sum to its change.

    timestep    error of the integrator on a smooth surface
    precision   what the model's own precision differs by from double precision
    surface     steps on which the energy or its slope jumps
    forces      work of forces that are not the gradient
    forces_error   rms of the power that is not the gradient's over the rms of the power
    """

    timestep: np.ndarray
    precision: np.ndarray
    surface: np.ndarray
    forces: np.ndarray
    forces_error: float
    breaks: tuple[Break, ...]


def account(
    surface: Surface,
    positions: np.ndarray,
    total_energy: np.ndarray,
    masses: np.ndarray,
    timestep: float,
    cutoff: float | None,
    advance: Callable[[int], bool],
) -> Account | None:
    """Where the energy of a path of velocity Verlet came from.

    positions      (n_steps + 1, n_atoms, 3)   Å
    total_energy   (n_steps + 1,)              eV, as the run had it
    masses         (n_atoms,)                  amu
    timestep       in ASE's unit of time
    advance        called with the number of steps looked at; True ends it, and None is returned
    """
    looked = _look_along(surface, positions, advance)
    if looked is None:
        return None
    energies, forces, middles, slopes = looked
    steps = np.diff(positions, axis=0)
    lengths = np.sqrt((steps**2).sum(axis=(1, 2)))
    moves = (steps != 0).any(axis=(0, 2))  # atoms that are held keep their forces out of the account
    squares = (forces[:, moves] ** 2 / masses[moves, None]).sum(axis=(1, 2))

    def work(force: np.ndarray) -> np.ndarray:
        return np.einsum("nia,nia->n", force, steps)

    at_ends = (work(forces[:-1]) + work(forces[1:])) / 2
    simpson = (at_ends + 2 * work(middles)) / 3
    rises = np.diff(energies)
    trapezium_error = at_ends - simpson
    not_gradient = _false_work(work(middles) + slopes * lengths, work(middles))
    rough = rises + simpson - not_gradient
    # On a smooth surface Simpson's rule is better than the trapezium by far more than ten times.
    scale = np.maximum(np.abs(trapezium_error), np.median(np.abs(trapezium_error)))
    broken = np.abs(rough) > np.maximum(0.1 * scale, np.maximum(0.3 * np.abs(not_gradient), NEGLIGIBLE))
    # On a broken step the trapezium errs by the break and by what it errs on the steps beside it.
    n = np.arange(len(steps))
    smooth = np.interp(n, n[~broken], trapezium_error[~broken]) if not broken.all() else np.zeros(len(steps))
    in_state = timestep**2 / 8 * np.diff(squares)  # the second term above
    return Account(
        timestep=_summed(smooth + in_state),
        precision=_summed(np.diff(total_energy) - (rises + at_ends + in_state)),
        surface=_summed(rough + trapezium_error - smooth),
        forces=_summed(not_gradient),
        forces_error=_relative(not_gradient, work(middles)),
        breaks=_breaks(surface, positions, np.where(broken, rough, 0.0), cutoff),
    )


def _false_work(differences: np.ndarray, work: np.ndarray) -> np.ndarray:
    """The differences (n,) between the work of forces and of the gradient, where they are of the forces: those are
    seen on most steps; on few, a finite difference reached across a break."""
    false = np.abs(differences) > 1e-3 * np.sqrt(np.mean(work**2))
    return differences if false.mean() > 0.2 else np.where(false, 0.0, differences)


def _relative(part: np.ndarray, whole: np.ndarray) -> float:
    return float(np.linalg.norm(part) / (np.linalg.norm(whole) or 1.0))


def _summed(steps: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(steps)])


def _look_along(surface: Surface, positions: np.ndarray, advance: Callable[[int], bool]) -> Any:
    """Energies and forces at every point (n + 1), forces in the middle of every step (n), and there the slope of the
    energy along the step [eV/Å] by finite differences."""
    steps = np.diff(positions, axis=0)
    middle = positions[:-1] + steps / 2
    lengths = np.sqrt((steps**2).sum(axis=(1, 2)))
    along = DIFFERENCE * steps / np.where(lengths > 0, lengths, 1.0)[:, None, None]
    n_together = max(1, ATOMS_TOGETHER // positions.shape[1])
    energies, forces, middles, slopes = [], [], [], []
    for start in range(0, len(positions), n_together):
        part = slice(start, start + n_together)
        energy, force = surface.energies_and_forces(positions[part])
        energies.append(energy)
        forces.append(force)
        if start < len(steps):
            middles.append(surface.energies_and_forces(middle[part])[1])
            rise = surface.energies(middle[part] + along[part]) - surface.energies(middle[part] - along[part])
            slopes.append(rise / (2 * DIFFERENCE))
        if advance(min(start + n_together, len(steps))):
            return None
    return tuple(np.concatenate(found) for found in (energies, forces, middles, slopes))


def _breaks(
    surface: Surface, positions: np.ndarray, rough: np.ndarray, cutoff: float | None
) -> tuple[Break, ...]:
    """The roughest steps (five at most), each searched by halving for the place where it breaks."""
    worst = np.argsort(-np.abs(rough))[:5]
    found = [_search(surface, positions, int(n), float(rough[n]), cutoff) for n in worst if rough[n]]
    return tuple(sorted((b for b in found if b is not None), key=lambda b: b.step))


def _search(
    surface: Surface, positions: np.ndarray, n: int, rough: float, cutoff: float | None
) -> Break | None:
    """Halve the step again and again, going on where energy and work differ most."""
    step = positions[n + 1] - positions[n]
    places = np.array([0.0, 1.0])
    energies, forces = surface.energies_and_forces(positions[n] + places[:, None, None] * step)
    work = np.einsum("nia,ia->n", forces, step)
    for _ in range(BISECTIONS):
        middle = places.mean()
        energy, force = surface.energies_and_forces((positions[n] + middle * step)[None])
        places = np.insert(places, 1, middle)
        energies, work = np.insert(energies, 1, energy), np.insert(work, 1, np.einsum("nia,ia->n", force, step))
        left = np.abs(np.diff(energies) + np.diff(places) * (work[1:] + work[:-1]) / 2)
        here = slice(0, 2) if left[0] > left[1] else slice(1, 3)
        places, energies, work = places[here], energies[here], work[here]
    jump = float(np.diff(energies)[0] + np.diff(places)[0] * work.mean())
    length = float(np.sqrt((step**2).sum()))
    turn = float(np.diff(work)[0]) / length
    # A smooth force does not change in a four-thousandth of a step.
    jumps = abs(jump) > 0.3 * abs(rough)
    if not jumps and abs(turn) * length < 0.5 * abs(rough):
        return None
    pair, distance = _pair_at(surface, positions[n] + places.mean() * step, cutoff)
    near = 2 * np.ptp(places) * float(np.sqrt((step**2).sum(axis=1)).max()) + 1e-6
    at_cutoff = pair if cutoff is not None and distance is not None and abs(distance - cutoff) < near else None
    return Break(n + float(places.mean()), jump if jumps else 0.0, turn, at_cutoff, distance)


def _pair_at(
    surface: Surface, positions: np.ndarray, cutoff: float | None
) -> tuple[tuple[int, int] | None, float | None]:
    """The pair whose distance is nearest to the cutoff, and the distance [Å]."""
    if cutoff is None:
        return None, None
    atoms = surface._atoms
    i, j, shifts = neighbours(positions, atoms.cell.array, atoms.pbc, cutoff + 0.05)
    distances = np.linalg.norm(positions[j] - positions[i] + shifts @ atoms.cell.array, axis=1)
    if len(distances) == 0:
        return None, None
    nearest = int(np.abs(distances - cutoff).argmin())
    return (int(i[nearest]), int(j[nearest])), float(distances[nearest])
