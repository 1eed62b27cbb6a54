"""AllScAIP: attention within neighbourhoods, and from every atom to every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from workbench.diagnostics import Attention, Diagnostics
from workbench.graphs import Graph
from workbench.models.contract import Output, Potential
from workbench.nn.all_to_all import AllToAllAttention, Places, rows_at_once, sinc_bias
from workbench.nn.attention import FeedForward, NeighbourhoodAttention, Readout, dense, normed_linear
from workbench.nn.harmonics import degree_of_component, spherical_harmonics
from workbench.nn.radial import gaussian_linear
from workbench.nn.reorder import Reorder
from workbench.nn.soft_neighbours import REACH, Slots, soft_neighbours

N_ELEMENTS_KNOWN = 110  # rows of the element embedding, indexed by atomic number
LARGEST_CHARGE = 100  # e, of either sign
LARGEST_SPIN = 100  # multiplicity


@dataclass(frozen=True)
class AllScAIPConfig:
    """The released model by default (fairchem's `md_NeNo`).

    cutoff              Å, beyond which no atom is a neighbour
    n_neighbours        about how many neighbours an atom has at most (k of the soft ranks)
    n_features          width of the tokens
    n_layers, n_heads
    n_radial            Gaussians of the distance
    max_degree          highest degree of the harmonics of directions that tokens start from. They break rotation
                        invariance of the energy; with 0 it is exact
    order_degree        highest degree of the bond-orientational order parameters that atoms start from
    n_sinc              functions of the distance in all-to-all attention
    frequencies         channels of a head for l = 0, 1, 2, ... of the angular bias; they sum to n_features / n_heads
    all_to_all          attention between all atoms ("No"); False leaves it out: a local twin to compare with
    angular_bias        neighbourhood attention knows the angles between neighbours ("An")
    radial_bias         all-to-all attention knows distances ("Si")
    element_scale       of the random numbers by which elements differ at first. With the published 1e-3 a small
                        training hardly leaves the plateau on which all atoms look the same; `tiny` and `small` take 1
    smooth              neighbours come and go smoothly. The published False counts every neighbour fully in the order
                        parameters and ranks only the n_neighbours + 20 nearest atoms, so that the energy jumps
    direct_forces       give forces by a head of their own, for pretraining; they are no gradient of the energy
    """

    cutoff: float = 6.0
    n_neighbours: int = 30
    n_features: int = 640
    n_layers: int = 10
    n_heads: int = 10
    n_radial: int = 512
    max_degree: int = 5
    order_degree: int = 9
    n_sinc: int = 32
    frequencies: tuple[int, ...] = (20, 10, 4, 10, 20)
    all_to_all: bool = True
    angular_bias: bool = False
    radial_bias: bool = False
    element_scale: float = 1e-3
    smooth: bool = True
    direct_forces: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "frequencies", tuple(self.frequencies))  # JSON has lists
        for name in ("cutoff", "n_neighbours", "n_features", "n_layers", "n_heads", "n_sinc", "element_scale"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.n_radial < 2:
            raise ValueError(f"n_radial is {self.n_radial}; expected 2 or more")
        for name in ("max_degree", "order_degree"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.n_features % self.n_heads:
            raise ValueError(
                f"n_features is {self.n_features}; expected a multiple of n_heads = {self.n_heads}"
            )
        width = self.n_features // self.n_heads
        if self.angular_bias and (sum(self.frequencies) != width or min(self.frequencies) < 0):
            raise ValueError(
                f"frequencies are {self.frequencies}; expected numbers of channels that sum to n_features / n_heads = "
                f"{width}"
            )


class _Geometry(NamedTuple):
    """What all layers read of where the atoms are."""

    slots: Slots
    angles: list[Tensor]  # (n_atoms, 1, n_slots, n_slots) each | P_l of the cosines between slots, l = 1, ...
    row: Tensor | None  # (n_atoms,) | in the table of all structures; None for one, which is its own table
    absent: Tensor | None  # (n_structures, n_most) | bool
    places: Places | None  # of the atoms in that table
    biases: Sequence[Tensor | None]  # per layer, (n_structures, n_heads, n_most, n_most), of few atoms


class AllScAIP(Potential):
    """Every atom keeps a token for itself and for each of its neighbours; tokens attend to each other where they
    leave an atom, then where they arrive, and atoms attend to all atoms of the structure.

    Qu, Wood, Krishnapriyan, Ulissi, "A recipe for scalable attention-based MLIPs: unlocking long-range accuracy with
    all-to-all node attention" (2026), arXiv:2603.06567. This follows the official code (fairchem-core 2.24), whose
    weights it can carry (`workbench.official`). The paper's variant names: Ne, always; An, `angular_bias`; No,
    `all_to_all`; Si, `radial_bias`.

    The energy changes when a structure is turned, unless max_degree is 0 (`probes.rotation_error` measures it;
    TrainingConfig.rotate teaches it away), and with all-to-all attention two far fragments do not have the sum of
    their energies. With periodic cells and `radial_bias`, forces have a kink where two images are equally near.
    Total charges and multiplicities are looked up in tables: a value that the training data do not hold means nothing.

    Train it with gradient_clip=1: without, small trainings stay on a plateau for long (benchmarks/README.md).
    """

    name = "allscaip"
    Config = AllScAIPConfig
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "cutoff": 5.0,
            "n_neighbours": 20,
            "n_features": 64,
            "n_layers": 2,
            "n_heads": 4,
            "n_radial": 64,
            "frequencies": (5, 3, 2, 3, 3),
            "angular_bias": True,
            "radial_bias": True,
            "element_scale": 1.0,
        },
        "small": {
            "n_features": 256,
            "n_layers": 4,
            "n_heads": 8,
            "n_radial": 128,
            "frequencies": (10, 5, 2, 5, 10),
            "angular_bias": True,
            "radial_bias": True,
            "element_scale": 1.0,
        },
        "medium": {},
    }
    gives = frozenset({"energy"})
    rotation_invariant = False
    size_consistent = False
    long_ranged = True
    periodic = frozenset({0, 1, 2, 3})

    config: AllScAIPConfig

    def __init__(self, config: AllScAIPConfig) -> None:
        super().__init__(config)
        self.gives = frozenset({"energy", "forces"} if config.direct_forces else {"energy"})
        self.rotation_invariant = config.max_degree == 0 and not config.direct_forces
        self.size_consistent = not config.all_to_all
        self.long_ranged = config.all_to_all and config.radial_bias
        d = config.n_features
        self.known[N_ELEMENTS_KNOWN:] = False
        self.element = nn.Embedding(N_ELEMENTS_KNOWN, d)
        nn.init.uniform_(self.element.weight, -config.element_scale, config.element_scale)
        self.order = dense(config.order_degree + 1, d)
        self.atom_norm = nn.RMSNorm(2 * d)
        self.atom = dense(2 * d, d)
        self.charge = nn.Embedding(2 * LARGEST_CHARGE + 1, d)
        self.spin = nn.Embedding(LARGEST_SPIN + 1, d)
        self.state = dense(2 * d, d)
        self.edge = dense(config.n_radial + (config.max_degree + 1) ** 2, d)
        self.token = dense(2 * d, d)
        last = config.n_layers - 1
        self.blocks = nn.ModuleList(Block(config, last=layer == last) for layer in range(config.n_layers))
        self.energy = Readout(d, 1)
        self.forces = Readout(d, 3) if config.direct_forces else None

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour list that `forward` expects: atoms just beyond the model's own cutoff count in ranks."""
        return self.config.cutoff + REACH

    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        config = self.config
        slots = soft_neighbours(
            graph.vectors.to(self.dtype),
            graph.receivers,
            graph.senders,
            graph.shifts,
            graph.n_atoms,
            config.n_neighbours,
            config.cutoff,
            None if config.smooth else config.n_neighbours + 20,
        )
        harmonics = self._harmonics(slots)
        geometry = _Geometry(slots, self._angles(harmonics), *self._everywhere(graph))
        tokens = self._tokens(graph, slots, harmonics)
        shown: list[Attention] = []
        for layer, block in enumerate(self.blocks):
            tokens, weights = block(tokens, geometry, geometry.biases[layer], diagnose)
            if diagnose:
                shown += _show(layer, weights, slots)
        atoms = tokens[:, 0]
        energies = self.energy(atoms).squeeze(1)
        forces = None if self.forces is None else self.forces(atoms)
        diagnostics = None
        if diagnose:
            n_near = (slots.members >= 0).sum(1) - 1
            diagnostics = Diagnostics(tuple(shown), atoms={"number of neighbours": n_near})
        return Output(energies, forces, diagnostics=diagnostics)

    def _harmonics(self, slots: Slots) -> list[Tensor]:
        """(n_atoms, n_slots, 2 l + 1) each | of the directions to neighbours; for the atom itself 1, then zeros."""
        config = self.config
        top = max(
            config.max_degree, config.order_degree, len(config.frequencies) - 1 if config.angular_bias else 0
        )
        lengths = slots.distances.masked_fill(slots.distances == 0, 1.0)
        directions = (slots.vectors / lengths.unsqueeze(2)).flatten(0, 1)
        harmonics = spherical_harmonics(top, directions).reshape(*slots.distances.shape, -1)
        return list(harmonics.split([2 * l + 1 for l in range(top + 1)], dim=2))  # noqa: E741

    def _angles(self, harmonics: list[Tensor]) -> list[Tensor]:
        """Legendre polynomials by the addition theorem, of degrees from 1 to the highest frequency."""
        if not self.config.angular_bias:
            return []
        return [torch.bmm(y, y.mT).unsqueeze(1) for y in harmonics[1 : len(self.config.frequencies)]]

    def _tokens(self, graph: Graph, slots: Slots, harmonics: list[Tensor]) -> Tensor:
        """(n_atoms, n_slots, n_features) | where the layers start: the atom, and where its neighbours are."""
        config, d = self.config, self.config.n_features
        order = gelu(self.order(self._bond_order(slots, harmonics)))
        both = torch.cat([self.element(graph.numbers), order], dim=1)
        atoms = gelu(normed_linear(self.atom_norm, self.atom, both))
        charge, spin = self._states(graph)
        state = gelu(self.state(torch.cat([self.charge(charge), self.spin(spin)], dim=1)))
        atoms = atoms + state[graph.structure_index]

        # fairchem's harmonics have squares that sum to 2 l + 1.
        parts = harmonics[: config.max_degree + 1]
        directions = torch.cat([y * y.shape[2] ** 0.5 for y in parts], dim=2)
        weight = self.edge.weight  # of the Gaussians and the harmonics side by side
        radial = gaussian_linear(slots.distances.flatten(), config.cutoff, weight[:, : config.n_radial])
        edges = gelu(
            radial.reshape(*slots.distances.shape, d)
            + linear(directions, weight[:, config.n_radial :], self.edge.bias)
        )
        weight = (
            self.token.weight
        )  # of the atom and the edge side by side; the atom's part is the same in every slot
        return gelu(linear(edges, weight[:, d:]) + linear(atoms, weight[:, :d], self.token.bias).unsqueeze(1))

    def _bond_order(self, slots: Slots, harmonics: list[Tensor]) -> Tensor:
        """(n_atoms, order_degree + 1) | Steinhardt's q_l, the atom itself counted as a neighbour without direction."""
        top = self.config.order_degree
        smooth = self.config.smooth
        weights = slots.log_envelope.exp() if smooth else (slots.members >= 0).to(self.dtype)
        weights = weights / weights.sum(1, keepdim=True)
        mean = (weights.unsqueeze(1) @ torch.cat(harmonics[: top + 1], dim=2)).squeeze(1)
        member = nn.functional.one_hot(degree_of_component(top, mean.device), top + 1).to(mean.dtype)
        squares = mean.square() @ member
        # The published floor has a kink where a q_l of a symmetric site vanishes.
        return (squares + 1e-3).sqrt() if smooth else squares.clamp(min=1e-6).sqrt()

    def _states(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """(n_structures,) each | rows of the tables for the total charge and the multiplicity."""
        charge, spin = graph.charge.round().long(), graph.spin.round().long()
        whole = bool((charge == graph.charge).all() & (spin == graph.spin).all())
        if not whole or bool(
            (charge.abs() > LARGEST_CHARGE).any() | (spin < 0).any() | (spin > LARGEST_SPIN).any()
        ):
            raise ValueError(
                f"charges are {graph.charge.tolist()[:5]} and multiplicities {graph.spin.tolist()[:5]}; {self.name} "
                f"expects whole charges within +-{LARGEST_CHARGE} and multiplicities within 0..{LARGEST_SPIN}. Set "
                'atoms.info["charge"] and atoms.info["spin"]'
            )
        return charge + LARGEST_CHARGE, spin

    def _everywhere(
        self, graph: Graph
    ) -> tuple[Tensor | None, Tensor | None, Places | None, Sequence[Tensor | None]]:
        """The last four of _Geometry, for attention between all atoms."""
        n_layers = len(self.blocks)
        if not self.config.all_to_all:
            return None, None, None, [None] * n_layers
        most = graph.n_atoms
        row, absent = None, None
        positions = graph.positions.unsqueeze(0)
        if graph.n_structures > 1:
            sizes = graph.sizes
            most = int(sizes.max())
            start = sizes.cumsum(0) - sizes
            within = torch.arange(graph.n_atoms, device=start.device) - start[graph.structure_index]
            row = graph.structure_index * most + within
            absent = torch.arange(most, device=start.device) >= sizes.unsqueeze(1)
            positions = _spread(graph.positions, row, graph.n_structures, most)
        if not self.config.radial_bias:
            return row, absent, None, [None] * n_layers
        places = Places(positions, graph.cell, graph.pbc)
        if rows_at_once(graph.n_structures * self.config.n_heads, most) < most:
            return row, absent, places, [None] * n_layers  # each layer makes its own, by portions
        weights = torch.cat([cast(Any, block).nodes.radial for block in self.blocks])
        distances = places.distances(0, most, self.dtype)
        return row, absent, places, sinc_bias(distances, weights).chunk(n_layers, dim=1)


class Block(nn.Module):
    """One layer: attention among the tokens that leave an atom, then among those that arrive at it, then among atoms.

    forward   tokens (n_atoms, n_slots, n_features) -> tokens, and the weights of the three attentions. The last block
              updates the atoms' own tokens only, which is all that the readout reads.
    """

    def __init__(self, config: AllScAIPConfig, last: bool) -> None:
        super().__init__()
        d, heads, gain = config.n_features, config.n_heads, 1 / config.n_layers
        frequencies = config.frequencies if config.angular_bias else None
        self.last = last
        self.source = NeighbourhoodAttention(d, heads, gain, frequencies)
        self.destination = NeighbourhoodAttention(d, heads, gain, frequencies)
        self.edges = FeedForward(
            d, gain
        )  # of the last block: there, as in the official weights, but without effect
        n_sinc = config.n_sinc if config.radial_bias else 0
        self.nodes = AllToAllAttention(d, heads, gain, n_sinc) if config.all_to_all else None
        self.atoms = FeedForward(d, gain)

    def forward(
        self, tokens: Tensor, geometry: _Geometry, bias: Tensor | None, show: bool
    ) -> tuple[Tensor, tuple[Tensor | None, Tensor | None, Tensor | None]]:
        slots, angles = geometry.slots, geometry.angles
        # Where pair i -> j stands among those that leave i, its reverse stands among those that leave j. So the same
        # table serves both ends, with the same envelopes and, as two turned arrows keep their angle, the same angles.
        tokens, leaving = self.source(tokens, slots.log_envelope, angles, show=show)
        tokens = _other_end(tokens, slots.reverse)
        tokens, arriving = self.destination(tokens, slots.log_envelope, angles, self.last, show)
        if not self.last:
            tokens = _other_end(tokens, slots.reverse)
        atoms, edges = tokens[:, 0], tokens[:, 1:]
        everywhere = None
        if self.nodes is not None:
            table, absent = atoms.unsqueeze(0), geometry.absent
            if geometry.row is not None and absent is not None:
                table = _spread(atoms, geometry.row, *absent.shape)
            table, everywhere = self.nodes(table, absent, geometry.places, bias, show)
            atoms = table.flatten(0, 1)
            atoms = atoms if geometry.row is None else atoms[geometry.row]
        atoms = self.atoms(atoms).unsqueeze(1)
        if not self.last:
            atoms = torch.cat([atoms, self.edges(edges)], dim=1)
        return atoms, (leaving, arriving, everywhere)


def _other_end(tokens: Tensor, reverse: Tensor) -> Tensor:
    """Every token in the place that its pair has at the other end."""
    moved = Reorder.apply(tokens.flatten(0, 1), reverse, reverse)
    return moved.reshape(tokens.shape)


def _spread(atoms: Tensor, row: Tensor, n_structures: int, n_most: int) -> Tensor:
    """(n_structures, n_most, ...) | atoms in a table with a row for each structure, zero where there is none."""
    table = atoms.new_zeros(n_structures * n_most, *atoms.shape[1:]).index_copy(0, row, atoms)
    return table.unflatten(0, (n_structures, n_most))


def _show(layer: int, weights: tuple[Tensor, Tensor, Tensor | None], slots: Slots) -> list[Attention]:
    leaving, arriving, everywhere = weights
    centers = slots.members[:, 0]
    shown = [
        Attention(f"layer {layer}, {which} neighbourhood", w.detach(), centers=centers, members=slots.members)
        for which, w in (("source", leaving), ("destination", arriving))
    ]
    if everywhere is not None:
        shown.append(Attention(f"layer {layer}, all atoms", everywhere[0]))
    return shown
