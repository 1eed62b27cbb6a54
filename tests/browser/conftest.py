"""A real JupyterLab and a real browser: what a person sees, and nothing that is reachable only by Python.

Screenshots go into the folder named by WORKBENCH_SCREENSHOTS, else into build/screenshots/.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("WORKBENCH_SCREENSHOTS", REPOSITORY / "build" / "screenshots"))

# Software WebGL, and no talk to the outside.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-gl=angle",
    "--use-angle=swiftshader",
]
# Lab itself says these, whatever the notebook holds.
LAB_NOISE = ("favicon", "net::ERR_", "Failed to load resource", "the server responded with a status of 404")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


class Lab:
    """One JupyterLab server with its own port, token, configuration and notebook folder."""

    def __init__(self, folder: Path) -> None:
        self.notebooks, self.token = folder / "notebooks", secrets.token_hex(16)
        self.notebooks.mkdir()
        self.runtime = folder / "runtime"
        config = folder / "config"
        (config / "labconfig").mkdir(parents=True)
        quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
        (config / "labconfig" / "page_config.json").write_text(json.dumps(quiet))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "IPYTHONDIR": str(folder / "ipython"),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
        ]
        command += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={self.notebooks}"]
        self.output = folder / "lab.log"
        with self.output.open("w") as log:
            self._process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        self._wait_until_ready()

    def _wait_until_ready(self, patience_s: float = 60.0) -> None:
        end = time.monotonic() + patience_s
        while time.monotonic() < end and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=2).close()
                return
            except OSError:
                time.sleep(0.3)
        raise RuntimeError(
            f"JupyterLab did not start within {patience_s} s:\n{self.output.read_text()[-3000:]}"
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Notebook:
    """One notebook, open in the browser."""

    def __init__(self, lab: Lab, page: Any, path: Path) -> None:
        self._lab, self.page, self.path = lab, page, path
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("console", self._hear)
        # A workspace of its own: Lab would open the notebooks of earlier tests again, too.
        page.goto(f"{lab.url}/lab/workspaces/{path.stem}/tree/{path.name}?token={lab.token}")
        try:
            self._wait_for_kernel()
        except Exception:
            self.screenshot("did-not-open")
            raise

    def _wait_for_kernel(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )

    def _hear(self, message: Any) -> None:
        if message.type == "error" and not any(noise in message.text for noise in LAB_NOISE):
            self.complaints.append(f"console: {message.text}")

    def run_all(self) -> None:
        """Run all cells and wait for the last; raises when one ends in an error."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.save()
        for cell in json.loads(self.path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    raise AssertionError("\n".join(output["traceback"]))

    def save(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def do(self, code: str) -> str:
        """Run code in the notebook's kernel, past the cells; returns what it printed or its traceback."""
        return self.page.evaluate(
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({code, store_history: false});
                let heard = "";
                future.onIOPub = message => {
                    heard += message.content.text || (message.content.traceback || []).join("\\n");
                };
                await future.done;
                return heard;
            }""",
            code,
        )

    def ask(self, expression: str) -> Any:
        """The value of a Python expression in the notebook's kernel (anything JSON can carry)."""
        heard = self.do(f"import json as _json; print(_json.dumps({expression}))")
        try:
            return json.loads(heard)
        except json.JSONDecodeError:
            raise AssertionError(f"{expression} gave:\n{heard}") from None

    def seconds_to_answer(self) -> float:
        """How long the kernel takes to answer, asked from here, so that a slow browser does not count."""
        from jupyter_client import BlockingKernelClient

        kernel = self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
        )
        client = BlockingKernelClient(connection_file=str(self._lab.runtime / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=20)
            began = time.monotonic()
            client.execute_interactive(
                "1 + 1", store_history=False, timeout=20, output_hook=lambda message: None
            )
            return time.monotonic() - began
        finally:
            client.stop_channels()

    def press(self, word: str) -> None:
        """Click the button of a view that bears this word."""
        self.page.locator("button.widget-button", has_text=word).click()

    def wait_until(self, expression: str, patience_s: float = 20.0) -> None:
        """Wait until a Python expression in the kernel is true."""
        end = time.monotonic() + patience_s
        while not self.ask(f"bool({expression})"):
            if time.monotonic() > end:
                raise AssertionError(f"still false after {patience_s} s: {expression}")
            time.sleep(0.2)

    def show(self, selector: str) -> None:
        """Scroll to the first element that this selects."""
        self.page.locator(selector).first.evaluate("element => element.scrollIntoView({block: 'start'})")
        time.sleep(0.3)

    def screenshot(self, name: str) -> Path:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=str(path))
        return path

    def pixels(self, selector: str) -> Any:
        """What the browser shows of one element, as an array (height, width, 3) of 0..255."""
        import io

        import numpy as np
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.page.locator(selector).first.screenshot())).convert("RGB"))


@pytest.fixture(scope="session")
def chromium() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip(
            "NO BROWSER: chromium is not installed, so no view was looked at. apt-get install chromium, or set CHROMIUM"
        )
    pytest.importorskip("playwright", reason="NO BROWSER: playwright is not installed. pip install playwright")
    return found


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def open_notebook(lab: Lab, browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """open_notebook(*cells) writes a notebook with these code cells, or copies `file`, opens it and runs it."""
    pages = []

    def open_it(*cells: str, file: Path | None = None, width: int = 1100, height: int = 900) -> Notebook:
        import nbformat

        if file is None:
            book = nbformat.v4.new_notebook(
                cells=[nbformat.v4.new_code_cell(textwrap.dedent(c).strip()) for c in cells]
            )
            book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        else:
            book = nbformat.read(file, as_version=4)
        # A new name each time: Lab keeps the kernel of a name it knows.
        name = request.node.name[:40].replace("[", "-").replace("]", "")  # Lab finds no path with brackets
        path = lab.notebooks / f"{name}-{secrets.token_hex(3)}.ipynb"
        nbformat.write(book, path)
        page = browser.new_page(viewport={"width": width, "height": height})
        pages.append(page)
        notebook = Notebook(lab, page, path)
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        notebook.run_all()
        return notebook

    yield open_it
    for page in pages:
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()
