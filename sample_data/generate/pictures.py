"""Draw sample_data/pictures/: `python sample_data/generate/pictures.py [SET ...]`, one small picture for each set."""

import sys
from collections.abc import Callable
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
    for name in sys.argv[1:] or [path.name.removesuffix(".xyz.gz") for path in SAMPLE_DATA.glob("*.xyz.gz")]:
        frames = ase.io.read(SAMPLE_DATA / f"{name}.xyz.gz", ":", format="extxyz")
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), layout="constrained")
        globals()[name](frames, *axes)
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


def black_phosphorus(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Exfoliation and sliding, with the dispersion and without it."""
    apart = [frame for frame in frames if frame.info["split"] == "exfoliation"]
    slid = [frame for frame in frames if frame.info["split"] == "sliding"]
    for label, with_it in (("with dispersion", 1), ("without", 0)):

        def energy(frame: Atoms, with_it: int = with_it) -> float:
            """meV per atom."""
            total = frame.info["REF_energy"] - (1 - with_it) * frame.info["dispersion_energy"]
            return 1000 * total / len(frame)

        spacing = [frame.info["spacing"] for frame in apart]
        left.plot(spacing, [energy(f) - energy(apart[-1]) for f in apart], ".-", linewidth=1, label=label)
        for way, style in ((0, "-"), (2, ":")):
            path = [f for f in slid if f is slid[0] or f.info["slide"][way]]
            along = np.array([frame.info["slide"][way] for frame in path])
            closed = [*(along / along[1] / len(path)), 1]
            values = [energy(f) - energy(slid[0]) for f in [*path, slid[0]]]
            right.plot(closed, values, "." + style, color=f"C{1 - with_it}", linewidth=1)
    left.set(xlabel="spacing of the layers / Å", ylabel="meV per atom", ylim=(-110, 60), title="exfoliation")
    left.legend(fontsize=7, frameon=False)
    right.set(xlabel="slide / lattice vector", title="sliding: zigzag (line), armchair (dots)")


def charged_clusters(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Energy and charge of an atom drawn away from the cluster, in three states."""
    curve = [frame for frame in frames if frame.info["split"] == "curve"]
    for state in ("Na9Cl8+", "Na8Cl8+", "Na8Cl8"):
        path = [frame for frame in curve if frame.info["state"] == state]
        moved = [frame.info["moved"] for frame in path]
        energy = np.array([frame.info["REF_energy"] for frame in path])
        left.plot(moved, energy - energy.min(), linewidth=1, label=state)
        right.plot(moved, [frame.arrays["REF_charges"][1] for frame in path], linewidth=1)
    left.set(xlabel="an atom drawn out / Å", ylabel="energy / eV", title="what is 10 Å away decides")
    left.legend(fontsize=7, frameon=False)
    right.set(xlabel="an atom drawn out / Å", ylabel="its charge / e", title="and moves charge")


def cumulene(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Torsion profiles; height of the barrier against length."""
    lengths, barriers = sorted({frame.info["n_carbon"] for frame in frames}), []
    for n_carbon in lengths:
        path = [
            f for f in frames if f.info["split"] in ("profile", "lengths") and f.info["n_carbon"] == n_carbon
        ]
        energy = np.array([frame.info["REF_energy"] for frame in path])
        left.plot([f.info["torsion"] for f in path], energy - energy.min(), linewidth=1, label=f"C{n_carbon}H4")
        barriers.append(np.ptp(energy))
    left.set(xlabel="torsion / degrees", ylabel="energy / eV", title="end against end")
    left.legend(fontsize=7, frameon=False)
    right.plot([1.275 * (n_carbon - 1) for n_carbon in lengths], barriers, "o-", linewidth=1)
    right.set(xlabel="from end to end / Å", ylabel="barrier / eV", ylim=(0, None), title="beyond any cutoff")


def dimers(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Size of the interaction against distance, for the most strongly bound orientation of each class."""
    for kind in dict.fromkeys(frame.info["kind"] for frame in frames):
        of_kind = [frame for frame in frames if frame.info["kind"] == kind]
        far = [frame for frame in of_kind if frame.info["distance"] == 15]
        strongest = max(far, key=lambda frame: abs(frame.info["interaction_energy"])).info["orientation"]
        path = [frame for frame in of_kind if frame.info["orientation"] == strongest]
        distance = [frame.info["distance"] for frame in path]
        left.loglog(distance, [abs(f.info["interaction_energy"]) for f in path], linewidth=1, label=kind)
    left.set(xlabel="distance / Å", ylabel="|interaction| / eV", title="six classes")
    left.minorticks_off()
    left.set_xticks([3, 5, 10, 15], ["3", "5", "10", "15"])
    left.legend(fontsize=6, frameon=False)
    for split, colour in (("near", "tab:blue"), ("far", "tab:orange")):
        part = [frame for frame in frames if frame.info["split"] == split]
        kinds = [frame.info["kind"].replace("charged", "C").replace("apolar", "A") for frame in part]
        kinds = [kind.replace("polar", "P") for kind in kinds]
        energies = [frame.info["interaction_energy"] for frame in part]
        right.plot(kinds, energies, ".", markersize=3, color=colour, label=split)
    right.set_yscale("symlog", linthresh=1e-3)
    right.set(ylabel="interaction / eV", title="all frames")
    right.legend(fontsize=7, frameon=False)


def malonaldehyde(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Where the proton is, along three trajectories; distribution of its charge."""
    for trajectory in range(3):
        path = [frame for frame in frames if frame.info["trajectory"] == trajectory]
        left.plot(0.02 * np.arange(len(path)), [proton(frame) for frame in path], linewidth=1)
    left.set(xlabel="time / ps", ylabel="d(O–H) − d(O′–H) / Å", title="three of six trajectories")
    right.plot([proton(f) for f in frames], [f.arrays["REF_charges"][5] for f in frames], ".", markersize=3)
    right.set(xlabel="d(O–H) − d(O′–H) / Å", ylabel="charge of the proton / e", title="all frames")


def proton(frame: Atoms) -> float:
    """How much further the proton is from one oxygen than from the other [Å]."""
    return frame.get_distance(3, 5) - frame.get_distance(4, 5)


def small_molecules(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Energies of atomisation; what a sum over the elements leaves of them."""
    size = np.array([len(frame) for frame in frames])
    energy = np.array([frame.info["atomisation_energy"] for frame in frames])
    left.plot(size, energy, ".", markersize=3)
    left.set(xlabel="atoms", ylabel="atomisation / eV", title="99 molecules")
    elements = sorted({number for frame in frames for number in frame.numbers})
    counts = np.array([[(frame.numbers == element).sum() for element in elements] for frame in frames])
    rest = energy - counts @ np.linalg.lstsq(counts, energy, rcond=None)[0]
    right.hist(rest, bins=50, color="tab:gray")
    right.set(xlabel="eV", ylabel="frames", title="less a fit to the composition")


def sodium_chloride(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Energy against volume; distribution of the pressure."""
    curve = [frame for frame in frames if frame.info["split"] == "volumes"]
    energy = np.array([frame.info["REF_energy"] for frame in curve]) / 8
    left.plot(
        [frame.info["lattice"] for frame in curve], energy - energy.min(), "o-", markersize=3, linewidth=1
    )
    left.axvline(5.64, color="black", linewidth=1, linestyle=":")
    left.set(xlabel="lattice constant / Å (dots: measured)", ylabel="eV per NaCl", title="perfect crystals")
    stresses(frames, right, lambda frame: "perfect" if frame.info["split"] == "volumes" else "hot and strained")


def lithium_crystals(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Charge of lithium in each crystal; distribution of the pressure."""
    for crystal in dict.fromkeys(frame.info["crystal"] for frame in frames):
        part = [frame for frame in frames if frame.info["crystal"] == crystal]
        charges = np.concatenate([frame.arrays["REF_charges"][frame.symbols == "Li"] for frame in part])
        left.hist(charges, bins=40, density=True, histtype="stepfilled", alpha=0.6, label=crystal)
    left.set(xlabel="Mulliken charge of Li / e", ylabel="density", title="four crystals")
    left.legend(fontsize=7, frameon=False)
    stresses(frames, right, lambda frame: frame.info["crystal"])


def formate_copper(frames: list[Atoms], left: plt.Axes, right: plt.Axes) -> None:
    """Energy along the path; charges of the carbon, of the hydrogen and of the metal along it."""
    path = [frame for frame in frames if frame.info["split"] == "path"]
    progress = [frame.info["progress"] for frame in path]
    energy = np.array([frame.info["REF_energy"] for frame in path])
    left.plot(progress, energy - energy[0], "o-", markersize=3, linewidth=1)
    left.set(xlabel="HCOO on Cu → CO2 + H on Cu", ylabel="energy / eV", title="along the path")
    for label, atoms in (("H", [-4]), ("C", [-3]), ("O, both", [-2, -1]), ("Cu, all", slice(0, -4))):
        right.plot(progress, [f.arrays["REF_charges"][atoms].sum() for f in path], linewidth=1, label=label)
    right.set(xlabel="along the path", ylabel="Mulliken charge / e", title="charge goes over to the metal")
    right.legend(fontsize=7, frameon=False)


def stresses(frames: list[Atoms], axes: plt.Axes, kind: Callable[[Atoms], str]) -> None:
    """Distribution of the pressure in each kind of frame."""
    for word in dict.fromkeys(map(kind, frames)):
        part = [frame for frame in frames if kind(frame) == word]
        pressures = [-np.trace(frame.info["REF_stress"]) / 3 / units.GPa for frame in part]
        axes.hist(pressures, bins=20, alpha=0.6, label=word)
    axes.set(xlabel="pressure / GPa", ylabel="frames", title="stress labels")
    axes.legend(fontsize=7, frameon=False)


if __name__ == "__main__":
    main()
