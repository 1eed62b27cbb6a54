"""Attention weights in numbers: rows per atom, rollout, spread, rank correlation, distance. Plain arrays only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Pairs that a summary looks at: all of them up to 200 atoms, then those of a random choice of receivers.
PAIRS = 40_000


@dataclass(frozen=True)
class Weights:
    """Attention weights of one layer in one of three forms, checked against a structure.

    label        e.g. "layer 0, all atoms"
    weights      (n_heads, n_atoms, n_atoms)   | receiver, sender; when `pairs` and `centers` are None
                 (n_heads, n_pairs)            | one weight per row of `pairs`
                 (n_centers, n_heads, q, k)    | between the members of each neighbourhood; q is k or 1
    n_atoms      of the structure
    pairs        (n_pairs, 2) receiver, sender, or None
    centers      (n_centers,) atom index, or None
    members      (n_centers, k) atom in each place of a neighbourhood, first the centre; -1 is an empty place; or None
    normalised   True when the weights of one receiver sum to 1
    """

    label: str
    weights: np.ndarray
    n_atoms: int
    pairs: np.ndarray | None = None
    centers: np.ndarray | None = None
    members: np.ndarray | None = None
    normalised: bool = True

    @classmethod
    def of(cls, attention: Any, n_atoms: int) -> Weights:
        """From anything with the attributes `label, weights, pairs, centers, members, normalised`.

        Raises ValueError when the shapes do not fit each other or the structure.
        """
        pairs, centers, members = (
            None if array is None else np.asarray(array)
            for array in (attention.pairs, attention.centers, attention.members)
        )
        weights = np.asarray(attention.weights)
        found = cls(attention.label, weights, n_atoms, pairs, centers, members, bool(attention.normalised))
        found._check()
        return found

    def _check(self) -> None:
        shape, name = self.weights.shape, f"weights of {self.label!r}"
        if self.pairs is not None:
            wanted, fits = f"(n_heads, {len(self.pairs)})", len(shape) == 2 and shape[1] == len(self.pairs)
            named = self.pairs
        elif self.centers is not None:
            if self.members is None:
                raise ValueError(
                    f"{self.label!r} has centers, but no members; give the atom of every place, too"
                )
            n_centers, k = len(self.centers), self.members.shape[-1]
            wanted = f"({n_centers}, n_heads, {k} or 1, {k})"
            fits = len(shape) == 4 and shape[0] == n_centers == len(self.members)
            fits = fits and shape[3] == k and shape[2] in (1, k)
            named = np.concatenate([self.centers, self.members[self.members >= 0]])
        else:
            wanted = f"(n_heads, {self.n_atoms}, {self.n_atoms})"
            fits, named = len(shape) == 3 and shape[1:] == (self.n_atoms,) * 2, np.empty(0, int)
        if not fits:
            raise ValueError(f"{name} have shape {shape}; expected {wanted}")
        if named.size and not 0 <= named.min() <= named.max() < self.n_atoms:
            raise ValueError(
                f"{name} name atoms {named.min()}..{named.max()}; expected 0..{self.n_atoms - 1}. Are they of"
                " this structure?"
            )

    @property
    def n_heads(self) -> int:
        return self.weights.shape[0 if self.centers is None else 1]

    @property
    def between_all(self) -> bool:
        """Whether every atom may attend to every other."""
        return self.pairs is None and self.centers is None

    @property
    def signed(self) -> bool:
        return bool(self.weights.size and self.weights.min() < 0)

    def rows(self, receivers: Any) -> np.ndarray:
        """(n_heads, n_receivers, n_atoms) weights of different receivers; NaN where there is no pair.

        Periodic images of one sender are added up. Of a neighbourhood it is the row of the centre.
        """
        receivers = np.asarray(receivers, int)
        if self.between_all:
            return self.weights[:, receivers].astype(float)
        row_of = np.full(self.n_atoms, -1)
        row_of[receivers] = np.arange(len(receivers))
        if self.pairs is not None:
            here = np.flatnonzero(row_of[self.pairs[:, 0]] >= 0)
            rows, senders, weights = row_of[self.pairs[here, 0]], self.pairs[here, 1], self.weights[:, here]
        else:
            assert self.centers is not None
            assert self.members is not None  # _check saw to it
            here = np.flatnonzero(row_of[self.centers] >= 0)
            center, place = np.nonzero(self.members[here] >= 0)
            rows, senders = row_of[self.centers[here]][center], self.members[here][center, place]
            weights = self.weights[here][center, :, 0, place].T
        places, shape = rows * self.n_atoms + senders, (self.n_heads, len(receivers), self.n_atoms)
        sums = np.array([np.bincount(places, head, shape[1] * shape[2]) for head in weights]).reshape(shape)
        paired = np.zeros(shape[1:], bool)
        paired[rows, senders] = True
        return np.where(paired, sums, np.nan)

    def neighbourhood(self, atom: int) -> tuple[np.ndarray, np.ndarray]:
        """(n_heads, q, n_members) weights between the members of the neighbourhood of `atom`, and their atoms.

        q is n_members or 1. Without neighbourhoods, or when `atom` is the centre of none, there are no members.
        """
        number = np.empty(0, int) if self.centers is None else np.flatnonzero(self.centers == atom)
        if number.size == 0 or self.members is None:
            return np.empty((self.n_heads, 0, 0)), np.empty(0, int)
        weights, members = self.weights[number[0]].astype(float), self.members[number[0]]
        there = members >= 0
        receiving = there if weights.shape[1] == len(members) else [True]
        return weights[:, receiving][:, :, there], members[there]


def combined(weights: np.ndarray, head: int | str) -> np.ndarray:
    """One head of weights (n_heads, ...), or their "mean" or "max" over heads: (...)."""
    if head == "mean":
        return weights.mean(axis=0)
    if head == "max":
        return weights.max(axis=0)
    return weights[int(head)]


def layers_up_to(all_weights: Sequence[Weights], index: int) -> list[Weights]:
    """The weights of the same kind, "layer 0, all atoms", "layer 1, all atoms", ..., up to number `index`.

    Of the same kind are those between all atoms whose labels differ in nothing but the number of the layer.
    """
    kind = _kind(all_weights[index])
    return [w for w in all_weights[: index + 1] if w.between_all and _kind(w) == kind]


def _kind(weights: Weights) -> str:
    return re.sub(r"layer \d+", "layer", weights.label)


def rollout(layers: Sequence[Weights]) -> np.ndarray:
    r"""(n_atoms, n_atoms) how much of each input, row by row, reaches an atom through these layers, the first first.

    R_l = A_l R_{l-1} with A_l = (W_l + 1) / 2, W_l the mean over heads with rows scaled to sum 1, and the 1 for the
    residual connection. Attention rollout of Abnar and Zuidema (2020), https://arxiv.org/abs/2005.00928, eq. (1). It
    leaves out values, feed-forward parts and any other attention between the layers.
    """
    reached = np.eye(layers[0].n_atoms)
    for layer in layers:
        mean = layer.weights.mean(axis=0, dtype=float)
        sums = mean.sum(axis=1, keepdims=True)
        mean = np.divide(mean, sums, out=np.zeros_like(mean), where=sums > 0)
        reached = (mean @ reached + reached) / 2
    return reached


def effective_partners(rows: np.ndarray) -> np.ndarray:
    """exp(H) of rows (..., n_atoms), H the entropy of |weights| scaled to sum 1: 1 for one partner, n for n alike.

    NaN where a row has no weight at all.
    """
    share = np.abs(np.nan_to_num(rows))
    total = share.sum(axis=-1, keepdims=True)
    share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), np.nan)


def rank_correlations(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis of rows (..., n) with others (n_rows, n), where both are there.

    NaN with fewer than two pairs, or where one of the two does not vary.
    """
    from scipy.stats import rankdata

    there = np.isfinite(rows) & np.isfinite(others)
    x, y = (
        rankdata(np.where(there, a, np.nan), axis=-1, nan_policy="omit")
        for a in np.broadcast_arrays(rows, others)
    )
    count = there.sum(axis=-1, keepdims=True)
    x, y = (
        np.where(there, a - np.nansum(a, axis=-1, keepdims=True) / np.maximum(count, 1), 0.0) for a in (x, y)
    )
    scale = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    defined = (count[..., 0] >= 2) & (scale > 0)
    return np.where(defined, (x * y).sum(axis=-1) / np.where(defined, scale, 1.0), np.nan)


