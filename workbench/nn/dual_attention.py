r"""Attention of an atom to its neighbours along two paths, chemistry and geometry, between spherical features.

A spherical array is (n, (l_max + 1)^2, n_channels) as in `workbench.nn.harmonics`; heads split the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.nn.harmonics import coupling, degree_of_component, n_paths
from workbench.nn.layers import DegreeLinear, lecun_normal_, linear, mlp
from workbench.nn.portions import Arrays, Portions, in_portions

LOGIT_CAP = 8.0  # exp(8) = 3000: sharper, attention would switch between neighbours, and forces would jump
PATHS = ("geometric+chemical", "attention+gate", "tensor-product")


@dataclass(frozen=True)
class Pairs:
    """What the layers read of the neighbour pairs."""

    receivers: Tensor  # (n_pairs,)
    senders: Tensor  # (n_pairs,)
    envelope: Tensor  # (n_pairs,) | 1 at r = 0, 0 at the cutoff
    scalars: Tensor  # (n_pairs, n_scalars) | radial functions and the two elements
    harmonics: Tensor  # (n_pairs, (l_max + 1)^2) | the squares of one degree sum to 1
    transfers: tuple[Tensor, ...] | None  # as `transfers` returns them; none where there are portions
    portions: Portions | None = None  # of many pairs, whose receivers then ascend


class Attended(NamedTuple):
    """What one layer paid attention to, exactly as its messages used it."""

    geometric: Tensor  # (n_pairs, n_heads)
    chemical: Tensor | None  # (n_pairs, n_heads)
    gates: Tensor  # (n_pairs, l_max + 1, n_heads) | of the geometric path, per degree of the message
    chemical_gate: Tensor | None  # (n_pairs, n_heads)


def transfers(max_degree: int, harmonics: Tensor) -> tuple[Tensor, ...]:
    """For every degree l3, the matrices that take a neighbour's features to its share of the message:

    z^{l3}_{m3} of path (l1, l2) = sum_{m1 m2} C^{l3 m3}_{l1 m1, l2 m2} x^{l1}_{m1} Y^{l2}_{m2}

    with Y of norm sqrt(2l + 1). They hold for all channels and layers.

    harmonics   (n_pairs, (max_degree + 1)^2)   squares of one degree sum to 1
    returns     one (n_pairs, (2 l3 + 1) * n_paths(l3), (max_degree + 1)^2) for every l3; rows are [m3, path]
    """
    tables = _tables(max_degree, harmonics.dtype, harmonics.device)
    return tuple((harmonics @ table.flatten(1)).unflatten(1, table.shape[1:]) for table in tables)


@lru_cache(maxsize=16)
def _tables(max_degree: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """For l3, (m2, m3 path, m1) | the coefficients; outside the modules, which would round them to their precision."""
    top = max_degree + 1
    table = coupling(max_degree, max_degree, max_degree)
    found = []
    for l3 in range(top):
        blocks = []
        for l1 in range(top):
            for l2 in range(top):
                if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0:
                    block = table.new_zeros(top**2, top**2, 2 * l3 + 1)
                    left, right = slice(l1**2, (l1 + 1) ** 2), slice(l2**2, (l2 + 1) ** 2)
                    block[left, right] = table[left, right, l3**2 : (l3 + 1) ** 2] * (2 * l2 + 1) ** 0.5
                    blocks.append(block.permute(1, 2, 0))
        found.append(torch.stack(blocks, 2).flatten(1, 2).to(device, dtype))
    return found


def smooth_softmax(logits: Tensor, envelope: Tensor, receivers: Tensor, n_atoms: int) -> Tensor:
    r"""f_ij exp(f_ij a_ij) / (1 + \sum_k f_ik exp(f_ik a_ik)), which vanishes with the envelope f: a neighbour that
    leaves takes nothing along. With f in the numerator only, or nowhere, a lone neighbour would keep its weight up to
    the cutoff; with f outside of the exponentials only, one of a large logit a would, almost.

    logits    (n_pairs, n_heads)
    returns   (n_pairs, n_heads); the weights of one receiver sum to less than 1
    """
    logits = envelope.unsqueeze(1) * logits
    place = receivers.unsqueeze(1).expand_as(logits)
    # A constant that cancels, so that no exponential overflows.
    highest = logits.new_zeros(n_atoms, logits.shape[1])
    highest = highest.scatter_reduce(0, place, logits.detach(), "amax")
    powers = envelope.unsqueeze(1) * torch.exp(logits - highest[receivers])
    total = torch.exp(-highest).index_add(0, receivers, powers)
    return powers / total.index_select(0, receivers)


class EquivariantNorm(nn.Module):
    """Features over one common length, with a learned gain per degree and channel and a shift of the scalars.

    The length is the root mean square over all degrees, each counting alike. One length per degree would blow up what
    little an atom has of some degree, as with a single neighbour at the cutoff.

    forward   (n, (l_max + 1)^2, n_channels) -> the same shape
    """

    def __init__(self, max_degree: int, n_channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(max_degree + 1, n_channels))
        self.shift = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("degree", degree_of_component(max_degree), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        degree = self.get_buffer("degree")
        scalars = x[:, :1] - x[:, :1].mean(2, keepdim=True)
        x = torch.cat([scalars, x[:, 1:]], 1)
        share = 1 / (2 * degree + 1).to(x.dtype) / (len(self.gain) * x.shape[2])
        length = (x.square().sum(2) @ share + 1e-6).sqrt()
        x = x / length[:, None, None] * self.gain.index_select(0, degree)
        return torch.cat([x[:, :1] + self.shift, x[:, 1:]], 1)


class DualAttention(nn.Module):
    r"""One layer: neighbours send tensor products of their features with the direction, weighted by attention.

    Geometric path   logits <q_i, k_ij> / t, k^l_ij = (r1 k'_j + r2 c_j Y^l) / sqrt(2l + 1), with queries q and keys k'
                     linear in the features, c in the scalars, r1 and r2 functions of the pair: query and key coupled to
                     a scalar, over all degrees
    Chemical path    logits a . SiLU(W_q s_i + W_k s_j + W_e e_ij) / t of the scalars s and the pair e only (GATv2:
                     Brody, Alon, Yahav, ICLR 2022), whose values are scalars
    Gate             sigmoid of a network of s_i, s_j, e_ij, for every head and degree of the message

    t is a learned temperature per path and head. Logits are capped smoothly, and each path has its `smooth_softmax`.

    paths   "geometric+chemical"   both paths, each with its gate
            "attention+gate"       the geometric path, and the gate as the other path
            "tensor-product"       likewise, but keys are tensor products of features and direction, as values are, with
                                   radial weights of their own (the transformer of e3nn's guide, with its products
                                   channel by channel)

    forward   x (n_atoms, (l_max + 1)^2, n_channels), pairs -> x updated, Attended (None where there are portions)
    """

    def __init__(
        self, max_degree: int, n_channels: int, n_heads: int, n_scalars: int, n_hidden: int, paths: str
    ) -> None:
        super().__init__()
        top, c, h, hidden = max_degree, n_channels, n_heads, n_hidden
        self.chemical = paths == "geometric+chemical"
        self.product_keys = paths == "tensor-product"
        self.n_heads, self.n_paths = h, n_paths(top, top, top)
        two = c if self.chemical else 0
        # What a network reads of the receiver, the sender and the pair adds up in its first layer: one matrix for each.
        self.widths = {
            "receiver": (hidden + two,),
            "sender": (hidden + two, two, 0 if self.product_keys else c),
            "pair": (hidden + two, two, hidden, hidden),
        }
        self.of_receiver = linear(c, sum(self.widths["receiver"]), bias=False)
        self.of_sender = linear(c, sum(self.widths["sender"]), bias=False)
        self.of_pair = linear(n_scalars, sum(self.widths["pair"]))
        self.gate = linear(hidden, h * (top + 1 + self.chemical))
        self.values = mlp([hidden, hidden, sum(self.n_paths) * c])
        self.log_temperature = nn.Parameter(torch.zeros(1 + self.chemical, h))
        if self.chemical:
            self.chemical_logits = nn.Parameter(torch.randn(h, c // h) * (h / c) ** 0.5)
        if self.product_keys:
            self.keys = linear(hidden, sum(self.n_paths) * c)
            self.queries = nn.ModuleList(linear(c, n * c, bias=False) for n in self.n_paths)
        else:
            self.keys = linear(hidden, 2 * (top + 1) * c)
            self.query_key = DegreeLinear(top, c, 2 * c)
        # Per degree: all paths of the message, the atom's own features and, for scalars, the chemical message -> what
        # the activation takes: scalars, a gate per higher degree and channel, and the higher degrees themselves.
        self.norm = EquivariantNorm(top, c)
        self.mix = nn.ParameterList(
            lecun_normal_(torch.empty(n_in, n_out), n_in)
            for n_in, n_out in (
                ((n + 1) * c + (two if degree == 0 else 0), (top + 1) * c if degree == 0 else c)
                for degree, n in enumerate(self.n_paths)
            )
        )
        self.bias = nn.Parameter(torch.zeros((top + 1) * c))
        self.out = DegreeLinear(top, c, c)
        self.register_buffer("degree", degree_of_component(top), persistent=False)

    def forward(self, x: Tensor, pairs: Pairs) -> tuple[Tensor, Attended | None]:
        y = self.norm(x)
        mine, sent = self._ends(y)
        of_pairs = (pairs.scalars, pairs.harmonics, pairs.envelope)
        attended = None
        if pairs.portions is not None:
            message = in_portions(self._message_of_portion, pairs.portions, Arrays(mine, sent, of_pairs))
        else:
            assert pairs.transfers is not None
            arrays = [*mine, *(one.index_select(0, pairs.senders) for one in sent), *of_pairs]
            message, attended = self._message(pairs.transfers, pairs.receivers, *arrays)
        return x + self.out(self._update(y, message)), attended

    @property
    def temperatures(self) -> Tensor:
        """(n_paths, n_heads) | of the geometric path and, where there is one, the chemical path."""
        return self.log_temperature.exp()

    def _ends(self, y: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the atoms bring along as receivers and as senders: two and three arrays (n_atoms, ...)."""
        if self.product_keys:
            queries = [q(y[:, degree**2 : (degree + 1) ** 2]) for degree, q in enumerate(self.queries)]
            query, key = torch.cat([one.flatten(1) for one in queries], 1), y[:, :0]
        else:
            query, key = self.query_key(y).chunk(2, 2)
        scalars = y[:, 0]
        return (self.of_receiver(scalars), query), (self.of_sender(scalars), key, y)

    def _message_of_portion(self, i: Tensor, *arrays: Tensor) -> Tensor:
        return self._message(transfers(len(self.n_paths) - 1, arrays[-2]), i, *arrays)[0]

    def _message(
        self,
        matrices: tuple[Tensor, ...],
        i: Tensor,
        receiver: Tensor,
        query: Tensor,
        sender: Tensor,
        key_features: Tensor,
        features: Tensor,
        scalars: Tensor,
        harmonics: Tensor,
        envelope: Tensor,
    ) -> tuple[Tensor, Attended]:
        """(n_atoms, n) | the sums over neighbours, degree by degree [m, path, c], and those of the chemical path."""
        n_atoms = len(receiver)
        joint_j, chemical_j, key_j = sender.split(self.widths["sender"], 1)
        joint, chemical, key, value = self.of_pair(scalars).split(self.widths["pair"], 1)
        joint = nn.functional.silu(receiver.index_select(0, i) + joint_j + joint)
        hidden = self.keys(nn.functional.silu(key))
        products = [torch.bmm(matrix, features) for matrix in matrices]
        query = query.index_select(0, i)
        if self.product_keys:
            logits = self._logits_of_products(query, products, hidden)
        else:
            logits = self._logits_of_sums(query, key_j, key_features, hidden, harmonics)
        if self.chemical:
            reached = joint[:, -chemical.shape[1] :].unflatten(1, (self.n_heads, -1))
            logits = torch.cat([logits, (reached * self.chemical_logits).sum(2)], 1)
        attended = self._attend(logits, joint, envelope, i, n_atoms)
        moved = self._moved(products, self.values(nn.functional.silu(value)), attended)
        if attended.chemical is not None and attended.chemical_gate is not None:
            strength = (attended.chemical * attended.chemical_gate).unsqueeze(2)
            moved.append(((chemical * chemical_j).unflatten(1, (self.n_heads, -1)) * strength).flatten(1))
        sums = [one.new_zeros(n_atoms, one.shape[1]).index_add(0, i, one) for one in moved]
        return torch.cat(sums, 1), attended

    def _logits_of_sums(
        self, query: Tensor, key_j: Tensor, features: Tensor, radial: Tensor, harmonics: Tensor
    ) -> Tensor:
        """(n_pairs, n_heads) | queries times keys, the sum of a neighbour's features and its direction."""
        n_degrees = len(self.n_paths)
        with_features = self._sum_orders(query * features)
        with_direction = self._sum_orders(query * harmonics.unsqueeze(2))
        first, second = radial.unflatten(1, (2, n_degrees, -1)).unbind(1)
        roots = (2 * torch.arange(n_degrees, device=query.device, dtype=query.dtype) + 1).rsqrt().unsqueeze(1)
        both = first * roots * with_features + second * with_direction * key_j.unsqueeze(1)
        per_head = both.sum(1).unflatten(1, (self.n_heads, -1)).sum(2)
        return per_head / (n_degrees * query.shape[2] / self.n_heads) ** 0.5

    def _sum_orders(self, x: Tensor) -> Tensor:
        """(n, l_max + 1, c) | of every degree, the sum over its components."""
        degrees = x.split([2 * degree + 1 for degree in range(len(self.n_paths))], 1)
        return torch.stack([one.sum(1) for one in degrees], 1)

    def _logits_of_products(self, queries: Tensor, products: list[Tensor], radial: Tensor) -> Tensor:
        """(n_pairs, n_heads) | queries times keys, the tensor products of a neighbour's features with its direction."""
        c, logits = products[0].shape[2], queries.new_zeros(())
        split = radial.unflatten(1, (sum(self.n_paths), -1)).split(self.n_paths, 1)
        asked = queries.split([product.shape[1] * c for product in products], 1)
        for degree, (product, weights) in enumerate(zip(products, split, strict=True)):
            keys = product.unflatten(1, (-1, weights.shape[1])) * weights.unsqueeze(1)
            both = (asked[degree].unflatten(1, keys.shape[1:]) * keys).sum((1, 2))
            logits = logits + both / (2 * degree + 1) ** 0.5
        per_head = logits.unflatten(1, (self.n_heads, -1)).sum(2)
        return per_head / (sum(self.n_paths) * c / self.n_heads) ** 0.5

    def _attend(self, logits: Tensor, joint: Tensor, envelope: Tensor, i: Tensor, n_atoms: int) -> Attended:
        logits = LOGIT_CAP * torch.tanh(logits / self.temperatures.flatten() / LOGIT_CAP)
        weights = smooth_softmax(logits, envelope, i, n_atoms)
        gates = torch.sigmoid(self.gate(joint[:, : self.gate.in_features])).unflatten(1, (-1, self.n_heads))
        if not self.chemical:
            return Attended(weights, None, gates, None)
        geometric, chemical = weights.chunk(2, 1)
        return Attended(geometric, chemical, gates[:, :-1], gates[:, -1])

    def _moved(self, products: list[Tensor], weights: Tensor, attended: Attended) -> list[Tensor]:
        """For every degree, (n_pairs, (2 l + 1) n_paths c) | the products, weighted, as [m, path, c]."""
        strengths = attended.geometric.unsqueeze(1) * attended.gates
        per_path = weights.unflatten(1, (sum(self.n_paths), self.n_heads, -1)).split(self.n_paths, 1)
        moved = []
        for degree, (product, n) in enumerate(zip(products, self.n_paths, strict=True)):
            weight = (per_path[degree] * strengths[:, degree, None, :, None]).flatten(1).unsqueeze(1)
            moved.append((product.unflatten(1, (-1, n)).flatten(2) * weight).flatten(1))
        return moved

    def _update(self, y: Tensor, message: Tensor) -> Tensor:
        """(n_atoms, (l_max + 1)^2, c) | messages mixed with the atom's own features, and gated."""
        c = y.shape[2]
        widths = [(2 * degree + 1) * n * c for degree, n in enumerate(self.n_paths)]
        *sums, chemical = message.split([*widths, message.shape[1] - sum(widths)], 1)
        mixed = []
        for degree, summed in enumerate(sums):
            read = [summed.unflatten(1, (2 * degree + 1, -1)), y[:, degree**2 : (degree + 1) ** 2]]
            if degree == 0 and self.chemical:
                read.append(chemical.unsqueeze(1))
            mixed.append(torch.cat(read, 2) @ self.mix[degree])
        scalars, *gates = (mixed[0].squeeze(1) + self.bias).split(c, 1)
        gated = [part * torch.sigmoid(gate)[:, None] for part, gate in zip(mixed[1:], gates, strict=True)]
        return torch.cat([nn.functional.silu(scalars).unsqueeze(1), *gated], 1)
