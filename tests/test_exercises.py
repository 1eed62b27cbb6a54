"""Exercises: what a check says of each answer, and that nbmake runs solutions and mistakes."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbmake.nb_run import NotebookRun

from workbench.exercises import Verdict, answered, check, function, number, prove, read_solutions, statements

GAIN = 12.0
SOLUTIONS = """# Solutions

## Exercise 1: which are true

It gains.

```python
answer = {"a"}
```

Often:

```python
answer = {"a", "b"}
```

## Exercise 2

```python
def double(x):
    return 2 * x
```

```python
def double(x):
    return x**2
```
"""
WHICH = 'answer = ...  # letters\n\ncheck(answer, statements({"a": (True, "yes"), "b": (False, "no")}))'
DOUBLE = 'def double(x):\n    return ...  # fill in\n\n\ncheck(double, function([((3,), 6)], "as it says"))'


@pytest.fixture
def solutions(tmp_path: Path) -> Path:
    path = tmp_path / "solutions.md"
    path.write_text(SOLUTIONS)
    return path


class TestCheck:
    def test_an_unedited_cell_is_not_answered_and_its_judge_not_asked(self) -> None:
        verdict = check(..., lambda answer: answer / 0)
        assert verdict.right is None
        assert "run the cell again" in verdict.why

    def test_what_an_answer_breaks_is_said(self) -> None:
        verdict = check("three", number(3, 0.1, ""))
        assert verdict.right is False
        assert "ValueError" in verdict.why

    def test_a_judge_of_ones_own(self) -> None:
        verdict = check(0.5, lambda timestep: (np.float64(timestep) < 1, "short enough"))
        assert verdict == Verdict(True, "short enough")
        assert repr(verdict) == "Right. short enough"

    def test_it_is_shown_as_text_and_not_as_markup(self) -> None:
        shown = check(1, lambda _: (False, "a < b"))._repr_html_()
        assert "Not yet." in shown
        assert "a &lt; b" in shown


class TestStatements:
    judge = staticmethod(
        statements({"a": (GAIN > 1, "it gains"), "b": (GAIN < 0, "it gains, too"), "c": (True, "")})
    )

    @pytest.mark.parametrize("answer", [{"a", "c"}, ["c", "a"], ("a", "c", "a")])
    def test_all_that_is_true(self, answer: object) -> None:
        assert self.judge(answer)[0]

    def test_one_that_is_not(self) -> None:
        right, why = self.judge({"a", "b", "c"})
        assert not right
        assert "b is not true: it gains, too" in why

    def test_one_too_few(self) -> None:
        right, why = self.judge("a")
        assert not right
        assert "There is one more." in why

    def test_none_at_all(self) -> None:
        assert self.judge(set()) == (False, "There are 2 more.")

    def test_an_unknown_name(self) -> None:
        right, why = self.judge("ac")
        assert not right
        assert "no ac here; choose among a, b, c" in why


class TestNumber:
    judge = staticmethod(number(-0.48, 0.05, "Coulomb", "eV"))

    @pytest.mark.parametrize("answer", [-0.48, -0.44, "-0.5", np.float32(-0.52)])
    def test_near_enough(self, answer: object) -> None:
        assert self.judge(answer) == (True, "Coulomb")

    @pytest.mark.parametrize(
        ("answer", "word"),
        [
            (-0.6, "too large"),
            (-0.3, "too small"),
            (0.48, "wrong sign"),
            (float("nan"), "finite"),
            (-np.inf, "finite"),
        ],
    )
    def test_not_near_enough(self, answer: float, word: str) -> None:
        right, why = self.judge(answer)
        assert not right
        assert word in why


class TestFunction:
    judge = staticmethod(function([((1.0,), 14.4), ((np.array([2.0, 4.0]),), np.array([7.2, 3.6]))], "1/r"))

    def test_right(self) -> None:
        assert self.judge(lambda r: 14.4 / r) == (True, "1/r")

    def test_not_filled_in(self) -> None:
        assert self.judge(lambda r: ...)[0] is None

    def test_wrong_value_wrong_shape_and_an_error(self) -> None:
        right, why = self.judge(lambda r: 14.4 / r**2)
        assert not right
        assert "For ([2. 4.])" in why
        assert self.judge(lambda r: 14.4 / np.sum(r)) == (False, "It returns the shape (); expected (2,).")
        assert "TypeError" in check(lambda: 1, self.judge).why


class TestSolutions:
    def test_are_read_by_number_with_their_mistakes(self, solutions: Path) -> None:
        blocks = read_solutions(solutions)
        assert list(blocks) == [1, 2]
        assert blocks[1] == ['answer = {"a"}\n', 'answer = {"a", "b"}\n']

    def test_need_a_mistake_and_one_heading_each(self, tmp_path: Path) -> None:
        path = tmp_path / "s.md"
        path.write_text("## Exercise 1\n\n```python\nanswer = 1\n```\n")
        with pytest.raises(ValueError, match="at least one mistake"):
            read_solutions(path)
        path.write_text(SOLUTIONS + "\n## Exercise 2\n")
        with pytest.raises(ValueError, match="two headings"):
            read_solutions(path)

    def test_replace_the_first_statement_alone(self) -> None:
        assert answered("# look\nanswer = (\n    ...\n)\n\ncheck(answer)", "answer = 3") == (
            "# look\nanswer = 3\n\ncheck(answer)"
        )


def notebook(path: Path, cells: dict[int, str]) -> Path:
    """One exercise per cell, as the notebooks hold them."""
    metadata = {
        number: {
            "nbmake": {
                "post_cell_execute": [
                    "from workbench.exercises import prove",
                    f"prove('solutions.md', {number}, globals())",
                ]
            }
        }
        for number in cells
    }
    first = nbformat.v4.new_code_cell("from workbench.exercises import check, function, statements")
    rest = [nbformat.v4.new_code_cell(cell, metadata=metadata[number]) for number, cell in cells.items()]
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *rest]), path)
    return path


class TestProve:
    def test_in_a_notebook(self, solutions: Path) -> None:
        """In one kernel, as under nbmake: nothing is raised, and the cell shows its unedited state."""
        path = notebook(solutions.with_name("n.ipynb"), {1: WHICH, 2: DOUBLE})
        result = NotebookRun(path, 60).execute()
        assert result.error is None
        assert "Not answered yet" in result.nb.cells[2].outputs[0]["data"]["text/plain"]

    def test_a_check_that_accepts_anything_fails_the_notebook(self, solutions: Path) -> None:
        path = notebook(
            solutions.with_name("n.ipynb"), {1: "answer = ...\ncheck(answer, lambda _: (True, ''))"}
        )
        with pytest.raises(Exception, match="does not refuse a mistake"):
            NotebookRun(path, 60).execute()

    def namespace(self, cell: str, verdict: object) -> dict:
        run: dict = {"check": check, "statements": statements}
        return run | {"In": ["", cell, "prove(...)"], "Out": {1: verdict}}

    def test_an_unedited_cell_that_is_right_already(self, solutions: Path) -> None:
        with pytest.raises(AssertionError, match="as it stands, gives Right"):
            prove(solutions, 1, self.namespace(WHICH, Verdict(True, "")))
        with pytest.raises(AssertionError, match="gives None"):
            prove(solutions, 1, self.namespace(WHICH, None))

    def test_a_check_that_refuses_its_solution(self, solutions: Path) -> None:
        cell = WHICH.replace("True", "False")
        with pytest.raises(AssertionError, match="does not accept its solution"):
            prove(solutions, 1, self.namespace(cell, Verdict(None, "")))

    def test_a_cell_that_does_not_end_in_its_check(self, solutions: Path) -> None:
        with pytest.raises(AssertionError, match="expected its check"):
            prove(solutions, 1, self.namespace("answer = ...\nx = 1", Verdict(None, "")))
