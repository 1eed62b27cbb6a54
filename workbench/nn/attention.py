"""Attention within neighbourhoods, and the small networks of one token, as AllScAIP has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from torch.utils.checkpoint import checkpoint

# Of many atoms, a portion of so many tokens after the other: intermediates stay in the cache and reuse their memory.
TOKENS_AT_ONCE = 2048
# Numbers in all tokens (3000 atoms of water, 128 wide) beyond which what a portion keeps for the gradient, some seven
# times the tokens, is made again instead.
KEPT = 12_000_000


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
    def backward(ctx: Any, by_unit: Tensor | None, by_factor: Tensor | None) -> tuple[Tensor, None]:
        unit, factor = ctx.saved_tensors
        by_unit = torch.zeros_like(unit) if by_unit is None else by_unit
        along = (by_unit * unit).mean(-1, keepdim=True)
        if by_factor is not None:  # of second derivatives alone
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
      returns        tokens (n_atoms, n_slots or 1, n_features), and when `show` (else perhaps) the weights
                     (n_atoms, n_heads, n_slots or 1, n_slots)
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
        self,
        tokens: Tensor,
        log_envelope: Tensor,
        angles: Sequence[Tensor],
        own_only: bool = False,
        show: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if own_only:
            return self._own(tokens, log_envelope)
        n = max(1, TOKENS_AT_ONCE // tokens.shape[1])
        if len(tokens) <= n:
            return self._all(tokens, log_envelope, angles)
        portions = zip(tokens.split(n), log_envelope.split(n), *(p.split(n) for p in angles), strict=True)
        updated, shown = [], []
        for some, envelope, *p in portions:
            if tokens.numel() <= KEPT:
                update, weights = self._all(some, envelope, p)
            else:
                update, weights = checkpoint(
                    self._all, some, envelope, p, use_reentrant=False, preserve_rng_state=False
                )
            updated.append(update)
            shown += [weights] if show else []
        return torch.cat(updated), torch.cat(shown) if show else None

    def _all(self, tokens: Tensor, log_envelope: Tensor, angles: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        q, k, v = by_head(normed_linear(self.norm, self.qkv, tokens), 3, self.n_heads)
        scale = 1 / math.sqrt(q.shape[2])
        same_degree = zip(q.split(self.frequencies, 2), k.split(self.frequencies, 2), strict=True)
        products = (torch.bmm(q_l, k_l.mT).unflatten(0, (-1, self.n_heads)) for q_l, k_l in same_degree)
        logits = torch.add(log_envelope[:, None, None, :], next(products), alpha=scale)  # P_0 = 1
        for p_l, product in zip(angles, products, strict=True):
            logits = logits.add_(product * (scale * p_l))
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
