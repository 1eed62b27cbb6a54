"""What the long-range lens is handed: two fragments pulled apart, and what models and a reference say of it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ase
import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from workbench import catalogue
from workbench.analysis import separate
from workbench.checks import labels
from workbench.desk.tail import tail
from workbench.models.contract import Potential
from workbench.predict import predict

#: Fragments this far apart [Å] count as separate: two elementary charges still differ by 1.4 meV from infinity.
_FAR = 1e4
_TRAINED = ("near", "train")  # parts of a split that are trained on
_RIGID = 1e-4  # Å


@dataclass(frozen=True)
class Curve:
    """What one model, or the reference, says along the way.

    distance   (n,)           [Å]
    energy     (n,)           from the separation's zero [eV]
    force      (n,)           on the fragment that moves, along the way: positive pushes the two apart [eV/Å]
    limit      energy of the fragments far apart, from the same zero [eV]; NaN where it is not known
    charges    (n, n_atoms)   or None
    label      what the charges are
    unit       of the charges
    measured   at these distances alone, not along the whole way
    """

    distance: np.ndarray
    energy: np.ndarray
    force: np.ndarray
    limit: float = np.nan
    charges: np.ndarray | None = None
    label: str = ""
    unit: str = ""
    measured: bool = False


@dataclass(frozen=True)
class Separation:
    """Two rigid fragments on their way apart, and what is said of them.

    distance   (n,)   between the fragments' middles [Å]
    frames     (n,)   structures, one for each distance
    moving     (n_moving,)   atoms of the fragment that moves
    curves     name -> Curve
    cutoffs    (name, cutoff, distance) [Å]: from this distance on no atom is within the cutoff of the other fragment
    trained    from and to, of the distances that were trained on [Å]; None where nobody knows
    zero       what the energies are counted from, in words
    """

    distance: np.ndarray
    frames: list[ase.Atoms]
    moving: np.ndarray
    curves: Mapping[str, Curve]
    cutoffs: tuple[tuple[str, float, float], ...] = ()
    trained: tuple[float, float] | None = None
    zero: str = ""


def separation(
    source: str | Sequence[ase.Atoms],
    models: Mapping[str, Potential] | None = None,
    *,
    reference: Any = None,
    reference_name: str = "",
    orientation: int = 0,
    distances: Sequence[float] | None = None,
    n_points: int = 48,
    trained: tuple[float, float] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Keyword arguments of `widgets.LongRangeLens`: energies and forces of two fragments drawn apart.

    source           a name of the catalogue ("dimers", "ion_pair"); labelled structures of such curves; or two
                     structures, the fragments, where they stand: the second is moved away from the first
    models           what to call it -> model, e.g. {"LOREM": model, "local twin": other}; computed in double precision
    reference        for two fragments: an ASE calculator. Labelled structures bring their own
    reference_name   what to call it; by default the method that the catalogue names
    orientation      which orientation of every pair of the set, counted from 0
    distances        Å, where to compute; by default where there are labels and, for the models, at `n_points` more,
                     evenly, along the whole curve (for two fragments: from where they stand to 12 Å further)
    trained          from and to [Å], of the distances that were trained on; by default those of the frames whose
                     `info["split"]` is "near" or "train"

    >>> LongRangeLens(**desk.separation("ion_pair", {"LOREM": model}))        # doctest: +SKIP

    Raises KeyError for an unknown name, ValueError for structures that are no two rigid fragments, or when there is
    nothing to draw: neither a label, nor a reference, nor a model.
    """
    models = {} if models is None else dict(models)
    for name, model in models.items():
        if not isinstance(model, Potential):
            raise ValueError(
                f"models[{name!r}] is a {type(model).__name__}; expected a model, as build() makes"
            )
    exact = {name: copy.deepcopy(model).double().eval() for name, model in models.items()}
    # Labels alone are known where they are, and nowhere between.
    between = n_points if models or reference is not None else 0
    paths = list(_paths(source, orientation, distances, between, trained))
    method = reference_name or (catalogue.DATASETS[source].method if isinstance(source, str) else "reference")
    n_steps = sum(len(path.frames) for path in paths) * max(len(exact), 1)
    found = {}
    with tqdm(total=n_steps, unit="structure", disable=not progress, file=sys.stdout, leave=False) as bar:
        for path in paths:
            found[path.name] = _followed(path, exact, reference, method, bar)
    return {"separations": found, "fit": tail}


@dataclass(frozen=True)
class _Path:
    """One pair of fragments on its way.

    labelled   (distance, structure) of those that a data set has labelled
    """

    name: str
    distance: np.ndarray
    frames: list[ase.Atoms]
    moving: np.ndarray
    axis: np.ndarray
    labelled: list[tuple[float, ase.Atoms]] = field(default_factory=list)
    trained: tuple[float, float] | None = None


