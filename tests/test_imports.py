"""Imports go one way. The table here and the one in workbench/README.md say the same; this one is enforced."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "workbench"

ONE_MODEL = {"nn.*", "graphs", "diagnostics", "models.contract"}

# Room -> the rooms it may import. "nn.*" stands for every file of that folder.
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),  # workbench/__init__.py fetches public names when they are used
    "plausibility": set(),
    "checks": {"plausibility"},
    "extxyz": {"checks"},
    "stored": set(),
    "formats": {"checks", "extxyz", "stored"},
    "conversion": {"checks", "published", "stored", "structures"},
    "splits": {"checks", "stored"},
    "structures": {"plausibility", "checks", "extxyz", "formats", "splits"},
    "catalogue": {"published", "stored", "structures"},
    "literature": set(),
    "published": {"literature"},
    "doctor": set(),
    "exercises": set(),
    "downloads": {"published"},
    "graphs": set(),
    "diagnostics": set(),
    "stream": set(),
    "jobs": set(),
    "signals": {"jobs"},
    "overlap": set(),
    "lock": set(),
    "threads": {"overlap"},
    "nn": set(),
    "nn.*": {"nn.*"},
    "models": {"models.contract", "models.lorem", "models.allscaip", "models.mlanet"},
    "models.contract": {"graphs", "diagnostics"},
    "models.lorem": ONE_MODEL,
    "models.allscaip": ONE_MODEL,
    "models.mlanet": ONE_MODEL,
    "predict": {"graphs", "diagnostics", "models.contract"},
    "checkpoint": {"models", "models.contract"},
    "official": {"official.*"},
    "official.*": {"official.*", "models", "models.*", "nn.*"},
    "losses": {"predict"},
    "dataset": {"structures", "stored", "graphs"},
    "optimizers": set(),
    "metrics": {"checkpoint", "losses", "stream"},
    "runs": {"checkpoint", "metrics", "models", "stored", "stream", "structures"},
    "training": {
        *("structures", "splits", "dataset", "models", "models.contract", "predict", "losses", "optimizers"),
        *("checkpoint", "metrics", "runs", "stream", "jobs", "signals", "overlap", "lock", "threads"),
    },
    "card": {"evaluation", "graphs", "models.contract", "runs"},
    "evaluation": {"structures", "stored", "dataset", "models.contract", "predict", "losses"},
    "compiled": {"graphs", "models.contract", "predict"},
    "calculator": {"compiled", "graphs", "models.contract", "predict"},
    "torch_sim": {"graphs", "models.contract", "predict"},
    "ensembles": set(),
    "dynamics": {
        "calculator",
        "ensembles",
        "graphs",
        "predict",
        "models.contract",
        "stream",
        "jobs",
        "signals",
        "threads",
    },
    "probes": {"diagnostics", "graphs", "models.contract", "predict"},
    "blocks": set(),
    "observables": {"blocks"},
    "analysis": {"blocks", "observables", "probes"},
    "path_work": {"graphs", "models.contract", "predict"},
    "drift_cause": {"analysis", "blocks", "dynamics", "jobs", "models.contract", "path_work", "stream"},
    "explanation": {"diagnostics", "predict"},
    "flags": {
        "structures",
        "stored",
        "published",
        "catalogue",
        "models",
        "models.contract",
        "runs",
        "checkpoint",
        "official",
    },
    "data_command": {"*"},
    "card_command": {"*"},
    "commands": {"*"},  # here, as in the notebooks, rooms meet
    "cli": {"*"},
    "desk": set(),  # fetches its functions when they are used
    "desk.field": set(),
    "desk.*": {"*"},
    "__main__": {"cli"},
}

# Packages that only some rooms load: everybody else starts faster, and runs on machines that lack them.
ONLY_IN: dict[str, set[str]] = {
    "lightning": {"training", "dataset"},
    "pytorch_lightning": set(),
    "IPython": set(),
    "ipywidgets": set(),
    "nglview": set(),
    "plotly": set(),
    "torch_sim": {"torch_sim"},
    "widgets": set(),
}
NEEDS_AN_EXTRA = {"torch_sim"}
NEVER_IN_WIDGETS = {"workbench", "torch", "lightning", "pytorch_lightning", "e3nn", "vesin", "torchpme"}


def room(path: Path) -> str:
    """workbench/models/lorem.py -> "models.lorem", workbench/models/__init__.py -> "models"."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {room(path): path for path in sorted(LIBRARY.rglob("*.py"))}
WIDGETS = {path.stem: path for path in sorted((ROOT / "widgets").rglob("*.py"))}


def row(name: str) -> str | None:
    """The row of MAY_IMPORT that speaks of a room."""
    return next((row for row in (name, f"{name.split('.')[0]}.*") if row in MAY_IMPORT), None)


def allowed(name: str, other: str) -> bool:
    """Whether the table lets one room import another."""
    may = MAY_IMPORT[row(name) or name]
    return bool({other, f"{other.split('.')[0]}.*", "*"} & may)


