"""Why is my view blank? What was found on the machine, and what the browser itself says."""

from __future__ import annotations

import html
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import ipywidgets

from widgets import still
from widgets.ngl_stage import why_not
from widgets.panel import Panel

_STATES = {"fail": ("✗", "#D55E00"), "warn": ("!", "#B37400"), "ok": ("✓", "#009E73")}
_SLOW_MS = 1000.0

# Runs in the browser, once for every page that shows the panel. It asks the kernel something and reports, with what it
# sees of itself, how long the answer took. When none comes, it says so there, for the kernel cannot.
_ESM = """
const webgl = () => {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2") || canvas.getContext("webgl");
  if (!gl) return null;
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return String(name);
};
const frontEnds = async names => {
  const written = document.getElementById("jupyter-config-data");
  const config = written ? JSON.parse(written.textContent) : {};
  const root = (config.fullLabextensionsUrl || (config.baseUrl || "/") + "lab/extensions").replace(/\\/$/, "");
  const found = {};
  for (const name of names) try {
    const about = await (await fetch(`${root}/${name}/package.json`, {cache: "no-store"})).json();
    const code = await fetch(`${root}/${name}/${about.jupyterlab._build.load}`, {method: "HEAD"});
    found[name] = {version: about.version, whole: code.ok};
  } catch (error) { found[name] = null; }
  return found;
};
const elsewhere = () => [...new Set(performance.getEntriesByType("resource").map(entry => new URL(entry.name))
  .filter(url => url.protocol.startsWith("http") && url.origin !== location.origin).map(url => url.host))];

export default {
  initialize({model}) {
    let asked = 0, patience = null, quickest = Infinity, left = 0;
    const ask = () => { asked = performance.now(); model.send({type: "question", at: asked}); };
    const look = () => {
      quickest = Infinity; left = 3;  // the first answer waits for the cell that shows the panel
      clearTimeout(patience);
      patience = setTimeout(() => model.set("_silent", true), 8000);
      ask();
    };
    model.on("msg:custom", async message => {
      if (message.type === "look") { look(); return; }
      if (message.type !== "answer" || message.at !== asked) return;
      quickest = Math.min(quickest, performance.now() - asked);
      clearTimeout(patience);
      model.set("_silent", false);
      if (--left > 0) { ask(); return; }
      model.send({type: "report", round_trip_ms: quickest, webgl: webgl(), elsewhere: elsewhere(),
                  front_ends: await frontEnds(model.get("_names"))});
    });
    look();
  },
  render({model, el}) {
    const show = () => {
      el.textContent = !model.get("_silent") ? "" :
        "The kernel does not answer this page. If it is busy (●), wait. If it was restarted, run the cell again.";
    };
    el.setAttribute("role", "status");
    model.on("change:_silent", show);
    show();
  },
};
"""


@dataclass(frozen=True)
class Row:
    """One thing that was looked at: "ok", "warn" or "fail", and the line that repairs it."""

    state: str
    check: str
    found: str
    repair: str = ""


class Doctor(Panel):
    """What is in order and what is not, on the machine and in this browser, with the line that repairs it.

    findings   what was found on the machine: each has `state` ("ok", "warn", "fail"), `check`, `found`, `repair`, and
               `front_end`, None or the name of a browser half and the beginning of the version that fits

    The browser adds: do messages go both ways, and how fast; does it have WebGL, and on what; which halves did the
    server give it, whole; did anything come from elsewhere.

    >>> Doctor(workbench.doctor.findings())    # doctest: +SKIP
    """

    def __init__(self, findings: Sequence[Any] = ()) -> None:
        super().__init__()
        self._machine = [Row(one.state, one.check, one.found, one.repair) for one in findings]
        self._asked = dict(one.front_end for one in findings if one.front_end is not None)
        reason = why_not()
        self._machine.append(
            Row("ok", "3D views", "can be live")
            if reason is None
            else Row("fail", "3D views", reason, _pip("nglview==3.1.4", "setuptools<82"))
        )
        self._browser: list[Row] = []
        self._rows = ipywidgets.HTML()
        self._again = ipywidgets.Button(
            description="Look again", icon="refresh", tooltip="Ask the browser anew"
        )
        self._again.on_click(self.log.guard(lambda _: self.look()))
        self._probe = _probe_class()(_names=list(self._asked))
        self._probe.on_msg(self.log.guard(self._receive))
        self._on_close(self._probe.close)
        self._show(self._again, self._rows, self._probe)
        self._draw()

    @property
    def rows(self) -> list[Row]:
        """Everything that is known by now, the worst first."""
        order = list(_STATES)
        return sorted([*self._browser, *self._machine], key=lambda row: order.index(row.state))

    @property
    def answered(self) -> bool:
        """Whether a browser has reported."""
        return bool(self._browser)

    def look(self) -> None:
        """Ask the browser anew."""
        self._browser = []
        self._draw()
        self._probe.send({"type": "look"})

    @property
    def repair(self) -> str:
        """The one line to try when a view is blank."""
        return next(
            (row.repair for row in self.rows if row.state == "fail" and row.repair),
            "reload the page; if the kernel was restarted, run the cells again",
        )

    def _receive(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        if message.get("type") == "question":
            self._probe.send({"type": "answer", "at": message["at"]})
        elif message.get("type") == "report":
            self._browser = list(_browser_rows(message, self._asked))
            self._draw()

    def _draw(self) -> None:
        self._rows.value = _table(self.rows, self.describe(), self.repair)

    def describe(self) -> str:
        counts = {state: sum(row.state == state for row in self.rows) for state in _STATES}
        words = f"{counts['ok']} checks are in order, {counts['warn']} warn, {counts['fail']} fail."
        return words if self.answered else f"{words} The browser has not answered yet."

    def picture(self) -> bytes:
        rows = self.rows
        drawn = still.figure(8.0, 0.5 + 0.22 * len(rows))
        drawn.text(0.01, 0.99, self.describe(), va="top", fontsize=10, weight="bold")
        for number, row in enumerate(rows):
            mark, colour = _STATES[row.state]
            height = 1 - (number + 1.8) / (len(rows) + 2)
            for x, text in ((0.01, f"{mark} {row.state}"), (0.1, row.check[:48]), (0.55, row.found[:64])):
                drawn.text(x, height, text, fontsize=8, color=colour if x < 0.05 else "#444444")
        return still.png(drawn)


@cache
def _probe_class() -> type:
    import anywidget
    import traitlets

    class Probe(anywidget.AnyWidget):
        """What runs in the browser."""

        _esm = _ESM
        _names = traitlets.List(traitlets.Unicode()).tag(sync=True)
        _silent = traitlets.Bool(False).tag(sync=True)

    return Probe


def _pip(*wishes: str) -> str:
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.join(wishes)}"


