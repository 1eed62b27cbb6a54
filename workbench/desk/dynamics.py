"""What the DynamicsPanel is handed: structures, models and conditions to choose, runs to start, drifts to explain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import ase

from workbench import flags
from workbench.analysis import Drift, drift_of, rdf
from workbench.desk.field import Field
from workbench.desk.frames import untouched
from workbench.drift_cause import diagnose_drift
from workbench.dynamics import run_md
from workbench.ensembles import ENSEMBLES
from workbench.flags import described
from workbench.jobs import Job, start
from workbench.models.contract import Potential
from workbench.predict import check
from workbench.stored import StoredFrames
from workbench.stream import Stream

SETTINGS = (
    *("ensemble", "temperature_K", "pressure_bar", "timestep_fs", "time_ps"),
    *("thermostat_time_fs", "barostat_time_fs", "seed", "interval"),
)
_MORE = "bath, seed, frames"
# Setting -> its label, its value at first, its bounds.
_IN_SIGHT: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "ensemble": ("ensemble", "nve", {"choices": list(ENSEMBLES)}),
    "temperature_K": ("temperature", 300.0, {"low": 0, "high": 10_000, "step": 10, "unit": "K"}),
    "pressure_bar": ("pressure", 1.0, {"low": -1e6, "high": 1e6, "unit": "bar"}),
    "timestep_fs": ("timestep", 0.5, {"low": 0.01, "high": 100, "step": 0.1, "unit": "fs"}),
    "time_ps": ("length", 2.0, {"low": 0.001, "high": 1e6, "unit": "ps"}),
}
_FOLDED: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "thermostat_time_fs": ("thermostat time", 100.0, {"low": 0.1, "high": 1e6, "unit": "fs"}),
    "barostat_time_fs": ("barostat time", 1000.0, {"low": 0.1, "high": 1e7, "unit": "fs"}),
    "seed": ("seed", 0, {"low": 0, "high": 2**31 - 1}),
}
_MEANS = {  # where run_md's own words do not suit a form
    "time_ps": "of the run",
    "pressure_bar": "of the barostat, in the ensemble npt",
    "barostat_time_fs": "the time in which the barostat acts",
    "cause_steps": "so long a stretch is rerun to find out why the energy drifts",
}
HYDROGEN_PERIOD_FS = 10.0  # of a bond with hydrogen, about


def dynamics(
    data: str | Path | ase.Atoms | Sequence[ase.Atoms],
    models: Mapping[str, Potential | str | Path] | Potential | str | Path,
    *,
    folder: str | Path = "runs",
    **defaults: Any,
) -> dict[str, Any]:
    """Keyword arguments of a DynamicsPanel: choose a structure, a model and conditions, run, compare.

    data       a structure, many of them, a data set of the catalogue, or the path of a file
    models     by the name that the form shows: a Potential, the folder of a run, or a checkpoint, which is read when it
               is first chosen; or one of them alone
    folder     where trajectories are kept
    defaults   what the form says at first: `model`, `frame`, what `run_md` takes, and `cause_steps`

    >>> models = {"direct": "runs/a", "gradient": "runs/b"}                      # doctest: +SKIP
    >>> DynamicsPanel(**desk.dynamics("ethanol", models, time_ps=5))             # doctest: +SKIP

    Raises ValueError for a default out of bounds, TypeError for an unknown one, FileNotFoundError for unknown data.
    """
    frames = _frames(data)
    named = dict(models) if isinstance(models, Mapping) else {"model": models}
    if not frames or not named:
        raise ValueError(f"got {len(frames)} structures and {len(named)} models; expected at least one of each")
    fields = _with(_fields(frames, named), defaults)
    desk = _Desk(frames, named, Path(folder))
    return {
        "atoms": desk.structure({field.name: field.default for field in fields}),
        "start": desk.begin,
        "stream": Stream,
        "drift": desk.drift,
        "fields": fields,
        "structure": desk.structure,
        "advice": desk.advice,
        "name": desk.name,
        "why": desk.why,
        "rdf": lambda atoms, pair: rdf(atoms, pair=pair),
        "saved": lambda: desk.trajectory,
        "progress": share_done,
    }


def share_done(stream: Stream) -> float:
    """How much of a run is done, in 0..1, from its newest row."""
    rows = stream.since(max(0, len(stream) - 1))
    row = rows[0] if rows else {}
    if "seconds_left" not in row:
        return 0.0
    left = row["seconds_left"] * row["steps_per_s"]
    return row["step"] / (row["step"] + left)


def _frames(data: str | Path | ase.Atoms | Sequence[ase.Atoms]) -> Sequence[ase.Atoms]:
    if isinstance(data, ase.Atoms):
        return [data]
    return flags.frames(str(data)) if isinstance(data, str | Path) else untouched(data)


def _fields(frames: Sequence[ase.Atoms], models: Mapping[str, Any]) -> list[Field]:
    said = described(run_md, SETTINGS)
    sizes = frames.sizes if isinstance(frames, StoredFrames) else [len(atoms) for atoms in frames]
    interval = max(1, min(10, 1000 // int(max(sizes))))
    first = [Field("model", "model", next(iter(models)), choices=list(models), help="that gives the forces")]
    if len(frames) > 1:
        first.append(
            Field("frame", "structure", 0, low=0, high=len(frames) - 1, help=f"one of {len(frames)}, from 0")
        )
    return [
        *first,
        *(
            Field(name, label, value, help=_MEANS.get(name, said.get(name, "")), group=group, **more)
            for group, settings in (("", _IN_SIGHT), (_MORE, {**_FOLDED, **_every(interval)}))
            for name, (label, value, more) in settings.items()
        ),
    ]


def _every(interval: int) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    return {
        "interval": ("steps between frames", interval, {"low": 1, "high": 100_000}),
        "cause_steps": ("steps for the cause", 500, {"low": 32, "high": 1_000_000}),
    }


def _with(fields: Sequence[Field], defaults: Mapping[str, Any]) -> list[Field]:
    known = [field.name for field in fields]
    for name in defaults:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
            raise TypeError(f"desk.dynamics got an unknown setting {name!r}. {hint}")
    return [replace(f, default=type(f.default)(defaults[f.name])) if f.name in defaults else f for f in fields]


class _Desk:
    """What stands behind the panel's callables.

    trajectory   the file of the newest run, or None
    """

    def __init__(
        self, frames: Sequence[ase.Atoms], models: Mapping[str, Potential | str | Path], folder: Path
    ) -> None:
        self._frames, self._models, self._folder = frames, dict(models), folder
        self._n_atoms = 0
        self.trajectory: Path | None = None

    def model(self, name: str) -> Potential:
        """One of the models, read now if it was not yet."""
        found = self._models[name]
        if not isinstance(found, Potential):
            found = self._models[name] = flags.trained(found)
        return found

    def structure(self, values: Mapping[str, Any]) -> ase.Atoms:
        return self._frames[values.get("frame", 0)]

    def name(self, values: Mapping[str, Any]) -> str:
        """What is run, in a few words."""
        return "{model}, {ensemble} {temperature_K:g} K, {timestep_fs:g} fs".format(**values)

    def advice(self, values: Mapping[str, Any]) -> str:
        """What can be known of a choice before it is run."""
        atoms, timestep = self.structure(values), values["timestep_fs"]
        words = [f"{round(1000 * values['time_ps'] / timestep):,} steps of {len(atoms)} atoms."]
        if values["ensemble"] == "npt" and not atoms.pbc.all():
            words.append(
                "Constant pressure needs a cell with three periodic directions; this structure has none."
            )
        if 1 in atoms.numbers and timestep > HYDROGEN_PERIOD_FS / 8:
            points = HYDROGEN_PERIOD_FS / timestep
            words.append(f"A bond with hydrogen gets {points:.2g} steps per period; eight and more are sound.")
        try:
            model = self.model(values["model"])
            check(model, atoms)
        except (OSError, ValueError) as error:
            return " ".join([*words, f"This will not run: {error}"])
        if "forces" in model.gives:
            words.append("This model gives forces of its own, no gradient of its energy: expect a drift.")
        return " ".join(words)

    def begin(self, stream: Stream, show: Callable[[ase.Atoms], None], **values: Any) -> Job:
        """Start a run on a thread, and return its job at once. Raises ValueError for a structure or a model that does
        not fit."""
        atoms, model = self.structure(values), self.model(values["model"])
        check(model, atoms)
        settings = {name: values[name] for name in SETTINGS}
        if values["ensemble"] != "npt":
            settings["pressure_bar"] = None
        self._n_atoms, self.trajectory = len(atoms), self._free_file(atoms, values)
        return start(run_md, atoms, model, stream=stream, watch=show, trajectory=self.trajectory, **settings)

    def drift(self, stream: Stream) -> Drift | None:
        """Of the run so far; None where no energy is conserved."""
        rows = stream.since(0)
        return drift_of(rows, self._n_atoms) if rows and "conserved_energy" in rows[-1] else None

    def why(self, atoms: ase.Atoms, progress: Callable[[float], None], **values: Any) -> Job:
        """Look for the cause of a drift on a thread."""
        return start(
            diagnose_drift,
            atoms,
            self.model(values["model"]),
            values["timestep_fs"],
            n_steps=values["cause_steps"],
            progress=progress,
        )

    def _free_file(self, atoms: ase.Atoms, values: Mapping[str, Any]) -> Path:
        stem = f"{atoms.get_chemical_formula()}-{values['ensemble']}"
        number = 1
        while (path := self._folder / f"{stem}-{number}.xyz").exists():
            number += 1
        return path
