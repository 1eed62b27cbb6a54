"""The doctor, given installations that are broken in one way each: real folders, real metadata, real files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from workbench import cli, doctor
from workbench.doctor import Finding, Place, findings

VERSIONS = {
    "ipykernel": "7.4.0",
    "jupyterlab": "4.6.6",
    "jupyter_server": "2.21.1",
    "ipywidgets": "8.1.9",
    "jupyterlab_widgets": "3.0.17",
    "anywidget": "0.11.0",
    "plotly": "7.1.0",
    "nglview": "3.1.4",
    "setuptools": "81.0.0",
    "voila": "0.5.13",
    "numpy": "2.4.6",
}
FRONT_ENDS = {
    "nglview-js-widgets": "3.1.4",
    "anywidget": "0.11.0",
    "jupyterlab-plotly": "7.1.0",
    "@jupyter-widgets/jupyterlab-manager": "5.0.16",
}
OURS = ["numpy>=1.26", 'nglview<4,>=3.1.4; extra == "notebook"', 'setuptools<82,>=77; extra == "notebook"']


class Installation:
    """An environment in a folder, in order until a test breaks it."""

    def __init__(self, folder: Path) -> None:
        self.site, self.prefix = folder / "site-packages", folder / "env"
        for name, version in VERSIONS.items():
            self.package(name, version)
        self.package("longrange-workbench", "0.1.0", *OURS)
        self.package("ipywidgets", "8.1.9", "jupyterlab_widgets~=3.0.17")
        self.nglview_asks("3.1.4")
        for name, version in FRONT_ENDS.items():
            self.front_end(name, version)
        self.write("env/share/jupyter/lab/static/package.json", {"jupyterlab": {"version": "4.6.6"}})
        self.write(
            "env/share/jupyter/kernels/python3/kernel.json", {"argv": ["python", "-m", "ipykernel_launcher"]}
        )
        user = folder / "home"
        self.place = Place(
            python=str(self.prefix / "bin/python"),
            prefix=self.prefix,
            packages=(str(self.site),),
            data=(user, self.prefix / "share/jupyter"),
            config=(self.prefix / "etc/jupyter",),
        )

    def write(self, path: str, content: object) -> Path:
        file = self.prefix.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def package(self, name: str, version: str, *requires: str) -> None:
        self.remove(name)
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        self.write(
            f"site-packages/{name.replace('-', '_')}-{version}.dist-info/METADATA", "\n".join(lines) + "\n"
        )

    def remove(self, name: str) -> None:
        for metadata in self.site.glob(f"{name.replace('-', '_')}-*.dist-info/METADATA"):
            metadata.unlink()
            metadata.parent.rmdir()

    def nglview_asks(self, version: str) -> None:
        self.write("site-packages/nglview/_frontend.py", f"__frontend_version__ = '{version}'")

    def front_end(self, name: str, version: str, folder: str = "env/share/jupyter") -> Path:
        about = {
            "name": name,
            "version": version,
            "jupyterlab": {"_build": {"load": "static/remoteEntry.1.js"}},
        }
        self.write(f"{folder}/labextensions/{name}/static/remoteEntry.1.js", "//")
        return self.write(f"{folder}/labextensions/{name}/package.json", about)

    @property
    def bad(self) -> list[Finding]:
        """What is wrong with the notebooks' part."""
        place = self.place
        found = [*doctor.packages(place), *doctor.front_ends(place), doctor.kernel(place)]
        return [one for one in found if one.state != "ok"]

    def the_fault(self) -> Finding:
        (fault,) = self.bad
        assert fault.state == "fail"
        assert "\n" not in fault.repair
        return fault


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_nothing_is_wrong_with_what_is_in_order(installation: Installation) -> None:
    assert not installation.bad
    assert {one.front_end for one in doctor.front_ends(installation.place)} == {
        ("nglview-js-widgets", "3.1.4"), ("anywidget", "0.11"), ("jupyterlab-plotly", "7"),
        ("@jupyter-widgets/jupyterlab-manager", "5"), None,
    }  # fmt: skip