def _browser_rows(report: Mapping[str, Any], asked: Mapping[str, str]) -> Iterable[Row]:
    took = float(report["round_trip_ms"])
    state = "ok" if took < _SLOW_MS else "warn"
    repair = (
        ""
        if state == "ok"
        else "interrupt what runs in the kernel (■), or give the browser a shorter way to it"
    )
    yield Row(state, "messages, browser to kernel and back", f"{took:.0f} ms", repair)
    yield _webgl_row(report["webgl"])
    for name, version in asked.items():
        yield _front_end_row(name, version, report["front_ends"].get(name))
    hosts = ", ".join(report["elsewhere"])
    if hosts:
        yield Row("warn", "without the network", f"this page loaded something from {hosts}; the views did not")
    else:
        yield Row("ok", "without the network", "everything in this page came from its server")


def _webgl_row(renderer: str | None) -> Row:
    repair = (
        "switch graphics acceleration on in the browser: chrome://settings/system or about:preferences#general"
    )
    if renderer is None:
        return Row("fail", "WebGL", "this browser has none, so 3D views are pictures", repair)
    if any(word in renderer.lower() for word in ("swiftshader", "llvmpipe", "software", "basic render")):
        return Row("warn", "WebGL", f"on the processor, slow: {renderer}", repair)
    return Row("ok", "WebGL", renderer)


def _front_end_row(name: str, asked: str, got: Mapping[str, Any] | None) -> Row:
    check = f"{name} in this page"
    server = (
        f"{shlex.quote(sys.executable)} -m jupyter lab  # the server of this environment; then reload the page"
    )
    if got is None:
        return Row("fail", check, "the server of this page does not have it", server)
    version = str(got["version"])
    if not f"{version}.".startswith(f"{asked}."):
        return Row("fail", check, f"{version}; Python asks for {asked}", server)
    if not got["whole"]:
        return Row("fail", check, f"{version}, but its code does not load", server)
    return Row("ok", check, version)


def _table(rows: Sequence[Row], summary: str, repair: str) -> str:
    cell = "padding:2px 16px 2px 0; vertical-align:top; text-align:left"
    lines = []
    for row in rows:
        mark, colour = _STATES[row.state]
        cells = [f'<span style="color:{colour}; font-weight:600; white-space:nowrap">{mark} {row.state}</span>']
        cells += [html.escape(row.check), html.escape(row.found)]
        if row.repair:
            cells[-1] += f"<br>{_line(row.repair)}"
        lines.append("<tr>" + "".join(f'<td style="{cell}">{one}</td>' for one in cells) + "</tr>")
    colour = "var(--jp-ui-font-color1, inherit)"
    return (
        f'<div style="font-size:13px; line-height:1.45; color:{colour}"><b>{html.escape(summary)}</b>'
        f" If a view is blank: {_line(repair)}"
        f'<table style="border-collapse:collapse; margin-top:6px">{"".join(lines)}</table></div>'
    )


def _line(repair: str) -> str:
    """A line to copy: one click selects it whole."""
    return f'<code style="user-select:all; white-space:normal">{html.escape(repair)}</code>'
