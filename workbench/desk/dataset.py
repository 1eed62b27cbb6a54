"""What a browser of data sets is handed: the numbers of every frame, what stands out, and what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import units
from ase.data import covalent_radii
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from workbench import catalogue, flags
from workbench.checks import check, labels
from workbench.plausibility import close_pairs, sound
from workbench.splits import Baseline

_REACH = 2.3  # bond lengths: an atom with nobody closer has no nearest neighbour
_LISTED = 100  # outliers
_G_PER_CM3 = 1.66053907  # of 1 amu/Å^3

# A frame may be remarkable by these; a frame's number or what else the file holds makes none.
_JUDGED = (
    "energy per atom above the baseline [eV]",
    "energy per atom [eV]",
    "largest force [eV/Å]",
    "net force per atom [eV/Å]",
    "pressure [GPa]",
    "shortest distance [Å]",
    "density [g/cm³]",
)


def dataset(
    source: str | Path | Sequence[ase.Atoms],
    *,
    baseline: bool = True,
    limit: int = 10_000,
    threshold: float = 6.0,
    progress: bool = True,
) -> dict[str, Any]:
    """Keyword arguments of `widgets.DatasetBrowser`: a data set's columns, distributions, outliers and warnings.

    source      a name of the catalogue, a file, or structures
    baseline    take an energy per element, fitted to the whole set, from the energies
    limit       of more frames than this, as many are taken, evenly spaced; the title says so
    threshold   how many robust standard deviations from the median make an outlier
    progress    show a bar while the frames are measured, when there are many

    >>> DatasetBrowser(**desk.dataset("ethanol"))                             # doctest: +SKIP

    Raises FileNotFoundError or ValueError for a source that cannot be read, ValueError for no frame.
    """
    every, name = _frames(source)
    if len(every) == 0:
        raise ValueError(f"{name}: there is no frame in it; give at least one structure")
    numbers = np.unique(np.linspace(0, len(every) - 1, min(limit, len(every))).round().astype(int))
    whole = len(numbers) == len(every)
    frames = every if whole else [every[int(number)] for number in numbers]
    measured = Measured.of(frames, baseline, progress and len(frames) > 500)
    findings = getattr(every, "findings", None) if whole else None
    measured.columns["frame"] = numbers.astype(float)
    shown = outliers(measured.columns, threshold)
    return {
        "frames": frames,
        "columns": measured.columns,
        "distributions": measured.distributions(),
        "parts": _parts(frames),
        "outliers": [(o.frame, o.reason) for o in shown[:_LISTED]],
        "warnings": check(frames, needed=(), name=name) if findings is None else findings,
        "numbers": numbers,
        "title": _title(name, frames, measured, len(every), len(shown)),
    }


def _frames(source: str | Path | Sequence[ase.Atoms]) -> tuple[Sequence[ase.Atoms], str]:
    if isinstance(source, str | Path):
        if str(source) in catalogue.DATASETS and not Path(source).exists():
            return catalogue.load(str(source)), str(source)
        return flags.frames(str(source)), Path(source).name  # which says what there is, if it is neither
    return source, str(getattr(source, "name", "structures"))


def _parts(frames: Sequence[ase.Atoms]) -> list[str] | None:
    """What `info["split"]` says of every frame; None where it says nothing."""
    if not any("split" in atoms.info for atoms in frames):
        return None
    return [str(atoms.info.get("split", "no part")) for atoms in frames]


@dataclass(frozen=True)
class Measured:
    """Numbers of every frame.

    columns    name with its unit -> (n_frames,), NaN where a frame has none
    samples    name with its unit -> (values, frames), both (n,): numbers of which a frame has many
    baseline   what was taken from the energies; None: nothing
    """

    columns: dict[str, np.ndarray]
    samples: dict[str, tuple[np.ndarray, np.ndarray]]
    baseline: Baseline | None

    @classmethod
    def of(cls, frames: Sequence[ase.Atoms], baseline: bool = True, progress: bool = False) -> Measured:
        """Measure these frames; what no frame has makes no column."""
        rows, many = [], []
        for atoms in tqdm(frames, unit="frame", disable=not progress, file=sys.stdout, leave=False):
            held, nearest = labels(atoms), nearest_distances(atoms)
            rows.append(_row(atoms, held, nearest))
            many.append(_many(held, nearest))
        columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in _named(rows)}
        fitted = _baseline(frames) if baseline else None
        if fitted is not None:
            energies = columns["energy per atom [eV]"]
            above = [e - fitted.of(atoms) / len(atoms) for e, atoms in zip(energies, frames, strict=True)]
            columns = {"energy per atom above the baseline [eV]": np.array(above), **columns}
        samples = {}
        for name in _named(many):
            values = [row.get(name, np.empty(0)) for row in many]
            index = np.repeat(np.arange(len(frames)), [len(v) for v in values])
            samples[name] = (np.concatenate(values), index)
        return cls({**columns, **_of_the_file(frames)}, samples, fitted)

    def distributions(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What to make histograms of: the labels and the shapes of the structures."""
        wanted: tuple[str, ...] = (
            "energy per atom above the baseline [eV]", "force component [eV/Å]", "force on an atom [eV/Å]",
            "pressure [GPa]", "stress component [GPa]", "distance to the nearest neighbour [Å]",
            "number of atoms", "volume per atom [Å³]", "density [g/cm³]", "atomic charge [e]", "dipole [e Å]",
        )  # fmt: skip
        every = np.arange(len(next(iter(self.columns.values()))))
        of_frames = {name: (values, every) for name, values in self.columns.items()}
        if self.baseline is None:
            wanted = ("energy per atom [eV]", *wanted)
        return {
            name: {**of_frames, **self.samples}[name]
            for name in wanted
            if name in {**of_frames, **self.samples}
        }


