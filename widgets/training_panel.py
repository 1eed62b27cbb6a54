"""A training to set up, start, watch and judge, beside those that were done before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from widgets import still, table
from widgets.error_view import ErrorView
from widgets.form import Form
from widgets.live_plot import in_words
from widgets.panel import Panel, Pump
from widgets.run_controls import RunControls
from widgets.run_curves import PANES, RunCurves
from widgets.run_list import RunList

_OF_DETAILS = "settings of the model"


class TrainingPanel(Panel):
    """Choose data, model and settings; start, pause and stop; see losses, errors and the worst structure while it
    trains; compare with earlier runs, open one of them and go on with it.

    fields     of the form, as `Form` takes them
    begin      begin(values, details) starts a training and returns it at once
    details    details(values) gives further fields that hang on what is chosen (the settings of the model)
    choices    choices(values) gives field -> choices, of those that hang on what is chosen
    advice     advice(values) gives a sentence on what is chosen, or ""
    earlier    gives the runs there are: objects with `name` and `words`, newest first
    reopen     reopen(name) gives one of them as a training
    proceed    proceed(name, values) goes on with one of them, and returns it as a training

    A training is a job (pause(), resume(), stop(); state, error, report) with `name`, `stream` (rows named as in
    `run_curves.PANES`), `values` and `details` (what the form said), `settings` (name -> value, to compare), `facts`,
    `outcome` and `complaint` (sentences, "" while there is nothing to say), `share` (0..1), `comparison` (None, or as
    `ErrorView.show` takes it), `watch(callback)`, and `look()`, which makes the comparison of a reopened one.

    >>> TrainingPanel(**desk.training("ethanol", folder="runs"))              # doctest: +SKIP
    """

    def __init__(
        self,
        fields: Sequence[Any],
        begin: Callable[[dict[str, Any], dict[str, Any]], Any],
        *,
        details: Callable[[Mapping[str, Any]], Sequence[Any]] = lambda values: (),
        choices: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {},
        advice: Callable[[Mapping[str, Any]], str] = lambda values: "",
        earlier: Callable[[], Sequence[Any]] = tuple,
        reopen: Callable[[str], Any] | None = None,
        proceed: Callable[[str, dict[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__()
        self._begin, self._reopen, self._proceed = begin, reopen, proceed
        self._get_details, self._get_choices, self._get_advice = details, choices, advice
        self.run: Any = None
        self._compared: dict[str, Any] = {}
        self._shown: Any = None  # the comparison that is drawn
        self._complained = ""
        self._going_on = False
        self._settling = False
        self._lock = threading.RLock()  # runs change on one thread while another draws
        self._unwatch: Callable[[], None] = lambda: None
        self.form = Form(fields)
        self.details = Form(list(details(self.form.values)))
        self.form.observe(self.log.guard(self._chosen))
        self.curves = RunCurves()
        self.errors = ErrorView()
        self.runs = RunList(earlier, on_compare=self.compare, on_open=self.open)
        self.controls = self._new_controls()
        self._pump = Pump(self._refresh, self.log, rate=2.0)
        for part in (self.curves, self.errors, self.runs, self._pump):
            self._on_close(part.close)
        self._on_close(lambda: self.controls.close())
        self._on_close(lambda: self._unwatch())
        self._lay_out()
        self._refresh()

    def _lay_out(self) -> None:
        self._advice = ipywidgets.HTML(in_words(self._get_advice(self.form.values)))
        self._details_fold = ipywidgets.Accordion([self.details.widget])
        self._details_fold.titles = (_OF_DETAILS,)
        settings = ipywidgets.VBox([self.form.widget, self._details_fold, self._advice])
        self._fold = ipywidgets.Accordion([settings], selected_index=0)
        self._fold.titles = ("What to train, and how",)
        self._proceed_button = ipywidgets.Button(
            description="Continue",
            icon="forward",
            tooltip="Go on with the run that is shown, up to the epochs of the form",
        )
        self._proceed_button.layout.width, self._proceed_button.layout.flex = "104px", "0 0 auto"
        self._proceed_button.on_click(self.log.guard(lambda _: self.proceed()))
        self._place = ipywidgets.HBox([self.controls.widget])
        self._facts, self._tiles = ipywidgets.HTML(), ipywidgets.HTML()
        line = ipywidgets.HBox(
            [self._proceed_button, self._facts], layout=ipywidgets.Layout(align_items="center", grid_gap="8px")
        )
        # Empty until a run is there: plotly measures its room when it is first displayed.
        self._seen = ipywidgets.VBox(layout=ipywidgets.Layout(width="100%"))
        self._show(self._fold, self._place, line, self._tiles, self._seen, self.runs.widget)

    def _new_controls(self, job: Any = None) -> RunControls:
        return RunControls(
            self._start_run,
            job=job,
            progress=lambda: 0.0 if self.run is None else self.run.share,
            on_end=self._ended,
        )

    # the form -----------------------------------------------------------------------------------------

    def _chosen(self, name: str, value: Any) -> None:
        """Something was chosen, on which other choices may hang."""
        if self._settling:
            return
        self._settling = True
        try:
            for field, choices in self._get_choices(self.form.values).items():
                self.form.offer(field, choices)
            self._renew_details()
            self._advice.value = in_words(self._get_advice(self.form.values))
        finally:
            self._settling = False

    def _renew_details(self) -> None:
        fields = list(self._get_details(self.form.values))
        if fields != list(self.details.fields.values()):
            self.details = Form(fields)
            self._details_fold.children = [self.details.widget]

    def _fill(self, run: Any) -> None:
        """Let the form say what this run was trained with, so far as it has such fields."""
        self._fill_form(self.form, {name: value for name, value in run.values.items() if name != "name"})
        self._renew_details()
        self._fill_form(self.details, run.details)

    def _fill_form(self, form: Form, values: Mapping[str, Any]) -> None:
        for name in form.fields:  # in their order, for later choices hang on earlier ones
            if name in values:
                try:
                    form.set(**{name: values[name]})
                except ValueError as error:
                    self.log.write(f"The form cannot say what was asked for: {error}")

    # what the buttons do ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a training with what the form says."""
        self._going_on = False
        self.controls.start()

    def proceed(self) -> None:
        """Go on with the run that is shown."""
        self._going_on = True
        try:
            self.controls.start()
        finally:
            self._going_on = False

    def _start_run(self) -> Any:
        if self._going_on and self._proceed is not None and self.run is not None:
            run = self._proceed(self.run.name, self.form.values)
        else:
            run = self._begin(self.form.values, self.details.values)
        self._take(run)
        self._fold.selected_index = None  # what is to be seen now stands below
        return run

    def open(self, name: str) -> None:
        """Show an earlier run in place of the present one, and what it was trained with in the form.

        Raises ValueError while a training goes on, which would be out of sight.
        """
        if self._reopen is None:
            raise ValueError("this panel was not told how to open a run; pass reopen=")
        if self._alive:
            raise ValueError(f"{self.run.name} is being trained; stop it, or wait until it has ended")
        run = self._reopen(name)
        self._take(run)
        before, self.controls = self.controls, self._new_controls(run if self._alive else None)
        self._place.children = [self.controls.widget]
        before.close()
        self._fill(run)
        run.look()

    def compare(self, name: str, compare: bool = True) -> None:
        """Draw the validation curves of an earlier run beside the present ones, and list what differs; or no more."""
        if compare and self._reopen is None:
            raise ValueError("this panel was not told how to open a run; pass reopen=")
        if compare and self._reopen is not None:
            self._compared[name] = self._reopen(name)
            self._seen.children = self._seen.children or [self.curves.widget]
            if self.run is None or name != self.run.name:
                self.curves.show(name, self._compared[name].stream, steps=False)
        else:
            self._compared.pop(name, None)
            if self.run is None or name != self.run.name:
                self.curves.hide(name)
        self._compare_settings()

    def _compare_settings(self) -> None:
        runs = {} if self.run is None else {self.run.name: self.run}
        for name, run in self._compared.items():
            runs.setdefault(name, run)
        self.runs.compare({name: run.settings for name, run in runs.items()} if self._compared else {})

    def _take(self, run: Any) -> None:
        """Show this run from now on."""
        with self._lock:
            self._unwatch()
            before, self.run = self.run, run
            if before is not None and before.name != run.name:
                self.curves.hide(before.name)
                if before.name in self._compared:
                    self.curves.show(before.name, before.stream, steps=False)
            self._shown, self._complained = None, ""
            self.errors.clear()
            self.curves.show(run.name, run.stream)
            self._seen.children = [self.curves.widget, self.errors.widget]
            self._unwatch = run.watch(self._pump.wake)
        self._pump.wake()

    @property
    def _alive(self) -> bool:
        return self.run is not None and self.run.state in ("running", "paused", "stopping")

    # drawing ------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        with self._lock:
            self._draw()

    def _draw(self) -> None:
        run = self.run
        self._proceed_button.disabled = run is None or self._proceed is None or self._alive
        self.runs.disabled = self._alive or self._reopen is None
        self._facts.value = in_words(self._facts_in_words())
        if run is None:
            self._tiles.value = ""
            return
        self._tiles.value = table.tiles(numbers(run.stream))
        if run.complaint != self._complained:
            self._complained = run.complaint
            self.log.write(run.complaint)
        if run.comparison is not self._shown:
            self._shown = run.comparison
            self.errors.show(run.comparison)
            self._compare_settings()
            self.runs.refresh()

    def _ended(self, job: Any) -> None:
        self.curves.flush()
        self._refresh()
        self.runs.refresh()
        self._compare_settings()
        self.keep_picture()

    def _facts_in_words(self) -> str:
        if self.run is None:
            return "Nothing is being trained. Start begins with what the form says; Open shows an earlier run."
        words = [f"{self.run.name}: {self.run.facts or 'reading the data'}", self.run.outcome]
        return " ".join(word for word in words if word)

    def picture(self) -> bytes:
        parts = [self.curves.picture()]
        if self._shown is not None:
            parts.append(self.errors.picture())
        return still.stacked(parts)

    def describe(self) -> str:
        words = [self._facts_in_words()]
        if self.run is not None:
            words.append(self.curves.describe())
            words.append(", ".join(f"{name} {value}" for name, value in numbers(self.run.stream).items()) + ".")
            words.append(self.errors.describe())
        words.append(self.runs.describe())
        return "\n".join(words)


def numbers(stream: Any) -> dict[str, str]:
    """What a training's newest rows say, for a person: how far, how fast, how good."""
    rows = stream.since(max(0, len(stream) - 200))
    step = next((row for row in reversed(rows) if "learning_rate" in row), None)
    validation = next((row for row in reversed(rows) if "validation_loss" in row), None)
    said = {}
    if step is not None:
        said["epoch"] = f"{step['epoch']:.4g}"
        said["step"] = f"{step['step']:,.0f}"
        said["speed"] = f"{step['structures_per_s']:.3g} structures/s"
        said["learning rate"] = f"{step['learning_rate']:.2g}"
        said["memory, at most"] = f"{step['memory_GB']:.3g} GB"
    if validation is not None:
        for pane in PANES[1:]:
            if pane.validation in validation:
                said[f"validation {pane.label}"] = f"{validation[pane.validation]:.3g} {pane.unit}"
    return said