def _paths(
    source: str | Sequence[ase.Atoms],
    orientation: int,
    distances: Sequence[float] | None,
    n_points: int,
    trained: tuple[float, float] | None,
) -> Iterator[_Path]:
    """The pairs that the source holds."""
    frames = catalogue.load(source) if isinstance(source, str) else list(source)
    if not frames:
        raise ValueError("got no structures; expected a labelled curve, or two fragments")
    if not isinstance(source, str) and len(frames) == 2 and not all(labels(atoms) for atoms in frames):
        yield _drawn_apart(frames[0], frames[1], distances, n_points, trained)
        return
    pairs: dict[str, dict[Any, list[ase.Atoms]]] = {}
    for atoms in frames:
        kind = f" ({atoms.info['kind']})" if "kind" in atoms.info else ""
        pair = f"{atoms.info.get('pair', atoms.get_chemical_formula())}{kind}"
        pairs.setdefault(pair, {}).setdefault(atoms.info.get("orientation", 0), []).append(atoms)
    for name, orientations in pairs.items():
        if not 0 <= orientation < len(orientations):
            raise ValueError(
                f"{name} has {len(orientations)} orientations; orientation={orientation} is none of them"
            )
        yield _labelled(name, list(orientations.values())[orientation], distances, n_points, trained)


def _drawn_apart(
    one: ase.Atoms,
    other: ase.Atoms,
    distances: Sequence[float] | None,
    n_points: int,
    trained: tuple[float, float] | None,
) -> _Path:
    pair = one + other
    pair.calc = None
    pair.info = {"charge": one.info.get("charge", 0) + other.info.get("charge", 0), "spin": 1}
    between = other.get_center_of_mass() - one.get_center_of_mass()
    here = float(np.linalg.norm(between))
    if here < 1e-6:
        raise ValueError(
            "the centres of the two fragments coincide; move one of them, e.g. other.translate((4, 0, 0))"
        )
    wanted = (
        np.linspace(here, here + 12, n_points) if distances is None else np.sort(np.asarray(distances, float))
    )
    moving = np.arange(len(one), len(pair))
    name = f"{one.get_chemical_formula()} and {other.get_chemical_formula()}"
    return _Path(name, wanted, separate(pair, moving, wanted), moving, between / here, [], trained)


def _labelled(
    name: str,
    frames: Sequence[ase.Atoms],
    distances: Sequence[float] | None,
    n_points: int,
    trained: tuple[float, float] | None,
) -> _Path:
    moving, axis = two_fragments(name, frames)
    along = np.array([_middle(atoms, moving) @ axis for atoms in frames])
    # What the file calls the distance may be between other points, e.g. the centres of charge.
    if all("distance" in atoms.info for atoms in frames):
        along += float(frames[0].info["distance"]) - along[0]
    order = np.argsort(along)
    if distances is None:
        wanted = np.union1d(np.linspace(along[order[0]], along[order[-1]], n_points), along)
        wanted = wanted[np.diff(wanted, prepend=-np.inf) > 1e-6]
    else:
        wanted = np.sort(np.asarray(distances, float))
    first = frames[order[0]]
    moved = []
    for distance in wanted:
        atoms = first.copy()
        atoms.positions[moving] += (distance - along[order[0]]) * axis
        moved.append(atoms)
    if trained is None:
        seen = [along[i] for i in order if frames[i].info.get("split") in _TRAINED]
        trained = (float(min(seen)), float(max(seen))) if seen else None
    labelled = [(float(along[i]), frames[i]) for i in order]
    return _Path(name, wanted, moved, moving, axis, labelled, trained)


def _middle(atoms: ase.Atoms, moving: np.ndarray) -> np.ndarray:
    """From the middle of the one fragment to that of the other, (3,)."""
    stays = np.setdiff1d(np.arange(len(atoms)), moving)
    return np.asarray(atoms[moving].get_center_of_mass() - atoms[stays].get_center_of_mass())


