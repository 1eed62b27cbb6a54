"""StructureView in a real browser."""

import time

import numpy as np

MOLECULE = """
import numpy as np
from ase.build import molecule
from widgets import StructureView
atoms = molecule("CH3CH2OH")
"""


def settle(notebook, seconds=1.5):
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    notebook.wait_until("view.stage._loaded")
    time.sleep(seconds)


def share_of_colour(pixels, is_it):
    r, g, b = np.moveaxis(pixels.astype(int), -1, 0)
    return is_it(r, g, b).mean()


def red(r, g, b):
    return (r > 120) & (g < 90) & (b < 90)


def reddish(r, g, b):
    """Red that something shows through."""
    return (r > 120) & (r > g + 60) & (r > b + 40)


def blue(r, g, b):
    return (b > 110) & (r < 110) & (b > r + 40)


def amber(r, g, b):
    return (r > 150) & (g > 90) & (g < 190) & (b < 70)


def test_atoms_are_drawn(open_notebook):
    notebook = open_notebook(MOLECULE, "view = StructureView(atoms)\nview")
    settle(notebook)
    pixels = notebook.pixels("canvas")
    assert pixels.std() > 10, "the canvas is blank"
    assert share_of_colour(pixels, red) > 0.002, "the oxygen atom is not to be seen"
    notebook.screenshot("structure-elements")
    assert not notebook.complaints


def test_colours_have_a_bar_and_vectors_have_arrows(open_notebook):
    notebook = open_notebook(
        MOLECULE,
        """
        view = StructureView(atoms)
        view.colour(np.linspace(-0.4, 0.8, 9), label="learned charge")
        view
        """,
    )
    settle(notebook)
    plain = notebook.pixels("canvas")
    assert share_of_colour(plain, blue) > 0.002
    assert share_of_colour(plain, amber) < 0.0005
    assert notebook.page.locator(".wb-colour-bar").is_visible()
    notebook.ask("view.arrows(np.eye(3)[np.arange(9) % 3], label='dipole', unit='e Å') and None")
    time.sleep(1.5)
    with_arrows = notebook.pixels("canvas")
    assert share_of_colour(with_arrows, amber) > 0.002, "no arrow is to be seen"
    notebook.screenshot("structure-colours-arrows")
    assert not notebook.complaints


def test_tensors_links_and_cell_are_drawn(open_notebook):
    notebook = open_notebook(
        """
        import numpy as np
        from ase.build import bulk
        from widgets import StructureView
        atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        view = StructureView(atoms)
        tensors = np.zeros((8, 3, 3))
        tensors[4] = np.diag([1.0, -0.5, -0.5])
        tensors[5] = np.diag([-1.0, 0.5, 0.5])
        view.ellipsoids(tensors, label="quadrupole").links([[2, 3], [4, 5]], [1.0, 0.5])
        view
        """
    )
    settle(notebook)
    notebook.screenshot("structure-cell-ellipsoids")
    pixels = notebook.pixels("canvas")
    assert share_of_colour(pixels, reddish) > 0.001, "the ellipsoid that is long is not to be seen"
    assert share_of_colour(pixels, blue) > 0.001, "the ellipsoid that is flat is not to be seen"
    assert not notebook.complaints


def test_streaming_shows_the_latest_positions(open_notebook):
    notebook = open_notebook(
        MOLECULE,
        "view = StructureView(atoms)\nview",
    )
    settle(notebook)
    before = notebook.pixels("canvas")
    notebook.do(
        "for k in range(500): view.update(atoms.positions + 0.02 * np.sin(k / 3) * np.arange(9)[:, None])"
    )
    time.sleep(1.5)
    notebook.ask("view.update(atoms.positions[:, ::-1].copy()) and None")
    time.sleep(1.5)
    after = notebook.pixels("canvas")
    assert (np.abs(after.astype(int) - before).max(axis=-1) > 40).mean() > 0.01, "the atoms did not move"
    assert not notebook.complaints


def theme(notebook, name):
    notebook.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {name}"
    )
    time.sleep(1.5)


def wait_for_tip(notebook, shown):
    """Wait until nglview's tooltip is to be seen, or no longer."""
    asked = """() => [...document.querySelectorAll('.ui-resizable > div')].some(
        e => e.style.display === 'block' && e.innerText.startsWith('Ar 0'))"""
    notebook.page.wait_for_function(asked if shown else f"() => !({asked})()", timeout=20_000)


def test_clicks_and_keys_select_atoms_in_linked_views(open_notebook):
    notebook = open_notebook(
        """
        from ase import Atoms
        from widgets import StructureView
        from widgets.selection import link
        picked = []
        pair = Atoms("ArXe", positions=[[0, 0, 0], [0, 0, 30]])
        view = StructureView(Atoms("Ar"), on_pick=picked.append, height="260px")
        view
        """,
        """
        other = StructureView(pair, height="200px")
        link(view, other)
        other
        """,
    )
    settle(notebook)
    canvas = notebook.page.locator("canvas").first
    before = notebook.pixels("canvas")
    canvas.hover()
    wait_for_tip(notebook, True)
    canvas.click()
    notebook.wait_until("picked == [0]")
    wait_for_tip(notebook, False)
    assert notebook.ask("[view.selected, other.selected]") == [[0], [0]]
    time.sleep(1)
    assert (np.abs(notebook.pixels("canvas").astype(int) - before).max(axis=-1) > 25).mean() > 0.005, (
        "no halo is to be seen"
    )
    notebook.page.mouse.move(5, 5)
    notebook.page.get_by_role("application").last.focus()
    for key, selected in (("n", [1]), ("n", [0]), ("Escape", [])):
        notebook.page.keyboard.press(key)
        notebook.wait_until(f"list(other.selected) == {selected}")
    shown = notebook.pixels("canvas >> nth=1")
    for _ in range(8):
        notebook.page.keyboard.press("ArrowLeft")
    time.sleep(1)
    assert (notebook.pixels("canvas >> nth=1") != shown).any(), "the arrow keys do not turn the structure"
    assert notebook.page.evaluate("() => document.querySelectorAll('.jp-Cell').length") == 2, (
        "Lab heard the keys"
    )
    assert not notebook.complaints


