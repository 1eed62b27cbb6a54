"""A trained model as one file: weights and what they mean. No pickle: opening a stranger's file runs nothing.

The file is safetensors. Its tensors are the model's state (weights, per-element baseline, known elements); its
metadata says the model's name and configuration, the units, the versions that wrote it and the SHA-256 of the tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from workbench.models import MODELS, Potential, build

log = logging.getLogger("workbench")
FORMAT = "longrange-workbench checkpoint 1"
UNITS = {"energy": "eV", "length": "Å"}


def save(model: Potential, path: str | Path) -> Path:
    """Write `model` to `path`; what stood there stays whole until the new file is.

    Raises OSError when the file cannot be written (a full disk, no permission); the previous file is then intact.
    """
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    facts = {
        "format": FORMAT,
        "name": model.name,
        "config": json.dumps(asdict(model.config)),
        "dtype": str(model.dtype).removeprefix("torch."),
        "units": json.dumps(UNITS),
        "versions": json.dumps(versions()),
        "sha256": _digest(tensors),
    }
    return write_whole(path, safetensors.torch.save(tensors, facts))


def load(path: str | Path) -> Potential:
    """The model that `save` wrote, on the CPU, ready for predictions.

    Raises FileNotFoundError, or ValueError for a file that is damaged, of another kind, of an unknown model, in other
    units, or whose weights do not fit its configuration.
    """
    path = Path(path)
    facts, tensors = _read(path)
    model_class = MODELS.get(facts["name"])
    if model_class is None:
        raise ValueError(f"{path} holds a model called {facts['name']!r}; this version has {sorted(MODELS)}")
    config = {name: _frozen(value) for name, value in json.loads(facts["config"]).items()}
    try:
        model = model_class(model_class.Config(**config)).to(getattr(torch, facts["dtype"]))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} has a configuration of {facts['name']} that this version refuses ({error}); it was "
            f"written by {facts['versions']}. Use that version"
        ) from error
    wanted = model.state_dict()
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise ValueError(f"{path} lacks {len(missing)} tensors of {facts['name']}, among them {missing[:3]}")
    if surplus := sorted(tensors.keys() - wanted.keys()):
        raise ValueError(
            f"{path} has {len(surplus)} tensors that {facts['name']} does not, among them {surplus[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(tensor.shape)}; expected {tuple(wanted[name].shape)} "
                "by its own configuration"
            )
    model.load_state_dict(tensors)
    return model.eval()


def build_from(trained: Potential | str | Path, **config: Any) -> Potential:
    """A new model that is otherwise configured and begins with the weights of a trained one, for `fit` to go on with.

    trained   the model, or its checkpoint; it stays as it is
    config    what is to differ, by the names in the model's Config

    >>> model = build_from("runs/direct/best.safetensors", direct_forces=False)   # doctest: +SKIP

    Weights of equal name and shape are copied, with the per-element baseline and the known elements; the rest of the
    new model starts at random. What starts so, and what has no place in it, is told to the log "workbench".

    Raises ValueError when no weight fits, or as `build` and `load` do.
    """
    source = trained if isinstance(trained, Potential) else load(trained)
    model = build(source.name, **{**asdict(source.config), **config}).to(source.device, source.dtype)
    old, new = dict(source.named_parameters()), dict(model.named_parameters())
    shared = [name for name in new if name in old and new[name].shape == old[name].shape]
    if not shared:
        raise ValueError(
            f"no weight of this {source.name} fits the new configuration {config}; change less, or train a new model"
        )
    with torch.no_grad():
        for name in shared:
            new[name].copy_(old[name])
        model.baseline.copy_(source.baseline)
        model.known.copy_(source.known)
    for what, all_names in (("start at random", new), ("have no place in it", old)):
        if names := sorted(all_names.keys() - set(shared)):
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            log.warning("weights that %s: %s%s", what, ", ".join(names[:8]), more)
    return model


def facts(path: str | Path) -> dict[str, str]:
    """The metadata of a checkpoint, without building the model. Raises as `load` does."""
    return _read(Path(path))[0]


def versions() -> dict[str, str]:
    """Of Python, of this package and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in ("longrange-workbench", "torch", "e3nn", "torch-pme", "vesin", "numpy", "ase", "lightning"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_whole(path: str | Path, content: bytes) -> Path:
    """Write a file so that at every moment `path` holds either the old content or the new, never a part.

    Raises OSError when that fails, with the old content in place.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a disk that is full may say so only now
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; what stood there before is intact", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file that is a whole checkpoint of ours, in our units."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); restore it from a copy"
        ) from error
    if facts.get("format") != FORMAT:
        raise ValueError(
            f"{path} says its format is {facts.get('format')!r}; expected {FORMAT!r}, as `checkpoint.save` "
            "writes it. Weights of other programs come in through `workbench.official`"
        )
    if json.loads(facts["units"]) != UNITS:
        raise ValueError(
            f"{path} is in units {facts['units']}; expected {json.dumps(UNITS, ensure_ascii=False)}"
        )
    if _digest(tensors) != facts["sha256"]:
        raise ValueError(
            f"{path} is damaged: its weights are not those it was written with. Restore it from a copy"
        )
    return facts, tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _frozen(value: Any) -> Any:
    """JSON knows lists where a frozen Config holds tuples."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
