"""MACE: two layers, 96 scalar and 96 vector channels, correlation 3."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import ase
import numpy as np
import torch
from e3nn import o3
from mace import data
from mace.calculators import MACECalculator
from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes
from mace.tools import AtomicNumberTable, torch_geometric
from serve import energy_and_forces, serve, training_step

CUTOFF = 5.0  # Å
ELEMENTS = [1, 6, 8]

torch.manual_seed(0)
residual = interaction_classes["RealAgnosticResidualInteractionBlock"]
model = ScaleShiftMACE(
    r_max=CUTOFF,
    num_bessel=8,
    num_polynomial_cutoff=5,
    max_ell=3,
    interaction_cls_first=residual,
    interaction_cls=residual,
    num_interactions=2,
    num_elements=len(ELEMENTS),
    hidden_irreps=o3.Irreps("96x0e + 96x1o"),
    MLP_irreps=o3.Irreps("16x0e"),
    gate=gate_dict["silu"],
    atomic_energies=np.zeros(len(ELEMENTS)),
    avg_num_neighbors=30.0,
    atomic_numbers=ELEMENTS,
    correlation=3,
    radial_type="bessel",
    atomic_inter_scale=1.0,
    atomic_inter_shift=0.0,
).float()
n_parameters = sum(p.numel() for p in model.parameters())
calculator = MACECalculator(models=[model.eval()], device="cpu", default_dtype="float32")


def learner(atoms: list[ase.Atoms]) -> Callable[[], None]:
    elements, torch_default = AtomicNumberTable(ELEMENTS), torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    frames = [
        data.AtomicData.from_config(data.config_from_atoms(one), z_table=elements, cutoff=CUTOFF)
        for one in atoms
    ]
    torch.set_default_dtype(torch_default)
    batch = torch_geometric.Batch.from_data_list(frames).to_dict()

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        found = model(dict(batch), training=True)
        return found["energy"], found["forces"]

    return training_step(model.requires_grad_(True), predict, [len(one) for one in atoms])


serve(
    energy_and_forces(calculator, learner),
    parameters=n_parameters,
    version=f"mace-torch {version('mace-torch')}",
)
