"""StructureView without a browser: its state, its messages to the front end, its refusals."""

import base64
import json
import threading
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from widgets import ngl_stage
from widgets.structure_view import StructureView


@pytest.fixture
def atoms():
    return molecule("CH3CH2OH")


class Loaded:
    """A view whose front end has announced itself; keeps what was sent to it."""

    def __init__(self, view, draws_at_once=True):
        self.view, self.sent, self.draws_at_once = view, [], draws_at_once
        view.stage.widget.send = self.receive
        self.announce()

    def receive(self, content, buffers=None):
        self.sent.append(content["args"][0])
        if self.draws_at_once:
            self.say_drawn()

    def say_drawn(self):
        self.view.stage._receive(None, {"type": "workbench_drawn"}, None)

    def announce(self):
        self.view.stage._receive(None, {"type": "request_loaded"}, None)

    def draws(self):
        start = "this.workbench?.draw("
        return [json.loads(code[len(start) : -1]) for code in self.sent if code.startswith(start)]

    def wait_for_draw(self, count):
        end = time.monotonic() + 5
        while len(self.draws()) < count:
            assert time.monotonic() < end, f"only {len(self.draws())} drawings"
            time.sleep(0.01)


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_nothing_is_sent_before_the_front_end_is_there_and_then_everything(atoms):
    view = StructureView(atoms)
    view.arrows(np.ones((9, 3)), label="force")
    loaded = Loaded(view)
    (message,) = loaded.draws()
    assert set(message["parts"]) == set(message["names"]) == {"atoms", "bonds", "arrows"}
    np.testing.assert_allclose(
        floats(message["parts"]["atoms"]["data"]["position"]), atoms.positions.ravel(), rtol=1e-6
    )
    assert message["fit"] is True
    view.close()


def test_only_what_changed_is_sent(atoms):
    view = StructureView(atoms)
    view.arrows(np.ones((9, 3)), label="force")
    loaded = Loaded(view)
    view.colour(np.arange(9.0))
    loaded.wait_for_draw(2)
    message = loaded.draws()[-1]
    assert set(message["parts"]) == {"atoms", "bonds"}
    assert message["fit"] is False
    view.arrows(None)
    loaded.wait_for_draw(3)
    assert loaded.draws()[-1]["names"] == ["atoms", "bonds"]
    view.close()


def test_no_half_made_state_is_ever_drawn(atoms):
    """Colouring on and off while the pump draws without pause."""
    view = StructureView(atoms, rate=1000)
    loaded = Loaded(view)
    for number in range(300):
        view.colour(None if number % 2 else np.arange(9.0)).arrows(None if number % 3 else np.ones((9, 3)))
    view.close()
    assert view.log.text == ""
    assert all("labels" not in d or d["parts"] for d in loaded.draws() if d["labels"])


def test_a_reloaded_page_gets_the_whole_state_and_its_camera(atoms):
    view = StructureView(atoms)
    loaded = Loaded(view)
    view.stage.widget._camera_orientation = list(range(16))
    loaded.announce()
    message = loaded.draws()[-1]
    assert set(message["parts"]) == {"atoms", "bonds"}
    assert message["fit"]
    assert not message["camera"], "nobody has moved it: the view is fitted anew"
    view.stage._receive(None, {"type": "workbench_touched"}, None)
    loaded.announce()
    assert loaded.draws()[-1]["camera"] == list(range(16))
    view.close()


def test_streaming_drops_and_ends_with_the_last_frame(atoms):
    view = StructureView(atoms)
    loaded = Loaded(view)
    for step in range(400):
        view.update(atoms.positions + step / 400)
        time.sleep(0.001)
    time.sleep(0.5)
    draws = loaded.draws()
    assert 3 < len(draws) < 16, f"{len(draws)} drawings of 400 frames in half a second"
    last = floats(draws[-1]["parts"]["atoms"]["data"]["position"])
    np.testing.assert_allclose(last, (atoms.positions + 399 / 400).ravel(), rtol=1e-5)
    view.close()


def test_a_slow_browser_is_not_flooded(atoms):
    view = StructureView(atoms)
    loaded = Loaded(view, draws_at_once=False)
    for step in range(100):
        view.update(atoms.positions + step)
        time.sleep(0.005)
    assert len(loaded.draws()) == 1, "sent more before the browser had drawn the first"
    loaded.say_drawn()
    loaded.wait_for_draw(2)
    last = floats(loaded.draws()[-1]["parts"]["atoms"]["data"]["position"])
    np.testing.assert_allclose(last, (atoms.positions + 99).ravel(), rtol=1e-6)
    loaded.say_drawn()
    view.close()


def test_a_view_leaves_no_thread_behind(atoms):
    before = threading.active_count()
    views = [StructureView(atoms) for _ in range(5)]
    time.sleep(0.5)
    assert threading.active_count() <= before
    for view in views:
        view.close()


