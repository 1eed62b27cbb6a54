"""A button that hands a file of the kernel to the browser, through the page's own connection to its kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

LARGEST_MB = 200

_JAVASCRIPT = """
export default {render({model, el}) {
  const button = document.createElement("button");
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  button.type = "button";
  const icon = document.createElement("i"), word = document.createTextNode("");
  icon.className = "fa fa-download";
  button.append(icon, word);
  const show = () => {
    word.data = " " + model.get("description");
    button.title = model.get("tooltip");
    button.disabled = model.get("disabled");
  };
  for (const name of ["description", "tooltip", "disabled"]) model.on("change:" + name, show);
  show();
  button.addEventListener("click", () => model.send({type: "wanted"}));
  const take = (message, buffers) => {
    if (message.type !== "file") return;
    const address = URL.createObjectURL(new Blob([buffers[0]], {type: "application/octet-stream"}));
    const link = document.createElement("a");
    link.href = address; link.download = message.name; link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  };
  model.on("msg:custom", take);
  el.append(button);
  return () => model.off("msg:custom", take);
}};
"""


def download_button(
    file: Callable[[], Path], guard: Callable[[Callable[..., Any]], Callable[..., Any]], word: str, tooltip: str
) -> Any:
    """A button widget with traits `description`, `tooltip` and `disabled`.

    file    gives the file that is wanted when the button is pressed; what it raises is shown by `guard`
    guard   as `Log.guard`
    """
    button = _button_class()(description=word, tooltip=tooltip)

    def received(_: Any, message: dict[str, Any], buffers: Any) -> None:
        if message.get("type") == "wanted":
            path = Path(file())
            size = path.stat().st_size / 1e6
            if size > LARGEST_MB:
                raise ValueError(
                    f"{path.name} has {size:.0f} MB, too many for a browser; copy it from {path.resolve()}"
                )
            button.send({"type": "file", "name": path.name}, [path.read_bytes()])

    button.on_msg(guard(received))
    return button


@cache
def _button_class() -> type:
    import anywidget
    import traitlets

    class DownloadButton(anywidget.AnyWidget):
        _esm = _JAVASCRIPT
        description = traitlets.Unicode().tag(sync=True)
        tooltip = traitlets.Unicode().tag(sync=True)
        disabled = traitlets.Bool(False).tag(sync=True)

    return DownloadButton
