"""Checkpoints: what was saved comes back to the digit, and what cannot be meant is refused."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from ase.build import molecule

from workbench import build_from, checkpoint
from workbench.graphs import Graph
from workbench.models import MODELS, Output, Potential, build
from workbench.predict import predict


@pytest.fixture
def model() -> Potential:
    torch.manual_seed(0)
    model = build("lorem", "tiny", cutoff=4.5).to(torch.float64)
    model.baseline[8] = -2043.5
    model.known.zero_()
    model.known[[1, 8]] = True
    return model


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """What a full disk does, by a limit of the operating system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def changed(path: Path, **metadata: str | None) -> None:
    """Rewrite a checkpoint with other metadata."""
    with safetensors.safe_open(path, framework="pt") as file:
        facts = {**file.metadata(), **metadata}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(safetensors.torch.save(tensors, {k: v for k, v in facts.items() if v is not None}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loaded_model_is_the_saved_one(model: Potential, dtype: torch.dtype, tmp_path: Path) -> None:
    model.to(dtype)
    loaded = checkpoint.load(checkpoint.save(model, tmp_path / "m.safetensors"))
    assert loaded.name == model.name
    assert loaded.config == model.config
    assert loaded.dtype == dtype
    assert loaded.known.nonzero().flatten().tolist() == [1, 8]
    a, b = predict(model, molecule("H2O")), predict(loaded, molecule("H2O"))
    assert a.energy == b.energy
    assert (a.forces == b.forces).all()


def test_the_file_says_what_it_is(model: Potential, tmp_path: Path) -> None:
    facts = checkpoint.facts(checkpoint.save(model, tmp_path / "m.safetensors"))
    assert facts["name"] == "lorem"
    assert json.loads(facts["config"])["cutoff"] == 4.5
    assert json.loads(facts["units"]) == {"energy": "eV", "length": "Å"}
    assert "torch" in json.loads(facts["versions"])


def test_a_damaged_file_is_refused(model: Potential, tmp_path: Path) -> None:
    path = checkpoint.save(model, tmp_path / "m.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(path)
    one_bit = bytearray(whole)
    one_bit[-100] ^= 1
    path.write_bytes(one_bit)
    with pytest.raises(ValueError, match="not those it was written with"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoint.load(tmp_path / "nowhere")


def test_what_cannot_be_meant_is_refused(model: Potential, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for metadata, message in [
        ({"name": "lorax"}, "a model called 'lorax'; this version has"),
        ({"units": json.dumps({"energy": "Ha", "length": "bohr"})}, "is in units .*Ha"),
        ({"format": None}, "says its format is None"),
        ({"config": json.dumps({"cutof": 5.0})}, "configuration of lorem that this version refuses"),
        ({"config": json.dumps({"cutoff": -1.0})}, "configuration of lorem that this version refuses"),
    ]:
        checkpoint.save(model, path)
        changed(path, **metadata)
        with pytest.raises(ValueError, match=message):
            checkpoint.load(path)


def test_weights_that_do_not_fit_the_configuration_are_refused(model: Potential, tmp_path: Path) -> None:
    path = checkpoint.save(model, tmp_path / "m.safetensors")
    config = json.loads(checkpoint.facts(path)["config"])
    changed(path, config=json.dumps({**config, "n_features": 2 * config["n_features"]}))
    with pytest.raises(ValueError, match=r"has shape .*; expected"):
        checkpoint.load(path)
    changed(path, config=json.dumps({**config, "n_message_passing": 1}))
    with pytest.raises(ValueError, match=r"lacks .* tensors of lorem"):
        checkpoint.load(path)
    changed(path, config=json.dumps({**config, "long_range": False}))
    with pytest.raises(ValueError, match="tensors that lorem does not"):
        checkpoint.load(path)


def test_a_full_disk_leaves_the_previous_checkpoint(model: Potential, tmp_path: Path) -> None:
    path = checkpoint.save(model, tmp_path / "m.safetensors")
    before = path.read_bytes()
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    with files_no_longer_than(len(before) // 2), pytest.raises(OSError, match="before is intact"):
        checkpoint.save(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_others_may_read_the_file_as_they_may_any(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    written = checkpoint.write_whole(tmp_path / "new" / "written", b"1")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


# Another model from a trained one


def test_a_model_begins_with_the_weights_that_fit(model: Potential, caplog: pytest.LogCaptureFixture) -> None:
    model.to(torch.float32)
    begun = build_from(model, n_message_passing=1, n_radial=10)
    assert (begun.config.n_message_passing, begun.config.n_radial) == (1, 10)
    assert (begun.config.cutoff, begun.config.max_degree) == (4.5, model.config.max_degree)
    assert begun.dtype == torch.float32
    assert begun.known.nonzero().flatten().tolist() == [1, 8]
    assert begun.baseline[8] == -2043.5
    old = dict(model.named_parameters())
    for name, weight in begun.named_parameters():
        fits = name in old and weight.shape == old[name].shape
        assert fits == (not name.startswith("steps.0.") and not name.startswith("radial.2.")), name
        if fits:
            assert torch.equal(weight, old[name])
            assert weight.data_ptr() != old[name].data_ptr()
    random, left = caplog.messages
    assert random.startswith("weights that start at random: radial.2.bias, radial.2.weight, steps.0.")
    assert random.endswith("more")
    assert left == "weights that have no place in it: radial.2.bias, radial.2.weight"


def test_what_a_setting_decides_is_not_copied(model: Potential) -> None:
    """A model whose settings differ but whose weights all fit is that of the new settings."""
    begun = build_from(model, cutoff=5.5)
    fresh = build("lorem", "tiny", cutoff=5.5).double()
    fresh.load_state_dict({**fresh.state_dict(), **dict(model.named_parameters())})
    fresh.baseline.copy_(model.baseline)
    assert predict(begun, molecule("H2O")).energy == predict(fresh, molecule("H2O")).energy
    assert predict(begun, molecule("H2O")).energy != predict(model, molecule("H2O")).energy


def test_direct_forces_give_way_to_gradients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    direct = build("allscaip", "tiny", direct_forces=True)
    path = checkpoint.save(direct, tmp_path / "direct.safetensors")
    conservative = build_from(path, direct_forces=False)
    assert conservative.gives == {"energy"}
    assert predict(conservative, molecule("H2O")).energy == predict(direct, molecule("H2O")).energy
    (left,) = caplog.messages
    assert "have no place" in left
    again = build_from(conservative, direct_forces=True)
    assert again.gives == {"energy", "forces"}


@dataclass(frozen=True)
class WellConfig:
    cutoff: float = 3.0
    width: int = 2


class Well(Potential):
    """Every atom has the same energy, the sum of `width` weights."""

    name = "well"
    Config = WellConfig
    presets: dict[str, Any] = {}  # noqa: RUF012
    gives = frozenset({"energy"})
    rotation_invariant = size_consistent = True
    long_ranged = False
    periodic = frozenset({0})

    def __init__(self, config: WellConfig) -> None:
        super().__init__(config)
        self.depths = torch.nn.Parameter(torch.ones(config.width))

    def forward(self, graph: Graph, diagnose: bool = False) -> Output:
        return Output(self.depths.sum().expand(graph.n_atoms))


def test_a_beginning_with_nothing_of_the_trained_model_is_refused(
    model: Potential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "well", Well)
    path = checkpoint.save(build("well"), tmp_path / "well.safetensors")
    assert build_from(path, cutoff=4.0).config == WellConfig(cutoff=4.0)
    with pytest.raises(ValueError, match=r"no weight of this well fits the new configuration {'width': 3}"):
        build_from(path, width=3)
    with pytest.raises(ValueError, match=r"no setting 'cutof'.*Did you mean 'cutoff'"):
        build_from(model, cutof=4.0)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        build_from(tmp_path / "none.safetensors")
