"""The tour as its reader meets it: opened, run from top to bottom, looked at."""

from pathlib import Path

TOUR = Path(__file__).resolve().parents[2] / "notebooks" / "00_tour.ipynb"

# What the reader sees of each section, by its heading.
SECTIONS = {
    "tour-data": "1 · Look at the data",
    "tour-training": "3 · Train it",
    "tour-parity": "4 · Does it know structures",
    "tour-charges": "5 · See the charges",
    "tour-dynamics": "6 · Let it move",
    "tour-long-range": "7 · What no cutoff reaches",
}


def test_the_tour_runs_and_shows_itself(open_notebook):
    notebook = open_notebook(file=TOUR, height=1250)
    assert notebook.ask("run.outcome.state") == "finished"
    assert notebook.ask("dynamics.state") == "finished"
    page = notebook.page
    for name, heading in SECTIONS.items():
        page.locator("h2", has_text=heading).evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(2500)
        notebook.screenshot(name)
    page.locator(".js-plotly-plot").last.evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(1000)
    notebook.screenshot("tour-tail")
    assert notebook.pixels("canvas").std() > 5, "the 3D view is blank"
    # Re-running a cell replaces what it made before, and the kernel is free again.
    assert notebook.seconds_to_answer() < 0.5
    assert not notebook.complaints
