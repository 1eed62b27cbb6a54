"""The structures that are timed, by name. ASE and numpy only: every contestant's environment imports this file."""

from __future__ import annotations

import ase
import numpy as np
from ase.build import bulk, molecule

# Relaxed with GFN2-xTB (tblite 0.8) to 0.005 eV/Å; Å.
ASPIRIN = """
C  2.0942 -0.8198 -0.1489   C  0.9165  1.0437 -1.8273   C  2.7422 -0.4230 -1.3023   C  2.1564  0.5159 -2.1368
C -3.1732  1.2378  0.3738   C  0.8544 -0.2834  0.1904   C  0.2628  0.6492 -0.6686   O -0.5666  0.0213  2.0905
O -2.0167 -0.7663 -0.2985   O  0.5743 -1.8804  1.8870   C  0.1983 -0.6694  1.4634   C -2.0220  0.4207 -0.1281
O -0.9620  1.2191 -0.3933   H  0.1080 -2.1008  2.7086   H  2.5431 -1.5440  0.5124   H  0.4384  1.7637 -2.4731
H  3.7042 -0.8438 -1.5513   H  2.6611  0.8315 -3.0373   H -3.1787  2.2160 -0.0970   H -4.1066  0.7118  0.1992
H -3.0299  1.3675  1.4456
"""
MOLAR_MASS_WATER = 18.015  # g/mol
AVOGADRO = 6.02214076e23


def systems(name: str) -> list[ase.Atoms]:
    """The structures called `name`, computed together.

    name      "aspirin", "ethanol", "H2O", "water:N" or "salt:N" (N atoms), with "8*" in front for eight of them
    returns   one structure, or as many as asked for

    Raises ValueError for a name that is none of these, or an N that does not make a cube.
    """
    count, _, kind = name.rpartition("*")
    return [one(kind, seed) for seed in range(int(count or 1))]


def one(kind: str, seed: int) -> ase.Atoms:
    if kind == "aspirin":
        words = ASPIRIN.split()
        return ase.Atoms(words[::4], np.array(words, dtype=object).reshape(-1, 4)[:, 1:].astype(float))
    if kind in ("ethanol", "H2O"):
        atoms = molecule({"ethanol": "CH3CH2OH"}.get(kind, kind))
        atoms.rattle(0.05, seed=seed)
        return atoms
    medium, _, number = kind.partition(":")
    if medium == "water" and number.isdigit():
        return water(int(number), seed)
    if medium == "salt" and number.isdigit():
        return salt(int(number), seed)
    raise ValueError(f"{kind!r} is no system; expected 'aspirin', 'ethanol', 'H2O', 'water:N' or 'salt:N'")


def water(n_atoms: int, seed: int = 0) -> ase.Atoms:
    """A periodic box of 1 g/cm3: molecules turned at random on a cubic lattice, none closer than about 1 Å.

    n_atoms   3 n^3: 24, 81, 192, 375, 648, ...
    """
    edge = round((n_atoms / 3) ** (1 / 3))
    if 3 * edge**3 != n_atoms:
        raise ValueError(f"water of {n_atoms} atoms makes no cube; nearest is {3 * edge**3}")
    spacing = (MOLAR_MASS_WATER / AVOGADRO * 1e24) ** (1 / 3)  # Å
    rng = np.random.default_rng(seed)
    box = ase.Atoms(cell=[edge * spacing] * 3, pbc=True)
    for place in np.ndindex(edge, edge, edge):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += (np.array(place) + 0.5) * spacing - one.positions[0]
        box += one
    box.rattle(0.02, seed=seed)
    return box


def salt(n_atoms: int, seed: int = 0) -> ase.Atoms:
    """Rock salt, 8 n^3 atoms, every atom off its site."""
    edge = round((n_atoms / 8) ** (1 / 3))
    if 8 * edge**3 != n_atoms:
        raise ValueError(f"salt of {n_atoms} atoms makes no cube; nearest is {8 * edge**3}")
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (edge, edge, edge)
    crystal.rattle(0.1, seed=seed)
    return crystal
