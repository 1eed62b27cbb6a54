"""A checkpoint that fairchem-core 2.24.0 wrote, checkpoint.pt, and what its own calculator says of it, expected.json.

    build/peers/fairchem/bin/python tests/golden/allscaip_checkpoint/generate.py

A tiny AllScAIP (8 features, one layer) with random weights, as fairchem's training would leave it: settings and tasks
as configurations of OmegaConf, weights of the last step and averaged ones, which differ. The references are made up.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import ase
import numpy as np
import torch
from ase.build import bulk, molecule
from fairchem.core import FAIRChemCalculator
from fairchem.core.models.base import HydraModel
from fairchem.core.units.mlip_unit import MLIPPredictUnit
from fairchem.core.units.mlip_unit.api.inference import InferenceSettings, MLIPInferenceCheckpoint
from omegaconf import OmegaConf

HERE = Path(__file__).parent
CONFIG = """
normalizer_rmsd: 1.433569
runner:
  train_eval_unit:
    model:
      _target_: fairchem.core.models.base.HydraModel
      pass_through_head_outputs: true
      backbone:
        model: fairchem.core.models.allscaip.AllScAIP.AllScAIPBackbone
        hidden_size: 8
        num_layers: 1
        atten_num_heads: 2
        freequency_list: [2, 1, 1]
        edge_distance_expansion_size: 16
        edge_direction_expansion_size: 3
        node_direction_expansion_size: 4
        attn_num_freq: 4
        max_radius: 5
        knn_k: 12
        knn_pad_size: 30
        max_num_elements: 110
        max_atoms: 100
        max_batch_size: 4
        use_pbc: false
        atten_name: memory_efficient
        dataset_list: [omol]
        regress_forces: true
        regress_stress: true
        direct_forces: false
        use_compile: false
        use_padding: false
      heads:
        energyandforcehead:
          module: fairchem.core.models.uma.escn_moe.DatasetSpecificSingleHeadWrapper
          head_cls: fairchem.core.models.allscaip.AllScAIP.AllScAIPGradientEnergyForceStressHead
          head_kwargs: {wrap_property: false}
          dataset_names: [omol]
    tasks:
    - _target_: fairchem.core.units.mlip_unit.mlip_unit.Task
      name: omol_energy
      level: system
      property: energy
      out_spec: {_target_: fairchem.core.units.mlip_unit.mlip_unit.OutputSpec, dim: [1], dtype: float32}
      normalizer:
        _target_: fairchem.core.modules.normalization.normalizer.Normalizer
        mean: 0.0
        rmsd: ${normalizer_rmsd}
      element_references:
        _target_: fairchem.core.modules.normalization.element_references.ElementReferences
        element_references: {_target_: torch.DoubleTensor, _args_: ["${references}"]}
      datasets: [omol]
    - _target_: fairchem.core.units.mlip_unit.mlip_unit.Task
      name: omol_forces
      level: atom
      property: forces
      out_spec: {_target_: fairchem.core.units.mlip_unit.mlip_unit.OutputSpec, dim: [3], dtype: float32}
      normalizer:
        _target_: fairchem.core.modules.normalization.normalizer.Normalizer
        mean: 0.0
        rmsd: ${normalizer_rmsd}
      datasets: [omol]
"""


def checkpoint() -> MLIPInferenceCheckpoint:
    config = OmegaConf.create(CONFIG)
    config.references = [-13.6 * number**2.4 for number in range(101)]
    OmegaConf.resolve(config)  # as fairchem's command line does
    unit = config.runner.train_eval_unit
    torch.manual_seed(0)
    settings = OmegaConf.to_container(unit.model)
    model = HydraModel(settings["backbone"], settings["heads"], pass_through_head_outputs=True)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    averaged = {"n_averaged": torch.tensor(3)}
    averaged |= {f"module.{name}": weight + 0.01 for name, weight in model.state_dict().items()}
    return MLIPInferenceCheckpoint(unit.model, model.state_dict(), averaged, unit.tasks)


def structures() -> dict[str, ase.Atoms]:
    ethanol, cation, salt = molecule("CH3CH2OH"), molecule("H2O"), bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    cation.info.update(charge=1, spin=2)
    found = {"ethanol": ethanol, "water cation": cation, "NaCl": salt}
    for seed, atoms in enumerate(found.values()):
        atoms.rattle(0.1, seed=seed)
        atoms.positions = atoms.positions.astype(np.float32)
        atoms.info.setdefault("charge", 0)
        atoms.info.setdefault("spin", 1)
    return found


def main() -> None:
    logging.disable(logging.WARNING)
    torch.save(checkpoint(), HERE / "checkpoint.pt")
    settings = InferenceSettings(activation_checkpointing=False, auto_add_default_untrained_tasks=False)
    unit = MLIPPredictUnit(HERE / "checkpoint.pt", "cpu", inference_settings=settings)
    calculator = FAIRChemCalculator(unit, task_name="omol")
    expected = {}
    for name, atoms in structures().items():
        calculator.calculate(atoms, ["energy", "forces"], [])
        expected[name] = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "info": {key: atoms.info[key] for key in ("charge", "spin")},
            "energy": float(calculator.results["energy"]),
            "forces": calculator.results["forces"].tolist(),
        }
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
