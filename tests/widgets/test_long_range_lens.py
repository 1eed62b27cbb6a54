"""LongRangeLens without a browser: curves, power laws, marks, and a structure that follows the slider."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule

from widgets.long_range_lens import LongRangeLens, default_stretch
from widgets.separation_plot import LOGARITHMIC, ONE_ZERO, OWN_ZERO

MOVING = np.arange(3, 8)


def fit(curve, start, end):
    """A power law by two points; none for a curve that is zero."""
    inside = (curve.distance >= start) & (curve.distance <= end)
    r, e = curve.distance[inside][[0, -1]], (curve.energy - curve.limit)[inside][[0, -1]]
    if not e.all():
        return SimpleNamespace(exponent=np.nan, low=np.nan, high=np.nan, verdict="nothing", of_force=False)
    n = -np.log(e[1] / e[0]) / np.log(r[1] / r[0])
    law = e[0] * r[0] ** n
    return SimpleNamespace(
        exponent=n, low=n - 0.1, high=n + 0.1, verdict="like a power", of_force=False, start=start, end=end,
        energy=lambda x: law * x**-n, force=lambda x: n * law * x ** (-n - 1),
    )  # fmt: skip


def separation(names=("H2O", "CH4"), n=25, power=1):
    pair = molecule(names[0]) + molecule(names[1])
    distance = np.linspace(3, 15, n)
    frames = []
    for d in distance:
        atoms = pair.copy()
        atoms.positions[MOVING] += [d, 0, 0]
        frames.append(atoms)
    charges = np.sin(np.arange(n))[:, None] * np.linspace(-1, 1, len(pair))
    few = distance[::4]
    curves = {
        "reference": SimpleNamespace(
            distance=few, energy=-2 / few**power, force=-2 * power / few ** (power + 1), limit=0.0,
            charges=np.ones((len(few), len(pair))), label="reference charge", unit="e", measured=True,
        ),
        "model": SimpleNamespace(
            distance=distance, energy=0.5 - 3 / distance**power, force=-3 * power / distance ** (power + 1),
            limit=0.5, charges=charges, label="learned charge of model", unit="", measured=False,
        ),
        "twin": SimpleNamespace(
            distance=distance, energy=np.where(distance < 7, -1.0, -0.2), force=0 * distance, limit=-0.2,
            charges=None, label="", unit="", measured=False,
        ),
    }  # fmt: skip
    return SimpleNamespace(
        distance=distance, frames=frames, moving=MOVING, curves=curves,
        cutoffs=(("model", 5.0, 7.0), ("twin", 5.0, 7.0)), trained=(3.0, 6.0), zero="the reference's molecules",
    )  # fmt: skip


@pytest.fixture
def lens():
    made = LongRangeLens({"water and methane": separation(), "again": separation(n=13, power=3)}, fit)
    yield made
    assert made.log.text == ""
    made.close()


def settled(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def trace(lens, name, row=0):
    return lens.plot.figure.data[row * 3 + lens.plot.names.index(name)]


def test_curves_stand_as_they_are_and_from_their_own_zero(lens):
    made = separation()
    np.testing.assert_allclose(trace(lens, "model").y, made.curves["model"].energy)
    np.testing.assert_allclose(trace(lens, "model", 1).y, made.curves["model"].force)
    lens.kind.value = OWN_ZERO
    np.testing.assert_allclose(trace(lens, "model").y, -3 / made.distance)
    assert "own fragments far apart" in lens.plot.words
    lens.kind.value = LOGARITHMIC
    np.testing.assert_allclose(trace(lens, "model").y, 3 / made.distance)
    assert lens.plot.figure.layout.yaxis.type == lens.plot.figure.layout.xaxis.type == "log"
    assert np.isnan(trace(lens, "twin").y[-1]), "zero has no logarithm"
    lens.kind.value = ONE_ZERO
    assert "the reference's molecules" in lens.plot.words
    assert trace(lens, "reference").mode == "markers"
    assert trace(lens, "model").mode == "lines"


def test_power_laws_are_drawn_on_the_stretch_that_is_asked_for(lens):
    assert lens.stretch.value == (9.0, 15.0)
    assert lens.tails["model"].exponent == pytest.approx(1)
    lens.stretch.value = (10.0, 14.0)
    law = lens.plot.figure.data[6 + lens.plot.names.index("model")]
    assert (law.x[0], law.x[-1]) == pytest.approx((10, 14))
    np.testing.assert_allclose(law.y, 0.5 - 3 / np.asarray(law.x), atol=1e-9)
    assert len(lens.plot.figure.data[6 + lens.plot.names.index("twin")].x) == 0
    assert "1.00 (0.90 to 1.10)" in lens._table.value
    assert "10.0 to 14.0" in lens.plot.words


def test_the_structure_its_charges_and_the_marks_follow_the_slider(lens):
    made = separation()
    lens.slider.value = 10
    settled(lambda: np.array_equal(lens.view._positions, made.frames[10].positions))
    np.testing.assert_array_equal(lens.view._colouring.values, made.curves["model"].charges[10])
    settled(lambda: lens.plot.figure.layout.shapes[-1].x0 == pytest.approx(made.distance[10]))
    here = lens.plot.figure.data[-2]
    np.testing.assert_allclose(here.x, made.distance[10])
    np.testing.assert_allclose(np.sort(here.y), np.sort([made.curves[n].energy[10] for n in ("model", "twin")]))
    limit = np.abs(made.curves["model"].charges).max()
    assert lens.view._colouring.scale.high == pytest.approx(limit), (
        "the colours change their meaning on the way"
    )


def test_learned_charges_come_first_and_are_never_called_partial(lens):
    assert lens.charges.value == "model"
    assert "learned charge of model" in lens.describe()
    assert "no partial charges" in lens._note.value
    lens.charges.value = "reference"
    lens.go_to(4.0)
    lens.flush()
    assert "known at" in lens._note.value, "charges of another distance, and it does not say so"
    assert "partial" not in lens._note.value
    lens.charges.value = "elements"
    assert lens.view._colouring is None


def test_a_click_on_a_curve_goes_there(lens):
    lens.go_to(8.4)
    assert lens.distance == pytest.approx(8.5)
    assert lens.numbers()["model"][0] == pytest.approx(0.5 - 3 / 8.5)
    assert np.isnan(lens.numbers()["reference"][0]), "the reference is not known at this distance"
    assert "–" in lens._table.value


def test_another_pair_begins_anew(lens):
    lens.go_to(15)
    lens.pair.value = "again"
    lens.flush()
    assert lens.distance == 3
    assert len(lens.slider.options) == len(lens.separation.distance) == 13
    assert lens.tails["model"].exponent == pytest.approx(3)
    assert len(trace(lens, "model").x) == 13
    assert lens.view.scene().sticks["rail"].end[-1, 0] > 15, "the rail ends before the way does"


def test_what_was_trained_on_and_the_cutoff_are_marked(lens):
    shade, cutoff, here = lens.plot.figure.layout.shapes
    assert (shade.x0, shade.x1) == (3, 6)
    assert cutoff.x0 == 7
    assert here.x0 == 3
    notes = " ".join(note.text for note in lens.plot.figure.layout.annotations)
    assert "trained on" in notes
    assert "never seen" in notes
    assert "cutoff (5 Å)" in notes
    assert lens.plot.words.count("no atom of the one") == 1
    assert "model and twin" in lens.plot.words


def test_the_wall_of_repulsion_does_not_flatten_the_well():
    steep = separation()
    model = steep.curves["model"]
    model.energy = model.energy + 1e4 * np.exp(-5 * (steep.distance - 3))
    lens = LongRangeLens({"steep": steep}, fit)
    assert lens.plot.figure.layout.yaxis.range[1] < 10
    assert lens.pair not in lens._body.children[0].children[0].children, "one pair needs no choice"
    lens.close()


def test_without_training_range_cutoffs_or_charges():
    bare = separation()
    bare.trained, bare.cutoffs = None, ()
    bare.curves = {"twin": bare.curves["twin"]}
    lens = LongRangeLens({"bare": bare}, fit)
    assert len(lens.plot.figure.layout.shapes) == 1
    assert lens.charges.value == "elements"
    assert lens.describe().startswith("bare, 3.00 Å apart. twin: energy -1.0000 eV")
    assert lens.picture().startswith(b"\x89PNG")
    assert lens.log.text == ""
    lens.close()


def test_the_slider_is_fast(lens):
    lens.flush()
    began = time.perf_counter()
    for index in range(25):
        lens.slider.value = index
        lens.flush()
    assert (time.perf_counter() - began) / 25 < 0.5


def test_the_stretch_begins_beyond_the_cutoff_while_there_is_room():
    made = separation()
    made.cutoffs = (("model", 8.0, 11.0), ("twin", 5.0, np.nan))
    assert default_stretch(made) == (11.0, 15.0)
    made.cutoffs = (("model", 11.0, 14.0),)
    assert default_stretch(made) == (9.0, 15.0)


def test_wrong_input_is_refused_in_words():
    with pytest.raises(ValueError, match="got no separations"):
        LongRangeLens({}, fit)
    wrong = separation()
    wrong.frames = wrong.frames[:-1]
    with pytest.raises(ValueError, match="25 distances and 24 frames"):
        LongRangeLens({"wrong": wrong}, fit)
    wrong = separation()
    wrong.curves["model"].force = np.zeros(3)
    with pytest.raises(ValueError, match="curve 'model': distance, energy and force have shapes"):
        LongRangeLens({"wrong": wrong}, fit)
    wrong = separation()
    wrong.curves["model"].charges = np.zeros((25, 3))
    with pytest.raises(ValueError, match=r"charges have shape \(25, 3\); expected \(25, 8\)"):
        LongRangeLens({"wrong": wrong}, fit)
