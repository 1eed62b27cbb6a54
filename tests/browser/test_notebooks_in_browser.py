"""Notebooks as their readers meet them: opened, run from top to bottom, looked at, and their exercises answered.

Every run of the tests reads the tour, which shows most panels; `--every-notebook` reads them all, section by section.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from workbench.exercises import answered, read_solutions

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" in metafunc.fixturenames:
        paths = sorted(NOTEBOOKS.glob("*.ipynb"))
        if not metafunc.config.getoption("--every-notebook"):
            paths = paths[:1]
        metafunc.parametrize("path", paths, ids=lambda path: path.stem)


def sections(path):
    """The headings of a notebook."""
    prose = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    lines = [line for source in prose for line in source.splitlines()]
    return [line.removeprefix("## ") for line in lines if line.startswith("## ")]


def look_at(notebook, path):
    """Pictures of every section, a page at a time where it is long."""
    headings = notebook.page.locator(".jp-Notebook h2")
    for number, heading in enumerate(sections(path)):
        place = headings.filter(has_text=heading)
        place.evaluate("element => element.scrollIntoView({block: 'start'})")
        notebook.page.wait_for_timeout(2500)
        for part in "abc":
            notebook.screenshot(f"{path.stem}-{number}{part}")
            scrolled = notebook.page.evaluate(
                """next => {
                    const page = document.querySelector('.jp-WindowedPanel-outer') || document.scrollingElement;
                    const before = page.scrollTop;
                    const titles = [...document.querySelectorAll('.jp-Notebook h2')];
                    const below = titles.findIndex(h => h.getBoundingClientRect().top > 200);
                    if (below >= 0 && titles[below].getBoundingClientRect().top < window.innerHeight) return false;
                    page.scrollBy(0, 0.85 * window.innerHeight);
                    return page.scrollTop > before;
                }"""
            )
            if not scrolled:
                break
            notebook.page.wait_for_timeout(1500)


def exercise_cells(path):
    """Number of the exercise -> the source of its cell."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if "nbmake" in cell.metadata]
    return {number: cell.source for number, cell in enumerate(code, 1)}


def put(notebook, source, edited):
    """Put another text into the cell with this one, as a reader would, and run it."""
    notebook.page.evaluate(
        """async ([source, edited]) => {
            const book = window.jupyterapp.shell.currentWidget.content;
            const place = book.widgets.findIndex(cell => cell.model.sharedModel.getSource() === source);
            book.activeCellIndex = place;
            book.widgets[place].model.sharedModel.setSource(edited);
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        [source, edited],
    )


def test_a_notebook_runs_and_shows_itself(open_notebook, path):
    notebook = open_notebook(file=path, height=1250)
    look_at(notebook, path)
    if notebook.page.locator("canvas").count():
        assert notebook.pixels("canvas").std() > 5, "the 3D view is blank"
    cells, solutions = exercise_cells(path), read_solutions(NOTEBOOKS / "solutions" / f"{path.stem}.md")
    verdicts = notebook.page.locator(".jp-OutputArea b")
    assert verdicts.filter(has_text="Not answered yet.").count() == len(cells)
    for number, source in cells.items():
        solution, mistake, *_ = solutions[number]
        wrong = answered(source, mistake)
        put(notebook, source, wrong)
        verdicts.filter(has_text="Not yet.").wait_for()
        put(notebook, wrong, answered(source, solution))
        verdicts.filter(has_text="Right.").nth(number - 1).wait_for()
    notebook.screenshot(f"{path.stem}-answered")
    assert verdicts.filter(has_text="Not yet.").count() == 0
    # Re-running a cell replaces what it made before, and the kernel is free again.
    assert notebook.seconds_to_answer() < 0.5
    assert not notebook.complaints
