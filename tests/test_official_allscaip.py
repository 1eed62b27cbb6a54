"""Our AllScAIP is the official one: the numbers of fairchem-core at the same weights.

`golden/allscaip.npz` holds weights, structures and outputs of the official code in single and double precision;
`golden/generate_allscaip.py` says how they were made. `golden/allscaip_checkpoint/` is a checkpoint of fairchem.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.models.allscaip import AllScAIP, AllScAIPConfig
from workbench.official import (
    allscaip_config,
    allscaip_from_state_dict,
    allscaip_to_state_dict,
    load_allscaip,
)
from workbench.official.fairchem import read_fairchem
from workbench.predict import predict

GOLDEN = dict(np.load(Path(__file__).parent / "golden" / "allscaip.npz"))
META = json.loads(str(GOLDEN["meta"]))
CHECKPOINT = Path(__file__).parent / "golden" / "allscaip_checkpoint"
SMALL = META["config"]["NeAnNoSi"]
CASES = sorted({tuple(key.split("/")[:2]) for key in GOLDEN if key.endswith("/float64/energy")})


def official_weights(variant: str) -> dict[str, Tensor]:
    prefix = f"{META['same_weights'].get(variant, variant)}/param/"
    return {k.removeprefix(prefix): torch.tensor(a) for k, a in GOLDEN.items() if k.startswith(prefix)}


@cache
def golden_model(variant: str, double: bool) -> AllScAIP:
    config = allscaip_config(META["config"][variant])
    return allscaip_from_state_dict(official_weights(variant), config, double=double).eval()


def structure(system: str) -> ase.Atoms:
    parts = {key: GOLDEN[f"system/{system}/{key}"] for key in ("numbers", "positions", "cell", "pbc")}
    return ase.Atoms(**parts, info=dict(META["systems"][system]))


def deviations(variant: str, system: str, double: bool, reference: str) -> dict[str, float]:
    """Largest deviation of everything that the official code says, over its largest number."""
    prefix = f"{variant}/{system}/{reference}/"
    expected = {key.removeprefix(prefix): a for key, a in GOLDEN.items() if key.startswith(prefix)}
    assert {"energy", "forces"} <= expected.keys()
    found = predict(golden_model(variant, double), structure(system), diagnose=True)
    shown = {attention.label: attention.weights for attention in found.diagnostics.attention}
    got = {"energy": found.energy, "forces": found.forces, "stress": found.stress}
    got |= {f"node_attention/{layer}": shown.get(f"layer {layer}, all atoms") for layer in range(2)}
    return {name: np.abs(got[name] - a).max() / np.abs(a).max() for name, a in expected.items()}


@pytest.mark.parametrize(("variant", "system"), CASES)
def test_in_double_precision_all_numbers_are_those_of_fairchem(variant: str, system: str) -> None:
    assert max(deviations(variant, system, double=True, reference="float64").values()) < 1e-12


@pytest.mark.parametrize(("variant", "system"), CASES)
def test_in_single_precision_all_numbers_are_those_of_fairchem(variant: str, system: str) -> None:
    assert max(deviations(variant, system, double=False, reference="float64").values()) < 1e-5
    # fairchem's own single precision is as far from its double precision as ours is.
    assert max(deviations(variant, system, double=False, reference="float32").values()) < 2e-5


def test_every_variant_says_what_it_has_to() -> None:
    said = {key.split("/", 3)[3] for key in GOLDEN if key.startswith("NeAnNoSi/NaCl8/float64/")}
    assert said == {"energy", "forces", "stress", "node_attention/0", "node_attention/1"}
    assert {state["charge"] for state in META["systems"].values()} == {-1, 0, 1}
    assert len(CASES) == 4 * 8 + 3


@pytest.mark.parametrize("variant", META["config"])
def test_weights_go_there_and_back_to_the_bit(variant: str) -> None:
    state = official_weights(variant)
    model = golden_model(variant, double=False)

    back = allscaip_to_state_dict(model)

    names = {
        "efs": "energyandforcehead",
        "omol_forces": "forces",
    }  # of heads: the golden ones, and those of training
    for old, new in names.items():
        state = {name.replace(f"output_heads.{old}.", f"output_heads.{new}."): w for name, w in state.items()}
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)
    again = allscaip_from_state_dict(back, model.config)
    for (name, ours), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        # sm_NeAnNoSi, sm_NeNo, md_NeNo, md_NeAnNoSi, md_Ne, lg_NeNo; then with direct forces
        ({"hidden_size": 512, "num_layers": 6, "atten_num_heads": 8}, 34_129_439),
        ({"hidden_size": 512, "num_layers": 6, "atten_num_heads": 8, "biases": False}, 34_127_903),
        ({"hidden_size": 640, "num_layers": 10, "atten_num_heads": 10, "biases": False}, 85_972_531),
        ({"hidden_size": 640, "num_layers": 10, "atten_num_heads": 10}, 85_975_731),
        ({"hidden_size": 768, "num_layers": 8, "atten_num_heads": 12, "use_node_path": False}, 81_080_865),
        ({"hidden_size": 1024, "num_layers": 8, "atten_num_heads": 16, "biases": False}, 177_354_793),
        ({"hidden_size": 512, "num_layers": 6, "atten_num_heads": 8, "direct_forces": True}, 34_658_338),
        (
            {
                "hidden_size": 640,
                "num_layers": 10,
                "atten_num_heads": 10,
                "direct_forces": True,
                "biases": False,
            },
            86_797_494,
        ),
    ],
)
def test_parameter_counts_are_those_of_fairchem(settings: dict[str, Any], count: int) -> None:
    settings = dict(settings)
    biases = settings.pop("biases", True)
    official = {"max_radius": 6.0, "knn_k": 30, "direct_forces": False, **settings}
    config = allscaip_config(official | {"use_freq_mask": biases, "use_sincx_mask": biases})
    with torch.device("meta"):
        assert AllScAIP(config).n_parameters == count


def test_the_medium_preset_is_the_released_model() -> None:
    released = {
        **{"model": "fairchem.core.models.allscaip.AllScAIP.AllScAIPBackbone", "num_layers": 10},
        **{"hidden_size": 640, "direct_forces": False, "use_node_path": True, "use_freq_mask": False},
        **{"use_sincx_mask": False, "max_num_elements": 110, "max_batch_size": 96, "max_atoms": 350},
        **{"max_radius": 6, "use_pbc": False, "knn_k": 30, "knn_soft": True, "knn_sigmoid_scale": 0.2},
        **{"knn_lse_scale": 0.1, "knn_use_low_mem": True, "knn_pad_size": 50, "atten_num_heads": 10},
        **{"atten_name": "memory_efficient", "use_compile": False, "use_padding": False, "cutoff_radius": 6},
    }
    medium = AllScAIPConfig(**AllScAIP.presets["medium"])
    assert allscaip_config(released) == replace(medium, smooth=False)


def test_absent_settings_have_the_defaults_of_fairchem() -> None:
    least = {"hidden_size": 64, "num_layers": 1, "atten_num_heads": 1, "max_radius": 6, "knn_k": 30}
    config = allscaip_config({**least, "direct_forces": False})
    assert config.angular_bias
    assert config.radial_bias
    assert not allscaip_config({**least, "direct_forces": False, "use_node_path": False}).radial_bias
    with pytest.raises(ValueError, match="does not set \\['direct_forces'\\]"):
        allscaip_config(least)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "fairchem.core.models.uma.escn_moe.eSCNMDMoeBackbone"}, "only an AllScAIPBackbone"),
        ({"knn_soft": False}, "knn_soft = False; only True is implemented"),
        ({"knn_use_low_mem": False}, "knn_use_low_mem"),
        ({"knn_sigmoid_scale": 0.1}, "knn_sigmoid_scale = 0.1"),
        ({"distance_function": "silu"}, "only 'gaussian'"),
        ({"activation": "relu"}, "only 'gelu'"),
        ({"normalization": "layernorm"}, "only 'rmsnorm'"),
        ({"use_envelope": False}, "use_envelope"),
        ({"energy_reduce": "mean"}, "energy_reduce"),
        ({"max_num_elements": 100}, "max_num_elements"),
        ({"ffn_hidden_layer_multiplier": 4}, "ffn_hidden_layer_multiplier"),
        ({"freequency_list": [1, 1]}, "make no AllScAIP: frequencies"),
        ({"hidden_size": 33}, "make no AllScAIP: n_features"),
        ({"max_radius": "far"}, "make no AllScAIP"),
    ],
)
def test_settings_without_a_counterpart_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allscaip_config(SMALL | settings)


def test_a_setting_that_fairchem_does_not_read_is_named() -> None:
    with pytest.warns(UserWarning, match="use_tensor_heads"):
        config = allscaip_config(SMALL | {"use_tensor_heads": True, "use_pbc": False})
    assert config == allscaip_config(SMALL)


def test_weights_that_do_not_fit_are_refused() -> None:
    state, config = official_weights("NeAnNoSi"), allscaip_config(SMALL)
    name = "backbone.transformer_blocks.1.node_attention.radial_weight"
    for wrong, message in [
        ({**state, name: torch.zeros(4, 9)}, r"radial_weight has shape \(4, 9\); the config wants \(4, 8\)"),
        (
            {**state, name: torch.full((4, 8), torch.nan)},
            "radial_weight holds something that is no finite number",
        ),
        ({k: v for k, v in state.items() if k != name}, "have no .*radial_weight"),
        ({**state, "backbone.more": torch.zeros(1)}, r"no place for: \['backbone.more'\]"),
        ({k: v for k, v in state.items() if "energy_ffn" not in k}, "0 heads with a energy_ffn"),
    ]:
        with pytest.raises(ValueError, match=message):
            allscaip_from_state_dict(wrong, config)
    with pytest.raises(ValueError, match="0 heads with a force_ffn"):
        allscaip_from_state_dict(state, replace(config, direct_forces=True))
    with pytest.raises(ValueError, match="no place for"):
        allscaip_from_state_dict(official_weights("NeAnNoSi_direct"), config)


def test_a_model_that_fairchem_would_not_compute_is_not_given_to_it() -> None:
    model = AllScAIP(replace(allscaip_config(SMALL), smooth=True))
    with pytest.raises(ValueError, match="smooth=True, which fairchem does not know"):
        allscaip_to_state_dict(model)


@pytest.mark.parametrize("variant", ["NeNo", "NeAnNoSi_direct"])
def test_scale_and_references_are_those_of_the_labels(variant: str) -> None:
    config, atoms = allscaip_config(META["config"][variant]), structure("ethanol")
    references = [-10.0 * number for number in range(101)]
    scaled = allscaip_from_state_dict(
        official_weights(variant), config, scale=1.433569, references=references, double=True
    ).eval()

    plain, got = predict(golden_model(variant, True), atoms), predict(scaled, atoms)

    assert got.energy == pytest.approx(1.433569 * plain.energy - 10.0 * atoms.numbers.sum(), abs=1e-10)
    np.testing.assert_allclose(got.forces, 1.433569 * plain.forces, rtol=0, atol=1e-12)
    assert [number for number in (0, 1, 100, 101) if scaled.known[number]] == [1, 100]
    with pytest.raises(ValueError, match="references for 120 elements"):
        allscaip_from_state_dict(official_weights(variant), config, references=[0.0] * 120)


def test_a_checkpoint_of_fairchem_loads_and_says_the_same() -> None:
    model = load_allscaip(CHECKPOINT / "checkpoint.pt")
    assert not model.training
    for name, expected in json.loads((CHECKPOINT / "expected.json").read_text()).items():
        atoms = ase.Atoms(
            expected["numbers"],
            expected["positions"],
            cell=expected["cell"],
            pbc=expected["pbc"],
            info=expected["info"],
        )
        got = predict(model, atoms)
        # fairchem adds its references, tens of thousands of eV, to an energy in single precision.
        assert got.energy == pytest.approx(expected["energy"], abs=2e-5), name
        np.testing.assert_allclose(got.forces, expected["forces"], rtol=0, atol=1e-5, err_msg=name)


def test_the_averaged_weights_are_taken() -> None:
    weights = read_fairchem(CHECKPOINT / "checkpoint.pt").weights
    gain = "backbone.transformer_blocks.0.node_ffn.ffn_res_scale"
    assert not any("module." in name or "averaged" in name for name in weights)
    found = load_allscaip(CHECKPOINT / "checkpoint.pt").blocks[0].atoms.gain
    assert torch.equal(found, weights[gain])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"property": "forces"}, r"predicts the energies \[\]"),
        ({"normalizer": {"mean": 1.0, "rmsd": 1.0}}, "expected a number rmsd and mean = 0"),
        ({"normalizer": {"rmsd": 2.0}}, "expected one scale for energy and forces"),
        ({"normalizer": {"_target_": "create_normalizer", "file": "x.pt", "rmsd": None}}, "a number rmsd"),
        ({"element_references": {"file": "x.npz"}}, "element references of another form"),
    ],
)
def test_labels_that_ours_cannot_mean_are_refused(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = read_fairchem(CHECKPOINT / "checkpoint.pt")
    energy, forces = checkpoint.tasks
    changed = replace(checkpoint, tasks=({**energy, **change}, forces))
    monkeypatch.setattr("workbench.official.allscaip.read_fairchem", lambda path: changed)
    with pytest.raises(ValueError, match=message):
        load_allscaip("checkpoint.pt")


class Trap:
    """A pickle of this touches a file when an ordinary reader opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_is_no_checkpoint_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_allscaip(tmp_path / "absent.pt")
    sprung = tmp_path / "sprung"
    files = {
        "junk.pt": b"no pickle",
        "pickle.pt": pickle.dumps(Trap(sprung)),
        "cut.pt": (CHECKPOINT / "checkpoint.pt").read_bytes()[:50_000],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "weights.pt")
    torch.save(Trap(sprung), tmp_path / "trap.pt")
    for name in [*files, "weights.pt", "trap.pt"]:
        with pytest.raises(ValueError, match=name):
            load_allscaip(tmp_path / name)
    assert not sprung.exists()
    torch.load(tmp_path / "trap.pt", weights_only=False)
    assert sprung.exists()  # the trap is a real one


def test_settings_survive_our_own_checkpoints() -> None:
    config = allscaip_config(META["config"]["NeAn"])
    assert AllScAIPConfig(**json.loads(json.dumps(asdict(config)))) == config
