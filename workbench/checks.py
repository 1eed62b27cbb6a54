"""Checks: what is wrong, or looks wrong, with labelled structures, before a model learns it."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ase
import numpy as np
from ase.data import covalent_radii

from workbench import plausibility
from workbench.plausibility import Complaint, Labelled, close_pairs, far, sound, spans, where

LABELS = ("energy", "forces", "stress", "charges", "dipole")

# Pairs closer than this share of the sum of their covalent radii are on top of each other: the shortest real
# bonds stay above 0.75 of it, and hot dynamics reaches 0.7.
_OVERLAP = 0.5
# What a model whose forces are a gradient cannot learn, per atom; the best published errors are larger [eV/Å].
_NET_FORCE = 1e-3
# All electrons of the heaviest element have -1.4e6 eV, in kJ/mol -1.4e8 [per atom, in the unit of the label].
_LARGEST = 1e9


@dataclass(frozen=True)
class Finding:
    """One complaint about structures: where, what, and what to do.

    severity   "error" (training on it would be wrong) or "warning" (look at it)
    frames     indices into the list that was checked, ascending
    """

    severity: Literal["error", "warning"]
    what: str
    frames: tuple[int, ...]
    fix: str
    name: str

    def __str__(self) -> str:
        return f"{self.name}, {_counted(self.frames)}: {self.what}. {self.fix}"


def labels(atoms: ase.Atoms) -> dict[str, np.ndarray]:
    """The labels of a structure: those of energy (), forces (n_atoms, 3), stress (6,), charges (n_atoms,) and
    dipole (3,) that its calculator holds, in eV, Å and e. Constraints are never applied to the forces.

    Raises ValueError when atoms were moved or changed since they were labelled.
    """
    if atoms.calc is None:
        return {}
    results = getattr(atoms.calc, "results", {})
    found = {name: np.asarray(results[name], dtype=float) for name in LABELS if results.get(name) is not None}
    if found:
        then = atoms.calc.atoms if atoms.calc.atoms is not None else atoms
        changed = [
            what
            for what in ("positions", "numbers", "cell", "pbc")
            if not np.array_equal(
                getattr(then, what), getattr(atoms, what), equal_nan=what in ("positions", "cell")
            )
        ]
        if changed:
            raise ValueError(
                f"{', '.join(changed)} of {atoms.get_chemical_formula()} changed after it was labelled; "
                "compute its labels anew, or set atoms.calc = None"
            )
    return found


def check(
    frames: Sequence[ase.Atoms], needed: Sequence[str] = ("energy", "forces"), name: str | None = None
) -> tuple[Finding, ...]:
    """Everything that is wrong, or looks wrong, with these structures; errors first.

    needed   labels that every frame must have
    name     what to call the structures in the findings; the file's name when `read` made the list

    Finds what is not finite, missing or placeholder labels, atoms on top of each other, cells without volume, net
    forces, duplicates, impossible charge and spin, numbers in another unit, forces of the wrong sign, and frames
    so close in time that a random split would leak. Raises ValueError for a label that does not exist.
    """
    unknown = [label for label in needed if label not in LABELS]
    if unknown:
        raise ValueError(f"needed={tuple(needed)} names {unknown}; expected some of {LABELS}")
    name = str(name or getattr(frames, "name", "structures"))
    if not frames:
        return (Finding("error", "there is no frame", (), "Give at least one structure", name),)
    data = [labels(atoms) for atoms in frames]
    found: list[Finding] = []
    with np.errstate(all="ignore"):  # numbers of damaged files may overflow
        for find in _CHECKS:
            found += [Finding(*complaint, name=name) for complaint in find(frames, data)]
        found += [Finding(*complaint, name=name) for complaint in _missing(frames, data, needed)]
    return tuple(sorted(found, key=lambda finding: finding.severity))


def require(
    frames: Sequence[ase.Atoms], needed: Sequence[str] = ("energy", "forces"), name: str | None = None
) -> tuple[Finding, ...]:
    """The warnings about these structures. Raises ValueError that lists every error `check` finds."""
    findings = check(frames, needed, name)
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if errors:
        raise ValueError("\n".join(["the structures cannot be used:", *errors]))
    return findings


def near_names(wanted: str, names: Sequence[str]) -> list[str]:
    """Those of `names` that somebody who asked for `wanted` may have meant, best first."""
    lowered = {name.lower(): name for name in names}
    close = [lowered[n] for n in difflib.get_close_matches(wanted.lower(), lowered, n=3, cutoff=0.6)]
    containing = [name for name in names if wanted.lower().rstrip("s") in name.lower()]
    return list(dict.fromkeys(close + containing))[:4]


def _counted(frames: Sequence[int]) -> str:
    shown = ", ".join(map(str, frames[:5]))
    more = f" and {len(frames) - 5} more" if len(frames) > 5 else ""
    return f"frame{'s' if len(frames) != 1 else ''} {shown}{more}" if frames else "no frame"


def _missing(frames: Sequence[ase.Atoms], data: Labelled, needed: Sequence[str]) -> Iterator[Complaint]:
    for label in LABELS:
        without = where(lambda i: label not in data[i], len(frames))  # noqa: B023, used at once
        if not without:
            continue
        near = _elsewhere(frames[without[0]], label)
        maybe = f", but {near!r} may hold it" if near else ""
        hint = f"If so, read(path, {label}={near!r})" if near else ""
        if label in needed:
            fix = f"Add {label} to the file, take these frames out, or do not ask for it"
            yield "error", f"no {label}" + maybe, without, hint or fix
        elif len(without) < len(frames):
            fix = f"Add {label} there, or take these frames out before training on it"
            yield "warning", f"no {label}, while the other frames have it" + maybe, without, hint or fix
        elif near:
            yield "warning", f"no {label}" + maybe, without, hint


def _elsewhere(atoms: ase.Atoms, label: str) -> str:
    """A key of the file that by its name may hold a label that was not found, or ""."""
    named = {"energy": "energ", "forces": "forc", "stress": "stress", "charges": "charges", "dipole": "dipole"}[
        label
    ]
    keys = atoms.arrays if label in ("forces", "charges") else atoms.info
    return next((key for key in keys if named in key.lower()), "")


def _finite(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    empty = where(lambda i: len(frames[i]) == 0, len(frames))
    if empty:
        yield "error", "no atoms", empty, "Take these frames out"
    strange = where(lambda i: len(frames[i]) and not 1 <= frames[i].numbers.min() <= 118, len(frames))
    if strange:
        yield "error", "atoms that are no chemical element", strange, "Name their elements in the file"
    for what in ("positions", "cell"):
        bad = where(lambda i: not np.isfinite(getattr(frames[i], what)).all(), len(frames))  # noqa: B023
        if bad:
            yield "error", f"{what} not finite", bad, "Take these frames out: the file is damaged there"
    lost = where(lambda i: far(frames[i]), len(frames))
    if lost:
        yield "error", "positions or cell beyond 1e5 Å", lost, "Check their units; take damaged frames out"
    for label in LABELS:
        bad = where(lambda i: not np.isfinite(data[i].get(label, 0.0)).all(), len(frames))  # noqa: B023
        fix = "Take these frames out, or compute their labels again"
        if bad:
            yield "error", f"{label} holds NaN or infinity", bad, fix
        size = [
            np.abs(d.get(label, 0.0)).max(initial=0.0) / max(len(a), 1)
            for d, a in zip(data, frames, strict=True)
        ]
        huge = where(lambda i: _LARGEST < size[i] < np.inf, len(frames))  # noqa: B023
        if huge:
            yield "error", f"{label} beyond {_LARGEST:g} per atom, more than any there is", huge, fix


def _cells(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    flat = where(lambda i: np.isfinite(frames[i].cell.array).all() and not spans(frames[i]), len(frames))
    if flat:
        yield (
            "error",
            "periodic, but the cell has no volume (thinner than 0.1 Å)",
            flat,
            "Give a proper cell (Å), or set pbc to False",
        )


def _overlaps(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    dense = where(lambda i: plausibility.crowded(frames[i]), len(frames))
    if dense:
        fix = "Check positions, cell and their units; take the frames out if they are broken"
        yield "error", "more than two atoms for each Å^3, on top of each other", dense, fix
    found, example = [], ""
    for index, atoms in enumerate(frames):
        if not sound(atoms):
            continue
        i, j, share = close_pairs(atoms, _OVERLAP)
        if len(i):
            found.append(index)
            closest = int(np.argmin(share))
            distance = share[closest] * covalent_radii[atoms.numbers[[i[closest], j[closest]]]].sum()
            example = example or f"atoms {i[closest]} and {j[closest]} are {distance:.2f} Å apart"
    if found:
        fix = "Check positions, cell and their units; take the frames out if they are broken"
        yield "error", f"atoms on top of each other ({example} in frame {found[0]})", tuple(found), fix


def _net_forces(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    net = [
        np.linalg.norm(d["forces"].sum(0)) / max(len(d["forces"]), 1) if "forces" in d else 0.0 for d in data
    ]
    found = where(lambda i: net[i] > _NET_FORCE, len(frames))
    if found:
        what = f"the forces do not sum to zero: up to {1e3 * max(net):.3g} meV/Å per atom, which no model can learn"
        yield "warning", what, found, "Converge the reference better, or subtract the mean force of each frame"


def _placeholders(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    for label, moving in (("energy", 1), ("forces", 2)):
        # A lone atom has no force, and one frame alone has no spread of energies.
        have = where(lambda i: label in data[i] and len(frames[i]) >= moving, len(frames))  # noqa: B023
        values = {data[i][label].tobytes() for i in have} if label == "energy" else set()
        constant = label == "energy" and len(values) == 1 and len({_key(frames[i]) for i in have}) > 1
        zero = label == "forces" and len(have) > 1 and all(not data[i][label].any() for i in have)
        if constant or zero:
            what = f"every {label} is the same" if constant else "all forces are exactly zero"
            yield "error", f"{what}: placeholders, not labels", have, "Read the key that holds the real ones"
    frozen = [i for i, d in enumerate(data) if "forces" in d and len(d["forces"]) and d["forces"].any()]
    frozen = [i for i in frozen if (~data[i]["forces"].any(axis=1)).mean() > 0.1]
    if len(frozen) > 0.1 * len(frames) and len(frozen) > 1:
        what = "many atoms have exactly zero force: fixed atoms whose labels were zeroed, or perfect symmetry"
        yield "warning", what, tuple(frozen), "Write forces with apply_constraint=False, or mask these atoms"


def _key(atoms: ase.Atoms) -> tuple[Any, ...]:
    """The same for two frames that are the same structure to 1e-4 Å, in the same charge and spin state."""
    places = np.concatenate([atoms.positions, atoms.cell.array])
    rounded = np.round(np.nan_to_num(places, posinf=0.0, neginf=0.0), 4) + 0.0  # -0.0 is 0.0
    state = (atoms.info.get("charge", 0), atoms.info.get("spin", 1))
    return atoms.numbers.tobytes(), rounded.tobytes(), atoms.pbc.tobytes(), state


def _duplicates(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    groups = defaultdict(list)
    for index, atoms in enumerate(frames):
        groups[_key(atoms)].append(index)
    copies = [group for group in groups.values() if len(group) > 1]
    if copies:
        fix = "Keep one of each, so that no copy of a training frame is tested on"
        what = f"the same structure as an earlier frame (frame {copies[0][1]} repeats {copies[0][0]})"
        yield "warning", what, tuple(sorted(i for group in copies for i in group[1:])), fix
    spread = {
        group[0]: np.ptp([float(data[i]["energy"]) for i in group])
        for group in copies
        if all("energy" in data[i] for i in group)
    }
    apart = tuple(sorted(i for i, difference in spread.items() if difference > 1e-3))
    if apart:
        what = f"the same structure appears with energies up to {max(spread.values()):.3g} eV apart"
        yield "warning", what, apart, "Tell the states apart by info['charge'] and info['spin'], or keep one"


def _states(frames: Sequence[ase.Atoms], data: Labelled) -> Iterator[Complaint]:
    def electrons(i: int) -> float:
        return float(frames[i].numbers.sum()) - float(frames[i].info.get("charge", 0))

    spins = [frames[i].info.get("spin", None) for i in range(len(frames))]
    for word in ("charge", "spin"):
        bad = where(lambda i: not np.isfinite(frames[i].info.get(word, 1)), len(frames))  # noqa: B023
        if bad:
            yield "error", f"the {word} is not finite", bad, f"Correct {word}, or leave it out"
    low = where(lambda i: spins[i] is not None and (spins[i] < 1 or spins[i] % 1), len(frames))
    if low:
        fix = "Spin is the multiplicity 2S + 1; add 1 to a number of unpaired electrons"
        yield "error", f"spin is {spins[low[0]]}, which is no multiplicity", low, fix
    odd = where(
        lambda i: spins[i] is not None and i not in low and (electrons(i) + spins[i]) % 2 == 0, len(frames)
    )
    if odd:
        what = f"multiplicity {spins[odd[0]]} is impossible with {electrons(odd[0]):g} electrons"
        yield "warning", what, odd, "Check the total charge and the multiplicity"
    sums = [
        d["charges"].sum() - frames[i].info.get("charge", 0) if "charges" in d else 0
        for i, d in enumerate(data)
    ]
    off = where(lambda i: abs(sums[i]) > 0.05, len(frames))
    if off:
        what = f"atomic charges do not sum to the total charge: {sums[off[0]]:+.2f} e in frame {off[0]}"
        yield "warning", what, off, "Give the total charge as info['charge'], and charges in e"


_CHECKS = (
    _finite,
    _cells,
    _states,
    _overlaps,
    _placeholders,
    _net_forces,
    _duplicates,
    plausibility.lengths,
    plausibility.energies,
    plausibility.force_sizes,
    plausibility.trajectories,
)
