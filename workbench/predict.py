"""From a model and atoms to energy, forces and stress. Tensors stop here: a Prediction is numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from workbench.diagnostics import Diagnostics
from workbench.graphs import Graph, collate, graph
from workbench.models.contract import Output, Potential


@dataclass(frozen=True)
class Properties:
    """What a model says of a Graph, as tensors."""

    energy: Tensor  # (n_structures,) | with the per-element baseline, double precision [eV]
    atom_energies: Tensor  # (n_atoms,) | without the baseline [eV]
    forces: Tensor | None  # (n_atoms, 3) [eV/Å]
    stress: Tensor | None  # (n_structures, 3, 3) | +dE/dstrain / volume, tension positive [eV/Å^3]
    diagnostics: Diagnostics | None


@dataclass(frozen=True)
class Prediction:
    """What a model says of one structure, as numpy."""

    energy: float  # with the per-element baseline [eV]
    atom_energies: np.ndarray  # (n_atoms,) | without the baseline [eV]
    forces: np.ndarray | None  # (n_atoms, 3) [eV/Å]
    stress: np.ndarray | None  # (3, 3) | ASE's sign, tension positive [eV/Å^3]; None without a volume
    diagnostics: Diagnostics | None  # only when asked for


def properties(
    model: Potential,
    graph: Graph,
    *,
    forces: bool = True,
    stress: bool = False,
    diagnose: bool = False,
    create_graph: bool = False,
) -> Properties:
    """Energy of every structure and its derivatives, as tensors on the graph's device.

    Forces are -dE/dr and the stress is dE/dstrain / volume by automatic differentiation, unless the model gives
    them itself. `create_graph` keeps them differentiable, for training on them. The stress of a structure without
    three periodic directions is NaN.
    """
    differentiate_forces = forces and "forces" not in model.gives
    differentiate_stress = stress and "stress" not in model.gives
    graph, strain = _leaves(graph, differentiate_forces, differentiate_stress)
    with torch.set_grad_enabled(create_graph or differentiate_forces or differentiate_stress):
        output = model(graph, diagnose)
        energy = _total(output.atom_energies, graph) + _total(model.baseline[graph.numbers], graph)
    wanted = [
        t for t, wants in ((graph.positions, differentiate_forces), (strain, differentiate_stress)) if wants
    ]
    gradients: list[Tensor] = []
    if wanted:
        found = torch.autograd.grad(energy.sum(), wanted, create_graph=create_graph, allow_unused=True)
        gradients = [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, found, strict=True)]
    all_forces = -gradients.pop(0) if differentiate_forces else output.forces
    all_stress = output.stress
    if differentiate_stress:
        full = graph.pbc.all(dim=1)
        volume = torch.where(full, torch.linalg.det(graph.cell).abs(), torch.nan)
        all_stress = gradients.pop(0) / volume[:, None, None]
    return Properties(
        energy=energy,
        atom_energies=output.atom_energies,
        forces=all_forces if forces else None,
        stress=all_stress if stress else None,
        diagnostics=output.diagnostics,
    )


def _leaves(graph: Graph, forces: bool, stress: bool) -> tuple[Graph, Tensor]:
    """The graph with positions (and, for stress, a strain of everything) that gradients reach."""
    positions = graph.positions.detach().requires_grad_(forces or stress)
    strain = graph.positions.new_zeros(graph.n_structures, 3, 3)
    if not stress:
        return replace(graph, positions=positions), strain
    strain.requires_grad_(True)
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    moved = positions + (positions.unsqueeze(1) @ symmetric[graph.structure_index]).squeeze(1)
    strained = replace(graph, positions=moved, cell=graph.cell + graph.cell @ symmetric)
    return strained, strain


def _total(per_atom: Tensor, graph: Graph) -> Tensor:
    """(n_structures,) | sums over the atoms of each structure, in double precision."""
    zeros = per_atom.new_zeros(graph.n_structures, dtype=torch.float64)
    return zeros.index_add(0, graph.structure_index, per_atom.to(torch.float64))


@overload
def predict(model: Potential, atoms: ase.Atoms, diagnose: bool = False) -> Prediction: ...
@overload
def predict(model: Potential, atoms: Sequence[ase.Atoms], diagnose: bool = False) -> list[Prediction]: ...
def predict(
    model: Potential, atoms: ase.Atoms | Sequence[ase.Atoms], diagnose: bool = False
) -> Prediction | list[Prediction]:
    """Energy, forces and (with three periodic directions) stress of one structure or of many.

    With `diagnose`, the Prediction also carries the model's attention weights, equivariant charges and per-atom
    numbers. Many structures are computed in one batch: hand them over in portions that fit the memory.

    Raises ValueError for no atoms, an element the model was not trained on, positions that are not finite, or a
    periodicity the model cannot treat.
    """
    one = isinstance(atoms, ase.Atoms)
    structures = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
    if diagnose and not one:  # what a model shows belongs to one structure at a time
        return [predict(model, structure, diagnose=True) for structure in structures]
    for structure in structures:
        check(model, structure)
    stress = any(structure.pbc.all() for structure in structures)
    batch = collate([graph(structure, model.cutoff) for structure in structures]).to(model.device)
    predictions = _split(properties(model, batch, stress=stress, diagnose=diagnose), batch)
    return predictions[0] if one else predictions


def check(model: Potential, atoms: ase.Atoms) -> None:
    """Raise ValueError, naming the remedy, when `model` cannot mean anything for `atoms`."""
    if len(atoms) == 0:
        raise ValueError("the structure has no atoms; a prediction needs at least one")
    if not np.isfinite(atoms.positions).all():
        bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1)).tolist()
        raise ValueError(f"positions of atoms {bad[:5]} are not finite; the structure is broken")
    known = model.known.cpu().numpy()
    unknown = sorted(set(atoms.numbers[~known[atoms.numbers]].tolist()))
    if unknown:
        names, trained = (
            ", ".join(chemical_symbols[z] for z in some) for some in (unknown, np.flatnonzero(known).tolist())
        )
        raise ValueError(f"the model was not trained on {names}; it knows {trained}. Train it with such data")
    if int(atoms.pbc.sum()) not in model.periodic:
        raise ValueError(
            f"{model.name} treats {sorted(model.periodic)} periodic directions; the structure has "
            f"pbc={atoms.pbc.tolist()}. Change its pbc (and vacuum) accordingly"
        )


def _split(result: Properties, batch: Graph) -> list[Prediction]:
    """One Prediction per structure of the batch."""

    def numpy(tensor: Tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy()

    ends = np.cumsum(batch.sizes.cpu().numpy())
    predictions = []
    for s, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        predictions.append(
            Prediction(
                energy=float(result.energy[s].detach()),
                atom_energies=numpy(result.atom_energies[start:end]),
                forces=None if result.forces is None else numpy(result.forces[start:end]),
                stress=numpy(result.stress[s]) if result.stress is not None and batch.pbc[s].all() else None,
                diagnostics=None if result.diagnostics is None else result.diagnostics.map(numpy),
            )
        )
    return predictions


__all__ = ["Output", "Prediction", "Properties", "check", "predict", "properties"]
