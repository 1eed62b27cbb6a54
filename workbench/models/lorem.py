"""LOREM: long-range representations with equivariant messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from workbench.diagnostics import Diagnostics, Multipoles
from workbench.graphs import Graph
from workbench.models.contract import Output, Potential
from workbench.nn.harmonics import degree_of_component, spherical_harmonics
from workbench.nn.layers import DegreeLinear, SelfProduct, TensorProduct, Update, degree_norms, linear, mlp
from workbench.nn.longrange import potentials
from workbench.nn.neighbourhood import Neighbourhood
from workbench.nn.radial import bernstein_basis, cosine_envelope

N_SPECIES = 100  # rows of the species embedding, indexed by atomic number


@dataclass(frozen=True)
class LoremConfig:
    """The published model by default (section 4 and appendix D of the paper).

    cutoff              Å, of the short-range part
    max_degree          highest degree l of the spherical features
    max_degree_lr       highest degree of the equivariant charges
    n_features          scalar channels
    n_spherical         channels of the spherical features
    n_radial            radial basis functions
    species_width       width of the species embedding
    n_message_passing   short-range message-passing steps after the first; "M x SR" of the paper is M - 1
    long_range          False leaves the long-range block out: a local twin to compare with
    norm_softening      e of sqrt(|x|^2 + e^2) - e in place of the norms |x| of the spherical features. The published
                        0 has kinks where a feature passes through zero (for l = 0, at every change of sign), at
                        which forces jump and dynamics lose and gain energy; the presets for a laptop take 0.1
    """

    cutoff: float = 5.0
    max_degree: int = 6
    max_degree_lr: int = 2
    n_features: int = 128
    n_spherical: int = 8
    n_radial: int = 32
    species_width: int = 8
    n_message_passing: int = 0
    long_range: bool = True
    norm_softening: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cutoff", "n_features", "n_spherical", "n_radial", "species_width"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("max_degree", "max_degree_lr", "n_message_passing", "norm_softening"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.max_degree_lr > self.max_degree:
            raise ValueError(
                f"max_degree_lr is {self.max_degree_lr}, above max_degree = {self.max_degree}, but charges are "
                "made from the spherical features; raise max_degree or lower max_degree_lr"
            )


@dataclass(frozen=True)
class _Pairs:
    """What the short-range steps read of the neighbour pairs."""

    receivers: Tensor  # (n_pairs,)
    senders: Tensor  # (n_pairs,)
    distances: Tensor  # (n_pairs,) [Å]
    radial: Tensor  # (n_pairs, n_radial) | with the envelope
    harmonics: Tensor  # (n_pairs, (max_degree + 1)^2)


class Lorem(Potential):
    """Every atom describes its neighbourhood by scalars and spherical features, makes equivariant charges (l = 0,
    1, 2) of them, and reads the potentials that all other atoms' charges make at its place, near and far.

    Rumiantsev, Langer, Sodjargal, Ceriotti, Loche, "Learning long-range representations with equivariant
    messages", TMLR (2026), arXiv:2507.19382. Where the paper's text and its code (lorem-jax) differ, this follows the
    code: the norm of degree l has the prefactor (2l + 1)^(1/4).

    There is no input for a total charge and charge is not conserved: one composition is one charge state. Left out are
    the variant of extra message-passing steps without equivariant messages and the Born-charge head of lorem-jax.
    """

    name = "lorem"
    Config = LoremConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "max_degree": 2,
            "n_features": 32,
            "n_spherical": 4,
            "n_radial": 12,
            "norm_softening": 0.1,
        },
        "small": {"max_degree": 4, "n_features": 96, "norm_softening": 0.1},
        "paper": {},
    }
    gives = frozenset({"energy"})
    rotation_invariant = True
    size_consistent = True  # in the limit: the charges of two fragments see each other as 1/r
    long_ranged = True
    periodic = frozenset({0, 2, 3})

    config: LoremConfig

    def __init__(self, config: LoremConfig) -> None:
        super().__init__(config)
        self.long_ranged = config.long_range
        d, s, top = config.n_features, config.n_spherical, config.max_degree
        self.species = nn.Parameter(torch.randn(N_SPECIES, config.species_width) * config.species_width**-0.5)
        self.radial = mlp([2 * config.species_width, d, config.n_radial * d])
        self.initial = linear(config.species_width, d)
        self.message = linear(d, d, bias=False)
        self.update_message = Update(d, d)
        self.density = linear(d, (top + 1) * s, bias=False)
        self.square = SelfProduct(top, top, s, s)
        self.update_norms = Update(d, (top + 1) * s)
        self.readout = mlp([d, d, d, 1])
        self.steps = nn.ModuleList(MessagePassing(config) for _ in range(config.n_message_passing))
        self.far = FarField(config) if config.long_range else None

    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        pairs = self._pairs(graph)
        species = self.species.index_select(0, graph.numbers)

        # Which neighbours are how far (scalars), and in which directions (spherical features, multiplied
        # with themselves so that angles between neighbours enter).
        message, density = self._first_messages(graph, pairs)
        scalars = self.update_message(self.initial(species), message)
        spherical = self.square(density)
        scalars = self.update_norms(scalars, degree_norms(spherical, self.config.norm_softening))
        short = self.readout(scalars).squeeze(-1)
        for step in self.steps:
            scalars, spherical, energies = step(scalars, spherical, pairs)
            short = short + energies

        if self.far is None:
            shown = Diagnostics(atoms={"short-range energy [eV]": short}) if diagnose else None
            return Output(short, diagnostics=shown)
        charges, fields, long = self.far(scalars, spherical, graph, pairs)
        return Output(short + long, diagnostics=_show(charges, fields, short, long) if diagnose else None)

    def _pairs(self, graph: Graph) -> _Pairs:
        vectors = graph.vectors.to(self.dtype)
        distances = vectors.norm(dim=1)
        envelope = cosine_envelope(distances, self.cutoff).unsqueeze(1)
        return _Pairs(
            receivers=graph.receivers,
            senders=graph.senders,
            distances=distances,
            radial=bernstein_basis(distances, self.cutoff, self.config.n_radial) * envelope,
            harmonics=spherical_harmonics(self.config.max_degree, vectors / distances.unsqueeze(1)),
        )

    def _first_messages(self, graph: Graph, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """The sums over neighbours of the first step.

        The radial coefficients depend on the two elements only, and both messages are linear in them. So the
        neighbours' radial functions times harmonics are summed first, per element, and the learned weights act on
        atoms instead of pairs: the same numbers for a small part of the work.
        """
        config = self.config
        elements, kinds = torch.unique(graph.numbers, return_inverse=True)
        width = len(elements)
        here = Neighbourhood.sorted(pairs.receivers, kinds[pairs.senders], graph.n_atoms, width)
        density = here.outer_sum(pairs.radial, pairs.harmonics)  # [i, element of j, radial, lm]

        first = self.species.index_select(0, elements)
        both = torch.cat(
            [first.repeat_interleave(width, 0), first.repeat(width, 1)], dim=1
        )  # [(z_i z_j), 2 width]
        coefficients = self.radial(both).reshape(width, width * config.n_radial, config.n_features)
        scalar_weights = coefficients @ self.message.weight.T  # [z_i, (z_j radial), d]
        sphere_weights = (coefficients @ self.density.weight.T).unflatten(2, (-1, config.n_spherical))
        degree = degree_of_component(config.max_degree, density.device)
        sphere_weights = sphere_weights.index_select(2, degree).transpose(1, 2)  # [z_i, lm, (z_j radial), s]

        # Element by element: atoms sorted, then back.
        order = torch.argsort(kinds, stable=True)
        portions = torch.bincount(kinds).tolist()
        messages, densities = [], []
        for kind, mine in enumerate(density.flatten(1, 2).index_select(0, order).split(portions)):
            by_component = mine.permute(2, 0, 1)  # [lm, i, (z_j radial)]
            messages.append(by_component[0] @ scalar_weights[kind])
            densities.append(torch.bmm(by_component, sphere_weights[kind]).transpose(0, 1))
        back = torch.argsort(order)
        return torch.cat(messages).index_select(0, back), torch.cat(densities).index_select(0, back)


class MessagePassing(nn.Module):
    """One more short-range step, whose radial coefficients depend on the features of both atoms.

    forward   scalars (n_atoms, d), spherical (n_atoms, (l_max + 1)^2, s) -> both updated, energies (n_atoms,)
    """

    def __init__(self, config: LoremConfig) -> None:
        super().__init__()
        d, s, top = config.n_features, config.n_spherical, config.max_degree
        self.radial = mlp([2 * d, d, config.n_radial * d])
        self.message = linear(d, d, bias=False)
        self.update_message = Update(d, d)
        self.density = linear(d, (top + 1) * s, bias=False)
        self.filter = DegreeLinear(top, s, s)
        self.couple = TensorProduct(top, top, top, s)
        self.mix_own = DegreeLinear(top, s, s)
        self.mix_message = DegreeLinear(top, s, s)
        self.join = TensorProduct(top, top, top, s)
        self.update_norms = Update(d, (top + 1) * s)
        self.readout = mlp([d, d, d, 1])
        self.n_spherical = s
        self.softening = config.norm_softening

    def forward(self, scalars: Tensor, spherical: Tensor, pairs: _Pairs) -> tuple[Tensor, Tensor, Tensor]:
        i, j = pairs.receivers, pairs.senders
        both = torch.cat([scalars.index_select(0, i), scalars.index_select(0, j)], dim=1)
        coefficients = self.radial(both).unflatten(1, (-1, scalars.shape[1]))  # [pair, radial, d]
        edges = torch.einsum("prc,pr->pc", coefficients, pairs.radial)
        message = torch.zeros_like(scalars).index_add(0, i, edges)
        scalars = self.update_message(scalars, self.message(message))

        degree = degree_of_component(self.filter.weight.shape[0] - 1, scalars.device)
        weights = (
            self.density(edges).unflatten(1, (-1, self.n_spherical)).index_select(1, degree)
        )  # [pair, lm, s]
        filters = self.filter(weights * pairs.harmonics.unsqueeze(2))
        messages = torch.zeros_like(spherical).index_add(
            0, i, self.couple(filters, spherical.index_select(0, j))
        )
        spherical = self.join(self.mix_own(spherical), self.mix_message(messages))
        scalars = self.update_norms(scalars, degree_norms(spherical, self.softening))
        return scalars, spherical, self.readout(scalars).squeeze(-1)


class FarField(nn.Module):
    """Equivariant charges, the potentials that they make everywhere, and the energy read from these.

    Charges have two l = 0 channels, one from the scalars and one from the spherical features, and one channel each for
    l = 1..max_degree_lr. Every component is summed with the same scalar kernel 1/r (Eq. 4 of the paper), so that
    potentials rotate as the charges do; there are no dipole tensors, and no energy q V: only features.

    forward   -> charges (n_atoms, 1 + (l_lr + 1)^2), potentials (likewise) [1/Å], energies (n_atoms,) [eV]
    """

    def __init__(self, config: LoremConfig) -> None:
        super().__init__()
        d, s, top, far = config.n_features, config.n_spherical, config.max_degree, config.max_degree_lr
        self.charge = mlp([d, 2 * d, 1])
        self.spherical_charge = SelfProduct(top, far, s, 1)
        self.lift = DegreeLinear(far, 1, s)
        self.product = TensorProduct(far, top, top, s)
        self.update = Update(d, 1 + (top + 1) * s)
        self.readout = mlp([d, d, d, 1])
        self.softening = config.norm_softening
        # The published splitting: real-space terms end at the cutoff, four smearings out.
        self.smearing = config.cutoff / 4
        self.wavelength = config.cutoff / 8

    def forward(
        self, scalars: Tensor, spherical: Tensor, graph: Graph, pairs: _Pairs
    ) -> tuple[Tensor, Tensor, Tensor]:
        charges = torch.cat([self.charge(scalars), self.spherical_charge(spherical).squeeze(2)], dim=1)
        fields = potentials(
            charges,
            graph.wrapped_positions.to(charges.dtype),
            graph.cell.to(charges.dtype),
            graph.pbc,
            graph.sizes.tolist(),
            pairs.receivers,
            pairs.senders,
            pairs.distances,
            smearing=self.smearing,
            wavelength=self.wavelength,
            differentiate_twice=self.training,
        )
        lifted = self.lift(fields[:, 1:].unsqueeze(2))
        norms = degree_norms(self.product(lifted, spherical), self.softening)
        read = torch.cat([fields[:, :1], norms], dim=1)
        return charges, fields, self.readout(self.update(scalars, read)).squeeze(-1)


def _show(charges: Tensor, fields: Tensor, short: Tensor, long: Tensor) -> Diagnostics:
    top = round(charges[0, 1:].numel() ** 0.5) - 1
    multipoles = [Multipoles("scalar charge", 0, charges[:, :1], fields[:, :1])]
    for degree in range(top + 1):
        part = slice(1 + degree**2, 1 + (degree + 1) ** 2)
        multipoles.append(Multipoles(f"charge, l = {degree}", degree, charges[:, part], fields[:, part]))
    energies = {"short-range energy [eV]": short, "long-range energy [eV]": long}
    return Diagnostics(multipoles=tuple(multipoles), atoms=energies)
