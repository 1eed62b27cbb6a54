"""Neighbours by soft rank: the nearest ones of every atom, chosen so that they come and go smoothly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

STEP_WIDTH = 0.2  # Å, of the step that counts who is nearer
REACH = 4 * STEP_WIDTH  # Å; the step is exactly 0 or 1 beyond
SHARPNESS = 0.1  # of the soft maximum of ranks and distance


@dataclass(frozen=True)
class Slots:
    """A table of n_slots places for every atom: first the atom itself, then its neighbours by distance, then empty
    places."""

    vectors: Tensor  # (n_atoms, n_slots, 3) | to the neighbour; zero for the atom itself and empty places [Å]
    distances: Tensor  # (n_atoms, n_slots) | likewise [Å]
    log_envelope: Tensor  # (n_atoms, n_slots) | 0 for the atom itself, falling to -inf; -inf for empty places
    members: Tensor  # (n_atoms, n_slots) | which atom; -1 for empty places
    reverse: (
        Tensor  # (n_atoms * n_slots,) | the place of the same pair seen from its other end, or the place itself
    )


def soft_neighbours(
    vectors: Tensor,
    receivers: Tensor,
    senders: Tensor,
    shifts: Tensor,
    n_atoms: int,
    n_neighbours: int,
    cutoff: float,
    n_ranked: int | None = None,
) -> Slots:
    """The neighbours of AllScAIP: pairs whose two soft ranks and distance are small at once.

    vectors              (n_pairs, 3)   Å, of all pairs closer than `cutoff` + REACH, from both ends
    receivers, senders   (n_pairs,)
    shifts               (n_pairs, 3)   whole cells, integers
    n_neighbours         about how many neighbours an atom has at most (k)
    cutoff               Å
    n_ranked             rank only this many nearest atoms, the atom itself among them, as fairchem's
                         `biknn_radius_graph` does with k + 20; None ranks all, and nothing jumps

    The soft rank of j seen from i counts the atoms nearer to i by a smooth step, i itself among them. With both ranks
    s, t and the distance d, a pair has the strength e = logsumexp(s/k, t/k, d/cutoff) at the sharpness 1/10, and is a
    neighbour pair while e < 1. Its envelope exp(-e^2 / (1 - e^2)) and all its derivatives vanish at e = 1.
    """
    distances = vectors.norm(dim=1)
    with torch.no_grad():
        order = torch.argsort(receivers * (2 * (cutoff + REACH)) + distances.double())
        receivers, senders, shifts = (table.index_select(0, order) for table in (receivers, senders, shifts))
        place = _place(receivers, n_atoms)
    distances = distances.index_select(0, order)

    kept, ranks = _ranks(distances, receivers, place, n_atoms, n_neighbours, cutoff, n_ranked)
    receivers, senders, shifts = (table.index_select(0, kept) for table in (receivers, senders, shifts))
    distances = distances.index_select(0, kept)
    both, reverse = _reverse(receivers, senders, shifts, n_atoms)
    # Both ranks and the distance, as shares of their limits.
    ranks = ranks / n_neighbours
    shares = torch.stack([ranks, ranks.index_select(0, reverse), distances / cutoff]).index_select(1, both)
    strength = SHARPNESS * torch.logsumexp(shares / SHARPNESS, dim=0)
    (near,) = torch.nonzero(strength < 1, as_tuple=True)
    last = both.index_select(0, near)
    receivers, senders, shifts = (table.index_select(0, last) for table in (receivers, senders, shifts))
    vectors = vectors.index_select(0, order.index_select(0, kept).index_select(0, last))
    distances, strength = distances.index_select(0, last), strength.index_select(0, near)
    return _slots(vectors, distances, strength, receivers, senders, shifts, n_atoms)


def _place(receivers: Tensor, n_atoms: int) -> Tensor:
    """(n_pairs,) | 0, 1, 2, ... within each receiver; the receivers ascend."""
    counts = torch.bincount(receivers, minlength=n_atoms)
    first = counts.cumsum(0) - counts
    return torch.arange(len(receivers), device=receivers.device) - first[receivers]


def _ranks(
    distances: Tensor,
    receivers: Tensor,
    place: Tensor,
    n_atoms: int,
    n_neighbours: int,
    cutoff: float,
    n_ranked: int | None,
) -> tuple[Tensor, Tensor]:
    """Which pairs may be neighbours, and their soft ranks. Pairs are sorted by receiver and distance."""
    width = int(place.max()) + 2 if len(place) else 2
    far = 100.0 * (cutoff + REACH)  # finite, so that no difference is undefined
    table = distances.new_full((n_atoms, width), far)
    table[:, 0] = 0.0  # the atom itself
    table = table.flatten().index_copy(0, receivers * width + place + 1, distances)
    table = table.unflatten(0, (n_atoms, width))[:, :n_ranked]
    with torch.no_grad():
        surely_nearer = torch.searchsorted(table.contiguous(), table - REACH, right=True)
        candidate = ((surely_nearer < n_neighbours) & (table < cutoff))[:, 1:]
        n_candidates = int(candidate.sum(1).max())  # they are the first of each row
        farthest = torch.where(candidate, table[:, 1:], 0.0).amax(1, keepdim=True)
        n_counted = int((table < farthest + REACH).sum(1).max())
    differences = table[:, 1 : n_candidates + 1, None] - table[:, None, :n_counted]
    ranks = SoftStep.apply(differences / STEP_WIDTH).sum(2)
    (kept,) = torch.nonzero(place < n_candidates, as_tuple=True)
    kept = kept[candidate[receivers[kept], place[kept]]]
    row = receivers.index_select(0, kept) * n_candidates + place.index_select(0, kept)
    return kept, ranks.flatten().index_select(0, row)


def _reverse(receivers: Tensor, senders: Tensor, shifts: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Which pairs are there from both ends, and for every pair the place of its reverse (any where there is none)."""
    if not len(receivers):
        return receivers, receivers
    shifts = shifts.round().long()
    span = int(shifts.abs().max())
    base = 2 * span + 1
    weights = torch.tensor([base * base, base, 1], device=shifts.device)
    here = (receivers * n_atoms + senders) * base**3 + ((shifts + span) * weights).sum(1)
    there = (senders * n_atoms + receivers) * base**3 + ((span - shifts) * weights).sum(1)
    ascending, order = here.sort()
    found = torch.searchsorted(ascending, there).clamp(max=len(order) - 1)
    both = torch.nonzero(ascending[found] == there).squeeze(1)
    return both, order[found]


