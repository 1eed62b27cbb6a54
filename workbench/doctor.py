"""Can this installation show its views and compute at full speed? Every finding that is bad names its one-line repair.

Nothing of a notebook is imported: what is installed is read from its metadata, and what the browser would be given
from the folders that the server serves. The usual cause of a blank view is that these two do not fit.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

OURS = "longrange-workbench"

#: Each with what it is for; a person who reads "fail" wants to know what fails.
STACK = {
    "ipykernel": "the kernel",
    "jupyterlab": "the server",
    "jupyter_server": "the server",
    "ipywidgets": "buttons and panels",
    "anywidget": "live plots",
    "plotly": "live plots",
    "nglview": "structures in 3D",
    "setuptools": "nglview imports its pkg_resources",
    "voila": "the app without code",
}

GB = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    state       "ok", "warn" (it works, but not well or not for long) or "fail"
    check       what was looked at
    found       what is there, and for a bad state what should be there
    repair      the one line, for a terminal, that repairs it; empty for "ok"
    front_end   name of the half that the server gives to the browser, and the beginning of the version that fits
                ("nglview-js-widgets", "3.1.4"), so that a panel can ask the browser what it got; else None
    """

    state: str
    check: str
    found: str
    repair: str = ""
    front_end: tuple[str, str] | None = None


@dataclass(frozen=True)
class Place:
    """One environment of Python, and where Jupyter looks for its parts.

    python     its interpreter, for the lines that repair
    prefix     its folder
    packages   folders with installed packages
    data       folders with labextensions/ and kernels/; the first that has a thing wins
    config     folders with labconfig/page_config.json
    """

    python: str
    prefix: Path
    packages: tuple[str, ...]
    data: tuple[Path, ...]
    config: tuple[Path, ...]

    @classmethod
    def here(cls) -> Place:
        prefix = Path(sys.prefix)
        try:
            from jupyter_core.paths import jupyter_config_path, jupyter_path

            data, config = jupyter_path(), jupyter_config_path()
        except ImportError:  # no Jupyter: its absence is found as such
            data, config = [f"{prefix}/share/jupyter"], [f"{prefix}/etc/jupyter"]
        return cls(sys.executable, prefix, tuple(sys.path), tuple(map(Path, data)), tuple(map(Path, config)))

    def distribution(self, name: str) -> Distribution | None:
        return next(iter(distributions(name=name, path=list(self.packages))), None)

    def version(self, name: str) -> str | None:
        found = self.distribution(name)
        return None if found is None else found.version

    def first(self, path: str) -> Path | None:
        """The file that Jupyter would take."""
        return next((folder / path for folder in self.data if (folder / path).is_file()), None)

    def pip(self, *wishes: str) -> str:
        return f"{shlex.quote(self.python)} -m pip install {shlex.join(wishes)}"


def findings(place: Place | None = None, folder: str | Path = ".") -> list[Finding]:
    """Everything, for this environment unless another one is named.

    folder   where runs are kept; its disk is measured
    """
    place = place or Place.here()
    if place.version("jupyterlab") is None and place.version("ipywidgets") is None:
        found = "not installed: the library and the command line work, and there are no views"
        notebooks = [Finding("warn", "notebooks", found, place.pip(f"{OURS}[notebook]"))]
    else:
        notebooks = [*packages(place), *front_ends(place), kernel(place)]
    return [*notebooks, *machine(folder)]


# Versions


def packages(place: Place) -> list[Finding]:
    """Whether the packages are there in the versions that they ask of each other."""
    wishes = _wishes(place)
    if OURS not in wishes:
        return [Finding("fail", OURS, "is not installed", place.pip("-e", ".[notebook]") + "  # in its folder")]
    found = [_package(place, name, wishes.get(name, [])) for name in STACK]
    others = [_package(place, name, wishes[name]) for name in wishes if name not in STACK and name != OURS]
    bad = [one for one in others if one.state != "ok"]
    fits = f"{len(others) - len(bad)} have versions that fit"
    return [*found, *bad, Finding("ok", "other packages", fits)]


def _wishes(place: Place) -> dict[str, list[tuple[Any, str]]]:
    """Package -> what is required of it, and by whom: by us, and by the packages of the stack."""
    from packaging.requirements import Requirement

    wishes: dict[str, list[tuple[Any, str]]] = {}
    for name in (OURS, *STACK):
        asking = place.distribution(name)
        if asking is None:
            continue
        if name == OURS:
            wishes[OURS] = []
        for line in asking.requires or ():
            wish = Requirement(line)
            extra = "notebook" if name == OURS else ""
            if wish.marker is None or wish.marker.evaluate({"extra": extra}):
                wishes.setdefault(_plain(wish.name), []).append((wish, name))
    return wishes


def _package(place: Place, name: str, wishes: list[tuple[Any, str]]) -> Finding:
    check = f"{name} ({STACK[name]})" if name in STACK else name
    version = place.version(name)
    bounds = ",".join(sorted({str(wish.specifier) for wish, _ in wishes if str(wish.specifier)}))
    repair = place.pip(f"{name}{bounds}")
    if version is None:
        return Finding("fail", check, "is not installed", repair)
    for wish, who in wishes:
        if not wish.specifier.contains(version, prereleases=True):
            return Finding("fail", check, f"{version}; {who} needs {wish.specifier}", repair)
    return Finding("ok", check, version)


