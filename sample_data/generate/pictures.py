"""Draw sample_data/pictures/: `python sample_data/generate/pictures.py`, one small picture for each set."""

from pathlib import Path

import ase.io
import matplotlib
import numpy as np
from ase import Atoms, units

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SAMPLE_DATA = Path(__file__).resolve().parents[1]
COULOMB = 1 / (4 * np.pi * units._eps0) * units._e / 1e-10  # eV Å / e^2


def main() -> None:
    (SAMPLE_DATA / "pictures").mkdir(exist_ok=True)
    for name, draw in (("ethanol", ethanol), ("ion_pair", ion_pair), ("water_box", water_box)):
        frames = ase.io.read(SAMPLE_DATA / f"{name}.xyz.gz", ":", format="extxyz")
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
        draw(frames, *axes)
        figure.savefig(SAMPLE_DATA / "pictures" / f"{name}.png", dpi=90)
        plt.close(figure)


def ethanol(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Energy along three trajectories; distribution of the charge of each kind of atom."""
    lowest = min(frame.info["REF_energy"] for frame in frames)
    for trajectory in range(3):
        energies = [f.info["REF_energy"] - lowest for f in frames if f.info["trajectory"] == trajectory]
        left.plot(0.02 * np.arange(len(energies)), energies, linewidth=1)
    left.set(xlabel="time / ps", ylabel="energy / eV above lowest", title="three of ten trajectories")
    charges = np.array([frame.arrays["REF_charges"] for frame in frames])
    symbols = np.array(frames[0].get_chemical_symbols())
    hydroxyl = np.flatnonzero(symbols == "H")[frames[0].get_distances(2, symbols == "H").argmin()]
    for label, atoms in (
        ("O", symbols == "O"),
        ("C", symbols == "C"),
        ("H on C", (symbols == "H") & (np.arange(len(symbols)) != hydroxyl)),
        ("H on O", [hydroxyl]),
    ):
        right.hist(
            charges[:, atoms].ravel(), bins=40, density=True, histtype="stepfilled", alpha=0.6, label=label
        )
    right.set(xlabel="Mulliken charge / e", ylabel="density", title="charges follow the geometry")
    right.legend(fontsize=7, frameon=False)


def ion_pair(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Interaction energy against distance; its deviation from Coulomb's law."""
    distances = np.linspace(3.2, 15, 200)
    left.plot(distances, -COULOMB / distances, color="black", linewidth=1, label="−14.4 eV Å / R")
    for split, colour in (("near", "tab:blue"), ("far", "tab:orange")):
        part = [frame for frame in frames if frame.info["split"] == split]
        distance = np.array([frame.info["distance"] for frame in part])
        energy = np.array([frame.info["interaction_energy"] for frame in part])
        left.plot(distance, energy, ".", markersize=3, color=colour, label=split)
        right.plot(distance, energy + COULOMB / distance, ".", markersize=3, color=colour)
    left.set(xlabel="R between centres of charge / Å", ylabel="interaction / eV", title="20 orientations")
    left.legend(fontsize=7, frameon=False)
    right.axhline(0, color="black", linewidth=1)
    right.set(xlabel="R / Å", ylabel="interaction + 14.4/R / eV", ylim=(-0.5, 0.5), title="what Coulomb leaves")


def water_box(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Radial distribution functions up to half the box; distribution of the pressure."""
    edges = np.linspace(0.8, frames[0].cell.lengths()[0] / 2, 60)
    volumes = 4 / 3 * np.pi * np.diff(edges**3)
    oxygen = frames[0].symbols.search("O")
    hydrogen = frames[0].symbols.search("H")
    for label, others in (("O–O", oxygen), ("O–H", hydrogen)):
        counts = np.zeros(len(volumes))
        for frame in frames:
            distances = frame.get_all_distances(mic=True)[np.ix_(oxygen, others)]
            counts += np.histogram(distances[distances > 0], edges)[0]
        density = len(others) / frames[0].get_volume()
        curve = counts / (len(frames) * len(oxygen) * density * volumes)
        left.plot((edges[1:] + edges[:-1]) / 2, curve, linewidth=1, label=label)
    left.set(xlabel="r / Å", ylabel="g(r)", ylim=(0, 5), title="up to half the box")
    left.legend(fontsize=7, frameon=False)
    pressures = [-np.trace(frame.info["REF_stress"]) / 3 / units.GPa for frame in frames]
    right.hist(pressures, bins=20, color="tab:gray")
    right.set(xlabel="pressure without kinetic part / GPa", ylabel="frames", title="stress labels")


if __name__ == "__main__":
    main()
