"""DynamicsPanel, from its form to a saved trajectory, in a real browser."""

import time

PANEL = """
import torch
from ase.build import bulk
from widgets import DynamicsPanel
from workbench import build, desk

torch.manual_seed(0)
# Random weights hold no salt together; small ones make a gas that hardly notices itself, and moves until it is stopped.
models = {"LOREM": build("lorem", "tiny"), "MLANet": build("mlanet", "tiny")}
with torch.no_grad():
    for parameter in models["LOREM"].parameters():
        parameter.mul_(0.3)
salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
panel = DynamicsPanel(**desk.dynamics(salt, models, folder="md", temperature_K=100.0, timestep_fs=1.0,
                                      time_ps=10_000.0, interval=1, cause_steps=32))
panel
"""


# Names of the curves that have points, of every plot.
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].map(
    plot => plot.data.filter(trace => trace.x && trace.x.length > 32).map(trace => trace.name))"""


def shows_atoms(notebook):
    """Whether the balls of sodium (violet) and chlorine (green) are to be seen."""
    return (notebook.pixels("canvas").std(axis=-1) > 20).mean() > 0.02


def test_runs_are_started_compared_explained_and_saved(open_notebook):
    notebook = open_notebook("from workbench.desk import dynamics", PANEL, height=1500)
    page = notebook.page
    page.wait_for_selector("canvas")
    notebook.wait_until("panel.view.stage._loaded")
    notebook.screenshot("dynamics-form")
    notebook.press("Start")
    notebook.wait_until("len(panel.stream) > 40", 240)
    assert notebook.seconds_to_answer() < 0.5, "the kernel does not answer while the run goes on"
    first = notebook.ask("panel.view._positions.sum(axis=1).tolist()")
    notebook.wait_until(f"panel.view._positions.sum(axis=1).tolist() != {first}")
    notebook.wait_until(
        "panel.drift is not None and panel.drift.n_rows > 40 and panel.distances._n_frames > 1", 240
    )
    notebook.press("Pause")
    notebook.wait_until("panel.controls.state == 'paused'")
    notebook.press("Resume")
    notebook.press("Keep to compare")
    notebook.press("Stop")
    notebook.wait_until("panel.controls.state == 'stopped' and panel.controls._ended", 60)
    assert shows_atoms(notebook), "the structure is gone when the run has ended"

    notebook.do("panel.form.set(timestep_fs=4.0, ensemble='bussi')")
    notebook.press("Start")
    notebook.wait_until("panel.name.startswith('2') and len(panel.stream) > 40", 240)
    notebook.press("Stop")
    notebook.wait_until("panel.controls.state == 'stopped' and panel.controls._ended", 60)
    names = page.evaluate(DRAWN)
    assert {"1: LOREM, nve 100 K, 1 fs", "2: LOREM, bussi 100 K, 4 fs"} <= {n for some in names for n in some}
    assert "2: LOREM, bussi 100 K, 4 fs" in page.locator("table").last.inner_text()

    notebook.press("Why does it drift?")
    notebook.wait_until("panel.question.answer is not None", 300)
    notebook.show("button.widget-button")
    notebook.screenshot("dynamics-compared")
    with page.expect_download() as download:
        notebook.press("Save trajectory")
    assert download.value.suggested_filename == "Cl4Na4-bussi-1.xyz"
    saved = download.value.path().read_bytes()
    assert saved.decode() == notebook.ask("open('md/Cl4Na4-bussi-1.xyz').read()")
    assert saved.count(b"Lattice") == notebook.ask("len(panel.stream)")

    notebook.do("panel.form.set(timestep_fs=90.0, temperature_K=300.0, ensemble='nve')")
    notebook.press("Start")
    notebook.wait_until(
        "panel.name.startswith('3') and panel.controls.state == 'done' and panel.controls._ended", 60
    )
    page.wait_for_selector("[role=alert]")
    assert "exploded at step 0" in page.locator("[role=alert]").first.inner_text()
    page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    time.sleep(2)
    notebook.show("button.widget-button")
    notebook.screenshot("dynamics-exploded-dark")
    page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
    )
    logs = "[p.log.text for p in (panel, panel.controls, panel.view, panel.curves, panel.distances, panel.question)]"
    assert notebook.ask(logs) == [""] * 6
    assert not notebook.complaints
