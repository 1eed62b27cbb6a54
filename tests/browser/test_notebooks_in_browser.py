"""Notebooks as their readers meet them: opened, run from top to bottom, looked at."""

from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"

# What the reader sees of each section, by its heading.
TOUR = {
    "tour-data": "1 · Look at the data",
    "tour-training": "3 · Train it",
    "tour-parity": "4 · Does it know structures",
    "tour-charges": "5 · See the charges",
    "tour-dynamics": "6 · Let it move",
    "tour-long-range": "7 · What no cutoff reaches",
}
ALLSCAIP = {
    "allscaip-stages": "2 · Two stages",
    "allscaip-attention": "3 · Look at the attention",
    "allscaip-explanation": "4 · Is attention an explanation",
    "allscaip-far": "6 · A hundred ångströms away",
}

MLANET = {
    "mlanet-dynamics": "3 · Let both run",
    "mlanet-paths": "4 · What each path attends to",
    "mlanet-layers": "6 · Peel off a layer",
}


def look_at(notebook, sections):
    """A picture of every section; every one of them is there."""
    for name, heading in sections.items():
        notebook.page.locator("h2", has_text=heading).evaluate(
            "element => element.scrollIntoView({block: 'start'})"
        )
        notebook.page.wait_for_timeout(2500)
        notebook.screenshot(name)
    assert notebook.pixels("canvas").std() > 5, "the 3D view is blank"


def test_the_tour_runs_and_shows_itself(open_notebook):
    notebook = open_notebook(file=NOTEBOOKS / "00_tour.ipynb", height=1250)
    assert notebook.ask("run.outcome.state") == "finished"
    assert notebook.ask("dynamics.state") == "finished"
    look_at(notebook, TOUR)
    page = notebook.page
    page.locator(".js-plotly-plot").last.evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)
    notebook.screenshot("tour-tail")
    # Re-running a cell replaces what it made before, and the kernel is free again.
    assert notebook.seconds_to_answer() < 0.5
    assert not notebook.complaints


def test_allscaip_shows_what_it_attends_to(open_notebook):
    notebook = open_notebook(file=NOTEBOOKS / "04_allscaip.ipynb", height=1400)
    assert notebook.ask("second.outcome.state") == "finished"
    look_at(notebook, ALLSCAIP)
    assert not notebook.complaints


def test_mlanet_parts_layers(open_notebook):
    notebook = open_notebook(file=NOTEBOOKS / "05_mlanet.ipynb", height=1400)
    look_at(notebook, MLANET)
    assert not notebook.complaints