def test_a_bond_made_or_broken_keeps_the_size_of_the_buffer():
    view = StructureView(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
    near = ngl_stage._parts(view.scene())["bonds"]["data"]
    view.update([[0, 0, 0], [0, 0, 5.0]])
    far = ngl_stage._parts(view.scene())["bonds"]["data"]
    assert (floats(near["radius"]) > 0.01).sum() == 1
    assert (floats(far["radius"]) > 0.01).sum() == 0
    view.close()


def test_periodic_structures_show_their_cell():
    view = StructureView(bulk("NaCl", "rocksalt", 5.64, cubic=True))
    assert "cell" in view.scene().sticks
    assert "5.64 × 5.64 × 5.64 Å" in view.describe()
    view.close()


def test_frames_are_shown_by_number(atoms):
    frames = [atoms.copy() for _ in range(3)]
    frames[2].positions += 1.0
    view = StructureView(frames)
    view.show_frame(2)
    np.testing.assert_allclose(view.scene().positions, frames[2].positions)
    view._slider.value = 0
    np.testing.assert_allclose(view.scene().positions, frames[0].positions)
    with pytest.raises(ValueError, match=r"no frame 3; expected 0\.\.2"):
        view.show_frame(3)
    view.close()


def test_links_follow_the_atoms(atoms):
    view = StructureView(atoms).links([[0, 2], [1, 2]], [1.0, 0.5])
    view.update(atoms.positions + 1.0)
    links = view.scene().sticks["links"]
    np.testing.assert_allclose(links.start, atoms.positions[[0, 1]] + 1.0)
    assert links.radii[0] == 2 * links.radii[1]
    view.close()


def test_picking_calls_back_and_errors_are_shown(atoms):
    picked = []
    view = StructureView(atoms, on_pick=picked.append)
    Loaded(view).view.stage._receive(None, {"type": "workbench_pick", "index": 4}, None)
    assert picked == [4]
    broken = StructureView(atoms, on_pick=lambda index: {}[index])
    broken.stage._receive(None, {"type": "workbench_pick", "index": 4}, None)
    assert "KeyError: 4" in broken.log.text
    view.close()
    broken.close()


class TestFrames:
    @pytest.fixture
    def view(self, atoms):
        frames = [atoms.copy() for _ in range(3)]
        rng = np.random.default_rng(0)
        for frame in frames:
            frame.calc = SinglePointCalculator(frame, forces=rng.normal(size=(9, 3)))
        view = StructureView(frames)
        yield view
        view.close()

    def test_numbers_and_vectors_of_every_frame_follow_the_player_on_one_scale(self, view):
        values = np.arange(27.0).reshape(3, 9)
        vectors = np.ones((3, 9, 3)) * [[[1.0]], [[2.0]], [[4.0]]]
        view.colour(values, label="charge").arrows(vectors, label="dipole")
        first = view.scene()
        view._slider.value = 2
        last = view.scene()
        scale = view._colouring.scale
        assert (scale.low, scale.high) == (0.0, 26.0)
        np.testing.assert_allclose(first.colours, scale.colours(values[0]))
        np.testing.assert_allclose(last.colours, scale.colours(values[2]))
        lengths = [np.linalg.norm(s.arrows.end - s.arrows.start, axis=1)[0] for s in (first, last)]
        assert lengths[1] == pytest.approx(2.4)
        assert lengths[0] == pytest.approx(0.6)
        assert "from 18 to 26" in view.describe()

    def test_tensors_of_every_frame_follow_as_well(self, view):
        tensors = np.zeros((3, 9, 3, 3))
        tensors[1] = np.diag([1.0, -0.5, -0.5])
        view.ellipsoids(tensors)
        assert len(view.scene().ellipsoids.centres) == 0
        view.show_frame(1)
        assert len(view.scene().ellipsoids.centres) == 9

    def test_one_call_colours_by_the_forces_that_the_frames_carry(self, view):
        view.colour_by_force()
        for index in (0, 2):
            view.show_frame(index)
            forces = view.frames[index].get_forces()
            np.testing.assert_allclose(view._colouring.values, np.linalg.norm(forces, axis=1))
        assert not view._colouring.scale.diverging
        assert view._colouring.scale.low == 0.0
        assert "force |F| [eV/Å]" in view._legend.value

    def test_a_structure_without_forces_says_what_to_do(self, atoms):
        view = StructureView(atoms)
        with pytest.raises(
            ValueError, match=r"frame 0 carries no forces; give them: colour_by_force\(forces\)"
        ):
            view.colour_by_force()
        forces = np.eye(3)[np.arange(9) % 3]
        np.testing.assert_allclose(view.colour_by_force(forces)._colouring.values, 1.0)
        view.close()


class TestSelection:
    def test_a_click_selects_and_a_second_click_ends_it(self, atoms):
        picked, told = [], []
        view = StructureView(atoms, on_pick=picked.append)
        view.on_selection(told.append)
        for message in ({"index": 2}, {"index": 8, "more": True}, {"index": 2, "more": True}, {"index": 8}):
            view.stage._receive(None, {"type": "workbench_pick", **message}, None)
        assert told == [(2,), (2, 8), (8,), ()]
        assert picked == [2, 8, 2, 8]
        view.close()

    def test_selected_atoms_have_halos_and_are_measured(self, atoms):
        view = StructureView(atoms).select([2, 8])
        halos = view.scene().halos
        np.testing.assert_allclose(halos.centres, atoms.positions[[2, 8]])
        assert (halos.radii > view.scene().radii[[2, 8]]).all()
        for pair in ([2, 3], [1, 2]):
            view.select(pair)
            assert f"{atoms.get_distance(*pair):.3f} Å" in view.describe()
        view.select([1, 2, 3])
        assert f"angle {atoms.get_angle(1, 2, 3):.1f}°" in view.describe()
        view.select(range(5))
        assert "selected: 5 atoms" in view.describe()
        view.select(None)
        assert view.scene().halos is None
        with pytest.raises(ValueError, match=r"no atom 9; expected 0\.\.8"):
            view.select(9)
        view.close()

    def test_the_measured_distance_is_that_of_the_nearest_image(self):
        pair = Atoms("ArNe", positions=[[0.5, 5, 5], [9.25, 5, 5]], cell=[10, 10, 10], pbc=True)
        view = StructureView(pair).select([0, 1])
        assert "1.250 Å" in view.describe()
        view.close()

    def test_the_measured_distance_follows_the_moving_atoms(self, atoms):
        view = StructureView(atoms).select([0, 1])
        view.update(2 * atoms.positions)
        end = time.monotonic() + 5
        while f"{2 * atoms.get_distance(0, 1):.3f} Å" not in view._words.value:
            assert time.monotonic() < end, view._words.value
            time.sleep(0.02)
        view.close()

    def test_the_keyboard_steps_through_the_atoms(self, atoms):
        picked = []
        view = StructureView(atoms, on_pick=picked.append)
        for by in (1, 1, -1, -1):
            view.stage._receive(None, {"type": "workbench_step", "by": by}, None)
        assert picked == [0, 1, 0, 8]
        assert view.selected == (8,)
        view.stage._receive(None, {"type": "workbench_step", "by": 0}, None)
        assert view.selected == ()
        view.close()


class TestImages:
    @pytest.fixture
    def salt(self):
        return bulk("NaCl", "rocksalt", 5.64, cubic=True)

    def test_they_stand_around_the_cell_pale_and_mean_their_atom(self, salt):
        picked = []
        view = StructureView(salt, on_pick=picked.append).images(1)
        loaded = Loaded(view)
        drawn = view.scene()
        images = {tuple(row) for row in np.round(drawn.positions[8:], 6)}
        repeated = salt.repeat((3, 3, 3))
        repeated.positions -= salt.cell.sum(axis=0)
        missing = {tuple(row) for row in np.round(repeated.positions, 6) + 0.0} - images
        assert missing == {tuple(row) for row in np.round(salt.positions, 6) + 0.0}
        assert ngl_stage._parts(drawn)["images"]["opacity"] < 0.5
        assert drawn.labels[8].endswith("(periodic image)")
        ball = 8 + int(np.flatnonzero(drawn.copies == 3)[0])
        view.stage._receive(None, {"type": "workbench_pick", "index": ball}, None)
        assert picked == [3]
        assert loaded.draws()[-1]["copies"] == drawn.copies.tolist()
        view.close()

    def test_bonds_reach_them(self, salt):
        view = StructureView(salt).images(0.1)
        sticks = view.scene().sticks["image bonds"]
        np.testing.assert_allclose(np.linalg.norm(sticks.end - sticks.start, axis=1), 2.82)
        assert sticks.opacity < 1
        inside = StructureView(salt).scene().sticks["bonds"]
        assert len(view.scene().sticks["bonds"].radii) == len(inside.radii)
        view.close()

    def test_the_control_and_the_method_agree_and_nothing_means_none(self, salt):
        view = StructureView(salt)
        view._around.value = 1.0
        assert len(view.scene().copies)
        assert "pale" in view.describe()
        view.images(0)
        assert view._around.value == 0.0
        assert len(view.scene().copies) == 0
        view.images(0, 0, 0.5)
        z = view.scene().positions[8:, 2]
        assert z.min() < 0
        assert z.max() > 5.64
        assert view.log.text == ""
        view.close()

    def test_a_direction_that_is_not_periodic_is_not_repeated(self, salt):
        salt.pbc = (True, True, False)
        view = StructureView(salt).images(1)
        np.testing.assert_allclose(np.unique(np.round(view.scene().positions[:, 2], 6)), [0.0, 2.82])
        view.close()

    def test_what_cannot_be_shown_is_refused(self, salt, atoms):
        molecule_view, view = StructureView(atoms), StructureView(salt)
        with pytest.raises(ValueError, match="not periodic"):
            molecule_view.images(1)
        with pytest.raises(ValueError, match="expected numbers >= 0"):
            view.images(-1)
        with pytest.raises(ValueError, match="expected at most 20,000"):
            view.images(12)
        assert len(view.scene().copies) == 0
        view.close()
        molecule_view.close()

    def test_a_link_across_the_border_goes_to_the_nearest_image(self):
        pair = Atoms("ArNe", positions=[[0.5, 5, 5], [9.5, 5, 5]], cell=[10, 10, 10], pbc=True)
        view = StructureView(pair).links([[0, 1]], [1.0], label="attention")
        drawn = view.scene()
        np.testing.assert_allclose(drawn.sticks["links"].end, [[-0.5, 5, 5]], atol=1e-12)
        np.testing.assert_allclose(drawn.positions[2:], [[-0.5, 5, 5]], atol=1e-12)
        pair.pbc = False
        view = StructureView(pair).links([[0, 1]], [1.0])
        np.testing.assert_allclose(view.scene().sticks["links"].end, [[9.5, 5, 5]])
        view.close()


def test_the_legend_says_what_arrows_ellipsoids_and_links_mean(atoms):
    view = StructureView(atoms)
    view.arrows(np.eye(3)[np.arange(9) % 3], label="dipole <mu>", unit="e Å")
    view.ellipsoids(np.tile(np.diag([2.0, -1.0, -1.0]), (9, 1, 1)), label="quadrupole")
    view.links([[0, 1]], [0.3], label="attention")
    for words in ("dipole &lt;mu&gt;, longest 1 e Å", "strongest eigenvalue 2;", "attention, widest 0.3"):
        assert words in view._legend.value
    view.arrows(None).ellipsoids(None).links(None)
    assert view._legend.value == ""
    view.close()


def test_inputs_are_not_modified(atoms):
    before = atoms.positions.copy()
    positions = atoms.positions.copy()
    view = StructureView(atoms)
    view.update(positions)
    positions += 7.0
    np.testing.assert_array_equal(view.scene().positions, before)
    np.testing.assert_array_equal(atoms.positions, before)
    view.close()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda v: v.colour(np.ones(8)), r"values has shape \(8,\); expected \(9,\)"),
        (lambda v: v.colour(np.full(9, np.nan)), "all NaN"),
        (lambda v: v.arrows(np.ones((3, 9))), r"vectors has shape \(3, 9\); expected \(9, 3\)"),
        (lambda v: v.ellipsoids(np.ones((9, 5))), r"expected \(9, 3, 3\)"),
        (lambda v: v.update(np.ones((1, 3))), r"positions has shape \(1, 3\)"),
        (lambda v: v.update(np.ones((9, 3)), values=np.ones(9)), "call colour"),
        (lambda v: v.update(np.ones((9, 3)), vectors=np.ones((9, 3))), "call arrows"),
        (lambda v: v.links([[0, 9]], [1.0]), r"expected 0\.\.8"),
        (lambda v: v.links([[0, 1]], [-1.0]), "one weight >= 0 per pair"),
    ],
)
def test_wrong_shapes_are_refused_in_words(atoms, act, message):
    view = StructureView(atoms)
    with pytest.raises(ValueError, match=message):
        act(view)
    view.close()


def test_frames_of_other_atoms_are_refused(atoms):
    with pytest.raises(ValueError, match="frame 1 has other atoms"):
        StructureView([atoms, molecule("H2O")])
    with pytest.raises(ValueError, match="no atoms"):
        StructureView(Atoms())


def test_without_nglview_there_is_a_picture_and_the_reason(atoms, monkeypatch):
    monkeypatch.setattr(ngl_stage, "why_not", lambda: "nglview is not there")
    view = StructureView(atoms)
    assert view.stage is None
    assert bytes(view.widget.children[0].value).startswith(b"\x89PNG")
    assert "still picture, because nglview is not there" in view.log.text
    before = bytes(view.widget.children[0].value)
    view.colour(np.arange(9.0))
    view.close()
    assert bytes(view.widget.children[0].value) != before


def test_an_nglview_of_two_halves_is_noticed(monkeypatch, tmp_path):
    assert ngl_stage.why_not() is None
    extension = tmp_path / "share/jupyter/labextensions/nglview-js-widgets"
    extension.mkdir(parents=True)
    (extension / "package.json").write_text('{"version": "0.0.1"}')
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert "0.0.1 is installed" in ngl_stage.why_not()
