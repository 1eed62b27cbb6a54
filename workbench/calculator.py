"""A model behind ASE's interface: whatever takes an ASE calculator (dynamics, relaxation, phonons) takes a model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators import calculator
from torch import Tensor

from workbench.compiled import Compiled, compile_model
from workbench.graphs import VerletList
from workbench.models.contract import Potential
from workbench.predict import Properties, check, properties


class Calculator(calculator.Calculator):
    """An ASE calculator that asks a model.

    model    a Potential; a copy of it as it is now is kept, so training may go on
    skin     Å, of the neighbour list, which is searched anew when an atom has moved half of it
    device   where to compute; None leaves the model where it is
    dtype    torch.float32 or torch.float64; None keeps the precision of the model
    compiled for long dynamics of one molecule: energy and forces by `workbench.compiled.compile_model`, at about
             twice the speed after a minute or several of compiling at the first call; True, or the name of a
             backend of torch.compile. Raises ValueError where that cannot be

    It gives `energy`, `free_energy` (the same), `energies` (of the atoms, with the per-element baseline; they sum
    to the energy), `forces`, with three periodic directions `stress`, and `charges`: the model's learned scalar
    charges, where it has some. They are dimensionless and no partial charges: their sign and scale are the model's.

    What was asked for the geometry before is computed in one go for the next one; nothing else is, so that dynamics
    at constant volume never pays for a stress. Total charge and multiplicity are `atoms.info["charge"]`, `["spin"]`.

    >>> atoms.calc = Calculator(model)      # doctest: +SKIP
    >>> atoms.get_forces()                  # doctest: +SKIP

    Raises ValueError for atoms that the model cannot mean anything for (see `workbench.predict.check`) and
    ASE's PropertyNotImplementedError for a stress without a volume or charges of a model without charges.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "charges"]  # noqa: RUF012

    def __init__(
        self,
        model: Potential,
        *,
        skin: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        compiled: bool | str = False,
    ) -> None:
        super().__init__()
        # Without gradients to the weights the model keeps less and runs faster; the caller's model stays as it is.
        self.model = copy.deepcopy(model).to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.neighbours = VerletList(model.cutoff, skin)
        self._backend = "inductor" if compiled is True else compiled
        self._compiled: Compiled | None = None
        self._asked: set[str] = set()
        self._checked = False

    def check_state(self, atoms: ase.Atoms, tol: float = 0.0) -> list[str]:
        """What differs from the atoms of the last results. ASE's own comparison costs ten times as much."""
        before = self.atoms
        if before is None:
            return ["numbers", "positions", "cell", "pbc"]
        changes = [
            name
            for name, old, new in (
                ("numbers", before.numbers, atoms.numbers),
                ("positions", before.positions, atoms.positions),
                ("cell", before.cell.array, atoms.cell.array),
                ("pbc", before.pbc, atoms.pbc),
            )
            if not np.array_equal(old, new)
        ]
        changes += [name for name in ("charge", "spin") if before.info.get(name) != atoms.info.get(name)]
        return changes

    def get_property(self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True) -> Any:
        self._asked.add(name)
        return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(calculator.all_changes),
    ) -> None:
        atoms = self.atoms if atoms is None else atoms
        wanted = self._asked | set(properties)
        if system_changes:
            self._asked = set(properties)
        if {"numbers", "pbc", "charge", "spin"} & set(system_changes):
            self._checked, self._compiled = False, None
        # The elements are looked up once, the positions every time: a run may blow up.
        if not self._checked or not np.isfinite(atoms.positions).all():
            check(self.model, atoms)
            self._checked = True
        has_volume = bool(atoms.pbc.all())
        if "stress" in properties and not has_volume:
            raise calculator.PropertyNotImplementedError(
                f"stress needs three periodic directions; the structure has pbc={atoms.pbc.tolist()}"
            )
        self._compute(atoms, wanted - (set() if has_volume else {"stress"}))
        self.atoms = atoms.copy()
        if "charges" in properties and "charges" not in self.results:
            raise calculator.PropertyNotImplementedError(f"{self.model.name} has no learned scalar charges")

    def _compute(self, atoms: ase.Atoms, wanted: set[str]) -> None:
        if self._backend and not wanted & {"stress", "charges"}:
            self._compute_compiled(atoms, self._backend)
            return
        graph = self.neighbours.graph(atoms).to(self.model.device)
        found = properties(
            self.model,
            graph,
            forces="forces" in wanted,
            stress="stress" in wanted,
            diagnose="charges" in wanted,
        )
        energies = found.atom_energies.detach().double() + self.model.baseline[graph.numbers]
        energy = float(found.energy.detach())
        self.results = {"energy": energy, "free_energy": energy, "energies": _numpy(energies)}
        if found.forces is not None:
            self.results["forces"] = _numpy(found.forces.detach().double())
        if found.stress is not None:
            xx_yy_zz_yz_xz_xy = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
            self.results["stress"] = _numpy(found.stress[0].detach().double())[xx_yy_zz_yz_xz_xy]
        charges = _scalar_charges(found)
        if charges is not None:
            self.results["charges"] = _numpy(charges.detach().double())

    def _compute_compiled(self, atoms: ase.Atoms, backend: str) -> None:
        if self._compiled is None:
            self._compiled = compile_model(self.model, atoms, backend=backend)
        found = self._compiled(torch.tensor(atoms.positions, device=self.model.device))
        energy, of_atoms, forces = (_numpy(one.double()) for one in found)
        baseline = _numpy(self.model.baseline.double())[atoms.numbers]
        self.results = {"energy": float(energy[0]), "free_energy": float(energy[0])}
        self.results |= {"energies": of_atoms + baseline, "forces": forces}


def _scalar_charges(found: Properties) -> Tensor | None:
    """(n_atoms,) | values of the model's first multipoles of degree 0."""
    multipoles = found.diagnostics.multipoles if found.diagnostics else ()
    return next((m.values[:, 0] for m in multipoles if m.degree == 0), None)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
