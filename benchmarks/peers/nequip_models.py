"""NequIP. Argument: `S`, its preset (two layers, l = 1, 128 scalar and 64 vector features), or `l2` (three layers, 32
features of every degree up to 2)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from importlib.metadata import version

import ase
import torch
from nequip.ase import NequIPCalculator
from nequip.data import AtomicDataDict, from_ase
from nequip.integrations.utils import basic_transforms, handle_chemical_species_map
from nequip.model import NequIPGNNModel, PresetNequIPGNNModel
from nequip.utils.global_state import set_global_state
from serve import energy_and_forces, serve, training_step

CUTOFF = 5.0  # Å
ELEMENTS = ["H", "C", "O"]

set_global_state()
settings = {
    "seed": 0,
    "model_dtype": "float32",
    "type_names": ELEMENTS,
    "r_max": CUTOFF,
    "avg_num_neighbors": 30.0,
}
if sys.argv[1:] == ["l2"]:
    model = NequIPGNNModel(num_layers=3, l_max=2, parity=False, num_features=32, **settings).eval()
else:
    model = PresetNequIPGNNModel(preset="S", **settings).eval()
species = handle_chemical_species_map(None, ELEMENTS)
transforms = basic_transforms(model.metadata, CUTOFF, ELEMENTS, species)
calculator = NequIPCalculator(model, device="cpu", transforms=transforms)


def learner(atoms: list[ase.Atoms]) -> Callable[[], None]:
    frames = [from_ase(one) for one in atoms]
    for transform in transforms:
        frames = [transform(frame) for frame in frames]
    batch = AtomicDataDict.batched_from_list(frames)
    own = copy.deepcopy(model)

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        found = own(batch.copy())
        return found[AtomicDataDict.TOTAL_ENERGY_KEY].flatten(), found[AtomicDataDict.FORCE_KEY]

    return training_step(own, predict, [len(one) for one in atoms])


n_parameters = sum(p.numel() for p in model.parameters())
serve(energy_and_forces(calculator, learner), parameters=n_parameters, version=f"nequip {version('nequip')}")
