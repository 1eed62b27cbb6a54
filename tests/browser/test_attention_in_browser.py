"""AttentionExplorer in a real browser: an atom is clicked, and its partners light up everywhere."""

import time

import numpy as np

SYNTHETIC = """
import numpy as np
from types import SimpleNamespace
from ase import Atoms
from ase.build import molecule
from widgets import AttentionExplorer

def attention(atoms, n_layers=2, ranges=(1.0, 2.0, 4.0, 8.0), k=12):
    d = atoms.get_all_distances(mic=True)
    nearest = np.argsort(d, axis=1)[:, :k]
    found = []
    for layer in range(n_layers):
        noise = np.random.default_rng(layer).normal(size=(len(ranges), *d.shape))
        scores = noise - d / np.array(ranges)[:, None, None] / (1 + 0.5 * layer)
        empty = dict(pairs=None, centers=None, members=None, normalised=True)
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        found.append(SimpleNamespace(**empty | dict(label=f"layer {layer}, all atoms", weights=weights)))
        near = scores[:, nearest[:, :, None], nearest[:, None, :]].transpose(1, 0, 2, 3)
        near = np.exp(near) / np.exp(near).sum(-1, keepdims=True)
        for order, rows in (("source", near), ("destination", near[:, :, :1])):
            places = dict(centers=np.arange(len(atoms)), members=nearest)
            found.append(SimpleNamespace(**empty | places | dict(label=f"layer {layer}, {order} neighbourhood",
                                                                 weights=rows)))
    influence = np.exp(0.4 * np.random.default_rng(7).normal(size=d.shape)) / (d + 0.7) ** 3
    return found, influence
"""

CLUSTER = """
angles = np.arange(8) * np.pi / 4
ring = 3.6 * np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
atoms = Atoms("ArNe8", np.vstack([[0, 0, 0], ring]))
weights, _ = attention(atoms, k=6)
picked = []
explorer = AttentionExplorer(atoms, weights, atom=1, on_pick=picked.append)
explorer
"""

WATER = """
rng = np.random.default_rng(0)
side = 12.42
atoms = Atoms(cell=[side] * 3, pbc=True)
for place in np.ndindex(4, 4, 4):
    water = molecule("H2O")
    water.rotate(rng.uniform(0, 360), rng.normal(size=3))
    water.translate((np.array(place) + 0.5) * side / 4 + 0.1 * rng.normal(size=3))
    atoms += water
weights, influence = attention(atoms)
explorer = AttentionExplorer(atoms, weights, influence)
explorer
"""


def settle(notebook, seconds=2.0):
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    notebook.wait_until("explorer.view.stage._loaded")
    time.sleep(seconds)


def vermilion(pixels):
    r, g, b = np.moveaxis(pixels.astype(int), -1, 0)
    return (r > 150) & (g > 50) & (g < 150) & (b < 70)


def blue(pixels):
    r, g, b = np.moveaxis(pixels.astype(int), -1, 0)
    return (b > 100) & (r < 60) & (g > 60) & (b > r + 60)


def trace_of(notebook, title_of_axis, trace):
    """Numbers of one trace of the plot with this y axis, as the browser has them."""
    return notebook.page.evaluate(
        """([title, number]) => {
            const plots = [...document.querySelectorAll('.js-plotly-plot')];
            const plot = plots.find(p => p.layout.yaxis.title && p.layout.yaxis.title.text === title);
            return Array.from(plot.data[number].y);
        }""",
        [title_of_axis, trace],
    )


def test_a_click_on_an_atom_lights_up_its_partners(open_notebook):
    notebook = open_notebook(SYNTHETIC, CLUSTER, height=1500)
    settle(notebook)
    notebook.show("canvas")
    before, points = notebook.pixels("canvas"), trace_of(notebook, "weight", 1)
    notebook.screenshot("attention-cluster-before")
    assert vermilion(before).mean() > 0.001, "the chosen atom is not to be seen"
    assert blue(before).mean() > 0.001, "no link is to be seen"
    height, width = before.shape[:2]
    middle = (slice(height // 2 - 5, height // 2 + 5), slice(width // 2 - 5, width // 2 + 5))
    assert not vermilion(before[middle]).any(), "argon, in the middle, is chosen already"
    box = notebook.page.locator("canvas").first.bounding_box()
    notebook.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    notebook.wait_until("picked == [0] and explorer.atom.value == 0")
    time.sleep(1.5)
    after = notebook.pixels("canvas")
    notebook.screenshot("attention-cluster")
    assert vermilion(after[middle]).mean() > 0.5, "the atom that was clicked is not marked"
    assert (np.abs(after.astype(int) - before).max(axis=-1) > 40).mean() > 0.01, "no other links are drawn"
    now = trace_of(notebook, "weight", 1)
    assert now != points, "the points of the plot are still those of the other atom"
    notebook.save()
    notebook.page.reload()
    notebook._wait_for_kernel()
    notebook.page.wait_for_selector("canvas", timeout=20_000)
    time.sleep(3)
    notebook.screenshot("attention-reloaded")
    assert trace_of(notebook, "weight", 1) == now, "a reloaded page shows other points"
    assert notebook.ask("explorer.log.text") == ""
    assert not notebook.complaints


def test_heads_orders_and_neighbourhoods_of_liquid_water(open_notebook):
    notebook = open_notebook(SYNTHETIC, WATER, width=1250, height=1900)
    settle(notebook, 4)
    notebook.show(".jp-OutputArea-child")
    notebook.screenshot("attention-water")
    mean = notebook.pixels("canvas")
    selects = notebook.page.locator(".widget-dropdown select")
    selects.nth(1).select_option(label="head 0")
    notebook.wait_until("explorer.head.value == 0")
    time.sleep(1.5)
    assert (notebook.pixels("canvas") != mean).mean() > 0.005, "the structure does not follow the head"
    selects.nth(2).select_option(label="element")
    number = notebook.page.locator(".widget-text input[type=number]")
    number.fill("96")
    number.press("Enter")
    notebook.wait_until("explorer.atom.value == 96")
    time.sleep(1.5)
    notebook.screenshot("attention-water-element")
    assert trace_of(notebook, "weight", 1) == notebook.ask("explorer.by_distance.figure.data[1].y.tolist()")
    selects.nth(0).select_option(label="layer 1, source neighbourhood")
    notebook.wait_until("explorer.order.value == 'members'")
    time.sleep(1.5)
    notebook.screenshot("attention-neighbourhood")
    selects.nth(0).select_option(label="layer 1, destination neighbourhood")
    notebook.wait_until("explorer.layer.value == 5")
    time.sleep(1.5)
    notebook.screenshot("attention-neighbourhood-one-row")
    selects.nth(0).select_option(label="layer 1, all atoms")
    selects.nth(1).select_option(label="rollout over 2 layers")
    notebook.wait_until("explorer.head.value == 'rollout'")
    theme = "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab %s'})"
    notebook.page.evaluate(f"() => {theme % 'Dark'}")
    try:
        time.sleep(2)
        notebook.screenshot("attention-dark")
    finally:
        notebook.page.evaluate(f"() => {theme % 'Light'}")
    assert notebook.ask("explorer.log.text") == ""
    assert not notebook.complaints
