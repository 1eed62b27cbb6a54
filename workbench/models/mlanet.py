"""MLANet: dual-path dynamic attention, and an energy pooled in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from workbench.diagnostics import Attention, Diagnostics
from workbench.graphs import Graph
from workbench.models.contract import Output, Potential
from workbench.nn.bessel import Bessel, polynomial_envelope
from workbench.nn.dispersion import Attraction, Dispersion
from workbench.nn.dual_attention import PATHS, Attended, DualAttention, EquivariantNorm, Pairs, transfers
from workbench.nn.harmonics import degree_of_component, spherical_harmonics
from workbench.nn.layers import linear, mlp
from workbench.nn.pooling import READOUTS, PooledEnergy
from workbench.nn.portions import MANY, Arrays, Portions, in_portions
from workbench.nn.projection import fragments, without_net_force, without_net_torque
from workbench.nn.tensor_heads import TensorHead, VectorHead

N_SPECIES = 103  # rows of the species embeddings, indexed by atomic number
PAIR_WIDTH = 16  # of the embeddings of the two elements of a pair


@dataclass(frozen=True)
class MLANetConfig:
    """Direct forces and the maximum itself, as in the paper; sizes, which it does not disclose, are ours.

    cutoff              Å, of the attention
    max_degree          highest degree l of the features: 1, 2 or 3
    n_channels          channels of every degree; a multiple of n_heads
    n_heads             attention heads
    n_layers            attention layers
    n_hidden            width of the networks of pairs
    n_radial            radial basis functions
    mean_neighbours     about how many neighbours an atom has, which scales the first sum over them
    paths               what "dual path" means: "geometric+chemical", "attention+gate" or "tensor-product", see
                        `workbench.nn.dual_attention.DualAttention`
    readout             "extensive", "literal" or "local", see `workbench.nn.pooling.PooledEnergy`
    max_sharpness       b of the smooth maximum (1/b) log mean exp(b h). The published maximum itself, 0, has kinks
                        where another atom takes over, at which forces that are gradients jump; the presets with
                        gradient forces take 4
    forces              "direct", a head of its own as published (with max_degree 2 or more also for the stress), or
                        "gradient" of the energy
    project_forces      take net force and torque out of direct forces, outside of training
    charge_input        let the total charge of a structure act on its scalar features
    dispersion          add the long-range attraction of `workbench.nn.dispersion`
    dispersion_cutoff   Å, of that attraction. Two layers of graphene attract each other with 12 Å by 1.5 % less than
                        with 20 Å at their own distance, but by a third less when 8 Å apart: take 20 to peel layers off
    """

    cutoff: float = 5.0
    max_degree: int = 2
    n_channels: int = 64
    n_heads: int = 4
    n_layers: int = 3
    n_hidden: int = 64
    n_radial: int = 8
    mean_neighbours: float = 20.0
    paths: str = "geometric+chemical"
    readout: str = "extensive"
    max_sharpness: float = 0.0
    forces: str = "direct"
    project_forces: bool = True
    charge_input: bool = True
    dispersion: bool = False
    dispersion_cutoff: float = 12.0

    def __post_init__(self) -> None:
        positive = ("cutoff", "n_channels", "n_heads", "n_layers", "n_hidden", "n_radial", "mean_neighbours")
        for name in (*positive, "dispersion_cutoff"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.max_sharpness < 0:
            raise ValueError(f"max_sharpness is {self.max_sharpness}; expected 0 or more")
        if self.max_degree not in (1, 2, 3):
            raise ValueError(f"max_degree is {self.max_degree}; expected 1, 2 or 3")
        if self.n_channels % self.n_heads:
            raise ValueError(
                f"n_channels is {self.n_channels}, which {self.n_heads} heads cannot share evenly; "
                f"expected a multiple of n_heads"
            )
        choices = {"paths": PATHS, "readout": READOUTS, "forces": ("direct", "gradient")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {known}")


class MLANet(Potential):
    """Every atom attends to its neighbours along two paths, by what they are and by where they are. The energy is read
    from its features and from their mean and maximum over all atoms; the forces, as published, from its vectors.

    Bi, Zhao, Sun, Hu, Lu, Cheng, "Universal and efficient graph neural networks with dynamic attention for machine
    learning interatomic potentials", arXiv:2603.22810 (2026). No code of it is public, and its equations were not at
    hand: this is a network in the spirit of what is disclosed.

    The paper's, as far as its abstract and summaries of it tell: SE(3)-equivariant features from spherical harmonics of
    the directions, SiLU also on what is no scalar (hence gates), an embedding of the elements apart from the geometry
    (the dual path), logits from a tensor product of query and key, a temperature and a softmax, a gate on the message,
    sum, mean and maximum as poolings, direct forces and stress, l_max of 1, 2 or 3, the charge as an embedded feature,
    and some long-range term for layered phosphorus.

    Ours: every equation and size; the three readings of "dual path" in `paths`; the softmax that vanishes at the cutoff
    and the cap on its logits; the readout that gives twice the crystal twice the energy (the literal one does not);
    the smooth maximum; gradient forces; the projection of direct ones; that the charge is the total one, by its sign;
    that the long-range term is dispersion.

    Direct forces are no gradient: in dynamics they do not conserve energy. Outside of training their net force and, in
    open structures, their net torque are taken out, for every piece of the structure that no neighbour pair connects
    with the rest; where two pieces come within the cutoff of each other, that leaves a step.
    """

    name = "mlanet"
    Config = MLANetConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "n_channels": 16,
            "n_layers": 2,
            "n_hidden": 32,
            "mean_neighbours": 10.0,
            "max_sharpness": 4.0,
            "forces": "gradient",
        },
        "small": {"n_channels": 32, "n_layers": 2, "max_sharpness": 4.0, "forces": "gradient"},
        "paper": {},
    }
    gives = frozenset({"energy", "forces", "stress"})
    rotation_invariant = True
    size_consistent = False  # the mean and the maximum are over all atoms, however far
    long_ranged = False
    periodic = frozenset({0, 1, 2, 3})

    config: MLANetConfig

    def __init__(self, config: MLANetConfig) -> None:
        super().__init__(config)
        top, c = config.max_degree, config.n_channels
        n_scalars = config.n_radial + 2 * PAIR_WIDTH
        self.species = nn.Parameter(torch.randn(N_SPECIES, c))
        self.pair_species = nn.Parameter(torch.randn(N_SPECIES, PAIR_WIDTH))
        self.bessel = Bessel(config.cutoff, config.n_radial)
        self.charge = linear(2, c, bias=False) if config.charge_input else None
        self.density = mlp([n_scalars, config.n_hidden, (top + 1) * c])
        self.layers = nn.ModuleList(
            DualAttention(top, c, config.n_heads, n_scalars, config.n_hidden, config.paths)
            for _ in range(config.n_layers)
        )
        self.norm = EquivariantNorm(top, c)
        self.energy = PooledEnergy(c, config.readout, config.max_sharpness)
        self.dispersion = Dispersion(config.dispersion_cutoff) if config.dispersion else None
        self.gives, self.vector, self.tensor = frozenset({"energy"}), None, None
        if config.forces == "direct":
            self.gives, self.vector = self.gives | {"forces"}, VectorHead(c)
            if top >= 2:  # a tensor needs features of degree 2; below, the stress is the energy's derivative
                self.gives, self.tensor = self.gives | {"stress"}, TensorHead(c)
        self.size_consistent = config.readout == "local"

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour list: that of the attention or, where it is longer, that of the dispersion."""
        config = self.config
        return max(config.cutoff, config.dispersion_cutoff) if config.dispersion else config.cutoff

    @property
    def temperatures(self) -> Tensor:
        """(n_layers, n_paths, n_heads) | learned temperatures: of the geometric path and, if any, the chemical path."""
        return torch.stack([layer.log_temperature for layer in self.layers]).exp()  # type: ignore[misc]

    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        vectors = graph.vectors.to(self.dtype)
        pairs = self._pairs(graph, vectors, portioned=self._frozen and not diagnose)
        x = self._initial(graph, pairs)
        looks: list[Attended] = []
        for layer in self.layers:
            x, attended = layer(x, pairs)
            if attended is not None:
                looks.append(attended)
        x = self.norm(x)
        own, pooled, shares = self.energy(x[:, 0], graph.structure_index, graph.sizes)
        energies = own + pooled[graph.structure_index]
        far = None
        if self.dispersion is not None:
            direct = self.vector is not None
            far = self.dispersion(graph.numbers, graph.receivers, graph.senders, vectors, direct)
            energies = energies + far.energies
        return Output(
            atom_energies=energies,
            forces=self._forces(x, graph, pairs, far),
            stress=self._stress(x, graph, far),
            diagnostics=self._show(looks, pairs, own, pooled, shares, graph, far) if diagnose else None,
        )

    @property
    def _frozen(self) -> bool:
        """Whether nothing but the structure can be differentiated by, as in a Calculator."""
        return not (self.training or any(weight.requires_grad for weight in self.parameters()))

    def _pairs(self, graph: Graph, vectors: Tensor, portioned: bool) -> Pairs:
        """The pairs within the cutoff of the attention; the list may reach farther."""
        receivers, senders, chosen = graph.receivers, graph.senders, None
        portioned = portioned and len(receivers) > MANY
        if self.cutoff > self.config.cutoff:
            (chosen,) = torch.nonzero(vectors.detach().norm(dim=1) < self.config.cutoff, as_tuple=True)
        if portioned:
            order = (receivers if chosen is None else receivers[chosen]).argsort(stable=True)
            chosen = order if chosen is None else chosen[order]
        if chosen is not None:
            receivers, senders, vectors = (
                array.index_select(0, chosen) for array in (receivers, senders, vectors)
            )
        distances = vectors.norm(dim=1)
        envelope = polynomial_envelope(distances, self.config.cutoff)
        elements = self.pair_species.index_select(0, graph.numbers)
        harmonics = spherical_harmonics(self.config.max_degree, vectors / distances.unsqueeze(1))
        radial = self.bessel(distances) * envelope.unsqueeze(1)
        return Pairs(
            receivers=receivers,
            senders=senders,
            envelope=envelope,
            scalars=torch.cat(
                [radial, elements.index_select(0, receivers), elements.index_select(0, senders)], 1
            ),
            harmonics=harmonics,
            transfers=None if portioned else transfers(self.config.max_degree, harmonics),
            portions=Portions.of(receivers, senders, graph.n_atoms) if portioned else None,
        )

    def _initial(self, graph: Graph, pairs: Pairs) -> Tensor:
        """(n_atoms, (l_max + 1)^2, c) | the element and the charge, and the density of neighbours around the atom.

        Softmax attention knows shares only: how many neighbours there are comes in here.
        """
        config = self.config
        scalars = self.species.index_select(0, graph.numbers)
        if self.charge is not None:
            charge = graph.charge.to(scalars.dtype).unsqueeze(1)
            signed = torch.cat([charge.clamp(min=0), (-charge).clamp(min=0)], 1)
            scalars = scalars + self.charge(signed)[graph.structure_index]
        around = self._around(pairs, scalars) / config.mean_neighbours**0.5
        return torch.cat([around[:, :1] + scalars.unsqueeze(1), around[:, 1:]], 1)

    def _around(self, pairs: Pairs, scalars: Tensor) -> Tensor:
        """(n_atoms, (l_max + 1)^2, c) | radial functions times harmonics, summed over the neighbours."""
        of_pairs = (pairs.scalars, pairs.harmonics, pairs.envelope)
        if pairs.portions is None:
            return self._density(pairs.receivers, scalars, *of_pairs)
        return in_portions(self._density, pairs.portions, Arrays((scalars,), (), of_pairs))

    def _density(
        self, receivers: Tensor, mine: Tensor, scalars: Tensor, harmonics: Tensor, envelope: Tensor
    ) -> Tensor:
        degree = degree_of_component(self.config.max_degree, scalars.device)
        radial = self.density(scalars) * envelope.unsqueeze(1)
        radial = radial.unflatten(1, (self.config.max_degree + 1, -1)).index_select(1, degree)
        # Y of norm sqrt(2l + 1), so that features of every degree are alike in size.
        harmonics = harmonics * (2 * degree + 1).to(scalars.dtype).sqrt()
        around = scalars.new_zeros(len(mine), len(degree), self.config.n_channels)
        return around.index_add(0, receivers, radial * harmonics.unsqueeze(2))

    def _forces(self, x: Tensor, graph: Graph, pairs: Pairs, far: Attraction | None) -> Tensor | None:
        if self.vector is None:
            return None
        forces = self.vector(x)
        if self.config.project_forces and not self.training:
            fragment = fragments(pairs.receivers, pairs.senders, graph.n_atoms)
            forces = without_net_force(forces, fragment)
            turned = without_net_torque(forces, graph.positions.to(forces.dtype), fragment)
            periodic = graph.pbc.any(1)[graph.structure_index]
            forces = torch.where(periodic.unsqueeze(1), forces, turned)
        return forces if far is None or far.forces is None else forces + far.forces

    def _stress(self, x: Tensor, graph: Graph, far: Attraction | None) -> Tensor | None:
        if self.tensor is None:
            return None
        index, n, full = graph.structure_index, graph.n_structures, graph.pbc.all(1)
        stress = x.new_zeros(n, 3, 3).index_add(0, index, self.tensor(x)) / graph.sizes[:, None, None]
        if far is not None and far.virials is not None:
            volume = torch.where(full, torch.linalg.det(graph.cell).abs(), 1.0).to(x.dtype)
            stress = stress + x.new_zeros(n, 3, 3).index_add(0, index, far.virials) / volume[:, None, None]
        return torch.where(full[:, None, None], stress, torch.nan)

    def _show(
        self,
        looks: list[Attended],
        pairs: Pairs,
        own: Tensor,
        pooled: Tensor,
        shares: Tensor,
        graph: Graph,
        far: Attraction | None,
    ) -> Diagnostics:
        both = torch.stack([pairs.receivers, pairs.senders], 1)
        views = []
        for n, look in enumerate(looks):
            named = {"geometric path": look.geometric, "chemical path": look.chemical}
            for degree in range(look.gates.shape[1]):
                named[f"gate of degree {degree}"] = look.gates[:, degree]
            named["gate of the chemical path"] = look.chemical_gate
            views += [
                Attention(f"layer {n}, {what}", weights.T, pairs=both, normalised=False)
                for what, weights in named.items()
                if weights is not None
            ]
        atoms = {
            "site energy [eV]": own,
            "pooled energy per atom [eV]": pooled[graph.structure_index],
            "share of the maximum": shares.mean(1),
        }
        if far is not None:
            atoms["dispersion energy [eV]"] = far.energies
        return Diagnostics(attention=tuple(views), atoms=atoms)
