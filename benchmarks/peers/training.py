"""A step of training any of our models. Arguments as model.py takes them: name, preset, differing values as JSON."""

from __future__ import annotations

import argparse
import json

import torch
from lorem import training_step
from serve import serve

import workbench

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("preset")
    parser.add_argument("config", nargs="?", type=json.loads, default={})
    options = parser.parse_args()
    torch.manual_seed(0)
    model = workbench.build(options.name, options.preset, **options.config)
    serve(
        lambda atoms: {"training step": training_step(model, atoms)},
        parameters=model.n_parameters,
        workbench=workbench.__version__,
    )
