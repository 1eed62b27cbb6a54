"""Taking the net force and the net torque out of forces that are no gradient of an energy."""

from __future__ import annotations

import torch
from torch import Tensor


def fragments(receivers: Tensor, senders: Tensor, n_atoms: int) -> Tensor:
    """(n_atoms,) | which connected piece of the neighbour graph an atom is in, 0..n_fragments - 1."""
    lowest = torch.arange(n_atoms, device=receivers.device)
    while True:
        lower = lowest.scatter_reduce(0, receivers, lowest[senders], "amin")
        lower = lower[lower]  # to the neighbour's neighbour at once: twice as far every time
        if torch.equal(lower, lowest):
            return torch.unique(lowest, return_inverse=True)[1]
        lowest = lower


def without_net_force(forces: Tensor, fragment: Tensor) -> Tensor:
    """F_i less the mean force of its fragment: the least change after which forces sum to zero.

    forces     (n_atoms, 3)   eV/Å
    fragment   (n_atoms,)     as `fragments` returns it
    """
    return forces - _mean(forces, fragment)[fragment]


def without_net_torque(forces: Tensor, positions: Tensor, fragment: Tensor) -> Tensor:
    r"""F_i - w x x_i with I w = \sum_i x_i x F_i, where x_i is seen from the middle of the fragment and I is the
    inertia tensor of equal masses: the least change after which forces turn nothing. The net force stays as it is.

    forces      (n_atoms, 3)   eV/Å
    positions   (n_atoms, 3)   Å, of open structures
    fragment    (n_atoms,)     as `fragments` returns it
    """
    x = positions - _mean(positions, fragment)[fragment]
    identity = torch.eye(3, dtype=x.dtype, device=x.device)
    of_atom = x.square().sum(1)[:, None, None] * identity - x.unsqueeze(2) * x.unsqueeze(1)
    torque = _sum(torch.linalg.cross(x, forces), fragment)
    inertia = _sum(of_atom, fragment)
    # A lone atom or a straight row of atoms cannot be turned about every axis.
    turn = (torch.linalg.pinv(inertia, hermitian=True) @ torque.unsqueeze(2)).squeeze(2)
    return forces - torch.linalg.cross(turn[fragment], x)


def _sum(values: Tensor, fragment: Tensor) -> Tensor:
    n = int(fragment.max()) + 1 if len(fragment) else 0
    return values.new_zeros(n, *values.shape[1:]).index_add(0, fragment, values)


def _mean(values: Tensor, fragment: Tensor) -> Tensor:
    return _sum(values, fragment) / torch.bincount(fragment).unsqueeze(1)
