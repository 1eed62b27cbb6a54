"""Graphs: what a model reads. Atoms of one or many structures, and the pairs of them within a cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import ase
import numpy as np
import torch
import vesin
from torch import Tensor

FARTHEST = 1e7  # Å; beyond, cell lists overflow


@dataclass(frozen=True)
class Graph:
    """One or many structures with their neighbour pairs. Pairs are directed: each appears from both ends.

    Positions and cell keep double precision; a model casts the pair vectors to its own.
    """

    numbers: Tensor  # (n_atoms,) | atomic number
    positions: Tensor  # (n_atoms, 3) | as given, not wrapped into the cell [Å]
    structure_index: Tensor  # (n_atoms,) | which structure the atom is in, ascending
    cell: Tensor  # (n_structures, 3, 3) | rows are vectors, zero where there is none [Å]
    pbc: Tensor  # (n_structures, 3) | bool, periodic along each vector
    charge: Tensor  # (n_structures,) | total charge [e]
    spin: Tensor  # (n_structures,) | multiplicity 2S + 1
    receivers: Tensor  # (n_pairs,) | atom i
    senders: Tensor  # (n_pairs,) | atom j
    shifts: Tensor  # (n_pairs, 3) | whole cells between j and the image that i sees
    cutoff: float  # every pair closer than this is in the list [Å]

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_pairs(self) -> int:
        return len(self.receivers)

    @property
    def n_structures(self) -> int:
        return len(self.cell)

    @property
    def sizes(self) -> Tensor:
        """(n_structures,) | atoms in each structure."""
        return torch.bincount(self.structure_index, minlength=self.n_structures)

    @property
    def vectors(self) -> Tensor:
        """(n_pairs, 3) | r_sender - r_receiver + shift @ cell [Å]; differentiable."""
        vectors = self.positions.index_select(0, self.senders) - self.positions.index_select(0, self.receivers)
        if not bool(self.pbc.any()):
            return vectors
        cell = self.cell if self.n_structures == 1 else self.cell[self.structure_index[self.receivers]]
        return vectors + (self.shifts.unsqueeze(1) @ cell).squeeze(1)

    @property
    def wrapped_positions(self) -> Tensor:
        """(n_atoms, 3) | positions moved by whole cells into the cell along periodic directions [Å]; differentiable.

        For sums in reciprocal space, whose phases lose digits far from the origin.
        """
        if not bool(self.pbc.any()):
            return self.positions
        with torch.no_grad():
            # Vectors that are not periodic may be zero: replace them by something invertible that is not used.
            periodic = self.pbc[:, :, None]
            identity = torch.eye(3, dtype=self.cell.dtype, device=self.cell.device)
            volume = torch.where(periodic, self.cell, 0.0) + torch.where(periodic, 0.0, identity)
            inside = torch.linalg.pinv(volume)[self.structure_index]
            whole = torch.floor((self.positions.unsqueeze(1) @ inside).squeeze(1))
            whole = torch.where(self.pbc[self.structure_index], whole, 0.0)
        return self.positions - (whole.unsqueeze(1) @ self.cell[self.structure_index]).squeeze(1)

    def to(self, device: torch.device | str) -> Graph:
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=True)
            for f in fields(self)
            if f.name != "cutoff"
        }
        return replace(self, **moved)


def neighbours(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All directed pairs closer than `cutoff`, images included; an atom and its own image are a pair.

    positions   (n_atoms, 3)   Å
    cell        (3, 3)         Å, rows are vectors; vectors of non-periodic directions are ignored
    pbc         (3,)           bool
    returns     receivers (n_pairs,), senders (n_pairs,), shifts (n_pairs, 3); shifts are integers

    The list is vesin's cell list: its time grows linearly with the atoms at fixed density (benchmarks/).
    Raises ValueError for a periodic cell without volume and for positions that are not finite or absurdly far.
    """
    if not np.abs(positions).max(initial=0.0) < FARTHEST:  # not finite included
        raise ValueError(
            f"positions reach {np.abs(positions).max()} Å; expected finite numbers below {FARTHEST:g} Å. Is the "
            "structure broken, or in another unit?"
        )
    box = completed_cell(cell, pbc)
    search = vesin.NeighborList(cutoff=cutoff, full_list=True)
    i, j, shifts = search.compute(points=positions, box=box, periodic=pbc, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), shifts


