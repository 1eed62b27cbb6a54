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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import numpy as np

from widgets.ngl_script import JAVASCRIPT
from widgets.scene import CHOSEN, HALO, PALE, Scene, Sticks

#: How long to wait for a browser to say that it has drawn, before sending the next state all the same [s].
_PATIENCE_S = 2.0


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

    with _nothing_displayed(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        warnings.filterwarnings("ignore", message="Deprecated call to `pkg_resources")
        import nglview
        import nglview._frontend
    return nglview


@contextmanager
def _nothing_displayed() -> Iterator[None]:
    """Keep back what this thread displays in a notebook.

    IPython's capture_output would put another publisher in the place of the kernel's, for all threads, and every
    message that came meanwhile would fail there and stay unanswered.
    """
    from IPython.core.getipython import get_ipython

    publisher: Any = getattr(get_ipython(), "display_pub", None)
    if not hasattr(publisher, "register_hook"):  # no kernel, no notebook
        yield
        return

    def keep_back(message: Any) -> None:
        return None

    publisher.register_hook(keep_back)  # of this thread alone
    try:
        yield
    finally:
        publisher.unregister_hook(keep_back)


class NGLStage:
    """A Scene in an nglview widget.

    scene()                gives what is to be seen now; called whenever something is to be drawn, from any thread
    on_pick(index, more)   called with the number of the ball that was clicked, and whether Shift or Ctrl was held
    on_step(by)            called when the keyboard asks for the next atom (1), the one before (-1), or none (0)
    """

    def __init__(
        self,
        scene: Callable[[], Scene],
        on_pick: Callable[[int, bool], None],
        on_step: Callable[[int], None],
        height: str = "380px",
    ) -> None:
        self._scene, self._on_pick, self._on_step = scene, on_pick, on_step
        self._fit_next = False
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
        self._execute("this.workbench?.fit()")

    def fit_with_next_drawing(self) -> None:
        """See all of what is drawn next."""
        self._fit_next = True

    def download(self, name: str) -> None:
        """Let the browser save the picture, in twice the size seen."""
        call = f"it => it.download({json.dumps(name)})"  # later, by a page that has not drawn yet
        self._execute(f"this.workbench ? ({call})(this.workbench) : (this.workbenchLater ??= []).push({call})")

    def close(self) -> None:
        self.widget.close()

    def _receive(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("type") == "request_loaded":
            with self._lock:
                # A camera that nobody has moved may be of a page without room; the scene is then fitted anew.
                camera = list(self.widget._camera_orientation) if self._touched else []
                self._loaded, self._parts, self._labels = True, {}, ()
                self._execute(JAVASCRIPT)
                self._send(fit=True, camera=camera)
        elif content.get("type") == "workbench_touched":
            self._touched = True
        elif content.get("type") == "workbench_drawn":
            self._sent = -math.inf
        elif content.get("type") == "workbench_pick":
            self._on_pick(int(content["index"]), bool(content.get("more")))
        elif content.get("type") == "workbench_step":
            self._on_step(int(content["by"]))

    def _send(self, fit: bool = False, camera: list[float] | None = None) -> None:
        scene = self._scene()
        fit, self._fit_next = fit or self._fit_next, False
        before, self._parts = self._parts, _parts(scene)
        before_labels, self._labels = self._labels, scene.labels[: scene.n_atoms]
        changed = {name: part for name, part in self._parts.items() if before.get(name) != part}
        relabelled = before_labels != self._labels
        if not (changed or relabelled or fit or before.keys() - self._parts.keys()):
            return
        message = {
            "names": list(self._parts),
            "parts": changed,
            "labels": list(self._labels) if relabelled else None,
            "copies": scene.copies.tolist(),
            "fit": fit,
            "camera": camera,
        }
        self._sent = time.monotonic()
        # A page that knows no workbench yet asks for the whole scene when it is ready.
        self._execute(f"this.workbench?.draw({json.dumps(message)})")

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
    parts = {"atoms": _balls(scene, slice(0, scene.n_atoms))}
    if len(scene.copies):
        parts["images"] = _balls(scene, slice(scene.n_atoms, None), spare=-len(scene.copies) % 64, opacity=PALE)
    if scene.halos is not None:
        centres, radii = scene.halos.centres, scene.halos.radii
        colours = np.tile(CHOSEN, (len(radii), 1))
        parts["halos"] = _part("halos", HALO, position=centres, color=colours, radius=radii)
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


def _balls(scene: Scene, which: slice, spare: int = 0, opacity: float = 1.0) -> dict[str, Any]:
    """Balls, with `spare` ones that have no size, so that a few more or fewer rewrite the buffer in place."""
    position, color, radius = scene.positions[which], scene.colours[which], scene.radii[which]
    return _part(
        "spheres",
        opacity,
        position=np.concatenate([position, np.repeat(position[:1], spare, axis=0)]),
        color=np.concatenate([color, np.repeat(color[:1], spare, axis=0)]),
        radius=np.concatenate([radius, np.full(spare, 1e-6)]),
    )


def _cylinders(sticks: Sticks) -> dict[str, Any]:
    """Sticks with room to spare, in steps of 32, so that a bond made or broken rewrites the buffer in place."""
    spare = -len(sticks.radii) % 32 if len(sticks.radii) else 32
    point = sticks.start[:1] if len(sticks.start) else np.zeros((1, 3))

    def padded(array: np.ndarray, filling: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(filling, spare, axis=0)])

    return _part(
        "cylinders",
        sticks.opacity,
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
