"""Layers that models share: dense networks, linear maps per degree, tensor products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench.nn.harmonics import coupling, degree_of_component, n_paths


def lecun_normal_(weight: Tensor, fan_in: int) -> Tensor:
    """Fill with a normal distribution of variance 1 / fan_in, cut at two standard deviations (flax's default)."""
    deviation = fan_in**-0.5 / 0.87962566103423978  # of the cut distribution, so that the variance is right
    with torch.no_grad():
        return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def linear(n_in: int, n_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with LeCun-normal weights and zero biases."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    lecun_normal_(layer.weight, n_in)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with SiLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [linear(n_in, n_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class DegreeLinear(nn.Module):
    """A linear map of the channels with its own matrix for every degree, without bias (equivariant).

    forward   x (n, (l_max + 1)^2, n_in) -> (n, (l_max + 1)^2, n_out)
    """

    def __init__(self, max_degree: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_degree + 1, n_in, n_out))
        lecun_normal_(self.weight, n_in)
        self.register_buffer("degree", degree_of_component(max_degree), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.index_select(0, self.get_buffer("degree"))
        return torch.bmm(x.transpose(0, 1), weight).transpose(0, 1)


class TensorProduct(nn.Module):
    r"""Coupled product of two spherical arrays, channel by channel, with one weight per path and channel:

    z^{l3}_{m3} = \sum_{l1 l2} w_{l1 l2 l3} \sum_{m1 m2} C^{l3 m3}_{l1 m1, l2 m2} x^{l1}_{m1} y^{l2}_{m2}

    over |l1 - l2| <= l3 <= l1 + l2 with l1 + l2 + l3 even.

    forward   x (n, (left+1)^2, n_channels), y (n, (right+1)^2, n_channels) -> (n, (out+1)^2, n_channels)

    Weights are stored for all (l1, l2, l3), as the official code does; forbidden ones have no effect. The product is
    dense matrix algebra on the four blocks that parity allows (even l3 from equal, odd l3 from opposite parities),
    which beats a sparse sum over the coefficients on CPU and GPU.
    """

    def __init__(self, left: int, right: int, out: int, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(left + 1, right + 1, out + 1, n_channels))
        for l3, fan_in in enumerate(n_paths(left, right, out)):
            lecun_normal_(self.weight[:, :, l3], max(fan_in, 1))
        self.tops = (left, right, out)
        self._frozen: tuple[Any, list[Tensor]] | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        parities = by_parity(*self.tops, x.dtype, x.device)
        # Channel first: one matrix product per channel. Then components of even degree, then of odd.
        left = x.permute(2, 0, 1).index_select(2, parities.left).split(parities.n_left, 2)
        right = y.permute(2, 0, 1).index_select(2, parities.right).split(parities.n_right, 2)
        products = []
        for half, table in zip(parities.halves, self._tables(parities.halves), strict=True):
            outer = [left[one.p1].unsqueeze(3) * right[one.p2].unsqueeze(2) for one in half]
            products.append(torch.bmm(torch.cat([o.flatten(2) for o in outer], 2), table))
        return torch.cat(products, 2).index_select(2, parities.back).permute(1, 2, 0)

    def _tables(self, halves: _Halves) -> list[Tensor]:
        """For each half, (channel, m1 m2, m3) | weights times coefficients; kept while the weights are frozen."""
        state = (self.weight.data_ptr(), self.weight._version, self.weight.dtype)
        if self._frozen is not None and self._frozen[0] == state and not self.weight.requires_grad:
            return self._frozen[1]
        tables = [
            torch.cat(
                [(self.weight[one.degrees] * one.coupling).permute(3, 0, 1, 2).flatten(1, 2) for one in half], 1
            )
            for half in halves
        ]
        self._frozen = None if self.weight.requires_grad else (state, tables)
        return tables


class SelfProduct(nn.Module):
    """The tensor product of a spherical array with itself, after a linear map for each side (e3x's TensorDense).

    forward   (n, (max_degree + 1)^2, n_in) -> (n, (out + 1)^2, n_out)
    """

    def __init__(self, max_degree: int, out: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.sides = DegreeLinear(max_degree, n_in, 2 * n_out)
        self.product = TensorProduct(max_degree, max_degree, out, n_out)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.sides(x).chunk(2, dim=2)
        return self.product(left, right)


class Update(nn.Module):
    """x <- norm(x + mlp(y)), x <- norm(x + mlp(x)): how messages change the scalar features of LOREM."""

    def __init__(self, n_features: int, n_message: int) -> None:
        super().__init__()
        self.from_message = mlp([n_message, 2 * n_features, n_features])
        self.norm_message = nn.LayerNorm(n_features, eps=1e-6)  # flax's default; torch's is 1e-5
        self.from_self = mlp([n_features, 2 * n_features, n_features])
        self.norm_self = nn.LayerNorm(n_features, eps=1e-6)

    def forward(self, x: Tensor, message: Tensor) -> Tensor:
        x = self.norm_message(x + self.from_message(message))
        return self.norm_self(x + self.from_self(x))


def degree_norms(x: Tensor, softening: float = 0.0) -> Tensor:
    """(2l + 1)^(1/4) |x_l| for every degree and channel, degrees outermost; the gradient at |x_l| = 0 is 0.

    x           (n, (l_max + 1)^2, n_channels)
    softening   e of sqrt(|x_l|^2 + e^2) - e, which takes the place of |x_l| and has no kink at 0
    returns     (n, (l_max + 1) * n_channels)

    At a symmetric site the features of some degrees vanish but for rounding, whose direction means nothing: without
    softening, what is that small counts as zero, or a perfect crystal would feel a force.
    """
    member, factors = _members(round(x.shape[1] ** 0.5) - 1, x.dtype, x.device)
    squares = member @ x.square()
    if softening > 0:
        lengths = (squares + softening**2).sqrt() - softening
    else:
        positive = squares > (16 * torch.finfo(x.dtype).eps) ** 2
        lengths = torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
    return (lengths * factors).flatten(1)


@lru_cache(maxsize=32)
def _members(max_degree: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """[l, lm] | 1 where the component is of the degree; [l, 1] | (2l + 1)^(1/4)."""
    member = nn.functional.one_hot(degree_of_component(max_degree, device), max_degree + 1).T.to(dtype)
    return member, ((2 * torch.arange(max_degree + 1, device=device, dtype=dtype) + 1) ** 0.25).unsqueeze(1)


class _Block(NamedTuple):
    """The coefficients between the components of two parities, which are 0 (even degrees) or 1 (odd)."""

    p1: int
    p2: int
    degrees: tuple[Tensor, Tensor, Tensor]  # l1, l2, l3 of every coefficient, broadcastable to (m1, m2, m3)
    coupling: Tensor  # (m1, m2, m3, 1)


_Halves = tuple[tuple[_Block, ...], ...]


class _Parities(NamedTuple):
    """A coupling by parities: one half for even l3, one for odd."""

    halves: _Halves
    left: Tensor  # components of x, those of even degree first
    n_left: tuple[int, int]  # how many are even, and odd
    right: Tensor  # likewise of y
    n_right: tuple[int, int]
    back: Tensor  # components of z back in the order of degrees


@lru_cache(maxsize=32)
def by_parity(left: int, right: int, out: int, dtype: torch.dtype, device: torch.device) -> _Parities:
    """The coupling split by the parities of the degrees.

    Kept outside the modules, so that a change of precision never rounds the coefficients twice.
    """
    degrees = [degree_of_component(top) for top in (left, right, out)]
    members = [[torch.nonzero(degree % 2 == p).squeeze(1) for p in (0, 1)] for degree in degrees]
    table = coupling(left, right, out)
    halves = []
    for p3 in (0, 1):
        blocks = []
        for p1, p2 in ((0, p3), (1, 1 - p3)):
            m1, m2, m3 = (m[p] for m, p in zip(members, (p1, p2, p3), strict=True))
            l1, l2, l3 = (degree[m].to(device) for degree, m in zip(degrees, (m1, m2, m3), strict=True))
            coefficients = table[m1][:, m2][:, :, m3].unsqueeze(-1).to(device, dtype)
            blocks.append(_Block(p1, p2, (l1[:, None, None], l2[None, :, None], l3), coefficients))
        halves.append(tuple(blocks))
    first, second, third = (torch.cat(m).to(device) for m in members)
    n_first, n_second, _ = ((len(even), len(odd)) for even, odd in members)
    return _Parities(tuple(halves), first, n_first, second, n_second, torch.argsort(third))
