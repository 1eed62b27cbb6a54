"""A model behind torch-sim's interface: replicas of one structure, or many structures, move at once as one batch.

Needs torch-sim, on Python 3.12 or newer: pip install 'longrange-workbench[torch-sim]'.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.graphs import Graph, completed_cell, neighbours
from workbench.models.contract import Potential
from workbench.predict import check, properties

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.neighbors import torchsim_nl
    from torch_sim.state import SimState
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "torch_sim":
        raise
    raise ModuleNotFoundError(
        "torch-sim is not installed; it needs Python 3.12: pip install 'longrange-workbench[torch-sim]'",
        name=error.name,
    ) from error


class TorchSimModel(ModelInterface):
    """A torch-sim model that asks one of ours.

    model            a Potential; a copy of it as it is now is kept, so training may go on
    skin             Å, of the neighbour list, which is searched anew when an atom of any structure has moved half of it
    device           where to compute; None leaves the model where it is
    compute_stress   give the stress too, which dynamics at constant volume need not pay for

    Energies, forces and stress are those of `workbench.Calculator`, of all structures of a state at once. States
    are in double precision (`dtype`), as positions are everywhere here; the model computes in its own.

    torch-sim reads total charge and multiplicity from ASE's atoms only when told to:
    atoms_to_state(..., system_extras_map={"charge": "charge", "spin": "spin"}). Without them they are 0 and 1. The
    stress of structures without three periodic directions is not a number.

    >>> import torch_sim as ts    # doctest: +SKIP
    >>> ts.integrate([atoms] * 32, TorchSimModel(model), integrator=ts.Integrator.nve, n_steps=1000,
    ...              temperature=300, timestep=0.0005)    # doctest: +SKIP

    `forward` raises ValueError for atoms that the model cannot mean anything for (see `workbench.predict.check`).
    """

    def __init__(
        self,
        model: Potential,
        *,
        skin: float = 0.5,
        device: torch.device | str | None = None,
        compute_stress: bool = False,
    ) -> None:
        super().__init__()
        # Without gradients to the weights the model keeps less and runs faster; the caller's model stays as it is.
        self.model = copy.deepcopy(model).to(device=device).eval().requires_grad_(False)
        self.pairs = Pairs(model.cutoff, skin)
        self._device, self._dtype = self.model.device, torch.float64
        self._compute_forces, self._compute_stress = True, compute_stress
        self._checked: tuple[Tensor, Tensor] | None = None

    # torch-sim switches these on and off, as an integrator or an optimizer needs them.

    @ModelInterface.compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        self._compute_stress = wanted

    @ModelInterface.compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        self._compute_forces = wanted

    def forward(self, state: SimState, **kwargs: Any) -> dict[str, Tensor]:
        """energy (n_systems,) [eV], forces (n_atoms, 3) [eV/Å] and stress (n_systems, 3, 3) [eV/Å^3, tension
        positive], the last two where asked for."""
        self._check(state)
        found = properties(
            self.model,
            self.pairs.within(structures(state, self.pairs.cutoff)),
            forces=self._compute_forces,
            stress=self._compute_stress,
        )
        given = {"energy": found.energy, "forces": found.forces, "stress": found.stress}
        return {name: value.detach().to(state.dtype) for name, value in given.items() if value is not None}

    def _check(self, state: SimState) -> None:
        """Look at every structure once: when another batch comes."""
        now = (state.atomic_numbers, state.pbc)
        if self._checked is None or not all(map(torch.equal, self._checked, now)):
            for atoms in state.to_atoms():
                check(self.model, atoms)
            self._checked = (now[0].clone(), now[1].clone())


def structures(state: SimState, cutoff: float) -> Graph:
    """The atoms of a state, without pairs yet. torch-sim keeps cells as columns; one `pbc` may stand for all."""
    positions, index = state.positions.double(), state.system_idx
    cell = state.row_vector_cell.double()
    n_structures = len(cell)
    none = index.new_zeros(0)

    def extra(name: str, otherwise: float) -> Tensor:
        if state.has_extras(name):
            return getattr(state, name).double().reshape(n_structures)
        return positions.new_full((n_structures,), otherwise)

    return Graph(
        numbers=state.atomic_numbers.long(),
        positions=positions,
        structure_index=index,
        cell=cell,
        pbc=state.pbc.expand(n_structures, 3),
        charge=extra("charge", 0.0),
        spin=extra("spin", 1.0),
        receivers=none,
        senders=none,
        shifts=positions.new_zeros(0, 3),
        cutoff=cutoff,
    )


class Pairs:
    """Neighbour pairs of many structures, searched with a skin and reused until an atom has moved half of it.

    cutoff       Å
    skin         Å; 0 searches at every call
    n_searches   how often the batch was searched
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        if skin < 0:
            raise ValueError(f"skin is {skin} Å; expected 0 or more")
        self.cutoff, self.skin = cutoff, skin
        self.n_searches = 0
        self._searched: Graph | None = None

    def within(self, batch: Graph) -> Graph:
        """`batch` with exactly the pairs within the cutoff. Raises ValueError for positions that are not finite."""
        if self._searched is None or self._stale(self._searched, batch):
            self._searched = self._search(batch)
            self.n_searches += 1
        wide = self._searched
        wide = replace(batch, receivers=wide.receivers, senders=wide.senders, shifts=wide.shifts)
        near = wide.vectors.square().sum(dim=1) < self.cutoff**2
        return replace(
            wide, receivers=wide.receivers[near], senders=wide.senders[near], shifts=wide.shifts[near]
        )

    def _stale(self, before: Graph, batch: Graph) -> bool:
        # A strained cell moves images that no displacement shows: search again.
        for name in ("structure_index", "pbc", "cell"):
            if not torch.equal(getattr(before, name), getattr(batch, name)):
                return True
        moved = (batch.positions - before.positions).square().sum(dim=1).max()
        return self.skin == 0 or not bool(moved <= (0.5 * self.skin) ** 2)  # what is no number has not stayed

    def _search(self, batch: Graph) -> Graph:
        broken = batch.structure_index[~batch.positions.isfinite().all(dim=1)].unique().tolist()
        if broken:
            raise ValueError(
                f"positions in structures {broken} of the batch are not finite; did the run explode?"
            )
        search = search_on_gpu if batch.positions.is_cuda else search_on_cpu
        receivers, senders, shifts = search(batch, self.cutoff + self.skin)
        return replace(
            batch,
            positions=batch.positions.clone(),  # an integrator may write into the tensors of its state
            cell=batch.cell.clone(),
            receivers=receivers,
            senders=senders,
            shifts=shifts,
        )


def search_on_cpu(batch: Graph, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Receivers, senders and shifts of all pairs closer than `reach`, structure by structure."""
    found, first = [], 0
    for size, cell, pbc in zip(batch.sizes.tolist(), batch.cell, batch.pbc, strict=True):
        positions = batch.positions[first : first + size]
        i, j, shifts = map(torch.from_numpy, neighbours(positions.numpy(), cell.numpy(), pbc.numpy(), reach))
        found.append((i + first, j + first, shifts.double()))
        first += size
    receivers, senders, shifts = map(torch.cat, zip(*found, strict=True))
    return receivers, senders, shifts


def search_on_gpu(batch: Graph, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same by torch-sim, which searches all structures together where they are."""
    both = zip(batch.cell.cpu().numpy(), batch.pbc.cpu().numpy(), strict=True)
    # Where a vector is absent torch-sim misses pairs without a word.
    cells = torch.from_numpy(np.stack([completed_cell(cell, pbc) for cell, pbc in both])).to(batch.cell)
    pairs, _, shifts = torchsim_nl(batch.positions, cells, batch.pbc, reach, batch.structure_index)
    return pairs[0], pairs[1], shifts.double()
