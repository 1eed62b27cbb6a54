"""Molecular dynamics: ASE's integrators, watched. Rows go to a Stream, frames to a file, as they are made."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.io.trajectory import Trajectory

from workbench.calculator import Calculator
from workbench.ensembles import ENSEMBLES, Conditions, degrees_of_freedom, draw_velocities
from workbench.graphs import neighbours
from workbench.jobs import Control
from workbench.models.contract import Potential
from workbench.signals import signals_stop
from workbench.stream import Stream
from workbench.threads import threads_for


@dataclass(frozen=True)
class Bounds:
    """Where a run is called exploded: far beyond what atoms do, so raise one when your physics is that violent."""

    step: float = 0.5  # how far an atom may move in one timestep [Å]
    temperature_K: float = 10_000.0
    bond_stretch: float = 2.5  # an atom may not be this many bond lengths away from every other atom
    volume_factor: float = 4.0  # the volume may shrink or grow by this factor (NPT)


@dataclass(frozen=True)
class Run:
    """What `run_md` returns.

    atoms        after the last complete step, with velocities and calculator: run_md(run.atoms, ...) continues
    stream       the rows of every step
    state        "finished", "stopped" or "exploded"
    reason       the same in words
    n_steps      complete steps
    trajectory   the file of the frames, or None
    """

    atoms: ase.Atoms
    stream: Stream
    state: str
    reason: str
    n_steps: int
    trajectory: Path | None


def run_md(
    atoms: ase.Atoms,
    model: Potential | None = None,
    *,
    ensemble: str = "nve",
    temperature_K: float | None = None,
    pressure_bar: float | None = None,
    timestep_fs: float = 0.5,
    n_steps: int | None = None,
    time_ps: float | None = None,
    thermostat_time_fs: float = 100.0,
    barostat_time_fs: float = 1000.0,
    seed: int = 0,
    trajectory: str | Path | None = None,
    interval: int = 10,
    watch: Callable[[ase.Atoms], None] | None = None,
    stream: Stream | None = None,
    control: Control | None = None,
    bounds: Bounds | None = None,
) -> Run:
    """Molecular dynamics of a copy of `atoms`, which stay as they are.

    model               a Potential; None uses the calculator that `atoms` carry
    ensemble            "nve", "langevin", "nose-hoover", "bussi" (constant volume), "npt" (isotropic, by MTK)
    temperature_K       of the thermostat and of the initial velocities. In NVE only the latter: from a relaxed
                        structure about half of it turns into potential energy
    pressure_bar        of the barostat, for "npt"
    timestep_fs         0.5 suits hydrogen; at most a tenth of the fastest vibration's period
    n_steps, time_ps    the length: one of them
    thermostat_time_fs  the time in which the thermostat acts; Langevin's friction is one over it
    barostat_time_fs    the same for the barostat
    seed                of the velocities and the thermostat's noise
    trajectory          a file, replaced if it exists: .traj (exact) or .xyz, .extxyz (text). Complete after every
                        frame, so that it can be read while the run goes on or after it was killed
    interval            steps between frames; the last complete step always becomes a frame
    watch               called with every frame: an Atoms of its own that carries energy and forces
    stream              gets a row per step: step, time_fs, potential_energy, kinetic_energy, total_energy,
                        temperature_K, steps_per_s, seconds_left; conserved_energy where the ensemble has one (its
                        drift is what `workbench.analysis.drift_of` judges); pressure_bar and volume in NPT
    control             pause() and stop() from elsewhere; Ctrl-C and SIGTERM also stop
    bounds              beyond which the run is called exploded; None takes the defaults of Bounds

    Velocities are kept when `atoms` carry some; else they are drawn at exactly `temperature_K`, without total momentum
    and, for an open molecule, without rotation. The temperature counts the motion that is free: 3N - 3 or 3N - 6.

    A run that explodes ends with state "exploded" and the reason; its last finite step is kept. Raises ValueError for
    settings that make no sense and whatever the calculator raises; the trajectory is complete up to there.

    >>> run = run_md(atoms, model, ensemble="langevin", temperature_K=300, time_ps=1)   # doctest: +SKIP
    """
    conditions = Conditions(
        ensemble, temperature_K, pressure_bar, timestep_fs, thermostat_time_fs, barostat_time_fs, seed
    )
    length = _length(n_steps, time_ps, timestep_fs)
    if interval < 1:
        raise ValueError(f"interval is {interval}; expected at least 1 step between frames")
    system = _System(atoms, model, conditions)
    guard = _Guard(system.atoms, system.dynamics.dt, bounds or Bounds())
    rows = Stream() if stream is None else stream
    switches = Control() if control is None else control
    seconds, speed = 0.0, {}
    frames = _Frames(system, trajectory, interval, watch)
    state, reason = "finished", f"finished {length} steps"
    try:
        with signals_stop(switches), threads_for(len(atoms)):
            for step in range(length + 1):
                if step:
                    if switches.wait_and_see_stop():
                        state, reason = "stopped", f"stopped after {step - 1} of {length} steps"
                        break
                    started = time.perf_counter()
                    system.advance()
                    seconds += time.perf_counter() - started
                    speed = {"steps_per_s": step / seconds, "seconds_left": (length - step) * seconds / step}
                moment = system.measure(step)
                rows.emit(**system.row(moment), **speed)
                frames.take(moment)
                guard.check(moment)
    except _Explosion as explosion:
        state, reason = "exploded", f"exploded at step {step} ({step * timestep_fs:g} fs): {explosion}"
    except KeyboardInterrupt:
        state, reason = "stopped", f"interrupted at step {step} of {length}"
    finally:
        system.rest()
        frames.finish(system.last)
    return Run(system.atoms, rows, state, reason, system.last.step if system.last else 0, frames.path)


def _length(n_steps: int | None, time_ps: float | None, timestep_fs: float) -> int:
    if (n_steps is None) == (time_ps is None):
        raise ValueError("give the length of the run as n_steps or as time_ps, one of them")
    length = n_steps if n_steps is not None else round(1000 * time_ps / timestep_fs)  # type: ignore[operator]
    if length >= 0:
        return length
    raise ValueError(f"the run would have {length} steps; expected 0 or more")


class _Explosion(Exception):
    """The reason, in words."""


@dataclass(frozen=True)
class _Moment:
    """The state after a complete step, all of it finite."""

    step: int
    positions: np.ndarray  # (n_atoms, 3) [Å]
    momenta: np.ndarray  # (n_atoms, 3) | in ASE's units
    cell: np.ndarray  # (3, 3) [Å]
    energy: float  # [eV]
    forces: np.ndarray  # (n_atoms, 3) [eV/Å]
    kinetic_energy: float  # [eV]
    temperature_K: float


class _System:
    """The atoms that move, their calculator and their integrator; `last` is the last complete step."""

    def __init__(self, atoms: ase.Atoms, model: Potential | None, conditions: Conditions) -> None:
        self.conditions = conditions
        self.constraints = atoms.constraints
        self.atoms = _moving(atoms)
        self.atoms.calc = _calculator(atoms, model)
        rng = np.random.default_rng(conditions.seed)
        self.n_free = degrees_of_freedom(self.atoms, conditions.ensemble)
        if not (atoms.has("momenta") and atoms.get_momenta().any()):
            draw_velocities(self.atoms, conditions.temperature_K, self.n_free, rng)
        self.dynamics, self.conserved = ENSEMBLES[conditions.ensemble](self.atoms, conditions, self.n_free, rng)
        self.last: _Moment | None = None

    def advance(self) -> None:
        try:
            with np.errstate(all="ignore"):  # an overflow is found and named just below
                self.dynamics.step()
        except Exception:
            if np.isfinite(self.atoms.positions).all():
                raise
        if not (np.isfinite(self.atoms.positions).all() and np.isfinite(self.atoms.get_momenta()).all()):
            raise _Explosion("positions or velocities are no longer finite")

    def measure(self, step: int) -> _Moment:
        atoms = self.atoms
        forces, energy = atoms.get_forces(), float(atoms.get_potential_energy())
        broken = np.flatnonzero(~np.isfinite(forces).all(axis=1))
        if len(broken) or not np.isfinite(energy):
            raise _Explosion(f"the energy is {energy} eV and the forces on {len(broken)} atoms are not finite")
        momenta = atoms.get_momenta()
        kinetic = 0.5 * float((momenta**2 / atoms.get_masses()[:, None]).sum())
        self.last = _Moment(
            step=step,
            positions=atoms.get_positions(),
            momenta=momenta,
            cell=atoms.cell.array.copy(),
            energy=energy,
            forces=forces,
            kinetic_energy=kinetic,
            temperature_K=2 * kinetic / (self.n_free * units.kB),
        )
        return self.last

    def row(self, moment: _Moment) -> dict[str, float]:
        """What the Stream gets."""
        total = moment.energy + moment.kinetic_energy
        row = {
            "step": moment.step,
            "time_fs": moment.step * self.conditions.timestep_fs,
            "potential_energy": moment.energy,
            "kinetic_energy": moment.kinetic_energy,
            "total_energy": total,
            "temperature_K": moment.temperature_K,
        }
        conserved = nan if self.conserved is None else self.conserved(total)
        if isfinite(conserved):
            row["conserved_energy"] = conserved
        if self.conditions.ensemble == "npt":
            stress = self.atoms.get_stress(include_ideal_gas=True)
            row["pressure_bar"] = -float(stress[:3].mean()) / units.bar
            row["volume"] = self.atoms.get_volume()
        return row

    def frame(self, moment: _Moment) -> ase.Atoms:
        """Atoms of their own with what was computed for them."""
        frame = self.atoms.copy()
        frame.set_constraint(self.constraints)
        frame.set_cell(moment.cell)
        frame.arrays["positions"] = moment.positions.copy()
        frame.arrays["momenta"] = moment.momenta.copy()
        frame.info.update(step=moment.step, time_fs=moment.step * self.conditions.timestep_fs)
        frame.calc = SinglePointCalculator(frame, energy=moment.energy, forces=moment.forces)
        return frame

    def rest(self) -> None:
        """Put the atoms back to the last complete step, without what the integrator tied to them."""
        self.atoms.set_constraint(self.constraints)
        if self.last is not None:
            self.atoms.set_cell(self.last.cell)
            self.atoms.arrays["positions"] = self.last.positions.copy()
            self.atoms.arrays["momenta"] = self.last.momenta.copy()


def _moving(atoms: ase.Atoms) -> ase.Atoms:
    """A copy without what is true of the first frame only: labels and other per-atom or per-frame columns."""
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms; dynamics need at least one")
    moving = atoms.copy()
    lasting = {"numbers", "positions", "momenta", "masses", "tags", "initial_charges", "initial_magmoms"}
    for name in set(moving.arrays) - lasting:
        del moving.arrays[name]
    moving.info = {name: atoms.info[name] for name in ("charge", "spin") if name in atoms.info}
    return moving


def _calculator(atoms: ase.Atoms, model: Potential | None) -> Any:
    if model is not None:
        return Calculator(model)
    if atoms.calc is None:
        raise ValueError("there is nothing to compute forces with; give a model, or atoms with a calculator")
    if isinstance(atoms.calc, SinglePointCalculator):
        raise ValueError("the atoms carry labels of one geometry, which give no forces elsewhere; give a model")
    return atoms.calc


class _Guard:
    """Looks at every step and raises _Explosion, in words, when the next one would make no sense."""

    def __init__(self, atoms: ase.Atoms, timestep: float, bounds: Bounds) -> None:
        self.bounds = bounds
        self.timestep = timestep  # in ASE's unit of time
        self.symbols, self.pbc, self.masses = list(atoms.symbols), atoms.pbc.copy(), atoms.get_masses()[:, None]
        self.volume = atoms.get_volume() if atoms.pbc.all() else None
        self.bonds = _bonds(atoms)

    def check(self, moment: _Moment) -> None:
        # Before the step, not after it: the neighbour search of a scattered system may exhaust the memory.
        moves = self.timestep * (moment.momenta + 0.5 * self.timestep * moment.forces) / self.masses
        lengths = np.sqrt((moves**2).sum(axis=1))
        worst = int(lengths.argmax())
        if lengths[worst] > self.bounds.step:
            raise _Explosion(
                f"the next step would move {self._name(worst)} by {lengths[worst]:.2g} Å, more than "
                f"{self.bounds.step:g} Å; the force on it is {np.linalg.norm(moment.forces[worst]):.3g} eV/Å. "
                "Is the timestep too long, or the structure unlike anything the model was trained on?"
            )
        if moment.temperature_K > self.bounds.temperature_K:
            raise _Explosion(
                f"the temperature is {moment.temperature_K:.0f} K, more than {self.bounds.temperature_K:.0f} K. "
                "Is the structure relaxed, and like those the model was trained on?"
            )
        if self.volume is not None:
            ratio = abs(float(np.linalg.det(moment.cell))) / self.volume
            if not 1 / self.bounds.volume_factor < ratio < self.bounds.volume_factor:
                raise _Explosion(
                    f"the volume is {ratio:.2g} times that at the start. Is the pressure meant, and the barostat "
                    "time long against the timestep?"
                )
        self._check_bonds(moment)

    def _check_bonds(self, moment: _Moment) -> None:
        i, j, shifts, lengths = self.bonds
        vectors = moment.positions[j] - moment.positions[i] + shifts @ moment.cell
        torn = np.flatnonzero((vectors**2).sum(axis=1) > (self.bounds.bond_stretch * lengths) ** 2)
        if len(torn) == 0:
            return
        # An atom that found another partner has reacted or diffused; one without any has been thrown out.
        reach = self.bounds.bond_stretch * float(lengths[torn].max())
        receivers, _, _ = neighbours(moment.positions, moment.cell, self.pbc, reach)
        for bond in torn:
            for atom in (int(i[bond]), int(j[bond])):
                if atom not in receivers:
                    raise _Explosion(
                        f"{self._name(atom)} has left the rest: its bond of {lengths[bond]:.2f} Å is torn and no "
                        f"other atom is within {reach:.1f} Å. Chemistry? Then raise Bounds.bond_stretch"
                    )
        kept = np.setdiff1d(np.arange(len(i)), torn)
        self.bonds = (i[kept], j[kept], shifts[kept], lengths[kept])

    def _name(self, atom: int) -> str:
        return f"atom {atom} ({self.symbols[atom]})"


def _bonds(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bonds at the start, each once: atoms i and j, shifts, lengths [Å]; within 1.25 covalent radii."""
    radii = 1.25 * covalent_radii[atoms.numbers]
    i, j, shifts = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, 2 * float(radii.max()))
    lengths = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array, axis=1)
    bonded = (i < j) & (lengths < radii[i] + radii[j])
    return i[bonded], j[bonded], shifts[bonded], lengths[bonded]


