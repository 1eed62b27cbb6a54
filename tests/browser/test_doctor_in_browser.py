"""The Doctor in a real browser: what it finds is what is there, and a killed kernel is told of."""

from importlib.metadata import version


def test_the_doctor_asks_the_browser(open_notebook):
    notebook = open_notebook(
        """
        from widgets import Doctor
        from workbench.doctor import findings
        panel = Doctor(findings())
        panel
        """,
        width=1200,
        height=1000,
    )
    notebook.wait_until("panel.answered")
    rows = {row["check"]: row for row in notebook.ask("[vars(row) for row in panel.rows]")}
    assert rows["nglview-js-widgets in this page"]["found"] == version("nglview")
    assert rows["jupyterlab-plotly in this page"]["found"] == version("plotly")
    assert {row["state"] for check, row in rows.items() if check.endswith("in this page")} == {"ok"}
    assert "SwiftShader" in rows["WebGL"]["found"], (
        "the browser of the tests draws by software, and it is not said"
    )
    assert rows["without the network"]["state"] == "ok"
    assert rows["messages, browser to kernel and back"]["found"].endswith(" ms")
    notebook.page.get_by_text("checks are in order").first.wait_for()
    notebook.screenshot("doctor")
    dark = "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab %s'})"
    notebook.page.evaluate(dark % "Dark")
    notebook.page.wait_for_timeout(1500)
    notebook.screenshot("doctor-dark")
    notebook.page.evaluate(dark % "Light")
    # A half that the server does not have, and the button that looks again.
    notebook.do("panel._asked['not-installed'] = '1'; panel._probe._names = [*panel._asked]")
    notebook.press("Look again")
    notebook.page.get_by_text("does not have it").wait_for()
    assert not notebook.complaints
