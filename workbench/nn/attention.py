"""Attention within neighbourhoods and between all atoms, as AllScAIP has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, softplus
from torch.utils.checkpoint import checkpoint

ROWS_AT_ONCE = 4_000_000  # numbers of one intermediate beyond which all-to-all attention goes by portions
NEAR = 1e-4  # Å, below which sinc is its series: the other form has no derivatives at 0


def dense(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer with torch's own weights and zero biases."""
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.bias)
    return layer


class Normalised(torch.autograd.Function):
    """x / sqrt(mean x^2 + eps) of the last axis, and what x is multiplied with: RMSNorm without its weights.

    By hand, its gradient takes a quarter of the passes over x that autograd would make.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        factor = norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
        unit = x * factor
        ctx.save_for_backward(unit, factor)
        ctx.set_materialize_grads(False)
        return unit, factor

    @staticmethod
    def backward(ctx: Any, by_unit: Tensor, by_factor: Tensor | None) -> tuple[Tensor, None]:
        unit, factor = ctx.saved_tensors
        along = (by_unit * unit).mean(-1, keepdim=True)
        if by_factor is not None:  # second derivatives
            along = along + by_factor * factor / unit.shape[-1]
        return torch.addcmul(by_unit, unit, along, value=-1) * factor, None


def normalised(x: Tensor) -> Tensor:
    """RMSNorm(x) without its weights."""
    return Normalised.apply(x, torch.finfo(x.dtype).eps)[0]


def normed_linear(norm: nn.RMSNorm, layer: nn.Linear, x: Tensor) -> Tensor:
    """layer(norm(x)). The weights of the norm go into those of the layer, of which there are fewer."""
    return linear(normalised(x), layer.weight * norm.weight, layer.bias)


def by_head(x: Tensor, n_parts: int, n_heads: int) -> list[Tensor]:
    """(n, n_tokens, n_parts * n_heads * c) -> n_parts of (n * n_heads, n_tokens, c)."""
    # Parted before they are copied, their gradients are put together in one pass.
    parts = x.unflatten(2, (n_parts, n_heads, -1)).unbind(2)
    return [part.transpose(1, 2).flatten(0, 1) for part in parts]


def of_all_heads(x: Tensor, n_heads: int) -> Tensor:
    """(n * n_heads, n_tokens, c) -> (n, n_tokens, n_heads * c)."""
    return x.unflatten(0, (-1, n_heads)).transpose(1, 2).flatten(2)


class NeighbourhoodAttention(nn.Module):
    """x <- x + gain * attention(norm(x)), between the tokens of one neighbourhood.

    n_features, n_heads   widths
    gain                  the learned factor of the update, at the start
    frequencies           channels of a head that go with l = 0, 1, 2, ...; None where logits do not know the angle

    forward
      tokens         (n_atoms, n_slots, n_features)
      log_envelope   (n_atoms, n_slots)              added to the logits of these senders
      angles         Legendre polynomials P_l of the cosines between slots, l = 1, 2, ..., each (n_atoms, 1, n_slots,
                     n_slots), zero for the first slot, the atom's own, which has no direction; none without
                     `frequencies`
      own_only       update the first slot and no other
      returns        tokens (n_atoms, n_slots or 1, n_features), weights (n_atoms, n_heads, n_slots or 1, n_slots)
    """

    def __init__(
        self, n_features: int, n_heads: int, gain: float, frequencies: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.frequencies = [n_features // n_heads] if frequencies is None else list(frequencies)
        self.norm = nn.RMSNorm(n_features)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.qkv = dense(n_features, 3 * n_features)
        self.out = dense(n_features, n_features)

    def forward(
        self, tokens: Tensor, log_envelope: Tensor, angles: Sequence[Tensor], own_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        if own_only:
            return self._own(tokens, log_envelope)
        projected = normed_linear(self.norm, self.qkv, tokens)
        q, k, v = by_head(projected, 3, self.n_heads)
        scale = 1 / math.sqrt(q.shape[2])
        same_degree = zip(q.split(self.frequencies, 2), k.split(self.frequencies, 2), strict=True)
        products = (torch.bmm(q_l, k_l.mT).unflatten(0, (-1, self.n_heads)) for q_l, k_l in same_degree)
        logits = torch.add(log_envelope[:, None, None, :], next(products), alpha=scale)  # P_0 = 1
        for p_l, product in zip(angles, products, strict=True):
            logits = torch.addcmul(logits, product, p_l, value=scale)
        weights = torch.softmax(logits, dim=3)
        mixed = of_all_heads(torch.bmm(weights.flatten(0, 1), v), self.n_heads)
        return torch.addcmul(tokens, self.gain, self.out(mixed)), weights

    def _own(self, tokens: Tensor, log_envelope: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` for the first slot, which has no direction, so that only l = 0 counts.

        Keys and values are linear in the normed tokens: what one query asks of the keys it can ask of the tokens
        themselves, and mix these before they are made values. No other token is ever mapped.
        """
        unit = normalised(tokens)
        w_q, w_k, w_v = (self.qkv.weight * self.norm.weight).unflatten(0, (3, self.n_heads, -1))
        b_q, _, b_v = self.qkv.bias.unflatten(
            0, (3, self.n_heads, -1)
        )  # a key's bias is the same for all slots
        n, scale = self.frequencies[0], 1 / math.sqrt(w_q.shape[1])
        q = torch.baddbmm(b_q[:, None, :n], unit[:, 0].expand(self.n_heads, -1, -1), w_q[:, :n].mT)
        asked = torch.bmm(q, w_k[:, :n]).transpose(0, 1)
        logits = torch.add(log_envelope.unsqueeze(1), torch.bmm(asked, unit.mT), alpha=scale)
        weights = torch.softmax(logits.unsqueeze(2), dim=3)
        mixed = torch.bmm(weights.squeeze(2), unit).transpose(0, 1)
        values = torch.baddbmm(b_v.unsqueeze(1), mixed, w_v.mT).transpose(0, 1).flatten(1)
        return torch.addcmul(tokens[:, :1], self.gain, self.out(values).unsqueeze(1)), weights


