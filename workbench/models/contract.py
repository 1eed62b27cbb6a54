"""The contract that every model keeps. A fourth model is one file with a `Config` and a `Potential`, and one
line in `MODELS`; `tests/test_models.py` then checks it against physics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from workbench.diagnostics import Diagnostics
from workbench.graphs import Graph

N_ELEMENTS = 119  # rows of per-element tables, indexed directly by atomic number


@dataclass(frozen=True)
class Output:
    """What `forward` returns. Gradients (forces, stress) are taken outside, by `workbench.predict`."""

    atom_energies: Tensor  # (n_atoms,) | without the per-element baseline [eV]
    forces: Tensor | None = None  # (n_atoms, 3) | only of a model that gives them directly [eV/Å]
    stress: Tensor | None = None  # (n_structures, 3, 3) | likewise [eV/Å^3]
    diagnostics: Diagnostics | None = None


class Potential(nn.Module, ABC):
    """A model of the potential energy.

    A subclass states its facts as class attributes, and forgetting one fails when the class is defined. An instance
    overrides those that its Config decides (one that gives forces directly, say):

    name                 the word for it in `build` and on the command line
    Config               its frozen dataclass; defaults stand there and nowhere else; has a `cutoff` [Å]
    presets              name -> the Config values that differ from the default
    gives                what `forward` returns itself: "energy", and "forces", "stress" where direct
    rotation_invariant   whether turning a structure leaves its energy as it is (else it is measured)
    size_consistent      whether two far fragments have the sum of their energies (else it is measured)
    long_ranged          whether forces depend on distances beyond every cutoff
    periodic             how many periodic directions it can treat, a subset of {0, 1, 2, 3}

    Every model carries the per-element baseline it was trained with (`baseline`, eV, by atomic number; added
    by `workbench.predict`) and the elements that it knows (`known`).
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    gives: frozenset[str]
    rotation_invariant: bool
    size_consistent: bool
    long_ranged: bool
    periodic: frozenset[int]

    baseline: Tensor
    known: Tensor

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        wanted = ("name", "Config", "presets", "gives", "rotation_invariant", "size_consistent", "long_ranged")
        missing = [fact for fact in (*wanted, "periodic") if not hasattr(cls, fact)]
        if missing:
            raise TypeError(f"{cls.__name__} does not state {', '.join(missing)}; see Potential's docstring")

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("baseline", torch.zeros(N_ELEMENTS, dtype=torch.float64))
        self.register_buffer("known", torch.ones(N_ELEMENTS, dtype=torch.bool))

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour list that `forward` expects."""
        return float(self.config.cutoff)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights, in which the model computes."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def _apply(self, *args: Any, **kwargs: Any) -> Potential:
        """What `to`, `float` and `double` do, except that the baseline stays in double precision."""
        baseline = self.baseline
        super()._apply(*args, **kwargs)
        self.baseline = baseline.to(self.baseline.device)
        return self

    @abstractmethod
    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        """Energies of all atoms; with `diagnose`, also what the model shows of its inside (no digit changes)."""
