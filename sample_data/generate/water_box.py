"""Liquid water: 16 molecules in a periodic box, four independent trajectories at 350 K (GFN1-xTB)."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.calculators.tip3p import TIP3P, angleHOH, rOH
from ase.md.langevin import Langevin
from reference import dynamics_calculator, labelled, random_numbers
from scipy.spatial.transform import Rotation

METHOD = "GFN1-xTB"
N_PARTS = 4
FRAMES_PER_PART = 18
N_MOLECULES = 16
BOX = (N_MOLECULES * 18.015 / 0.602214) ** (1 / 3)  # Å, for 1 g/cm^3
TEMPERATURE_K = 350.0
TIMESTEP_FS = 1.0
FRICTION_PER_FS = 0.02
PREPARE_STEPS = 10000  # of half a step each, 5 ps with the classical force field, to leave the lattice
THERMALISE_STEPS = 150
STRIDE = 15  # steps between frames: 15 fs
ANGLE = np.radians(angleHOH)
SPLIT = ["train", "train", "validation", "test"]


class FlexibleTIP3P(TIP3P):
    """TIP3P with its bonds and angle held by springs: it prepares the box and labels nothing."""

    SPRING = 40.0  # eV/Å^2: any softer, and a hydrogen falls into the oxygen of another molecule

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:
        super().calculate(atoms, properties, system_changes)
        molecules = atoms.positions.reshape(-1, 3, 3)  # (n_molecules, O H H, xyz)
        forces = np.zeros_like(molecules)
        for first, second, length in ((0, 1, rOH), (0, 2, rOH), (1, 2, 2 * rOH * np.sin(ANGLE / 2))):
            bonds = molecules[:, second] - molecules[:, first]
            lengths = np.linalg.norm(bonds, axis=1, keepdims=True)
            pull = self.SPRING * (lengths - length) * bonds / lengths
            forces[:, first] += pull
            forces[:, second] -= pull
            self.results["energy"] += 0.5 * self.SPRING * ((lengths - length) ** 2).sum()
        self.results["forces"] = self.results["forces"] + forces.reshape(-1, 3)


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of trajectory number `part`, as they are made."""
    rng = random_numbers("water_box", part)
    atoms = scattered_molecules(rng)
    atoms.calc = FlexibleTIP3P(rc=BOX / 2 - 0.01)
    thermostat(atoms, rng, TIMESTEP_FS / 2).run(PREPARE_STEPS)
    # A loose accuracy moves the atoms well enough under a thermostat; the labels are converged tightly.
    atoms.calc = dynamics_calculator(METHOD, accuracy=10.0)
    dynamics = thermostat(atoms, rng, TIMESTEP_FS)
    dynamics.run(THERMALISE_STEPS)
    for _ in range(FRAMES_PER_PART):
        dynamics.run(STRIDE)
        yield labelled(atoms, METHOD, split=SPLIT[part % len(SPLIT)], trajectory=part)


def thermostat(atoms: Atoms, rng: np.random.Generator, timestep_fs: float) -> Langevin:
    """Langevin dynamics at the temperature of this set."""
    return Langevin(
        atoms,
        timestep_fs * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=rng,
    )


def scattered_molecules(rng: np.random.Generator) -> Atoms:
    """Molecules turned at random on 16 of 27 sites of a cubic lattice; atoms in the order O H H."""
    half = ANGLE / 2
    water = rOH * np.array([[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]])
    lattice = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) * BOX / 3
    sites = lattice[rng.permutation(len(lattice))[:N_MOLECULES]]
    positions = np.concatenate([Rotation.random(rng=rng).apply(water) + site for site in sites])
    return Atoms("OH2" * N_MOLECULES, positions, cell=[BOX] * 3, pbc=True)