class AllToAllAttention(nn.Module):
    """x <- x + gain * attention(norm(x)), between all atoms of a structure.

    n_sinc   how many sinc functions of the distance make a bias of the logits; 0: attention knows no distance

    forward
      x              (n_structures, n_most, n_features)
      absent         (n_structures, n_most) bool, places without an atom; None: there are none
      radial_bias    (n_structures, n_heads, n_most, n_most), or None
      returns        x, and the weights (n_structures, n_heads, n_most, n_most) when `show`
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
        self, x: Tensor, absent: Tensor | None, radial_bias: Tensor | None, show: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v = by_head(normed_linear(self.norm, self.qkv, x), 3, self.n_heads)
        q = q / math.sqrt(q.shape[2])
        bias = None if radial_bias is None else radial_bias.flatten(0, 1)
        if absent is not None:
            absent = absent.repeat_interleave(self.n_heads, 0).unsqueeze(1)
        rows = max(1, ROWS_AT_ONCE // (k.shape[0] * k.shape[1]))
        if rows >= q.shape[1]:
            mixed = _attend(q, k, v, absent, bias)
        else:  # only q, k and v are kept for the gradient, and the weights made again
            some = q.split(rows, 1)
            biases = [None] * len(some) if bias is None else bias.split(rows, 1)
            mixed = torch.cat(
                [
                    checkpoint(_attend, part, k, v, absent, bias_of_part, use_reentrant=False)
                    for part, bias_of_part in zip(some, biases, strict=True)
                ],
                dim=1,
            )
        update = self.out(of_all_heads(mixed, self.n_heads))
        with torch.no_grad():
            weights = _weights(q, k, absent, bias).unflatten(0, (-1, self.n_heads)) if show else None
        return torch.addcmul(x, self.gain, update), weights


def _weights(q: Tensor, k: Tensor, absent: Tensor | None, bias: Tensor | None) -> Tensor:
    logits = torch.bmm(q, k.mT) if bias is None else torch.baddbmm(bias, q, k.mT)
    if absent is not None:
        logits = logits.masked_fill(absent, -torch.inf)
    return torch.softmax(logits, dim=2)


def _attend(q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None, bias: Tensor | None) -> Tensor:
    return torch.bmm(_weights(q, k, absent, bias), v)


def pair_table(n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Unordered pairs i <= j of n atoms, an atom with itself among them, and the place (n, n) of each in the list."""
    i, j = torch.triu_indices(n, n, device=device)
    place = torch.empty(n, n, dtype=torch.int64, device=device)
    place[i, j] = place[j, i] = torch.arange(len(i), device=device)
    return i, j, place


def sinc_bias(distances: Tensor, weights: Tensor, place: Tensor) -> Tensor:
    """log(softplus(sum_k W_k sinc(omega_k r)) + 1e-6): what all-to-all attention knows of the distance.

    distances   (n_structures, n_pairs)   Å, of the pairs of `pair_table`
    weights     (n_heads, n_sinc)         of one layer or of many
    place       (n_most, n_most)          which pair is where
    returns     (n_structures, n_heads, n_most, n_most)

    omega_k are spaced evenly in their logarithm from pi / 120 to pi / 0.25 per Å, as in fairchem.
    """
    at_once = max(1, ROWS_AT_ONCE // (weights.shape[1] * len(distances)))
    if at_once >= distances.shape[1]:
        bias = _sinc_bias(distances, weights)
    else:
        parts = [
            checkpoint(_sinc_bias, part, weights, use_reentrant=False) for part in distances.split(at_once, 1)
        ]
        bias = torch.cat(parts, dim=1)
    return bias.transpose(1, 2)[:, :, place]


def _sinc_bias(distances: Tensor, weights: Tensor) -> Tensor:
    """(..., n_heads) of distances (...)."""
    logs = torch.linspace(
        math.log(math.pi / 120), math.log(math.pi / 0.25), weights.shape[1], dtype=torch.float64
    )
    omega = logs.exp().to(distances)
    r = distances.unsqueeze(-1)
    near = r < NEAR
    beyond = r.masked_fill(near, NEAR)
    total = linear((beyond * omega).sin(), weights / omega) / beyond
    slope = -(weights @ omega.square()) / 6  # by r^2; the next term is below 1e-13
    series = linear(r.masked_fill(~near, 0.0).square(), slope.unsqueeze(1), weights.sum(1))
    return torch.log(softplus(torch.where(near, series, total)) + 1e-6)


class FeedForward(nn.Module):
    """x <- x + gain * down(gelu(up(norm(x)))), of the last axis."""

    def __init__(self, n_features: int, gain: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(n_features)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.up = dense(n_features, 2 * n_features)
        self.down = dense(2 * n_features, n_features)

    def forward(self, x: Tensor) -> Tensor:
        up = gelu(normed_linear(self.norm, self.up, x))
        return torch.addcmul(x, self.gain, self.down(up))


class Readout(nn.Module):
    """down(gelu(up(norm(x)))): what a head reads off the atoms, (n_atoms, n_features) -> (n_atoms, n_out)."""

    def __init__(self, n_features: int, n_out: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(n_features)
        self.up = dense(n_features, 2 * n_features)
        self.down = dense(2 * n_features, n_out)
        for layer in (self.up, self.down):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu(normed_linear(self.norm, self.up, x)))
