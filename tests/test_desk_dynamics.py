"""What the DynamicsPanel is handed: real runs of real models, without a panel."""

from __future__ import annotations

import ase.io
import pytest
import torch
from ase.build import bulk, molecule

from workbench import checkpoint, desk
from workbench.desk.dynamics import share_done
from workbench.models import build
from workbench.stream import Stream

SHORT = {"timestep_fs": 0.5, "time_ps": 0.005, "temperature_K": 50.0, "interval": 2}


@pytest.fixture
def salt():
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


@pytest.fixture(scope="module")
def lorem():
    torch.manual_seed(0)
    return build("lorem", "tiny")


def first_values(handed):
    return {field.name: field.default for field in handed["fields"]}


def test_a_run_is_started_watched_and_saved(salt, lorem, tmp_path):
    handed = desk.dynamics(salt, lorem, folder=tmp_path / "runs", **SHORT)
    assert handed["saved"]() is None
    stream, seen = handed["stream"](), []
    job = handed["start"](stream, seen.append, **first_values(handed))
    run = job.join(120)
    assert run.state == "finished"
    assert len(stream) == 11
    assert len(seen) == 6
    assert seen[-1].has("momenta")
    path = handed["saved"]()
    assert path == run.trajectory == tmp_path / "runs" / "Cl4Na4-nve-1.xyz"
    assert len(ase.io.read(path, ":")) == 6
    assert handed["progress"](stream) == 1
    assert handed["drift"](stream).verdict.startswith("too early")
    handed["start"](Stream(), seen.append, **first_values(handed)).join(120)
    assert handed["saved"]().name == "Cl4Na4-nve-2.xyz"
    r, g = handed["rdf"](salt, ("Na", "Cl"))
    assert r[g.argmax()] == pytest.approx(2.82, abs=0.05)


def test_langevin_has_no_drift_to_judge(salt, lorem, tmp_path):
    handed = desk.dynamics(salt, lorem, folder=tmp_path, ensemble="langevin", **SHORT)
    stream = handed["stream"]()
    assert handed["drift"](stream) is None
    handed["start"](stream, lambda atoms: None, **first_values(handed)).join(120)
    assert handed["drift"](stream) is None


def test_pressure_goes_to_npt_alone(salt, lorem, tmp_path):
    handed = desk.dynamics(salt, lorem, folder=tmp_path, ensemble="npt", pressure_bar=7.0, **SHORT)
    stream = handed["stream"]()
    handed["start"](stream, lambda atoms: None, **first_values(handed)).join(120)
    assert "pressure_bar" in stream.names


def test_the_cause_of_a_drift_is_looked_for(salt, lorem, tmp_path):
    handed = desk.dynamics(salt, lorem, folder=tmp_path, cause_steps=32, **SHORT)
    seen, shares = [], []
    values = first_values(handed)
    handed["start"](Stream(), seen.append, **values).join(120)
    cause = handed["why"](seen[-1], shares.append, **values).join(240)
    assert cause.cause == "none"
    assert cause.n_steps == 32
    assert shares[-1] == 1
    job = handed["why"](seen[-1], shares.append, **values)
    job.stop()
    assert job.join(60) is None


def test_models_are_chosen_by_name_and_read_when_chosen(salt, lorem, tmp_path):
    path = checkpoint.save(lorem, tmp_path / "lorem.safetensors")
    models = {
        "saved": path,
        "missing": tmp_path / "nothing",
        "direct": build("mlanet", "tiny", forces="direct"),
    }
    handed = desk.dynamics(salt, models, folder=tmp_path, **SHORT)
    values = first_values(handed)
    assert values["model"] == "saved"
    assert handed["name"](values) == "saved, nve 50 K, 0.5 fs"
    assert handed["advice"](values) == "10 steps of 8 atoms."
    assert "This will not run: there is no run" in handed["advice"]({**values, "model": "missing"})
    assert "forces of its own" in handed["advice"]({**values, "model": "direct"})
    job = handed["start"](Stream(), lambda atoms: None, **values)
    assert job.join(120).state == "finished"


def test_structures_are_chosen_and_advice_looks_at_them(salt, lorem, tmp_path):
    handed = desk.dynamics([salt, molecule("H2O")], lorem, folder=tmp_path, timestep_fs=2.0, ensemble="npt")
    values = first_values(handed)
    assert handed["atoms"] is salt
    assert handed["structure"]({**values, "frame": 1}).get_chemical_formula() == "H2O"
    said = handed["advice"]({**values, "frame": 1})
    assert "needs a cell with three periodic directions" in said
    assert "5 steps per period" in said


def test_a_data_set_by_name(lorem, tmp_path):
    handed = desk.dynamics("ethanol", lorem, folder=tmp_path, frame=3)
    assert len(handed["atoms"]) == 9
    (frame,) = [field for field in handed["fields"] if field.name == "frame"]
    assert (frame.default, frame.low) == (3, 0)
    assert all(field.help for field in handed["fields"])


def test_mistakes_are_told_at_once(salt, lorem, tmp_path):
    with pytest.raises(TypeError, match="Did you mean 'timestep_fs'"):
        desk.dynamics(salt, lorem, timestep=2)
    with pytest.raises(ValueError, match="timestep_fs is -1"):
        desk.dynamics(salt, lorem, timestep_fs=-1.0)
    with pytest.raises(ValueError, match="0 models"):
        desk.dynamics(salt, {})
    with pytest.raises(FileNotFoundError, match="ethanol"):
        desk.dynamics("ethanole", lorem)
    lorem_of_water = build("lorem", "tiny")
    lorem_of_water.known[:] = False
    lorem_of_water.known[[1, 8]] = True
    handed = desk.dynamics(salt, lorem_of_water, folder=tmp_path)
    with pytest.raises(ValueError, match="not trained on"):
        handed["start"](Stream(), lambda atoms: None, **first_values(handed))
    assert handed["saved"]() is None


def test_the_share_that_is_done():
    stream = Stream()
    assert share_done(stream) == 0
    stream.emit(step=0)
    assert share_done(stream) == 0
    stream.emit(step=25, steps_per_s=10.0, seconds_left=7.5)
    assert share_done(stream) == pytest.approx(0.25)
