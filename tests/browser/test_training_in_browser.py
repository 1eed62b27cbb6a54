"""TrainingPanel and RacePanel with real trainings, in a real browser. Trainings last until they are stopped."""

import time

TRAINING = """
from widgets import TrainingPanel
from workbench import desk
panel = TrainingPanel(**desk.training("ethanol", folder="runs", epochs=100_000, structures=40, batch_size=4,
                                      name="first", max_degree=1, max_degree_lr=1, n_features=16))
panel
"""
DARK = "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab %s'})"


def in_both_themes(notebook, name):
    notebook.screenshot(name)
    notebook.page.evaluate(DARK % "Dark")
    try:
        notebook.page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
        time.sleep(1.5)
        notebook.screenshot(f"{name}-dark")
    finally:
        notebook.page.evaluate(DARK % "Light")
        notebook.page.wait_for_selector("body[data-jp-theme-light=true]", state="attached")


def curve(notebook, number=0):
    """The points of the first curve of a figure, as the browser has them."""
    return notebook.page.evaluate(
        f"() => Array.from(document.querySelectorAll('.js-plotly-plot')[{number}]?.data?.[0]?.y ?? [])"
    )


def wait_for_points(notebook, wanted, number=0, patience_s=60):
    """Until the first curve of a figure has so many points in the browser; returns them."""
    end = time.monotonic() + patience_s
    while len(points := curve(notebook, number)) != wanted:
        assert time.monotonic() < end, f"figure {number} has {len(points)} points; expected {wanted}"
        time.sleep(0.3)
    return points


def wait_until_drawn(notebook, patience_s=60):
    """Until the 3D view shows atoms."""
    end = time.monotonic() + patience_s
    while (notebook.pixels("canvas").std(axis=-1) > 20).mean() < 0.004:  # a molecule in a wide view
        if time.monotonic() > end:
            notebook.screenshot("no-structure")
            raise AssertionError("the structure is not to be seen")
        time.sleep(0.5)


def test_a_training_from_the_form_to_the_worst_structure_and_back(open_notebook):
    notebook = open_notebook(TRAINING, width=1250, height=1500)
    page = notebook.page
    page.wait_for_selector("button.widget-button")
    notebook.screenshot("training-form")
    notebook.press("Start")
    notebook.wait_until("panel.run is not None and panel._shown is not None", 240)
    assert notebook.ask("panel.controls.state") == "running"
    assert notebook.seconds_to_answer() < 0.5, "the kernel does not answer while it trains"
    notebook.wait_until("len(panel.run.stream) > 60", 240)
    notebook.press("Pause")
    notebook.wait_until("panel.controls.state == 'paused'")
    page.wait_for_selector("canvas", timeout=120_000)
    notebook.wait_until("panel.errors.view.stage._loaded", 60)
    wait_until_drawn(notebook)
    notebook.show(".jp-OutputArea-child")
    in_both_themes(notebook, "training-running")

    # The structures with the lowest and the highest energy stand alone at the ends of the plot.
    ends = notebook.ask(
        "[int(panel._shown.energy.reference.argmin()), int(panel._shown.energy.reference.argmax())]"
    )
    wanted = next(end for end in ends if end != notebook.ask("panel.errors.chosen"))
    box = (
        page.locator(".js-plotly-plot")
        .nth(1)
        .locator(".scatterlayer .trace path.point")
        .nth(wanted)
        .bounding_box()
    )
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    time.sleep(0.3)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    notebook.wait_until(f"panel.errors.chosen == {wanted}")
    notebook.press("Worst energy")
    notebook.wait_until("panel.errors.chosen == panel.errors.worst('energy')")

    reached = notebook.ask("len(panel.run.stream)")
    notebook.press("Resume")
    notebook.wait_until(f"len(panel.run.stream) > {reached}")
    notebook.press("Stop")
    notebook.wait_until("panel.controls.state == 'stopped' and not panel.controls._pump.alive")
    # The page draws the panel anew when a run has ended.
    n_steps = notebook.ask("len(panel.curves._figure.data[0].x)")
    assert n_steps >= min(notebook.ask("sum('loss' in row for row in panel.run.stream.since(0))"), 500)
    shown = wait_for_points(notebook, n_steps)
    wait_for_points(notebook, 100, number=1)

    notebook.save()
    page.reload()
    notebook._wait_for_kernel()
    page.wait_for_selector(".js-plotly-plot .main-svg", timeout=60_000)
    page.wait_for_selector("canvas", timeout=60_000)
    wait_until_drawn(notebook)
    time.sleep(1.5)
    assert wait_for_points(notebook, n_steps) == shown, "a reloaded page shows other numbers"
    wait_for_points(notebook, 100, number=1)
    notebook.show(".jp-OutputArea-child")
    notebook.screenshot("training-reloaded")
    assert page.locator("button.widget-button", has_text="Continue").is_enabled()
    assert "stopped: it was asked to stop" in page.locator(".jp-OutputArea").last.inner_text()
    assert notebook.ask("panel.log.text + panel.controls.log.text + panel.errors.log.text") == ""
    assert not notebook.complaints


RACE = """
from widgets import RacePanel
from workbench import desk
panel = RacePanel(**desk.race("ethanol", [("lorem", "tiny"), ("mlanet", "tiny")], folder="runs", budget_s=100_000,
                              structures=20, batch_size=4))
panel
"""


def test_a_race_of_two(open_notebook):
    notebook = open_notebook(RACE, width=1250, height=1150)
    page = notebook.page
    page.wait_for_selector("button.widget-button")
    notebook.screenshot("race-form")
    notebook.press("Start")
    judged = "panel.race is not None and all('lowest' in words for words in panel.curves.describe().split(' at ')[1:])"
    notebook.wait_until(f"{judged} and len(panel.curves.describe().split(' at ')) == 3", 180)
    assert notebook.seconds_to_answer() < 0.5, "the kernel does not answer during a race"
    notebook.press("Pause")
    notebook.wait_until("panel.controls.state == 'paused'")
    time.sleep(2)
    in_both_themes(notebook, "race")
    assert page.locator(".js-plotly-plot").count() == 2
    table = page.locator("table").last.inner_text()
    assert "lorem tiny" in table
    assert "mlanet tiny" in table
    assert f"{notebook.ask('panel.race.entrants[1].n_parameters'):,}" in table
    notebook.press("Stop")
    notebook.wait_until("panel.controls.state == 'stopped'", 60)
    assert notebook.ask("panel.log.text + panel.controls.log.text") == ""
    assert not notebook.complaints
