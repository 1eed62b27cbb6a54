"""Every kind of wrong data is found, in the right frames, with a fix; sound data is left in peace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet

from workbench.checks import Finding, check, close_pairs, require
from workbench.structures import labels, read

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data"


def relabelled(atoms: ase.Atoms, **results: object) -> ase.Atoms:
    """A copy of the atoms, with these labels and those it had."""
    copy = atoms.copy()
    old = {} if atoms.calc is None else atoms.calc.results
    copy.calc = SinglePointCalculator(copy, **{**old, **results})
    return copy


def copper(n_frames: int = 4) -> list[ase.Atoms]:
    """Rattled copper with EMT's energies and forces: independent frames and labels that belong together."""
    frames = []
    for i in range(n_frames):
        atoms = bulk("Cu", cubic=True) * (2, 2, 1)
        atoms.rattle(0.1, seed=i)
        atoms.calc = EMT()
        frames.append(relabelled(atoms.copy(), energy=atoms.get_potential_energy(), forces=atoms.get_forces()))
    return frames


def trajectory() -> list[ase.Atoms]:
    """Consecutive steps, 4 fs apart, of copper that starts at 1200 K, half of it potential energy soon."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.calc = EMT()
    rng = np.random.default_rng(0)
    speeds = np.sqrt(units.kB * 1200 / atoms.get_masses())
    atoms.set_velocities(rng.normal(size=(16, 3)) * speeds[:, None])
    frames: list[ase.Atoms] = []

    def keep() -> None:
        frames.append(relabelled(atoms.copy(), energy=atoms.get_potential_energy(), forces=atoms.get_forces()))

    dynamics = VelocityVerlet(atoms, 4 * units.fs)
    dynamics.attach(keep, interval=1)
    dynamics.run(120)
    return frames


def the(findings: tuple[Finding, ...], words: str) -> Finding:
    """The one finding that says these words."""
    saying = [finding for finding in findings if words in finding.what]
    assert len(saying) == 1, [str(finding) for finding in findings]
    assert saying[0].fix
    return saying[0]


def test_sound_frames_have_no_finding() -> None:
    assert check(copper()) == ()
    assert require(copper()) == ()


def change(**changes: object) -> Callable[[ase.Atoms], ase.Atoms]:
    def changed(atoms: ase.Atoms) -> ase.Atoms:
        copy = atoms.copy()
        for name, value in changes.items():
            if name in ("charge", "spin"):
                copy.info[name] = value
            else:
                setattr(copy, name, value(atoms) if callable(value) else value)
        return relabelled(copy, **atoms.calc.results)

    return changed


def label(name: str, value: Callable[[np.ndarray], object]) -> Callable[[ase.Atoms], ase.Atoms]:
    return lambda atoms: relabelled(atoms, **{name: value(labels(atoms)[name])})


ONE = np.eye(1, 16).T  # 1 for the first atom, 0 for the others

WRONG = {
    "positions not finite": ("error", change(positions=lambda a: a.positions + np.where(ONE, np.nan, 0))),
    "cell not finite": ("error", change(cell=np.full((3, 3), np.inf))),
    "energy holds NaN": ("error", label("energy", lambda e: np.nan)),
    "forces holds NaN": ("error", label("forces", lambda f: f + np.where(ONE, np.inf, 0))),
    "the cell has no volume": ("error", change(cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]])),
    "positions or cell beyond 1e5": ("error", change(positions=lambda a: a.positions + 1e200 * ONE)),
    "on top of each other": ("error", change(positions=lambda a: a.positions[[1, *range(1, 16)]])),
    "no chemical element": ("error", change(numbers=lambda a: a.numbers - 29 * ONE[:, 0].astype(int))),
    "the charge is not finite": ("error", change(charge=np.nan)),
    "spin is 0, which is no multiplicity": ("error", change(spin=0)),
    "multiplicity 2 is impossible with 464 electrons": ("warning", change(spin=2)),
    "the forces do not sum to zero": ("warning", label("forces", lambda f: f + 0.002)),
    "atomic charges do not sum": ("warning", lambda a: relabelled(a, charges=np.full(16, 0.1))),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_found_in_its_frame(words: str) -> None:
    severity, spoil = WRONG[words]
    frames = copper()
    frames[2] = spoil(frames[2])
    finding = the(check(frames, name="copper.xyz"), words)
    assert (finding.severity, finding.frames) == (severity, (2,))
    assert str(finding).startswith("copper.xyz, frame 2: ")
    if severity == "error":
        with pytest.raises(ValueError, match=r"copper\.xyz, frame 2: "):
            require(frames, name="copper.xyz")


def test_overlap_is_found_across_the_cell() -> None:
    atoms = ase.Atoms("H2", positions=[[0.1, 0, 0], [9.95, 0, 0]], cell=[10, 10, 10], pbc=[True, False, False])
    i, j, share = close_pairs(atoms, 0.5)
    assert len(i) == 1
    assert {int(i[0]), int(j[0])} == {0, 1}
    assert share[0] == pytest.approx(0.15 / 0.62)
    assert "0.15 Å apart" in the(check([atoms], ()), "on top of each other").what
    atoms.pbc = False
    assert check([atoms], ()) == ()


def test_missing_labels_are_errors_only_where_needed() -> None:
    frames = copper()
    frames[1].calc = None
    finding = the(check(frames), "no energy")
    assert (finding.severity, finding.frames) == ("error", (1,))
    assert the(check(frames, needed=()), "no energy, while the other frames").severity == "warning"
    assert the(check(frames, needed=("energy", "stress")), "no stress").frames == (0, 1, 2, 3)
    with pytest.raises(ValueError, match=r"names \['force'\]"):
        check(frames, needed=("force",))
    assert the(check([]), "there is no frame").severity == "error"


def test_a_label_under_an_unknown_name_is_pointed_out() -> None:
    atoms = molecule("H2O")
    atoms.info["ccsdt_energy_eV"] = -2081.0
    finding = the(check([atoms], needed=()), "no energy, but 'ccsdt_energy_eV' may hold it")
    assert finding.fix == "If so, read(path, energy='ccsdt_energy_eV')"


def test_placeholders_are_not_labels() -> None:
    frames = copper()
    same = [relabelled(atoms, energy=-1.0) for atoms in frames]
    assert the(check(same), "every energy is the same").severity == "error"
    zero = [relabelled(atoms, forces=np.zeros((16, 3))) for atoms in frames]
    assert the(check(zero), "all forces are exactly zero").severity == "error"
    half = [relabelled(a, forces=labels(a)["forces"] * (np.arange(16) % 2)[:, None]) for a in frames]
    assert the(check(half), "many atoms have exactly zero force").frames == (0, 1, 2, 3)


def test_duplicates_are_found_and_told_from_other_states() -> None:
    frames = copper()
    frames.append(relabelled(frames[1], energy=labels(frames[1])["energy"] + 0.5))
    findings = check(frames)
    assert the(findings, "the same structure as an earlier frame (frame 4 repeats 1)").frames == (4,)
    assert "0.5 eV apart" in the(findings, "the same structure appears with energies").what
    frames[4].info["charge"] = 2
    assert check(frames) == ()


def test_a_trajectory_is_told_from_shuffled_frames() -> None:
    frames = trajectory()
    assert "group=" in the(check(frames), "a trajectory").fix
    shuffled = [frames[i] for i in np.random.default_rng(0).permutation(len(frames))]
    assert not [finding for finding in check(shuffled) if "trajectory" in finding.what]
    wrapped = [frame.copy() for frame in frames]
    for before, after in zip(frames, wrapped, strict=True):
        after.wrap()
        after.calc = SinglePointCalculator(after, **before.calc.results)
    assert the(check(wrapped), "a trajectory").frames == the(check(frames), "a trajectory").frames


@pytest.mark.parametrize(
    ("energy", "force", "words"),
    [
        (1.0, -1.0, "the forces look like gradients"),
        (units.mol / units.kcal, 1.0, "energies look like kcal/mol"),
        (1 / units.Ha, 1.0, "energies look like Ha"),
        (1.0, units.mol / units.kcal, "forces look like kcal/mol/Å"),
        (1.0, units.Bohr, "forces look like eV/Bohr"),
        (1.0, units.Bohr / units.Ha, "forces look like Ha/Bohr"),
    ],
)
def test_energies_and_forces_that_do_not_belong_together(energy: float, force: float, words: str) -> None:
    frames = trajectory()
    assert not [finding for finding in check(frames) if "work of the forces" in finding.what]
    wrong = [
        relabelled(a, energy=labels(a)["energy"] * energy, forces=labels(a)["forces"] * force) for a in frames
    ]
    finding = the(check(wrong), "times the work of the forces")
    assert finding.severity == "error"
    assert words in finding.what


def test_positions_in_bohr_are_noticed() -> None:
    molecules = [molecule(name) for name in ("CH4", "C2H6", "CH3CH2OH", "C6H6")]
    assert check(molecules, ()) == ()
    for atoms in molecules:
        atoms.positions /= units.Bohr
    assert "Bohr" in the(check(molecules, ()), "look like Bohr").fix


# Total energies from published tables, PBE or better, of all electrons [Ha].
TOTAL = {"CH4": -40.5, "C2H6": -79.8, "CH3CH2OH": -155.0, "C6H6": -232.2, "H2O": -76.4}


@pytest.mark.parametrize("unit", ["eV", "kcal/mol", "kJ/mol", "Ha"])
def test_the_unit_of_total_energies_shows(unit: str) -> None:
    size = {"eV": 1.0, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol, "Ha": units.Ha}[unit]
    frames = [relabelled(molecule(name), energy=total * units.Ha / size) for name, total in TOTAL.items()]
    findings = check(frames, needed=())
    if unit == "eV":
        assert findings == ()
    else:
        assert f"units='{unit}, Å'" in the(findings, f"energies look like {unit}").fix


def test_forces_in_kcal_per_mol_are_noticed() -> None:
    frames = [relabelled(a, forces=labels(a)["forces"] / (units.kcal / units.mol)) for a in copper()]
    assert the(check(frames), "look like kcal/mol/Å").severity == "warning"


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bpa3", {"the same structure as": 31}),
        ("li_metal", {}),  # a trajectory, but split by whoever made it
        ("water_revpbe0_d3", {"the forces do not sum": None}),
        ("md17_ethanol_md", {"the forces do not sum": None, "a trajectory": 999}),
        ("rmd17_aspirin", {}),
        ("spice_dipeptides", {}),
        ("electrolyte_pbe_d3", {}),
        ("cumulene_gnl", {}),
    ],
)
def test_published_sets_show_their_known_quirks_and_no_other(
    name: str, expected: dict[str, int | None]
) -> None:
    findings = read(PUBLISHED / f"{name}.xyz.gz").findings
    assert len(findings) == len(expected), [str(finding) for finding in findings]
    for words, n_frames in expected.items():
        finding = the(findings, words)
        assert finding.severity == "warning"
        assert n_frames in (None, len(finding.frames))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data sets are not beside this checkout")
def test_md17_read_as_if_in_ev_is_noticed() -> None:
    kcal = units.kcal / units.mol
    frames = [
        relabelled(a, energy=labels(a)["energy"] / kcal, forces=labels(a)["forces"] / kcal)
        for a in read(PUBLISHED / "md17_ethanol.xyz.gz", index=":100")
    ]
    findings = check(frames)
    the(findings, "energies look like kcal/mol")
    the(findings, "look like kcal/mol/Å")
