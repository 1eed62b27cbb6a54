"""Harmonics, rotations and potentials of multipoles, against what is known in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import erf

from widgets.harmonics import harmonics, rotation_about, traceless_tensors, turned
from widgets.multipole_potential import potential

SIGMA = 0.4


def of(degree, values):
    return SimpleNamespace(degree=degree, values=np.atleast_2d(values))


@pytest.fixture
def points():
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(40, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.1, 6.0, (40, 1))


def test_the_first_degrees_are_the_known_polynomials_and_squares_sum_to_one(points):
    n = points / np.linalg.norm(points, axis=1, keepdims=True)
    x, y, z = n.T
    root = np.sqrt(3)
    second = [root * x * z, root * x * y, y**2 - (x**2 + z**2) / 2, root * y * z, root / 2 * (z**2 - x**2)]
    np.testing.assert_allclose(harmonics(1, n), n, atol=1e-15)
    np.testing.assert_allclose(harmonics(2, n), np.transpose(second), atol=1e-15)
    for degree in range(6):
        np.testing.assert_allclose((harmonics(degree, n) ** 2).sum(axis=1), 1.0, rtol=1e-12)


def test_harmonics_are_those_of_e3nn(points):
    torch = pytest.importorskip("torch")
    o3 = pytest.importorskip("e3nn.o3")
    n = points / np.linalg.norm(points, axis=1, keepdims=True)
    for degree in range(5):
        theirs = o3.spherical_harmonics(degree, torch.tensor(n), normalize=False, normalization="norm")
        np.testing.assert_allclose(harmonics(degree, n), theirs.numpy(), atol=1e-14)


def test_charges_turn_as_vectors_and_tensors_do_and_turns_can_be_done_one_after_the_other(points):
    one, two = rotation_about("x", 40), rotation_about("y", -115)
    rng = np.random.default_rng(0)
    vectors, tensors, higher = (rng.normal(size=(5, 2 * degree + 1)) for degree in (1, 2, 4))
    np.testing.assert_allclose(turned(vectors, 1, one), vectors @ one.T, atol=1e-14)
    matrices = one @ traceless_tensors(tensors) @ one.T
    np.testing.assert_allclose(traceless_tensors(turned(tensors, 2, one)), matrices, atol=1e-13)
    np.testing.assert_allclose(turned(turned(higher, 4, one), 4, two), turned(higher, 4, two @ one), atol=1e-13)


def test_a_quarter_turn_is_counter_clockwise():
    np.testing.assert_allclose(rotation_about("z", 90) @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(rotation_about("x", 90) @ [0, 1, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(rotation_about("y", 90) @ [0, 0, 1], [1, 0, 0], atol=1e-15)


def test_a_scalar_charge_has_the_potential_of_a_gaussian_cloud(points):
    distances = np.linalg.norm(points, axis=1)
    seen = potential(points, np.zeros((1, 3)), [of(0, [2.5])], SIGMA)
    np.testing.assert_allclose(seen, 2.5 * erf(distances / np.sqrt(2) / SIGMA) / distances, rtol=1e-8)


def test_a_vector_charge_is_a_pair_of_opposite_scalars_and_a_tensor_is_four(points):
    """Everywhere, inside of the clouds, too: finite differences of the scalar's potential."""

    def scalar(at):
        return potential(points, np.atleast_2d(at), [of(0, [1.0])], SIGMA)

    h, steps = 1e-3, np.eye(3) * 1e-3
    dipole = np.array([0.3, -0.8, 0.5])
    pair = sum(mu * (scalar(step) - scalar(-step)) / (2 * h) for mu, step in zip(dipole, steps, strict=True))
    np.testing.assert_allclose(
        potential(points, np.zeros((1, 3)), [of(1, dipole)], SIGMA), pair, rtol=1e-4, atol=1e-6
    )
    # Charges +1 at +x and +z of a, -1 at -x and -z of the mixed derivative: Q_xz makes sqrt(3) x z / r^5.
    x, _, z = steps
    mixed = (scalar(x + z) - scalar(x - z) - scalar(z - x) + scalar(-x - z)) / (4 * h * h)
    seen = potential(points, np.zeros((1, 3)), [of(2, [1.0, 0, 0, 0, 0])], SIGMA)
    np.testing.assert_allclose(seen, mixed / np.sqrt(3), rtol=1e-3, atol=1e-5)


def test_it_is_finite_on_the_atoms_and_adds_up():
    rng = np.random.default_rng(1)
    positions = rng.normal(size=(7, 3))
    charges = [of(degree, rng.normal(size=(7, 2 * degree + 1))) for degree in (0, 0, 1, 2)]
    points = np.concatenate([positions, rng.normal(size=(20, 3)) * 3])
    together = potential(points, positions, charges, SIGMA)
    assert np.isfinite(together).all()
    apart = sum(potential(points, positions, [one], SIGMA) for one in charges)
    np.testing.assert_allclose(together, apart, rtol=1e-10, atol=1e-12)


def test_in_pieces_it_is_the_same(monkeypatch):
    rng = np.random.default_rng(1)
    positions, points = rng.normal(size=(11, 3)), rng.normal(size=(30, 3))
    charges = [of(1, rng.normal(size=(11, 3)))]
    whole = potential(points, positions, charges, SIGMA)
    monkeypatch.setattr("widgets.multipole_potential._PAIRS_AT_ONCE", 90)
    np.testing.assert_allclose(potential(points, positions, charges, SIGMA), whole, rtol=1e-12)