def imported(source: str, package: str = "") -> set[str]:
    """Dotted names of all that a file imports when it runs; what only type checkers read is left out.

    `package` is where relative imports start. `from a import b` counts as "a.b", for b may be a module.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            base = [*base, node.module] if node.module else base
            found.update(".".join([*base, alias.name]) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def rooms_imported(name: str) -> set[str]:
    """The rooms that one room imports; "" when it takes public names from `workbench` itself."""
    path = FILES[name]
    package = ".".join(["workbench", *path.relative_to(LIBRARY).parts[:-1]])
    found = set()
    for dotted in imported(path.read_text(encoding="utf-8"), package) - {"workbench.__version__"}:
        if dotted.split(".")[0] != "workbench":
            continue
        rest = dotted.removeprefix("workbench").removeprefix(".")
        while rest and rest not in FILES:  # the last word was a function or class
            rest = rest.rpartition(".")[0]
        found.add(rest)
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_room_imports_only_what_the_table_allows(name: str) -> None:
    where = row(name)
    assert where is not None, (
        f"{FILES[name].relative_to(ROOT)} is in no row of MAY_IMPORT in tests/test_imports.py. Decide what it may "
        "import, and write that there and under 'Who may import whom' in workbench/README.md"
    )
    wrong = {other for other in rooms_imported(name) if not allowed(name, other)}
    assert not wrong, (
        f"{FILES[name].relative_to(ROOT)} imports {sorted(wrong)}; the table allows "
        f"{sorted(MAY_IMPORT[where]) or 'nothing of ours'}. Hand the value in as an argument, or move the code to the "
        "room that may know both ('' means the public names of workbench: import from the room itself)"
    )


def test_no_room_imports_itself_through_others() -> None:
    order = TopologicalSorter({name: rooms_imported(name) for name in FILES})
    list(order.static_order())  # CycleError names the circle


@pytest.mark.parametrize("name", FILES)
def test_heavy_packages_stay_in_their_rooms(name: str) -> None:
    packages = {dotted.split(".")[0] for dotted in imported(FILES[name].read_text(encoding="utf-8"))}
    wrong = {package for package in packages & set(ONLY_IN) if name not in ONLY_IN[package]}
    assert not wrong, f"workbench room {name!r} imports {sorted(wrong)}; see ONLY_IN in tests/test_imports.py"


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_know_neither_the_science_nor_torch(name: str) -> None:
    packages = {dotted.split(".")[0] for dotted in imported(WIDGETS[name].read_text(encoding="utf-8"))}
    wrong = packages & NEVER_IN_WIDGETS
    assert not wrong, f"widgets/{name}.py imports {sorted(wrong)}; a view is handed arrays, atoms and callables"


def test_the_reading_of_imports_sees_every_form() -> None:
    source = """
if TYPE_CHECKING:
    import plotly
import a.b
from a import c
def late():
    from . import d
    from ..e import f
"""
    assert imported(source, "workbench.models") == {"a.b", "a.c", "workbench.models.d", "workbench.e.f"}


def fresh(code: str) -> str:
    """What `code` prints in a Python of its own."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return run.stdout


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh Python holds after `statement`."""
    modules = json.loads(fresh(f"{statement}\nimport sys, json; print(json.dumps(list(sys.modules)))"))
    return {module.split(".")[0] for module in modules}


def test_importing_the_library_loads_nothing_heavy() -> None:
    assert not loaded_by("import workbench") & {"torch", "numpy", "ase", "ipywidgets", "IPython"}
    assert "torch" in loaded_by("from workbench import predict")


def test_importing_the_library_takes_less_than_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import workbench; print(time.perf_counter() - t)"
    assert min(float(fresh(code)) for _ in range(3)) < 0.5


def test_importing_the_views_loads_no_torch() -> None:
    statement = "import " + ", ".join(f"widgets.{name}".removesuffix(".__init__") for name in WIDGETS)
    assert not loaded_by(statement) & {"torch", "workbench"}


def test_dynamics_and_prediction_need_no_notebook_package() -> None:
    rooms = [name for name in FILES if name and "." not in name and name not in NEEDS_AN_EXTRA]
    statement = "import " + ", ".join(f"workbench.{name}" for name in rooms)
    assert not loaded_by(statement) & {"ipywidgets", "nglview", "plotly", "jupyterlab", "IPython"}


@pytest.mark.parametrize("name", sorted(set(workbench.__all__) - {"__version__"}))
def test_public_names_resolve(name: str) -> None:
    value = getattr(workbench, name)
    assert callable(value)
    assert value.__doc__, f"workbench.{name} has no docstring"


def test_editors_and_python_see_the_same_public_names() -> None:
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    for_editors = {
        alias.name: (node.module or "").removeprefix("workbench.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_editors == workbench._ROOM
    assert set(workbench.__all__) == {*workbench._ROOM, "__version__"}


def test_a_public_name_wins_over_the_room_of_the_same_name() -> None:
    assert fresh("import workbench.predict, workbench; print(workbench.predict.__name__)").strip() == "predict"
    assert "function" in fresh("import workbench.predict; from workbench import predict; print(predict)")


def test_an_unknown_public_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'predikt'.*predict"):
        _ = workbench.predikt