def _plain(name: str) -> str:
    """jupyter-server and jupyter_server are one package; the names of STACK are kept as they stand there."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    return next((one for one in STACK if re.sub(r"[-_.]+", "-", one) == key), key)


# The browser's halves


def front_ends(place: Place) -> list[Finding]:
    """Whether the halves that the server gives to the browser fit those of Python, are enabled, and are whole."""
    asked = {
        "nglview": ("nglview-js-widgets", _nglview_asks(place)),
        "anywidget": ("anywidget", _leading(place.version("anywidget"), 2)),
        # plotly's live figures come by anywidget; this half draws the still ones.
        "plotly": ("jupyterlab-plotly", _leading(place.version("plotly"), 1)),
        # ipywidgets 8 speaks to manager 5; the numbers are counted apart.
        "jupyterlab_widgets": ("@jupyter-widgets/jupyterlab-manager", "5"),
    }
    disabled = _disabled(place)
    found = [
        _front_end(place, package, name, version, disabled)
        for package, (name, version) in asked.items()
        if version is not None  # else the package itself is missing, and that is said
    ]
    return [*found, _lab(place)]


def _nglview_asks(place: Place) -> str | None:
    package = place.distribution("nglview")
    source = None if package is None else Path(str(package.locate_file("nglview/_frontend.py")))
    if package is None or source is None or not source.is_file():
        return None if package is None else package.version
    written = re.search(r"""__frontend_version__\s*=\s*['"]([^'"]+)""", source.read_text())
    return written[1] if written else package.version


def _leading(version: str | None, parts: int) -> str | None:
    return None if version is None else ".".join(version.split(".")[:parts])


def _front_end(place: Place, package: str, name: str, asked: str, disabled: dict[str, Path]) -> Finding:
    check = f"{name} (browser half of {package})"
    key = (name, asked)
    reinstall = place.pip("--force-reinstall", "--no-deps", f"{package}=={place.version(package)}")
    if package == "nglview":
        reinstall = place.pip("--force-reinstall", "nglview==3.1.4", "setuptools<82")
    path = place.first(f"labextensions/{name}/package.json")
    if path is None:
        where = ", ".join(str(folder / "labextensions") for folder in place.data)
        return Finding("fail", check, f"is in none of {where}", reinstall, key)
    if name in disabled:
        enable = f"{shlex.quote(place.python)} -m jupyter labextension enable {shlex.quote(name)}"
        return Finding("fail", check, f"is disabled in {disabled[name]}", enable, key)
    about = json.loads(path.read_text())
    version, load = str(about.get("version")), about.get("jupyterlab", {}).get("_build", {}).get("load", "")
    if not fits(version, asked):
        # One that was left in another folder comes first and hides ours: no reinstallation would help.
        ours = path.is_relative_to(place.prefix)
        repair = reinstall if ours else f"rm -r {shlex.quote(str(path.parent))}"
        return Finding("fail", check, f"{version} in {path.parent}; Python asks for {asked}", repair, key)
    if not load or not (path.parent / load).is_file():
        return Finding(
            "fail", check, f"{version} is not whole: {load or 'its code'} is missing", reinstall, key
        )
    return Finding("ok", check, f"{version}, on this machine", front_end=key)


def fits(version: str, asked: str) -> bool:
    """Whether 3.1.4 is asked for by "3.1.4", "3.1" or "3"."""
    return f"{version}.".startswith(f"{asked}.")


def _disabled(place: Place) -> dict[str, Path]:
    """Disabled extensions of JupyterLab, and the file that says so."""
    found: dict[str, Path] = {}
    for folder in place.config:
        path = folder / "labconfig" / "page_config.json"
        if path.is_file():
            written = json.loads(path.read_text() or "{}").get("disabledExtensions", {})
            off = written if isinstance(written, list) else [name for name, is_off in written.items() if is_off]
            found |= {name: path for name in off if name not in found}
    return found


def _lab(place: Place) -> Finding:
    """JupyterLab's own page, which pip leaves behind when it is interrupted."""
    check, version = "jupyterlab (its page)", place.version("jupyterlab")
    path = place.prefix / "share/jupyter/lab/static/package.json"
    repair = place.pip("--force-reinstall", "--no-deps", f"jupyterlab=={version}" if version else "jupyterlab")
    if not path.is_file():
        return Finding("fail", check, f"{path} is missing", repair)
    page = str(json.loads(path.read_text())["jupyterlab"]["version"])
    if page != version:
        return Finding("fail", check, f"{page}; its Python half is {version}", repair)
    return Finding("ok", check, f"{page}, on this machine")


# The kernel


