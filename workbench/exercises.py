"""Exercises in a notebook: a check says right or wrong, and why.

The reader changes the first statement of a cell; its last line is the check, with a judge that knows what was measured:

    answer = ...  # the letters of the true statements, e.g. {"a", "b"}

    check(answer, statements({"a": (gain > 1, f"it gains {gain:.0f} meV"), "b": (gain < 0, "it gains")}))

`statements`, `number` and `function` make the usual judges; any callable answer -> (right, why) is one, and is asked
only once there is an answer. A wrong answer is a sentence, never an exception.

Solutions are Markdown (`notebooks/solutions/`): under each heading "## Exercise N" the first block of Python is what
replaces the cell's first statement, and every further one is a mistake that readers make. `prove` runs them all. The
cell's metadata asks nbmake for that, in the kernel that has just run the cell, with all that it measured:

    "nbmake": {"post_cell_execute": ["from workbench.exercises import prove",
                                     "prove('solutions/04_allscaip.md', 1, globals())"]}
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

# answer -> (right, why); None instead of True or False: it is no answer yet.
Judge = Callable[[Any], tuple[bool | None, str]]

COLOURS = {True: "#2a9d4a", False: "#d1603d", None: "#7a869a"}
HEADING = re.compile(r"^## Exercise (\d+)\b.*$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What the check of an exercise says of an answer; a notebook shows it as a framed line."""

    right: bool | None  # None: not answered yet
    why: str

    @property
    def word(self) -> str:
        return {True: "Right.", False: "Not yet.", None: "Not answered yet."}[self.right]

    def __repr__(self) -> str:
        return f"{self.word} {self.why}"

    def _repr_html_(self) -> str:
        frame = f"border-left: 4px solid {COLOURS[self.right]}; padding: 0.3em 0.8em; white-space: pre-line"
        return f'<div style="{frame}"><b>{self.word}</b> {escape(self.why)}</div>'


def check(answer: Any, judge: Judge) -> Verdict:
    """Judge the answer to an exercise. Never raises: what an answer breaks is said, too.

    answer   what the reader put; `...` while the cell is as it was
    judge    answer -> (right, why)
    """
    if answer is ...:
        right, why = None, ""
    else:
        try:
            right, why = judge(answer)
        except Exception as error:  # of the reader's answer: a beginner needs a sentence, not a traceback
            right, why = False, f"With this answer the check ends in {type(error).__name__}: {error}"
    if right is None:
        return Verdict(None, "Put your answer in place of the ... above, and run the cell again.")
    return Verdict(bool(right), why)


def statements(truths: Mapping[str, tuple[Any, str]]) -> Judge:
    """Which of these are true? The answer is a set of their names, or the one name.

    truths   name -> (whether it is true, why), best computed from what the notebook measured
    """

    def judge(answer: Any) -> tuple[bool, str]:
        chosen = {answer} if isinstance(answer, str) else set(answer)
        if unknown := sorted(map(str, chosen - set(truths))):
            return False, f"There is no {', '.join(unknown)} here; choose among {', '.join(truths)}."
        lines = [
            f"{name} is {'true' if true else 'not true'}: {why}"
            for name, (true, why) in truths.items()
            if name in chosen
        ]
        missing = sum(bool(true) and name not in chosen for name, (true, _) in truths.items())
        if missing:
            lines.append(f"There {'is one' if missing == 1 else f'are {missing}'} more.")
        return not missing and all(truths[name][0] for name in chosen), "\n".join(lines)

    return judge


def number(measured: Any, within: Any, why: str, unit: str = "") -> Judge:
    """How large is it? The answer is a number.

    measured, within   it is right in measured - within ... measured + within
    why                what to say when it is right
    unit               of all three, for the sentence when it is not
    """

    def judge(answer: Any) -> tuple[bool, str]:
        got = float(answer)
        if abs(got - measured) <= within:
            return True, why
        if not np.isfinite(got):
            return False, f"{got} is no finite number."
        if got * measured < 0:
            return False, f"{got:g} {unit} has the wrong sign."
        return False, f"{got:g} {unit} is too {'large' if abs(got) > abs(measured) else 'small'}."

    return judge


