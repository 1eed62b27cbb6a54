"""LOREM: the flax parameters of lorem-jax, from its checkpoint folder or as nested dictionaries of arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from workbench.models.lorem import N_SPECIES, Lorem, LoremConfig, MessagePassing
from workbench.nn.layers import DegreeLinear, SelfProduct, TensorProduct, Update

Tree = Mapping[str, Any]


def load_lorem(folder: str | Path) -> Lorem:
    """The model of a lorem-jax checkpoint, on the CPU, ready for predictions: the numbers of lorem-jax's Calculator.

    folder   what its training writes into run/checkpoints/NAME, with model/model.yaml, model/baseline.yaml and
             model/model.msgpack; or that inner folder itself

    Written for lorem-jax 0.2. Needs the package msgpack (`pip install longrange-workbench[official]`); no pickle is
    read. Raises ImportError without it, FileNotFoundError for a file that is not there, and ValueError for a file that
    is damaged or a model that ours cannot mean: another class than Lorem, or settings without a counterpart.
    """
    folder = Path(folder)
    inside = folder / "model" if (folder / "model").is_dir() else folder
    for name in ("model.yaml", "baseline.yaml", "model.msgpack"):
        if not (inside / name).is_file():
            raise FileNotFoundError(f"{folder} has no model/{name}; expected a checkpoint folder of lorem-jax")
    config = lorem_config(_read_yaml(inside / "model.yaml"))
    baseline = _baseline(inside / "baseline.yaml")
    path = inside / "model.msgpack"
    try:
        model = lorem_from_tree(_read_msgpack(path), config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.known[:] = False
    for number, energy in baseline.items():
        model.baseline[number] = energy
        model.known[number] = True
    return model.eval()


# Names in lorem-jax -> ours, and the settings of which we have only one value.
_SETTINGS = {
    "cutoff": "cutoff",
    "max_degree": "max_degree",
    "max_degree_lr": "max_degree_lr",
    "num_features": "n_features",
    "num_spherical_features": "n_spherical",
    "num_radial": "n_radial",
    "num_species": "species_width",
    "num_message_passing": "n_message_passing",
    "lr": "long_range",
}
_FIXED = {
    "cutoff_fn": "cosine_cutoff",
    "radial_basis": "basic_bernstein",
    "equivariant_message_passing": True,
    "initialize_node_features": True,
    "inputs": [],
    "field_conditioning": "none",  # of versions after 0.2
}


def lorem_config(model: Tree) -> LoremConfig:
    """Our Config from the content of a lorem-jax `model.yaml`: {"lorem.models.mlip.Lorem": {settings}} or alike.

    Raises ValueError for another class, or settings without a counterpart or without sense.
    """
    if len(model) != 1:
        raise ValueError(f"model.yaml holds {sorted(model)}; expected one class of lorem-jax with its settings")
    ((name, settings),) = model.items()
    if name.rsplit(".", 1)[-1] != "Lorem":
        raise ValueError(f"the checkpoint holds a {name}; only Lorem itself can be loaded")
    settings = dict(settings or {})
    if not settings.get("num_message_passing"):  # then it says nothing
        settings.pop("equivariant_message_passing", None)
    ours = {}
    for key, value in settings.items():
        if key in _SETTINGS:
            ours[_SETTINGS[key]] = value
        elif key not in _FIXED:
            raise ValueError(f"the checkpoint sets {key} = {value!r}, which has no counterpart here")
        elif (list(value) if isinstance(value, tuple) else value) != _FIXED[key]:
            raise ValueError(f"the checkpoint sets {key} = {value!r}; only {_FIXED[key]!r} is implemented")
    try:
        return LoremConfig(**ours)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint's settings make no Lorem: {error}") from error


def lorem_from_tree(tree: Tree, config: LoremConfig, double: bool = False) -> Lorem:
    """A Lorem with the weights of a flax parameter tree (`{"params": {...}}`), in single or double precision.

    Raises ValueError when the tree lacks a weight, has one more, or one has another shape than `config` says or
    is not finite.
    """
    params = tree.get("params", tree)
    if any(word.startswith("ChargeEmbedding") for word in params):
        raise ValueError(
            "the weights are of a Lorem that is conditioned on the total charge (ChargeEmbedding, in versions of "
            "lorem-jax after 0.2), which is not implemented. Train one with lorem-jax 0.2"
        )
    model = Lorem(config)
    if double:
        model.double()
    used: set[str] = set()
    with torch.no_grad():
        for path, target, transpose in _weights(model):
            array = np.asarray(_at(params, path))
            array = array.T if transpose else array
            if array.size != target.numel():
                raise ValueError(
                    f"weight {path} has shape {array.shape}; the config wants {tuple(target.shape)}"
                )
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(
                    f"weight {path} holds something that is no finite number; use a sound checkpoint"
                )
            target.copy_(torch.tensor(array.reshape(target.shape)))
            used.add(path)
    left = sorted(set(_leaves(params)) - used)
    if left:
        raise ValueError(f"the tree holds weights that the config has no place for: {left[:5]}")
    return model


def _weights(model: Lorem) -> Iterator[tuple[str, Tensor, bool]]:
    """Every weight of a Lorem with its path in the flax tree and whether it is stored transposed.

    Flax numbers the submodules of one class in the order of their first use.
    """
    steps = cast(list[MessagePassing], list(model.steps))
    n = len(steps)
    yield "Initial_0/ChemicalEmbedding_0/Embed_0/embedding", model.species, False
    yield from _mlp("RadialCoefficients_0/MLP_0", model.radial)
    yield from _dense("Dense_0", model.initial)
    yield from _dense("Dense_1", model.message)
    yield from _dense("Dense_2", model.density)
    yield from _update("Update_0", model.update_message)
    yield from _square("TensorDense_0", model.square)
    yield from _update("Update_1", model.update_norms)
    yield from _mlp("MLP_0", model.readout)
    for k, step in enumerate(steps):
        yield from _mlp(f"RadialCoefficients_{k + 1}/MLP_0", step.radial)
        yield from _dense(f"Dense_{3 + 4 * k}", step.message)
        yield from _update(f"Update_{2 + 2 * k}", step.update_message)
        yield from _dense(f"Dense_{4 + 4 * k}", step.density)
        yield from _degrees(f"MessagePass_{k}/filter", step.filter)
        yield f"MessagePass_{k}/tensor/kernel", step.couple.weight, False
        yield from _degrees(f"Dense_{5 + 4 * k}", step.mix_own)
        yield from _degrees(f"Dense_{6 + 4 * k}", step.mix_message)
        yield from _product(f"Tensor_{k}", step.join)
        yield from _update(f"Update_{3 + 2 * k}", step.update_norms)
        yield from _mlp(f"MLP_{k + 1}", step.readout)
    if model.far is not None:
        yield from _mlp(f"MLP_{n + 1}", model.far.charge)
        yield from _square("TensorDense_1", model.far.spherical_charge)
        yield from _degrees(f"Dense_{3 + 4 * n}", model.far.lift)
        yield from _product(f"Tensor_{n}", model.far.product)
        yield from _update(f"Update_{2 + 2 * n}", model.far.update)
        yield from _mlp(f"MLP_{n + 2}", model.far.readout)


def _dense(path: str, layer: nn.Linear) -> Iterator[tuple[str, Tensor, bool]]:
    yield f"{path}/kernel", layer.weight, True
    if layer.bias is not None:
        yield f"{path}/bias", layer.bias, False


def _mlp(path: str, layers: nn.Sequential) -> Iterator[tuple[str, Tensor, bool]]:
    for k, layer in enumerate(layer for layer in layers if isinstance(layer, nn.Linear)):
        yield from _dense(f"{path}/Dense_{k}", layer)


def _update(path: str, layer: Update) -> Iterator[tuple[str, Tensor, bool]]:
    parts = ((layer.from_message, layer.norm_message), (layer.from_self, layer.norm_self))
    for k, (network, norm) in enumerate(parts):
        yield from _mlp(f"{path}/MLP_{k}", network)
        yield f"{path}/LayerNorm_{k}/scale", norm.weight, False
        yield f"{path}/LayerNorm_{k}/bias", norm.bias, False


def _degrees(path: str, layer: DegreeLinear) -> Iterator[tuple[str, Tensor, bool]]:
    for degree, matrix in enumerate(layer.weight):
        yield f"{path}/{degree}{'+-'[degree % 2]}/kernel", matrix, False


def _product(path: str, layer: TensorProduct) -> Iterator[tuple[str, Tensor, bool]]:
    yield f"{path}/kernel", layer.weight, False


def _square(path: str, layer: SelfProduct) -> Iterator[tuple[str, Tensor, bool]]:
    yield from _degrees(f"{path}/dense", layer.sides)
    yield from _product(f"{path}/tensor", layer.product)


def _at(tree: Tree, path: str) -> Any:
    for word in path.split("/"):
        if not isinstance(tree, Mapping) or word not in tree:
            raise ValueError(f"the tree has no weight {path}; is it of another model or another config?")
        tree = tree[word]
    return tree


def _leaves(tree: Tree, path: str = "") -> Iterator[str]:
    for word, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _leaves(branch, f"{path}{word}/")
        else:
            yield f"{path}{word}"


def _read_yaml(path: Path) -> Tree:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML file; it is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {content!r}; expected names and values")
    return content


def _baseline(path: Path) -> dict[int, float]:
    """Energies that lorem-jax subtracts before training, by atomic number [eV]."""
    elemental = _read_yaml(path).get("elemental")
    try:
        baseline = {int(number): float(energy) for number, energy in elemental.items()}  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has elemental = {elemental!r}; expected atomic numbers with energies"
        ) from error
    if wrong := [number for number in baseline if not 0 < number < N_SPECIES]:
        raise ValueError(f"{path} names the elements {wrong}; LOREM knows the numbers 1 to {N_SPECIES - 1}")
    return baseline


def _read_msgpack(path: Path) -> Tree:
    """A flax msgpack file as nested dictionaries of numpy arrays."""
    try:
        import msgpack
    except ImportError as error:
        raise ImportError("reading weights of lorem-jax needs msgpack: pip install msgpack") from error

    def array(code: int, data: bytes) -> np.ndarray:
        if code not in (1, 3):  # flax: 1 an array, 3 a numpy scalar
            raise ValueError(f"it holds an object of kind {code}; expected arrays only")
        shape, dtype, buffer = msgpack.unpackb(data, raw=False)
        return np.frombuffer(buffer, dtype=np.dtype(dtype)).reshape(shape)

    try:
        tree = msgpack.unpackb(path.read_bytes(), raw=False, ext_hook=array, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"it is damaged or no flax file ({error}); restore it from a copy") from error
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__}; expected a tree of parameters")
    return tree