def test_a_crystal_with_its_surroundings_forces_and_selection(open_notebook):
    notebook = open_notebook(
        """
        import numpy as np
        from ase.build import bulk
        from ase.calculators.emt import EMT
        from widgets import StructureView
        frames = []
        for seed in range(3):
            copper = bulk("Cu", cubic=True) * (2, 2, 1)
            copper.rattle(0.15, seed=seed)
            copper.calc = EMT()
            copper.get_forces()
            frames.append(copper)
        forces = np.array([frame.get_forces() for frame in frames])
        view = StructureView(frames).colour_by_force().arrows(forces, label="force", unit="eV/Å")
        view.links([[0, 3], [0, 13]], [1.0, 0.5], label="made up").select([0, 2])
        view
        """,
        height=1050,
    )
    settle(notebook)
    alone = notebook.pixels("canvas")
    notebook.page.get_by_label("images").select_option("half a cell")
    notebook.wait_until("len(view.scene().copies) > 30")
    time.sleep(2)
    notebook.screenshot("structure-images")
    assert (notebook.pixels("canvas") != alone).any(axis=-1).mean() > 0.05, "no images are to be seen"
    words = notebook.page.locator(".wb-key").all_inner_texts()
    assert any("force, longest" in text for text in words)
    notebook.ask("view.show_frame(2) and None")
    notebook.wait_until("'from' in view._words.value and view.frame == 2")
    theme(notebook, "Dark")
    try:
        notebook.screenshot("structure-images-dark")
    finally:
        theme(notebook, "Light")
    assert notebook.ask("view.log.text") == ""
    assert not notebook.complaints


def test_frames_have_a_player(open_notebook):
    notebook = open_notebook(
        MOLECULE,
        """
        frames = []
        for k in range(20):
            frames.append(atoms.copy())
            frames[-1].rattle(0.05, seed=k)
        view = StructureView(frames)
        view
        """,
    )
    settle(notebook)
    notebook.page.locator(".widget-hslider").last.scroll_into_view_if_needed()
    notebook.page.locator(".widget-play button:visible").first.click()
    notebook.wait_until("view.frame > 3")
    notebook.screenshot("structure-frames")
    assert not notebook.complaints


def test_reload_of_the_page_shows_the_present_state(open_notebook):
    notebook = open_notebook(MOLECULE, "view = StructureView(atoms)\nview")
    settle(notebook)
    notebook.ask(
        "view.colour(np.linspace(-1, 1, 9), label='charge').arrows(np.ones((9, 3)), label='dipole') and None"
    )
    notebook.save()
    notebook.page.reload()
    notebook._wait_for_kernel()
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    time.sleep(3)
    pixels = notebook.pixels("canvas")
    notebook.screenshot("structure-reloaded")
    assert share_of_colour(pixels, amber) > 0.002, "the arrows are lost"
    assert share_of_colour(pixels, blue) > 0.002, "the colours are lost"


def test_what_is_asked_of_a_page_that_is_not_ready_is_done_when_it_is(open_notebook):
    notebook = open_notebook(MOLECULE, "view = StructureView(atoms)\nview")
    settle(notebook)
    notebook.do("view.stage._execute('delete this.workbench')")  # as it is just after a reload
    with notebook.page.expect_download() as download:
        notebook.do("view.stage.fit(); view.colour(np.linspace(-1, 1, 9)); view.stage.download('early.png')")
        notebook.do("view.stage._receive(None, {'type': 'request_loaded'}, None)")
    assert download.value.suggested_filename == "early.png"
    assert download.value.path().read_bytes()[:4] == b"\x89PNG"
    assert not notebook.complaints, "a call that came too early was an error"


def test_dark_theme(open_notebook):
    notebook = open_notebook(
        MOLECULE,
        "view = StructureView(atoms, height='260px').colour(np.linspace(-1, 1, 9), label='charge', unit='e')\nview",
        """
        from widgets import LivePlot, RunControls
        from workbench.stream import Stream
        stream = Stream()
        for step in range(300):
            stream.emit(step=step, train=np.exp(-step / 60), validation=np.exp(-step / 80) + 0.02)
        plot = LivePlot(stream, "step", ["train", "validation"], x_label="step", y_label="loss", log=True, height=220)
        plot
        """,
        "RunControls(lambda: None)",
        height=1050,
    )
    settle(notebook)
    notebook.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    try:
        time.sleep(2)
        notebook.screenshot("dark-theme")
        assert notebook.pixels("canvas")[:5, :5].mean() < 60, "the ground of the structure stayed white"
        assert notebook.pixels(".js-plotly-plot")[:5, :5].mean() < 60, "the ground of the plot stayed white"
    finally:
        notebook.page.evaluate(
            "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
        )
    assert not notebook.complaints
