"""The static site: the executed notebooks with their pictures, and the pages of prose, for a browser without a server.

    python docs/website.py            writes build/site/; a notebook runs that is newer than its executed copy
    python docs/website.py --fresh    run all of them again

Nothing is loaded from a network: panels become pictures with their words beneath, plotly's figures stay live by one
copy of plotly.js, formulas become MathML. Links between notebooks and pages are kept, those to source files become
plain text.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import plotly
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from latex2mathml.converter import convert as mathml
from nbclient import NotebookClient
from nbconvert.filters import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# The pages of prose: their source, and the word for them in the list of pages.
PAGES = {
    "README.md": "The workbench",
    "notebooks/README.md": "For teachers",
    "workbench/README.md": "Conventions",
    "sample_data/README.md": "Sample data",
    "benchmarks/README.md": "Benchmarks",
    "benchmarks/accuracy.md": "Accuracy",
    "CHANGELOG.md": "Changes",
}
PICTURES = {".png", ".jpg", ".svg", ".gif"}

# A panel that was shown while its run went on is drawn once more when all has ended, with its words.
LAST_CELL = """
import base64, gc
from widgets import Panel, RunControls
panels = [thing for thing in gc.get_objects() if issubclass(type(thing), Panel)]
final = {panel.widget.model_id: {"text/plain": panel.describe()} for panel in panels}
for panel in panels:
    if not isinstance(panel, RunControls):  # whose picture is its words
        final[panel.widget.model_id]["image/png"] = base64.b64encode(panel.picture()).decode()
display({"application/json": final}, raw=True)
"""
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: Path, copy: Path) -> None:
    """Run a notebook where it stands, and write it to `copy` with its outputs, panels as pictures and words.

    Raises nbclient.exceptions.CellExecutionError when a cell fails.
    """
    run = nbformat.read(notebook, as_version=4)
    run.cells.append(nbformat.v4.new_code_cell(LAST_CELL))
    NotebookClient(run, timeout=None, store_widget_state=False).execute(cwd=str(notebook.parent))
    final = run.cells.pop().outputs[-1].data["application/json"]
    for cell in run.cells:
        kept: list[Any] = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if model := data.get(WIDGET):
                data |= final.get(model["model_id"], {})
            elif kept and WIDGET in kept[-1].get("data", {}) and list(data) == ["image/png", "text/plain"]:
                continue  # how that panel looked when it was shown
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(run, copy)


@dataclass
class Site:
    """Where every source file of ours appears, and the folder that is being written."""

    folder: Path
    pages: dict[Path, str] = field(default_factory=dict)  # source -> name of its page

    def target(self, url: str, source: Path) -> str | None:
        """Where a link of a source file leads on the site; None where the site has no such thing."""
        parts = urlsplit(url)
        if parts.scheme or not parts.path:
            return url
        path = (source.parent / unquote(parts.path)).resolve()
        if path in self.pages:
            return self.pages[path] + (f"#{parts.fragment}" if parts.fragment else "")
        if path.suffix in PICTURES and path.is_file():
            return self.keep(path.read_bytes(), f"{path.parent.name}-{path.name}")
        return None

    def keep(self, content: bytes, name: str) -> str:
        """Write a picture into the site's folder, and say its address."""
        (self.folder / "pictures").mkdir(exist_ok=True)
        (self.folder / "pictures" / name).write_bytes(content)
        return f"pictures/{name}"


