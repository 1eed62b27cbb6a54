"""The ensembles of `workbench.dynamics`: ASE's integrators, given the degrees of freedom that are really free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import ase
import numpy as np
from ase import units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT, NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet


@dataclass(frozen=True)
class Conditions:
    """The physics of a run; `run_md` explains the fields."""

    ensemble: str = "nve"
    temperature_K: float | None = None
    pressure_bar: float | None = None
    timestep_fs: float = 0.5
    thermostat_time_fs: float = 100.0
    barostat_time_fs: float = 1000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            close = get_close_matches(self.ensemble, ENSEMBLES, n=1)
            hint = f". Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"no ensemble {self.ensemble!r}; expected one of {sorted(ENSEMBLES)}{hint}")
        if (self.ensemble == "npt") != (self.pressure_bar is not None):
            raise ValueError(
                f"pressure_bar is {self.pressure_bar} and the ensemble {self.ensemble!r}; "
                "a pressure goes with ensemble='npt' and with no other"
            )
        for name in ("timestep_fs", "thermostat_time_fs", "barostat_time_fs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.temperature_K is not None and not self.temperature_K >= 0:
            raise ValueError(f"temperature_K is {self.temperature_K}; expected a temperature above 0 K")
        if self.ensemble != "nve" and not self.bath_K > 0:
            raise ValueError(f"a thermostat at {self.bath_K} K stops everything; give a temperature above 0 K")

    @property
    def bath_K(self) -> float:
        """Temperature of the thermostat."""
        if self.temperature_K is None:
            raise ValueError(f"the {self.ensemble} ensemble needs a temperature; give temperature_K, e.g. 300")
        return self.temperature_K

    @property
    def pressure(self) -> float:
        """Of the barostat [eV/Å^3]."""
        if self.pressure_bar is None:
            raise ValueError(f"the {self.ensemble} ensemble has no pressure; give pressure_bar, e.g. 1")
        return self.pressure_bar * units.bar


def degrees_of_freedom(atoms: ase.Atoms, ensemble: str) -> int:
    """How many velocities are free, for the temperature: 2 E_kin / (n k_B).

    The total momentum stays zero in every ensemble here. So does the rotation of a molecule in the open, except
    under Langevin's noise. Constraints of the user replace this count by ASE's.
    """
    if atoms.constraints:
        return atoms.get_number_of_degrees_of_freedom()
    n_rotations = 0
    if not atoms.pbc.any() and ensemble != "langevin":
        inertia = atoms.get_moments_of_inertia()
        n_rotations = int((inertia > 1e-6 * inertia.max()).sum())
    # A lone atom keeps its own motion: otherwise nothing would be left.
    return 3 * len(atoms) - (3 + n_rotations if len(atoms) > 1 else 0)


def draw_velocities(
    atoms: ase.Atoms, temperature_K: float | None, n_free: int, rng: np.random.Generator
) -> None:
    """Give `atoms` Maxwell-Boltzmann velocities, without total momentum and (in the open) rotation, scaled so that
    `n_free` degrees of freedom have exactly `temperature_K`. Constraints of the user are kept instead.

    Raises ValueError without a temperature.
    """
    if temperature_K is None:
        raise ValueError("the atoms carry no velocities; give temperature_K to draw some")
    masses = atoms.get_masses()[:, None]
    velocities = rng.standard_normal((len(atoms), 3)) / np.sqrt(masses)
    if len(atoms) > 1 and not atoms.constraints:
        velocities -= (masses * velocities).sum(axis=0) / masses.sum()
        if not atoms.pbc.any():
            velocities -= _rigid_rotation(atoms.positions - atoms.get_center_of_mass(), velocities, masses)
    atoms.set_momenta(masses * velocities)
    kinetic_energy = atoms.get_kinetic_energy()
    wanted = 0.5 * n_free * units.kB * temperature_K
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(wanted / kinetic_energy))


def _rigid_rotation(positions: np.ndarray, velocities: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """(n_atoms, 3) | the rotation that has the angular momentum of `velocities`."""
    angular_momentum = np.cross(positions, masses * velocities).sum(axis=0)
    r2 = (masses * positions**2).sum()
    inertia = r2 * np.eye(3) - (masses * positions).T @ positions
    # The pseudo-inverse leaves out the axis of a linear molecule, about which nothing turns.
    turn = np.linalg.pinv(inertia, rcond=1e-6, hermitian=True) @ angular_momentum
    return np.cross(turn, positions)


# An ensemble: its integrator, and what turns the total energy into the energy that it conserves (or None).
Ensemble = tuple[Any, Callable[[float], float] | None]


def _nve(atoms: ase.Atoms, conditions: Conditions, n_free: int, rng: np.random.Generator) -> Ensemble:
    return VelocityVerlet(atoms, conditions.timestep_fs * units.fs), lambda total: total


def _langevin(atoms: ase.Atoms, conditions: Conditions, n_free: int, rng: np.random.Generator) -> Ensemble:
    """Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429, 310 (2006), Eq. 23."""
    if len(atoms) > 1 and not atoms.constraints:
        atoms.set_constraint(FixCom())  # exact, where ASE's own fixcm is not
    dynamics = Langevin(
        atoms,
        conditions.timestep_fs * units.fs,
        temperature_K=conditions.bath_K,
        friction=1 / (conditions.thermostat_time_fs * units.fs),
        fixcm=False,
        rng=rng,
    )
    return dynamics, None


def _bussi(atoms: ase.Atoms, conditions: Conditions, n_free: int, rng: np.random.Generator) -> Ensemble:
    """Stochastic velocity rescaling: Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007)."""
    dynamics = Bussi(
        atoms,
        conditions.timestep_fs * units.fs,
        temperature_K=conditions.bath_K,
        taut=conditions.thermostat_time_fs * units.fs,
        rng=rng,
    )
    # ASE counts 3N, which makes a small molecule too hot.
    dynamics.ndof = n_free
    dynamics.target_kinetic_energy = 0.5 * n_free * units.kB * conditions.bath_K
    return dynamics, lambda total: total - dynamics.transferred_energy


def _nose_hoover(atoms: ase.Atoms, conditions: Conditions, n_free: int, rng: np.random.Generator) -> Ensemble:
    """A chain of three: Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992)."""
    dynamics = NoseHooverChainNVT(
        atoms,
        conditions.timestep_fs * units.fs,
        temperature_K=conditions.bath_K,
        tdamp=conditions.thermostat_time_fs * units.fs,
    )
    thermostat = _chain(dynamics, conditions, n_free)
    return dynamics, lambda total: total + thermostat.get_thermostat_energy()


def _npt(atoms: ase.Atoms, conditions: Conditions, n_free: int, rng: np.random.Generator) -> Ensemble:
    """Isotropic: Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994)."""
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(f"npt needs a cell with three periodic directions; pbc is {atoms.pbc.tolist()}")
    if atoms.constraints:
        raise ValueError("npt moves all atoms; remove the constraints")
    dynamics = IsotropicMTKNPT(
        atoms,
        conditions.timestep_fs * units.fs,
        temperature_K=conditions.bath_K,
        pressure_au=conditions.pressure,
        tdamp=conditions.thermostat_time_fs * units.fs,
        pdamp=conditions.barostat_time_fs * units.fs,
    )
    _chain(dynamics, conditions, n_free)
    dynamics._num_atoms_global = n_free / 3
    return dynamics, lambda total: dynamics.get_conserved_energy()


def _chain(dynamics: Any, conditions: Conditions, n_free: int) -> NoseHooverChainThermostat:
    """Replace the thermostat by one for the free degrees of freedom: ASE counts 3N (tests hold the result)."""
    dynamics._thermostat = NoseHooverChainThermostat(
        num_atoms_global=n_free / 3,  # type: ignore[arg-type] # enters as 3 N k_B T only
        masses=dynamics.masses,
        temperature_K=conditions.bath_K,
        tdamp=conditions.thermostat_time_fs * units.fs,
    )
    return dynamics._thermostat


ENSEMBLES: dict[str, Callable[[ase.Atoms, Conditions, int, np.random.Generator], Ensemble]] = {
    "nve": _nve,
    "langevin": _langevin,
    "nose-hoover": _nose_hoover,
    "bussi": _bussi,
    "npt": _npt,
}
