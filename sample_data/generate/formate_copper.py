"""Formate on copper, (110), on its way to carbon dioxide and a hydrogen on the metal (GFN1-xTB)."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import fcc110
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from reference import dynamics_calculator, labelled, random_numbers

METHOD = "GFN1-xTB"
N_PARTS = 7  # the first is the path to test on
FRAMES_PER_PART = 12
LATTICE = 3.61  # Å, measured; GFN1-xTB would have copper 6 % larger
LAYERS = 3  # the lowest stays where it is
IMAGES = 9
BAND_STEPS = 20  # of relaxing the path, far from enough for a barrier to quote
RATTLE = 0.02, 0.10  # Å, the least and the largest standard deviation of a coordinate
SPLIT = ["train"] * 4 + ["validation", "test"]  # by part


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: the path from end to end (part 0), else rattled structures anywhere on it."""
    images = path()
    if part == 0:
        for number, image in enumerate(images):
            yield labelled(image, METHOD, split="path", progress=round(number / (IMAGES - 1), 6))
    else:
        rng = random_numbers("formate_copper", part)
        for _ in range(FRAMES_PER_PART):
            progress = rng.uniform(0, IMAGES - 1)
            first, second = images[int(progress)].copy(), images[int(progress) + 1]
            first.positions += (progress % 1) * (second.positions - first.positions)
            first.positions += rng.normal(scale=rng.uniform(*RATTLE), size=first.positions.shape)
            split = SPLIT[(part - 1) % len(SPLIT)]
            yield labelled(first, METHOD, split=split, progress=round(progress / (IMAGES - 1), 6))


@cache
def path() -> list[Atoms]:
    """Images of a nudged elastic band between the relaxed ends."""
    start, end = relaxed(formate()), relaxed(carbon_dioxide())
    images = [start, *(start.copy() for _ in range(IMAGES - 2)), end]
    band = NEB(images, k=0.5, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate("idpp", mic=True)
    calculator = dynamics_calculator(METHOD, accuracy=1.0)
    for image in images:
        image.calc = calculator
    FIRE(band, logfile=None).run(fmax=0.1, steps=BAND_STEPS)
    return [Atoms(image.numbers, image.positions, cell=image.cell, pbc=True) for image in images]


def formate() -> Atoms:
    """Copper with HCOO upright, an oxygen on each of two neighbours along a row. The last atoms are H, C, O, O."""
    molecule = np.array([[0, 0, 3.7], [0, 0, 2.6], [0, -1.12, 1.95], [0, 1.12, 1.95]])
    return slab() + Atoms("HCO2", molecule + between())


def carbon_dioxide() -> Atoms:
    """Copper with CO2 above one row of atoms and H between two atoms of the next."""
    apart = np.array([[LATTICE, 0, 1.1], [0, 0, 3.2], [0, -1.16, 3.2], [0, 1.16, 3.2]])
    return slab() + Atoms("HCO2", apart + between())


def slab() -> Atoms:
    """Three layers of 2 by 3 atoms, close-packed rows along y."""
    return fcc110("Cu", (2, 3, LAYERS), a=LATTICE, vacuum=6.0, periodic=True)


def between() -> np.ndarray:
    """Point between two neighbours of a row of the top layer [Å]."""
    top = slab().positions[-6:]
    first = top[0]
    return (first + top[np.linalg.norm(top - first, axis=1).argsort()[1]]) / 2


def relaxed(atoms: Atoms) -> Atoms:
    """Relaxed with the lowest layer held."""
    atoms.set_constraint(FixAtoms(mask=atoms.positions[:, 2] < atoms.positions[:, 2].min() + 0.5))
    atoms.calc = dynamics_calculator(METHOD, accuracy=0.1)
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=120)
    atoms.calc = None
    atoms.pbc = True
    return atoms