class _Frames:
    """Every `interval`-th step, and the last, to a file and to whoever watches."""

    def __init__(
        self,
        system: _System,
        path: str | Path | None,
        interval: int,
        watch: Callable[[ase.Atoms], None] | None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self._system, self._interval, self._watch = system, interval, watch
        self._write, self._close = _writer(self.path)
        self._last = -1

    def take(self, moment: _Moment) -> None:
        if moment.step % self._interval == 0:
            self._deliver(moment)

    def finish(self, last: _Moment | None) -> None:
        if last is not None and last.step != self._last:
            self._deliver(last)
        self._close()

    def _deliver(self, moment: _Moment) -> None:
        self._last = moment.step
        frame = self._system.frame(moment)
        self._write(frame)
        if self._watch is not None:
            self._watch(frame)


def _writer(path: Path | None) -> tuple[Callable[[ase.Atoms], None], Callable[[], None]]:
    """What writes a frame to `path` so that it is there at once, and what closes the file."""
    if path is None:
        return (lambda frame: None), (lambda: None)
    if path.suffix not in (".traj", ".xyz", ".extxyz"):
        raise ValueError(f"{path.name} is no trajectory; expected a name in .traj, .xyz or .extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".traj":
        binary = Trajectory(path, "w")  # writes the number of frames after each of them
        return binary.write, binary.close
    text = path.open("w")

    def write(frame: ase.Atoms) -> None:
        page = io.StringIO()
        ase.io.write(page, frame, format="extxyz")
        text.write(page.getvalue())  # in one piece, so that a reader or a kill finds whole frames
        text.flush()

    return write, text.close
