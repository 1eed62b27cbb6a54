"""Stored frames: the same as in memory to the last digit, opened without being read, and trained on from disk."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import ase
import h5py
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from workbench import catalogue
from workbench.cli import main
from workbench.conversion import convert
from workbench.dataset import Batches, GraphDataset, ahead, check_pair
from workbench.evaluation import evaluate
from workbench.models import build
from workbench.runs import TrainingConfig, fingerprint
from workbench.splits import Baseline, given_split, split
from workbench.stored import StoredFrames, is_stored, open_frames
from workbench.stream import Stream
from workbench.structures import labels, read, write
from workbench.training import fit

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def molecules(n: int) -> list[ase.Atoms]:
    """Three molecules in turn, some charged, with odd numbers and words in their info."""
    rng, frames = np.random.default_rng(0), []
    for i in range(n):
        atoms = molecule(("H2O", "CH4", "NH3")[i % 3])
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if i % 2:
            found["charges"] = rng.normal(size=len(atoms))
        atoms.calc = SinglePointCalculator(atoms, **found)
        atoms.info = {
            "split": ("train", "validation", "other")[i % 5 % 3],
            "note": f"Å {i}",
            "list": [1, 2.5, i],
        }
        if i % 4 == 0:
            atoms.info |= {"charge": 1, "spin": 2}
        frames.append(atoms)
    return frames


def crystal() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.pbc = [True, True, True]
    atoms.calc = EMT()
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


def stored(folder: Path, frames: list[ase.Atoms], **options: bool) -> StoredFrames:
    write(folder / "set.xyz.gz", frames)
    return convert(folder / "set.xyz.gz", folder / "set.h5", **options)  # type: ignore[arg-type]


def assert_same(one: ase.Atoms, two: ase.Atoms) -> None:
    for what in ("positions", "numbers", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(one, what), getattr(two, what))
    assert labels(one).keys() == labels(two).keys()
    for key, value in labels(one).items():
        np.testing.assert_array_equal(value, labels(two)[key])
    assert one.info.keys() == two.info.keys()
    for key, value in one.info.items():
        np.testing.assert_array_equal(value, two.info[key])


def test_what_is_stored_comes_back_to_the_last_digit(tmp_path: Path) -> None:
    frames = [*molecules(11), crystal()]
    there = stored(tmp_path, frames)
    assert len(there) == 12
    for before, after in zip(read(tmp_path / "set.xyz.gz"), there, strict=True):
        assert_same(before, after)
    assert_same(there[-1], there[11])
    assert [a.info["note"] for a in there[2:9:3]] == ["Å 2", "Å 5", "Å 8"]
    assert_same(there[2:9][-1], there[8])
    assert isinstance(there[2:9], StoredFrames)
    with pytest.raises(IndexError):
        there[12]
    for before, after in zip(there, read(tmp_path / "set.h5"), strict=True):  # as any other file
        assert_same(before, after)
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_what_is_known_without_making_frames_agrees_with_them(tmp_path: Path) -> None:
    there = stored(tmp_path, molecules(11))
    for view in (there, there.part([7, 2, 5])):
        frames = list(view)
        np.testing.assert_array_equal(view.sizes, [len(a) for a in frames])
        np.testing.assert_array_equal(view.numbers, np.concatenate([a.numbers for a in frames]))
        np.testing.assert_array_equal(view.energies, [float(labels(a)["energy"]) for a in frames])
        assert view.has("charges").tolist() == ["charges" in labels(a) for a in frames]
        assert not view.has("stress").any()
        assert view.splits == [a.info["split"] for a in frames]
        assert view.pbc.shape == (len(view), 3)
    assert there.elements == ("H", "C", "N", "O")
    assert len(there.sample(2, 3)) == 6
    assert there.sample() is there


def test_baseline_splits_and_fingerprints_do_not_read_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = molecules(60)
    there = stored(tmp_path, frames)
    expected = Baseline.fit(frames).energies
    parts, given = split(frames, validation=7, seed=3), given_split(frames)
    monkeypatch.setattr(StoredFrames, "_frame", lambda *_: pytest.fail("a frame was read"))
    assert Baseline.fit(there).energies == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr("workbench.splits._ROWS", 7)
    assert Baseline.fit(there).energies == pytest.approx(expected, abs=1e-9)
    mine, mine_given = split(there, validation=7, seed=3), given_split(there)
    prints = [fingerprint(part)["sha256"] for part in (*mine[:2], there)]
    assert len(set(prints)) == 3
    assert prints[0] == fingerprint(split(there, validation=7, seed=3).train)["sha256"]
    monkeypatch.undo()
    for one, two in zip((*parts, *given), (*mine, *mine_given), strict=True):
        assert [a.info["note"] for a in one] == [a.info["note"] for a in two]


def test_batches_are_those_of_frames_in_memory_whoever_prepares_them(tmp_path: Path) -> None:
    frames = molecules(10)
    there = pickle.loads(pickle.dumps(stored(tmp_path, frames)))
    quantities = ("energy", "forces")
    of_memory = list(Batches(GraphDataset(frames, 4.0, quantities), 4, seed=3, rotate=True, start=1, stop=7))
    on_disk = Batches(GraphDataset(there, 4.0, quantities), 4, seed=3, rotate=True, start=1, stop=7)
    for batches in (on_disk, ahead(on_disk, 2)):
        for one, two in zip(of_memory, batches, strict=True):
            torch.testing.assert_close(one.graph.positions, two.graph.positions, rtol=0, atol=0)
            torch.testing.assert_close(one.graph.senders, two.graph.senders, rtol=0, atol=0)
            torch.testing.assert_close(one.labels["forces"], two.labels["forces"], rtol=0, atol=0)
            assert one.counts == two.counts


def test_missing_labels_and_strange_frames_are_named_as_in_memory(tmp_path: Path) -> None:
    there = stored(tmp_path, [*molecules(4), crystal()])
    with pytest.raises(ValueError, match=r"frame 0 of data \(H2O\) has no label 'charges'"):
        GraphDataset(there, 4.0, ("charges",))
    with pytest.raises(ValueError, match=r"frame 0 of data .* has no label 'stress'"):
        GraphDataset(there, 4.0, ("stress",))
    training, strange = (GraphDataset(part, 4.0, ("energy",), "v") for part in (there[:4], there[2:]))
    with pytest.raises(ValueError, match="frame 2 of v holds Cu"):
        check_pair(training, strange, frozenset({0, 3}), 2, 1)


def test_training_from_disk_takes_the_same_steps(tmp_path: Path) -> None:
    frames = molecules(12)
    there = stored(tmp_path, frames)
    config = TrainingConfig(epochs=2, batch_size=4, device="cpu", precision="float64")
    losses, errors = [], []
    for name, source, workers in (("memory", frames, 0), ("disk", there, 0), ("ahead", there, 1)):
        torch.manual_seed(0)
        model = build("lorem", "tiny", cutoff=3.0)
        part = source[:8], source[8:]
        stream = Stream()  # the file keeps rows at intervals only
        fit(model, *part, config, folder=tmp_path / name, stream=stream, progress=False, workers=workers)
        losses.append([row["loss"] for row in stream.since(0) if "loss" in row])
        errors.append(evaluate(model, part[1]).numbers)
    assert len(losses[0]) == 4
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], rel=1e-9)
        assert errors[other] == pytest.approx(errors[0], rel=1e-9)


def test_training_starts_having_read_its_first_batches_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("streaming", BENCHMARKS / "streaming.py")
    assert spec is not None
    assert spec.loader is not None
    streaming = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(streaming)
    there = streaming.generate(tmp_path / "set.h5", 20_000)
    made: list[int] = []
    one = StoredFrames._frame
    monkeypatch.setattr(StoredFrames, "_frame", lambda self, i: made.append(i) or one(self, i))
    found = streaming.timed(there, tmp_path / "run", 3, 0)
    assert found["steps_per_s"] > 0
    assert len(set(made)) < 200  # 5 steps of 8 frames, and 64 to validate


def test_later_frames_under_another_name_are_not_taken_for_unlabelled(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("workbench.conversion._PART", 2)
    keys = [*["energy"] * 4, "REF_energy"]
    frame = "1\nProperties=species:S:1:pos:R:3 {}=-{}\nH 0 0 {}\n"
    text = "".join(frame.format(key, i, i) for i, key in enumerate(keys))
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(
        ValueError, match=r"frames 4 to 4: energy under 'REF_energy', and under 'energy' in those before"
    ):
        convert(tmp_path / "a.xyz", tmp_path / "a.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"a.xyz"}


def test_frames_with_errors_end_a_conversion_or_are_left_out_and_told(tmp_path: Path) -> None:
    frames = molecules(5)
    frames[3].positions[1] = frames[3].positions[0]
    frames[4].set_constraint(FixAtoms([0]))
    frames[4].set_tags([1] * len(frames[4]))
    frames[3].calc = None
    with pytest.raises(ValueError, match=r"set.xyz.gz, frame 3: atoms on top of each other"):
        stored(tmp_path, frames)
    there = stored(tmp_path, frames, leave_out=True)
    assert [a.info["note"] for a in there] == ["Å 0", "Å 1", "Å 2", "Å 4"]
    assert there.about["frames_left_out"] == 1
    assert there.about["not_kept"]["tags"] == 1
    with pytest.raises(FileExistsError, match="exists"):
        convert(tmp_path / "set.xyz.gz", tmp_path / "set.h5")


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    stored(tmp_path, molecules(3))
    whole = (tmp_path / "set.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    assert not is_stored(tmp_path / "cut.h5")
    with pytest.raises(ValueError, match=r"cut.h5: damaged"):
        read(tmp_path / "cut.h5")
    for change, message in (
        (lambda f: f["first_atom"].__setitem__(1, 99), "first_atom does not ascend"),
        (lambda f: f.__delitem__("positions"), "positions is missing"),
        (lambda f: f["split"].__setitem__(0, 7), "names a part that has no name"),
        (lambda f: f.attrs.__setitem__("about", np.bytes_(b"{")), "damaged"),
    ):
        (tmp_path / "other.h5").write_bytes(whole)
        with h5py.File(tmp_path / "other.h5", "r+") as file:
            change(file)
        with pytest.raises(ValueError, match=rf"^other.h5: .*{message}"):
            open_frames(tmp_path / "other.h5")
    with pytest.raises(ValueError, match="workbench data convert"):
        open_frames(tmp_path / "set.xyz.gz")


def test_the_command_stores_shows_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "set.xyz", molecules(6))
    out = str(tmp_path / "set.h5")
    assert main(["data", "convert", str(tmp_path / "set.xyz"), out]) == 0
    assert "6 frames, 24 atoms" in capsys.readouterr().out
    assert main(["data", "show", out, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["n_frames"], shown["labels"]["charges"]) == (6, 3)
    assert main(["data", "check", out]) == 0
    assert main(["data", "show", out, "--split", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n_frames"] == 3
    assert main(["data", "convert", str(tmp_path / "set.xyz")]) == 2
    assert main(["train", "rmd17_aspirin", "--folder", str(tmp_path / "run")]) == 2
    assert "workbench data fetch rmd17_aspirin" in capsys.readouterr().err
    with pytest.raises(KeyError, match="workbench data fetch rmd17_aspirin"):
        catalogue.load("rmd17_aspirin")
