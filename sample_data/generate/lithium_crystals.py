"""Four crystals of lithium, rattled and strained, with stress (GFN1-xTB)."""

from collections.abc import Iterator
from functools import cache

from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from reference import labelled, random_numbers
from sodium_chloride import strained
from tblite.ase import TBLite

METHOD = "GFN1-xTB"
# Measured lattice constants, Å; each is relaxed, and ends up to 5 % longer. LiF, Li2O and LiH, tried first, end 12, 14
# and 31 % longer: GFN1-xTB does not describe them.
CRYSTALS = [
    ("LiCl", "rocksalt", 5.13),
    ("LiBr", "rocksalt", 5.50),
    ("LiI", "rocksalt", 6.00),
    ("Li2S", "fluorite", 5.71),
]
N_PARTS = 12  # part 0, 4, 8 are LiCl, and so on
SPLIT = ["train"] * 8 + ["validation", "test"]  # of the frames of a part
RATTLE = 0.02, 0.20  # Å, the least and the largest standard deviation of a coordinate
STRETCH, SHEAR = 0.04, 0.04


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of one crystal."""
    rng = random_numbers("lithium_crystals", part)
    number = part % len(CRYSTALS)
    for split in SPLIT:
        crystal = strained(relaxed(number).copy(), rng, STRETCH, SHEAR)
        crystal.positions += rng.normal(scale=rng.uniform(*RATTLE), size=crystal.positions.shape)
        yield labelled(crystal, METHOD, split=split, crystal=CRYSTALS[number][0])


@cache
def relaxed(number: int) -> Atoms:
    """Cell of eight formula units at the lattice constant of GFN1-xTB."""
    name, structure, lattice = CRYSTALS[number]
    # In fluorite the metal sits where sulfur does here.
    primitive = bulk({"Li2S": "SLi2"}.get(name, name), structure, a=lattice)
    crystal = primitive.repeat(2)
    crystal.calc = TBLite(method=METHOD, accuracy=0.1, verbosity=0)
    BFGS(FrechetCellFilter(crystal, hydrostatic_strain=True), logfile=None).run(fmax=0.05, steps=40)
    return Atoms(crystal.numbers, crystal.positions, cell=crystal.cell, pbc=True)
