"""Small structures on which models and sums are tested."""

from __future__ import annotations

import ase
import numpy as np
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def ethanol() -> ase.Atoms:
    """A molecule, off its symmetric geometry."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def salt() -> ase.Atoms:
    """Eight atoms of NaCl in a cell smaller than the cutoff, strained and skewed."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) + np.array([[0.03, 0.05, 0], [0, -0.02, 0.08], [0.02, 0, 0.01]])), True
    )
    atoms.rattle(0.1, seed=2)
    return atoms


def tiny_cell() -> ase.Atoms:
    """Two atoms whose neighbours are mostly their own images."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.rattle(0.1, seed=3)
    return atoms


def slab() -> ase.Atoms:
    """A tilted layer, periodic along its first and last vectors, its middle vector absent."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.1, seed=4)
    cell = atoms.cell.array.copy()
    cell[1] = 0
    cell[2, 0] += 0.7
    atoms.set_cell(cell)
    atoms.pbc = (True, False, True)
    return atoms


def water_pair(distance: float) -> ase.Atoms:
    """Two water molecules whose oxygens are `distance` Å apart, the first three atoms being the first molecule."""
    first, second = molecule("H2O"), molecule("H2O")
    second.rotate(70, "x")
    second.positions += [distance, 0.3, 0.1]
    return first + second


def labelled_water(n: int, seed: int = 0) -> list[ase.Atoms]:
    """Distorted water molecules with the energies and forces of ASE's effective-medium theory."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = molecule("H2O")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return frames


EVERY_KIND = {"molecule": ethanol, "crystal": salt, "tiny cell": tiny_cell, "slab": slab}
