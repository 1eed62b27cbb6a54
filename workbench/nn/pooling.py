"""From features of atoms to an energy through pooling over each structure: sum, mean and maximum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench.nn.layers import mlp

READOUTS = ("extensive", "literal", "local")


def mean_pool(h: Tensor, structure_index: Tensor, sizes: Tensor) -> Tensor:
    """(n_structures, n_channels) | the mean over the atoms of each structure."""
    return _sum(h, structure_index, sizes) / sizes.unsqueeze(1)


def max_pool(
    h: Tensor, structure_index: Tensor, sizes: Tensor, sharpness: float = 0.0
) -> tuple[Tensor, Tensor]:
    r"""The maximum over the atoms of each structure, channel by channel, and whose it is.

    h               (n_atoms, n_channels)
    sharpness       b of (1/b) log mean_i exp(b h_i), which has no kink, lies at most log(n_atoms) / b below the
                    maximum and, like it, is the same for a structure and its supercell; 0 is the maximum itself
    returns         (n_structures, n_channels), and shares (n_atoms, n_channels), the derivatives of the former by h:
                    those of one structure sum to 1 in every channel
    """
    place = structure_index.unsqueeze(1).expand_as(h)
    # A constant that cancels out of the smooth value, so that no exponential overflows.
    highest = h.new_full((len(sizes), h.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, place, h.detach(), "amax")
    if sharpness > 0:
        powers = torch.exp(sharpness * (h - highest[structure_index]))
        total = _sum(powers, structure_index, sizes)
        value = highest + torch.log(total / sizes.unsqueeze(1)) / sharpness
        return value, powers / total[structure_index]
    winners = (h == highest[structure_index]).to(h.dtype)  # several, at sites that are alike
    shares = winners / _sum(winners, structure_index, sizes)[structure_index]
    return _sum(shares * h, structure_index, sizes), shares


class PooledEnergy(nn.Module):
    """Energies of atoms from their scalar features and those of the whole structure.

    readout     "extensive"   MLP(h_i) + MLP([mean, max]): every pooling, and twice the crystal has twice the energy
                "literal"     MLP([sum, mean, max]) / n_atoms: one number per structure, shared out alike
                "local"       MLP(h_i): no pooling but the sum; far fragments do not know of each other
    sharpness   of `max_pool`

    forward     h (n_atoms, n_channels), structure_index (n_atoms,), sizes (n_structures,) -> own (n_atoms,),
                pooled (n_structures,), shares (n_atoms, n_channels); an atom's energy is own + that of its structure
    """

    def __init__(self, n_channels: int, readout: str, sharpness: float) -> None:
        super().__init__()
        self.readout, self.sharpness = readout, sharpness
        pooled = {"extensive": 2, "literal": 3, "local": 0}[readout] * n_channels
        self.own = mlp([n_channels, n_channels, 1]) if readout != "literal" else None
        self.pooled = mlp([pooled, n_channels, 1]) if pooled else None

    def forward(self, h: Tensor, structure_index: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        largest, shares = max_pool(h, structure_index, sizes, self.sharpness)
        own = self.own(h).squeeze(1) if self.own is not None else h.new_zeros(len(h))
        if self.pooled is None:
            return own, h.new_zeros(len(sizes)), shares
        views = [mean_pool(h, structure_index, sizes), largest]
        if self.readout == "extensive":
            return own, self.pooled(torch.cat(views, 1)).squeeze(1), shares
        total = _sum(h, structure_index, sizes) / h.shape[1] ** 0.5
        return own, self.pooled(torch.cat([total, *views], 1)).squeeze(1) / sizes, shares


def _sum(values: Tensor, structure_index: Tensor, sizes: Tensor) -> Tensor:
    return values.new_zeros(len(sizes), values.shape[1]).index_add(0, structure_index, values)
