"""Methylammonium and tetrafluoroborate drawn apart to 15 Å, in twenty orientations (GFN2-xTB).

The pair is chosen so that a closed-shell calculation stays right: at distance R the lowest empty orbital of
the cation lies LUMO(+) - HOMO(-) + 2 k/R above the highest filled one of the anion (k = 14.4 eV Å), here
-7.5 + 7.3 + 1.9 = 1.7 eV at 15 Å. For acetate it would be negative beyond 8.6 Å: GFN2-xTB then lets a part of
the electron flow back and the curve leaves Coulomb's law.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS
from reference import labelled, random_numbers
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
N_PARTS = 20
# Å between the ions' centres of charge; of these, the ones without a contact below CLOSEST are made.
DISTANCES = [3.25, 3.5, 3.75, 4, 4.25, 4.5, 4.75, 5, 5.5, 6, 6.5, 7, 7.5, 8, 9, 10, 11, 12, 13.5, 15]
CLOSEST = 1.5  # Å, hydrogen to fluorine: well up the repulsive wall
NEAR = 5.0  # Å between the closest atoms: beyond it a model with this cutoff sees two separate ions
# Å. Twice as much stretches an N-H bond of some ions so far that the gap above closes.
RATTLE = 0.02


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of orientation number `part`, from contact to 15 Å. The ions stay rigid."""
    rng = random_numbers("ion_pair", part)
    cation, cation_energy = turned_ion(*relaxed_ions()[0], rng)
    anion, anion_energy = turned_ion(*relaxed_ions()[1], rng)
    for distance in DISTANCES:
        pair = cation + anion
        pair.positions[len(cation) :] += [distance, 0, 0]
        closest = pair.get_all_distances()[: len(cation), len(cation) :].min()
        if closest < CLOSEST:
            continue
        split = "near" if closest <= NEAR else "far"
        frame = labelled(
            pair, METHOD, split=split, orientation=part, distance=float(distance), closest=round(closest, 6)
        )
        frame.info["interaction_energy"] = frame.info["REF_energy"] - cation_energy - anion_energy
        yield frame


def turned_ion(ion: Atoms, charge: int, rng: np.random.Generator) -> tuple[Atoms, float]:
    """Ion, rattled and turned at random, its centre of charge at the origin; its energy alone [eV]."""
    rattled = ion.copy()
    rattled.positions += rng.normal(scale=RATTLE, size=rattled.positions.shape)
    alone = labelled(rattled, METHOD, charge)
    # About this centre the ion has no dipole, so that -k/R is the leading term without a correction in 1/R^2.
    centre = alone.info["REF_dipole"] / charge
    turned = Atoms(alone.numbers, Rotation.random(rng=rng).apply(alone.positions - centre))
    return turned, alone.info["REF_energy"]


@cache
def relaxed_ions() -> list[tuple[Atoms, int]]:
    """The two ions with their charges, each relaxed alone. Cation first."""
    cation = molecule("H3CNH2")
    nitrogen = cation.symbols.search("N")[0]
    bonds = cation.positions - cation.positions[nitrogen]
    lengths = np.linalg.norm(bonds, axis=1)
    bonded = (lengths > 0) & (lengths < 1.7)
    free = -(bonds[bonded] / lengths[bonded, None]).sum(axis=0)
    cation.append("H")
    cation.positions[-1] = cation.positions[nitrogen] + 1.02 * free / np.linalg.norm(free)

    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    anion = Atoms("BF4", [[0, 0, 0], *(1.40 * corners)])
    ions = [(cation, +1), (anion, -1)]
    for ion, charge in ions:
        ion.calc = TBLite(method=METHOD, accuracy=0.01, charge=charge, verbosity=0)
        BFGS(ion, logfile=None).run(fmax=1e-3, steps=300)
    return ions