def completed_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """`cell` with the vectors of its non-periodic directions replaced by unit vectors normal to the rest.

    Raises ValueError when the periodic vectors do not span a length, an area or a volume.
    """
    cell = np.array(cell, dtype=float)
    periodic = [axis for axis in range(3) if pbc[axis]]
    free = [axis for axis in range(3) if not pbc[axis]]
    _, singular, directions = np.linalg.svd(cell[periodic])
    if len(singular) and singular[-1] < 1e-6:
        raise ValueError(
            f"the cell {cell.tolist()} is periodic along {periodic} but these vectors span no volume; "
            "give a proper cell (Å, rows are vectors) or set pbc to False"
        )
    cell[free] = directions[len(periodic) :]
    return cell


def graph(atoms: ase.Atoms, cutoff: float) -> Graph:
    """The graph of one structure. Charge and spin come from `atoms.info` (0 and 1 where absent)."""
    receivers, senders, shifts = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return with_pairs(atoms, receivers, senders, shifts, cutoff)


def with_pairs(
    atoms: ase.Atoms, receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray, cutoff: float
) -> Graph:
    """The graph of one structure whose neighbour pairs are known already."""
    return Graph(
        numbers=torch.tensor(atoms.numbers, dtype=torch.int64),
        positions=torch.tensor(atoms.positions, dtype=torch.float64),
        structure_index=torch.zeros(len(atoms), dtype=torch.int64),
        cell=torch.tensor(atoms.cell.array, dtype=torch.float64).unsqueeze(0),
        pbc=torch.tensor(atoms.pbc).unsqueeze(0),
        charge=torch.tensor([atoms.info.get("charge", 0)], dtype=torch.float64),
        spin=torch.tensor([atoms.info.get("spin", 1)], dtype=torch.float64),
        receivers=torch.from_numpy(receivers),
        senders=torch.from_numpy(senders),
        shifts=torch.from_numpy(shifts.astype(np.float64)),
        cutoff=cutoff,
    )


def collate(graphs: Sequence[Graph]) -> Graph:
    """Many graphs as one; atoms and pairs keep their order. The cutoffs must agree."""
    if not graphs:
        raise ValueError("no graph to collate; give at least one structure")
    cutoffs = {g.cutoff for g in graphs}
    if len(cutoffs) > 1:
        raise ValueError(f"graphs have cutoffs {sorted(cutoffs)} Å; build them all with the same one")
    if len(graphs) == 1:
        return graphs[0]
    first_atom = np.cumsum([0] + [g.n_atoms for g in graphs[:-1]]).tolist()
    first_structure = np.cumsum([0] + [g.n_structures for g in graphs[:-1]]).tolist()

    def joined(name: str, offsets: Sequence[int] | None = None) -> Tensor:
        parts = [getattr(g, name) for g in graphs]
        if offsets is not None:
            parts = [part + offset for part, offset in zip(parts, offsets, strict=True)]
        return torch.cat(parts)

    return Graph(
        numbers=joined("numbers"),
        positions=joined("positions"),
        structure_index=joined("structure_index", first_structure),
        cell=joined("cell"),
        pbc=joined("pbc"),
        charge=joined("charge"),
        spin=joined("spin"),
        receivers=joined("receivers", first_atom),
        senders=joined("senders", first_atom),
        shifts=joined("shifts"),
        cutoff=graphs[0].cutoff,
    )


class VerletList:
    """Neighbour pairs for dynamics: searched with a skin, reused until an atom has moved half of it.

    cutoff   Å
    skin     Å; larger means fewer searches and more pairs to look through (0 searches at every call)
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        if skin < 0:
            raise ValueError(f"skin is {skin} Å; expected 0 or more")
        self.cutoff = cutoff
        self.skin = skin
        self.n_searches = 0
        self._atoms: ase.Atoms | None = None
        self._pairs: tuple[np.ndarray, np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0), np.zeros(0))

    def graph(self, atoms: ase.Atoms) -> Graph:
        """The graph of `atoms`, with exactly the pairs within the cutoff."""
        if self._stale(atoms):
            self._pairs = neighbours(atoms.positions, atoms.cell.array, atoms.pbc, self.cutoff + self.skin)
            self._atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self.n_searches += 1
        i, j, shifts = self._pairs
        vectors = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
        near = np.einsum("pa,pa->p", vectors, vectors) < self.cutoff**2
        return with_pairs(atoms, i[near], j[near], shifts[near], self.cutoff)

    def _stale(self, atoms: ase.Atoms) -> bool:
        before = self._atoms
        if before is None or len(before) != len(atoms) or self.skin == 0:
            return True
        # A strained cell moves images that no displacement shows: search again.
        if (before.cell.array != atoms.cell.array).any() or (before.pbc != atoms.pbc).any():
            return True
        moved = atoms.positions - before.positions
        return bool(np.einsum("ia,ia->i", moved, moved).max(initial=0.0) > (0.5 * self.skin) ** 2)
