"""Two molecules drawn apart to 15 Å: every pairing of charged, polar and apolar ones (GFN2-xTB)."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS
from ion_pair import relaxed_ions
from reference import labelled, random_numbers
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
# Two or three pairs of each class. With acetate, the usual anion, an electron would flow back to the cation beyond
# 8 Å (see ion_pair.py); tetrafluoroborate keeps its own.
PAIRS = [
    ("charged-charged", "CH3NH3+", "BF4-"),
    ("charged-charged", "CH3NH3+", "CH3NH3+"),
    ("charged-charged", "BF4-", "BF4-"),
    ("charged-polar", "CH3NH3+", "H2O"),
    ("charged-polar", "BF4-", "CH3CN"),
    ("charged-apolar", "CH3NH3+", "CH4"),
    ("charged-apolar", "BF4-", "C2H6"),
    ("polar-polar", "H2O", "H2O"),
    ("polar-polar", "H2O", "CH3CN"),
    ("polar-apolar", "H2O", "CH4"),
    ("polar-apolar", "CH3CN", "C2H6"),
    ("apolar-apolar", "CH4", "CH4"),
    ("apolar-apolar", "CH4", "C2H6"),
]
ORIENTATIONS = 5  # of a pair in one part
N_PARTS = len(PAIRS)  # with more, the pairs begin anew in other orientations
GAPS = [0.0, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 2.7]  # Å from contact, then
DISTANCES = [7.5, 8.5, 10, 11.5, 13, 15]  # Å between the middles
NEAR = 5.0  # Å between the closest atoms: beyond it a model with this cutoff sees two separate molecules
RADII = {1: 1.1, 5: 1.9, 6: 1.7, 7: 1.55, 8: 1.5, 9: 1.45}  # Å, van der Waals
CONTACT = 0.75  # of the sum of two radii: the closest that two atoms come
RATTLE = 0.02  # Å


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of one pair in several orientations, each from contact to 15 Å. The molecules stay rigid."""
    rng = random_numbers("dimers", part)
    kind, *names = PAIRS[part % len(PAIRS)]
    for number in range(ORIENTATIONS):
        first, first_energy, first_charge = turned(names[0], rng)
        second, second_energy, second_charge = turned(names[1], rng)
        n_first = len(first)
        contact = contact_distance(first, second)
        for distance in sorted({*(contact + gap for gap in GAPS), *(d for d in DISTANCES if d > contact + 3)}):
            pair = first + second
            pair.positions[n_first:] += [distance, 0, 0]
            closest = pair.get_all_distances()[:n_first, n_first:].min()
            frame = labelled(
                pair,
                METHOD,
                first_charge + second_charge,
                split="near" if closest <= NEAR else "far",
                kind=kind,
                pair=" ".join(names),
                orientation=ORIENTATIONS * part + number,
                n_first=n_first,
                distance=round(float(distance), 6),
                closest=round(closest, 6),
            )
            frame.info["interaction_energy"] = frame.info["REF_energy"] - first_energy - second_energy
            yield frame


def turned(name: str, rng: np.random.Generator) -> tuple[Atoms, float, int]:
    """Molecule rattled and turned at random, its middle at the origin; its energy alone [eV] and its charge [e].

    The middle of an ion is its centre of charge, about which it has no dipole; of a molecule, its centre of mass.
    """
    atoms, charge = relaxed(name)
    atoms = atoms.copy()
    atoms.positions += rng.normal(scale=RATTLE, size=atoms.positions.shape)
    alone = labelled(atoms, METHOD, charge)
    middle = alone.info["REF_dipole"] / charge if charge else alone.get_center_of_mass()
    around = Rotation.random(rng=rng).apply(alone.positions - middle)
    return Atoms(alone.numbers, around), alone.info["REF_energy"], charge


def contact_distance(first: Atoms, second: Atoms) -> float:
    """How far to move the second along x [Å] until no two atoms come closer than CONTACT allows."""
    limit = CONTACT * np.add.outer(*([RADII[z] for z in half.numbers] for half in (first, second)))
    between = second.positions[None] - first.positions[:, None]
    # (dx + x)^2 + dy^2 + dz^2 = limit^2, solved for x; pairs that pass by each other set no limit.
    room = limit**2 - (between[..., 1:] ** 2).sum(axis=-1)
    return float(np.max(np.sqrt(room.clip(0)) - between[..., 0], where=room > 0, initial=0.0))


@cache
def relaxed(name: str) -> tuple[Atoms, int]:
    """Relaxed molecule and its charge."""
    if name in ("CH3NH3+", "BF4-"):
        atoms, charge = relaxed_ions()[name == "BF4-"]
        return Atoms(atoms.numbers, atoms.positions), charge
    atoms = molecule(name)
    atoms.calc = TBLite(method=METHOD, accuracy=0.01, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=300)
    return Atoms(atoms.numbers, atoms.positions), 0
