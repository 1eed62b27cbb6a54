r"""Dispersion: the attraction -C6 / r^6 that a short cutoff cannot see, damped where electrons overlap.

E_i = -1/2 \sum_j C_ij / (r^6 + R_ij^6) s(r)

C_ij from those of the elements by C_ij = 2 C_i C_j / (C_i a_j / a_i + C_j a_i / a_j) with the polarisabilities a
(Tkatchenko and Scheffler, Phys. Rev. Lett. 102, 073005 (2009)), R_ij = R_i + R_j of the van der Waals radii damps
rationally (Becke and Johnson, J. Chem. Phys. 123, 154101 (2005)), and s falls smoothly to zero over the last quarter
of the cutoff.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.nn.free_atoms import N_ELEMENTS, free_atoms

SWITCH_FROM = 0.75  # of the cutoff: 15 of 20 Å


class Attraction(NamedTuple):
    """What dispersion adds."""

    energies: Tensor  # (n_atoms,) [eV]
    forces: Tensor | None  # (n_atoms, 3) [eV/Å]
    virials: Tensor | None  # (n_atoms, 3, 3) | strain derivatives of the energies [eV]


class Dispersion(nn.Module):
    """Dispersion between atoms, with a learned factor on C6 of every element and one on all radii, both 1 at first.

    It shares no weights with anything, so it can be fitted alone; `requires_grad_(False)` on it keeps what was found.

    forward   numbers (n_atoms,), receivers, senders (n_pairs,), vectors (n_pairs, 3) [Å] -> Attraction, with forces and
              virials by formula if `derivatives`: for a model whose other forces are no gradient
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        one = math.log(math.expm1(1.0))  # softplus of it is 1
        self.strength = nn.Parameter(torch.full((N_ELEMENTS,), one))
        self.reach = nn.Parameter(torch.tensor(one))

    def forward(
        self, numbers: Tensor, receivers: Tensor, senders: Tensor, vectors: Tensor, derivatives: bool = False
    ) -> Attraction:
        distances = vectors.norm(dim=1)
        halves, slopes = self._pairs(numbers, receivers, senders, distances)
        n = len(numbers)
        energies = halves.new_zeros(n).index_add(0, receivers, halves)
        if not derivatives:
            return Attraction(energies, None, None)
        pulls = (slopes / distances).unsqueeze(1) * vectors  # of the receiver, by its own half of the energy
        forces = vectors.new_zeros(n, 3).index_add(0, receivers, pulls).index_add(0, senders, -pulls)
        of_pair = pulls.unsqueeze(2) * vectors.unsqueeze(1)
        return Attraction(energies, forces, vectors.new_zeros(n, 3, 3).index_add(0, receivers, of_pair))

    def _pairs(
        self, numbers: Tensor, receivers: Tensor, senders: Tensor, distances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies of the directed pairs, half of each, and their slopes by the distance."""
        table = free_atoms(distances.dtype, distances.device)
        polarisability = table.polarisability[numbers]
        c6 = (nn.functional.softplus(self.strength) * table.c6)[numbers]
        radius = nn.functional.softplus(self.reach) * table.radius[numbers]
        ratio = polarisability[receivers] / polarisability[senders]
        of_i, of_j = c6[receivers], c6[senders]
        c = 2 * of_i * of_j / (of_i / ratio + of_j * ratio)

        inverse = 1 / (distances**6 + (radius[receivers] + radius[senders]) ** 6)
        t = ((distances / self.cutoff - SWITCH_FROM) / (1 - SWITCH_FROM)).clamp(0.0, 1.0)
        switch = 1 - t**3 * (10 - 15 * t + 6 * t**2)
        fall = -30 * t**2 * (1 - t) ** 2 / ((1 - SWITCH_FROM) * self.cutoff)
        slopes = -0.5 * c * inverse * (fall - 6 * distances**5 * inverse * switch)
        return -0.5 * c * inverse * switch, slopes
