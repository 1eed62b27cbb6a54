"""Questions to a model about itself: which atom moves which force, whether that is what it attends to, and what
symmetries it keeps only nearly. Each works for every model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata
from torch import Tensor

from workbench.diagnostics import Attention
from workbench.graphs import collate, graph
from workbench.models.contract import Potential
from workbench.predict import check, predict

ATOMS_TOGETHER = 500  # in one batch of turned copies


def influence(model: Potential, atoms: ase.Atoms, memory_GB: float = 0.5) -> np.ndarray:
    """How much moving one atom changes the force on another, for all pairs.

    memory_GB   about how much the vectorised passes may take; a GPU is faster with more, a CPU hardly
    returns     (n_atoms, n_atoms) eV/Å^2: at [i, j] the Frobenius norm of the 3 x 3 block d force_i / d position_j;
                in a crystal j moves with all its images

    Where forces are the gradient of the energy this is the Hessian, and symmetric; where a model gives forces directly
    it need not be. It takes 3 n_atoms backward passes through the forces of `predict`, many at a time.

    This is what moves the prediction, and attention is not: see `rank_correlation`. Raises ValueError as `predict`
    does.
    """
    check(model, atoms)
    # A copy, so that the caller's model is not touched. In training mode no model takes a kernel that can be
    # differentiated only once.
    twin = copy.deepcopy(model).train().requires_grad_(False)
    batch = collate([graph(atoms, model.cutoff)]).to(model.device)
    positions = batch.positions.detach().requires_grad_(True)
    kept: dict[int, int] = {}  # bytes of every tensor that the way back needs

    def measure(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(measure, lambda tensor: tensor):
        output = twin(replace(batch, positions=positions))
        forces = output.forces
        if "forces" not in model.gives and output.atom_energies.requires_grad:
            energy = output.atom_energies.double().sum()
            (forces,) = torch.autograd.grad(-energy, positions, create_graph=True)
    if forces is None or not forces.requires_grad:  # a lone atom, whose energy is the same everywhere
        return np.zeros((len(atoms), len(atoms)))
    # A row of a vectorised backward pass takes about as much as the way there had to keep (measured: 0.8 to 1.0).
    n_together = max(1, int(memory_GB * 1e9 / max(sum(kept.values()), 1)))
    blocks = _jacobian(forces.flatten(), positions, n_together).view(len(atoms), 3, len(atoms), 3)
    return blocks.double().square().sum(dim=(1, 3)).sqrt().cpu().numpy()


def _jacobian(values: Tensor, positions: Tensor, n_together: int) -> Tensor:
    """(n_values, n_atoms, 3) | the derivative of every value, so many of them in one vectorised backward pass."""
    rows = []
    start, vectorised = 0, True
    while start < len(values):
        n = min(n_together if vectorised else 1, len(values) - start)
        chosen = torch.zeros(n, len(values), dtype=values.dtype, device=values.device)
        chosen[torch.arange(n), torch.arange(start, start + n)] = 1
        try:
            rows.append(_backward(values, positions, chosen, vectorised))
        except RuntimeError:
            if not vectorised:
                raise
            vectorised = False  # an operation whose backward pass knows no batches, or no memory: row by row
            continue
        start += n
    return torch.cat(rows)


def _backward(values: Tensor, positions: Tensor, chosen: Tensor, vectorised: bool) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
        (rows,) = torch.autograd.grad(
            values,
            positions,
            chosen if vectorised else chosen[0],
            retain_graph=True,
            is_grads_batched=vectorised,
            materialize_grads=True,
        )
    return rows if vectorised else rows.unsqueeze(0)


def rank_correlation(attention: Attention, influence: np.ndarray) -> np.ndarray:
    """Spearman's correlation between what each head attends to and what moves the forces.

    attention   one layer's, as `predict(..., diagnose=True)` shows it. Of a neighbourhood, the weights by which its
                centre reads the members count
    influence   (n_atoms, n_atoms) as `influence` returns it
    returns     (n_heads,) from -1 to 1 over the pairs of different atoms that the layer lists (an atom listed several
                times, by its images, has the sum of the weights); NaN where all weights or all influences are equal

    +1 says that a head looks most where the forces move most. 0 is no sign of a fault: attention is one step of the
    computation, and what it reads may cancel, or reach the forces through other atoms.

    Raises ValueError for an influence of another size than the attention.
    """
    influence = np.asarray(influence)
    receivers, senders, weights = _listed(attention)
    n_atoms, largest = len(influence), max(receivers.max(initial=0), senders.max(initial=0))
    if influence.shape != (n_atoms, n_atoms) or largest >= n_atoms:
        raise ValueError(
            f"influence has shape {influence.shape}, and the attention speaks of "
            f"{largest + 1} atoms; take both of the same structure"
        )
    apart = receivers != senders
    pairs, place = np.unique(receivers[apart] * n_atoms + senders[apart], return_inverse=True)
    moved = influence.ravel()[pairs]
    return np.array([_spearman(np.bincount(place, head[apart], len(pairs)), moved) for head in weights])


def _listed(attention: Attention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Receivers and senders (n,), and weights (n_heads, n), of one layer in whichever form it is."""
    weights = np.asarray(attention.weights)
    if attention.pairs is not None:
        receivers, senders = np.asarray(attention.pairs).T
        return receivers, senders, weights
    if attention.centers is None:
        receivers, senders = np.indices(weights.shape[1:]).reshape(2, -1)
        return receivers, senders, weights.reshape(len(weights), -1)
    members = np.asarray(attention.members)
    there = members >= 0
    receivers = np.broadcast_to(np.asarray(attention.centers)[:, None], members.shape)[there]
    return receivers, members[there], weights[:, :, 0].transpose(1, 0, 2)[:, there]


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


