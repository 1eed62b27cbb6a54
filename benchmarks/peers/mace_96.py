"""MACE: two layers, 96 scalar and 96 vector channels, correlation 3."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from e3nn import o3
from mace.calculators import MACECalculator
from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes
from serve import energy_and_forces, serve

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
serve(energy_and_forces(calculator), parameters=n_parameters, version=f"mace-torch {version('mace-torch')}")