def function(cases: Sequence[tuple[tuple[Any, ...], Any]], why: str, rtol: float = 1e-6) -> Judge:
    """Write it. The answer is a function whose body is `return ...` until it is filled in.

    cases   (arguments, what it must return), one and more; numbers or arrays
    why     what to say when it is right
    rtol    by how much it may be wrong, as a share of the largest number of a case
    """

    def judge(answer: Callable[..., Any]) -> tuple[bool | None, str]:
        for arguments, wanted in cases:
            got = answer(*arguments)
            if got is ...:
                return None, ""
            if np.shape(got) != np.shape(wanted):
                return False, f"It returns the shape {np.shape(got)}; expected {np.shape(wanted)}."
            if not np.allclose(got, wanted, rtol=0, atol=rtol * np.abs(wanted).max()):
                shown = ", ".join(np.array2string(np.asarray(a), threshold=6) for a in arguments)
                return False, f"For ({shown}) it returns {got}; expected {wanted}."
        return True, why

    return judge


def read_solutions(file: str | Path) -> dict[int, list[str]]:
    """Number of the exercise -> its blocks of Python: the solution first, then mistakes.

    Raises ValueError when a heading has no solution and no mistake beneath it, or stands there twice.
    """
    text = Path(file).read_text(encoding="utf-8")
    headings = list(HEADING.finditer(text))
    found: dict[int, list[str]] = {}
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        number = int(heading[1])
        blocks = BLOCK.findall(text[heading.end() : after.start() if after else len(text)])
        if number in found:
            raise ValueError(f"{file} has two headings '## Exercise {number}'; number them anew")
        if len(blocks) < 2:
            raise ValueError(
                f"{file}, exercise {number}, has {len(blocks)} blocks of Python; expected its solution and, after it, "
                "at least one mistake that the check must refuse"
            )
        found[number] = blocks
    return found


def answered(cell: str, solution: str) -> str:
    """The source of an exercise's cell with its first statement replaced."""
    first = ast.parse(cell).body[0]
    lines = cell.splitlines()
    return "\n".join([*lines[: first.lineno - 1], solution, *lines[first.end_lineno :]])


def prove(file: str | Path, number: int, namespace: dict[str, Any]) -> None:
    """Run the exercise of the last cell again, with its mistakes and its solution, where all is measured already.

    file        its solutions, from the notebook's folder
    number      of the exercise
    namespace   `globals()` of the kernel, where IPython keeps what ran (In) and what it gave (Out)

    Raises AssertionError when the cell as it stands is not "not answered yet", or its check refuses the solution or
    accepts a mistake.
    """
    cells, values = namespace["In"], namespace["Out"]
    cell, verdict = cells[-2], values.get(len(cells) - 2)
    if not isinstance(verdict, Verdict) or verdict.right is not None:
        raise AssertionError(f"exercise {number}, as it stands, gives {verdict!r}; expected 'Not answered yet'")
    solution, *mistakes = read_solutions(file)[number]
    for mistake in mistakes:
        verdict = _verdict(answered(cell, mistake), namespace)
        if verdict.right is not False:
            raise AssertionError(f"exercise {number} does not refuse a mistake:\n{mistake}\n{verdict!r}")
    verdict = _verdict(answered(cell, solution), namespace)
    if verdict.right is not True:
        raise AssertionError(f"exercise {number} does not accept its solution:\n{solution}\n{verdict!r}")


def _verdict(source: str, namespace: dict[str, Any]) -> Verdict:
    """Run a cell, and give the value of its last line, as a notebook would."""
    *body, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        raise AssertionError(f"the cell ends in {ast.unparse(last)!r}; expected its check")
    exec(compile(ast.Module(body, []), "<exercise>", "exec"), namespace)
    value: Verdict = eval(compile(ast.Expression(last.value), "<exercise>", "eval"), namespace)
    return value