def two_fragments(name: str, frames: Sequence[ase.Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """The atoms of the fragment that moves, and the direction (3,) in which it does.

    Raises ValueError unless the frames are one structure whose atoms move as two rigid bodies, along one line.
    """
    first = frames[0]
    trouble = f"{name} is not two rigid fragments drawn apart: "
    if len(frames) < 2 or any(not np.array_equal(atoms.numbers, first.numbers) for atoms in frames):
        raise ValueError(trouble + f"expected two or more frames of the same atoms, got {len(frames)}")
    moves = np.array([atoms.positions - first.positions for atoms in frames])
    moves -= moves[:, :1]  # the pair as a whole may stand anywhere
    farthest = moves[np.abs(moves).max(axis=(1, 2)).argmax()]
    moving = np.flatnonzero(np.linalg.norm(farthest, axis=1) > _RIGID)
    if len(moving) == 0:
        raise ValueError(trouble + "nothing moves")
    axis = farthest[moving[0]] / np.linalg.norm(farthest[moving[0]])
    expected = np.zeros_like(moves)
    expected[:, moving] = (moves[:, moving[0]] @ axis)[:, None, None] * axis
    off = np.abs(moves - expected).max(axis=(1, 2))
    if off.max() > _RIGID:
        worst = int(off.argmax())
        raise ValueError(trouble + f"in frame {worst} an atom is {off[worst]:.2g} Å from where it would be")
    return moving, axis if _middle(first, moving) @ axis > 0 else -axis


# what is said along the way --------------------------------------------------------------------------


def _followed(
    path: _Path, models: Mapping[str, Potential], reference: Any, method: str, bar: Any
) -> Separation:
    curves: dict[str, Curve] = {}
    zero, words = np.nan, ""
    if path.labelled:
        curves[method], zero, words = _of_labels(path)
    elif reference is not None:
        curves[method], zero, words = _of_calculator(path, reference)
    for name, model in models.items():
        curve, far = _of_model(path, name, model, bar)
        if np.isnan(zero):
            zero, words = far, f"the fragments far apart, as {name} has them"
        curves[name] = _from_zero(curve, zero, far)
    if not curves:
        raise ValueError("there is nothing to draw: give models, a reference, or labelled structures")
    cutoffs = tuple(
        (name, float(m.cutoff), leaves(path.frames, path, float(m.cutoff))) for name, m in models.items()
    )
    return Separation(path.distance, path.frames, path.moving, curves, cutoffs, path.trained, words)


def _from_zero(curve: Curve, zero: float, far: float) -> Curve:
    return Curve(
        curve.distance, curve.energy - zero, curve.force, far - zero, curve.charges, curve.label, curve.unit
    )


def _of_labels(path: _Path) -> tuple[Curve, float, str]:
    """The labels of the data set, its zero [eV], and what that is."""
    held = [labels(atoms) for _, atoms in path.labelled]
    if any("energy" not in label or "forces" not in label for label in held):
        raise ValueError(f"{path.name}: frames without energy or forces; take them out")
    distance = np.array([distance for distance, _ in path.labelled])
    energy = np.array([float(label["energy"]) for label in held])
    key = next((k for k in ("interaction_energy", "inter_energy") if k in path.labelled[0][1].info), None)
    if key is not None:
        zero = float(np.mean([e - a.info[key] for e, (_, a) in zip(energy, path.labelled, strict=True)]))
        limit, words = 0.0, "the two fragments alone, as the reference has them"
    else:
        zero, limit, words = energy[-1], np.nan, f"the reference at {distance[-1]:.1f} Å"
    force = np.array([label["forces"][path.moving].sum(axis=0) @ path.axis for label in held])
    charges = (
        np.array([label["charges"] for label in held]) if all("charges" in label for label in held) else None
    )
    named = ("reference charge", "e") if charges is not None else ("", "")
    return Curve(distance, energy - zero, force, limit, charges, *named, measured=True), zero, words


def _of_calculator(path: _Path, calculator: Any) -> tuple[Curve, float, str]:
    """What an ASE calculator says; its zero is the farthest pair, for not every method can treat a fragment alone."""
    energy, force = [], []
    for frame in path.frames:
        atoms = frame.copy()
        atoms.calc = calculator
        energy.append(atoms.get_potential_energy())
        force.append(atoms.get_forces()[path.moving].sum(axis=0) @ path.axis)
    words = f"the reference at {path.distance[-1]:.1f} Å"
    return Curve(path.distance, np.array(energy) - energy[-1], np.array(force)), energy[-1], words


def _of_model(path: _Path, name: str, model: Potential, bar: Any) -> tuple[Curve, float]:
    """What a model says, and its energy [eV] of the fragments far apart."""
    energy, force, charges = [], [], []
    for frame in path.frames:
        found = predict(model, frame, diagnose=True)
        energy.append(found.energy)
        force.append(found.forces[path.moving].sum(axis=0) @ path.axis)  # type: ignore[index]
        multipoles = found.diagnostics.multipoles if found.diagnostics else ()
        charges += [m.values[:, 0] for m in multipoles if m.degree == 0][:1]
        bar.update()
    far = path.frames[-1].copy()
    far.positions[path.moving] += (_FAR - path.distance[-1]) * path.axis
    label = f"learned charge of {name}" if charges else ""
    learned = np.array(charges) if charges else None
    return Curve(path.distance, np.array(energy), np.array(force), charges=learned, label=label), predict(
        model, far
    ).energy


def leaves(frames: Sequence[ase.Atoms], path: _Path, cutoff: float) -> float:
    """The distance [Å] from which on no atom is within the cutoff of the other fragment; NaN where that is nowhere."""
    closest = np.array([closest_atoms(atoms, path.moving) for atoms in frames])
    inside = np.flatnonzero(closest < cutoff)
    if len(inside) == 0 or inside[-1] == len(frames) - 1:
        return float("nan")
    here = int(inside[-1])
    share = (cutoff - closest[here]) / (closest[here + 1] - closest[here])
    return float(path.distance[here] + share * (path.distance[here + 1] - path.distance[here]))


def closest_atoms(atoms: ase.Atoms, moving: np.ndarray) -> float:
    """Distance of the closest atoms of the two fragments [Å]."""
    stays = np.setdiff1d(np.arange(len(atoms)), moving)
    apart = atoms.positions[moving][:, None] - atoms.positions[stays][None]
    return float(np.linalg.norm(apart, axis=-1).min())
