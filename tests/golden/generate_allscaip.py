"""Numbers of the official AllScAIP (fairchem-core 2.24.0), in single and in double precision: allscaip.npz.

    python benchmarks/peers/environments.py fairchem
    build/peers/fairchem/bin/python tests/golden/generate_allscaip.py

It reads the configurations, the weights and the first structures from the present allscaip.npz, adds the structures of
`more_systems` and writes all outputs anew. Two changes make the official code run in double precision: the default type
of torch is float64 (images of the cell, centres of the radial functions, empty slots), and where two of its files say
`torch.float32` (frequency vectors, sinc frequencies, masks, the end of the backbone) they get float64. Nothing else is
touched. The small constants stay as they are, but RMSNorm's epsilon is by definition that of the type.

Energies are those of the untrained network: neither scale nor references per element. Stress is the official head's, as
a matrix; without three periodic directions it is left out. Rows of embeddings that no structure reads are set to zero.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.build import molecule
from fairchem.core.datasets.atomic_data import AtomicData, atomicdata_list_to_batch
from fairchem.core.models.allscaip import AllScAIP as allscaip
from fairchem.core.models.allscaip.modules.node_attention import NodeAttention
from fairchem.core.models.allscaip.utils import data_preprocess
from fairchem.core.models.base import HydraModel

FILE = Path(__file__).with_name("allscaip.npz")
PATH = "fairchem.core.models.allscaip.AllScAIP."
DIRECT = {
    "omol_energy": {"module": f"{PATH}AllScAIPEnergyHead"},
    "omol_forces": {"module": f"{PATH}AllScAIPDirectForceHead"},
}
GRADIENT = {
    "efs": {
        "module": "fairchem.core.models.uma.escn_moe.DatasetSpecificSingleHeadWrapper",
        "dataset_names": ["omol"],
        "head_cls": f"{PATH}AllScAIPGradientEnergyForceStressHead",
        "head_kwargs": {"wrap_property": False},
    }
}
# The published graph with the weights of another variant: in dense water it matters that the k + 20 nearest are ranked.
PUBLISHED_GRAPH = {"knn_k": 30, "max_radius": 6.0}
SAME_WEIGHTS = {"NeAnNoSi_k30": "NeAnNoSi"}
DENSE = "water48_dense"
EMBEDDINGS = {
    "atomic_embedding": "numbers",
    "charge_embedding.rand_emb": "charge",
    "spin_embedding.rand_emb": "spin",
}


class DoubleTorch:
    """torch, but for the name float32."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    for file in (allscaip, data_preprocess):
        file.torch = DoubleTorch() if dtype == torch.float64 else torch
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        for file in (allscaip, data_preprocess):
            file.torch = torch


def more_systems(ethanol: ase.Atoms) -> dict[str, ase.Atoms]:
    """Structures where a neighbour list has something to do: more neighbours than places, images of the atom itself,
    two periodic directions, and a radical cation."""
    rng = np.random.default_rng(0)
    cation = ethanol.copy()
    cation.info.update(charge=1, spin=2)
    # No two edges of one length: only the k + 20 nearest are ranked, and of equals it is chance who they are.
    salt = ase.Atoms("NaCl", cell=[[0.1, 2.7, 2.8], [2.9, 0, 2.75], [2.6, 3.1, 0.2]], pbc=True)
    salt.positions = [[0.03, -0.05, 0.02], [2.71, 0.08, 0.11]]
    water = ase.Atoms(cell=[[6.2, 0, 0], [1.1, 6.2, 0], [0.7, -0.9, 12.4]], pbc=True)
    layer = ase.Atoms(cell=[[6.2, 0, 0], [0.9, 6.1, 0], [0, 0, 20]], pbc=[True, True, False])
    for box, shape in ((water, (2, 2, 4)), (layer, (2, 2, 1))):
        for place in np.ndindex(shape):
            one = molecule("H2O")
            one.rotate(rng.uniform(0, 360), rng.normal(size=3))
            one.positions += (np.array(place) + 0.3) / shape @ box.cell.array - one.positions[0]
            box += one
        box.rattle(0.02, seed=0)
    for box in (salt, water, layer):
        box.info.update(charge=0, spin=1)
    dense = water.copy()
    dense.set_cell(0.9 * water.cell.array, scale_atoms=True)
    found = {"ethanol_cation": cation, "NaCl2": salt, "water48": water, "water_layer": layer, DENSE: dense}
    for box in found.values():
        box.positions = box.positions.round(6)
    return found


def model_of(config: dict[str, Any], weights: dict[str, np.ndarray], dtype: torch.dtype) -> HydraModel:
    heads = DIRECT if config["direct_forces"] else GRADIENT
    model = HydraModel({"model": f"{PATH}AllScAIPBackbone", **config}, heads, pass_through_head_outputs=True)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return model.to(dtype).eval()


