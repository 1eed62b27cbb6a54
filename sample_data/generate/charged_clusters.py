"""Sodium chloride clusters whose far atom is removed, and one composition in two charge states (GFN1-xTB).

After the two clusters of the 4G-HDNNP paper (Ko, Finkler, Goedecker, Behler, Nature Communications 12, 398 (2021)).
Every geometry comes three times: Na9Cl8+, the same without its last atom (Na8Cl8+), and that with one electron more
(Na8Cl8).
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import cache

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.optimize import BFGS
from reference import labelled, random_numbers
from tblite.ase import TBLite

METHOD = "GFN1-xTB"
N_PARTS = 16  # the first is the curve to test on
GEOMETRIES = 10  # of each part, three frames for each
BOND = 2.75  # Å
RATTLE = 0.02, 0.2  # Å, the least and the largest standard deviation of a coordinate
CURVE = np.arange(-0.4, 1.65, 0.1)  # Å, the moved atom along z, away from the cluster
DRAWN = -0.3, 1.8  # Å, the same where it is drawn at random
FAR, MOVED = 16, 1  # the atom that is removed; the one that is moved, 10 Å away from it
STATES = [("Na9Cl8+", 17, 1, 1), ("Na8Cl8+", 16, 1, 2), ("Na8Cl8", 16, 0, 1)]  # atoms, charge, multiplicity
SPLIT = ["train"] * 12 + ["validation"] * 2 + ["test"]  # by part, so that the three of a geometry stay together


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: one atom drawn away from the relaxed cluster (part 0), else rattled clusters."""
    rng = random_numbers("charged_clusters", part)
    for number in range(len(CURVE) if part == 0 else GEOMETRIES):
        info = {"split": SPLIT[(part - 1) % len(SPLIT)] if part else "curve", "geometry": 100 * part + number}
        made: list[Atoms] = []
        while not made:
            cluster, moved = relaxed_cluster().copy(), CURVE[number]
            if part:
                moved = rng.uniform(*DRAWN)
                cluster.positions += rng.normal(scale=rng.uniform(*RATTLE), size=cluster.positions.shape)
            cluster.positions[MOVED, 2] -= moved
            # The hole of Na8Cl8+ sometimes finds no place where it stays: such a geometry is drawn anew.
            with suppress(CalculationFailed if part else ()):
                made = in_three_states(cluster, moved=round(float(moved), 6), **info)
        yield from made


def in_three_states(cluster: Atoms, **info: object) -> list[Atoms]:
    """Labelled frames of one geometry. Raises CalculationFailed where the cycle of one does not converge."""
    return [
        labelled(cluster[:n_atoms], METHOD, charge, spin, state=state, **info)
        for state, n_atoms, charge, spin in STATES
    ]


@cache
def relaxed_cluster() -> Atoms:
    """Na9Cl8+: a column of rock salt, 2 by 2 by 4 atoms, and one sodium more on top, relaxed; the far atom last."""
    sites = np.stack(np.meshgrid(range(4), range(2), range(2), indexing="ij"), axis=-1).reshape(-1, 3)[:, ::-1]
    symbols = ["Na" if site.sum() % 2 else "Cl" for site in sites]
    top = np.flatnonzero((sites[:, 2] == 3) & (np.array(symbols) == "Cl"))[0]
    positions = BOND * np.vstack([sites, sites[top] + [0, 0, 1]])
    cluster = Atoms([*symbols, "Na"], positions)
    cluster.calc = TBLite(method=METHOD, accuracy=0.01, charge=1, verbosity=0)
    BFGS(cluster, logfile=None).run(fmax=1e-3, steps=500)
    return Atoms(cluster.numbers, cluster.positions)
