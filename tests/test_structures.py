"""What `read` gives, from every kind of file; what it refuses, and how; and that `write` loses nothing."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from workbench.structures import labels, read, write

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data"
KCAL = units.kcal / units.mol

WATER = """3
Properties=species:S:1:pos:R:3:dft_force:R:3 dft_energy=-2081.5 total_charge=0 multiplicity=1
O  0.0000 0.0000  0.1193  0.1 0.0 -0.2
H  0.0000 0.7632 -0.4770 -0.1 0.1  0.1
H  0.0000 -0.7632 -0.4770 0.0 -0.1 0.1
"""


def saved(folder: Path, text: str, name: str = "water.xyz") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def labelled(n_frames: int = 3) -> list[ase.Atoms]:
    """Copper cells with all labels, charges and odd numbers that decimals cut short."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(n_frames):
        atoms = bulk("Cu", cubic=True)
        atoms.pbc = [True, i != 1, True]
        atoms.rattle(0.1, seed=i)
        atoms.set_cell(atoms.cell.array * (1 + 0.01 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        results |= {"charges": rng.normal(size=4), "dipole": rng.normal(size=3)}
        results["charges"] -= results["charges"].mean()
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(charge=0, spin=1)
        frames.append(atoms)
    return frames


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz"])
def test_write_and_read_agree_to_the_last_digit(tmp_path: Path, name: str) -> None:
    frames = labelled()
    frames[1].info.update(spin=3, charge=-1)
    frames[2].set_constraint(FixAtoms([0, 2]))
    texts = {"id": "0001", "yes": "T", "quote": 'a "b" \\ c', "lines": "a\nb", "empty": "", "space name": "x y"}
    frames[0].info.update(
        texts, nothing=None, list=[[1, 2], [3, 4]], matrix=np.eye(3) / 3, vector=np.array([0.1, 1 / 3])
    )
    frames[0].info.update(one=np.array([0.5]), number=np.float64(1 / 3), flag=True, count=7)
    frames[0].set_tags([1, 2, 3, 4])
    frames[0].set_momenta(np.random.default_rng(1).normal(size=(4, 3)))
    frames[0].set_array("bec", np.random.default_rng(2).normal(size=(4, 9)))
    frames[0].set_array("site", np.array(["top", "hcp", "fcc", "top"]))
    before = [atoms.copy() for atoms in frames]
    write(tmp_path / name, frames)
    back = read(tmp_path / name)
    assert len(back) == 3
    for old, new in zip(frames, back, strict=True):
        for what in ("positions", "numbers", "cell", "pbc"):
            np.testing.assert_array_equal(getattr(new, what), getattr(old, what))
        assert set(labels(new)) == set(labels(old)) == {"energy", "forces", "stress", "charges", "dipole"}
        for key, value in labels(old).items():
            np.testing.assert_array_equal(labels(new)[key], value)
        assert set(new.arrays) == set(old.arrays)
        for key, array in old.arrays.items():
            np.testing.assert_array_equal(new.arrays[key], array)
        assert set(new.info) == set(old.info)
        for key, value in old.info.items():
            np.testing.assert_array_equal(new.info[key], value)
            assert not isinstance(value, str) or new.info[key] == value
    assert back[2].constraints[0].index.tolist() == [0, 2]
    assert all(
        (a.positions == b.positions).all() and a.info.keys() == b.info.keys()
        for a, b in zip(frames, before, strict=True)
    )
    assert not list(tmp_path.glob("*.partial"))


def test_compressed_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz.gz", labelled())
    write(tmp_path / "b.xyz.gz", labelled())
    assert (tmp_path / "a.xyz.gz").read_bytes() == (tmp_path / "b.xyz.gz").read_bytes()


def test_write_refuses_what_the_format_cannot_hold(tmp_path: Path) -> None:
    atoms = ase.Atoms("H", info={"model": object()})
    with pytest.raises(ValueError, match=r"frame 0: info\['model'\], a object, is nothing that"):
        write(tmp_path / "a.xyz", [atoms])
    with pytest.raises(ValueError, match=r"info\['rows'\], a list, is nothing that"):
        write(tmp_path / "a.xyz", [ase.Atoms("H", info={"rows": [[1, 2], [3]]})])
    with pytest.raises(ValueError, match=r"ends in \.xyz"):
        write(tmp_path / "a.cif", [ase.Atoms("H")])
    spaced = ase.Atoms("H")
    spaced.set_array("site", np.array(["on top"]))
    with pytest.raises(ValueError, match="'site' holds empty words or spaces"):
        write(tmp_path / "a.xyz", [spaced])
    assert not list(tmp_path.iterdir())


def test_ase_reads_what_write_wrote(tmp_path: Path) -> None:
    frames = labelled()
    write(tmp_path / "a.xyz", frames)
    for old, new in zip(frames, ase.io.read(tmp_path / "a.xyz", ":"), strict=True):
        assert new.info["REF_energy"] == old.get_potential_energy()
        np.testing.assert_array_equal(new.arrays["REF_forces"], old.get_forces())
        assert new.calc is None


def test_names_of_the_field_are_found_and_reported(tmp_path: Path) -> None:
    frames = read(saved(tmp_path, WATER * 2))
    assert labels(frames[1])["energy"] == -2081.5
    assert labels(frames[1])["forces"][0].tolist() == [0.1, 0.0, -0.2]
    assert frames[0].info == {"charge": 0, "spin": 1}
    assert {s.quantity: (s.key, s.n_frames, s.n_total) for s in frames.sources} == {
        "energy": ("dft_energy", 2, 2),
        "forces": ("dft_force", 2, 2),
        "charge": ("total_charge", 2, 2),
        "spin": ("multiplicity", 2, 2),
    }
    assert "energy from 'dft_energy' on 2 of 2 frames" in repr(frames)


def test_one_key_serves_the_whole_file(tmp_path: Path) -> None:
    second = WATER.replace("dft_energy=-2081.5", "energy=-14.2")
    frames = read(saved(tmp_path, WATER.replace("dft_energy", "energy=-14.2 REF_energy") + second))
    # REF_energy comes first, and a frame without it is not filled from another level of theory.
    assert labels(frames[0])["energy"] == -2081.5
    assert "energy" not in labels(frames[1])
    assert (frames.sources[0].key, frames.sources[0].n_frames, frames.sources[0].others) == (
        "REF_energy",
        1,
        ("energy",),
    )
    assert any(
        "no energy, while the other frames have it" in str(f) and f.frames == (1,) for f in frames.findings
    )


def test_the_named_key_is_read_and_a_wrong_one_is_explained(tmp_path: Path) -> None:
    path = saved(tmp_path, WATER.replace("dft_energy", "my_E=-1.0 dft_energy"))
    assert labels(read(path, energy="my_E")[0])["energy"] == -1.0
    with pytest.raises(
        ValueError, match=r"water.xyz: no frame holds forces under 'dft_forse'; do you mean 'dft_force'"
    ):
        read(path, forces="dft_forse")


def test_constraints_do_not_touch_forces(tmp_path: Path) -> None:
    atoms = labelled(1)[0]
    forces = labels(atoms)["forces"].copy()
    atoms.set_constraint(FixAtoms([0, 1, 2, 3]))
    ase.io.write(tmp_path / "a.traj", atoms)
    read_back = read(tmp_path / "a.traj")[0]
    assert len(read_back.constraints) == 1
    assert not read_back.get_forces().any()  # what ASE says by default
    np.testing.assert_array_equal(labels(read_back)["forces"], forces)


def test_labels_of_moved_atoms_are_refused(tmp_path: Path) -> None:
    atoms = read(saved(tmp_path, WATER))[0]
    atoms.positions[0] += 0.1
    with pytest.raises(ValueError, match="positions of H2O changed after it was labelled"):
        labels(atoms)
    assert labels(molecule("H2O")) == {}


@pytest.mark.parametrize(
    ("words", "energy", "length", "force"),
    [
        ("kcal/mol, Å", KCAL, 1.0, KCAL),
        ("Ha, Bohr", units.Ha, units.Bohr, units.Ha / units.Bohr),
        ("Ha, Å, eV/Angstrom", units.Ha, 1.0, 1.0),
        ("hartree, BOHR, kcal/mol/Å", units.Ha, units.Bohr, KCAL),
        ("meV", 1e-3, 1.0, 1e-3),
        ("eV, \u212b", 1.0, 1.0, 1.0),  # the sign of the ångström, not the letter
    ],
)
def test_units_convert_every_label(
    tmp_path: Path, words: str, energy: float, length: float, force: float
) -> None:
    frames = labelled(1)
    truth = labels(frames[0])
    write(tmp_path / "a.xyz", frames)
    atoms = read(tmp_path / "a.xyz", units=words)[0]
    np.testing.assert_allclose(atoms.positions, frames[0].positions * length, rtol=1e-14)
    np.testing.assert_allclose(atoms.cell.array, frames[0].cell.array * length, rtol=1e-14)
    scale = {"energy": energy, "forces": force, "stress": energy / length**3, "charges": 1.0, "dipole": length}
    for key, factor in scale.items():
        np.testing.assert_allclose(labels(atoms)[key], truth[key] * factor, rtol=1e-14)


def test_units_are_explained_and_not_applied_twice(tmp_path: Path) -> None:
    path = saved(tmp_path, WATER)
    with pytest.raises(ValueError, match="'kcal' is no unit it knows"):
        read(path, units="kcal, Å")
    with pytest.raises(ValueError, match="two units for energy"):
        read(path, units="kcal/mol, Ha")
    ase.io.write(tmp_path / "POSCAR", bulk("Cu", cubic=True))
    with pytest.raises(ValueError, match="ASE converts vasp files to eV and Å itself"):
        read(tmp_path / "POSCAR", units="Ha, Bohr")
    assert len(read(tmp_path / "POSCAR")[0]) == 4
    dipole = WATER.replace("dft_energy", 'dipole="0 0 1.85" dft_energy')
    assert labels(read(saved(tmp_path, dipole), units="debye")[0])["dipole"][2] == pytest.approx(
        0.3852, abs=1e-4
    )


def test_virials_become_stress_and_gradients_forces(tmp_path: Path) -> None:
    atoms = labelled(1)[0]
    truth = labels(atoms)
    xx, yy, zz, yz, xz, xy = -truth["stress"] * atoms.cell.volume
    full = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    full.info["virial"] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    full.set_array("gradient", -truth["forces"])
    ase.io.write(tmp_path / "a.xyz", full)
    found = labels(read(tmp_path / "a.xyz")[0])
    np.testing.assert_allclose(found["stress"], truth["stress"], atol=1e-12)
    np.testing.assert_allclose(found["forces"], truth["forces"], atol=1e-8)  # ASE writes eight decimals
    full.info["virial"][0, 1] += 1.0
    ase.io.write(tmp_path / "a.xyz", full)
    with pytest.raises(ValueError, match=r"a.xyz, frame 0: 'virial' \(stress\) is not symmetric"):
        read(tmp_path / "a.xyz")


def test_npz_of_md17_and_sgdml(tmp_path: Path) -> None:
    water, rng = molecule("H2O"), np.random.default_rng(0)
    # Three atoms on purpose: dipoles of (n_frames, 3) must not pass for one number per atom.
    positions, dipole = water.positions + 0.05 * rng.normal(size=(5, 3, 3)), rng.normal(size=(5, 3))
    energy, forces = -48000 + rng.normal(size=(5, 1)), rng.normal(size=(5, 3, 3))
    arrays = {
        "z": water.numbers,
        "R": positions,
        "E": energy,
        "F": forces,
        "dipole": dipole,
        "name": np.array("w"),
    }
    np.savez(tmp_path / "a.npz", **arrays, old_indices=np.arange(5))
    frames = read(tmp_path / "a.npz", units="kcal/mol, Å")
    assert [atoms.info["old_indices"] for atoms in frames] == [0, 1, 2, 3, 4]
    for i, atoms in enumerate(frames):
        np.testing.assert_array_equal(atoms.positions, positions[i])
        assert labels(atoms)["energy"] == pytest.approx(energy[i, 0] * KCAL, rel=1e-14)
        np.testing.assert_allclose(labels(atoms)["forces"], forces[i] * KCAL, rtol=1e-14)
        np.testing.assert_array_equal(labels(atoms)["dipole"], dipole[i])
        assert "charges" not in labels(atoms)
        assert not atoms.pbc.any()
    np.savez(tmp_path / "declared.npz", **arrays, e_unit="kcal/mol", r_unit="Ang")
    assert labels(read(tmp_path / "declared.npz")[2])["energy"] == labels(frames[2])["energy"]
    np.testing.assert_allclose(
        labels(read(tmp_path / "declared.npz")[2])["forces"], labels(frames[2])["forces"]
    )


def test_npz_with_padding_and_cells(tmp_path: Path) -> None:
    numbers = np.array([[8, 1, 1], [1, 1, 0]])
    positions = np.random.default_rng(0).normal(size=(2, 3, 3)) * 3
    np.savez(
        tmp_path / "a.npz", numbers=numbers, positions=positions, energy=[-1.0, -2.0], forces=positions,
        cell=np.eye(3) * 20, charges=[[0.5, 0.5, -1], [0.5, -0.5, 0]],
    )  # fmt: skip
    first, second = read(tmp_path / "a.npz")
    assert (str(first.symbols), str(second.symbols)) == ("OH2", "H2")
    assert labels(second)["forces"].tolist() == positions[1, :2].tolist()
    assert labels(second)["charges"].tolist() == [0.5, -0.5]
    assert second.pbc.all()
    assert second.cell.volume == pytest.approx(8000)


def test_npz_that_does_not_fit_is_explained(tmp_path: Path) -> None:
    good = {"z": np.array([8, 1, 1]), "R": np.zeros((5, 3, 3)), "E": np.zeros(5)}
    for wrong, message in (
        ({"E": np.zeros(4)}, r"a.npz: E has shape \(4,\), which does not fit 5 frames of 3 atoms"),
        ({"F": np.zeros((5, 2, 3))}, r"a.npz: F has shape \(5, 2, 3\), which does not fit"),
        ({"R": np.zeros((5, 9))}, r"expected \(n_frames, n_atoms, 3\)|no numbers"),
        ({"z": np.array([8, 1])}, r"z has shape \(2,\)"),
        ({"R": np.array([{"a": 1}], dtype=object)}, "allow_pickle=False"),
    ):
        np.savez(tmp_path / "a.npz", **{**good, **wrong})
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", E=np.zeros(3))
    with pytest.raises(ValueError, match="no numbers or no positions"):
        read(tmp_path / "a.npz")


def test_hdf5_of_molecules_and_plain(tmp_path: Path) -> None:
    rng, water = np.random.default_rng(0), molecule("H2O")
    with h5py.File(tmp_path / "spice.hdf5", "w") as file:
        for name, n_frames in (("water/a", 4), ("water/b", 1)):
            group = file.create_group(name)
            group["atomic_numbers"] = water.numbers
            group["smiles"] = [b"O"]
            group["conformations"] = water.positions / units.Bohr + 0.01 * rng.normal(size=(n_frames, 3, 3))
            group["dft_total_energy"] = rng.normal(size=n_frames) - 76
            group["dft_total_gradient"] = rng.normal(size=(n_frames, 3, 3))
            for key, unit in (("conformations", "bohr"), ("dft_total_energy", "hartree")):
                group[key].attrs["units"] = unit
            group["dft_total_gradient"].attrs["units"] = "hartree/bohr"
    frames = read(tmp_path / "spice.hdf5")
    assert [atoms.info["group"] for atoms in frames] == ["water/a"] * 4 + ["water/b"]
    with h5py.File(tmp_path / "spice.hdf5") as file:
        group = file["water/a"]
        gradient = group["dft_total_gradient"][2]
        np.testing.assert_allclose(labels(frames[2])["forces"], -gradient * units.Ha / units.Bohr, rtol=1e-14)
        assert labels(frames[2])["energy"] == pytest.approx(group["dft_total_energy"][2] * units.Ha, rel=1e-14)
        np.testing.assert_allclose(frames[2].positions, group["conformations"][2] * units.Bohr, rtol=1e-14)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["species"] = [b"O", b"H", b"H"]
        file["positions"] = water.positions[None].repeat(2, 0)
        file["energy"] = [-1.0, -2.0]
    plain = read(tmp_path / "plain.h5")
    assert [float(labels(atoms)["energy"]) for atoms in plain] == [-1.0, -2.0]
    assert str(plain[0].symbols) == "OH2"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spectra"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"no group with numbers and positions.*\['spectra'\]"):
        read(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("index", "energies"), [(":", [0, 1, 2, 3]), (-1, [3]), ("1:3", [1, 2]), (slice(0, 4, 2), [0, 2])]
)
def test_index_picks_frames(tmp_path: Path, index: object, energies: list[float]) -> None:
    text = "".join(WATER.replace("-2081.5", str(i)) for i in range(4))
    frames = read(saved(tmp_path, text), index=index)  # type: ignore[arg-type]
    assert [float(labels(atoms)["energy"]) for atoms in frames] == energies
    with pytest.raises(ValueError, match="index 4 of 4 frames"):
        read(tmp_path / "water.xyz", index=4)


DAMAGE = {
    "a cut file": (WATER + WATER[:-60], r"water.xyz, frame 1 \(line 6\): announces 3 atoms, but only"),
    "a cut line": (WATER[:-12], r"frame 0 \(line 5\): \d columns, expected 7"),
    "too many atoms announced": ("4" + WATER[1:] + WATER, r"frame 1 \(line 7\): .* got 'Prop"),
    "too few atoms announced": ("2" + WATER[1:], r"frame 1 \(line 5\): expected the number of atoms, got 'H  0.0000"),
    "columns exchanged": (WATER.replace("O  0.0000", "0.0000 O"), r"frame 0 \(line 1\): could not convert"),
    "an unknown element": (WATER.replace("O  ", "Qq "), "frame 0 .* does not know 'Qq'"),
    "undeclared columns": (WATER.replace(":dft_force:R:3", ""), r"7 columns, expected 4 \(as Properties says\)"),
    "no declaration": ("3\nwater\n" + "\n".join(WATER.split("\n")[2:]), "declare them, such as Properties="),
    "positions under another name": (WATER.replace(":pos:", ":xyz:"), "must have species:S:1"),
    "forces of two columns": (WATER.replace("dft_force:R:3", "dft_force:R:2:x:R:1"), r"\(3, 2\); expected \(3, 3\)"),
    "energy without a number": (WATER.replace("dft_energy=-2081.5", "dft_energy"), r"'dft_energy' \(energy\) is True"),
    "energy of words": (WATER.replace("-2081.5", "unknown"), "'unknown'; expected numbers"),
    "two energies": (WATER.replace("-2081.5", '"1 2"'), r"has shape \(2,\); expected \(\)"),
    "half a lattice": (WATER.replace("dft_energy", 'Lattice="1 2 3" dft_energy'), r"frame 0 \(line 1\): .*3x3"),
    "no number at all": ("hello\n", "expected the number of atoms, got 'hello'"),
    "nothing": ("", "the file is empty"),
    "blank lines": ("\n\n\n", "no structure in it"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_with_its_place(tmp_path: Path, kind: str) -> None:
    text, message = DAMAGE[kind]
    with pytest.raises(ValueError, match=message):
        read(saved(tmp_path, text))


def test_blank_lines_between_frames_lose_nothing(tmp_path: Path) -> None:
    # ASE itself stops at the first blank line and says nothing.
    assert len(ase.io.read(saved(tmp_path, WATER + "\n" + WATER), ":")) == 1
    assert len(read(tmp_path / "water.xyz")) == 2


def test_damaged_binary_files_are_named(tmp_path: Path) -> None:
    whole = gzip.compress((WATER * 50).encode())
    (tmp_path / "cut.xyz.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "fake.xyz.gz").write_text(WATER)
    (tmp_path / "binary.xyz").write_bytes(bytes(range(256)))
    for name in ("a.npz", "a.h5", "a.traj", "a.db", "a.cif", "a.json", "a.vasp"):
        (tmp_path / name).write_bytes(bytes(range(128, 256)) * 5)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=f"^{path.name}"):
            read(path)


def test_files_that_may_run_code_and_missing_ones_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, "import os", "frames.pkl")
    with pytest.raises(ValueError, match=r"frames.pkl: .pkl files can run code"):
        read(tmp_path / "frames.pkl")
    with pytest.raises(FileNotFoundError, match=r"do you mean frames.pkl\?"):
        read(tmp_path / "frame.pkl")
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.traj", "a.db", "a.json", "a.xyz"])
def test_what_ase_writes_is_read(tmp_path: Path, name: str) -> None:
    frames = labelled()
    if name == "a.xyz":
        ase.io.write(tmp_path / name, frames)
    elif name == "a.db":
        for atoms in frames:
            ase.io.write(tmp_path / name, atoms, append=True)
    else:
        ase.io.write(tmp_path / name, frames)
    for old, new in zip(frames, read(tmp_path / name), strict=True):
        np.testing.assert_allclose(new.positions, old.positions, atol=1e-8)
        for key, value in labels(old).items():
            np.testing.assert_allclose(labels(new)[key], value, atol=1e-8)


def test_findings_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        frames = read(saved(tmp_path, WATER.replace("0.1 0.0 -0.2", "5.1 0.0 -0.2")))
    assert "energy from 'dft_energy' on 1 of 1 frames" in caplog.text
    assert "water.xyz, frame 0: the forces do not sum to zero" in caplog.text
    assert len(frames.findings) == 1


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "n_frames", "found"),
    [
        ("aumgo_4g_mini", 23, {"energy", "forces", "charges"}),
        ("spice_mixed", 673, {"energy", "forces", "dipole"}),
        ("lode_dimers", 78, {"energy", "forces"}),
        ("bilayer_graphene_stacking", 21, {"energy"}),
        ("water_revpbe0_d3", 130, {"energy", "forces"}),
    ],
)
def test_published_sets_are_read_whole(name: str, n_frames: int, found: set[str]) -> None:
    frames = read(PUBLISHED / f"{name}.xyz.gz")
    assert len(frames) == n_frames
    assert all(set(labels(atoms)) == found for atoms in frames)
    assert not [finding for finding in frames.findings if finding.severity == "error"]
