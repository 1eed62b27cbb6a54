"""Sums over the neighbours of many atoms by portions of them, so that what belongs to pairs fits into the processor's
cache and, of very many, is never in memory all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

MANY = 20_000  # pairs; with more of them, portions are faster
AT_ONCE = 2_000  # pairs of a portion
KEPT = 50_000  # pairs up to which all of theirs is kept for the gradient, about 25 kB each; beyond, it is made again


@dataclass(frozen=True)
class Portions:
    """Pairs in the order of their receivers, cut between atoms."""

    n_atoms: tuple[int, ...]  # of every portion
    n_pairs: tuple[int, ...]
    receivers: Tensor  # (n_pairs,) | counted from the first atom of the portion
    senders: Tensor  # (n_pairs,)

    @classmethod
    def of(cls, receivers: Tensor, senders: Tensor, n_atoms: int) -> Portions:
        """From pairs whose receivers ascend: `AT_ONCE` pairs to a portion, or those of one atom."""
        sizes: list[tuple[int, int]] = []
        for count in torch.bincount(receivers, minlength=n_atoms).tolist():
            if sizes and sizes[-1][1] + count <= AT_ONCE:
                sizes[-1] = (sizes[-1][0] + 1, sizes[-1][1] + count)
            else:
                sizes.append((1, count))
        atoms, pairs = (torch.tensor(of, device=receivers.device) for of in zip(*sizes, strict=True))
        first = (atoms.cumsum(0) - atoms).repeat_interleave(pairs)
        n_atoms_of, n_pairs_of = (tuple(of) for of in zip(*sizes, strict=True))
        return cls(n_atoms_of, n_pairs_of, receivers - first, senders)

    def cut(self, arrays: Arrays) -> Iterator[list[Tensor]]:
        """For every portion, one after another: its atoms' rows, those of its senders, and those of its pairs."""
        senders = self.senders.split(self.n_pairs)
        mine = [array.split(self.n_atoms) for array in arrays.mine]
        of_pairs = [array.split(self.n_pairs) for array in arrays.of_pairs]
        for n, j in enumerate(senders):
            sent = [array.index_select(0, j) for array in arrays.sent]
            yield [*(part[n] for part in mine), *sent, *(part[n] for part in of_pairs)]


class Arrays(NamedTuple):
    """What messages are made of."""

    mine: tuple[Tensor, ...]  # (n_atoms, ...) | of the receivers
    sent: tuple[Tensor, ...]  # (n_atoms, ...) | of the senders
    of_pairs: tuple[Tensor, ...]  # (n_pairs, ...)

    def like(self, flat: Sequence[Tensor]) -> Arrays:
        """Others in the same places."""
        first, last = len(self.mine), len(self.mine) + len(self.sent)
        return Arrays(tuple(flat[:first]), tuple(flat[first:last]), tuple(flat[last:]))


Messages = Callable[..., Tensor]  # (receivers, *rows as `Portions.cut` gives them) -> (n_atoms, ...)


def in_portions(messages: Messages, portions: Portions, arrays: Arrays) -> Tensor:
    """(n_atoms, ...) | what `messages` makes of every portion. It has no gradient for what `messages` knows besides the
    arrays: weights have to be frozen."""
    flat = [*arrays.mine, *arrays.sent, *arrays.of_pairs]
    return _InPortions.apply(messages, portions, arrays, *flat)


class _InPortions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, messages: Messages, portions: Portions, form: Arrays, *flat: Tensor) -> Tensor:
        ctx.messages, ctx.portions, ctx.kept = messages, portions, None
        ctx.counts = len(form.mine), len(form.sent)
        ctx.save_for_backward(*flat)
        if len(portions.receivers) > KEPT or not any(ctx.needs_input_grad):
            return _joined(messages, portions, _arrays(ctx, flat))
        ctx.kept = list(_differentiable(messages, portions, _arrays(ctx, flat)))
        return torch.cat([message.detach() for _, message in ctx.kept])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, portions = ctx.saved_tensors, ctx.portions
        if torch.is_grad_enabled():  # it will be differentiated once more
            here = [one.view_as(one) if one.requires_grad else one.detach().requires_grad_() for one in flat]
            message = _joined(ctx.messages, portions, _arrays(ctx, here))
            return None, None, None, *_gradients(message, here, gradient, create_graph=True)
        arrays = _arrays(ctx, flat)
        made = ctx.kept or _differentiable(ctx.messages, portions, arrays)
        ctx.kept = None
        of_sent = [torch.zeros_like(array) for array in arrays.sent]
        others = []
        parts = zip(
            portions.senders.split(portions.n_pairs), gradient.split(portions.n_atoms), made, strict=True
        )
        for senders, part, (leaves, message) in parts:
            found = arrays.like(_gradients(message, leaves, part))
            for total, one in zip(of_sent, found.sent, strict=True):
                total.index_add_(0, senders, one)
            others.append((found.mine, found.of_pairs))
        of_mine, of_pairs = (
            [torch.cat(of) for of in zip(*parts, strict=True)] for parts in zip(*others, strict=True)
        )
        return None, None, None, *of_mine, *of_sent, *of_pairs


def _arrays(ctx: Any, flat: Sequence[Tensor]) -> Arrays:
    n_mine, n_sent = ctx.counts
    last = n_mine + n_sent
    return Arrays(tuple(flat[:n_mine]), tuple(flat[n_mine:last]), tuple(flat[last:]))


def _joined(messages: Messages, portions: Portions, arrays: Arrays) -> Tensor:
    receivers = portions.receivers.split(portions.n_pairs)
    return torch.cat([messages(i, *part) for i, part in zip(receivers, portions.cut(arrays), strict=True)])


def _gradients(
    message: Tensor, arrays: Sequence[Tensor], gradient: Tensor, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """By each of the arrays, zero where the message does not depend on it."""
    return torch.autograd.grad(
        message, arrays, gradient, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _differentiable(
    messages: Messages, portions: Portions, arrays: Arrays
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Of every portion, what messages are made of and what they are, cut off from all else."""
    receivers = portions.receivers.split(portions.n_pairs)
    with torch.no_grad():
        for i, parts in zip(receivers, portions.cut(arrays), strict=True):
            leaves = [part.detach().requires_grad_(True) for part in parts]
            with torch.enable_grad():
                message = messages(i, *leaves)
            yield leaves, message