def kernel(place: Place) -> Finding:
    """Whether the kernel `python3`, which the notebooks name, is this environment."""
    check = "kernel python3"
    install = f"{shlex.quote(place.python)} -m ipykernel install"
    path = place.first("kernels/python3/kernel.json")
    if path is None:
        return Finding("fail", check, "is not registered", f"{install} --sys-prefix")
    argv = json.loads(path.read_text()).get("argv") or [""]
    # Jupyter replaces a bare `python` by its own.
    if argv[0] in ("python", "python3") or Path(argv[0]).is_relative_to(place.prefix):
        return Finding("ok", check, f"of this environment, {path.parent}")
    level = "--sys-prefix" if path.is_relative_to(place.prefix) else "--user"
    return Finding("fail", check, f"{path} starts {argv[0]}, another Python", f"{install} {level}")


# The machine


def machine(folder: str | Path) -> list[Finding]:
    return [
        torch_build(*_torch(), driver=_driver(), python=sys.executable),
        processors(
            usable_processors(), dict(os.environ), os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
        ),
        disk(shutil.disk_usage(folder).free, folder),
        memory(free_memory()),
    ]


def _torch() -> tuple[str | None, str | None, bool]:
    """Version, the CUDA that it was built for, and whether it reaches a GPU."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: its shared libraries do not load
        return None, None, False
    return torch.__version__, torch.version.cuda, torch.cuda.is_available()


def _driver() -> str:
    """What nvidia-smi says of the card and its driver; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    run = subprocess.run(ask, capture_output=True, text=True, timeout=30)
    return "" if run.returncode else run.stdout.strip().partition("\n")[0]


def torch_build(version: str | None, cuda: str | None, reached: bool, *, driver: str, python: str) -> Finding:
    """Whether torch is there, and uses the GPU where there is one.

    cuda     the version of CUDA that torch was built for; None: built for processors alone
    reached  whether torch finds a GPU that works
    driver   the card and its driver; empty: none
    """
    pip = f"{shlex.quote(python)} -m pip install --force-reinstall"
    if version is None:
        return Finding("fail", "torch", "cannot be imported", f"{pip} torch")
    if reached:
        return Finding("ok", "torch", f"{version}, CUDA {cuda}, on {driver}")
    if not driver:
        return Finding("ok", "torch", f"{version}, on the processor (no NVIDIA driver here)")
    if cuda is None:
        return Finding(
            "warn", "torch", f"{version} is built without CUDA, and there is {driver}", f"{pip} torch"
        )
    older = "--index-url https://download.pytorch.org/whl/cu126"
    return Finding(
        "warn", "torch", f"{version} wants CUDA {cuda}; the driver is older: {driver}", f"{pip} torch {older}"
    )


def usable_processors() -> int:
    """Those that this process may use, which a container or a queue makes fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processors(n: int, environment: dict[str, str], load: float) -> Finding:
    """Whether OpenMP's threads have the processors that they expect.

    load   of the machine, averaged over a minute
    """
    wanted = environment.get("OMP_NUM_THREADS", "")
    there = f"{n} usable, load {load:.1f}"
    if wanted.isdigit() and int(wanted) > n:
        return Finding(
            "warn", "processors", f"{there}; OMP_NUM_THREADS={wanted} is more", f"export OMP_NUM_THREADS={n}"
        )
    busy = n > 1 and load > n and wanted != "1"
    if busy and environment.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        found = f"{there}: busy, and threads that wait awake keep each other from working"
        return Finding("warn", "processors", found, "export OMP_WAIT_POLICY=PASSIVE")
    return Finding("ok", "processors", there)


def disk(free: float, folder: str | Path) -> Finding:
    """Room for runs and trajectories.

    free   bytes
    """
    state = "fail" if free < 0.1 * GB else "warn" if free < 2 * GB else "ok"
    found = f"{free / GB:.1f} GB free for {Path(folder).resolve()}"
    return Finding(
        state, "disk", found, "" if state == "ok" else "du -sh runs/* | sort -h  # then delete old runs"
    )


def memory(free: float | None) -> Finding:
    """Room for a model and its neighbours.

    free   bytes; None: unknown
    """
    if free is None:
        return Finding("ok", "memory", "unknown on this system")
    state = "fail" if free < 0.3 * GB else "warn" if free < 2 * GB else "ok"
    repair = "" if state == "ok" else "jupyter lab stop  # or Kernel > Shut Down All Kernels, and begin anew"
    return Finding(state, "memory", f"{free / GB:.1f} GB free", repair)


def free_memory() -> float | None:
    """Bytes that can be had: those of the machine, or what the container leaves."""
    there = [*_meminfo(), *_container()]
    return min(there) if there else None


def _meminfo() -> Iterator[float]:
    path = Path("/proc/meminfo")
    if path.is_file() and (line := re.search(r"MemAvailable:\s+(\d+) kB", path.read_text())):
        yield 1024.0 * int(line[1])


def _container() -> Iterator[float]:
    folder = Path("/sys/fs/cgroup")
    limit, used, parts = (folder / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and used.is_file() and (words := limit.read_text().strip()).isdigit():
        # Files that were read and are kept in case they are read again make room when asked.
        kept = re.search(r"^inactive_file (\d+)", parts.read_text() if parts.is_file() else "", re.M)
        yield float(words) - float(used.read_text()) + (float(kept[1]) if kept else 0.0)
