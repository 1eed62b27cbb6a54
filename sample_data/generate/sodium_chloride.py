"""Hot and strained rock salt, sixteen ions in a cell, with stress (GFN1-xTB)."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.build import bulk
from reference import labelled, random_numbers

METHOD = "GFN1-xTB"
N_PARTS = 11  # the first is the curve to test on
FRAMES_PER_PART = 12
LATTICE = 5.64  # Å, at room temperature
VOLUMES = np.linspace(5.1, 6.2, 12)  # Å, lattice constants of the curve
# Å, standard deviation of a coordinate: 0.14 at room temperature, about 0.25 at 1000 K, 70 K below melting
RATTLE = 0.05, 0.30
STRETCH, SHEAR = 0.06, 0.04
SPLIT = ["train"] * 8 + ["validation", "test"]  # by part


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: perfect crystals of several volumes (part 0), else rattled and strained ones."""
    if part == 0:
        for lattice in VOLUMES:
            crystal = bulk("NaCl", "rocksalt", a=lattice).repeat(2)
            yield labelled(crystal, METHOD, split="volumes", lattice=round(float(lattice), 6))
    else:
        rng = random_numbers("sodium_chloride", part)
        for _ in range(FRAMES_PER_PART):
            crystal = strained(bulk("NaCl", "rocksalt", a=LATTICE).repeat(2), rng, STRETCH, SHEAR)
            crystal.positions += rng.normal(scale=rng.uniform(*RATTLE), size=crystal.positions.shape)
            yield labelled(crystal, METHOD, split=SPLIT[(part - 1) % len(SPLIT)])


def strained(crystal: Atoms, rng: np.random.Generator, stretch: float, shear: float) -> Atoms:
    """Crystal stretched alike in all directions by up to `stretch`, and each component by up to `shear`."""
    tensor = rng.uniform(-shear, shear, size=(3, 3))
    tensor = (tensor + tensor.T) / 2 + rng.uniform(-stretch, stretch) * np.eye(3)
    crystal.set_cell(crystal.cell @ (np.eye(3) + tensor), scale_atoms=True)
    return crystal
