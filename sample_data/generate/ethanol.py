"""Ethanol at 500 K: ten independent Langevin trajectories, 100 frames each (GFN2-xTB)."""

from collections.abc import Iterator

from ase import Atoms, units
from ase.build import molecule
from ase.md.langevin import Langevin
from reference import dynamics_calculator, labelled, random_numbers

METHOD = "GFN2-xTB"
N_PARTS = 10
FRAMES_PER_PART = 100
TEMPERATURE_K = 500.0
TIMESTEP_FS = 0.5
FRICTION_PER_FS = 0.01
THERMALISE_STEPS = 4000  # 2 ps, twenty times the memory of the thermostat
STRIDE = 40  # steps between frames: 20 fs
SPLIT = ["train"] * 8 + ["validation", "test"]  # by trajectory: neighbouring frames never straddle it


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames of trajectory number `part`, as they are made."""
    split = SPLIT[part % len(SPLIT)]
    for atoms in moving("ethanol", part, molecule("CH3CH2OH"), THERMALISE_STEPS, FRAMES_PER_PART):
        yield labelled(atoms, METHOD, split=split, trajectory=part)


def moving(name: str, part: int, atoms: Atoms, thermalise_steps: int, n_frames: int) -> Iterator[Atoms]:
    """Positions along a trajectory of one molecule, its centre of mass at the origin."""
    atoms.calc = dynamics_calculator(METHOD, accuracy=1.0)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=random_numbers(name, part),
    )
    dynamics.run(thermalise_steps)
    for _ in range(n_frames):
        dynamics.run(STRIDE)
        centred = atoms.copy()
        centred.positions -= atoms.get_center_of_mass()
        yield centred
