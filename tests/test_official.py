"""Our LOREM is the official one: the numbers of lorem-jax at the same weights.

`golden/lorem.json` holds inputs and outputs of lorem-jax (float64) with jax-pme and e3x for weights drawn by a rule.
`golden/lorem_checkpoint/` is a checkpoint that lorem-jax wrote and what its own Calculator says; its README tells how.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest

from workbench.models.lorem import Lorem, LoremConfig
from workbench.official import load_lorem, lorem_config, lorem_from_tree
from workbench.predict import predict

GOLDEN = json.loads((Path(__file__).parent / "golden" / "lorem.json").read_text())
CHECKPOINT = Path(__file__).parent / "golden" / "lorem_checkpoint"


def drawn_tree(leaves: list[str]) -> dict[str, Any]:
    """The weights by the rule that made the golden numbers."""
    tree: dict[str, Any] = {}
    for index, leaf in enumerate(leaves):
        words, shape_text = leaf.rsplit("[", 1)
        path = [word.strip("'[]") for word in words.split("][")]
        shape = tuple(int(n) for n in shape_text.rstrip("]").split(","))
        values = np.random.default_rng(1000 + index).normal(size=shape)
        if len(shape) == 2:
            values *= 1.5 / np.sqrt(shape[0])
        elif len(shape) == 1:
            values = 1 + 0.1 * values if path[-1] == "scale" else 0.1 * values
        branch = tree
        for word in path[:-1]:
            branch = branch.setdefault(word, {})
        branch[path[-1]] = values
    return tree


def golden_model(variant: str) -> Lorem:
    c = GOLDEN["config"]
    config = LoremConfig(
        cutoff=c["cutoff"],
        max_degree=c["max_degree"],
        max_degree_lr=c["max_degree_lr"],
        n_features=c["num_features"],
        n_radial=c["num_radial"],
        species_width=c["num_species"],
        n_spherical=c["num_spherical_features"],
        n_message_passing={"M0": 0, "M1": 1}[variant],
    )
    return lorem_from_tree(drawn_tree(GOLDEN[variant]["leaf_order"]), config, double=True)


@pytest.mark.parametrize("variant", ["M0", "M1"])
@pytest.mark.parametrize("case", ["NaCl8", "ethanol"])
def test_energies_forces_charges_potentials_are_those_of_lorem_jax(variant: str, case: str) -> None:
    expected = GOLDEN[variant]["cases"][case]
    atoms = ase.Atoms(expected["numbers"], expected["positions"], cell=expected["cell"], pbc=expected["pbc"])
    model = golden_model(variant).eval()

    got = predict(model, atoms, diagnose=True)

    assert got.energy == pytest.approx(expected["energy"], abs=1e-9)
    np.testing.assert_allclose(got.forces, expected["forces"], rtol=0, atol=1e-9)
    charges = np.concatenate([m.values for m in got.diagnostics.multipoles], axis=1)
    fields = np.concatenate([m.potentials for m in got.diagnostics.multipoles], axis=1)
    np.testing.assert_allclose(charges, expected["charges_e3nn_basis"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(fields, expected["potentials_e3nn_basis"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 1_021_198),
        ({"long_range": False}, 839_129),
        ({"max_degree_lr": 0}, 1_020_300),
        ({"max_degree_lr": 1}, 1_020_749),
        ({"n_message_passing": 1}, 1_892_287),
    ],
)
def test_parameter_counts_are_the_published_ones(settings: dict[str, Any], count: int) -> None:
    assert Lorem(LoremConfig(**settings)).n_parameters == count


def test_a_tree_of_another_shape_is_refused() -> None:
    tree = drawn_tree(GOLDEN["M0"]["leaf_order"])
    config = golden_model("M0").config
    one_more = {"params": {**tree["params"], "Dense_9": {"kernel": np.zeros((2, 2))}}}
    with pytest.raises(ValueError, match=r"has shape \(100, 4\)"):
        lorem_from_tree(tree, LoremConfig())
    with pytest.raises(ValueError, match="has no weight"):
        lorem_from_tree(tree, replace(config, n_message_passing=1))
    with pytest.raises(ValueError, match="no place for"):
        lorem_from_tree(one_more, config)


def test_weights_of_a_total_charge_and_weights_that_are_no_numbers_are_refused() -> None:
    tree = drawn_tree(GOLDEN["M0"]["leaf_order"])
    config = golden_model("M0").config
    charged = {"params": {**tree["params"], "ChargeEmbedding_0": {"MLP_0": {}}}}
    with pytest.raises(ValueError, match="conditioned on the total charge"):
        lorem_from_tree(charged, config)
    tree["params"]["Dense_0"]["kernel"][0, 0] = np.nan
    with pytest.raises(ValueError, match="Dense_0/kernel holds something that is no finite number"):
        lorem_from_tree(tree, config)


def test_settings_without_a_counterpart_are_refused() -> None:
    assert lorem_config({"lorem.models.mlip.Lorem": {"num_features": 64, "inputs": []}}).n_features == 64
    unused = {"equivariant_message_passing": False, "num_message_passing": 0}
    assert lorem_config({"lorem.Lorem": unused}).n_message_passing == 0
    for model, message in [
        ({"lorem.models.bec.LoremBEC": {}}, "LoremBEC"),
        ({"lorem.Lorem": {"field_conditioning": "l1"}}, "field_conditioning = 'l1'"),
        ({"lorem.Lorem": {"equivariant_message_passing": False, "num_message_passing": 1}}, "equivariant"),
        ({"lorem.Lorem": {"inputs": ["total_charge"]}}, "total_charge"),
        ({"lorem.Lorem": {"cutoff_fn": "smooth_cutoff"}}, "only 'cosine_cutoff' is implemented"),
        ({"lorem.Lorem": {"cutoff": "far"}}, "make no Lorem"),
        ({"lorem.Lorem": {"max_degree": 1, "max_degree_lr": 2}}, "make no Lorem"),
        ({}, "expected one class"),
    ]:
        with pytest.raises(ValueError, match=message):
            lorem_config(model)


@pytest.mark.parametrize("case", ["ethanol", "NaCl", "water layer"])
def test_a_checkpoint_of_lorem_jax_loads_and_says_the_same(case: str) -> None:
    expected = json.loads((CHECKPOINT / "expected.json").read_text())[case]
    atoms = ase.Atoms(expected["numbers"], expected["positions"], cell=expected["cell"], pbc=expected["pbc"])
    model = load_lorem(CHECKPOINT)

    calculator = expected["calculator, float32"]
    got = predict(model, atoms)
    assert got.energy == pytest.approx(calculator["energy"], abs=1e-5)
    np.testing.assert_allclose(got.forces, calculator["forces"], rtol=0, atol=1e-5)
    if "stress" in calculator:
        voigt = got.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(voigt, calculator["stress"], rtol=0, atol=1e-6)

    # The layer is summed in another way there (a cell of another height), which leaves 2e-6 eV/Å.
    limit = 1e-5 if case == "water layer" else 1e-10
    got = predict(model.double(), atoms)
    assert got.energy == pytest.approx(expected["float64"]["energy"], abs=limit)
    np.testing.assert_allclose(got.forces, expected["float64"]["forces"], rtol=0, atol=limit)


def test_the_elements_and_the_folder_of_a_checkpoint() -> None:
    model = load_lorem(CHECKPOINT)
    assert np.flatnonzero(model.known.numpy()).tolist() == [1, 6, 8, 11, 17]
    assert not model.training
    inner = load_lorem(CHECKPOINT / "model")
    assert all(
        a.equal(b) for a, b in zip(model.state_dict().values(), inner.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match=r"not trained on N; it knows H, C, O, Na, Cl"):
        predict(model, ase.Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.msgpack", lambda old: old[: len(old) // 2], "model.msgpack: it is damaged"),
        ("model.msgpack", lambda old: b"", "model.msgpack: it is damaged"),
        ("model.msgpack", lambda old: old + b"more", "model.msgpack: it is damaged"),
        ("model.msgpack", lambda old: b"\x93\x01\x02\x03", "holds a list"),
        ("model.msgpack", lambda old: old.replace(b"float32", b"quarter"), "model.msgpack: it is damaged"),
        ("model.yaml", lambda old: b"a: b: c: [", "model.yaml is no YAML file"),
        ("model.yaml", lambda old: b"\xff\xfe", "model.yaml is no YAML file"),
        ("model.yaml", lambda old: b"", "expected names and values"),
        ("model.yaml", lambda old: old.replace(b"max_degree: 2", b"max_degree: 3"), "the config wants"),
        ("baseline.yaml", lambda old: b"elemental: none", "expected atomic numbers with energies"),
        ("baseline.yaml", lambda old: b"elemental: {400: 1.0}", r"elements \[400\]"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(
    tmp_path: Path, file: str, content: Callable[[bytes], bytes], message: str
) -> None:
    folder = Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))
    path = folder / "model" / file
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_lorem(folder)


def test_no_damage_to_the_weights_raises_anything_but_a_sentence(tmp_path: Path) -> None:
    """Bytes overwritten at random: the file still loads (only numbers were hit) or is refused."""
    folder = Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))
    path = folder / "model" / "model.msgpack"
    sound, rng, messages = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(30):
        damaged = bytearray(sound)
        for place in rng.integers(0, len(sound), size=5):
            damaged[place] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            load_lorem(folder)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 5
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("file", ["model.yaml", "baseline.yaml", "model.msgpack"])
def test_a_checkpoint_without_one_of_its_files_is_refused(tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))
    (folder / "model" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no model/{file}"):
        load_lorem(folder)
