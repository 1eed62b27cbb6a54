"""What stands in two places says the same in both, and what is shipped is whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import workbench

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras: str) -> dict[str, Requirement]:
    """What pyproject.toml asks for, with extras that name other extras followed."""
    found: dict[str, Requirement] = {}
    lines = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *lines]):
        if requirement.name == PROJECT["name"]:
            found |= requirements(*sorted(requirement.extras))
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def pins() -> dict[str, Version]:
    """Package -> its one version in the constraints files."""
    lines = "\n".join(
        (ROOT / name).read_text() for name in ("constraints.txt", "constraints-cpu.txt")
    ).splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in wanted:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), f"{requirement} is not one exact version"
    return {canonicalize_name(r.name): Version(str(r.specifier).removeprefix("==")) for r in wanted}


@pytest.mark.parametrize(("name", "requirement"), requirements("dev", "gpu").items(), ids=str)
def test_every_requirement_is_pinned_within_its_bounds(name: str, requirement: Requirement) -> None:
    pinned = pins()
    assert name in pinned, (
        f"{name} is in pyproject.toml and not in constraints.txt; add the version that passed"
    )
    assert pinned[name] in requirement.specifier, f"{name}=={pinned[name]} breaks {requirement}"


def test_torch_is_pinned_only_where_there_is_no_gpu() -> None:
    assert "torch==" not in (ROOT / "constraints.txt").read_text()
    assert "torch==" in (ROOT / "constraints-cpu.txt").read_text()


def test_nglview_is_one_that_draws() -> None:
    """4.0.1 asks the browser for a module it does not ship; 3.1.4 imports pkg_resources, gone in setuptools 82."""
    wanted = requirements("notebook")
    assert Version("3.1.4") in wanted["nglview"].specifier
    assert Version("4.0.1") not in wanted["nglview"].specifier
    assert Version("82.0.0") not in wanted["setuptools"].specifier


def test_conda_users_get_what_pyproject_says() -> None:
    environment: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text())
    by_conda = {
        Requirement(line).name: Requirement(line)
        for line in environment["dependencies"]
        if isinstance(line, str)
    }
    by_pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert by_conda["python"].specifier == SpecifierSet(PROJECT["requires-python"])
    assert by_conda["jupyterlab"].specifier == requirements("notebook")["jupyterlab"].specifier
    assert set(by_conda) == {"python", "pip", "jupyterlab"}
    assert by_pip == ["-e .[dev]"]


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == workbench.__version__
    assert citation["license"] == PROJECT["license"] == "MIT"


def test_the_changelog_speaks_of_this_version() -> None:
    assert re.search(
        rf"^## \[({re.escape(workbench.__version__)}|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


@pytest.mark.parametrize("target", ["lab", "test", "tour", "bench", "clean", "format", "help"])
def test_make_knows_its_targets(target: str) -> None:
    run = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def made(target: str, *, gpu: bool, folder: Path) -> str:
    """What make would run in a fresh clone, on a machine with or without an NVIDIA driver that answers."""
    answer = folder / "nvidia-smi"
    answer.write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n")
    answer.chmod(0o755)
    path = f"PATH={folder}:/usr/local/bin:/usr/bin:/bin"
    run = subprocess.run(
        ["env", path, "make", "--dry-run", f"VENV={folder / 'venv'}", target],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout


def test_a_machine_with_a_gpu_gets_cuda_and_one_without_the_pinned_wheel(tmp_path: Path) -> None:
    assert "-c constraints-cpu.txt" in made("lab", gpu=False, folder=tmp_path)
    with_gpu = made("lab", gpu=True, folder=tmp_path)
    assert "-c constraints.txt -e '.[dev,gpu]'" in with_gpu
    assert "constraints-cpu" not in with_gpu


def test_jupyter_listens_on_this_machine_with_its_token(tmp_path: Path) -> None:
    (command,) = (
        line for line in made("lab", gpu=False, folder=tmp_path).splitlines() if "jupyter lab " in line
    )
    assert "--ip=127.0.0.1" in command
    assert "token" not in command


def test_make_refuses_an_old_python_in_words(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    run = subprocess.run(
        ["make", f"BASE_PYTHON={old}", f"VENV={tmp_path / 'venv'}", "install"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "older than Python 3.11" in run.stderr
    assert not (tmp_path / "venv").exists()
