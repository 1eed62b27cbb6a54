"""A model of your own against the contract: `pytest tests/test_models.py --model mine.py`. Every notebook, read in a
browser: `pytest tests/browser/test_notebooks_in_browser.py --every-notebook`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from workbench.models import MODELS, Potential


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--model",
        type=Path,
        help="a Python file that defines a Potential: the contract is checked for it, and for no other model",
    )
    parser.addoption(
        "--every-notebook", action="store_true", help="read all of them in a browser, not the tour alone"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of the contract runs for every model, or for the one of --model."""
    if "model_name" in metafunc.fixturenames:
        file = metafunc.config.getoption("--model")
        metafunc.parametrize("model_name", sorted(MODELS) if file is None else [read_model(file).name])


def read_model(file: Path) -> type[Potential]:
    """The model that a file defines, entered into MODELS as one line there would.

    Raises pytest.UsageError for a file that is not there or does not define exactly one Potential.
    """
    if not file.is_file():
        raise pytest.UsageError(f"--model {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    own = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Potential) and thing.__module__ == file.stem
    ]
    if len(own) != 1:
        raise pytest.UsageError(f"--model {file} defines {len(own)} subclasses of Potential; expected one")
    MODELS[own[0].name] = own[0]
    return own[0]
