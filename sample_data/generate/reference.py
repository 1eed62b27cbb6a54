"""The reference calculation behind every label, and the one way a labelled set is written."""

import gzip
import io
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from tblite.ase import TBLite

# At the default accuracy of 1.0 the same geometry gives energies that differ by 1e-4 eV, depending on
# where the self-consistent cycle started. Labels are converged tightly, and from scratch.
LABEL_ACCURACY = 0.01


def dynamics_calculator(method: str, accuracy: float) -> TBLite:
    """Calculator for moving neutral atoms: the cycle restarts from the last step, which saves time."""
    return TBLite(method=method, accuracy=accuracy, charge=0, verbosity=0)


def labelled(atoms: Atoms, method: str, charge: int = 0, spin: int = 1, **info: object) -> Atoms:
    """New structure at the positions of `atoms`, rounded to the 1e-8 Å that the file keeps, with its labels.

    spin        multiplicity, 2S + 1
    info        further entries for `atoms.info`
    returns     Atoms with info REF_energy [eV], REF_dipole [e Å], REF_stress (3, 3) [eV/Å^3] where
                periodic, charge [e], spin (multiplicity); arrays REF_forces [eV/Å], REF_charges [e]
    raises      ase.calculators.calculator.CalculationFailed where the cycle does not converge
    """
    frame = Atoms(atoms.numbers, atoms.positions.round(8), cell=atoms.cell, pbc=atoms.pbc)
    calculation = frame.copy()
    calculation.calc = TBLite(
        method=method,
        accuracy=LABEL_ACCURACY,
        charge=charge,
        multiplicity=spin,
        cache_api=False,
        verbosity=0,
    )
    frame.info.update(charge=charge, spin=spin, **info)
    frame.info["REF_energy"] = calculation.get_potential_energy()
    frame.arrays["REF_forces"] = calculation.get_forces()
    frame.arrays["REF_charges"] = calculation.get_charges()
    if frame.pbc.any():
        frame.info["REF_stress"] = calculation.get_stress(voigt=False)
    else:
        frame.info["REF_dipole"] = calculation.get_dipole_moment()
    return frame


def write_set(path: Path, frames: list[Atoms]) -> None:
    """Write gzipped extended XYZ; the same frames always give the same bytes (no time stamp inside)."""
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def random_numbers(name: str, part: int) -> np.random.Generator:
    """Random numbers of one part of one set, independent of every other part."""
    return np.random.default_rng([*name.encode(), part])
