"""Black phosphorus: layers drawn apart and slid over each other, rattled and strained cells to train on (GFN1-xTB).

The dispersion in GFN1-xTB is a D3 term added to an energy that is not told of it, so that it can be taken off again
exactly: every frame has it beside the labels.
"""

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal
from ase.units import Bohr
from dftd3.ase import DFTD3
from reference import labelled, random_numbers

METHOD = "GFN1-xTB"
N_PARTS = 10  # the first two are the curves to test on
# Å, at ambient conditions: zigzag, across the layers, armchair. Brown, Rundqvist, Acta Cryst. 19, 684 (1965).
CELL = [3.3136, 10.478, 4.3763]
SITE = (0, 0.10168, 0.08056)
# Only the Gamma point is available, so that the size of the layer matters: in 4 by 3 cells the crystal lies 22 meV per
# atom lower, and its layers are bound by 5 meV more. All frames have the same layer, and compare.
REPEAT = (3, 1, 2)
SPACING = CELL[1] / 2  # Å between the middles of neighbouring layers
SPACINGS = [4.7, 4.85, 5, 5.1, 5.2, 5.3, 5.4, 5.55, 5.7, 6, 6.5, 7, 7.5, 8, 9, 10, 12, 15]
SLIDES = np.arange(6) / 6  # of one lattice vector
VACUUM = 20.0  # Å from a single layer to its image
MONOLAYERS, CRYSTALS = 10, 6  # of each part
RATTLE = 0.02, 0.10  # Å, the least and the largest standard deviation of a coordinate
STRAIN = 0.03
TRAINED_SPACINGS = 4.8, 7.0  # Å
SPLIT = ["train"] * 6 + ["validation", "test"]  # of the rattled cells, by part


def frames(part: int) -> Iterator[Atoms]:
    """Labelled frames: exfoliation (part 0), sliding (part 1), else rattled and strained cells."""
    if part == 0:
        for spacing in SPACINGS:
            yield with_dispersion(stacked(spacing), split="exfoliation", kind="bulk", spacing=float(spacing))
    elif part == 1:
        for way in (0, 2):
            for slide in SLIDES[way // 2 :]:  # not slid at all once, not twice
                shift = np.eye(3)[way] * slide * CELL[way]
                yield with_dispersion(
                    stacked(SPACING, shift), split="sliding", kind="bulk", spacing=SPACING, slide=shift.round(6)
                )
    else:
        yield from rattled_cells(part)


def rattled_cells(part: int) -> Iterator[Atoms]:
    """Single layers and crystals of any spacing, strained and rattled."""
    rng = random_numbers("black_phosphorus", part)
    split = SPLIT[(part - 2) % len(SPLIT)]
    for number in range(MONOLAYERS + CRYSTALS):
        kind = "monolayer" if number < MONOLAYERS else "bulk"
        spacing = VACUUM if kind == "monolayer" else rng.uniform(*TRAINED_SPACINGS)
        # Every second crystal is slid as well: the layers meet in every registry.
        shift = rng.random(3) * [CELL[0], 0, CELL[2]] * (number % 2)
        cell = monolayer() if kind == "monolayer" else stacked(spacing, shift)
        strain = rng.uniform(-STRAIN, STRAIN, size=(3, 3))
        strain[1] = strain[:, 1] = 0  # the spacing is drawn on its own
        cell.set_cell(cell.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        cell.positions += rng.normal(scale=rng.uniform(*RATTLE), size=cell.positions.shape)
        yield with_dispersion(cell, split=split, kind=kind, spacing=round(spacing, 6))


def stacked(spacing: float, shift: np.ndarray | tuple[float, ...] = (0, 0, 0)) -> Atoms:
    """Crystal with layers `spacing` apart [Å], every second one shifted [Å]; the layers themselves stay as they are."""
    atoms = crystal("P", [SITE], spacegroup=64, cellpar=[*CELL, 90, 90, 90]).repeat(REPEAT)
    fractional = atoms.get_scaled_positions()[:, 1]
    second = (fractional > 0.25) & (fractional < 0.75)
    atoms.positions[fractional > 0.75, 1] -= CELL[1]
    atoms.positions[second] += shift
    atoms.positions[second, 1] += spacing - SPACING
    atoms.set_cell([CELL[0] * REPEAT[0], 2 * spacing, CELL[2] * REPEAT[2]])
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def monolayer() -> Atoms:
    """Every second layer of the crystal, far from its images."""
    atoms = stacked(VACUUM / 2)
    return atoms[np.abs(atoms.positions[:, 1]) < VACUUM / 4]


def with_dispersion(atoms: Atoms, **info: object) -> Atoms:
    """Labelled structure with dispersion_energy [eV], dispersion_forces [eV/Å], dispersion_stress (3, 3) [eV/Å^3]."""
    frame = labelled(atoms, METHOD, **info)
    dispersion = frame.copy()
    # The parameters of GFN1-xTB (J. Chem. Theory Comput. 13, 1989 (2017), table 2) and tblite's cutoffs.
    dispersion.calc = DFTD3(
        method="",
        damping="d3bj",
        params_tweaks={"s6": 1.0, "s8": 2.4, "a1": 0.63, "a2": 5.0, "s9": 0.0},
        realspace_cutoff={"disp2": 50 * Bohr, "disp3": 25 * Bohr, "cn": 25 * Bohr},
        cache_api=False,
    )
    frame.info["dispersion_energy"] = dispersion.get_potential_energy()
    frame.info["dispersion_stress"] = dispersion.get_stress(voigt=False)
    frame.arrays["dispersion_forces"] = dispersion.get_forces()
    return frame
