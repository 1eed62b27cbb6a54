"""Whom each atom attends to, layer by layer and head by head, on the structure and in linked plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from widgets import attention_numbers as numbers
from widgets import still
from widgets.attention_plots import DistancePlot, HeatMap, InfluenceBars, RankMap, SpreadBars
from widgets.live_plot import caption, in_words
from widgets.panel import Panel
from widgets.partner_view import PartnerView

_NOTE = "Attention is not an explanation: a weight says where the model looks, not what moves its prediction."
_INFLUENCE_NOTE = (
    " What moves the force on an atom, to first order, is the influence |∂F_i/∂r_j| [eV/Å²]; the rank correlation"
    " says how far the two agree on which partners matter."
)
_ORDERS = {"distance from the chosen atom": "distance", "element": "element", "as given": "given"}
_MEMBERS = "neighbourhood of the chosen atom"
_HIGH = 330  # pixels of the lower plots


class AttentionExplorer(Panel):
    """Attention weights of a model, on one structure: choose an atom and its partners light up.

    atoms       an ase.Atoms
    attention   objects with `label`, `weights`, `pairs`, `centers`, `members` and `normalised`, where weights are
                (n_heads, n_atoms, n_atoms)   | receiver, sender; when `pairs` and `centers` are None
                (n_heads, n_pairs)            | one per row of `pairs` (n_pairs, 2) receiver, sender
                (n_centers, n_heads, q, k)    | between the members (n_centers, k) of the neighbourhoods of `centers`
                                              (n_centers,); q is k or 1; the first place is the centre; -1 is empty
    influence   (n_atoms, n_atoms) |d force_i / d position_j| [eV/Å^2], shown side by side with the weights
    atom        chosen at first
    on_pick     called with the number of the atom that was chosen, by a click or by number

    Distances are to the nearest periodic image. Weights of several images of one atom are added up; of a
    neighbourhood the row of its centre is what lights up, and the matrix shows the rest. At most ROWS atoms stand
    in the matrix, LINKS links in the structure and POINTS points in the plot; what is left out is said in words.

    >>> shown = predict(model, atoms, diagnose=True).diagnostics              # doctest: +SKIP
    >>> AttentionExplorer(atoms, shown.attention)                             # doctest: +SKIP
    """

    ROWS = 200
    LINKS = 60
    POINTS = 3000

    def __init__(
        self,
        atoms: Any,
        attention: Sequence[Any],
        influence: Any = None,
        *,
        atom: int = 0,
        on_pick: Callable[[int], None] | None = None,
        height: str = "430px",
    ) -> None:
        super().__init__()
        self.atoms = atoms.copy()
        self.attention = [numbers.Weights.of(a, len(atoms)) for a in attention]
        if not self.attention:
            raise ValueError("got no attention; expected at least one. Predict with diagnose=True to get it")
        self.influence = self._checked(influence)
        self.names = [f"{symbol} {index}" for index, symbol in enumerate(atoms.symbols)]
        self._on_pick = on_pick
        self._sample = numbers.sampled_receivers(len(atoms))
        self._sample_distances = np.linalg.norm(numbers.nearest_images(atoms, self._sample), axis=-1)
        self._rolled: dict[int, np.ndarray] = {}
        self._settling = False
        self.view = PartnerView(atoms, on_pick=self.choose, height=height)
        pixels = int(height.removesuffix("px")) + 20
        self.map = HeatMap(self.log.guard(self.choose), pixels)
        self.by_distance = DistancePlot(self.log.guard(self._pair_clicked), _HIGH)
        self.spread = SpreadBars(_HIGH)
        self._words = caption()
        # What every atom may attend to says most at first sight.
        first = next((index for index, a in enumerate(self.attention) if a.between_all), 0)
        self._make_controls(first, self._existing(atom))
        self._lay_out()
        self._on_close(self.view.close)
        self._attention_chosen()

    # controls -----------------------------------------------------------------------------------------

    def _make_controls(self, index: int, atom: int) -> None:
        options = [(a.label, number) for number, a in enumerate(self.attention)]
        self.layer = ipywidgets.Dropdown(options=options, value=index, description="attention")
        self.head = ipywidgets.Dropdown(options=self._heads(index), description="head")
        self.atom = ipywidgets.BoundedIntText(value=atom, min=0, max=len(self.names) - 1, description="atom")
        self.threshold = ipywidgets.FloatSlider(
            value=20, min=0, max=100, step=1, readout_format=".0f", description="threshold [%]"
        )
        self.threshold.tooltip = "Partners below this share of the atom's largest weight stay dark"
        self.order = ipywidgets.Dropdown(options=list(_ORDERS.items()), description="matrix by")
        widths = (
            (self.layer, 400),
            (self.head, 250),
            (self.atom, 170),
            (self.threshold, 400),
            (self.order, 390),
        )
        for control, width in widths:
            control.layout.width = f"{width}px"
            control.style.description_width = "96px"
        for control, answer in (
            (self.layer, self._attention_chosen),
            (self.head, self._draw),
            (self.atom, self._atom_chosen),
            (self.threshold, self._draw_structure),
            (self.order, self._draw_map),
        ):
            control.observe(self.log.guard(lambda _, answer=answer: self._settling or answer()), "value")

    def _lay_out(self) -> None:
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        controls = ipywidgets.HBox([self.layer, self.head, self.atom, self.threshold, self.order], layout=wrap)
        self.view.widget.layout.min_width = "0"
        plots = [self.view.widget, self.map.widget, self.by_distance.widget, self.spread.widget]
        if self.influence is not None:
            self.beside = InfluenceBars(_HIGH)
            self.ranks = self._rank_map()
            plots += [self.beside.widget, self.ranks.widget]
        columns = "repeat(auto-fit, minmax(min(100%, 400px), 1fr))"
        grid = ipywidgets.Layout(grid_template_columns=columns, grid_gap="12px 20px", width="100%")
        note = _NOTE + (_INFLUENCE_NOTE if self.influence is not None else "")
        self._show(
            controls, self._words, ipywidgets.GridBox(plots, layout=grid), ipywidgets.HTML(in_words(note))
        )

    def _heads(self, index: int) -> list[tuple[str, int | str]]:
        weights = self.attention[index]
        heads: list[tuple[str, int | str]] = [(f"head {k}", k) for k in range(weights.n_heads)]
        heads = [("mean over heads", "mean"), ("max over heads", "max"), *heads]
        layers = numbers.layers_up_to(self.attention, index)
        if len(layers) > 1 and not any(layer.signed for layer in layers):
            heads.append((f"rollout over {len(layers)} layers", "rollout"))
        return heads

    def choose(self, atom: int) -> None:
        """Choose an atom: its partners light up, in every plot.

        Raises ValueError when there is no such atom.
        """
        self.atom.value = self._existing(atom)

    def show(self, label: str, head: int | str = "mean") -> None:
        """Show the attention of this label and this head: its number, "mean", "max" or "rollout".

        Raises ValueError when there is no such attention or head.
        """
        labels = [a.label for a in self.attention]
        if label not in labels:
            raise ValueError(f"there is no attention {label!r}; expected one of {labels}")
        index = labels.index(label)
        heads = [value for _, value in self._heads(index)]
        if head not in heads:
            raise ValueError(f"{label!r} has no head {head!r}; expected one of {heads}")
        self._show_numbers(index, head)

    def _existing(self, atom: int) -> int:
        if not 0 <= atom < len(self.names):
            raise ValueError(f"there is no atom {atom}; expected 0..{len(self.names) - 1}")
        return int(atom)

    def _show_numbers(self, index: int, head: int | str) -> None:
        if head in [value for _, value in self._heads(index)]:
            self.layer.value = index
            self.head.value = head

    def _attention_chosen(self) -> None:
        """Offer the heads and orders that this attention has, then draw."""
        index, head, order = self.layer.value, self.head.value, self.order.value
        weights = self.attention[index]
        orders = dict(_ORDERS) if weights.centers is None else {_MEMBERS: "members", **_ORDERS}
        self._settling = True
        self.head.options = self._heads(index)
        self.head.value = head if head in [value for _, value in self.head.options] else "mean"
        had_members = "members" in [value for _, value in self.order.options]
        self.order.options = list(orders.items())
        self.order.value = order if order in orders.values() else "distance"
        if "members" in orders.values() and not had_members:
            self.order.value = "members"
        self._settling = False
        self._draw()

    def _atom_chosen(self) -> None:
        self._draw_chosen()
        if self._on_pick is not None:
            self._on_pick(self.atom.value)

    def _pair_clicked(self, receiver: int, sender: int) -> None:
        """A pair of the chosen atom leads to its partner, another pair to its receiver."""
        self.choose(sender if receiver == self.atom.value else receiver)

    # numbers ------------------------------------------------------------------------------------------

    def weights(self, receivers: Any) -> np.ndarray:
        """(n_receivers, n_atoms) the weights that are shown: of the attention and head chosen; NaN for no pair."""
        index, head = self.layer.value, self.head.value
        if head != "rollout":
            return numbers.combined(self.attention[index].rows(receivers), head)
        if index not in self._rolled:
            self._rolled[index] = numbers.rollout(numbers.layers_up_to(self.attention, index))
        return self._rolled[index][np.asarray(receivers, int)]

    def partners(self) -> list[int]:
        """The atoms that light up: those of at least the chosen share of the largest weight, strongest first."""
        weights = self._to_others()
        size = np.where(np.isfinite(weights), np.abs(weights), -1.0)
        least = max(self.threshold.value / 100 * size.max(), np.finfo(float).tiny)
        order = np.argsort(-size, kind="stable")
        return [int(j) for j in order if size[j] >= least]

    def _to_others(self) -> np.ndarray:
        weights = self.weights([self.atom.value])[0].copy()
        weights[self.atom.value] = np.nan
        return weights

    # drawing ------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self._draw_pairs()
        self._draw_chosen()

    def _draw_chosen(self) -> None:
        """Everything that depends on the chosen atom."""
        self._spans = numbers.nearest_images(self.atoms, [self.atom.value])[0]
        self._draw_structure()
        self._draw_map()
        atom, weights = self.atom.value, self._to_others()
        there = np.flatnonzero(np.isfinite(weights))
        distances = np.linalg.norm(self._spans, axis=-1)[there]
        pairs = np.column_stack([np.full_like(there, atom), there])
        self.by_distance.show_chosen(distances, weights[there], pairs, self.names[atom])
        own = numbers.effective_partners(self.attention[self.layer.value].rows([atom])[:, 0])
        self.spread.show_chosen(own, self.names[atom])
        if self.influence is not None:
            influence = np.where(np.arange(len(self.names)) == atom, np.nan, self.influence[atom])
            self.beside.update(influence, weights, self.names, self._agreement())

    def _draw_structure(self) -> None:
        lit, atom = self.partners(), self.atom.value
        label = f"attention of {self.names[atom]}, {self.head.label}"
        is_lit = np.isin(np.arange(len(self.names)), lit)
        self.view.choose(atom, self._to_others(), self._spans, is_lit, lit[: self.LINKS], label=label)
        self._words.value = in_words(self._chosen_in_words())

    def _draw_map(self) -> None:
        if self.order.value == "members":
            self._draw_neighbourhood()
            return
        atom = self.atom.value
        nearest = np.argsort(np.linalg.norm(self._spans, axis=-1), kind="stable")[: self.ROWS]
        if self.order.value != "distance":
            nearest = np.sort(nearest)
        if self.order.value == "element":
            nearest = nearest[np.argsort(self.atoms.numbers[nearest], kind="stable")]
        label = {
            "distance": f"by distance from {self.names[atom]}",
            "element": "by element",
            "given": "as given",
        }
        words = f"The row of {self.names[atom]} is outlined; click a row to choose its atom."
        if len(nearest) < len(self.names):
            words = f"The {len(nearest)} of {len(self.names)} atoms nearest to {self.names[atom]}. {words}"
        weights = self.weights(nearest)[:, nearest]
        self.map.update(weights, nearest, nearest, self.names, atom, label[self.order.value], words)

    def _draw_neighbourhood(self) -> None:
        atom = self.atom.value
        matrix, members = self.attention[self.layer.value].neighbourhood(atom)
        receivers = members[: matrix.shape[1]]
        words = f"The neighbourhood of {self.names[atom]}: {len(members)} members, the centre first."
        if len(members) == 0:
            words = f"{self.names[atom]} is the centre of no neighbourhood here."
        elif len(receivers) == 1:
            words += " The energy used the row of the centre alone."
        weights = numbers.combined(matrix, self.head.value)
        self.map.update(weights, receivers, members, self.names, atom, "member of the neighbourhood", words)

    def _draw_pairs(self) -> None:
        """What looks at all pairs: the points behind, their median, and how widely each head looks."""
        weights = self.weights(self._sample)
        senders = np.broadcast_to(np.arange(len(self.names)), weights.shape)
        receivers = np.broadcast_to(self._sample[:, None], weights.shape)
        there = np.isfinite(weights) & (receivers != senders)
        distances, values = self._sample_distances[there], weights[there]
        kept = np.arange(len(values))
        if len(kept) > self.POINTS:
            kept = np.sort(np.random.default_rng(0).choice(len(kept), self.POINTS, replace=False))
        words = f"{len(kept)} pairs; the median of each 0.5 Å."
        if len(kept) < len(values):
            words = f"{len(kept)} of {len(values)} pairs drawn, at random; the median is over all of them."
        pairs = np.column_stack([receivers[there][kept], senders[there][kept]])
        medians = numbers.medians_by_distance(distances, values)
        self.by_distance.show_all(distances[kept], values[kept], pairs, medians, words + self._of_sample())
        self._draw_spread()

    def _draw_spread(self) -> None:
        weights = self.attention[self.layer.value]
        each = numbers.effective_partners(weights.rows(self._sample))
        there = np.isfinite(each)
        mean = np.where(there, each, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        words = "How many atoms share a row, as exp(entropy), itself among them: 1 for one alone."
        if weights.signed or not weights.normalised:
            words += " The sizes of the weights were scaled to sum 1 for this."
        self.spread.show_all(mean, words + self._of_sample())

    def _of_sample(self) -> str:
        if len(self._sample) == len(self.names):
            return ""
        return f" Receivers: {len(self._sample)} of {len(self.names)} atoms, at random."

    # influence ----------------------------------------------------------------------------------------

    def _checked(self, influence: Any) -> np.ndarray | None:
        if influence is None:
            return None
        influence, wanted = np.asarray(influence, float), (len(self.atoms), len(self.atoms))
        if influence.shape != wanted:
            raise ValueError(f"influence has shape {influence.shape}; expected (n_atoms, n_atoms) = {wanted}")
        return influence

    def rank_correlations(self) -> np.ndarray:
        """(n_attention, most heads) Spearman's between weight and influence over the pairs of different atoms that
        the attention lists; NaN where there is no such head, or nothing to rank. Raises ValueError without influence.
        """
        if self.influence is None:
            raise ValueError("there is no influence to rank; give AttentionExplorer(..., influence=...)")
        others = self.influence[self._sample].copy()
        others[np.arange(len(others)), self._sample] = np.nan
        found = np.full((len(self.attention), max(a.n_heads for a in self.attention)), np.nan)
        for row, weights in zip(found, self.attention, strict=True):
            heads = weights.rows(self._sample).reshape(weights.n_heads, -1)
            row[: weights.n_heads] = numbers.rank_correlations(heads, others.ravel())
        return found

    def _rank_map(self) -> RankMap:
        words = "Spearman's ρ over all pairs of different atoms; click a cell to see that head."
        labels = [a.label for a in self.attention]
        return RankMap(
            self.rank_correlations(), labels, words + self._of_sample(), self.log.guard(self._show_numbers)
        )

    def _agreement(self) -> str:
        assert self.influence is not None
        atom, weights = self.atom.value, self._to_others()
        correlation = float(numbers.rank_correlations(weights, self.influence[atom]))
        others = np.where(np.arange(len(weights)) == atom, -np.inf, self.influence[atom])
        top = int(others.argmax())
        words = f"{self.names[top]} moves the force on {self.names[atom]} most: {others[top]:.3g} eV/Å²."
        if np.isfinite(correlation):
            words += f" Over its {np.isfinite(weights).sum()} partners ρ = {correlation:+.2f}."
        return words

    # words --------------------------------------------------------------------------------------------

    def _chosen_in_words(self) -> str:
        atom, lit = self.atom.value, self.partners()
        weights = self.weights([atom])[0]
        if not lit:
            return f"{self.names[atom]} attends to no other atom here."
        distances = np.linalg.norm(self._spans, axis=-1)
        top = ", ".join(f"{self.names[j]} ({weights[j]:.3g} at {distances[j]:.2f} Å)" for j in lit[:4])
        words = f"{self.names[atom]} attends most to {top}. "
        if np.isfinite(weights[atom]):
            words += f"To itself {weights[atom]:.3g}. "
        spread, count = float(numbers.effective_partners(weights)), np.isfinite(weights).sum()
        words += f"Effective partners {spread:.3g} of {count}. "
        least = f"at least {self.threshold.value:.0f} % of the largest weight"
        words += f"{len(lit)} {'atom has' if len(lit) == 1 else 'atoms have'} {least}"
        return words + (f"; links go to the {self.LINKS} strongest." if len(lit) > self.LINKS else ".")

    def picture(self) -> bytes:
        return still.stacked([self.view.picture(), self.map.picture(), self.by_distance.picture()])

    def describe(self) -> str:
        words = [f"Attention, {self.layer.label}, {self.head.label}.", self._chosen_in_words()]
        if self.influence is not None:
            words.append(self._agreement())
        return " ".join([*words, _NOTE])
