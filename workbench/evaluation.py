"""How good a model is on labelled frames: errors with units, and the pairs of numbers behind a parity plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np

from workbench import structures
from workbench.dataset import Batches, GraphDataset
from workbench.losses import QUANTITIES
from workbench.models.contract import Potential
from workbench.predict import check, properties
from workbench.stored import StoredFrames


@dataclass(frozen=True)
class Parity:
    """One quantity twice, in the order of the frames."""

    reference: np.ndarray
    predicted: np.ndarray  # the same shape

    @property
    def mae(self) -> float:
        return float(np.abs(self.predicted - self.reference).mean())

    @property
    def rmse(self) -> float:
        return float(np.sqrt(np.square(self.predicted - self.reference).mean()))


@dataclass(frozen=True)
class Errors:
    """What `evaluate` finds. A quantity without labels is None."""

    n_atoms: np.ndarray  # (n_structures,)
    energy: Parity | None  # (n_structures,) | per atom [eV/atom]
    forces: Parity | None  # (n_atoms, 3) | all structures one after the other [eV/Å]
    stress: Parity | None  # (n_structures, 3, 3) [eV/Å^3]

    @property
    def numbers(self) -> dict[str, float]:
        """MAE and RMSE by name and unit, e.g. `energy_mae_meV_per_atom`."""
        named = {}
        for quantity, name in QUANTITIES.items():
            parity: Parity | None = getattr(self, quantity)
            if parity is not None:
                named[name.format("mae")] = 1000 * parity.mae
                named[name.format("rmse")] = 1000 * parity.rmse
        return named


def evaluate(model: Potential, frames: Sequence[ase.Atoms], batch_size: int = 8) -> Errors:
    """Compare a model with the labels of frames, for every quantity that all of them have a label of.

    model        on its device, which is used
    batch_size   structures computed together; take fewer when the memory is short

    Raises ValueError for no frames, no label common to all, or a structure that the model cannot treat.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected 1 or more")
    for i, frame in enumerate(frames):
        try:
            check(model, frame)
        except ValueError as error:
            raise ValueError(f"frame {i} of {len(frames)}: {error}") from error
    if isinstance(frames, StoredFrames):
        quantities = [q for q in QUANTITIES if frames.has(q).all()]
    else:
        labelled = [structures.labels(frame) for frame in frames]
        quantities = [q for q in QUANTITIES if all(q in found for found in labelled)]
    if frames and not all(frame.pbc.all() for frame in frames):
        quantities = [q for q in quantities if q != "stress"]
    if not quantities:
        raise ValueError(
            f"the {len(frames)} frames have no label in common; expected some of {list(QUANTITIES)}"
        )
    dataset = GraphDataset(frames, model.cutoff, quantities, name="the evaluated data", memory_GB=0.0)
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {quantity: [] for quantity in quantities}
    for batch in Batches(dataset, batch_size):
        batch = batch.to(model.device)
        predicted = properties(model, batch.graph, forces="forces" in quantities, stress="stress" in quantities)
        sizes = batch.graph.sizes
        for quantity, label in batch.labels.items():
            scale = sizes if quantity == "energy" else 1
            reference, value = label / scale, getattr(predicted, quantity).detach() / scale
            pairs[quantity].append((reference.cpu().numpy(), value.cpu().numpy()))
    parity = {
        quantity: Parity(*(np.concatenate(side) for side in zip(*parts, strict=True)))
        for quantity, parts in pairs.items()
    }
    return Errors(dataset.sizes, parity.get("energy"), parity.get("forces"), parity.get("stress"))
