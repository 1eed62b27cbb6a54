"""Our AllScAIP with the weights of allscaip.py, which has to have run before. Argument: --variant, as there."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from serve import energy_and_forces, serve
from systems import systems

import workbench
from workbench.calculator import Calculator
from workbench.official import allscaip_config, allscaip_from_state_dict

WEIGHTS = Path(__file__).resolve().parents[2] / "build" / "peers"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="NeAnNoSi")
    path = WEIGHTS / f"allscaip_{parser.parse_args().variant}.pt"
    if not path.is_file():
        raise SystemExit(f"{path} is not there; run allscaip.py with the same --variant first, which makes it")
    kept = torch.load(path, weights_only=True)
    model = allscaip_from_state_dict(kept["weights"], allscaip_config(kept["settings"])).eval()
    calculator = Calculator(model)
    (aspirin,) = systems("aspirin")
    serve(
        energy_and_forces(calculator),
        parameters=model.n_parameters,
        workbench=workbench.__version__,
        energy_of_aspirin=calculator.get_potential_energy(aspirin),
    )
