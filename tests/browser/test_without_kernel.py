"""What is left of a view where nothing is live: an exported page, and a notebook opened without its kernel."""

import json
import subprocess
import sys


def test_a_saved_notebook_holds_pictures_and_words(open_notebook, tmp_path, lab, browser):
    notebook = open_notebook(
        """
        from ase.build import molecule
        from widgets import LivePlot, StructureView
        from workbench.stream import Stream
        StructureView(molecule("CH3CH2OH"))
        """,
        """
        stream = Stream()
        for step in range(50):
            stream.emit(step=step, loss=1 / (step + 1))
        LivePlot(stream, x="step", y=["loss"], x_label="step", y_label="loss")
        """,
    )
    notebook.save()
    outputs = [
        o for cell in json.loads(notebook.path.read_text())["cells"] for o in cell["outputs"] if "data" in o
    ]
    # Each view is the live widget, with words for where it cannot live, and then its picture.
    live, pictures = outputs[::2], outputs[1::2]
    assert [set(o["data"]) for o in live] == [{"application/vnd.jupyter.widget-view+json", "text/plain"}] * 2
    assert [set(o["data"]) for o in pictures] == [{"image/png", "text/plain"}] * 2
    assert "9 atoms" in "".join(live[0]["data"]["text/plain"])
    shown = "() => [...document.querySelectorAll('.jp-RenderedImage')].map(image => image.clientHeight)"
    assert notebook.page.evaluate(shown) == [0, 0], "the pictures stand below the live widgets"
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "html",
        str(notebook.path),
        "--output-dir",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    page = browser.new_page(viewport={"width": 1000, "height": 1000})
    # No network for the exported page: it must stand by itself.
    page.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort()
    )
    page.goto((tmp_path / notebook.path.with_suffix(".html").name).as_uri())
    widths = page.evaluate(
        "() => [...document.images].filter(i => i.clientWidth > 200).map(i => i.naturalWidth)"
    )
    page.screenshot(path=str(notebook.screenshot("exported-page")))
    page.close()
    assert len(widths) == 2, f"{len(widths)} pictures in the exported page, expected 2"
    assert min(widths) > 300
