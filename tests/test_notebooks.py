"""Notebooks as they stand in git: without outputs, short, mostly prose, one question each, with an exercise. nbmake
runs them, and with them the solutions of their exercises."""

from __future__ import annotations

import ast
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from workbench.exercises import read_solutions

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
ALL = sorted(NOTEBOOKS.glob("*.ipynb"))

MOST_CODE_CELLS = 20
LONGEST_CELL = 30  # lines of code
LEAST_PROSE = 1 / 3  # of the cells


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == kind]


def ends_in_check(source: str) -> bool:
    """Whether a cell's last line shows what `workbench.exercises.check` says."""
    if source.startswith("%%"):
        return False
    last = ast.parse(source).body[-1]
    return (
        isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Call)
        and ast.unparse(last.value.func) == "check"
    )


def exercises(path: Path) -> list[tuple[str, nbformat.NotebookNode]]:
    """The exercises of a notebook: the prose above, and the cell."""
    all_cells = read(path).cells
    return [
        (above.source, cell)
        for above, cell in pairwise(all_cells)
        if cell.cell_type == "code" and ends_in_check(cell.source)
    ]


def test_the_tour_is_there() -> None:
    assert NOTEBOOKS / "00_tour.ipynb" in ALL


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_is_a_valid_notebook(self, path: Path) -> None:
        nbformat.validate(read(path))

    def test_holds_no_outputs_and_no_widget_state(self, path: Path) -> None:
        for number, cell in enumerate(cells(path, "code")):
            assert not cell.outputs, (
                f"code cell {number} of {path.name} has outputs: Edit > Clear Outputs of All Cells"
            )
            assert cell.execution_count is None, f"code cell {number} of {path.name} has an execution count"
            assert not {"execution", "ExecuteTime"} & set(cell.metadata), (
                f"code cell {number} of {path.name} has times"
            )
        assert "widgets" not in read(path).metadata, f"{path.name} holds widget state"

    def test_names_a_kernel_that_every_machine_has(self, path: Path) -> None:
        assert read(path).metadata.kernelspec.name == "python3"

    def test_opens_with_its_title_and_its_question(self, path: Path) -> None:
        first = read(path).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith("# "), f"{path.name} opens with {first.source[:40]!r}; expected a title"
        assert "?" in first.source, f"the opening of {path.name} asks no question"

    def test_is_short_and_a_third_prose(self, path: Path) -> None:
        code, prose = cells(path, "code"), cells(path, "markdown")
        assert 0 < len(code) <= MOST_CODE_CELLS
        assert len(prose) >= LEAST_PROSE * (len(code) + len(prose))
        for number, cell in enumerate(code):
            lines = [
                line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")
            ]
            assert 0 < len(lines) <= LONGEST_CELL, f"code cell {number} of {path.name} has {len(lines)} lines"

    def test_needs_no_shell_and_no_network(self, path: Path) -> None:
        for cell in cells(path, "code"):
            for line in cell.source.splitlines():
                assert not line.lstrip().startswith(("!", "%pip", "%%bash")), f"{path.name}: {line}"
                assert "http://" not in line, f"{path.name}: {line}"
                assert "https://" not in line, f"{path.name}: {line}"

    def test_grows_by_one_setting(self, path: Path) -> None:
        """SCALE is set once, to the two minutes of a laptop, says what it does, and does it."""
        code = [cell.source for cell in cells(path, "code")]
        settings = [line for source in code for line in source.splitlines() if line.startswith("SCALE = ")]
        assert len(settings) == 1, f"{path.name} sets SCALE {len(settings)} times"
        assert re.match(r"SCALE = 1  # 1: .+; .+", settings[0]), f"{settings[0]!r} does not say what it does"
        assert sum("SCALE" in source for source in code) > 1, f"nothing in {path.name} grows with SCALE"

    def test_sums_up_and_says_what_is_too_small_to_be_science(self, path: Path) -> None:
        prose = "\n".join(cell.source for cell in cells(path, "markdown"))
        headings = [line for line in prose.splitlines() if line.startswith("## ")]
        assert headings[-2:] == ["## Summary", "## What is too small here to be science"]

    def test_has_exercises_with_solutions_that_nbmake_runs(self, path: Path) -> None:
        solutions = NOTEBOOKS / "solutions" / f"{path.stem}.md"
        found = exercises(path)
        assert found, f"{path.name} has no exercise: a cell that ends in check(...)"
        assert list(read_solutions(solutions)) == list(range(1, len(found) + 1))
        for number, (prose, cell) in enumerate(found, 1):
            assert f"**Exercise {number}.**" in prose, f"no '**Exercise {number}.**' above {cell.source!r}"
            assert cell.metadata.get("nbmake", {}).get("post_cell_execute") == [
                "from workbench.exercises import prove",
                f"prove('solutions/{path.stem}.md', {number}, globals())",
            ], f"the metadata of exercise {number} of {path.name} does not ask nbmake to prove it"


def test_the_teachers_guide_leads_to_every_notebook_and_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (NOTEBOOKS / "README.md").read_text(encoding="utf-8"))
    assert {path.name for path in ALL} | {f"solutions/{path.stem}.md" for path in ALL} <= set(links)
    assert all((NOTEBOOKS / link).exists() for link in links if "://" not in link)


def test_every_solution_belongs_to_a_notebook() -> None:
    assert {path.stem for path in (NOTEBOOKS / "solutions").iterdir()} <= {path.stem for path in ALL}


def test_git_holds_no_run_of_a_notebook() -> None:
    """A notebook writes to runs/ or build/, which git ignores, wherever it is started."""
    for place in ("runs/x", "notebooks/runs/x", "build/x", "notebooks/.ipynb_checkpoints/x"):
        run = subprocess.run(["git", "check-ignore", "-q", place], cwd=NOTEBOOKS.parent)
        assert run.returncode == 0, f"git would keep {place}; see .gitignore"
