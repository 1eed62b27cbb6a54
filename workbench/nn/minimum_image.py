"""The nearest of the periodic images."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def minimum_image(vectors: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    """The shortest of v + n @ cell over whole numbers n along the periodic directions, exact for any cell.

    vectors   (n_structures, n_pairs, 3)   Å
    cell      (n_structures, 3, 3)         Å, rows are vectors
    pbc       (n_structures, 3)            bool
    returns   (n_structures, n_pairs, 3); differentiable, with a kink where two images are equally near
    """
    if not bool(pbc.any()):
        return vectors
    with torch.no_grad():
        whole = torch.stack([_whole_cells(v, c, p) for v, c, p in zip(vectors, cell, pbc, strict=True)])
    return vectors + whole @ cell


def _whole_cells(vectors: Tensor, cell: Tensor, pbc: Tensor) -> Tensor:
    """(n_pairs, 3) | n of the shortest v + n @ cell."""
    if not bool(pbc.any()):
        return torch.zeros_like(vectors)
    axes = cell[pbc]
    inverse = torch.linalg.pinv(axes)
    nearest = -torch.round(vectors @ inverse)
    gram = axes @ axes.T
    if not torch.allclose(gram, torch.diag(gram.diagonal()), atol=1e-12 * float(gram.max())):
        nearest = _search(vectors, axes, inverse, nearest)
    if bool(pbc.all()):
        return nearest
    whole = torch.zeros_like(vectors)
    whole[:, pbc] = nearest
    return whole


def _search(vectors: Tensor, axes: Tensor, inverse: Tensor, nearest: Tensor) -> Tensor:
    """Rounding finds a near image, in a skewed cell not always the nearest: look around where it is not certain."""
    heights = 1 / inverse.norm(dim=0)  # between lattice planes; no lattice vector is shorter than the least
    lengths = (vectors + nearest @ axes).norm(dim=1)
    (open_,) = torch.nonzero(lengths > 0.5 * float(heights.min()), as_tuple=True)
    if not len(open_):
        return nearest
    best, start = lengths[open_], nearest[open_]
    reach = torch.floor(float(best.max()) / heights + 0.5).int().tolist()
    found = start
    for offset in product(*(range(-n, n + 1) for n in reach)):
        other = start + torch.tensor(offset, dtype=start.dtype, device=start.device)
        length = (vectors[open_] + other @ axes).norm(dim=1)
        shorter = length < best
        best = torch.where(shorter, length, best)
        found = torch.where(shorter.unsqueeze(1), other, found)
    return nearest.index_copy(0, open_, found)
