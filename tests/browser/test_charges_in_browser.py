"""ChargeExplorer with the charges of a real model, in a real browser."""

import time

import numpy as np

MODEL = """
import torch
from widgets import ChargeExplorer
from workbench import build, catalogue, predict
torch.manual_seed(0)
model = build("lorem", "tiny")
atoms = catalogue.load("ethanol")[40]
def charges_of(atoms):
    return predict(model, atoms, diagnose=True).diagnostics.multipoles
"""


def choose(notebook, label, option):
    notebook.page.get_by_label(label, exact=True).select_option(option)


def settle(notebook, seconds=1.5):
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    notebook.wait_until("explorer.view.stage._loaded")
    notebook.page.wait_for_selector(".js-plotly-plot .contourlayer", timeout=20_000)
    time.sleep(seconds)


def test_charges_turn_are_sliced_and_set_against_the_reference(open_notebook):
    notebook = open_notebook(
        MODEL, "explorer = ChargeExplorer(atoms, charges_of=charges_of)\nexplorer", height=1500
    )
    settle(notebook)
    notebook.show(".wb-panel")
    notebook.screenshot("charges-scalar")
    assert notebook.pixels("canvas").std() > 10
    seen = [notebook.pixels("canvas")]
    for index, name in ((2, "vector"), (3, "tensor")):
        notebook.page.get_by_label("show", exact=True).select_option(index=index)
        notebook.wait_until(f"explorer.choice.value == {index}")
        time.sleep(1.5)
        notebook.screenshot(f"charges-{name}")
        seen.append(notebook.pixels("canvas"))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (seen[one] != seen[other]).mean() > 0.005, "the picture does not follow the choice"

    # By keyboard: the slider turns the molecule, and the measured error stands beside it.
    choose(notebook, "plane", "across z")
    notebook.wait_until("explorer.slice.direction.value == 'z'")
    before = notebook.ask("explorer.slice.values.tolist()")
    notebook.page.locator(".noUi-handle").first.focus()
    for _ in range(12):
        notebook.page.keyboard.press("PageUp")
    notebook.wait_until("explorer.table.angle.value > 20 and explorer._now is not None")
    notebook.wait_until("f'{explorer.table.angle.value:+d}°' in explorer.table.words")
    assert "exactly as far as single precision goes" in notebook.page.locator(".wb-panel").first.inner_text()
    assert notebook.ask("max(explorer._now.errors)") < 3e-5
    turned = np.array(notebook.ask("explorer.slice.values.tolist()"))
    assert np.abs(turned - before).max() > 0.1 * np.abs(before).max(), "the slice across z did not change"
    time.sleep(1)
    notebook.screenshot("charges-turned")

    # A point of the scatter stands for an atom: it is selected everywhere.
    points = notebook.page.locator(".js-plotly-plot").last.locator(".scatterlayer .points path")
    assert points.count() == 9
    points.nth(2).click(force=True)
    notebook.wait_until("len(explorer.view.selected) == 1")
    (atom,) = notebook.ask("explorer.view.selected")
    assert notebook.ask("explorer.slice.plane().origin.tolist()") == notebook.ask(
        f"explorer._now.atoms.positions[{atom}].tolist()"
    )
    time.sleep(1)
    notebook.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    try:
        time.sleep(2)
        notebook.screenshot("charges-dark")
        for selector in ("canvas", ".js-plotly-plot"):
            assert notebook.pixels(selector)[:5, :5].mean() < 60, f"the ground of {selector} stayed white"
    finally:
        notebook.page.evaluate(
            "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
        )
    assert notebook.ask("explorer.log.text") == ""
    assert not notebook.complaints
