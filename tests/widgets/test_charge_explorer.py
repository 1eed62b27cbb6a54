"""ChargeExplorer without a browser, and the tensor that l = 2 components mean."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from widgets.charge_explorer import ChargeExplorer
from widgets.harmonics import harmonics, rotation_about, traceless_tensors
from widgets.multipole_potential import potential
from widgets.potential_slice import PotentialSlice


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
        np.testing.assert_allclose(
            np.einsum("a,iab,b->i", n, tensors, n), components @ harmonics(2, n), atol=1e-13
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


def test_the_charges_that_the_atoms_carry_are_the_reference(atoms):
    learned = multipoles([1, 0])
    atoms.calc = SinglePointCalculator(atoms, charges=learned[1].values[:, 0] ** 3)
    explorer = ChargeExplorer(atoms, learned)
    expected = np.corrcoef(learned[1].values[:, 0], learned[1].values[:, 0] ** 3)[0, 1]
    assert explorer.parity.correlation() == pytest.approx(expected)
    assert "follows them" in explorer.parity.describe()
    explorer.close()
    without_scalars = ChargeExplorer(atoms, multipoles([1]))
    assert without_scalars.parity is None
    without_scalars.close()


def test_the_scatter_follows_the_scalars_that_are_shown(atoms):
    learned = multipoles([0, 0, 1])
    learned[1].values = -learned[0].values
    explorer = ChargeExplorer(atoms, learned, reference_charges=learned[0].values[:, 0])
    assert explorer.parity.correlation() == pytest.approx(1.0)
    explorer.show(1)
    assert explorer.parity.correlation() == pytest.approx(-1.0)
    explorer.show(2)
    assert explorer.parity.correlation() == pytest.approx(-1.0)
    explorer.close()


def test_an_atom_selected_in_one_picture_is_selected_in_all(atoms):
    learned = multipoles([0, 1])
    explorer = ChargeExplorer(atoms, learned, reference_charges=learned[0].values[:, 0])
    explorer.parity._clicked(None, SimpleNamespace(point_inds=[2]), None)
    assert explorer.view.selected == (2,)
    np.testing.assert_allclose(explorer.slice.plane().origin, atoms.positions[2])
    assert list(np.flatnonzero(np.asarray(explorer.parity.figure.data[1].marker.size) == 15)) == [2]
    place = int(np.flatnonzero(explorer.slice._order == 7)[0])
    explorer.slice._clicked(None, SimpleNamespace(point_inds=[place]), None)
    assert explorer.view.selected == (7,)
    assert "through H 7" in explorer.describe()
    explorer.select(None)
    np.testing.assert_allclose(explorer.slice.plane().origin, atoms.positions.mean(axis=0))
    explorer.close()


class TestTurning:
    """With charges that turn with the molecule by construction, and with such that do not."""

    @staticmethod
    def charges_of(atoms):
        """Sums over pairs of spherical harmonics: equivariant by nature."""
        spans = atoms.positions[None] - atoms.positions[:, None]
        distances = np.linalg.norm(spans, axis=2) + np.eye(len(atoms))
        weights = np.exp(-distances) * atoms.numbers * (1 - np.eye(len(atoms)))
        found = []
        for degree in range(4):
            values = np.einsum("ij,ijm->im", weights, harmonics(degree, spans / distances[..., None]))
            found.append(
                SimpleNamespace(label=f"charge, l = {degree}", degree=degree, values=values, potentials=values)
            )
        return found

    def test_charges_that_turn_with_the_molecule_are_found_exact(self, atoms):
        explorer = ChargeExplorer(atoms, charges_of=self.charges_of)
        for degrees, axis in ((90, "z"), (-37, "x"), (180, "y")):
            result = explorer.turn(degrees, axis)
            assert max(result.errors) < 1e-12
            assert len(result.errors) == 4
            assert "as far as double precision goes" in explorer.table.words
            assert f"{degrees:+d}° about {axis}" in explorer.describe()
        explorer.show(1)
        drawn = explorer.view.scene()
        np.testing.assert_allclose(drawn.positions, result.atoms.positions)
        spans = drawn.arrows.end - drawn.arrows.start
        np.testing.assert_allclose(
            spans / np.linalg.norm(spans, axis=1, keepdims=True),
            result.multipoles[1].values / np.linalg.norm(result.multipoles[1].values, axis=1, keepdims=True),
        )
        explorer.close()

    def test_in_the_plane_of_the_molecule_the_potential_stays_as_it_was(self, atoms):
        explorer = ChargeExplorer(atoms, charges_of=self.charges_of)
        before = explorer.slice.values
        explorer.turn(65, "x")
        np.testing.assert_allclose(explorer.slice.values, before, atol=1e-9 * np.abs(before).max())
        explorer.slice.direction.value = "z"
        across_z = explorer.slice.values
        explorer.turn(0, "x")
        assert np.abs(explorer.slice.values - across_z).max() > 0.1 * np.abs(before).max()
        explorer.close()

    def test_charges_that_stay_behind_are_found_out(self, atoms):
        def lazy(atoms):
            found = self.charges_of(atoms)
            found[1].values = self.charges_of(molecule("CH3CH2OH"))[1].values
            return found

        explorer = ChargeExplorer(atoms, charges_of=lazy)
        errors = explorer.turn(180, "z").errors
        assert errors[1] > 0.5
        assert max(errors[0], errors[2], errors[3]) < 1e-12
        assert "do not simply turn with the molecule" in explorer.table.words
        explorer.close()

    def test_the_slider_is_followed_and_drops_what_it_cannot(self, atoms):
        explorer = ChargeExplorer(atoms, charges_of=self.charges_of)
        for angle in range(1, 60):
            explorer.table.angle.value = angle
        end = time.monotonic() + 20
        while "+59°" not in explorer.table.words:
            assert time.monotonic() < end, explorer.table.words + explorer.log.text
            time.sleep(0.02)
        explorer.close()
        assert explorer.log.text == ""

    def test_a_crystal_turns_with_its_cell(self):
        salt = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        seen = []

        def charges_of(atoms):
            seen.append(atoms)
            return multipoles([0], n_atoms=8)

        explorer = ChargeExplorer(salt, charges_of=charges_of)
        explorer.turn(30, "z")
        np.testing.assert_allclose(
            seen[-1].get_all_distances(mic=True), salt.get_all_distances(mic=True), atol=1e-9
        )
        np.testing.assert_allclose(explorer.view._cell, salt.cell.array @ rotation_about("z", 30).T, atol=1e-12)
        explorer.close()

    def test_without_anything_to_ask_it_says_what_to_give(self, atoms):
        explorer = ChargeExplorer(atoms, multipoles([0]))
        assert explorer.table is None
        with pytest.raises(ValueError, match=r"give ChargeExplorer\(..., charges_of=...\)"):
            explorer.turn(90)
        explorer.close()
        fickle = ChargeExplorer(atoms, multipoles([0]), charges_of=lambda atoms: multipoles([1]))
        with pytest.raises(ValueError, match=r"degrees \[1\]; expected \[0\]"):
            fickle.turn(90)
        fickle.close()


class TestSlice:
    @pytest.mark.parametrize("across", ["best", "x", "y", "z"])
    def test_its_numbers_are_the_potential_at_its_points(self, atoms, across):
        learned = multipoles([0, 1, 2])
        shown = PotentialSlice(atoms.numbers, atoms.positions, learned)
        shown.direction.value = across
        shown.shift.value = 0.5
        shown.select([8])
        row, column = 10, 33
        place = shown.plane().points(shown.right[[column]], shown.up[[row]])
        expected = potential(place, atoms.positions, learned, shown.SMEARING)
        np.testing.assert_allclose(shown.values[row, column], expected[0], rtol=1e-9)
        normal = np.cross(shown.plane().right, shown.plane().up)
        assert normal @ (place[0] - atoms.positions[8]) == pytest.approx(0.5)
        if across != "best":
            np.testing.assert_allclose(normal, np.eye(3)["xyz".index(across)], atol=1e-12)
        shown.close()

    def test_the_best_plane_holds_a_flat_molecule(self):
        benzene = molecule("C6H6")
        benzene.rotate(40, "x")
        shown = PotentialSlice(benzene.numbers, benzene.positions, multipoles([0], n_atoms=12))
        np.testing.assert_allclose(shown.plane().seen(benzene.positions)[:, 2], 0, atol=1e-9)
        shown.close()

    def test_colours_are_symmetric_and_it_says_what_it_is(self, atoms):
        shown = PotentialSlice(atoms.numbers, atoms.positions, multipoles([0]))
        trace = shown.figure.data[0]
        assert trace.zmin == -trace.zmax < 0
        for words in ("learned equivariant charges", "open boundary", "Gaussian cloud", "arbitrary units"):
            assert words in shown.describe()
        assert shown.picture().startswith(b"\x89PNG")
        shown.close()
        in_e = PotentialSlice(atoms.numbers, atoms.positions, multipoles([0]), unit="e")
        assert "e/Å" in in_e.describe()
        in_e.close()


def test_the_picture_shows_all_panes(atoms):
    explorer = ChargeExplorer(atoms, multipoles([0]), reference_charges=np.arange(9.0))
    assert explorer.picture().startswith(b"\x89PNG")
    assert "arbitrary units" in explorer.describe()
    explorer.close()


def test_a_unit_that_the_model_states_is_kept(atoms):
    explorer = ChargeExplorer(atoms, multipoles([0, 1, 2]), unit="e")
    for index, unit in enumerate(("e", "e Å", "e Å^2")):
        explorer.show(index)
        assert explorer._unit_of(index, False) == unit
        assert unit in explorer.view._legend.value
    explorer.close()


def test_wrong_input_is_refused_in_words(atoms):
    with pytest.raises(ValueError, match="Predict with diagnose=True"):
        ChargeExplorer(atoms, [])
    with pytest.raises(ValueError, match=r"values of 'charge 1, l = 1' has shape \(8, 3\)"):
        ChargeExplorer(atoms, multipoles([1], n_atoms=8))
    with pytest.raises(ValueError, match=r"reference charges have shape \(8,\); expected \(9,\)"):
        ChargeExplorer(atoms, multipoles([0]), reference_charges=np.zeros(8))
    with pytest.raises(TypeError, match="Did you mean 'charges_of'"):
        ChargeExplorer(atoms, charge_of=lambda atoms: [])
    with pytest.raises(ValueError, match="no multipole of degree 0"):
        ChargeExplorer(atoms, multipoles([1]), reference_charges=np.zeros(9))
