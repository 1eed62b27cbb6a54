"""NequIP's preset S: two layers, l = 1, 128 scalar and 64 vector features."""

from __future__ import annotations

from importlib.metadata import version

from nequip.ase import NequIPCalculator
from nequip.integrations.utils import basic_transforms, handle_chemical_species_map
from nequip.model import PresetNequIPGNNModel
from nequip.utils.global_state import set_global_state
from serve import energy_and_forces, serve

CUTOFF = 5.0  # Å
ELEMENTS = ["H", "C", "O"]

set_global_state()
model = PresetNequIPGNNModel(
    preset="S",
    seed=0,
    model_dtype="float32",
    type_names=ELEMENTS,
    r_max=CUTOFF,
    avg_num_neighbors=30.0,
).eval()
species = handle_chemical_species_map(None, ELEMENTS)
calculator = NequIPCalculator(
    model, device="cpu", transforms=basic_transforms(model.metadata, CUTOFF, ELEMENTS, species)
)
n_parameters = sum(p.numel() for p in model.parameters())
serve(energy_and_forces(calculator), parameters=n_parameters, version=f"nequip {version('nequip')}")