def _slots(
    vectors: Tensor,
    distances: Tensor,
    strength: Tensor,
    receivers: Tensor,
    senders: Tensor,
    shifts: Tensor,
    n_atoms: int,
) -> Slots:
    """The table of neighbour pairs, which are there from both ends and sorted by receiver."""
    place = _place(receivers, n_atoms)
    n_slots = int(place.max()) + 2 if len(place) else 1
    slot = receivers * n_slots + place + 1
    _, reverse = _reverse(receivers, senders, shifts, n_atoms)
    everywhere = torch.arange(n_atoms * n_slots, device=slot.device)
    log_envelope = -strength.square() / (1 - strength.square())
    empty = vectors.new_full((n_atoms, n_slots), -torch.inf)
    empty[:, 0] = 0.0
    members = torch.full_like(everywhere, -1)
    members[::n_slots] = torch.arange(n_atoms, device=slot.device)

    def spread(values: Tensor, table: Tensor) -> Tensor:
        return table.index_copy(0, slot, values)

    return Slots(
        vectors=spread(vectors, vectors.new_zeros(n_atoms * n_slots, 3)).reshape(n_atoms, n_slots, 3),
        distances=spread(distances, vectors.new_zeros(n_atoms * n_slots)).reshape(n_atoms, n_slots),
        log_envelope=spread(log_envelope, empty.flatten()).reshape(n_atoms, n_slots),
        members=spread(senders, members).reshape(n_atoms, n_slots),
        reverse=everywhere.index_copy(0, slot, slot[reverse]),
    )


def soft_step(x: Tensor) -> Tensor:
    """sigmoid(x / (1 - x^2 / 16)) within |x| < 4, 0 before and 1 behind: a step that is smooth and of finite width."""
    inside = x.abs() < 4
    x_inside = x.masked_fill(~inside, 0.0)
    return torch.where(inside, torch.sigmoid(x_inside / (1 - x_inside.square() / 16)), (x > 0).to(x.dtype))


class SoftStep(torch.autograd.Function):
    """`soft_step`, keeping nothing but its argument: ranks compare every neighbour with every other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return soft_step(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        inside = x.abs() < 4
        x = x.masked_fill(~inside, 0.0)
        squared = x.square() / 16
        step = torch.sigmoid(x / (1 - squared))
        slope = step * (1 - step) * (1 + squared) / (1 - squared).square()
        return gradient * slope.masked_fill(~inside, 0.0)
