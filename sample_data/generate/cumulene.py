"""Cumulenes, CH2=C=...=CH2: the two ends turned against each other through up to eleven carbons (GFN2-xTB)."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from reference import labelled, random_numbers
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
N_PARTS = 12  # the first two are the curves to test on
FRAMES_PER_PART = 40
LENGTHS = [3, 5, 7, 9, 11]  # carbons; of an odd number, the ends stand across each other at rest
LONGEST = 9  # carbons, of the frames to train on
PROFILE = np.arange(0, 181, 5)  # degrees
COARSE_PROFILE = np.arange(0, 181, 15)
RATTLE = 0.01, 0.08  # Å, the least and the largest standard deviation of a coordinate
CC, CH, HALF_ANGLE = 1.28, 1.09, np.radians(59)
SPLIT = ["train"] * 8 + ["validation", "test"]


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: torsion of C9H4 (part 0), of the other lengths (part 1), else C9H4 rattled at any torsion.

    A quarter of the rattled frames are shorter: they show what lies between the ends when it can still be seen.
    """
    if part == 0:
        for angle in PROFILE:
            yield turned(LONGEST, angle, split="profile")
    elif part == 1:
        for n_carbon in LENGTHS:
            for angle in COARSE_PROFILE if n_carbon != LONGEST else ():
                yield turned(n_carbon, angle, split="lengths")
    else:
        rng = random_numbers("cumulene", part)
        for number in range(FRAMES_PER_PART):
            n_carbon = LONGEST if number % 4 else [3, 5, 7][number // 4 % 3]
            scale = rng.uniform(*RATTLE)
            yield turned(n_carbon, rng.uniform(0, 360), rng, scale, split=SPLIT[(part - 2) % len(SPLIT)])


def turned(
    n_carbon: int, angle: float, rng: np.random.Generator | None = None, scale: float = 0.0, **info: object
) -> Atoms:
    """Labelled cumulene with its last CH2 turned [degrees, 90 at rest], rattled [Å] and laid down anyhow."""
    atoms = relaxed(n_carbon).copy()
    last = [n_carbon + 2, n_carbon + 3]
    turn = Rotation.from_euler("z", angle - 90, degrees=True)
    atoms.positions[last] = turn.apply(atoms.positions[last])
    if rng is not None:
        atoms.positions += rng.normal(scale=scale, size=atoms.positions.shape)
        atoms.positions = Rotation.random(rng=rng).apply(atoms.positions)
    return labelled(atoms, METHOD, n_carbon=n_carbon, torsion=round(float(angle), 6), **info)


@cache
def relaxed(n_carbon: int) -> Atoms:
    """Relaxed cumulene along z: carbons, the two hydrogens of the first, then those of the last."""
    carbons = np.zeros((n_carbon, 3))
    carbons[:, 2] = CC * np.arange(n_carbon)
    across, along = CH * np.sin(HALF_ANGLE), CH * np.cos(HALF_ANGLE)
    top = carbons[-1, 2] + along
    hydrogens = [[across, 0, -along], [-across, 0, -along], [0, across, top], [0, -across, top]]
    atoms = Atoms(f"C{n_carbon}H4", np.vstack([carbons, hydrogens]))
    atoms.calc = TBLite(method=METHOD, accuracy=0.01, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=300)
    return Atoms(atoms.numbers, atoms.positions - atoms.positions[:n_carbon].mean(axis=0))
