r"""Electrostatic potentials of learned charges, V_i = 1/2 \sum_j q_j / r_ij, over all distances.

Charges are dimensionless and potentials are in 1/Å, with the factor 1/2 of torch-pme and jax-pme: multiply by
2 * 14.3996 eV Å/e^2 for charges in e. An open structure is summed directly, a crystal by Ewald summation or, when
large, by P3M, and a slab by Ewald summation with the correction of Yeh and Berkowitz. A charged cell gets a uniform
neutralising background, channel by channel.

Accuracy with the defaults of LOREM (smearing r_c / 4, wavelength r_c / 8), as the relative error of Madelung
constants: 2e-5 by Ewald, 1e-3 by P3M (`tests/nn/test_longrange.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torchpme
from torch import Tensor

# A larger crystal is summed on a mesh, which is faster there: 1.0, 1.7 and 3.1 times at 192, 375 and 648 atoms of
# water (benchmarks/). By the number of atoms alone, so that the method never changes within a run.
MESH_FROM_N_ATOMS = 250


def potentials(
    charges: Tensor,
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,
    sizes: Sequence[int],
    receivers: Tensor,
    senders: Tensor,
    distances: Tensor,
    *,
    smearing: float,
    wavelength: float,
    differentiate_twice: bool = False,
) -> Tensor:
    """Potentials at all atoms of a batch of structures.

    charges               (n_atoms, n_channels)  dimensionless
    positions             (n_atoms, 3)           Å
    cell                  (n_structures, 3, 3)   Å, rows are vectors
    pbc                   (n_structures, 3)      bool
    sizes                 (n_structures,)        atoms in each structure, which follow one another
    receivers, senders    (n_pairs,)             both directions of every pair, images included
    distances             (n_pairs,)             Å; every pair up to 4 smearings, for periodic structures
    smearing              Å, width of the Gaussians that split the sum in two
    wavelength            Å, half the shortest wave that is kept in reciprocal space
    differentiate_twice   on a mesh, use PME: the second derivative of P3M by the cell is not finite
    returns               (n_atoms, n_channels)  1/Å

    Raises ValueError for a structure that is periodic in one direction only.
    """
    kinds = _structures_by_method(sizes, pbc)
    split_charges, split_positions = charges.split(list(sizes)), positions.split(list(sizes))
    far: dict[int, Tensor] = {}
    for kind, members in kinds.items():
        q, r = [split_charges[s] for s in members], [split_positions[s] for s in members]
        if kind == "open":
            parts = _direct(q, r)
        elif kind == "ewald":
            parts = _ewald(q, r, cell[members], smearing, wavelength)
        elif kind == "mesh":
            mesh = _calculators(smearing, charges.dtype, charges.device)[
                "pme" if differentiate_twice else "p3m"
            ]
            parts = [_reciprocal(mesh, *one) for one in zip(q, cell[members], r, strict=True)]
        else:
            parts = [
                _slab(*one, smearing, wavelength) for one in zip(q, r, cell[members], pbc[members], strict=True)
            ]
        far.update(zip(members, parts, strict=True))
    total = torch.cat([far[s] for s in range(len(sizes))])
    if set(kinds) == {"open"}:
        return total

    near = _calculators(smearing, charges.dtype, charges.device)["near"]
    kernel = 0.5 * near.sr_from_dist(distances)
    if "open" in kinds:  # whose pairs the direct sum holds already
        periodic = torch.repeat_interleave(pbc.any(1), torch.tensor(sizes, device=pbc.device))
        kernel = kernel * periodic[receivers]
    return total.index_add(0, receivers, charges.index_select(0, senders) * kernel.unsqueeze(1))


def _structures_by_method(sizes: Sequence[int], pbc: Tensor) -> dict[str, list[int]]:
    """ "open", "slab", "ewald" or "mesh" -> the structures that are summed that way."""
    methods: dict[str, list[int]] = {}
    for s, (size, n_periodic) in enumerate(zip(sizes, pbc.sum(1).tolist(), strict=True)):
        if n_periodic == 1:
            raise ValueError(
                "a structure is periodic in one direction; long-range sums are made for 0, 2 or 3. "
                "Add vacuum, and make it periodic in 2 or 3"
            )
        crystal = "mesh" if size > MESH_FROM_N_ATOMS else "ewald"
        methods.setdefault({0: "open", 2: "slab", 3: crystal}[n_periodic], []).append(s)
    return methods


def _direct(charges: Sequence[Tensor], positions: Sequence[Tensor]) -> list[Tensor]:
    """The plain sum over all pairs of every open structure, as matrices; memory grows as n_atoms^2."""
    sizes = [len(x) for x in positions]
    q, r = _padded(charges, sizes), _padded(positions, sizes)
    real = torch.arange(r.shape[1], device=r.device) < torch.tensor(sizes, device=r.device)[:, None]
    pair = real[:, :, None] & real[:, None, :] & ~torch.eye(r.shape[1], dtype=torch.bool, device=r.device)
    squares = (r[:, :, None] - r[:, None, :]).square().sum(-1)
    inverse = torch.where(pair, torch.where(pair, squares, 1.0).rsqrt(), 0.0)
    return [v[:n] for v, n in zip(0.5 * inverse @ q, sizes, strict=True)]


def _padded(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """(n_structures, most atoms, width) | zero where a structure has no more atoms.

    One copy to and one copy back, where pad_sequence makes several for every structure.
    """
    n, most = len(sizes), max(sizes)
    together = torch.cat(list(parts))
    if min(sizes) == most:
        return together.unflatten(0, (n, most))
    slots = torch.cat([torch.arange(size, device=together.device) + k * most for k, size in enumerate(sizes)])
    rows = together.new_zeros(n * most, together.shape[1])
    return rows.index_copy(0, slots, together).unflatten(0, (n, most))


def _ewald(
    charges: Sequence[Tensor], positions: Sequence[Tensor], cells: Tensor, smearing: float, wavelength: float
) -> list[Tensor]:
    """The reciprocal part of the Ewald sum; many crystals are padded to one size and summed at once."""
    calculator = _calculators(smearing, cells.dtype, cells.device)["ewald"]
    waves = [_waves(cell.detach().cpu().double().numpy().tobytes(), np.pi / wavelength) for cell in cells]
    integers = [torch.from_numpy(w).to(cells) for w in waves]
    if len(cells) == 1:
        k = integers[0] @ _reciprocal_cell(cells[0])
        return [_reciprocal(calculator, charges[0], cells[0], positions[0], kvectors=k)]
    sizes = [len(x) for x in positions]
    q, r = _padded(charges, sizes), _padded(positions, sizes)
    n = _padded(integers, [len(one) for one in integers])
    real = torch.arange(q.shape[1], device=q.device) < torch.tensor(sizes, device=q.device)[:, None]

    def one(q: Tensor, cell: Tensor, r: Tensor, n: Tensor, real: Tensor) -> Tensor:
        return _reciprocal(calculator, q, cell, r, kvectors=n @ _reciprocal_cell(cell), node_mask=real)

    summed = torch.vmap(one)(q, cells, r, n, real)
    return [v[:size] for v, size in zip(summed, sizes, strict=True)]


def _slab(
    charges: Tensor, positions: Tensor, cell: Tensor, pbc: Tensor, smearing: float, wavelength: float
) -> Tensor:
    """The reciprocal part for a slab: a crystal of slabs far apart, less what the other slabs do.

    torch-pme takes the vacuum along z: the slab is turned there, which leaves potentials as they are.
    Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999).
    """
    first, second = cell[pbc]
    x = first / first.norm()
    z = torch.linalg.cross(first, second)
    z = z / z.norm()
    turn = torch.stack([x, torch.linalg.cross(z, x), z])  # rows are the new axes
    turned = positions @ turn.T
    thickness = float(turned[:, 2].detach().max() - turned[:, 2].detach().min())
    longest = float(torch.stack([first, second]).detach().norm(dim=1).max())
    # exp(-2 pi gap / length) is what images still do: 3e-6. Whole Å, so that it does not follow every move.
    height = float(np.ceil(thickness + 2 * longest))
    tall = torch.stack([first @ turn.T, second @ turn.T, cell.new_tensor([0.0, 0.0, height])])
    calculator = _calculators(smearing, cell.dtype, cell.device)["ewald"]
    waves = torch.from_numpy(_waves(tall.detach().cpu().double().numpy().tobytes(), np.pi / wavelength)).to(
        cell
    )
    periodic = torch.tensor([True, True, False], device=cell.device)
    k = waves @ _reciprocal_cell(tall)
    return _reciprocal(calculator, charges, tall, turned, kvectors=k, periodic=periodic)


def _reciprocal(
    calculator: torchpme.Calculator, charges: Tensor, cell: Tensor, positions: Tensor, **options: Tensor
) -> Tensor:
    """What a torch-pme calculator sums in reciprocal space: it is given no neighbour."""
    no_pairs = torch.zeros(0, 2, dtype=torch.int64, device=cell.device)
    return calculator(charges, cell, positions, no_pairs, cell.new_zeros(0), **options)


def _reciprocal_cell(cell: Tensor) -> Tensor:
    return 2 * torch.pi * torch.linalg.inv(cell).T


@lru_cache(maxsize=256)
def _waves(cell: bytes, largest: float) -> np.ndarray:
    """(n_waves, 3) | the integer wave vectors with 0 < |k| <= largest, one of each pair k, -k.

    The published code keeps the corners of the k-grid too, which change potentials by less than 1e-9.
    """
    vectors = np.frombuffer(cell).reshape(3, 3)
    most = np.floor(largest * np.linalg.norm(vectors, axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), -1).reshape(-1, 3)
    half = grid[len(grid) // 2 + 1 :]  # the grid is symmetric about its middle, which is k = 0
    k = 2 * np.pi * half @ np.linalg.inv(vectors).T
    return half[np.einsum("ka,ka->k", k, k) <= largest**2].astype(float)


class _HalfSpaceCoulomb(torchpme.CoulombPotential):
    """The Coulomb kernel for sums over one of each pair k, -k, which contribute alike."""

    def lr_from_k_sq(self, k_sq: Tensor) -> Tensor:
        return 2 * super().lr_from_k_sq(k_sq)


@lru_cache(maxsize=16)
def _calculators(smearing: float, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """torch-pme's parts for one smearing. They have no weights, so they stand outside models and checkpoints."""
    coulomb = torchpme.CoulombPotential(smearing=smearing)
    parts: dict[str, Any] = {
        "near": coulomb,
        "ewald": torchpme.EwaldCalculator(_HalfSpaceCoulomb(smearing=smearing), lr_wavelength=smearing / 2),
        "p3m": torchpme.P3MCalculator(coulomb, mesh_spacing=smearing, interpolation_nodes=4),
        "pme": torchpme.PMECalculator(coulomb, mesh_spacing=smearing, interpolation_nodes=6),
    }
    return {name: part.to(device=device, dtype=dtype) for name, part in parts.items()}
