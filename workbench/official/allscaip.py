"""AllScAIP: checkpoints and weights of fairchem-core, to our model and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from workbench.models.allscaip import N_ELEMENTS_KNOWN, AllScAIP, AllScAIPConfig, Block
from workbench.models.contract import N_ELEMENTS
from workbench.nn.attention import FeedForward, Readout
from workbench.official.fairchem import read_fairchem

# Names in fairchem -> ours. The first must be there; the others have fairchem's defaults, which are not always ours.
_REQUIRED = {
    "hidden_size": "n_features",
    "num_layers": "n_layers",
    "atten_num_heads": "n_heads",
    "max_radius": "cutoff",
    "knn_k": "n_neighbours",
    "direct_forces": "direct_forces",
}
_OPTIONAL = {
    "edge_distance_expansion_size": ("n_radial", 512),
    "edge_direction_expansion_size": ("max_degree", 6),
    "node_direction_expansion_size": ("order_degree", 10),
    "attn_num_freq": ("n_sinc", 32),
    "freequency_list": ("frequencies", (20, 10, 4, 10, 20)),
    "use_node_path": ("all_to_all", True),
    "use_freq_mask": ("angular_bias", True),
    "use_sincx_mask": ("radial_bias", True),
}
# What we have only one value of.
_FIXED = {
    "activation": "gelu",
    "normalization": "rmsnorm",
    "distance_function": "gaussian",
    "use_envelope": True,
    "knn_soft": True,
    "knn_sigmoid_scale": 0.2,
    "knn_lse_scale": 0.1,
    "knn_use_low_mem": True,
    "max_num_elements": N_ELEMENTS_KNOWN,
    "ffn_hidden_layer_multiplier": 2,
    "output_hidden_layer_multiplier": 2,
    "energy_reduce": "sum",
}
# Of training and of how it is computed; and names in released configurations that fairchem itself does not read.
_WITHOUT_EFFECT = {
    *(
        "model",
        "regress_forces",
        "regress_stress",
        "use_residual_scaling",
        "dataset_list",
        "max_atoms",
        "atten_name",
    ),
    *(
        "use_compile",
        "use_padding",
        "single_system_no_padding",
        "max_batch_size",
        "knn_pad_size",
        "preprocess_on_cpu",
    ),
    *("use_chunked_graph", "graph_chunk_size", "mlp_dropout", "atten_dropout", "float32_matmul_precision"),
    *(
        "use_pbc",
        "cutoff_radius",
        "max_neighbors",
        "max_neighbors_pad_size",
        "use_residual_scale",
        "use_global_path",
    ),
}


def load_allscaip(path: str | Path) -> AllScAIP:
    """The model of a fairchem checkpoint, on the CPU, ready for predictions: the numbers of fairchem's calculator.

    path   an inference checkpoint of AllScAIP (.pt). The released ones are behind a licence to accept, so that
           everybody fetches his own: AllScAIP-OMol102M-md-cons.pt or -md-d.pt of facebook/OMol25 at Hugging Face

    Written for fairchem-core 2.24, which need not be there; nothing that the file brings is run. The averaged weights
    are taken, as fairchem's inference does; the scale of its labels goes into the heads, its references per element
    into the baseline. Charge and multiplicity stand in atoms.info, 0 and 1 where they do not, as there.

    Raises FileNotFoundError, or ValueError for a file that is damaged or a model that ours cannot mean: another
    backbone, settings without a counterpart, energies of several kinds of labels, or a shift of the energy.
    """
    checkpoint = read_fairchem(path)
    try:
        scale, references = _labels(checkpoint.tasks)
        config = allscaip_config(checkpoint.backbone)
        return allscaip_from_state_dict(checkpoint.weights, config, scale=scale, references=references).eval()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def allscaip_config(backbone: Mapping[str, Any]) -> AllScAIPConfig:
    """Our Config from the settings of an official backbone, by fairchem's names; absent ones have fairchem's defaults.

    Bond order is as published, not smooth. Warns of names that fairchem-core 2.24 does not read. Raises ValueError for
    another backbone, or settings that are missing, without a counterpart or without sense.
    """
    name = str(backbone.get("model", "AllScAIPBackbone")).rsplit(".", 1)[-1]
    if name not in ("AllScAIPBackbone", "AllScAIP_backbone"):
        raise ValueError(f"the checkpoint holds a {name}; only an AllScAIPBackbone can be loaded")
    if missing := sorted(_REQUIRED.keys() - backbone.keys()):
        raise ValueError(f"the checkpoint does not set {missing}; it is of another model, or incomplete")
    for key, value in _FIXED.items():
        if backbone.get(key, value) != value:
            raise ValueError(f"the checkpoint sets {key} = {backbone[key]!r}; only {value!r} is implemented")
    if unread := sorted(
        backbone.keys() - _REQUIRED.keys() - _OPTIONAL.keys() - _FIXED.keys() - _WITHOUT_EFFECT
    ):
        warnings.warn(
            f"the checkpoint sets {unread}, which fairchem-core 2.24 does not read, nor do we", stacklevel=2
        )
    ours = {our: backbone[official] for official, our in _REQUIRED.items()}
    ours |= {our: backbone.get(official, default) for official, (our, default) in _OPTIONAL.items()}
    ours["radial_bias"] = ours["radial_bias"] and ours["all_to_all"]
    try:
        ours["cutoff"] = float(ours["cutoff"])
        ours["frequencies"] = tuple(ours["frequencies"])
        for size in ("max_degree", "order_degree"):  # there, how many degrees
            ours[size] -= 1
        return AllScAIPConfig(**ours, smooth=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's settings make no AllScAIP: {error}") from error


def allscaip_from_state_dict(
    state: Mapping[str, Tensor],
    config: AllScAIPConfig,
    *,
    scale: float = 1.0,
    references: Sequence[float] | None = None,
    double: bool = False,
) -> AllScAIP:
    """An AllScAIP with official weights, in single or double precision.

    state        by the names of fairchem's HydraModel: "backbone...", "output_heads..."
    scale        eV, of the labels the network was trained on (fairchem's rmsd); it is multiplied into the heads
    references   eV, energies by atomic number that are added (fairchem's element references); what they do not reach
                 is not known to the model

    Raises ValueError when a weight is missing, left over, of another shape than `config` says, or not finite.
    """
    model = AllScAIP(config)
    if double:
        model.double()
    heads = {
        word: _head(state, word) for word in (("energy", "force") if config.direct_forces else ("energy",))
    }
    used = set()
    with torch.no_grad():
        for name, target in _weights(model, heads):
            if name not in state:
                raise ValueError(f"the weights have no {name}; are they of another model or another config?")
            tensor = state[name]
            if tensor.shape != target.shape:
                raise ValueError(
                    f"weight {name} has shape {tuple(tensor.shape)}; the config wants {tuple(target.shape)}"
                )
            if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
                raise ValueError(
                    f"weight {name} holds something that is no finite number; use a sound checkpoint"
                )
            target.copy_(tensor)
            used.add(name)
        if left := sorted(set(state) - used):
            raise ValueError(f"there are weights that the config has no place for: {left[:5]}")
        for readout in (model.energy, model.forces):
            if readout is not None:
                readout.down.weight.mul_(scale)
                readout.down.bias.mul_(scale)
    references = [0.0] * N_ELEMENTS_KNOWN if references is None else references
    if len(references) > N_ELEMENTS:
        raise ValueError(f"there are references for {len(references)} elements; expected {N_ELEMENTS} at most")
    model.baseline[: len(references)] = torch.tensor(references, dtype=torch.float64)
    model.known[:] = False
    model.known[1 : min(len(references), N_ELEMENTS_KNOWN)] = True
    return model


def allscaip_to_state_dict(model: AllScAIP) -> dict[str, Tensor]:
    """The weights of an AllScAIP by the names of fairchem's HydraModel, with the heads named as its training does.

    For a network whose label scale (rmsd) is 1. The baseline is no weight of the network: give `model.baseline` to
    fairchem's task as element references.

    Raises ValueError for a model that fairchem's code would not compute: one with the smooth bond order.
    """
    if model.config.smooth:
        raise ValueError(
            "the model has smooth=True, which fairchem does not know: it would give other energies with the "
            "same weights. Train with smooth=False for a model to be used there"
        )
    heads = {"energy": "output_heads.energyandforcehead.head.energy_ffn"}
    if model.config.direct_forces:
        heads = {"energy": "output_heads.omol_energy.energy_ffn", "force": "output_heads.forces.force_ffn"}
    return {name: tensor.detach().clone() for name, tensor in _weights(model, heads)}


def _labels(tasks: Sequence[Mapping[str, Any]]) -> tuple[float, Sequence[float] | None]:
    """Scale of the labels and references per element, of the one energy that the checkpoint predicts."""
    energies = [task for task in tasks if task.get("property") == "energy"]
    if len(energies) != 1:
        names = [task.get("name") for task in energies]
        raise ValueError(
            f"the checkpoint predicts the energies {names}; only one with a single energy can be loaded"
        )
    scales = {
        str(task.get("name")): _scale(task) for task in tasks if task.get("property") in ("energy", "forces")
    }
    if len(set(scales.values())) != 1:
        raise ValueError(
            f"the checkpoint scales its labels by {scales}; expected one scale for energy and forces"
        )
    found = energies[0].get("element_references")
    if found is None:
        return next(iter(scales.values())), None
    table = found.get("element_references") if isinstance(found, Mapping) else None
    if isinstance(table, Mapping) and len(table.get("_args_") or []) == 1:  # how to make the tensor
        table = table["_args_"][0]
    if isinstance(table, Tensor):
        table = table.tolist()
    if not isinstance(table, list) or not all(isinstance(energy, int | float) for energy in table):
        raise ValueError(f"the checkpoint has element references of another form: {str(found)[:200]}")
    return next(iter(scales.values())), table


def _scale(task: Mapping[str, Any]) -> float:
    normalizer = task.get("normalizer") or {}
    mean, scale = normalizer.get("mean", 0.0), normalizer.get("rmsd", 1.0)
    if not isinstance(scale, int | float) or mean != 0:
        raise ValueError(
            f"the checkpoint normalises {task.get('name')} by {normalizer}; expected a number rmsd and mean = 0"
        )
    return float(scale)


def _head(state: Mapping[str, Tensor], word: str) -> str:
    """Where the head of `word` ("energy", "force") stands, which training names as it likes."""
    end = f".{word}_ffn.1.0.weight"
    found = [name.removesuffix(".1.0.weight") for name in state if name.endswith(end)]
    if len(found) != 1:
        raise ValueError(
            f"the weights have {len(found)} heads with a {word}_ffn {found}; expected one. Say direct_forces as it is"
        )
    return found[0]


def _weights(model: AllScAIP, heads: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Every weight of an AllScAIP with its official name; queries, keys and values as parts of ours."""
    start = "backbone.input_block"
    yield f"{start}.atomic_embedding.weight", model.element.weight
    yield f"{start}.charge_embedding.rand_emb.weight", model.charge.weight
    yield f"{start}.spin_embedding.rand_emb.weight", model.spin.weight
    yield f"{start}.node_norm.weight", model.atom_norm.weight
    yield from _linear(f"{start}.node_direction_embedding.0", model.order)
    yield from _linear(f"{start}.node_linear.0", model.atom)
    yield from _linear(f"{start}.charge_spin_linear.0", model.state)
    yield from _linear(f"{start}.edge_attr_linear.0", model.edge)
    yield from _linear(f"{start}.edge_feature_linear.0", model.token)
    for number, block in enumerate(cast(list[Block], list(model.blocks))):
        path = f"backbone.transformer_blocks.{number}"
        for name, layer in (("src", block.source), ("dst", block.destination)):
            near = f"{path}.neighborhood_attention.{name}_attn"
            yield f"{near}_norm.weight", layer.norm.weight
            yield f"{near}_res_scale", layer.gain
            yield from _attention(near, layer.qkv, layer.out)
        yield from _feed_forward(f"{path}.edge_ffn", block.edges)
        if block.nodes is not None:
            yield f"{path}.node_attention.node_norm.weight", block.nodes.norm.weight
            yield f"{path}.node_attention.node_attn_res_scale", block.nodes.gain
            yield from _attention(f"{path}.node_attention", block.nodes.qkv, block.nodes.out)
            if block.nodes.radial is not None:
                yield f"{path}.node_attention.radial_weight", block.nodes.radial
        yield from _feed_forward(f"{path}.node_ffn", block.atoms)
    yield from _readout(heads["energy"], model.energy)
    if model.forces is not None:
        yield from _readout(heads["force"], model.forces)


def _linear(path: str, layer: nn.Linear) -> Iterator[tuple[str, Tensor]]:
    yield f"{path}.weight", layer.weight
    yield f"{path}.bias", layer.bias


def _attention(path: str, qkv: nn.Linear, out: nn.Linear) -> Iterator[tuple[str, Tensor]]:
    for name, weight, bias in zip("qkv", qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
        yield f"{path}.attn_in_proj_{name}.weight", weight
        yield f"{path}.attn_in_proj_{name}.bias", bias
    yield from _linear(f"{path}.attn_out_proj", out)


def _feed_forward(path: str, layer: FeedForward) -> Iterator[tuple[str, Tensor]]:
    yield f"{path}.ffn_res_scale", layer.gain
    yield f"{path}.ffn_norm.weight", layer.norm.weight
    yield from _linear(f"{path}.ffn.0.0", layer.up)
    yield from _linear(f"{path}.ffn.1.0", layer.down)


def _readout(path: str, layer: Readout) -> Iterator[tuple[str, Tensor]]:
    yield f"{path.rpartition('.')[0]}.node_norm.weight", layer.norm.weight
    yield from _linear(f"{path}.0.0", layer.up)
    yield from _linear(f"{path}.1.0", layer.down)
