"""DatasetBrowser and LongRangeLens in a real browser, on the project's own data and with real models."""

import time

import numpy as np

DATA = """
from workbench import desk
from widgets.dataset_browser import DatasetBrowser
browser = DatasetBrowser(**desk.dataset("small_molecules"))
browser
"""

# Trained for a moment on the near part of the curve, so that there is something to see.
MODELS = """
import torch
from workbench import TrainingConfig, build, catalogue, desk, fit
from widgets.long_range_lens import LongRangeLens
torch.manual_seed(0)
near = [a for a in catalogue.load("ion_pair") if a.info["orientation"] == 0 and a.info["split"] == "near"]
brief = TrainingConfig(epochs=60, batch_size=10, learning_rate=5e-3, energy_weight=1000, validate_every=60)
models = {}
for name, long_range in (("LOREM", True), ("local twin", False)):
    models[name] = build("lorem", "tiny", long_range=long_range)
    fit(models[name], near, near, brief, folder=name.replace(" ", "-"), progress=False)
"""
LENS = """
lens = LongRangeLens(**desk.separation("ion_pair", models, n_points=30))
lens
"""


def settle(notebook, view, seconds=1.5):
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    notebook.wait_until(f"{view}.stage._loaded")
    drawn = "() => [...document.querySelectorAll('.js-plotly-plot')].every(p => p.data && p.data.length > 4)"
    notebook.page.wait_for_function(drawn, timeout=30_000)
    time.sleep(seconds)


def in_the_dark(notebook, name):
    """A screenshot in the dark theme."""
    theme = "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab %s'})"
    notebook.page.evaluate(f"() => {theme % 'Dark'}")
    try:
        time.sleep(2)
        notebook.screenshot(name)
    finally:
        notebook.page.evaluate(f"() => {theme % 'Light'}")


def until(holds, complaint, patience_s=20.0):
    """Wait until a look at the page shows it."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, complaint
        time.sleep(0.5)


def atoms_seen(notebook):
    """Share of the 3D picture that is not ground."""
    pixels = notebook.pixels("canvas").astype(int)
    return (np.abs(pixels - pixels[3, 3]).max(axis=-1) > 40).mean()


def other(notebook, before):
    """Whether the 3D picture has changed."""
    return (notebook.pixels("canvas") != before).mean() > 0.005


def click_point(notebook, trace, point):
    """Click a point of the first plot where the browser has drawn it."""
    place = notebook.page.evaluate(
        """([trace, point]) => {
            const plot = document.querySelector('.js-plotly-plot'), layout = plot._fullLayout;
            const box = plot.getBoundingClientRect(), data = plot.data[trace];
            return [box.x + layout._size.l + layout.xaxis.l2p(Array.from(data.x)[point]),
                    box.y + layout._size.t + layout.yaxis.l2p(Array.from(data.y)[point])];
        }""",
        [trace, point],
    )
    notebook.page.mouse.move(*place)
    time.sleep(0.3)
    notebook.page.mouse.click(*place)


def test_a_data_set_is_looked_through(open_notebook):
    notebook = open_notebook(DATA, width=1200, height=1500)
    settle(notebook, "browser.view")
    notebook.show(".jp-OutputArea-child")
    notebook.screenshot("dataset-browser")
    until(lambda: atoms_seen(notebook) > 0.005, "no molecule is to be seen")
    first = notebook.pixels("canvas")

    # A click on the map shows that frame, though it is another molecule.
    frame = notebook.ask("int(browser.map.figure.data[0].customdata[150])")
    assert frame != 0
    click_point(notebook, 0, 150)
    notebook.wait_until("browser.frame != 0")
    assert abs(notebook.ask("browser.map.x[browser.frame]") - notebook.ask(f"browser.map.x[{frame}]")) < 0.2
    until(lambda: other(notebook, first), "the picture is still that of the first molecule")

    # The arrow keys go on from there.
    here = notebook.ask("browser.frame")
    notebook.page.locator(".widget-slider [role=slider], .widget-slider .noUi-handle").last.focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowRight")
    notebook.wait_until(f"browser.frame == {here} + 3")

    # So does a line of the list of outliers.
    notebook.page.locator("select[size], .widget-select select").last.select_option(index=1)
    notebook.wait_until("browser.frame == browser.outliers[1][0]")
    selects = notebook.page.locator(".widget-dropdown select")
    selects.nth(2).select_option(label="number of atoms")
    notebook.wait_until("browser.map.scale is not None")
    time.sleep(1.5)
    notebook.screenshot("dataset-browser-outlier")
    wanted = notebook.ask("float(browser.map.x[browser.frame])")
    ring = "() => Array.from(document.querySelector('.js-plotly-plot').data.at(-1).x)[0]"
    until(lambda: notebook.page.evaluate(ring) == wanted, "the map rings another frame")
    in_the_dark(notebook, "dataset-browser-dark")
    assert notebook.ask("browser.log.text") == ""
    assert not notebook.complaints


def test_two_ions_are_pulled_apart(open_notebook):
    notebook = open_notebook(MODELS, LENS, width=1250, height=1000)
    settle(notebook, "lens.view", 2)
    notebook.show(".js-plotly-plot")
    notebook.screenshot("long-range-lens-near")
    until(lambda: atoms_seen(notebook) > 0.005, "no ion is to be seen")
    near = notebook.pixels("canvas")
    notebook.page.locator(".widget-slider [role=slider], .widget-slider .noUi-handle").last.focus()
    notebook.page.keyboard.press("End")
    notebook.wait_until("lens.distance > 14.9")
    until(lambda: other(notebook, near), "the ions have not moved")
    line = "() => document.querySelector('.js-plotly-plot').layout.shapes.at(-1).x0"
    until(
        lambda: abs(notebook.page.evaluate(line) - 15) < 0.1,
        "the line that marks the distance has stayed behind",
    )
    time.sleep(1)
    notebook.screenshot("long-range-lens-far")
    pixels = notebook.pixels("canvas").astype(int)
    columns = np.flatnonzero((np.abs(pixels - pixels[3, 3]).max(axis=-1) > 40).any(axis=0)) / pixels.shape[1]
    assert columns.min() < 0.35, "one ion has left the picture"
    assert columns.max() > 0.65, "the other ion has left the picture"
    notebook.page.locator("button.widget-toggle-button", has_text="log–log").click()
    notebook.wait_until("lens.kind.value == 'log–log'")
    kind = "() => document.querySelector('.js-plotly-plot').layout.yaxis.type"
    until(lambda: notebook.page.evaluate(kind) == "log", "the axes are not logarithmic")
    time.sleep(1)
    notebook.screenshot("long-range-lens-logarithmic")
    in_the_dark(notebook, "long-range-lens-dark")
    assert notebook.ask("lens.log.text") == ""
    assert not notebook.complaints
