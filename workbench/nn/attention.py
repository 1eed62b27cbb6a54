"""Attention within neighbourhoods and between all atoms, as AllScAIP has it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus
from torch.utils.checkpoint import checkpoint

ROWS_AT_ONCE = 4_000_000  # numbers of one intermediate beyond which all-to-all attention goes by portions


def dense(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer with torch's own weights and zero biases."""
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.bias)
    return layer


class NeighbourhoodAttention(nn.Module):
    """x <- x + gain * attention(norm(x)), between the tokens of one neighbourhood.

    n_features, n_heads   widths
    gain                  the learned factor of the update, at the start
    frequencies           channels of a head that go with l = 0, 1, 2, ...; None where logits do not know the angle

    forward
      tokens         (n_atoms, n_slots, n_features)
      log_envelope   (n_atoms, n_slots)              added to the logits of these senders
      angles         Legendre polynomials P_l of the cosines between slots, l = 0, 1, ..., each (n_atoms, n_slots,
                     n_slots); or None
      own_only       update the first slot, the atom's own, and no other
      returns        tokens (n_atoms, n_slots or 1, n_features), weights (n_atoms, n_heads, n_slots or 1, n_slots)
    """

    def __init__(
        self, n_features: int, n_heads: int, gain: float, frequencies: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.frequencies = None if frequencies is None else list(frequencies)
        self.norm = nn.RMSNorm(n_features)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.qkv = dense(n_features, 3 * n_features)
        self.out = dense(n_features, n_features)

    def forward(
        self, tokens: Tensor, log_envelope: Tensor, angles: Sequence[Tensor] | None, own_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        normed = self.norm(tokens)
        if own_only:
            tokens = tokens[:, :1]
            width = tokens.shape[2]
            q = linear(normed[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
            k, v = linear(normed, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=2)
        else:
            q, k, v = self.qkv(normed).chunk(3, dim=2)
        q, k, v = (x.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for x in (q, k, v))
        q = q / math.sqrt(q.shape[3])
        if angles is None or self.frequencies is None:
            logits = q @ k.transpose(2, 3)
        else:
            parts = zip(q.split(self.frequencies, 3), k.split(self.frequencies, 3), angles, strict=True)
            logits = sum((q_l @ k_l.transpose(2, 3)) * p_l[:, None, : q.shape[2]] for q_l, k_l, p_l in parts)
        weights = torch.softmax(logits + log_envelope[:, None, None, :], dim=3)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return tokens + self.gain * self.out(mixed), weights


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
        q, k, v = (
            part.unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm(x)).chunk(3, dim=2)
        )
        q = q / math.sqrt(q.shape[3])
        rows = max(1, ROWS_AT_ONCE // (k.shape[0] * k.shape[1] * k.shape[2]))
        mixed = []
        for first in range(0, q.shape[2], rows):
            part = slice(first, first + rows)
            bias = None if radial_bias is None else radial_bias[:, :, part]
            if rows >= q.shape[2]:
                mixed.append(_attend(q, k, v, absent, bias))
            else:  # only q, k and v are kept for the gradient, and the weights made again
                again = checkpoint(_attend, q[:, :, part], k, v, absent, bias, use_reentrant=False)
                mixed.append(again)
        update = self.out(torch.cat(mixed, 2).transpose(1, 2).flatten(2))
        with torch.no_grad():
            weights = _weights(q, k, absent, radial_bias) if show else None
        return x + self.gain * update, weights


def _weights(q: Tensor, k: Tensor, absent: Tensor | None, bias: Tensor | None) -> Tensor:
    logits = q @ k.transpose(2, 3)
    if bias is not None:
        logits = logits + bias
    if absent is not None:
        logits = logits.masked_fill(absent[:, None, None, :], -torch.inf)
    return torch.softmax(logits, dim=3)


def _attend(q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None, bias: Tensor | None) -> Tensor:
    return _weights(q, k, absent, bias) @ v


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
    x = distances.unsqueeze(-1) * logs.exp().to(distances)
    # torch.sinc has no second derivative at 0.
    small = x < 0.01
    squared = x.square()
    series = 1 - squared / 6 * (1 - squared / 20)
    beyond = x.masked_fill(small, 1.0)
    sinc = torch.where(small, series, beyond.sin() / beyond)
    return torch.log(softplus(sinc @ weights.T) + 1e-6)


class FeedForward(nn.Module):
    """x <- x + gain * down(gelu(up(norm(x)))), of the last axis."""

    def __init__(self, n_features: int, gain: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(n_features)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.up = dense(n_features, 2 * n_features)
        self.down = dense(2 * n_features, n_features)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.down(nn.functional.gelu(self.up(self.norm(x))))


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
        return self.down(nn.functional.gelu(self.up(self.norm(x))))