def _named(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _row(atoms: ase.Atoms, held: Mapping[str, np.ndarray], nearest: np.ndarray) -> dict[str, float]:
    """One number of each kind that this frame has."""
    row: dict[str, float] = {}
    forces = held.get("forces")
    if forces is not None and len(forces):
        row["root mean square force [eV/Å]"] = float(np.sqrt((forces**2).sum(axis=1).mean()))
        row["largest force [eV/Å]"] = float(np.linalg.norm(forces, axis=1).max())
        row["net force per atom [eV/Å]"] = float(np.linalg.norm(forces.sum(axis=0)) / len(forces))
    if "energy" in held and len(atoms):
        row["energy per atom [eV]"] = float(held["energy"]) / len(atoms)
    if "stress" in held:
        row["pressure [GPa]"] = -float(held["stress"][:3].mean()) / units.GPa
    if np.isfinite(nearest).any():
        row["shortest distance [Å]"] = float(np.nanmin(nearest))
    row["number of atoms"] = len(atoms)
    if atoms.pbc.all() and len(atoms) and np.isfinite(atoms.cell.array).all() and atoms.cell.volume > 0:
        row["volume per atom [Å³]"] = float(atoms.cell.volume) / len(atoms)
        row["density [g/cm³]"] = _G_PER_CM3 * float(atoms.get_masses().sum() / atoms.cell.volume)
    if "dipole" in held:
        row["dipole [e Å]"] = float(np.linalg.norm(held["dipole"]))
    return row


def _many(held: Mapping[str, np.ndarray], nearest: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers of which this frame has many."""
    found = {"distance to the nearest neighbour [Å]": nearest}
    if "forces" in held:
        found["force component [eV/Å]"] = held["forces"].ravel()
        found["force on an atom [eV/Å]"] = np.linalg.norm(held["forces"], axis=1)
    if "stress" in held:
        found["stress component [GPa]"] = held["stress"] / units.GPa
    if "charges" in held:
        found["atomic charge [e]"] = held["charges"]
    return found


def nearest_distances(atoms: ase.Atoms) -> np.ndarray:
    """Distance of every atom to the nearest other one, periodic images included, (n_atoms,) [Å]; NaN where nobody is
    within 2.3 bond lengths, and where distances cannot be computed."""
    nearest = np.full(len(atoms), np.inf)
    if sound(atoms):
        i, j, share = close_pairs(atoms, _REACH)
        distances = share * (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]])
        np.minimum.at(nearest, i, distances)
        np.minimum.at(nearest, j, distances)
    return np.where(np.isfinite(nearest), nearest, np.nan)


def _baseline(frames: Sequence[ase.Atoms]) -> Baseline | None:
    """The energies per element; None where an element is in no frame with a finite energy.

    Of every composition the frame of the median energy stands for all, so that a few wrong energies shift nothing.
    """
    same: dict[str, list[tuple[float, ase.Atoms]]] = {}
    for atoms in frames:
        energy = labels(atoms).get("energy")
        if len(atoms) and energy is not None and np.isfinite(energy):
            same.setdefault(atoms.get_chemical_formula(), []).append((float(energy), atoms))
    found: list[ase.Atoms] = []
    for of_one in same.values():
        of_one.sort(key=lambda pair: pair[0])
        found += [of_one[len(of_one) // 2][1]] * len(of_one)
    if not found or {z for atoms in frames for z in atoms.numbers} - {
        z for atoms in found for z in atoms.numbers
    }:
        return None
    return Baseline.fit(found)


def _of_the_file(frames: Sequence[ase.Atoms]) -> dict[str, np.ndarray]:
    """What else the file says of the frames in numbers that differ; their unit is the file's."""
    columns = {}
    for key in _named([atoms.info for atoms in frames]):
        values = [atoms.info.get(key, np.nan) for atoms in frames]
        if all(isinstance(v, int | float | np.number) for v in values):
            numbers = np.array(values, dtype=float)
            if np.isfinite(numbers).any() and len(np.unique(numbers[np.isfinite(numbers)])) > 1:
                columns[f"{key} (as in the file)"] = numbers
    return columns


@dataclass(frozen=True)
class Outlier:
    """One frame that stands out.

    score   robust standard deviations from the median; its sign says on which side
    """

    frame: int
    column: str
    value: float
    score: float

    @property
    def reason(self) -> str:
        """The same in words; σ is the robust standard deviation."""
        quantity, _, unit = self.column.removesuffix("]").partition(" [")
        side = "above" if self.score > 0 else "below"
        return f"{quantity} {self.value:.4g} {unit}, {abs(self.score):.1f} σ {side} the median"


def outliers(columns: Mapping[str, np.ndarray], threshold: float = 6.0) -> list[Outlier]:
    """Frames that lie far from the median in one of the columns that are judged, the farthest first, each once.

    The robust standard deviation is 1.4826 times the median absolute deviation; where that vanishes (more than half of
    the values are the same), 1.2533 times the mean absolute deviation. Iglewicz and Hoaglin, How to Detect and Handle
    Outliers (1993).
    """
    worst: dict[int, Outlier] = {}
    for name in _JUDGED:
        if name not in columns or (name == _JUDGED[1] and _JUDGED[0] in columns):
            continue
        values = np.asarray(columns[name], float)
        for frame in np.flatnonzero(np.abs(scores := robust_scores(values)) > threshold):
            found = Outlier(int(frame), name, float(values[frame]), float(scores[frame]))
            if int(frame) not in worst or abs(found.score) > abs(worst[int(frame)].score):
                worst[int(frame)] = found
    return sorted(worst.values(), key=lambda outlier: -abs(outlier.score))


def robust_scores(values: np.ndarray) -> np.ndarray:
    """How many robust standard deviations every value lies from the median, (n,); 0 where there is no number."""
    there = np.isfinite(values)
    scores = np.zeros(len(values))
    if there.sum() < 3:
        return scores
    deviations = values[there] - np.median(values[there])
    spread = 1.4826 * np.median(np.abs(deviations)) or 1.2533 * np.abs(deviations).mean()
    # Numbers that differ by rounding alone do not stand out.
    if spread > 1e-9 * np.abs(values[there]).max():
        scores[there] = deviations / spread
    return scores


def _title(name: str, frames: Sequence[ase.Atoms], measured: Measured, n_all: int, n_outliers: int) -> str:
    """One paragraph: how much there is, of what, with which labels, and what was left out of the panel."""
    formulas = list(dict.fromkeys(atoms.get_chemical_formula() for atoms in frames))
    sizes = measured.columns["number of atoms"]
    size = f"{sizes.min():.0f}" if np.ptp(sizes) == 0 else f"{sizes.min():.0f} to {sizes.max():.0f}"
    kinds = formulas[0] if len(formulas) == 1 else f"{len(formulas)} compositions"
    title = catalogue.DATASETS[name].title if name in catalogue.DATASETS else name
    words = [f"{title}: {n_all} frames of {size} atoms, {kinds}."]
    if n_all > len(frames):
        words.append(f"Only {len(frames)} of them are here, evenly spaced: the limit.")
    held = [
        label for label in ("energy", "forces", "stress", "charges", "dipole") if label in _labels_of(frames)
    ]
    words.append(
        f"Labels: {', '.join(held)}." if held else "No frame has a label: nothing here can be learned."
    )
    if measured.baseline is not None:
        sums = ", ".join(f"{s} {e:.3f} eV" for s, e in measured.baseline.energies.items())
        one = len(set(measured.baseline.energies.values())) == 1
        words.append("Baseline: the median energy." if one else f"Baseline fitted to the set: {sums}.")
    if n_outliers:
        listed = f"; the first {_LISTED} are listed" if n_outliers > _LISTED else ""
        words.append(f"{n_outliers} stand out (σ: robust standard deviation{listed}).")
    return " ".join(words)


def _labels_of(frames: Sequence[ase.Atoms]) -> set[str]:
    return {label for atoms in frames for label in labels(atoms)}
