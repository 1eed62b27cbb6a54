"""Form without a browser."""

import re
from types import SimpleNamespace

import ipywidgets
import pytest

from widgets.form import Form
from workbench.desk.field import Field

FIELDS = [
    Field("data", "data", "ethanol", choices=("ethanol", "water"), free=True, help="A set, or a file"),
    Field("model", "model", "lorem", choices={"LOREM": "lorem", "MLANet": "mlanet"}),
    Field("epochs", "epochs", 100, low=1, high=5000, help="Passes over the <training> frames"),
    Field("rate", "learning rate", 1e-3, low=1e-6, high=1e-1, log=True),
    Field("cutoff", "cutoff", 5.0, low=2.0, step=0.5, unit="Å", group="model"),
    Field("rotate", "rotate", False, group="model"),
    Field("note", "note", "", group="model"),
]


@pytest.fixture
def form():
    return Form(FIELDS)


def test_every_field_gets_the_control_that_suits_it(form):
    kinds = {name: type(control).__name__ for name, control in form.controls.items()}
    assert kinds == {
        "data": "Combobox",
        "model": "Dropdown",
        "epochs": "BoundedIntText",
        "rate": "FloatLogSlider",
        "cutoff": "BoundedFloatText",
        "rotate": "Checkbox",
        "note": "Text",
    }
    assert form.values == {field.name: field.default for field in FIELDS}
    assert form.controls["cutoff"].description == "cutoff [Å]"
    assert form.controls["cutoff"].min == 2.0
    assert form.controls["epochs"].tooltip == "Passes over the <training> frames"


def test_groups_are_folded_and_help_is_text(form):
    def everything(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from everything(child)

    found = list(everything(form.widget))
    (folds,) = [widget for widget in found if isinstance(widget, ipywidgets.Accordion)]
    assert folds.titles == ("model",)
    assert folds.selected_index is None
    assert form.controls["cutoff"] in list(everything(folds))
    assert form.controls["epochs"] not in list(everything(folds))
    said = "".join(widget.value for widget in found if isinstance(widget, ipywidgets.HTML))
    assert "Passes over the &lt;training&gt; frames" in said


def test_setting_reaches_the_controls_and_tells(form):
    heard = []
    form.observe(lambda name, value: heard.append((name, value)))
    assert form.set(epochs=20, model="mlanet", rate=1e-4) is form
    assert form.controls["epochs"].value == 20
    assert form.values["rate"] == 1e-4
    assert sorted(heard) == [("epochs", 20), ("model", "mlanet"), ("rate", 1e-4)]
    form.controls["rotate"].value = True  # by hand
    assert heard[-1] == ("rotate", True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, "no field 'epoch'. Did you mean 'epochs'"),
        ({"zzz": 3}, "It has data, model, epochs"),
        ({"epochs": 0}, "epochs is 0; expected a number from 1 to 5000"),
        ({"epochs": 2.5}, "expected a whole number"),
        ({"epochs": "many"}, "expected a number"),
        ({"rate": float("nan")}, "expected a number"),
        ({"cutoff": 1.0}, "cutoff is 1.0; expected a number from 2.0 to inf"),
        ({"model": "loren"}, "Did you mean 'lorem'"),
        ({"rotate": 1}, "expected a bool"),
        ({"data": 3}, "expected a str"),
    ],
)
def test_what_may_not_be_is_refused_and_changes_nothing(form, values, words):
    before = form.values
    with pytest.raises(ValueError, match=re.escape(words)):
        form.set(note="changed", **values)
    assert form.values == before


def test_a_free_field_takes_any_text(form):
    assert form.set(data="my/frames.xyz").values["data"] == "my/frames.xyz"


def test_other_choices_keep_the_value_that_is_among_them(form):
    heard = []
    form.observe(lambda name, value: heard.append((name, value)))
    form.offer("model", {"AllScAIP": "allscaip", "LOREM": "lorem"})
    assert form.values["model"] == "lorem"
    assert heard == []
    form.offer("model", ["allscaip", "mlanet"])
    assert form.values["model"] == "allscaip"
    form.offer("model", ["allscaip", "mlanet"], "mlanet")
    assert form.values["model"] == "mlanet"
    assert heard == [("model", "allscaip"), ("model", "mlanet")]
    form.offer("data", ["water"])
    assert form.values["data"] == "ethanol"
    assert form.controls["data"].options == ("water",)


def test_can_be_switched_off(form):
    assert not form.disabled
    form.disabled = True
    assert all(control.disabled for control in form.controls.values())
    form.set(epochs=3)
    assert form.values["epochs"] == 3


def test_fields_may_be_anything_with_these_names():
    form = Form([SimpleNamespace(name="n", label="number", default=3)])
    assert form.set(n=-(10**9)).values == {"n": -(10**9)}


def test_broken_fields_are_refused():
    with pytest.raises(ValueError, match="every name once"):
        Form([FIELDS[0], FIELDS[0]])
    with pytest.raises(TypeError, match="expected a bool, a number or a text"):
        Form([SimpleNamespace(name="n", label="number", default=None)])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"default": "a", "choices": ("b",)}, "expected one of"),
        ({"default": 3, "free": True, "choices": ()}, "expected a text"),
        ({"default": 3, "low": 4}, "expected a number from 4 to inf"),
        ({"default": 3, "low": 4, "high": 2}, "the smaller one first"),
        ({"default": "3", "low": 4}, "expected a number"),
        ({"default": 3.0, "log": True}, "both are above 0"),
    ],
)
def test_a_field_that_contradicts_itself_is_refused(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Field("n", "number", **settings)
