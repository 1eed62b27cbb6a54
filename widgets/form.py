"""A form: labelled controls for settings that somebody else describes."""

from __future__ import annotations

import difflib
import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

#: A bound where a field gives only the other one; wider ones lose whole numbers on the way to the browser.
_FAR = 1e12
_HELP = "font-size:12px; line-height:1.5; color:var(--jp-ui-font-color1, inherit)"


class Form:
    """Controls for fields, in their order, in as many columns as there is room for.

    fields   objects with `name`, `label`, `default`, and where they have any: `choices` (values, or what is shown ->
             value), `free` (other texts will do), `low`, `high`, `step`, `log`, `unit`, `help`, and `group` (the fold
             under which it stands)

    Every control has a label with its unit, its help as a tooltip and under "What these mean", and is reached by the
    Tab key. `controls` maps names to the widgets.

    >>> form = Form(fields)                                                   # doctest: +SKIP
    >>> form.set(cutoff=6.0).values                                           # doctest: +SKIP
    """

    def __init__(self, fields: Sequence[Any]) -> None:
        self.fields = {field.name: field for field in fields}
        if len(self.fields) < len(fields):
            names = [field.name for field in fields]
            raise ValueError(f"got fields named {names}; expected every name once")
        self.controls = {name: _control(field) for name, field in self.fields.items()}
        self._callbacks: list[Callable[[str, Any], None]] = []
        self._offering = False
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._changed(name, change["new"]), "value")
        self.widget = self._lay_out()

    def _lay_out(self) -> ipywidgets.VBox:
        groups: dict[str, list[str]] = {}
        for name, field in self.fields.items():
            groups.setdefault(_of(field, "group", ""), []).append(name)
        parts = [self._section(groups.pop("", []))]
        if groups:
            folds = ipywidgets.Accordion([self._section(names) for names in groups.values()])
            folds.titles = tuple(groups)
            parts.append(folds)
        return ipywidgets.VBox(parts, layout=ipywidgets.Layout(width="100%"))

    def _section(self, names: Sequence[str]) -> ipywidgets.VBox:
        columns = "repeat(auto-fill, minmax(min(100%, 300px), 1fr))"
        grid = ipywidgets.Layout(grid_template_columns=columns, grid_gap="2px 16px", width="100%")
        controls = ipywidgets.GridBox([self.controls[name] for name in names], layout=grid)
        return ipywidgets.VBox([controls, ipywidgets.HTML(_help([self.fields[name] for name in names]))])

    @property
    def values(self) -> dict[str, Any]:
        """Name to value, of all fields."""
        return {name: control.value for name, control in self.controls.items()}

    def set(self, **values: Any) -> Form:
        """Change values; all of them or, where one is refused, none.

        Raises ValueError, with a hint, for a name that the form does not have or a value that may not be.
        """
        for name, value in values.items():
            _refuse(self._field(name), value, self._choices(name))
        for name, value in values.items():
            self.controls[name].value = value
        return self

    def offer(self, name: str, choices: Mapping[str, Any] | Sequence[Any], value: Any = None) -> None:
        """Give a field other choices; its value stays if it is among them, else it is `value` or the first."""
        self._field(name)
        control, pairs = self.controls[name], _pairs(choices)
        if isinstance(control, ipywidgets.Combobox):
            control.options = [shown for shown, _ in pairs]
            return
        before = control.value
        wanted, found = before if value is None else value, [chosen for _, chosen in pairs]
        self._offering = True  # new options choose the first of them for a moment, of which nobody need know
        control.options = pairs
        control.value = wanted if wanted in found else found[0]
        self._offering = False
        if control.value != before:
            self._changed(name, control.value)

    def observe(self, callback: Callable[[str, Any], None]) -> None:
        """Call `callback(name, value)` whenever a value changes, by hand or by `set`."""
        self._callbacks.append(callback)

    @property
    def disabled(self) -> bool:
        """Whether nothing can be changed by hand."""
        return all(control.disabled for control in self.controls.values())

    @disabled.setter
    def disabled(self, disabled: bool) -> None:
        for control in self.controls.values():
            control.disabled = disabled

    def _changed(self, name: str, value: Any) -> None:
        for callback in () if self._offering else self._callbacks:
            callback(name, value)

    def _field(self, name: str) -> Any:
        if name not in self.fields:
            close = difflib.get_close_matches(name, self.fields, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(self.fields)}."
            raise ValueError(f"the form has no field {name!r}. {hint}")
        return self.fields[name]

    def _choices(self, name: str) -> list[Any] | None:
        """What may be chosen now; None where anything may be."""
        control = self.controls[name]
        return [value for _, value in control.options] if isinstance(control, ipywidgets.Dropdown) else None


