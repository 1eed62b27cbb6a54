"""The official AllScAIP (fairchem-core): 128 features, 2 layers, 4 heads, the rest as published; energy, and forces as
its gradient; eager and unpadded, as its ASE calculator runs it. Argument: --variant NeAnNoSi (the default) or NeNo.

Its random weights are kept in build/peers/allscaip_VARIANT.pt, for allscaip_workbench.py to run the same model.
"""

from __future__ import annotations

import argparse
import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase
import torch
from ase.calculators.calculator import Calculator, all_changes
from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch
from fairchem.core.models.base import HydraModel
from serve import energy_and_forces, serve
from systems import systems

WEIGHTS = Path(__file__).resolve().parents[2] / "build" / "peers"
BIASES = {"NeAnNoSi": True, "NeNo": False}  # of angles among neighbours, and of distances among all atoms
SETTINGS = {
    "hidden_size": 128,
    "num_layers": 2,
    "atten_num_heads": 4,
    "atten_name": "math",  # what it falls back to for forces by gradient
    "freequency_list": [10, 5, 2, 5, 10],  # the published 20, 10, 4, 10, 20 for heads of half the width
    "max_radius": 6.0,
    "knn_k": 30,
    "knn_pad_size": 50,
    "max_num_elements": 110,
    "max_atoms": 1000,
    "max_batch_size": 16,
    "dataset_list": ["omol"],
    "regress_forces": True,
    "direct_forces": False,
    "use_compile": False,
    "use_padding": False,
}
HEAD = {
    "module": "fairchem.core.models.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
    "dataset_names": ["omol"],
    "head_cls": "fairchem.core.models.allscaip.AllScAIP.AllScAIPGradientEnergyForceStressHead",
    "head_kwargs": {"wrap_property": False},
}


class Official(Calculator):
    """ASE's side of the model, without the checks and copies of FAIRChemCalculator."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012, ASE's name and type

    def __init__(self, model: HydraModel) -> None:
        super().__init__()
        self.model = model

    def calculate(self, atoms: ase.Atoms, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        atoms.info.update(charge=0, spin=1)
        data = AtomicData.from_ase(atoms, task_name="omol", r_data_keys=["spin", "charge"])
        out = self.model(atomicdata_list_to_batch([data]))
        self.results = {
            "energy": out["omol_energy"]["energy"].item(),
            "forces": out["omol_forces"]["forces"].numpy(),
        }


def official(variant: str) -> HydraModel:
    """The model with the kept weights, or with new ones, which it keeps."""
    biases = {"use_freq_mask": BIASES[variant], "use_sincx_mask": BIASES[variant]}
    settings = {**SETTINGS, **biases}
    backbone = {"model": "fairchem.core.models.allscaip.AllScAIP.AllScAIPBackbone", **settings}
    torch.manual_seed(0)
    model = HydraModel(backbone=backbone, heads={"efs": HEAD}, pass_through_head_outputs=True).eval()
    path = WEIGHTS / f"allscaip_{variant}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True)["weights"])
    else:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save({"settings": settings, "weights": model.state_dict()}, new)
        new.replace(path)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=list(BIASES), default="NeAnNoSi")
    logging.disable(logging.WARNING)  # a line for every call
    model = official(parser.parse_args().variant)
    calculator = Official(model)
    (aspirin,) = systems("aspirin")
    serve(
        energy_and_forces(calculator),
        parameters=sum(p.numel() for p in model.parameters()),
        version=f"fairchem-core {version('fairchem-core')}",
        energy_of_aspirin=calculator.get_potential_energy(aspirin),
    )