def test_the_nglview_that_draws_nothing_is_found(installation: Installation) -> None:
    """nglview 4.0.1 asks the browser for 4.0 and ships 3.1.5."""
    installation.package("longrange-workbench", "0.1.0", "numpy>=1.26", 'nglview; extra == "notebook"')
    installation.package("nglview", "4.0.1")
    installation.nglview_asks("4.0")
    installation.front_end("nglview-js-widgets", "3.1.5")
    fault = installation.the_fault()
    assert "3.1.5" in fault.found
    assert "asks for 4.0" in fault.found
    assert fault.repair.endswith("pip install --force-reinstall nglview==3.1.4 'setuptools<82'")
    assert fault.repair.startswith(installation.place.python)


def test_a_half_left_in_the_home_folder_hides_ours(installation: Installation) -> None:
    left = installation.front_end("nglview-js-widgets", "3.0.8", "home")
    assert installation.the_fault().repair == f"rm -r {left.parent}"
    left.unlink()
    assert not installation.bad


def test_setuptools_without_pkg_resources_is_found(installation: Installation) -> None:
    installation.package("setuptools", "82.0.1")
    fault = installation.the_fault()
    assert "82.0.1; longrange-workbench needs <82,>=77" in fault.found
    assert fault.repair.endswith("pip install 'setuptools<82,>=77'")


def test_a_missing_package_is_found(installation: Installation) -> None:
    installation.remove("numpy")
    assert installation.the_fault() == Finding(
        "fail", "numpy", "is not installed", f"{installation.place.python} -m pip install 'numpy>=1.26'"
    )


def test_what_others_ask_for_is_found(installation: Installation) -> None:
    installation.package("jupyterlab_widgets", "1.1.11")
    assert "1.1.11; ipywidgets needs ~=3.0.17" in installation.the_fault().found


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("anywidget", "0.9.21"),
        ("jupyterlab-plotly", "5.24.1"),
        ("@jupyter-widgets/jupyterlab-manager", "3.1.11"),
    ],
)
def test_every_half_must_fit_its_other(installation: Installation, name: str, version: str) -> None:
    installation.front_end(name, version)
    fault = installation.the_fault()
    assert fault.check.startswith(name)
    assert version in fault.found
    assert "--force-reinstall --no-deps" in fault.repair


def test_a_missing_half_is_found(installation: Installation) -> None:
    (installation.prefix / "share/jupyter/labextensions/anywidget/package.json").unlink()
    fault = installation.the_fault()
    assert "is in none of" in fault.found
    assert fault.repair.endswith("pip install --force-reinstall --no-deps anywidget==0.11.0")


def test_a_half_without_its_code_is_found(installation: Installation) -> None:
    (installation.prefix / "share/jupyter/labextensions/jupyterlab-plotly/static/remoteEntry.1.js").unlink()
    assert "remoteEntry.1.js is missing" in installation.the_fault().found


@pytest.mark.parametrize("off", [{"nglview-js-widgets": True, "anywidget": False}, ["nglview-js-widgets"]])
def test_a_disabled_half_is_found(installation: Installation, off: object) -> None:
    installation.write("env/etc/jupyter/labconfig/page_config.json", {"disabledExtensions": off})
    assert installation.the_fault().repair.endswith("-m jupyter labextension enable nglview-js-widgets")


def test_a_page_of_another_jupyterlab_is_found(installation: Installation) -> None:
    installation.write("env/share/jupyter/lab/static/package.json", {"jupyterlab": {"version": "4.2.0"}})
    assert installation.the_fault().found == "4.2.0; its Python half is 4.6.6"


def test_a_kernel_of_another_environment_is_found(installation: Installation) -> None:
    installation.write("env/share/jupyter/kernels/python3/kernel.json", {"argv": ["/usr/bin/python3", "-m"]})
    fault = installation.the_fault()
    assert "/usr/bin/python3, another Python" in fault.found
    assert fault.repair == f"{installation.place.python} -m ipykernel install --sys-prefix"
    installation.write("home/kernels/python3/kernel.json", {"argv": ["/opt/conda/bin/python", "-m"]})
    assert installation.the_fault().repair.endswith("--user"), "the one in the home folder comes first"
    installation.write("home/kernels/python3/kernel.json", {"argv": [installation.place.python, "-m"]})
    assert not installation.bad