def _of(field: Any, name: str, otherwise: Any) -> Any:
    found = getattr(field, name, None)
    return otherwise if found is None else found


def _pairs(choices: Mapping[str, Any] | Sequence[Any]) -> list[tuple[str, Any]]:
    """(what is shown, value) of every choice."""
    if isinstance(choices, Mapping):
        return list(choices.items())
    return [(str(value), value) for value in choices]


def _control(field: Any) -> Any:
    """The widget that asks for a field."""
    unit = _of(field, "unit", "")
    said: dict[str, Any] = {
        "description": f"{field.label} [{unit}]" if unit else field.label,
        "tooltip": _of(field, "help", ""),
        "value": field.default,
        "layout": ipywidgets.Layout(width="auto"),
        "style": {"description_width": "132px"},
    }
    choices, low, high, step = (_of(field, name, None) for name in ("choices", "low", "high", "step"))
    if choices is not None and _of(field, "free", False):
        return ipywidgets.Combobox(options=[str(shown) for shown, _ in _pairs(choices)], **said)
    if choices is not None:
        return ipywidgets.Dropdown(options=_pairs(choices), **said)
    if isinstance(field.default, bool):
        return ipywidgets.Checkbox(indent=True, **said)
    if _of(field, "log", False):
        return ipywidgets.FloatLogSlider(
            min=math.log10(low), max=math.log10(high), step=0.05, readout_format=".2g", **said
        )
    bounds = {"min": -_FAR if low is None else low, "max": _FAR if high is None else high}
    if isinstance(field.default, int):
        whole = {name: int(bound) for name, bound in bounds.items()}
        return ipywidgets.BoundedIntText(step=step or 1, **whole, **said)
    if isinstance(field.default, float):
        return ipywidgets.BoundedFloatText(step=step, **bounds, **said)
    if isinstance(field.default, str):
        return ipywidgets.Text(continuous_update=False, **said)
    raise TypeError(
        f"{field.name} is {field.default!r} by default; expected a bool, a number or a text, or choices"
    )


def _refuse(field: Any, value: Any, choices: list[Any] | None) -> None:
    """Raise ValueError when a field may not have this value."""
    if choices is not None:
        if value not in choices:
            words = [str(choice) for choice in choices]
            close = difflib.get_close_matches(str(value), words, n=1)
            hint = f". Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{field.name} is {value!r}; expected one of {choices}{hint}")
        return
    number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
    if not number:
        if not isinstance(value, type(field.default)):
            raise ValueError(f"{field.name} is {value!r}; expected a {type(field.default).__name__}")
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{field.name} is {value!r}; expected a number")
    if isinstance(field.default, int) and value != int(value):
        raise ValueError(f"{field.name} is {value}; expected a whole number")
    low, high = _of(field, "low", -math.inf), _of(field, "high", math.inf)
    if not low <= value <= high:
        raise ValueError(f"{field.name} is {value}; expected a number from {low} to {high}")


def _help(fields: Sequence[Any]) -> str:
    """What every field means, folded away; unlike a tooltip it is reached by keyboard and read aloud."""
    rows = "".join(
        f"<dt><b>{html.escape(field.label)}</b></dt><dd style='margin:0 0 4px 1em'>{html.escape(field.help)}</dd>"
        for field in fields
        if _of(field, "help", "")
    )
    if not rows:
        return ""
    return f'<details style="{_HELP}"><summary>What these mean</summary><dl style="margin:4px 0">{rows}</dl></details>'