class Prose(IPythonRenderer):
    """Markdown of one source file -> HTML with the site's links and MathML."""

    def __init__(self, site: Site, source: Path) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.site, self.source = site, source

    def link(self, text: str, url: str, title: str | None = None) -> str:
        target = self.site.target(url, self.source)
        return text if target is None else super().link(text, target, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        target = self.site.target(url, self.source)
        return f"<em>{text}</em>" if target is None else super().image(text, target, title)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        name = re.sub(r"[^\w -]", "", re.sub(r"<.*?>", "", text)).strip().lower().replace(" ", "-")
        return f'<h{level} id="{name}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>\n{text}</table></div>\n'

    def block_math(self, body: str) -> str:
        return f'<div class="formula">{mathml(body.strip(), display="block")}</div>'

    def inline_math(self, body: str) -> str:
        return str(mathml(body))

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def html(self, markdown: str) -> str:
        return MarkdownWithMath(self).render(markdown)


def output_html(output: Any, site: Site, name: str) -> str:
    """One output of a cell; its picture, if it is one, is called `name`."""
    if output.output_type == "stream":
        kind = "stream" if output.name == "stdout" else "stream err"
        return f'<pre class="{kind}">{ansi2html(output.text)}</pre>'
    if output.output_type == "error":
        return f'<pre class="stream err">{ansi2html(chr(10).join(output.traceback))}</pre>'
    data, words = output.data, output.data.get("text/plain", "")
    if "application/vnd.plotly.v1+json" in data:
        figure = json.dumps(data["application/vnd.plotly.v1+json"]).replace("</", "<\\/")
        return f'<div class="plotly"><script type="application/json">{figure}</script></div>'
    if "image/png" in data:
        address = site.keep(base64.b64decode(data["image/png"]), name)
        return f'<figure><img src="{address}" alt="{escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
    if "text/html" in data:
        return f'<div class="html">{data["text/html"]}</div>'
    return f"<pre>{escape(words)}</pre>"


def notebook_html(copy: Path, source: Path, site: Site) -> str:
    """The cells of an executed notebook, one after the other."""
    prose, parts = Prose(site, source), []
    for place, cell in enumerate(nbformat.read(copy, as_version=4).cells):
        if cell.cell_type == "markdown":
            parts.append(prose.html(cell.source))
            continue
        code = highlight(cell.source, PythonLexer(), HtmlFormatter())
        outputs = [
            output_html(output, site, f"{source.stem}-{place}-{number}.png")
            for number, output in enumerate(cell.outputs)
            if not ("data" in output and "text/html" in output.data and len(output.data) == 1)  # scripts alone
        ]
        parts.append(f'<div class="cell">{code}{"".join(outputs)}</div>')
    return "\n".join(parts)


def first_heading(markdown: str) -> str:
    return next(line[2:].strip() for line in markdown.splitlines() if line.startswith("# "))


@dataclass(frozen=True)
class Lesson:
    """A notebook of the course."""

    source: Path
    page: str
    number: str
    title: str
    question: str

    @classmethod
    def read(cls, source: Path) -> Lesson:
        heading = first_heading(nbformat.read(source, as_version=4).cells[0].source)
        title, _, question = heading.partition(": ")
        return cls(source, f"{source.stem}.html", source.stem[:2], title, question)


def write(folder: Path, notebooks: list[Path], executed: Path) -> None:
    """Write the site from executed notebooks.

    folder      of the site; what stood there before is removed
    notebooks   in the order of the course
    executed    folder with a copy of each, of the same name, with its outputs
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prose = {ROOT / name: word for name, word in PAGES.items() if (ROOT / name).is_file()}
    solutions = sorted((ROOT / "notebooks" / "solutions").glob("*.md"))
    site = Site(folder, {path: f"{path.stem}.html" for path in notebooks})
    site.pages |= {path: f"{word.lower().replace(' ', '-')}.html" for path, word in prose.items()}
    site.pages |= {path: f"solutions-{path.stem}.html" for path in solutions}
    lessons = [Lesson.read(path) for path in notebooks]
    pages = [(site.pages[path], word) for path, word in prose.items()]
    template = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined).get_template("page.html")

    def page(name: str, title: str, body: str, **more: Any) -> None:
        text = template.render(name=name, title=title, body=body, lessons=lessons, pages=pages, **more)
        (folder / name).write_text(text, encoding="utf-8")

    page("index.html", "A course in long-range potentials", "", index=True)
    for before, lesson, after in zip([None, *lessons], lessons, [*lessons[1:], None], strict=False):
        body = notebook_html(executed / lesson.source.name, lesson.source, site)
        page(lesson.page, lesson.title, body, before=before, after=after)
    for path in [*prose, *solutions]:
        text = path.read_text(encoding="utf-8")
        page(site.pages[path], first_heading(text), Prose(site, path).html(text))
    styles = [
        HtmlFormatter(style="default").get_style_defs(".highlight"),
        f"@media (prefers-color-scheme: dark) {{ {HtmlFormatter(style='github-dark').get_style_defs('.highlight')} }}",
        (HERE / "style.css").read_text(encoding="utf-8"),
    ]
    (folder / "style.css").write_text("\n".join(styles), encoding="utf-8")
    shutil.copy(HERE / "figures.js", folder)
    shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the static site to build/site/.")
    parser.add_argument("--fresh", action="store_true", help="run every notebook again")
    parser.add_argument("--workers", type=int, default=2, help="notebooks that run at a time (default 2)")
    arguments = parser.parse_args()
    executed = ROOT / "build" / "executed"
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    old = [
        path
        for path in notebooks
        if arguments.fresh
        or not (executed / path.name).is_file()
        or (executed / path.name).stat().st_mtime < path.stat().st_mtime
    ]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for path, _ in zip(old, pool.map(execute, old, [executed / path.name for path in old]), strict=True):
            print(f"ran {path.relative_to(ROOT)}")
    write(ROOT / "build" / "site", notebooks, executed)
    print(ROOT / "build" / "site" / "index.html")


if __name__ == "__main__":
    main()
