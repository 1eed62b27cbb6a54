"""Prediction at its borders: shapes, units, batches, what is computed and what is not."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from structures_for_tests import ethanol, salt

from workbench.graphs import collate, graph
from workbench.models import Potential, build
from workbench.predict import predict, properties


@pytest.fixture
def model() -> Potential:
    torch.manual_seed(0)
    return build("lorem", "tiny").double().eval()


def test_a_prediction_is_numpy_in_double(model: Potential) -> None:
    result = predict(model, salt(), diagnose=True)
    assert isinstance(result.energy, float)
    assert result.forces.shape == (8, 3)
    assert result.forces.dtype == np.float64
    assert result.stress.shape == (3, 3)
    assert result.atom_energies.sum() == pytest.approx(result.energy, abs=1e-10)
    assert [m.degree for m in result.diagnostics.multipoles] == [0, 0, 1, 2]
    assert [m.values.shape for m in result.diagnostics.multipoles] == [(8, 1), (8, 1), (8, 3), (8, 5)]
    parts = result.diagnostics.atoms
    total = parts["short-range energy [eV]"] + parts["long-range energy [eV]"]
    np.testing.assert_allclose(total, result.atom_energies, atol=1e-12)
    assert all(isinstance(m.values, np.ndarray) for m in result.diagnostics.multipoles)


def test_the_baseline_is_added_in_double_precision(model: Potential) -> None:
    without = predict(model, ethanol()).energy
    model.baseline[[1, 6, 8]] = torch.tensor([-13.6, -1029.1, -2042.3], dtype=torch.float64)
    expected = without + 6 * -13.6 + 2 * -1029.1 - 2042.3
    assert predict(model, ethanol()).energy == pytest.approx(expected, abs=1e-9)
    model.float()
    assert model.baseline.dtype == torch.float64
    assert predict(model, ethanol()).energy == pytest.approx(expected, abs=1e-5)


def test_many_structures_in_one_call(model: Potential) -> None:
    structures = [ethanol(), ase.Atoms("O"), ethanol()[:4]]
    together = predict(model, structures)
    assert [len(p.forces) for p in together] == [9, 1, 4]
    for prediction, atoms in zip(together, structures, strict=True):
        assert prediction.energy == pytest.approx(predict(model, atoms).energy, abs=1e-10)
    shown = predict(model, structures, diagnose=True)
    assert [len(p.diagnostics.multipoles[0].values) for p in shown] == [9, 1, 4]
    with pytest.raises(ValueError, match="no graph to collate"):
        predict(model, [])


def test_stress_only_where_there_is_a_volume(model: Potential) -> None:
    assert predict(model, ethanol()).stress is None
    with_stress, without = predict(model, [salt(), ethanol()])
    assert with_stress.stress is not None
    assert without.stress is None


def test_structures_are_not_modified(model: Potential) -> None:
    atoms = salt()
    before = atoms.copy()
    predict(model, atoms, diagnose=True)
    assert atoms == before


def test_asking_for_less_computes_less(model: Potential) -> None:
    batch = graph(salt(), model.cutoff)
    energy_only = properties(model, batch, forces=False)
    assert energy_only.forces is None
    assert energy_only.stress is None
    assert not energy_only.energy.requires_grad
    everything = properties(model, batch, stress=True)
    assert everything.energy.item() == energy_only.energy.item()
    assert not everything.forces.requires_grad
    assert properties(model, batch, create_graph=True).forces.requires_grad


def test_a_batch_on_the_wire(model: Potential) -> None:
    batch = collate([graph(salt(), 5.0), graph(ethanol(), 5.0)]).to("cpu")
    assert batch.n_structures == 2
    assert batch.sizes.tolist() == [8, 9]
    with pytest.raises(ValueError, match="cutoffs"):
        collate([graph(salt(), 5.0), graph(salt(), 4.0)])
