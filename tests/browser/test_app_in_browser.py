"""The app without code, as `workbench lab --app` serves it: panels in tabs, behind a token, without the network."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from workbench import TrainingConfig, build, catalogue, fit

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("WORKBENCH_SCREENSHOTS", REPOSITORY / "build" / "screenshots"))


@pytest.fixture
def runs(tmp_path):
    """A folder with one run of one epoch."""
    frames = catalogue.load("ethanol")[:10]
    settings = TrainingConfig(epochs=1, batch_size=4)
    fit(
        build("lorem", "tiny"),
        frames[:8],
        frames[8:],
        settings,
        folder=tmp_path / "runs" / "brief",
        progress=False,
    )
    return tmp_path / "runs"


class App:
    """`workbench lab --app` in a process of its own."""

    def __init__(self, folder, runs):
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        port = self.url.rpartition(":")[2]
        places = {f"JUPYTER_{what}_DIR": str(folder / what.lower()) for what in ("CONFIG", "DATA", "RUNTIME")}
        environment = os.environ | places | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "workbench", "lab", "--app", "--runs", str(runs), "--", "--no-browser"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        self.output = folder / "app.log"
        with self.output.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not self.answers():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"the app did not start:\n{self.output.read_text()[-3000:]}")
            time.sleep(0.5)

    def answers(self):
        try:
            urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def app(chromium, runs, tmp_path):
    served = App(tmp_path, runs)
    yield served
    served.stop()


def open_tab(page, title):
    """Turn to a tab and wait until its panel has been made."""
    page.locator(".jupyter-widget-tab > .lm-TabBar .lm-TabBar-tab", has_text=title).first.click()
    page.wait_for_function(
        "() => ![...document.querySelectorAll('[role=status]')]"
        ".some(one => one.offsetParent && one.textContent.startsWith('Just a moment'))",
        timeout=90_000,
    )


def see(page, selector):
    """The first visible element of a kind."""
    found = page.locator(f"{selector}:visible").first
    found.wait_for(timeout=90_000)
    return found


def test_the_app_shows_its_panels_and_no_code(app, browser):
    locked = urllib.request.urlopen(f"{app.url}/voila/render/workbench.ipynb", timeout=10)
    assert "/login" in locked.url, "the app lets people in without its token"
    listening = {
        one.laddr.ip for one in psutil.Process(app.process.pid).net_connections() if one.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}

    page = browser.new_page(viewport={"width": 1240, "height": 1000})
    elsewhere = []
    page.on(
        "request", lambda request: elsewhere.append(request.url) if "//127.0.0.1:" not in request.url else None
    )
    try:
        page.goto(f"{app.url}/voila/render/workbench.ipynb?token={app.token}", timeout=180_000)
        see(page, ".js-plotly-plot .scatterlayer")
        see(page, "canvas")
        page.wait_for_timeout(2000)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SCREENSHOTS / "app-data.png"))
        text = page.inner_text("body")
        assert "1000 frames" in text
        assert "import " not in text, "the app shows code"
        assert "Error displaying widget" not in text

        open_tab(page, "Look inside")
        open_tab(page, "Charges")
        see(page, ".wb-colour-bar")
        page.screenshot(path=str(SCREENSHOTS / "app-look.png"))
        for title in ("Train", "Race"):
            open_tab(page, title)
            see(page, "button.widget-button:has-text('Start')")
        open_tab(page, "Doctor")
        page.get_by_text("everything in this page came from its server").wait_for(timeout=60_000)
        page.screenshot(path=str(SCREENSHOTS / "app-doctor.png"))
        assert not [url for url in elsewhere if not url.startswith(("blob:", "data:"))]
    finally:
        page.close()


def test_make_app_starts_it_on_this_machine_alone():
    run = subprocess.run(
        ["make", "--dry-run", "app"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "-m workbench lab --app" in run.stdout
