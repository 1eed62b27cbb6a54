"""metatrain's architectures with their long-range block. Argument: `soap_bpnn` or `pet`."""

from __future__ import annotations

import sys
from importlib.metadata import version

from metatomic_ase import MetatomicCalculator
from metatrain.utils.architectures import get_default_hypers, import_architecture
from metatrain.utils.data import DatasetInfo
from metatrain.utils.data.target_info import get_energy_target_info
from serve import energy_and_forces, serve

CUTOFF = 5.0  # Å
# PET's default is larger; these sizes bring it near the others.
SIZES = {
    "soap_bpnn": {},
    "pet": {
        "cutoff": CUTOFF,
        "d_pet": 96,
        "d_node": 128,
        "d_head": 96,
        "d_feedforward": 128,
        "num_heads": 4,
        "num_attention_layers": 1,
        "num_gnn_layers": 2,
    },
}

architecture = sys.argv[1]
hypers = get_default_hypers(architecture)["model"]
hypers.update(SIZES[architecture])
hypers["long_range"] = {**hypers["long_range"], "enable": True}
targets = {"energy": get_energy_target_info("energy", {"unit": "eV"}, add_position_gradients=True)}
info = DatasetInfo(length_unit="angstrom", atomic_types=[1, 6, 8], targets=targets)
model = import_architecture(architecture).__model__(hypers, info)
n_parameters = sum(p.numel() for p in model.parameters())
calculator = MetatomicCalculator(model.eval().export(), device="cpu")
serve(energy_and_forces(calculator), parameters=n_parameters, version=f"metatrain {version('metatrain')}")
