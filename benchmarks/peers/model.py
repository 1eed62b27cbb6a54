"""Any of our models as a contestant. Arguments: its name, a preset, and values that differ from the preset, as JSON."""

from __future__ import annotations

import argparse
import json

import torch
from serve import energy_and_forces, serve

import workbench
from workbench.calculator import Calculator

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("preset")
    parser.add_argument("config", nargs="?", type=json.loads, default={})
    options = parser.parse_args()
    torch.manual_seed(0)
    model = workbench.build(options.name, options.preset, **options.config)
    serve(
        energy_and_forces(Calculator(model)),
        parameters=model.n_parameters,
        workbench=workbench.__version__,
    )
