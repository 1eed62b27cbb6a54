"""Sums over the neighbours of every atom as matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Neighbourhood:
    """Where every pair goes when the neighbours of each atom are laid out in rows of one length, kind by kind."""

    slots: Tensor  # (n_pairs,) | row of the padded layout
    n_atoms: int
    n_kinds: int
    length: int  # most neighbours of one kind around one atom

    @classmethod
    def sorted(cls, receivers: Tensor, kinds: Tensor, n_atoms: int, n_kinds: int) -> Neighbourhood:
        """From the receiver and the sender's kind (0..n_kinds - 1) of every pair, in any order."""
        group = receivers * n_kinds + kinds
        in_order = torch.argsort(group, stable=True)
        sizes = torch.bincount(group, minlength=n_atoms * n_kinds)
        starts = torch.cumsum(sizes, 0) - sizes
        place = torch.empty_like(group)
        place[in_order] = torch.arange(len(group), device=group.device)
        length = int(sizes.max()) if len(group) else 0
        return cls(group * length + place - starts[group], n_atoms, n_kinds, length)

    def outer_sum(self, left: Tensor, right: Tensor) -> Tensor:
        """The sum over neighbours of one kind of left times right, without an array of their outer products.

        left      (n_pairs, n_left)
        right     (n_pairs, n_right)
        returns   (n_atoms, n_kinds, n_left, n_right)
        """
        product = torch.bmm(self._padded(left).transpose(1, 2), self._padded(right))
        return product.unflatten(0, (self.n_atoms, self.n_kinds))

    def _padded(self, values: Tensor) -> Tensor:
        """(n_atoms * n_kinds, length, width) | zero where there is no neighbour."""
        rows = values.new_zeros(self.n_atoms * self.n_kinds * self.length, values.shape[1])
        return rows.index_copy(0, self.slots, values).unflatten(0, (self.n_atoms * self.n_kinds, self.length))
