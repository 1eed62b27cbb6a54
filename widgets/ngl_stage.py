"""The live 3D view: one nglview widget that draws a Scene.

Everything nglview needs is told in one place, because its own message queue replays history: we send the state
instead. Whenever a front end says that it has loaded (first display, page reload, second view), it gets the whole
scene; after that only what changed.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import numpy as np

from widgets.scene import Scene, Sticks

#: How long to wait for a browser to say that it has drawn, before sending the next state all the same [s].
_PATIENCE_S = 2.0

# Runs in the browser with `this` = nglview's view. Buffers are made once and then rewritten in place; a buffer
# that has become too small is made anew. Unused sticks and arrows have no width.
_JAVASCRIPT = """
if (!this.workbench) this.workbench = (function (view) {
  const stage = view.stage, parts = {};
  let labels = [];
  // So far away that the sphere around everything fits, however it is turned.
  const fit = function (milliseconds) {
    const room = stage.viewer.container;
    if (!Object.keys(parts).length || Math.min(room.clientWidth, room.clientHeight) < 20) return;  // too early
    const box = stage.getBox(), half = stage.getParameters().cameraFov * Math.PI / 360;
    const narrow = Math.max(1, room.clientHeight / Math.max(room.clientWidth, 1));
    const distance = narrow * (0.5 + box.min.distanceTo(box.max) / 2) / Math.sin(half);
    stage.animationControls.zoomMove(stage.getCenter(), Math.sign(stage.getZoom()) * distance, milliseconds);
  };
  // nglview's own bookkeeping of components would send every change back to the kernel.
  stage.signals.componentAdded.removeAll();
  stage.signals.componentRemoved.removeAll();
  if (view.$pickingInfo) view.$pickingInfo.remove();
  stage.mouseControls.remove("clickPick-left");
  stage.mouseControls.remove("hoverPick");
  stage.mouseControls.add("hoverPick", function (stage, picked) {
    const tip = stage.tooltip, text = picked && picked.picker && labels[picked.pid];
    tip.style.display = text && picked.type === "sphere" ? "block" : "none";
    if (text) {
      tip.innerText = text;
      tip.style.left = picked.mouse.position.x + 8 + "px";
      tip.style.bottom = window.innerHeight - picked.mouse.position.y + 8 + "px";
    }
  });
  stage.signals.clicked.add(function (picked) {
    if (picked && picked.type === "sphere") view.send({type: "workbench_pick", index: picked.pid});
  });
  const ground = function () {
    const style = getComputedStyle(document.body).getPropertyValue("--jp-layout-color0").trim();
    stage.setParameters({backgroundColor: style || "white"});
  };
  // A small molecule may come close; the default keeps it 10 Å away.
  stage.setParameters({clipDist: 1, clipNear: 0, fogNear: 55, fogFar: 105, cameraFov: 28, ambientIntensity: 0.4});
  ground();
  stage.viewer.container.style.height = view.model.get("_view_height");
  stage.viewer.renderer.domElement.style.display = "block";
  const theme = new MutationObserver(ground);
  theme.observe(document.body, {attributes: true, attributeFilter: ["data-jp-theme-name"]});
  // A view has no size until it is laid out or its tab is shown: look again then, unless a person has looked already.
  let untouched = true;
  for (const touch of ["pointerdown", "wheel"]) view.el.addEventListener(touch, function () {
    if (untouched) view.send({type: "workbench_touched"});
    untouched = false;
  });
  const size = new ResizeObserver(function () {
    if (!view.el.clientWidth) return;
    stage.handleResize();
    if (untouched) fit(0);
  });
  size.observe(view.el);
  // nglview keeps every camera, also those of pages without room, and restores the last whenever it is displayed.
  const keepCamera = view.serialize_camera_orientation.bind(view);
  view.serialize_camera_orientation = () => { if (!untouched) keepCamera(); };
  view.set_camera_orientation = () => {};
  // Plotly measures its room before the page has given it any, and again only when the window changes.
  setTimeout(() => window.dispatchEvent(new Event("resize")), 300);
  view.once("remove", function () {
    theme.disconnect(); size.disconnect();
    const renderer = stage.viewer.renderer;
    stage.dispose(); renderer.forceContextLoss();
  });
  const floats = function (text) {
    return new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  };
  const make = {
    spheres: function (shape, d) {
      for (let i = 0; i < d.radius.length; i++)
        shape.addSphere(d.position.slice(3 * i, 3 * i + 3), d.color.slice(3 * i, 3 * i + 3), d.radius[i], "" + i);
    },
    cylinders: (shape, d) => shape.addBuffer(new NGL.CylinderBuffer(d, {openEnded: false})),
    arrows: (shape, d) => shape.addBuffer(new NGL.ArrowBuffer(d, {aspectRatio: 2.2, radialSegments: 24})),
    ellipsoids: (shape, d) => shape.addBuffer(new NGL.EllipsoidBuffer(d, {sphereDetail: 2})),
  };
  const put = function (name, part) {
    const data = {};
    for (const key in part.data) data[key] = floats(part.data[key]);
    const count = data.radius.length, old = parts[name];
    if (old && old.count === count && part.kind !== "ellipsoids") {
      old.buffers.forEach(buffer => buffer.setAttributes(data));
    } else {
      if (old) { stage.removeComponent(old.component); delete parts[name]; }
      if (count === 0) return;
      const shape = new NGL.Shape(name);
      make[part.kind](shape, data);
      const component = stage.addComponentFromObject(shape);
      const drawn = component.addRepresentation("buffer", {opacity: part.opacity || 1});
      parts[name] = {component: component, count: count, buffers: drawn.repr.bufferList};
    }
  };
  return {
    draw: function (message) {
      if (message.labels) labels = message.labels;
      for (const name in parts) if (message.names.indexOf(name) < 0) {
        stage.removeComponent(parts[name].component); delete parts[name];
      }
      for (const name in message.parts) put(name, message.parts[name]);
      if (message.camera && message.camera.length) { stage.viewerControls.orient(message.camera); untouched = false; }
      else if (message.fit) fit(0);
      stage.viewer.requestRender();
      // The kernel sends the next state only after this, so a slow browser is never flooded.
      requestAnimationFrame(() => view.send({type: "workbench_drawn"}));
    },
    fit: () => fit(300),
    download: function (name) {
      stage.makeImage({factor: 2, antialias: true, transparent: false}).then(blob => NGL.download(blob, name));
    },
  };
})(this);
"""


def why_not() -> str | None:
    """Why there can be no live 3D view here; None when there can.

    An nglview whose Python and browser halves differ imports well and draws nothing, so both are compared.
    """
    try:
        asked = _import_nglview()._frontend.__frontend_version__
    except ImportError as error:
        return f"nglview could not be imported ({error}). Install it with: pip install 'nglview==3.1.4' 'setuptools<82'"
    package = Path(sys.prefix, "share/jupyter/labextensions/nglview-js-widgets/package.json")
    if package.exists():
        shipped = json.loads(package.read_text())["version"]
        if shipped != asked:
            return (
                f"nglview's Python half asks for the browser half {asked}, but {shipped} is installed, so it would draw"
                " nothing. Install one that fits: pip install 'nglview==3.1.4' 'setuptools<82'"
            )
    return None


def _import_nglview() -> Any:
    """nglview puts an empty widget into the cell that first imports it; keep it out of sight."""
    import warnings

    from IPython.utils.capture import capture_output

    with capture_output(stdout=False, stderr=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", message="Deprecated call to `pkg_resources")
        import nglview
        import nglview._frontend
    return nglview


class NGLStage:
    """A Scene in an nglview widget.

    scene()          gives what is to be seen now; called whenever something is to be drawn, from any thread
    on_pick(index)   called with the number of the atom that was clicked
    """

    def __init__(
        self, scene: Callable[[], Scene], on_pick: Callable[[int], None], height: str = "380px"
    ) -> None:
        self._scene, self._on_pick = scene, on_pick
        self._parts: dict[str, Any] = {}
        self._labels: tuple[str, ...] = ()
        self._loaded = False
        self._touched = False  # whether a person has turned or moved the view
        self._sent = -math.inf  # when the state was sent that the browser has not drawn yet
        self._lock = threading.Lock()
        self.widget = _quiet_widget()
        self.widget._view_width, self.widget._view_height = "100%", height
        self.widget.on_msg(self._receive)

    def draw(self) -> bool:
        """Send the parts of the scene that differ from what is shown.

        True: not yet, because the browser has not drawn the last one; try again.
        """
        with self._lock:
            if self._loaded and time.monotonic() - self._sent < _PATIENCE_S:
                return True
            if self._loaded:
                self._send()
            return False

    def fit(self) -> None:
        self._execute("this.workbench.fit()")

    def download(self, name: str) -> None:
        """Let the browser save the picture, in twice the size seen."""
        self._execute(f"this.workbench.download({json.dumps(name)})")

    def close(self) -> None:
        self.widget.close()

    def _receive(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("type") == "request_loaded":
            with self._lock:
                # A camera that nobody has moved may be of a page without room; the scene is then fitted anew.
                camera = list(self.widget._camera_orientation) if self._touched else []
                self._loaded, self._parts, self._labels = True, {}, ()
                self._execute(_JAVASCRIPT)
                self._send(fit=True, camera=camera)
        elif content.get("type") == "workbench_touched":
            self._touched = True
        elif content.get("type") == "workbench_drawn":
            self._sent = -math.inf
        elif content.get("type") == "workbench_pick":
            self._on_pick(int(content["index"]))

    def _send(self, fit: bool = False, camera: list[float] | None = None) -> None:
        scene = self._scene()
        before, self._parts = self._parts, _parts(scene)
        before_labels, self._labels = self._labels, scene.labels
        changed = {name: part for name, part in self._parts.items() if before.get(name) != part}
        relabelled = before_labels != scene.labels
        if not (changed or relabelled or fit or before.keys() - self._parts.keys()):
            return
        message = {
            "names": list(self._parts),
            "parts": changed,
            "labels": list(scene.labels) if relabelled else None,
            "fit": fit,
            "camera": camera,
        }
        self._sent = time.monotonic()
        self._execute(f"this.workbench.draw({json.dumps(message)})")

    def _execute(self, code: str) -> None:
        self.widget.send(
            {
                "type": "call_method",
                "target": "Widget",
                "methodName": "executeCode",
                "args": [code],
                "kwargs": {},
            }
        )


def _quiet_widget() -> Any:
    """An nglview widget without its message queue, whose thread would poll for ever and outlive the view."""

    class QuietWidget(_import_nglview().NGLWidget):  # type: ignore[misc]
        def _initialize_threads(self) -> None:
            self._remote_call_thread = SimpleNamespace(q=deque(maxlen=0))

    return QuietWidget(layout=ipywidgets.Layout(width="100%"))


def _parts(scene: Scene) -> dict[str, dict[str, Any]]:
    parts = {"atoms": _part("spheres", position=scene.positions, color=scene.colours, radius=scene.radii)}
    for name, sticks in scene.sticks.items():
        parts[name] = _cylinders(sticks)
    if scene.arrows is not None:
        parts["arrows"] = _part(
            "arrows",
            position1=scene.arrows.start,
            position2=scene.arrows.end,
            color=scene.arrows.colours,
            radius=scene.arrows.radii,
        )
    if scene.ellipsoids is not None:
        major, minor = scene.ellipsoids.axes[:, 0], scene.ellipsoids.axes[:, 1]
        # NGL scales a unit sphere by the two axes it is given and by the radius along the third.
        parts["ellipsoids"] = _part(
            "ellipsoids",
            opacity=0.75,
            position=scene.ellipsoids.centres,
            color=scene.ellipsoids.colours,
            radius=np.linalg.norm(scene.ellipsoids.axes[:, 2], axis=1),
            majorAxis=major,
            minorAxis=minor,
        )
    return parts


def _cylinders(sticks: Sticks) -> dict[str, Any]:
    """Sticks with room to spare, in steps of 32, so that a bond made or broken rewrites the buffer in place."""
    spare = -len(sticks.radii) % 32 if len(sticks.radii) else 32
    point = sticks.start[:1] if len(sticks.start) else np.zeros((1, 3))

    def padded(array: np.ndarray, filling: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(filling, spare, axis=0)])

    return _part(
        "cylinders",
        position1=padded(sticks.start, point),
        position2=padded(sticks.end, point + 1e-3),
        color=padded(sticks.start_colours, np.zeros((1, 3))),
        color2=padded(sticks.end_colours, np.zeros((1, 3))),
        radius=padded(sticks.radii, np.full(1, 1e-6)),
    )


def _part(kind: str, opacity: float = 1.0, **arrays: np.ndarray) -> dict[str, Any]:
    data = {
        name: base64.b64encode(np.ascontiguousarray(a, "<f4").tobytes()).decode() for name, a in arrays.items()
    }
    return {"kind": kind, "opacity": opacity, "data": data}
