"""What a model shows of its inside when asked: attention weights, equivariant charges, per-atom numbers.

The same three frozen classes carry tensors inside the library and numpy arrays after `predict`; views read
them by attribute and need neither torch nor this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Attention:
    """Attention weights of one layer, exactly those that the energy used.

    label        e.g. "layer 0, all atoms"
    weights      (n_heads, n_atoms, n_atoms)   | receiver, sender; when `pairs` and `centers` are None
                 (n_heads, n_pairs)            | one weight per row of `pairs`
                 (n_centers, n_heads, q, k)    | between the members of each neighbourhood; the first of the q
                                               receivers is the centre itself, and q is k or, where the energy used
                                               no other row, 1
    pairs        (n_pairs, 2) receiver, sender, or None
    centers      (n_centers,) atom index, or None
    members      (n_centers, k) atom in each place of a neighbourhood, first the centre; -1 is an empty place. Given
                 with `centers`
    normalised   True when the weights of one receiver sum to 1
    """

    label: str
    weights: Any
    pairs: Any = None
    centers: Any = None
    members: Any = None
    normalised: bool = True


@dataclass(frozen=True)
class Multipoles:
    """Learned equivariant charges of one degree and the potentials they make. Not partial charges: their sign
    and scale are the model's own, so compare them only within one model.

    label        e.g. "charge 1, l = 2"
    degree       l
    values       (n_atoms, 2l + 1)   | in the harmonic order of `workbench.nn.harmonics`, dimensionless
    potentials   (n_atoms, 2l + 1)   | what the other atoms' values make at this atom [1/Å]
    """

    label: str
    degree: int
    values: Any
    potentials: Any


@dataclass(frozen=True)
class Diagnostics:
    """Everything a model shows of one prediction.

    atoms   name -> (n_atoms,) | per-atom numbers, e.g. "short-range energy [eV]"; the unit is in the name
    """

    attention: tuple[Attention, ...] = ()
    multipoles: tuple[Multipoles, ...] = ()
    atoms: Mapping[str, Any] = field(default_factory=dict)

    def map(self, convert: Callable[[Any], Any]) -> Diagnostics:
        """The same diagnostics with `convert` applied to every array (None stays None)."""

        def convert_or_none(array: Any) -> Any:
            return None if array is None else convert(array)

        return Diagnostics(
            attention=tuple(
                replace(
                    a,
                    weights=convert(a.weights),
                    pairs=convert_or_none(a.pairs),
                    centers=convert_or_none(a.centers),
                    members=convert_or_none(a.members),
                )
                for a in self.attention
            ),
            multipoles=tuple(
                replace(m, values=convert(m.values), potentials=convert(m.potentials)) for m in self.multipoles
            ),
            atoms={name: convert(values) for name, values in self.atoms.items()},
        )
