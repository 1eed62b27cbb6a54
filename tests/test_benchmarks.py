"""The benchmarks run at their smallest size and their tables are made of what they measured."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find each other and, in the processes that they start, the library."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def test_systems_are_what_their_names_say() -> None:
    from systems import systems

    (aspirin,) = systems("aspirin")
    assert aspirin.get_chemical_formula() == "C9H8O4"
    assert aspirin.get_all_distances()[np.triu_indices(21, 1)].min() > 0.9
    (box,) = systems("water:192")
    density = box.get_masses().sum() / box.get_volume() / 0.602214076  # g/cm3
    assert density == pytest.approx(1.0, abs=0.002)
    assert box.get_all_distances(mic=True)[np.triu_indices(192, 1)].min() > 0.85
    first, second = systems("2*ethanol")
    assert len(first) == 9
    assert not np.allclose(first.positions, second.positions)
    with pytest.raises(ValueError, match="nearest is 192"):
        systems("water:200")
    with pytest.raises(ValueError, match="is no system"):
        systems("wine")


def test_contestant_that_fails_says_why() -> None:
    from race import Contestant

    with pytest.raises(RuntimeError, match="invalid choice: 'nonsense'"):
        Contestant("broken", ("model.py", "lorem", "tiny", "--sum", "nonsense"))


@pytest.mark.slow
def test_speed_times_every_part() -> None:
    import speed

    part = speed.measure(smallest=True)
    calls = {(time["contestant"], time["call"]) for time in part["times"]}
    assert {call for contestant, call in calls if contestant == "LOREM tiny"} == {
        *speed.WHOLE,
        *speed.GRAPHS,
        *speed.MD_CALLS,
        "training step",
    }
    assert ("LOREM tiny, local", "energy and forces") in calls
    for time in part["times"]:
        assert 0 < time["cpu_ms_min"] <= time["cpu_ms"]
        assert 100 < time["peak_MB"] < 10_000
    assert (
        part["contestants"]["LOREM tiny"]["parameters"] > part["contestants"]["LOREM tiny, local"]["parameters"]
    )


def test_neighbour_list_is_timed_and_fitted() -> None:
    import scaling

    part = scaling.neighbour_list(smallest=True)
    # 4/3 pi 5^3 0.1 neighbours for every atom
    for row in part["rows"][1:]:
        assert row["n_pairs"] / row["n_atoms"] == pytest.approx(52.4, rel=0.05)
    assert 0 < part["exponent"] < 2


def test_tables_hold_the_newest_results_and_refuse_a_readme_without_a_place(tmp_path: Path) -> None:
    from run import newest
    from tables import write_readme

    readme = tmp_path / "README.md"
    readme.write_text((BENCHMARKS / "README.md").read_text())
    write_readme(readme, newest(), BENCHMARKS / "results")
    assert readme.read_text() == (BENCHMARKS / "README.md").read_text()
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="no place for the table"):
        write_readme(readme, newest(), BENCHMARKS / "results")


@pytest.mark.slow
def test_models_are_timed_from_few_atoms_to_many() -> None:
    import scaling
    from run import circumstances
    from tables import growth

    part = scaling.models(smallest=True)
    assert set(part["exponents"]) == set(scaling.MODELS)
    for time in part["times"]:
        assert 0 < time["cpu_ms_min"] <= time["cpu_ms"]
        assert part["contestants"][time["contestant"]]["idle_MB"] < time["peak_MB"] < 10_000
    said = {"load_average_after": [0.0], **circumstances()}
    lines = growth({"circumstances": said, **part}).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| 3", "| 24", "| ∝ n^"]


def test_exponents_are_those_of_the_large_systems_above_the_idle_process() -> None:
    import scaling

    records = [
        {"contestant": "a", "n_atoms": n, "cpu_ms": 3 * n**1.5, "peak_MB": 400 + n**2 / 100}
        for n in (500, 1000, 2000)
    ]
    small = {"contestant": "a", "n_atoms": 10, "cpu_ms": 1e6, "peak_MB": 500.0}
    found = scaling.exponents([small, *records], "a", idle_MB=400)
    assert found["time"] == pytest.approx(1.5)
    assert found["memory"] == pytest.approx(2)


def test_the_official_code_is_held_against_ours_by_what_a_system_adds() -> None:
    from run import circumstances
    from tables import beside_official

    times = [
        {"contestant": f"NeNo, {code}", "system": system, "call": "energy and forces"}
        | {"cpu_ms": 100.0 * factor, "cpu_ms_min": 90.0, "peak_MB": idle + 200 * factor}
        for code, factor, idle in (("official", 3, 500), ("ours", 2, 300))
        for system in ("aspirin", "water:192", "water:648")
    ]
    contestants = {"NeNo, official": {"idle_MB": 500, "version": "1"}, "NeNo, ours": {"idle_MB": 300}}
    said = {"load_average_after": [0.0], **circumstances()}
    text = beside_official({"circumstances": said, "contestants": contestants, "times": times})
    assert text.count("× 1.5") == 5
    assert text.count("× 1.5 above idle") == 2


@pytest.mark.slow
def test_dimers_run_on_the_ion_pair(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "dimers.py"), "--steps", "3", "--out", str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    (result,) = json.loads((tmp_path / "dimers.json").read_text())["results"].values()
    assert (result["n_near"], result["n_far"]) == (211, 164)
    assert len(result["long range"]["far"]["predicted"]) == 164
    assert (tmp_path / "dimers.png").stat().st_size > 1000


@pytest.mark.slow
def test_drift_measures_both_runs_and_makes_table_and_figure(tmp_path: Path) -> None:
    import drift
    from run import circumstances
    from tables import drift_table

    part = drift.measure(time_ps=0.03, epochs=1)
    for row in part["rows"]:
        assert row["state"] == "finished"
        assert row["time_ps"] == pytest.approx(0.03)
        assert row["low"] < row["drift_meV_per_atom_per_ns"] < row["high"]
        assert 0 < row["std_meV_per_atom"] < row["range_meV_per_atom"]
    assert [row["norm_softening"] for row in part["rows"]] == [0.0, 0.1]
    said = {"load_average_after": [0.0], **circumstances()}
    assert len(drift_table({"circumstances": said, **part}).splitlines()) == 2 + 2 + 2
    drift.draw(part["rows"], tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 1000


@pytest.mark.slow
def test_attention_trains_judges_and_goes_on_where_it_was(tmp_path: Path) -> None:
    from attention_tables import draw
    from tables import attention

    command = [sys.executable, str(BENCHMARKS / "attention.py"), "--steps", "2", "--out", str(tmp_path)]
    said = [
        subprocess.run([*command, "--only", part], check=True, capture_output=True).stdout
        for part in ("stages", "stages", "turning")
    ]
    assert [len(lines.splitlines()) for lines in said] == [1, 0, 3]  # what is there is not repeated
    record = json.loads((tmp_path / "attention.json").read_text())
    direct, conservative = record["rows"][0]["judged"]
    assert (direct["stage"], direct["steps"]) == ("direct", 50)  # whole epochs of 400 frames
    assert (conservative["stage"], conservative["steps"]) == ("conservative", 100)
    assert 0 < direct["cpu_s"] < conservative["cpu_s"]
    invariant = record["rows"][3]["judged"][-1]
    assert invariant["rotation"]["relative_forces"] < 1e-3 < conservative["rotation"]["relative_forces"]
    turned, still = (invariant["tests"][name]["forces_rmse_meV_per_A"] for name in ("test, turned", "test"))
    assert turned == pytest.approx(still, rel=1e-4)
    tables = attention(record)
    assert set(tables) == {"attention turning", "attention stages"}
    assert len(tables["attention stages"].splitlines()) == 2 + 1 + 2  # from scratch, and both stages
    draw(record, tmp_path)
    assert (tmp_path / "attention_training.png").stat().st_size > 1000


@pytest.mark.slow
def test_accuracy_trains_within_its_budget_and_refuses_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accuracy
    from accuracy_tables import write_page

    from workbench import catalogue

    frames = [atoms for atoms in catalogue.load("ethanol") if atoms.info["split"] in ("train", "test")][::20]
    ase.io.write(tmp_path / "md17_ethanol.xyz.gz", frames, format="extxyz")
    with pytest.raises(ValueError, match="Get that file"):
        accuracy.read(tmp_path, "md17_ethanol")
    digest = hashlib.sha256((tmp_path / "md17_ethanol.xyz.gz").read_bytes()).hexdigest()
    monkeypatch.setitem(accuracy.SETS, "md17_ethanol", accuracy.Set(digest, "", 4))
    monkeypatch.setattr(accuracy, "WEIGHTS", tmp_path)
    parts = accuracy.read(tmp_path, "md17_ethanol")
    assert len(parts["val"]) == 4  # a tenth of the forty to train on
    row = accuracy.measure(accuracy.Training("md17_ethanol"), parts, minutes=0.01)
    assert 0 < row["cpu_s"] < 30
    assert row["steps"] == row["epochs"] * -(-row["frames"]["seen"] // 4)
    (tmp_path / "accuracy.json").write_text(json.dumps({"rows": [row]}))
    write_page(tmp_path / "page.md", tmp_path)
    assert f"| {row['errors']['forces_rmse_meV_per_A']:.1f} |" in (tmp_path / "page.md").read_text()


def test_bond_that_departs_is_seen() -> None:
    from stability import Bonds
    from systems import systems

    (ethanol,) = systems("1*ethanol")
    bonds = Bonds([ethanol])
    assert len(bonds.lengths) == 8
    assert bonds.departure(ethanol) == pytest.approx(0)
    ethanol.positions[-1] += 5 * (ethanol.positions[-1] - ethanol.positions.mean(axis=0))
    assert bonds.departure(ethanol) > 0.5


@pytest.mark.slow
def test_degrees_are_raced(tmp_path: Path) -> None:
    from accuracy_tables import write_page

    command = [sys.executable, str(BENCHMARKS / "degrees.py"), "--smallest", "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    write_page(tmp_path / "page.md", tmp_path)
    assert "| tiny, l_max 1, gradient |" in (tmp_path / "page.md").read_text()
