"""The static site: whole, still, and without a network; no panel is blank on it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
PNG = base64.b64encode((ROOT / "notebooks" / "pictures" / "charges.png").read_bytes()).decode()


@pytest.fixture(autouse=True)
def website(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import website

    return website


class Page(HTMLParser):
    """What a page loads, where it links to, and its pictures' words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.names.add(tag)
        if tag == "a":
            self.links.append(values["href"] or "")
        elif loaded := values.get("src") or values.get("href"):
            self.loads.append(loaded)
        if tag == "img":
            self.words.append(values["alt"] or "")


def lesson(path: Path) -> Path:
    """A notebook as it stands after a run: prose, a formula, a panel, a figure, printed words, a verdict."""
    outputs = [
        new_output("stream", name="stdout", text="12 < 13 meV"),
        new_output(
            "display_data",
            {"application/vnd.jupyter.widget-view+json": {}, "image/png": PNG, "text/plain": "Ethanol turns."},
        ),
        new_output(
            "display_data", {"application/vnd.plotly.v1+json": {"data": [], "layout": {}}, "text/html": "CDN"}
        ),
        new_output("execute_result", {"text/html": "<b>Right.</b>", "text/plain": "Right."}, execution_count=1),
    ]
    cells = [
        new_markdown_cell(
            "# Far: who feels $1/r$?\n\nSee [the data](../sample_data/README.md) and [code](x.py)."
        ),
        new_markdown_cell("## 1 · Look\n\n$$V_i = \\sum_j \\frac{Q_j}{r_{ij}}$$"),
        new_code_cell("print(1)", outputs=outputs),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def pages(website, tmp_path: Path) -> dict[str, Page]:
    notebook = lesson(tmp_path / "07_far.ipynb")
    website.write(tmp_path / "site", [notebook], tmp_path)
    return {path.name: Page(path) for path in sorted((tmp_path / "site").glob("*.html"))}


def test_every_page_loads_only_what_lies_beside_it(pages: dict[str, Page], tmp_path: Path) -> None:
    assert {"index.html", "07_far.html", "conventions.html", "benchmarks.html", "sample-data.html"} <= set(
        pages
    )
    for name, page in pages.items():
        for address in page.loads:
            assert address == "data:," or (tmp_path / "site" / address).is_file(), f"{name} loads {address}"
        for address in page.links:
            file = address.split("#")[0]
            assert re.match("https?:", address) or not file or file in pages, f"{name} links to {address}"


def test_a_panel_becomes_its_picture_and_its_words(pages: dict[str, Page], tmp_path: Path) -> None:
    page, text = pages["07_far.html"], (tmp_path / "site" / "07_far.html").read_text()
    assert page.words == ["Ethanol turns."]
    assert (tmp_path / "site" / "pictures" / "07_far-2-1.png").read_bytes() == base64.b64decode(PNG)
    assert "12 &lt; 13 meV" in text
    assert "<b>Right.</b>" in text
    assert "CDN" not in text
    assert "plotly.min.js" in page.loads


def test_formulas_need_no_script(pages: dict[str, Page], tmp_path: Path) -> None:
    assert {"math", "mfrac"} <= pages["07_far.html"].names
    assert "$" not in (tmp_path / "site" / "07_far.html").read_text()


def test_links_lead_to_pages_or_are_words(pages: dict[str, Page], tmp_path: Path, website) -> None:
    site = website.Site(tmp_path, {ROOT / "sample_data" / "README.md": "sample-data.html"})
    source = ROOT / "notebooks" / "x.ipynb"
    assert site.target("../sample_data/README.md#units", source) == "sample-data.html#units"
    assert site.target("../Makefile", source) is None
    assert site.target("https://arxiv.org/abs/2507.19382", source) == "https://arxiv.org/abs/2507.19382"
    assert site.target("pictures/charges.png", source) == "pictures/pictures-charges.png"


def test_a_plot_shows_how_its_run_ended(website, tmp_path: Path) -> None:
    """It was displayed before the first row came."""
    cell = (
        "from widgets import Curve, LivePlot\n"
        "from workbench import Stream\n"
        "rows = Stream()\n"
        "plot = LivePlot(rows, 'step', [Curve('loss', 'the loss')], x_label='step', y_label='loss')\n"
        "display(plot)"
    )
    later = "for step in range(9):\n    rows.emit(step=step, loss=1234.0)"
    notebook = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell), new_code_cell(later)]), notebook)
    website.execute(notebook, tmp_path / "copy" / "n.ipynb")
    cells = nbformat.read(tmp_path / "copy" / "n.ipynb", as_version=4).cells
    assert len(cells) == 2
    (output,) = cells[0].outputs
    assert "1234" in output.data["text/plain"]
    assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
