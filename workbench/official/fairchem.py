"""What a checkpoint of fairchem holds, read without fairchem and without running anything that the file brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals


@dataclass(frozen=True)
class FairchemCheckpoint:
    """The parts of fairchem's `MLIPInferenceCheckpoint` that predictions need, as plain Python."""

    backbone: Mapping[str, Any]  # settings of the backbone, "model" its class
    weights: Mapping[str, Tensor]  # of the whole network, averaged over training, as inference there uses them
    tasks: tuple[Mapping[str, Any], ...]  # what is predicted, and how it is scaled


# What torch's reader raises for files that are no whole archive of torch.save, or hold what it does not make.
_UNREADABLE = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AssertionError,
    OSError,
    EOFError,
    UnpicklingError,
)


class _Inert:
    """Stands in for an object of a class that is not to be loaded: keeps what it was made of and does nothing."""

    state: Any = None

    def __new__(cls, *args: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


def read_fairchem(path: str | Path) -> FairchemCheckpoint:
    """The content of an inference checkpoint of fairchem (a .pt file).

    The file is a pickle. It is opened by torch's restricted reader, which makes tensors and plain containers and, of
    every class that the file names, an inert stand-in; no code of the file's or of fairchem's runs.

    Raises FileNotFoundError, or ValueError for a file that is damaged, of another kind, or names what has no place in a
    checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        found = _open(path)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} is damaged, no file of torch.save, or holds what no checkpoint holds ({error})"
        ) from error
    fields = found.state if isinstance(found, _Inert) else None
    wanted = ("model_config", "model_state_dict", "ema_state_dict", "tasks_config")
    if not isinstance(fields, dict) or not all(name in fields for name in wanted):
        raise ValueError(
            f"{path} holds a {type(found).__name__}; expected an MLIPInferenceCheckpoint, the .pt file that fairchem's "
            "calculator loads. What training leaves behind (a folder) becomes one by "
            "fairchem.core.units.mlip_unit.mlip_unit.convert_train_checkpoint_to_inference_checkpoint"
        )
    model, tasks = plain(fields["model_config"]), plain(fields["tasks_config"])
    if not isinstance(model, dict) or not isinstance(model.get("backbone"), dict):
        raise ValueError(f"{path} has no settings of a backbone; expected them in model_config")
    weights = fields["ema_state_dict"] or fields["model_state_dict"]
    return FairchemCheckpoint(model["backbone"], _named(weights), tuple(tasks or ()))


def _open(path: Path) -> Any:
    stand_ins: list[Any] = [(_empty, "collections.defaultdict")]
    for name in get_unsafe_globals_in_checkpoint(path):
        if name != "collections.defaultdict":
            stand_ins.append((type(name.rsplit(".", 1)[-1], (_Inert,), {}), name))
    with safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _empty(*args: Any) -> dict[Any, Any]:
    """Where a defaultdict begins."""
    return {}


def plain(node: Any) -> Any:
    """A configuration of OmegaConf, or of dictionaries and lists, as dictionaries, lists and values."""
    if isinstance(node, _Inert):
        state = node.state if isinstance(node.state, dict) else {}
        return plain(state.get("_content", state.get("_val")))
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without what averaging and parallel training put around the network."""
    found = {}
    for name, tensor in weights.items():
        while name.startswith("module."):
            name = name.removeprefix("module.")
        if name != "n_averaged":
            found[name] = tensor
    return found
