"""What people do to a page: reload it, restart its kernel, open two notebooks, leave it open for an hour."""

from statistics import median

import plotly

# A real run of EMT that goes on until it is stopped, with a view, a curve and buttons.
RUN = """
import time
from itertools import count
import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from IPython.display import display
from widgets import LivePlot, RunControls, StructureView
from workbench import jobs
from workbench.stream import Stream

atoms = bulk("Cu", cubic=True).repeat(2)

def run(control):
    moving = atoms.copy()
    moving.calc = EMT()
    moving.set_momenta(np.random.default_rng(1).normal(size=(len(atoms), 3)))
    md = VelocityVerlet(moving, 2.0 * units.fs)
    for step in count():
        if control.wait_and_see_stop():
            break
        md.run(1)
        stream.emit(step=step, energy=moving.get_potential_energy(), kinetic=moving.get_kinetic_energy())
        view.update(moving.positions)
        time.sleep(0.02)

stream, view = Stream(), StructureView(atoms, height="260px")
plot = LivePlot(stream, "step", ["energy", "kinetic"], x_label="step", y_label="energy [eV]", height=220)
controls = RunControls(lambda: jobs.start(run))
controls.start()
display(controls, view, plot)
"""

# The number of the last step that the page has drawn.
LAST = "document.querySelector('.js-plotly-plot')?.data?.[0].x.at(-1) ?? 0"


def wait_for_step(notebook, later_than):
    notebook.page.wait_for_function(f"n => ({LAST}) > n", arg=later_than, timeout=90_000)


def wait_until_drawn(notebook):
    """Until copper is to be seen in the 3D view."""
    notebook.page.wait_for_selector("canvas", timeout=90_000)
    notebook.show(".widget-button")
    for _ in range(20):
        if (notebook.pixels("canvas").std(axis=-1) > 20).mean() > 0.02:
            return
        notebook.page.wait_for_timeout(1000)
    notebook.screenshot("nothing-drawn")
    raise AssertionError("the 3D view stays blank")


def slow_down(page):
    """From the next load on, plotly's code comes after more than the two seconds that a widget is given to start."""
    meeting = f"globalThis['workbench-plotly-{plotly.__version__}']"
    late = "{bundle: new Promise(found => { late = found; }), resolve: found => setTimeout(() => late(found), 4000)}"
    page.add_init_script(f"{{ let late; {meeting} = {late}; }}")


def test_reload_and_restart_in_the_middle_of_a_run(open_notebook):
    notebook = open_notebook(RUN)
    page = notebook.page
    wait_for_step(notebook, 10)
    notebook.save()
    slow_down(page)
    page.reload()
    notebook._wait_for_kernel()
    wait_for_step(notebook, notebook.ask("stream[-1]['step']"))  # goes on, and does not only come back
    wait_until_drawn(notebook)
    assert notebook.ask("controls.state") == "running", "the reload ended the run"
    notebook.screenshot("reloaded-while-running")
    notebook.press("Stop")
    notebook.wait_until("controls.state == 'stopped'")
    assert notebook.ask("[view.log.text, plot.log.text, controls.log.text]") == ["", "", ""]
    notebook.save()

    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    page.wait_for_selector(".wb-panel.jupyter-widgets-disconnected", timeout=60_000)
    notebook._wait_for_kernel()
    words = page.evaluate("() => getComputedStyle(document.querySelector('.wb-panel'), '::before').content")
    assert "The kernel was restarted" in words
    notebook.screenshot("kernel-restarted")

    page.reload()
    notebook._wait_for_kernel()
    pictures = page.locator(".jp-RenderedImage img")
    pictures.last.wait_for(timeout=60_000)
    heights = [pictures.nth(n).bounding_box()["height"] for n in range(pictures.count())]
    assert len(heights) == 3
    assert max(heights) > 200, "no picture where the live view is gone"
    notebook.screenshot("kernel-restarted-reloaded")


def test_two_notebooks_run_at_once(open_notebook):
    notebooks = [open_notebook(RUN), open_notebook(RUN)]
    for notebook in notebooks:
        notebook.page.bring_to_front()
        wait_for_step(notebook, 10)
    for notebook in notebooks:
        seconds = [notebook.seconds_to_answer() for _ in range(5)]
        assert median(seconds) < 0.5, f"the kernel takes {seconds} s to answer while both runs go on"
    first, second = notebooks
    first.page.bring_to_front()
    first.press("Stop")
    first.wait_until("controls.state == 'stopped'")
    assert second.ask("controls.state") == "running", "stopping one run stopped the other"
    second.page.bring_to_front()
    wait_for_step(second, second.ask("stream[-1]['step']"))
    second.press("Stop")
    second.wait_until("controls.state == 'stopped'")
    assert not first.complaints + second.complaints


STREAMING = """
import gc, time
import numpy as np
import psutil
from ase.build import bulk
from IPython.display import display
from widgets import LivePlot, StructureView
from workbench import jobs
from workbench.stream import Stream

atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True).repeat((5, 5, 1))
moved = [atoms.positions + np.random.default_rng(k).normal(scale=0.1, size=(200, 3)) for k in range(20)]
view, stream = StructureView(atoms, height="260px"), Stream()
plot = LivePlot(stream, "step", ["energy", "temperature"], x_label="step", y_label="energy [eV]")
view._pump._period = 0.0  # as fast as the browser draws, instead of 10 times a second
drawn = []
view.stage.widget.on_msg(lambda _, said, buffers: said.get("type") == "workbench_drawn" and drawn.append(1))

def emit(steps):
    for _ in range(steps):
        step = len(stream)
        stream.emit(step=step, energy=np.sin(step / 50), temperature=np.cos(step / 90))
        view.update(moved[step % 20])

def flow(control):
    while not control.wait_and_see_stop():
        emit(5)
        time.sleep(0.01)

def rss_MB():
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6

display(view, plot)
"""


def test_an_hour_of_streaming_leaves_memory_flat(open_notebook):
    """Ten updates a second for an hour are 36 000: all of them in the kernel, and some tens in the page."""
    notebook = open_notebook(STREAMING)
    notebook.page.wait_for_selector("canvas")
    notebook.wait_until("view.stage._loaded")
    browser = notebook.page.context.new_cdp_session(notebook.page)

    def heap_MB_after(drawings):
        """Of the page, when it has drawn so much more and what was on its way has come."""
        wanted = notebook.ask("len(drawn)") + drawings
        notebook.do("job = jobs.start(flow)")
        notebook.wait_until(f"len(drawn) >= {wanted}", 180)
        notebook.do("job.stop()")
        notebook.page.wait_for_timeout(2000)
        browser.send("HeapProfiler.collectGarbage")
        return browser.send("Runtime.getHeapUsage")["usedSize"] / 1e6

    notebook.do("emit(5000)")  # more than a plot shows: it does not grow from here
    early, late = heap_MB_after(60), heap_MB_after(60)
    before = notebook.ask("rss_MB()")
    notebook.do("emit(36_000)")
    after = notebook.ask("rss_MB()")
    # A page that kept what it was sent would grow by 50 kB with every drawing.
    assert late - early < 2.5, f"the page grew from {early:.1f} to {late:.1f} MB in 60 drawings"
    # The stream itself keeps its rows: about 300 bytes each.
    assert after - before < 40, f"the kernel grew from {before:.0f} to {after:.0f} MB in 36 000 updates"
    assert notebook.ask("[view.log.text, plot.log.text]") == ["", ""]
    assert not notebook.complaints
