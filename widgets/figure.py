"""plotly's live figure, made fit to come back when the page is reloaded.

A FigureWidget carries 5 MB of JavaScript in its state, and anywidget gives every widget two seconds to start; of one
that needs longer it drops, without a word, all that the kernel says later. So the JavaScript is sent once, by a widget
of its own, and a figure starts at once: it keeps what it is told until the JavaScript is there. And what a FigureWidget
gives to a reloaded page is what it showed when it was made; here it is what it shows.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import Any

# Both kinds of widget meet at a promise that the page keeps; whichever comes first makes it.
_MEETING = """
const shared = globalThis[%s] ??= (() => {
  let resolve;
  const bundle = new Promise(found => { resolve = found; });
  return {bundle, resolve};
})();
"""
_BRING = """
export default {initialize({model}) {
  if (shared.brought) return;
  shared.brought = true;
  const code = new Blob([model.get("code")], {type: "text/javascript"});
  import(URL.createObjectURL(code)).then(shared.resolve);
}};
"""
_TAKE = """
const told = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout", "update", "animate",
  "removeLayoutProps", "removeTraceProps"].map(name => "_py2js_" + name);
export default () => {
  let started;
  return {
    initialize(context) {
      const {model} = context, early = [], ears = told.map(name => () => {
        if (model.get(name) !== null) early.push([name, model.get(name)]);
      });
      told.forEach((name, n) => model.on(`change:${name}`, ears[n]));
      started = shared.bundle.then(bundle => {
        told.forEach((name, n) => model.off(`change:${name}`, ears[n]));
        const figure = bundle.default();
        figure.initialize(context);
        for (const [name, value] of early) { model.set(name, value); model.set(name, null); }
        return figure;
      });
    },
    render: async context => (await started).render(context),
  };
};
"""


def live_figure() -> Any:
    """An empty plotly FigureWidget."""
    return _figure_class()()


@cache
def _figure_class() -> type:
    import anywidget
    import plotly
    import plotly.graph_objects as go
    import traitlets
    from plotly.basedatatypes import Undefined

    meeting = _MEETING % json.dumps(f"workbench-plotly-{plotly.__version__}")

    class FrontEnd(anywidget.AnyWidget):
        _esm = meeting + _BRING
        code = traitlets.Unicode().tag(sync=True)

    class LiveFigure(go.FigureWidget):
        _esm = meeting + _TAKE

        def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
            """Asked for everything, e.g. by a reloaded page, it gives the present data and layout."""
            if key is None and "_widget_data" in self._trait_values:  # else it is being made
                # Past the traits, which would send it to the pages that have it already.
                self._trait_values["_widget_data"] = deepcopy(self._data)
                self._trait_values["_widget_layout"] = deepcopy(self._layout_obj._props)
            return super().get_state(key, drop_defaults)

        def _send_update_msg(
            self, restyle_data: Any, relayout_data: Any, trace_indexes: Any = None, source_view_id: Any = None
        ) -> None:
            """One message for all traces in which the same properties change. plotly's one for all says "undefined" of
            what stays as it is in a trace, and that is what the page then keeps, and draws when it draws anew."""
            alike: dict[tuple[str, ...], list[int]] = {}
            for place in range(len(trace_indexes or ())):
                changed = [name for name, v in (restyle_data or {}).items() if _at(v, place) is not Undefined]
                alike.setdefault(tuple(changed), []).append(place)
            for names, places in alike.items() or [((), [])]:
                values = {name: [_at(restyle_data[name], place) for place in places] for name in names}
                traces = [trace_indexes[place] for place in places]
                super()._send_update_msg(values, relayout_data, traces, source_view_id)
                relayout_data = {}  # with the first

    # ipywidgets keeps it for as long as the kernel lives.
    FrontEnd(code=str(go.FigureWidget._esm))
    return LiveFigure


def _at(values: Any, place: int) -> Any:
    """What plotly's restyling gives to a trace: lists go round, anything else is for all."""
    return values[place % len(values)] if isinstance(values, list) else values
