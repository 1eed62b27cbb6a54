"""Malonaldehyde at 500 K: its proton hops between two oxygens (six Langevin trajectories, GFN2-xTB)."""

from collections.abc import Iterator

from ase import Atoms
from ethanol import METHOD, moving
from reference import labelled

N_PARTS = 6
FRAMES_PER_PART = 80
THERMALISE_STEPS = 2000  # 1 ps, ten times the memory of the thermostat
SPLIT = ["train"] * 4 + ["validation", "test"]  # by trajectory
# The enol, drawn by hand; thermalising takes care of the rest. Å, in the order of the symbols.
SYMBOLS = "C3O2H4"
START = [
    *([-1.22, 0.70, 0.0], [0.0, 0.0, 0.0], [1.22, 0.70, 0.0]),
    *([-1.27, 1.95, 0.0], [1.27, 2.02, 0.0]),
    *([0.35, 2.30, 0.0], [0.0, -1.08, 0.0], [-2.15, 0.13, 0.0], [2.15, 0.13, 0.0]),
]


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of trajectory number `part`, as they are made."""
    split = SPLIT[part % len(SPLIT)]
    for atoms in moving("malonaldehyde", part, Atoms(SYMBOLS, START), THERMALISE_STEPS, FRAMES_PER_PART):
        yield labelled(atoms, METHOD, split=split, trajectory=part)
