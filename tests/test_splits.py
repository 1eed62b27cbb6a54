"""Splits are seeded, disjoint and complete; baselines are least squares and stay sane when elements go together."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from workbench.splits import Baseline, given_split, split


def frames_of(formulas: list[str], energies: list[float]) -> list[ase.Atoms]:
    frames = []
    for formula, energy in zip(formulas, energies, strict=True):
        atoms = ase.Atoms(formula, positions=np.arange(3 * len(ase.Atoms(formula))).reshape(-1, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        frames.append(atoms)
    return frames


def numbered(n: int) -> list[ase.Atoms]:
    frames = [ase.Atoms("H") for _ in range(n)]
    for i, atoms in enumerate(frames):
        atoms.info["number"] = i
        atoms.info["molecule"] = f"m{i // 7}"
    return frames


def numbers(frames: list[ase.Atoms]) -> list[int]:
    return [atoms.info["number"] for atoms in frames]


def test_split_is_disjoint_complete_and_seeded() -> None:
    frames = numbered(100)
    first, again, other = split(frames), split(frames), split(frames, seed=1)
    assert [len(part) for part in first] == [80, 10, 10]
    assert sorted(n for part in first for n in numbers(part)) == list(range(100))
    assert list(map(numbers, first)) == list(map(numbers, again))
    assert numbers(first.test) != numbers(other.test)
    assert numbers(first.test) != list(range(90, 100))


def test_split_takes_counts_and_leaves_out_what_nobody_asked_for() -> None:
    train, validation, test = split(numbered(100), train=30, validation=5, test=0)
    assert (len(train), len(validation), len(test)) == (30, 5, 0)
    assert not set(numbers(train)) & set(numbers(validation))


@pytest.mark.parametrize(
    "group", ["molecule", lambda atoms: atoms.info["number"] // 7, [i // 7 for i in range(70)]]
)
def test_groups_stay_together(group: object) -> None:
    parts = split(numbered(70), validation=0.2, test=10, group=group)  # type: ignore[arg-type]
    molecules = [{atoms.info["molecule"] for atoms in part} for part in parts]
    assert sum(map(len, molecules)) == 10
    assert sum(map(len, parts)) == 70
    assert len(parts.test) == 14  # the smallest number of whole groups with at least 10 frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": 95, "validation": 6}, "leaves -1"),
        ({"test": 0.5, "validation": 0.5}, "leaves 0"),
        ({"test": -0.1}, "test=-0.1; expected a fraction"),
        ({"test": 2.5}, "test=2.5; expected a fraction"),
        ({"test": 0.001}, "is no frame"),
        ({"group": lambda atoms: 0}, "1 groups are too few"),
        ({"group": "molecul"}, "the keys of info are"),
        ({"group": [0, 1]}, "2 values for 100 frames"),
    ],
)
def test_split_explains_what_does_not_fit(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(numbered(100), **arguments)


def test_three_fractions_that_round_up_still_fit() -> None:
    parts = split(numbered(15), train=0.5, validation=0.3, test=0.2)
    assert sum(map(len, parts)) == 15


def test_given_split_follows_the_file(caplog: pytest.LogCaptureFixture) -> None:
    frames = numbered(6)
    for atoms, name in zip(frames, ["train", "val", "test", "train", "scan", "scan"], strict=True):
        atoms.info["split"] = name
    assert list(map(numbers, given_split(frames))) == [[0, 3], [1], [2]]
    assert "'scan': 2" in caplog.text
    assert numbers(given_split(frames, test=["test", "scan"]).test) == [2, 4, 5]
    with pytest.raises(ValueError, match="no frame has info"):
        given_split(frames, train=["fitting"])
    with pytest.raises(ValueError, match="missing on 6 of 6"):
        given_split(frames, "part")


def test_baseline_recovers_the_energies_of_elements() -> None:
    truth = {"H": -13.6, "C": -1036.1, "O": -2042.0}
    formulas = ["CH4", "H2O", "CO2", "C2H6O"]
    energies = [sum(truth[s] for s in ase.Atoms(f).get_chemical_symbols()) for f in formulas]
    baseline = Baseline.fit(frames_of(formulas, energies))
    assert baseline.elements == ("H", "C", "O")
    assert baseline.energies == pytest.approx(truth, abs=1e-8)
    assert baseline.of(ase.Atoms("C3H8O")) == pytest.approx(3 * -1036.1 + 8 * -13.6 - 2042.0)


def test_baseline_of_water_alone_shares_its_energy_evenly() -> None:
    # H and O always come two to one, so that only their sum is known: no element may get an arbitrary energy.
    baseline = Baseline.fit(frames_of(["H2O", "H4O2", "H128O64"], [-14.2, -28.5, -912.0]))
    mean = np.mean([-14.2 / 3, -28.5 / 6, -912.0 / 192])
    assert baseline.energies == pytest.approx({"H": mean, "O": mean}, abs=1e-9)


def test_baseline_splits_only_what_the_data_can_tell_apart() -> None:
    # Na and Cl go together; Li is told apart.
    baseline = Baseline.fit(frames_of(["NaCl", "Na2Cl2Li", "Na3Cl3Li2"], [-8.0, -18.0, -28.0]))
    assert baseline.energies["Li"] == pytest.approx(-2.0)
    assert baseline.energies["Na"] == pytest.approx(-4.0)
    assert baseline.energies["Cl"] == pytest.approx(-4.0)


def test_baseline_explains_its_refusals() -> None:
    with pytest.raises(ValueError, match="does not know Xe; it knows H"):
        Baseline({"H": -13.6}).of(ase.Atoms("XeH"))
    with pytest.raises(ValueError, match="first: frame 1"):
        Baseline.fit([*frames_of(["H"], [-13.6]), ase.Atoms("H")])
    with pytest.raises(ValueError, match="no frame"):
        Baseline.fit([])
    with pytest.raises(ValueError, match="of Hx"):
        Baseline({"Hx": 1.0})
