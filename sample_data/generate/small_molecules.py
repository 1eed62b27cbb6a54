"""Many compositions: the closed-shell molecules of the G2 collection, and their energies of atomisation (GFN2-xTB)."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.optimize import BFGS
from reference import labelled, random_numbers
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
N_PARTS = 5  # geometries of every molecule: the relaxed one, and rattled ones
RATTLE = 0.02, 0.12  # Å, the least and the largest standard deviation of a coordinate
SPIN = {"H": 2, "C": 3, "N": 4, "O": 3, "F": 2, "S": 3, "Cl": 2}  # multiplicity of the free atom
SPLIT = ["train"] * 8 + ["validation", "test"]  # by molecule, in an order drawn once


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: every molecule once, relaxed (part 0) or rattled."""
    rng = random_numbers("small_molecules", part)
    order = random_numbers("small_molecules", 0).permutation(len(names()))
    for number, name in zip(order, names(), strict=True):
        atoms = relaxed(name).copy()
        if part:
            atoms.positions += rng.normal(scale=rng.uniform(*RATTLE), size=atoms.positions.shape)
        frame = labelled(atoms, METHOD, split=SPLIT[number % len(SPLIT)], molecule=name, geometry=part)
        apart = sum(atom_energy(symbol) for symbol in frame.get_chemical_symbols())
        frame.info["atomisation_energy"] = apart - frame.info["REF_energy"]
        yield frame


@cache
def names() -> list[str]:
    """Molecules of the collection with paired electrons and elements of organic chemistry alone."""
    found = []
    for name in sorted(g2.names):
        atoms = g2[name]
        even = atoms.numbers.sum() % 2 == 0 and not np.any(atoms.get_initial_magnetic_moments())
        if len(atoms) > 1 and even and set(atoms.get_chemical_symbols()) <= SPIN.keys():
            found.append(name)
    return found


@cache
def relaxed(name: str) -> Atoms:
    """Relaxed molecule, its centre of mass at the origin."""
    atoms = molecule(name)
    atoms.calc = TBLite(method=METHOD, accuracy=0.1, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=5e-3, steps=300)
    return Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass())


@cache
def atom_energy(symbol: str) -> float:
    """Energy of a free atom [eV]."""
    return labelled(Atoms(symbol), METHOD, spin=SPIN[symbol]).info["REF_energy"]
