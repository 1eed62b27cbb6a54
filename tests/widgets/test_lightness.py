"""`import widgets` must stay light: it is loaded by every notebook, on machines without a GPU or a viewer."""

import subprocess
import sys
from pathlib import Path

import pytest

import widgets

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "module", ["torch", "workbench", "nglview", "plotly.graph_objects", "matplotlib.pyplot"]
)
def test_importing_the_views_does_not_load(module):
    code = f"import sys, widgets; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def test_every_exported_name_is_there():
    for name in widgets.__all__:
        assert getattr(widgets, name).__doc__, f"{name} has no docstring"
