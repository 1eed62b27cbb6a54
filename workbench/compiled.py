"""Energy and forces of one molecule as one compiled function, for long dynamics of few atoms.

A call of a model is some thousand small operators. For a molecule most of its time goes into starting them, and a
compiler that merges them takes that away. So the operators that depend on the positions are recorded once, energy and
gradient together, everything else becomes a constant, and torch.compile makes machine code of the rest. The shapes must
never change: the pairs are all pairs of the molecule, of which a model ignores those beyond its cutoff.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ase
import numpy as np
import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from workbench.graphs import graph, with_pairs
from workbench.models.contract import Potential
from workbench.predict import check, properties

# Beyond, arithmetic takes the time, and all pairs are far more than those within a cutoff.
MOST_ATOMS = 100

Compiled = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def compile_model(model: Potential, atoms: ase.Atoms, *, backend: str = "inductor") -> Compiled:
    """A function of the positions (n_atoms, 3) [Å] that returns the energy (1,), the energies of the atoms without the
    baseline (n_atoms,) and the forces (n_atoms, 3), of these elements with this charge and multiplicity.

    model     without gradients to its weights
    backend   of torch.compile; "inductor" needs a C++ compiler, or a GPU with triton

    The first call compiles: a minute or several, once for a process and model. On a GPU the calls are replayed as CUDA
    graphs, so that the next call overwrites what the last returned.

    Raises ValueError for a periodic structure, more than MOST_ATOMS atoms, or a model that chooses by the positions
    what it computes (as AllScAIP chooses nearest neighbours), which cannot be recorded once for all.
    """
    check(model, atoms)
    n = len(atoms)
    if atoms.pbc.any() or n > MOST_ATOMS:
        raise ValueError(
            f"a compiled model is for molecules of at most {MOST_ATOMS} atoms; got {n} atoms with "
            f"pbc={atoms.pbc.tolist()}. Leave it uncompiled: there the arithmetic takes the time"
        )
    receivers, senders = np.nonzero(~np.eye(n, dtype=bool))
    every = with_pairs(atoms, receivers, senders, np.zeros((len(receivers), 3)), model.cutoff).to(model.device)

    def energy_and_forces(positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = properties(model, replace(every, positions=positions))
        assert found.forces is not None
        return found.energy.detach(), found.atom_energies.detach(), found.forces.detach()

    recorded = record(energy_and_forces, every.positions)
    _compare(model, atoms, recorded)
    mode = "reduce-overhead" if model.device.type == "cuda" and backend == "inductor" else None
    made: Compiled = torch.compile(recorded, dynamic=False, backend=backend, mode=mode)
    return made


def _compare(model: Potential, atoms: ase.Atoms, recorded: Compiled) -> None:
    """Raise ValueError unless the recording says of other positions what the model says."""
    moved = atoms.copy()
    moved.rattle(0.05, seed=0)
    near = properties(model, graph(moved, model.cutoff).to(model.device))
    positions = torch.tensor(moved.positions, device=model.device)
    for found, wanted in zip(recorded(positions), (near.energy, near.atom_energies, near.forces), strict=True):
        assert wanted is not None
        wanted = wanted.detach()
        error, size = float((found - wanted).abs().max()), float(wanted.abs().max())
        if not error <= 1e-3 * max(size, 1e-3):
            raise ValueError(
                f"{model.name} cannot be compiled: recorded with all pairs in its list it is {error:g} off, of "
                f"{size:g}. Pairs beyond the cutoff must count nothing, and no view of a constant may be written to. "
                "Leave it uncompiled"
            )


def record(function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> fx.GraphModule:
    """The operators that `function` applies to what depends on `x`, as a module that does the same for another x.

    Raises ValueError when a number or a shape that the function goes by depends on `x`.
    """
    x = x.detach().clone()
    with _Recorder(x) as recorder:
        results = function(x)
    recorder.graph.output(tuple(recorder.node(one) for one in results))
    recorder.graph.eliminate_dead_code()
    return fx.GraphModule(recorder.constants, recorder.graph)


class _Recorder(TorchDispatchMode):
    """Lets all operators pass, and notes down those with an argument that depends on the input."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants = torch.nn.Module()
        self._alive = [x]  # a tensor that is gone would give its place in the dictionary to another
        self._dependent, self._constant = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()
        self._dependent[x] = self.graph.placeholder("positions")

    def node(self, tensor: Tensor) -> fx.Node:
        if tensor in self._dependent:
            found: fx.Node = self._dependent[tensor]
            return found
        if tensor not in self._constant:
            name = f"constant_{len(self._alive)}"
            self.constants.register_buffer(name, tensor.detach().clone())  # it may be written to later
            self._alive.append(tensor)
            self._constant[tensor] = self.graph.get_attr(name)
        constant: fx.Node = self._constant[tensor]
        return constant

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if not any(one in self._dependent for one in given):
            return func(*args, **kwargs)
        by_value = torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
        if func is torch.ops.aten.index.Tensor:  # whose shape depends on values when it is given a mask
            by_value = any(one.dtype == torch.bool for one in given[1:])
        if by_value:
            raise ValueError(
                f"the model cannot be compiled: it goes by the outcome of {func}, which depends on the positions. "
                "Leave it uncompiled"
            )
        self._copy_constants_that_change(func, args)
        nodes = [
            tree_map(lambda one: self.node(one) if isinstance(one, Tensor) else one, a) for a in (args, kwargs)
        ]
        made = self.graph.call_function(func, *nodes)
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            self._note(out, made)
        else:
            for place, one in enumerate(out):
                if isinstance(one, Tensor):
                    self._note(one, self.graph.call_function(operator.getitem, (made, place)))
        return out

    def _note(self, tensor: Tensor, node: fx.Node) -> None:
        self._dependent[tensor] = node
        self._alive.append(tensor)

    def _copy_constants_that_change(self, func: Any, args: Any) -> None:
        """What is written to in place depends on the input from now on; the constant itself must stay."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written and isinstance(value, Tensor) and value not in self._dependent:
                self._note(value, self.graph.call_function(torch.ops.aten.clone.default, (self.node(value),)))
