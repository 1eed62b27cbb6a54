"""LivePlot, ParityPlot and RunControls in a real browser, while a worker thread runs."""

import time

LIVE = """
import math, time
from widgets import LivePlot, RunControls
from workbench.jobs import start
from workbench.stream import Stream

stream = Stream()

def work(n, control):
    for step in range(n):
        if control.wait_and_see_stop():
            break
        stream.emit(step=step, train=math.exp(-step / 60) + 0.01, validation=math.exp(-step / 80) + 0.03)
        time.sleep(0.01)
"""


def points(notebook):
    """How many points of the first curve the browser has."""
    return notebook.page.evaluate("() => document.querySelector('.js-plotly-plot')?.data[0].x.length ?? 0")


def test_a_curve_grows_while_a_thread_emits(open_notebook):
    notebook = open_notebook(
        LIVE,
        """
        plot = LivePlot(stream, x="step", y=["train", "validation"], x_label="step", y_label="loss", log=True)
        plot
        """,
    )
    notebook.page.wait_for_selector(".js-plotly-plot .main-svg")
    notebook.do("job = start(work, 400)")
    time.sleep(1.0)
    early = points(notebook)
    time.sleep(1.5)
    later = points(notebook)
    assert 0 < early < later, f"the curve does not grow: {early}, then {later} points"
    notebook.wait_until("job.state == 'done'")
    time.sleep(1.0)
    assert points(notebook) == 400, "the last points were lost"
    notebook.screenshot("live-plot")
    assert not notebook.complaints


def test_buttons_act_while_the_worker_runs(open_notebook):
    notebook = open_notebook(
        LIVE,
        """
        def begin():
            return start(work, 4000)
        controls = RunControls(begin, progress=lambda: len(stream) / 4000)
        controls
        """,
    )
    notebook.press("Start")
    notebook.wait_until("controls.state == 'running'")
    notebook.wait_until("len(stream) > 50")
    assert notebook.seconds_to_answer() < 0.5, "the kernel does not answer while the worker runs"
    notebook.screenshot("run-controls-running")
    notebook.press("Pause")
    notebook.wait_until("controls.state == 'paused'")
    time.sleep(0.2)
    reached = notebook.ask("len(stream)")
    time.sleep(0.5)
    assert notebook.ask("len(stream)") == reached, "a paused run went on"
    notebook.press("Resume")
    notebook.wait_until(f"len(stream) > {reached}")
    notebook.press("Stop")
    notebook.wait_until("controls.state == 'stopped'")
    assert notebook.ask("len(stream)") < 4000
    time.sleep(0.6)
    assert notebook.page.locator("button.widget-button", has_text="Start").is_enabled()
    notebook.screenshot("run-controls-stopped")
    assert not notebook.complaints


def test_an_error_of_the_worker_is_shown(open_notebook):
    notebook = open_notebook(
        LIVE,
        """
        def explode(control):
            raise FloatingPointError("the energy is not a number")
        controls = RunControls(lambda: start(explode))
        controls
        """,
    )
    notebook.press("Start")
    notebook.page.get_by_role("log").wait_for(timeout=10_000)
    assert "the energy is not a number" in notebook.page.get_by_role("log").inner_text()
    notebook.screenshot("run-controls-error")


def test_clicking_a_point_of_the_parity_plot_calls_back(open_notebook):
    notebook = open_notebook(
        """
        import numpy as np
        from widgets import ParityPlot
        rng = np.random.default_rng(0)
        reference = np.linspace(-5, -3, 60)
        clicked = []
        plot = ParityPlot(reference, reference + rng.normal(scale=0.03, size=60), label="energy per atom", unit="eV",
                          title="held-out structures", on_click=clicked.append)
        plot
        """
    )
    notebook.page.wait_for_selector(".js-plotly-plot .scatterlayer path.point")
    time.sleep(0.5)
    notebook.screenshot("parity-plot")
    box = notebook.page.locator(".scatterlayer path.point").nth(30).bounding_box()
    notebook.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    time.sleep(0.3)
    notebook.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    notebook.wait_until("len(clicked) == 1 and 0 <= clicked[0] < 60")
    assert not notebook.complaints


def test_a_plot_that_is_drawn_anew_has_all_its_points(open_notebook):
    notebook = open_notebook(
        """
        import numpy as np
        from widgets import ParityPlot
        reference = np.linspace(-5, -3, 60)
        plot = ParityPlot(reference, reference, label="energy per atom", unit="eV")
        plot
        """
    )
    notebook.page.wait_for_selector(".js-plotly-plot .main-svg")
    time.sleep(1.0)
    notebook.do("plot.update(reference, reference + 1)")  # the references stay, the line of agreement grows
    drawn = """() => document.querySelector('.js-plotly-plot')?.data?.map(trace => [trace.x?.length, trace.y?.[0]])"""
    notebook.page.wait_for_function(f"({drawn})()?.[0]?.[1] === -4", timeout=20_000)
    before = notebook.page.evaluate(drawn)
    assert before == [[60, -4.0], [2, -5.0]]
    notebook.page.evaluate(
        """() => {
            const {model} = window.jupyterapp.shell.currentWidget.content.widgets[0].outputArea;
            const outputs = model.toJSON();
            model.clear();
            model.fromJSON(outputs);
        }"""
    )
    notebook.page.wait_for_function(f"({drawn})()?.length === 2", timeout=20_000)
    assert notebook.page.evaluate(drawn) == before
    notebook.screenshot("parity-plot-drawn-anew")
    assert not notebook.complaints
