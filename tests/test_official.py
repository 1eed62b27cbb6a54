"""Our LOREM is the official one: the numbers of lorem-jax (float64) at the same weights.

`golden/lorem.json` holds inputs and outputs of lorem-jax with jax-pme and e3x for weights drawn by a rule.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest

from workbench.models.lorem import Lorem, LoremConfig
from workbench.official import lorem_config, lorem_from_tree
from workbench.predict import predict

GOLDEN = json.loads((Path(__file__).parent / "golden" / "lorem.json").read_text())


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


def test_settings_without_a_counterpart_are_refused() -> None:
    assert lorem_config({"lorem.models.mlip.Lorem": {"num_features": 64}}).n_features == 64
    with pytest.raises(ValueError, match="LoremBEC"):
        lorem_config({"lorem.models.bec.LoremBEC": {}})
    with pytest.raises(ValueError, match="l1"):
        lorem_config({"lorem.Lorem": {"field_conditioning": "l1"}})