@dataclass(frozen=True)
class RotationError:
    """How far a model is from treating turned structures alike; zero but for rounding where it is invariant."""

    energy: float  # standard deviation over rotations [eV/atom]
    forces: float  # the same of a force component, in the axes of the structure [eV/Å]
    rms_force: float  # of a force component, to compare with [eV/Å]

    @property
    def relative_forces(self) -> float:
        """`forces` in parts of `rms_force`; NaN where there is no force."""
        return self.forces / self.rms_force if self.rms_force else float("nan")


def rotation_error(
    model: Potential, atoms: ase.Atoms | Sequence[ase.Atoms], n_rotations: int = 20, seed: int = 0
) -> RotationError:
    """What turning a structure, cell and all, does to its energy and, turned back, to its forces.

    atoms         one structure or many; of many, root mean squares over structures and over force components
    n_rotations   random ones for each structure, uniform over all rotations; at least 2

    Deviations are from the mean over the rotations. Raises ValueError as `predict` does.
    """
    frames = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
    if not frames or n_rotations < 2:
        raise ValueError(f"{len(frames)} structures, {n_rotations} rotations; expected at least 1 and 2")
    rng = np.random.default_rng(seed)
    energies, spreads, forces = [], [], []
    for frame in frames:
        turns = Rotation.from_quat(rng.normal(size=(n_rotations, 4))).as_matrix()
        copies = [_turned(frame, turn) for turn in turns]
        n_together = max(1, ATOMS_TOGETHER // len(frame))
        found = [
            p for s in range(0, n_rotations, n_together) for p in predict(model, copies[s : s + n_together])
        ]
        back = np.stack([np.asarray(p.forces, float) @ turn for p, turn in zip(found, turns, strict=True)])
        energies.append(np.var([p.energy for p in found], ddof=1) / len(frame) ** 2)
        spreads.append(back.var(axis=0, ddof=1).ravel())
        forces.append(np.square(back).mean(axis=0).ravel())
    return RotationError(
        energy=float(np.mean(energies) ** 0.5),
        forces=float(np.concatenate(spreads).mean() ** 0.5),
        rms_force=float(np.concatenate(forces).mean() ** 0.5),
    )


def _turned(atoms: ase.Atoms, rotation: np.ndarray) -> ase.Atoms:
    turned = atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    turned.cell = atoms.cell.array @ rotation.T
    return turned


def fragment_error(model: Potential, first: ase.Atoms, second: ase.Atoms, distances: ArrayLike) -> np.ndarray:
    """The energy that two molecules gain from each other's presence, E(both) - E(first) - E(second).

    distances   (n,) Å between their centres of mass, along x
    returns     (n,) eV; a size-consistent model goes to zero far away, and stays there

    Take two different molecules: an attention over all atoms does not notice a second copy of what it knows. Total
    charges add up, and so do unpaired electrons.

    Raises ValueError for a periodic structure, or as `predict` does.
    """
    for atoms in (first, second):
        if atoms.pbc.any():
            raise ValueError(f"a fragment has pbc={atoms.pbc.tolist()}; expected molecules, without a cell")
    alone = [predict(model, atoms).energy for atoms in (first, second)]
    found = []
    for distance in np.atleast_1d(np.asarray(distances, dtype=float)):
        moved = second.copy()
        moved.positions += first.get_center_of_mass() - second.get_center_of_mass() + [distance, 0, 0]
        both = first + moved
        both.info["charge"] = first.info.get("charge", 0) + second.info.get("charge", 0)
        both.info["spin"] = first.info.get("spin", 1) + second.info.get("spin", 1) - 1
        found.append(predict(model, both).energy - sum(alone))
    return np.array(found)
