"""Neighbours by portions: the same numbers, derivatives of any order, and less to keep."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from structures_for_tests import ethanol, salt, slab
from torch import Tensor

from workbench.graphs import Graph, collate, graph
from workbench.models import mlanet
from workbench.models.mlanet import MLANet, MLANetConfig
from workbench.nn import portions
from workbench.nn.dual_attention import PATHS
from workbench.predict import properties


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of a few atoms, also of few pairs."""
    monkeypatch.setattr(mlanet, "MANY", 0)
    monkeypatch.setattr(portions, "AT_ONCE", 100)


def twins(**settings: object) -> tuple[MLANet, MLANet]:
    """One whose weights can be trained, which takes all pairs at once, and a frozen copy, which takes portions."""
    torch.manual_seed(0)
    config = {**MLANet.presets["tiny"], "n_channels": 8, "n_hidden": 16, **settings}
    model = MLANet(MLANetConfig(**config)).double().eval()
    return model, copy.deepcopy(model).requires_grad_(False)


def batch(cutoff: float) -> Graph:
    """Pairs in no order, and an atom without any."""
    lone = ethanol()[:1]
    whole = collate([graph(atoms, cutoff) for atoms in (salt(), slab(), lone, ethanol())])
    order = torch.randperm(whole.n_pairs, generator=torch.Generator().manual_seed(0))
    shuffled = {name: getattr(whole, name)[order] for name in ("receivers", "senders", "shifts")}
    return replace(whole, **shuffled)


def test_portions_hold_every_pair_once_and_end_between_atoms() -> None:
    receivers = torch.tensor([0, 0, 2, 2, 2, 3]).repeat_interleave(30)
    cut = portions.Portions.of(receivers, receivers.flip(0), 5)
    assert cut.n_atoms == (2, 1, 2)
    assert cut.n_pairs == (60, 90, 30)
    first = torch.tensor(cut.n_atoms).cumsum(0) - torch.tensor(cut.n_atoms)
    torch.testing.assert_close(cut.receivers + first.repeat_interleave(torch.tensor(cut.n_pairs)), receivers)


@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("paths", PATHS)
@pytest.mark.parametrize("settings", [{}, {"dispersion": True, "dispersion_cutoff": 7.0}, {"forces": "direct"}])
def test_they_give_what_all_pairs_at_once_give(
    settings: dict[str, object], paths: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "KEPT", kept)
    whole, portioned = twins(paths=paths, **settings)
    atoms = batch(whole.cutoff)
    expected, found = (properties(model, atoms, stress=True) for model in (whole, portioned))
    torch.testing.assert_close(found.energy, expected.energy, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.forces, expected.forces, atol=1e-13, rtol=1e-11)
    torch.testing.assert_close(found.stress, expected.stress, atol=1e-14, rtol=1e-11, equal_nan=True)


@pytest.mark.parametrize("kept", [0, 10**9])
def test_they_can_be_differentiated_twice(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "KEPT", kept)

    def row_of_hessian(model: MLANet) -> Tensor:
        positions = atoms.positions.clone().requires_grad_(True)
        energy = model(replace(atoms, positions=positions)).atom_energies.sum()
        (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
        return torch.autograd.grad(gradient[2, 1], positions)[0]

    whole, portioned = twins()
    atoms = batch(whole.cutoff)
    expected = row_of_hessian(whole)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(row_of_hessian(portioned), expected, atol=1e-12, rtol=1e-10)


def test_what_belongs_to_pairs_is_not_kept_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that autograd saves on the way to the energy."""
    _, model = twins()
    atoms = batch(model.cutoff)
    saved = {}
    for kept in (0, 10**9):
        monkeypatch.setattr(portions, "KEPT", kept)
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(replace(atoms, positions=atoms.positions.clone().requires_grad_(True)))
        saved[kept] = sum(sizes)
    assert saved[0] < saved[10**9] / 5