def test_no_kernel_is_found(installation: Installation) -> None:
    (installation.prefix / "share/jupyter/kernels/python3/kernel.json").unlink()
    assert installation.the_fault().found == "is not registered"


def test_our_own_absence_is_found(installation: Installation) -> None:
    installation.remove("longrange-workbench")
    assert "-e '.[notebook]'" in installation.the_fault().repair


def test_a_node_without_notebooks_is_no_failure(installation: Installation) -> None:
    for name in ("jupyterlab", "ipywidgets"):
        installation.remove(name)
    first = findings(installation.place)[0]
    assert (first.state, first.check) == ("warn", "notebooks")
    assert first.repair.endswith("pip install 'longrange-workbench[notebook]'")


class TestMachine:
    def test_torch_in_its_four_states(self) -> None:
        def found(*facts: object, driver: str = "") -> Finding:
            return doctor.torch_build(*facts, driver=driver, python="python")  # type: ignore[arg-type]

        assert found("2.13.0+cpu", None, False).state == "ok"
        assert found("2.15.0", "13.0", True, driver="H200, 580.1").state == "ok"
        assert "without CUDA" in found("2.13.0+cpu", None, False, driver="H200, 580.1").found
        old = found("2.15.0", "13.0", False, driver="T4, 470.2")
        assert old.state == "warn"
        assert "wants CUDA 13.0" in old.found
        assert old.repair.endswith("whl/cu126")
        assert found(None, None, False) == Finding(
            "fail", "torch", "cannot be imported", "python -m pip install --force-reinstall torch"
        )

    def test_more_threads_than_processors(self) -> None:
        assert doctor.processors(2, {}, 0.5).state == "ok"
        assert doctor.processors(2, {"OMP_NUM_THREADS": "16"}, 0.5).repair == "export OMP_NUM_THREADS=2"

    def test_a_busy_machine_wants_threads_that_sleep(self) -> None:
        assert doctor.processors(2, {}, 7.0).repair == "export OMP_WAIT_POLICY=PASSIVE"
        assert doctor.processors(2, {"OMP_WAIT_POLICY": "passive"}, 7.0).state == "ok"
        assert doctor.processors(2, {"OMP_NUM_THREADS": "1"}, 7.0).state == "ok"

    def test_room_on_disk_and_in_memory(self) -> None:
        assert [doctor.disk(free, ".").state for free in (5e7, 1e9, 1e11)] == ["fail", "warn", "ok"]
        assert [doctor.memory(free).state for free in (1e8, 1e9, 1e10, None)] == ["fail", "warn", "ok", "ok"]

    def test_what_this_machine_says(self, tmp_path: Path) -> None:
        names = [one.check for one in doctor.machine(tmp_path)]
        assert names == ["torch", "processors", "disk", "memory"]
        assert 1e6 < (doctor.free_memory() or 1e9) < 1e15
        assert doctor.usable_processors() >= 1


class TestCommand:
    def test_this_installation_is_in_order(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["doctor", "--json"]) in (0, 1)  # the disk of a tester may be full
        document = json.loads(capsys.readouterr().out)
        assert document["command"] == "doctor"
        assert not [one for one in document["findings"] if one["state"] == "fail" and "browser" in one["check"]]

    def test_a_failure_gives_its_line_and_exit_code_1(
        self, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        installation.package("setuptools", "82.0.1")
        monkeypatch.setattr(Place, "here", lambda: installation.place)
        assert cli.main(["doctor"]) == 1
        shown = capsys.readouterr()
        assert "fail  setuptools" in shown.out
        assert f"  {installation.place.python} -m pip install 'setuptools<82,>=77'" in shown.out.splitlines()
        assert "1 of" in shown.err

    def test_loads_no_notebook_package(self) -> None:
        code = (
            "import sys; from workbench import doctor; doctor.front_ends(doctor.Place.here());"
            "sys.exit(bool({'torch', 'ipywidgets', 'nglview', 'plotly', 'IPython', 'jupyterlab'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


def test_a_place_can_be_another(installation: Installation) -> None:
    other = replace(installation.place, packages=())
    assert other.version("numpy") is None
