"""Attention from every atom of a structure to every other, as AllScAIP has it, in memory linear in the atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils.checkpoint import checkpoint

from workbench.nn.attention import by_head, dense, normed_linear, of_all_heads
from workbench.nn.minimum_image import minimum_image

# Up to so many pairs of atoms times heads (for four heads 1600 atoms), attention is one piece that is kept for the
# gradient, some hundred megabytes. Beyond, it is made again, portion by portion, which takes a quarter longer.
WHOLE = 10_000_000
PORTION = 1_000_000  # of the same, at once
PAIRS_AT_ONCE = 8192  # whose sines fit the cache of a core
NEAR = 1e-4  # Å, below which sinc is its series: the other form has no derivatives at 0


@dataclass(frozen=True)
class Places:
    """Where the atoms of every structure are."""

    positions: Tensor  # (n_structures, n_most, 3) | Å, double precision; zero where there is no atom
    cell: Tensor  # (n_structures, 3, 3) | Å
    pbc: Tensor  # (n_structures, 3)

    def distances(self, first: int, last: int, dtype: torch.dtype) -> Tensor:
        """(n_structures, last - first, n_most) | Å, from these atoms to all, to the nearest image."""
        vectors = self.positions.unsqueeze(1) - self.positions[:, first:last].unsqueeze(2)
        nearest = minimum_image(vectors.flatten(1, 2), self.cell, self.pbc).to(dtype)
        squares = nearest.square().sum(2).unflatten(1, vectors.shape[1:3])
        apart = squares > 0
        return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


class AllToAllAttention(nn.Module):
    """x <- x + gain * attention(norm(x)), between all atoms of a structure.

    n_sinc   how many sinc functions of the distance make a bias of the logits; 0: attention knows no distance

    forward
      x         (n_structures, n_most, n_features)
      absent    (n_structures, n_most) bool, places without an atom; None: there are none
      places    where the atoms are; read when there is `n_sinc`
      bias      (n_structures, n_heads, n_most, n_most), of the distance, where it is known already
      returns   x, and the weights (n_structures, n_heads, n_most, n_most) when `show`
    """

    def __init__(self, n_features: int, n_heads: int, gain: float, n_sinc: int = 0) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.RMSNorm(n_features)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.qkv = dense(n_features, 3 * n_features)
        self.out = dense(n_features, n_features)
        self.radial = nn.Parameter(torch.full((n_heads, n_sinc), 1 / n_sinc)) if n_sinc else None

    def forward(
        self, x: Tensor, absent: Tensor | None, places: Places | None, bias: Tensor | None, show: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v = by_head(normed_linear(self.norm, self.qkv, x), 3, self.n_heads)
        q = q / math.sqrt(q.shape[2])
        if absent is not None:
            absent = absent.repeat_interleave(self.n_heads, 0).unsqueeze(1)

        def weigh(some: Tensor, first: int) -> Tensor:
            known = bias
            if known is None and self.radial is not None and places is not None:
                distances = places.distances(first, first + some.shape[1], some.dtype)
                known = sinc_bias(distances, self.radial)
            logits = torch.bmm(some, k.mT) if known is None else torch.baddbmm(known.flatten(0, 1), some, k.mT)
            return torch.softmax(logits if absent is None else logits.masked_fill(absent, -torch.inf), dim=2)

        def mix(some: Tensor, first: int) -> Tensor:
            return torch.bmm(weigh(some, first), v)

        n_rows = rows_at_once(*k.shape[:2])
        portions = [(part, n * n_rows) for n, part in enumerate(q.split(n_rows, 1))]
        if len(portions) == 1:
            mixed = mix(q, 0)
        else:
            parts = [
                checkpoint(mix, *portion, use_reentrant=False, preserve_rng_state=False) for portion in portions
            ]
            mixed = torch.cat(parts, dim=1)
        update = self.out(of_all_heads(mixed, self.n_heads))
        weights = None
        if show:
            with torch.no_grad():
                weights = torch.cat([weigh(*portion) for portion in portions], dim=1)
                weights = weights.unflatten(0, (-1, self.n_heads))
        return torch.addcmul(x, self.gain, update), weights


def rows_at_once(n_tables: int, n_most: int) -> int:
    """How many atoms of each structure attend at once, with so many structures times heads: all, or a portion."""
    n_per_row = n_tables * n_most
    return n_most if n_per_row * n_most <= WHOLE else max(1, PORTION // n_per_row)


def sinc_bias(distances: Tensor, weights: Tensor) -> Tensor:
    """log(softplus(sum_k W_k sinc(omega_k r)) + 1e-6): what all-to-all attention knows of the distance.

    distances   (n_structures, n_rows, n_most)            Å
    weights     (n_heads, n_sinc)                         of one layer or of many
    returns     (n_structures, n_heads, n_rows, n_most)

    omega_k are spaced evenly in their logarithm from pi / 120 to pi / 0.25 per Å, as in fairchem.
    """
    logs = torch.linspace(
        math.log(math.pi / 120), math.log(math.pi / 0.25), weights.shape[1], dtype=torch.float64
    )
    omega = logs.exp().to(distances)
    r = distances.flatten()
    beyond = r.clamp(min=NEAR)
    # Nearer than that, the sum goes on as its series, whose next term is below 1e-13.
    slope = (weights @ omega.square()).unsqueeze(1) / -6  # by r^2
    total = torch.addcmul(
        SineSum.apply(beyond, weights / omega, omega, 0) / beyond, slope, r.square() - beyond.square()
    )
    bias = torch.log(softplus(total) + 1e-6)
    return bias.reshape(-1, *distances.shape).transpose(0, 1)


class SineSum(torch.autograd.Function):
    """sum_k weights_k sin(omega_k r + quarters * pi / 2): (n,), (n_out, n_sinc), (n_sinc,) -> (n_out, n).

    No sine is kept for the gradient: there are many more of them than of the sums.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(r: Tensor, weights: Tensor, omega: Tensor, quarters: int) -> Tensor:
        total = r.new_empty(len(weights), len(r))
        for some, out in zip(r.split(PAIRS_AT_ONCE), total.split(PAIRS_AT_ONCE, 1), strict=True):
            out.copy_(weights @ _sines(some, omega, quarters))
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:
        *tensors, ctx.quarters = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        r, weights, omega = ctx.saved_tensors
        by_r = by_weights = None
        if ctx.needs_input_grad[0]:
            by_r = (gradient * SineSum.apply(r, weights * omega, omega, ctx.quarters + 1)).sum(0)
        if ctx.needs_input_grad[1]:
            some = zip(r.split(PAIRS_AT_ONCE), gradient.split(PAIRS_AT_ONCE, 1), strict=True)
            by_weights = sum(g @ _sines(part, omega, ctx.quarters).T for part, g in some)
        return by_r, by_weights, None, None


def _sines(r: Tensor, omega: Tensor, quarters: int) -> Tensor:
    """(n_sinc, n) | sin(omega_k r + quarters * pi / 2)."""
    angles = torch.outer(omega, r)
    sines = torch.cos(angles) if quarters % 2 else torch.sin(angles)
    return -sines if quarters % 4 > 1 else sines
