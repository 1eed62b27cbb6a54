"""How far a prediction is from its labels: the loss that is trained and the errors that are shown.

Both come from the same sums over residuals, which add up exactly over batches and over devices.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.predict import Properties

# What can be learned -> its name where an error of it is reported, with the unit. Errors are reported in thousandths.
QUANTITIES = {
    "energy": "energy_{}_meV_per_atom",
    "forces": "forces_{}_meV_per_A",
    "stress": "stress_{}_meV_per_A3",
}
# Numbers in one residual of each: the length of these is what an absolute loss sums.
COMPONENTS = {"energy": 1, "forces": 3, "stress": 9}


def residuals(predicted: Properties, labels: Mapping[str, Tensor], sizes: Tensor) -> dict[str, Tensor]:
    """Prediction minus label, of every quantity that has a label.

    labels   "energy" (n_structures,) eV; "forces" (n_atoms, 3) eV/Å; "stress" (n_structures, 3, 3) eV/Å^3
    sizes    (n_structures,) atoms in each structure
    returns  the same names and shapes; the energy's residual is divided by the number of atoms (eV/atom)
    Raises ValueError for a label whose quantity was not predicted, or of another shape than the prediction.
    """
    found = {}
    for quantity, label in labels.items():
        value = getattr(predicted, quantity)
        if value is None:
            raise ValueError(f"there are labels of the {quantity} but no prediction; ask `properties` for it")
        if value.shape != label.shape:
            raise ValueError(
                f"the label {quantity} has shape {tuple(label.shape)}; expected {tuple(value.shape)} as predicted"
            )
        found[quantity] = (value - label) / sizes if quantity == "energy" else value - label
    return found


def loss(
    residuals: Mapping[str, Tensor],
    weights: Mapping[str, float],
    counts: Mapping[str, int] | None = None,
    kind: str = "squared",
) -> Tensor:
    r"""How far off a prediction is, as one number to make small.

    kind        "squared":  w_E mean (ΔE / N)^2 + w_F mean ΔF^2 + w_S mean Δσ^2, means over structures and components
                "absolute": w_E mean |ΔE| / N + w_F mean |ΔF_i| + w_S mean |Δσ|, means over structures and atoms of the
                length of the whole error: of a force vector, and of the nine components of a stress
    residuals   as `residuals` returns them
    weights     quantity -> weight; those without residuals do not count
    counts      quantity -> how many components the means are taken over, when more than these take part in the
                step (other devices hold the rest); None: just these
    returns     scalar
    The components of the stress are all nine, so that the loss does not change when the structure turns.
    Squared: Rumiantsev, Langer et al., TMLR 2026 (arXiv:2507.19382), Appendix D, for energy and forces. Absolute: what
    AllScAIP is trained with (arXiv:2603.06567), except that its code sums the stress component by component.
    """
    terms = []
    for quantity, residual in residuals.items():
        if weights.get(quantity, 0.0) > 0:
            count = counts[quantity] if counts else residual.numel()
            total = residual.square().sum()
            if kind == "absolute":
                total = COMPONENTS[quantity] * _lengths(residual).sum()
            terms.append(weights[quantity] * total / count)
    if not terms:
        raise ValueError(f"no loss: weights are {dict(weights)} and residuals are of {sorted(residuals)}")
    return torch.stack(terms).sum()


def _lengths(residual: Tensor) -> Tensor:
    """(n,) | of the error of each structure's energy, each atom's force or each structure's stress."""
    return torch.linalg.vector_norm(residual.flatten(1) if residual.ndim > 1 else residual[:, None], dim=1)


def sums(residuals: Mapping[str, Tensor]) -> Tensor:
    """(n_quantities, 4) | count, sum of |residual|, sum of residual^2 and sum of the lengths of whole errors (of a
    force vector, say) of each quantity, in double precision.

    Such sums add: over batches, and over devices. Rows are in the order of `residuals`. Not differentiable.
    """
    rows = []
    for residual in residuals.values():
        residual = residual.detach().double()
        count = residual.new_tensor(residual.numel())
        absolute, squared = residual.abs().sum(), residual.square().sum()
        rows.append(torch.stack([count, absolute, squared, _lengths(residual).sum()]))
    return torch.stack(rows)


def mean_loss(sums: Tensor, weights: Mapping[str, float], kind: str = "squared") -> float:
    """The `loss` over everything that went into `sums`, whose rows are in the order of `weights`."""
    value = 0.0
    for (quantity, weight), (count, _, squared, lengths) in zip(weights.items(), sums.tolist(), strict=True):
        total = COMPONENTS[quantity] * lengths if kind == "absolute" else squared
        value += weight * total / count
    return value


def errors(sums: Tensor, quantities: tuple[str, ...]) -> dict[str, float]:
    """MAE and RMSE of each quantity under their full names, e.g. `forces_mae_meV_per_A`.

    sums         (n_quantities, 4) as `sums` returns it, perhaps added up
    quantities   the names of its rows
    """
    named = {}
    for quantity, (count, absolute, squared, _) in zip(quantities, sums.tolist(), strict=True):
        named[QUANTITIES[quantity].format("mae")] = 1000 * absolute / count
        named[QUANTITIES[quantity].format("rmse")] = 1000 * (squared / count) ** 0.5
    return named
