"""Vectors and symmetric tensors of atoms, read from spherical features."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from workbench.nn.harmonics import coupling
from workbench.nn.layers import linear


class VectorHead(nn.Module):
    """A vector of every atom: its features of degree 1, times gates from the scalars, mixed into one.

    forward   x (n_atoms, (l_max + 1)^2, n_channels) -> (n_atoms, 3)
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.gate = linear(n_channels, n_channels)
        self.inner = linear(n_channels, n_channels, bias=False)
        self.outer = linear(n_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gates = torch.sigmoid(self.gate(x[:, :1]))
        return self.outer(self.inner(x[:, 1:4]) * gates).squeeze(2)


class TensorHead(nn.Module):
    """A symmetric tensor of every atom, from its scalars (the trace) and its features of degree 2 (the rest).

    forward   x (n_atoms, (l_max + 1)^2, n_channels), l_max >= 2 -> (n_atoms, 3, 3)
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.trace = linear(n_channels, 1)
        self.rest = linear(n_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        identity = torch.eye(3, dtype=x.dtype, device=x.device)
        traceless = self.rest(x[:, 4:9]).squeeze(2) @ _cartesian(x.dtype, x.device)
        return self.trace(x[:, 0]).unsqueeze(2) * identity + traceless.unflatten(1, (3, 3))


@lru_cache(maxsize=8)
def _cartesian(dtype: torch.dtype, device: torch.device) -> Tensor:
    """(5, 9) | from the components of degree 2 to a symmetric traceless matrix."""
    return coupling(1, 1, 2)[1:, 1:, 4:].permute(2, 0, 1).flatten(1).to(device, dtype)
