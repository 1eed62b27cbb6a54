"""DatasetBrowser without a browser: what is drawn, marked, listed, and where a click leads."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from widgets.dataset_browser import DatasetBrowser
from widgets.distributions import Distributions, edges
from widgets.frame_view import FrameView
from widgets.property_map import PART, PropertyMap


def frames_of(n=60, labelled=True):
    names = ("H2O", "CH4", "CH3CH2OH")
    frames = [molecule(names[index % 3]) for index in range(n)]
    for index, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=index)
        if labelled:
            forces = np.random.default_rng(index).normal(size=(len(atoms), 3))
            atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces)
    return frames


def columns_of(n=60):
    rng = np.random.default_rng(0)
    energy = rng.normal(size=n)
    energy[7] = np.nan
    return {"energy [eV]": energy, "force [eV/Å]": rng.uniform(size=n), "atoms": 3.0 + np.arange(n) % 3}


PARTS = ["train"] * 40 + ["test"] * 20


@pytest.fixture
def browser():
    frames = frames_of()
    warning = SimpleNamespace(severity="warning", what="twice the same", frames=(5, 9, 30), fix="Keep one")
    samples = {
        "force component [eV/Å]": (
            np.concatenate([f.get_forces().ravel() for f in frames]),
            np.concatenate([np.full(3 * len(f), i) for i, f in enumerate(frames)]),
        ),
        "energy [eV]": (columns_of()["energy [eV]"], np.arange(60)),
        "number of atoms": (np.full(60, 9.0), np.arange(60)),
    }
    made = DatasetBrowser(
        frames,
        columns_of(),
        distributions=samples,
        parts=PARTS,
        outliers=[(23, "force 9 eV/Å"), (2, "energy 5 eV")],
        warnings=[warning],
        title="A set",
    )
    yield made
    assert made.log.text == ""
    made.close()


def settled(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ringed(browser, trace=-1):
    return list(browser.map.figure.data[trace].x)


def test_every_frame_with_both_numbers_is_a_point_of_its_part(browser):
    train, test = browser.map.figure.data[:2]
    assert (train.name, test.name) == ("train", "test")
    np.testing.assert_array_equal(train.customdata, [i for i in range(40) if i != 7])
    np.testing.assert_array_equal(test.x, columns_of()["energy [eV]"][40:])
    assert "59 of 60 frames" in browser.map.words
    assert browser.map.figure.layout.xaxis.title.text == "energy [eV]"


def test_another_column_goes_on_an_axis_and_into_the_colour(browser):
    browser.x.value, browser.colour.value = "atoms", "energy [eV]"
    train = browser.map.figure.data[0]
    np.testing.assert_array_equal(train.x, columns_of()["atoms"][:40])
    np.testing.assert_array_equal(train.marker.color, columns_of()["energy [eV]"][:40])
    assert train.marker.cmin == -train.marker.cmax, "both signs, and the scale is not centred on zero"
    assert train.marker.colorbar.title.text == "energy [eV]"
    browser.colour.value = PART
    assert isinstance(browser.map.figure.data[0].marker.color, str)


def test_a_click_on_the_map_shows_that_frame_everywhere(browser):
    trace = browser.map.figure.data[1]
    browser.map._clicked(trace, SimpleNamespace(point_inds=[3]), browser.show)
    assert browser.frame == browser.slider.value == 43
    np.testing.assert_array_equal(browser.view._positions, browser.frames[43].positions)
    settled(lambda: ringed(browser) == [columns_of()["energy [eV]"][43]])
    forces = browser.frames[43].get_forces().ravel()
    np.testing.assert_array_equal(np.sort(browser.distributions._rugs[0].x), np.sort(forces))
    assert "Frame 43 of part test" in browser._words.value


def test_the_slider_and_the_lists_lead_to_frames(browser):
    browser.slider.value = 11
    assert browser.frame == 11
    browser.outlier.value = 1
    assert browser.frame == 2
    browser.flush()
    assert ringed(browser, -2) == [columns_of()["energy [eV]"][f] for f in (23, 2)]
    for wanted in (5, 9, 30, 5):
        browser.see[0].click()
        assert browser.frame == wanted
    assert "frames 5, 9, 30: twice the same. Keep one." in browser.describe()


def test_a_click_on_a_bar_goes_through_the_frames_that_have_such_a_value(browser):
    name = "energy [eV]"
    values = columns_of()[name]
    bounds = browser.distributions.edges[name]
    bin_of = int(np.argmax(browser.distributions.shares(name)["train"]))
    inside = np.flatnonzero((values >= bounds[bin_of]) & (values <= bounds[bin_of + 1]))
    assert len(inside) > 2
    browser.show(int(inside[0]))
    for wanted in (*inside[1:], inside[0]):
        browser.flush()
        browser.distributions._clicked(name, SimpleNamespace(point_inds=[bin_of]))
        assert browser.frame == wanted


def test_arrows_are_the_forces_on_one_scale(browser):
    for frame in (0, 1, 50):
        browser.show(frame)
        arrows, forces = browser.view.scene().arrows, browser.frames[frame].get_forces()
        assert len(arrows.start) == len(browser.frames[frame])
        np.testing.assert_allclose(arrows.end - arrows.start, browser.view._vectors.scale * forces)
    assert browser.view._vectors.scale == pytest.approx(2.4 / browser._largest)


def test_structures_of_any_make_share_one_view():
    view = FrameView(molecule("H2O"))
    view.colour([1.0, 2.0, 3.0], label="charge")
    view.select(2)
    stage = view.stage
    view.see(molecule("CH3CH2OH"))
    drawn = view.scene()
    assert len(drawn.positions) == len(drawn.radii) == len(view.numbers) == 9
    assert "9 atoms (C2 O H6)" in view.describe()
    assert view._colouring is None
    assert view.selected == ()
    view.see(bulk("NaCl", "rocksalt", a=5.6))
    assert "in a cell" in view.describe()
    assert "cell" in view.scene().sticks
    view.see(molecule("H2O"))
    assert "cell" not in view.scene().sticks
    assert view.stage is stage
    assert view.log.text == ""
    view.close()


def test_the_view_keeps_what_is_on_the_same_atoms():
    view = FrameView(molecule("H2O"))
    view.colour([1.0, 2.0, 3.0], label="charge")
    moved = molecule("H2O")
    moved.rattle(0.1)
    view.see(moved)
    np.testing.assert_array_equal(view.scene().positions, moved.positions)
    assert "charge" in view.describe()
    view.close()


def test_histograms_count_per_part_and_leave_nothing_out(browser):
    name = "force component [eV/Å]"
    values, of = browser.distributions.samples[name]
    bounds = browser.distributions.edges[name]
    inside = (values >= bounds[0]) & (values <= bounds[-1])
    for part, share in browser.distributions.shares(name).items():
        mine = np.array(PARTS)[of] == part
        assert share.sum() == pytest.approx(100 * (inside & mine).sum() / mine.sum())
    assert "number of atoms: 9 throughout" in browser.distributions.words
    assert "number of atoms" not in browser.distributions.samples


def test_bins_are_whole_for_whole_numbers_and_not_stretched_by_one_value():
    np.testing.assert_array_equal(edges(np.array([3.0, 4, 4, 6])), [2.5, 3.5, 4.5, 5.5, 6.5])
    normal = np.random.default_rng(0).normal(size=5000)
    assert np.ptp(edges(np.append(normal, 1e6))) < 20
    assert np.ptp(edges(np.array([1.0] * 999 + [2.5]))) > 0


def test_of_ten_thousand_frames_some_are_drawn_and_it_says_so():
    n = 10_000
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=n), "b": rng.normal(size=n)}
    frames = [molecule("H2O")] * n
    began = time.monotonic()
    browser = DatasetBrowser(frames, columns, outliers=[(1234, "why"), (9999, "why not")])
    assert time.monotonic() - began < 20
    drawn = browser.map.figure.data[0].customdata
    assert len(drawn) == len(set(drawn)) == PropertyMap.POINTS
    ends = [int(f(v)) for v in columns.values() for f in (np.argmin, np.argmax)]
    assert {1234, 9999, *ends} <= set(drawn)
    assert "4000 of them are drawn" in browser.describe()
    browser.show(5)
    browser.flush()
    assert ringed(browser) == [columns["a"][5]], "a frame that is not drawn is not marked either"
    browser.close()


def test_frames_without_labels_or_split_and_a_single_one(tmp_path):
    browser = DatasetBrowser(
        [molecule("H2O"), molecule("CH4")], {"a": [1, 2], "b": [3, 4]}, numbers=[100, 200], title="Two"
    )
    assert browser.view.scene().arrows is None
    browser.show(1)
    assert "Frame 200: CH4" in browser.describe()
    assert "No frame stands out" in browser._body.children[3].children[0].children[1].children[0].value
    browser.save_png(tmp_path / "browser.png")
    assert (tmp_path / "browser.png").read_bytes().startswith(b"\x89PNG")
    browser.close()
    alone = DatasetBrowser([molecule("H2O")], {"a": [1], "b": [3]})
    assert alone.slider.disabled
    alone.close()


def test_wrong_input_is_refused_in_words():
    frames = [molecule("H2O")] * 3
    columns = {"a": [1, 2, 3], "b": [3, 4, 5]}
    for wrong, words in (
        ({"frames": []}, "got no frames"),
        ({"columns": {"a": [1, 2, 3]}}, "at least two"),
        ({"columns": {"a": [1, 2], "b": [1, 2, 3]}}, r"column 'a' has shape \(2,\)"),
        ({"parts": ["train"]}, "parts has 1 entries"),
        ({"outliers": [(3, "")]}, "name frame 3; expected 0..2"),
        ({"numbers": [1]}, "numbers has 1 entries"),
        ({"x": "c"}, "there is no column 'c'"),
        ({"distributions": {"a": ([1, 2], [1])}}, "one frame for each value"),
    ):
        with pytest.raises(ValueError, match=words):
            DatasetBrowser(**{"frames": frames, "columns": columns} | wrong)
    with pytest.raises(TypeError, match="Did you mean 'columns'"):
        DatasetBrowser(frames, colums=columns)


def test_numbers_that_are_all_missing_make_no_picture_but_no_error_either():
    empty = Distributions({"a": ([np.nan, np.nan], [0, 1])}, np.array(["all", "all"]), print)
    assert empty.words == "There are no numbers to show."
    assert empty.picture().startswith(b"\x89PNG")