def outputs(model: HydraModel, atoms: ase.Atoms, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """What the model says of one structure, with the rows of its node attention (head, query, key)."""
    seen: list[torch.Tensor] = []
    attend = NodeAttention.scaled_dot_product_attention

    def watched(
        self: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        logits = q @ k.transpose(-1, -2) / v.shape[-1] ** 0.5 + mask
        seen.append(logits.softmax(-1)[0].detach())
        return attend(self, q, k, v, mask)

    data = AtomicData.from_ase(atoms, task_name="omol", r_data_keys=["spin", "charge"], target_dtype=dtype)
    NodeAttention.scaled_dot_product_attention = watched
    try:
        out = model(atomicdata_list_to_batch([data]))
    finally:
        NodeAttention.scaled_dot_product_attention = attend
    if "omol_energy" in out:  # the gradient head's, by task
        out = {key: out[f"omol_{key}"][key] for key in ("energy", "forces", "stress")}
    found = {"energy": out["energy"][0], "forces": out["forces"]}
    if "stress" in out and atoms.pbc.all():
        found["stress"] = out["stress"].reshape(3, 3)
    if len(atoms) < 20:
        found |= {f"node_attention/{layer}": weights for layer, weights in enumerate(seen)}
    arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
    assert all(array.dtype == np.dtype(str(dtype).removeprefix("torch.")) for array in arrays.values())
    return arrays


def main() -> None:
    logging.disable(logging.WARNING)
    old = dict(np.load(FILE))
    meta = json.loads(str(old["meta"]))
    systems = {}
    for name, state in meta["systems"].items():
        parts = {key: old[f"system/{name}/{key}"] for key in ("numbers", "positions", "cell", "pbc")}
        systems[name] = ase.Atoms(**parts, info=dict(state))
    systems |= more_systems(systems["ethanol"])
    meta["systems"] = {
        name: {key: atoms.info[key] for key in ("charge", "spin")} for name, atoms in systems.items()
    }
    meta["source"] = (
        "fairchem-core 2.24.0, AllScAIP with untrained weights, run by generate_allscaip.py beside this file"
    )
    meta["precision"] = (
        "VARIANT/SYSTEM/float32/... is the official code as it is, float64/... as generate_allscaip.py says"
    )
    meta["config"]["NeAnNoSi_k30"] = meta["config"]["NeAnNoSi"] | PUBLISHED_GRAPH
    meta["same_weights"] = SAME_WEIGHTS
    new: dict[str, Any] = {"meta": json.dumps(meta)}
    for name, atoms in systems.items():
        arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        new |= {
            f"system/{name}/{key}": a
            for key, a in zip(("numbers", "positions", "cell", "pbc"), arrays, strict=True)
        }
    for variant, config in meta["config"].items():
        prefix = f"{SAME_WEIGHTS.get(variant, variant)}/param/"
        weights = {name.removeprefix(prefix): array for name, array in old.items() if name.startswith(prefix)}
        weights = {name: only_rows_read(name, array, systems) for name, array in weights.items()}
        new |= {prefix + name: array for name, array in weights.items()}
        for dtype in (torch.float32, torch.float64):
            with precision(dtype):
                model = model_of(config, weights, dtype)
                for name in systems_of(variant, systems):
                    found = outputs(model, systems[name], dtype)
                    kind = str(dtype).removeprefix("torch.")
                    new |= {f"{variant}/{name}/{kind}/{key}": array for key, array in found.items()}
        compare(variant, systems, new, old)
    np.savez_compressed(FILE, **new)
    print(f"{FILE.stat().st_size / 1e6:.2f} MB")


def systems_of(variant: str, systems: dict[str, ase.Atoms]) -> list[str]:
    """Structures that a variant is run on."""
    return (
        ["NaCl8", "water48", DENSE] if variant in SAME_WEIGHTS else [name for name in systems if name != DENSE]
    )


def only_rows_read(name: str, array: np.ndarray, systems: dict[str, ase.Atoms]) -> np.ndarray:
    """An embedding without the rows of elements, charges and multiplicities that no structure has."""
    word = next((word for word in EMBEDDINGS if f".{word}.weight" in name), None)
    if word is None:
        return array
    rows = {
        "numbers": {int(number) for atoms in systems.values() for number in atoms.numbers},
        "charge": {100 + atoms.info["charge"] for atoms in systems.values()},
        "spin": {atoms.info["spin"] for atoms in systems.values()},
    }[EMBEDDINGS[word]]
    kept = np.zeros_like(array)
    kept[sorted(rows)] = array[sorted(rows)]
    return kept


def compare(
    variant: str, systems: dict[str, ase.Atoms], new: dict[str, Any], old: dict[str, np.ndarray]
) -> None:
    """Print how far double precision is from single, and single from what the file said before; over the largest."""
    for name in systems_of(variant, systems):
        for key in [key for key in new if key.startswith(f"{variant}/{name}/float64/")]:
            double, single = new[key], new[key.replace("float64", "float32")]
            before = old.get(key.replace("float64", "float32"), old.get(key.replace("float64/", "")))
            scale = np.abs(double).max()
            line = f"{key:50s} double - single {np.abs(double - single).max() / scale:.1e}"
            if before is not None:
                line += f", single - before {np.abs(single - before.reshape(single.shape)).max() / scale:.1e}"
            print(line)


if __name__ == "__main__":
    main()