def nearest_images(atoms: Any, origins: Any) -> np.ndarray:
    """(n_origins, n_atoms, 3) vectors from the atoms `origins` to the nearest image of every atom [Å]."""
    from ase.geometry import find_mic

    positions, pbc = atoms.positions, atoms.pbc
    spans = positions[None] - positions[np.asarray(origins, int)][:, None]
    if pbc.any():
        # In pieces: the general search holds 27 images of every vector.
        for piece in np.array_split(spans.reshape(-1, 3), max(1, spans[..., 0].size // 20_000)):
            piece[:] = find_mic(piece, atoms.cell, pbc)[0]
    return spans


def sampled_receivers(n_atoms: int) -> np.ndarray:
    """The receivers over which summaries go: all, or as many at random as make about PAIRS pairs, in order."""
    count = min(n_atoms, max(1, PAIRS // n_atoms))
    return np.sort(np.random.default_rng(0).choice(n_atoms, count, replace=False))


def medians_by_distance(
    distances: np.ndarray, weights: np.ndarray, width: float = 0.5, fewest: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Middle distance [Å] and median weight of every bin of this width [Å] that holds enough pairs."""
    bins = np.floor(distances / width).astype(int)
    order = np.argsort(bins, kind="stable")
    numbers, starts = np.unique(bins[order], return_index=True)
    ends = np.append(starts, len(order))[1:]
    groups = [weights[order[start:end]] for start, end in zip(starts, ends, strict=True)]
    kept = [(n, np.median(g)) for n, g in zip(numbers, groups, strict=True) if len(g) >= fewest]
    middles, medians = np.array(kept).reshape(-1, 2).T
    return (middles + 0.5) * width, medians
