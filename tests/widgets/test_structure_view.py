"""StructureView without a browser: its state, its messages to the front end, its refusals."""

import base64
import json
import threading
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

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
        start = "this.workbench.draw("
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
