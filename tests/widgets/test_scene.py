"""What is drawn, as arrays: bonds, cells, arrows, ellipsoids, colours."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from widgets import scene, still
from widgets.palette import ColourScale, element_colours


def test_ethanol_has_its_eight_bonds():
    atoms = molecule("CH3CH2OH")
    pairs = scene.bonded_pairs(atoms.numbers, atoms.positions)
    assert len(pairs) == 8
    hydrogens = [pair for pair in pairs.tolist() if atoms.numbers[pair[0]] == atoms.numbers[pair[1]] == 1]
    assert hydrogens == []


def test_one_atom_has_no_bond_and_scattered_atoms_crash_nothing():
    assert scene.bonded_pairs([18], np.zeros((1, 3))).shape == (0, 2)
    assert scene.bonded_pairs([1, 1], np.full((2, 3), np.nan)).shape == (0, 2)


def test_a_skewed_cell_has_twelve_edges_of_the_right_lengths():
    cell = bulk("Cu").cell.array
    edges = scene.cell_edges(cell)
    assert len(edges.radii) == 12
    vectors = edges.end - edges.start
    for row in cell:
        same = np.isclose(np.abs(vectors @ row), row @ row).sum()
        assert same == 4, "each cell vector is four of the edges"
    assert scene.cell_edges(np.zeros((3, 3))) is None


def test_arrows_are_as_long_as_their_vectors_and_centred():
    positions, vectors = np.zeros((3, 3)), np.array([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 1e-6]])
    drawn = scene.arrows(positions, vectors, scale=0.5)
    np.testing.assert_allclose(drawn.end - drawn.start, [[1.0, 0, 0], [0, 0.5, 0]])
    np.testing.assert_allclose(drawn.end + drawn.start, 0)


def test_an_ellipsoid_is_long_where_its_tensor_is_positive():
    tensors = np.array([np.diag([-0.5, 1.0, -0.5]), np.diag([0.5, 0.5, -1.0])])
    drawn = scene.ellipsoids(np.zeros((2, 3)), tensors, size=1.0, colours=np.zeros((2, 3)))
    lengths = np.linalg.norm(drawn.axes, axis=2)
    assert (np.diff(lengths, axis=1) <= 1e-12).all(), "the longest axis comes first"
    np.testing.assert_allclose(np.abs(drawn.axes[0, 0]), [0, 1.0, 0], atol=1e-12)
    np.testing.assert_allclose(drawn.axes[1, 2, :2], 0, atol=1e-12)
    np.testing.assert_allclose(drawn.axes @ drawn.axes.transpose(0, 2, 1) * (1 - np.eye(3)), 0, atol=1e-12)


def test_ellipsoids_turn_with_their_tensors():
    rng = np.random.default_rng(0)
    tensor = rng.normal(size=(3, 3))
    tensor = tensor + tensor.T - 2 * np.trace(tensor) / 3 * np.eye(3)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    at, black = np.zeros((1, 3)), np.zeros((1, 3))
    before = scene.ellipsoids(at, tensor[None], 1.0, black).axes[0]
    after = scene.ellipsoids(at, (turn @ tensor @ turn.T)[None], 1.0, black).axes[0]
    np.testing.assert_allclose(after.T @ after, turn @ before.T @ before @ turn.T, atol=1e-12)


class TestColourScale:
    def test_signed_values_are_white_at_zero_and_symmetric(self):
        scale = ColourScale.of([-0.2, 0.0, 0.8])
        assert scale.diverging
        assert (scale.low, scale.high) == (-0.8, 0.8)
        blue, white, red = scale.colours([-0.8, 0.0, 0.8])
        assert blue[2] > blue[0]
        assert red[0] > red[2]
        assert white.min() > 0.95

    def test_a_sequence_grows_brighter_throughout(self):
        scale = ColourScale.of([1.0, 5.0])
        assert not scale.diverging
        luminance = scale.colours(np.linspace(1, 5, 50)) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > 0).all()

    def test_a_missing_value_is_grey_and_equal_values_crash_nothing(self):
        scale = ColourScale.of([2.0, 2.0, np.nan])
        np.testing.assert_allclose(scale.colours([np.nan])[0], 0.5)
        assert np.isfinite(scale.colours([2.0])).all()

    def test_no_finite_value_is_an_error(self):
        with pytest.raises(ValueError, match="all NaN"):
            ColourScale.of([np.nan])

    def test_the_bar_names_quantity_unit_and_ends(self):
        bar = ColourScale.of([-1.5, 0.5]).bar("charge", "e")
        for word in ("charge [e]", "-1.5", "1.5", "aria-label"):
            assert word in bar


def test_elements_keep_their_colours():
    red = element_colours([8])[0]
    assert red[0] > 0.8
    assert red[1] < 0.3


def test_the_still_picture_shows_an_atom_where_it_is():
    atoms = Atoms("O", positions=[[0, 0, 0]])
    drawn = scene.Scene(atoms.positions, element_colours(atoms.numbers), scene.ball_radii(atoms.numbers))
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(still.structure(drawn)))
    height, width = pixels.shape[:2]
    assert pixels[height // 2 - 5, width // 2, 0] > 0.8
    assert pixels[height // 2 - 5, width // 2, 2] < 0.4
    assert pixels[2, 2].min() > 0.95
