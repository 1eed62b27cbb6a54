"""One prediction with what the model shows of its inside, as a file and as a short table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np

from workbench.diagnostics import Diagnostics
from workbench.predict import Prediction

SUFFIXES = (".npz", ".json")


def write(path: str | Path, atoms: ase.Atoms, prediction: Prediction) -> Path:
    """Write structure, prediction and diagnostics; what stood there is replaced.

    path   .npz, with names such as "multipoles/0/values", or .json, where these are nested

    Raises ValueError for another suffix, OSError when the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **dict(_leaves(_tree(atoms, prediction))))
    elif path.suffix == ".json":
        path.write_text(
            json.dumps(_lists(_tree(atoms, prediction)), ensure_ascii=False) + "\n", encoding="utf-8"
        )
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected one of {SUFFIXES}")
    return path


def summary(atoms: ase.Atoms, prediction: Prediction) -> list[dict[str, Any]]:
    """A row for everything that was shown: its smallest, mean and largest value over the atoms, and where that is.

    Of a multipole of degree l > 0 the values are norms, which do not depend on the orientation.
    """
    shown = prediction.diagnostics or Diagnostics()
    rows = []
    for m in shown.multipoles:
        for what, values in (("charge", m.values), ("potential [1/Å]", m.potentials)):
            length = values[:, 0] if m.degree == 0 else np.linalg.norm(values, axis=1)
            rows.append(_row(f"{m.label}: {what}" if m.degree == 0 else f"{m.label}: |{what}|", length, atoms))
    rows += [_row(name, values, atoms) for name, values in shown.atoms.items()]
    for a in shown.attention:
        weights = np.asarray(a.weights)
        rows.append(
            {
                "quantity": f"{a.label}: attention {weights.shape}",
                "smallest": float(weights.min()),
                "mean": float(weights.mean()),
                "largest": float(weights.max()),
                "at": "",
            }
        )
    return rows


def largest_force(prediction: Prediction) -> float:
    """eV/Å, of one atom; NaN for a model without forces."""
    if prediction.forces is None:
        return float("nan")
    return float(np.linalg.norm(prediction.forces, axis=1).max())


def _row(name: str, values: np.ndarray, atoms: ase.Atoms) -> dict[str, Any]:
    top = int(values.argmax())
    return {
        "quantity": name,
        "smallest": float(values.min()),
        "mean": float(values.mean()),
        "largest": float(values.max()),
        "at": f"{atoms.symbols[top]}{top}",
    }


def _tree(atoms: ase.Atoms, prediction: Prediction) -> dict[str, Any]:
    shown = prediction.diagnostics or Diagnostics()
    tree: dict[str, Any] = {
        "structure": {
            "numbers": atoms.numbers,
            "positions": atoms.positions,
            "cell": atoms.cell.array,
            "pbc": atoms.pbc,
        },
        "prediction": {
            "energy": prediction.energy,
            "atom_energies": prediction.atom_energies,
            "forces": prediction.forces,
            "stress": prediction.stress,
        },
        "multipoles": {str(k): vars(multipole) for k, multipole in enumerate(shown.multipoles)},
        "attention": {str(k): vars(attention) for k, attention in enumerate(shown.attention)},
        "atoms": dict(shown.atoms),
    }
    return tree


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Names joined by "/" and values, without what is None."""
    for name, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _leaves(branch, f"{path}{name}/")
        elif branch is not None:
            yield f"{path}{name}", branch


def _lists(branch: Any) -> Any:
    if isinstance(branch, Mapping):
        return {name: _lists(value) for name, value in branch.items()}
    return branch.tolist() if isinstance(branch, np.ndarray) else branch
