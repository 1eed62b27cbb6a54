"""RacePanel without a browser, on a real race."""

import time

import numpy as np
import pytest
from structures_for_tests import labelled_water

from widgets.cost_plot import CostPlot
from widgets.race_panel import RacePanel, best, step_ms
from workbench import desk


def wait_until(condition, patience_s=120.0):
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def make(tmp_path):
    made = []

    def panel(data, **options):
        models = [("lorem", "tiny"), ("mlanet", "tiny")]
        made.append(RacePanel(**desk.race(data, models, folder=tmp_path, batch_size=4, **options)))
        return made[-1]

    yield panel
    for one in made:
        one.close()
        wait_until(lambda one=one: one.controls.state not in ("running", "paused", "stopping"))


def finish(panel):
    wait_until(lambda: panel.controls._ended and not panel.controls._pump.alive)


def test_a_race_is_drawn_and_told_in_a_table(make):
    panel = make(labelled_water(12), budget_s=2.0)
    assert "No race yet" in panel.describe()
    panel.start()
    finish(panel)
    assert panel.controls.state == "done"
    assert panel.log.text == panel.controls.log.text == ""
    assert panel.curves.shown == ["lorem tiny", "mlanet tiny"]
    lorem, mlanet = panel.race.entrants
    reached = {e.title: best(e.stream, "forces_mae_meV_per_A") for e in (lorem, mlanet)}
    for entrant, row in zip((lorem, mlanet), panel.rows(), strict=True):
        assert row[0] == entrant.title
        assert row[2] == f"{reached[entrant.title]:.3g} meV/Å"
        assert row[3] == f"{step_ms(entrant):.3g} ms"
        assert row[4] == f"{entrant.n_parameters:,}"
        assert row[-1] == "out of time"
    words = panel.describe()
    first = min(reached, key=reached.get)
    assert words.startswith(f"Best force error: {first} (")
    assert f"{lorem.n_parameters:,}" in words
    x, _ = panel.curves._curve(panel.curves._runs["lorem tiny"], "forces_mae_meV_per_A")
    assert 1.0 < x.max() < 60.0, "computing time, in seconds"
    points = [trace for trace in panel.costs._figure.data if len(trace.x)]
    assert len(points) == 6
    assert points[0].x[0] == lorem.n_parameters
    assert points[0].y[0] == pytest.approx(reached["lorem tiny"])
    assert panel.picture().startswith(b"\x89PNG")


def test_a_second_race_takes_the_place_of_the_first_and_mistakes_are_said(make):
    panel = make(labelled_water(12), budget_s=1.0)
    panel.form.set(data="nowhere.xyz")
    panel.start()
    finish(panel)
    assert panel.controls.state == "failed"
    assert "there is no file nowhere.xyz" in panel.controls.log.text
    assert "Traceback" not in panel.controls.log.text
    panel.form.set(data="the frames given", model_1="mlanet tiny", model_2="lorem tiny")
    panel.start()
    finish(panel)
    assert panel.controls.state == "done"
    assert panel.curves.shown == ["mlanet tiny", "lorem tiny"]
    panel.form.set(model_2="mlanet tiny")
    panel.controls.start_button.click()
    assert "expected each model once" in panel.controls.log.text
    assert panel.curves.shown == ["mlanet tiny", "lorem tiny"], "what was done is lost"


def test_points_that_are_not_known_are_not_drawn():
    plot = CostPlot(["parameters", "memory [MB]"])
    assert "No contestant" in plot.describe()
    plot.show({"a": (100, np.nan), "b": (200, 3.0)}, {"a": 5.0, "b": np.nan}, "error [meV/Å]")
    assert [len(trace.x) for trace in plot._figure.data] == [1, 0, 0, 0, 0, 0]
    assert plot._figure.data[0].showlegend is True
    assert plot.picture().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="made for 3"):
        plot.show({name: (1, 1) for name in "abcd"}, dict.fromkeys("abcd", 1.0), "error")
