"""ChargeExplorer without a browser, and the tensor that l = 2 components mean."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule

from widgets.charge_explorer import ChargeExplorer, traceless_tensors


def harmonics(n):
    """The five l = 2 functions of a unit vector in e3nn's order, as polynomials; their squares sum to 1."""
    x, y, z = n
    root = np.sqrt(3)
    return np.array(
        [root * x * z, root * x * y, y**2 - (x**2 + z**2) / 2, root * y * z, root / 2 * (z**2 - x**2)]
    )


def multipoles(degrees, n_atoms=9, seed=0):
    rng = np.random.default_rng(seed)
    return [
        SimpleNamespace(
            label=f"charge 1, l = {degree}",
            degree=degree,
            values=rng.normal(size=(n_atoms, 2 * degree + 1)),
            potentials=rng.normal(size=(n_atoms, 2 * degree + 1)),
        )
        for degree in degrees
    ]


@pytest.fixture
def atoms():
    return molecule("CH3CH2OH")


def test_the_tensor_has_the_value_of_the_harmonics_in_every_direction():
    rng = np.random.default_rng(1)
    components = rng.normal(size=(4, 5))
    tensors = traceless_tensors(components)
    np.testing.assert_allclose(np.trace(tensors, axis1=1, axis2=2), 0, atol=1e-14)
    np.testing.assert_array_equal(tensors, tensors.transpose(0, 2, 1))
    for n in rng.normal(size=(20, 3)):
        n = n / np.linalg.norm(n)
        assert harmonics(n) @ harmonics(n) == pytest.approx(1.0)
        np.testing.assert_allclose(
            np.einsum("a,iab,b->i", n, tensors, n), components @ harmonics(n), atol=1e-13
        )


def test_each_degree_is_drawn_in_its_own_way(atoms):
    explorer = ChargeExplorer(atoms, multipoles([0, 1, 2, 3]))
    drawn = explorer.view.scene()
    assert explorer.view._colouring.scale.diverging
    assert drawn.arrows is None
    explorer.show(1)
    drawn = explorer.view.scene()
    assert drawn.arrows is not None
    assert drawn.ellipsoids is None
    explorer.show(2)
    drawn = explorer.view.scene()
    assert drawn.arrows is None
    assert drawn.ellipsoids is not None
    explorer.show(3)
    np.testing.assert_allclose(
        explorer.view._colouring.values, np.linalg.norm(explorer.multipoles[3].values, axis=1)
    )
    assert explorer.log.text == ""
    explorer.close()


def test_arrows_point_along_the_vectors(atoms):
    explorer = ChargeExplorer(atoms, multipoles([1]))
    drawn = explorer.view.scene().arrows
    spans = drawn.end - drawn.start
    seen = explorer.multipoles[0].values
    cosines = (spans * seen).sum(1) / np.linalg.norm(spans, axis=1) / np.linalg.norm(seen, axis=1)
    np.testing.assert_allclose(cosines, 1.0)
    explorer.close()


def test_potentials_have_their_own_numbers_and_unit(atoms):
    explorer = ChargeExplorer(atoms, multipoles([0]))
    explorer.show(0, potentials=True)
    np.testing.assert_array_equal(explorer.view._colouring.values, explorer.multipoles[0].potentials[:, 0])
    assert "1/Å" in explorer.describe()
    assert "1/Å" in explorer.view._legend.value
    explorer.close()


def test_is_called_learned_and_never_partial(atoms):
    explorer = ChargeExplorer(atoms, multipoles([0, 1]))
    assert "Learned equivariant charges" in explorer.describe()
    assert "partial" not in explorer.describe()
    explorer.close()


def test_stands_against_reference_charges_by_correlation(atoms):
    learned = multipoles([0])
    explorer = ChargeExplorer(atoms, learned, reference_charges=-2.0 * learned[0].values[:, 0])
    assert "correlation -1.00 over 9 atoms" in explorer.parity.describe()
    explorer.close()


def test_wrong_input_is_refused_in_words(atoms):
    with pytest.raises(ValueError, match="Predict with diagnose=True"):
        ChargeExplorer(atoms, [])
    with pytest.raises(ValueError, match=r"values of 'charge 1, l = 1' has shape \(8, 3\)"):
        ChargeExplorer(atoms, multipoles([1], n_atoms=8))
    with pytest.raises(ValueError, match="no multipole of degree 0"):
        ChargeExplorer(atoms, multipoles([1]), reference_charges=np.zeros(9))
