"""The catalogue: entries that are true, and errors that help."""

import dataclasses
import gzip

import pytest

from workbench import catalogue
from workbench.catalogue import DATASETS, load
from workbench.structures import labels


@pytest.fixture(scope="module")
def loaded():
    return {name: load(name) for name in DATASETS}


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_describes_its_file(name, loaded):
    dataset, frames = DATASETS[name], loaded[name]
    assert dataset.name == name
    assert len(frames) == dataset.n_frames
    assert {atoms.info["split"] for atoms in frames} == set(dataset.split)
    wanted = {"energy", "forces", "charges", "stress" if frames[0].pbc.all() else "dipole"}
    for atoms in frames:
        assert set(labels(atoms)) == wanted
        unpaired = atoms.info["spin"] - 1
        paired = atoms.numbers.sum() - atoms.info["charge"] - unpaired
        assert unpaired >= 0
        # Of an odd number of electrons in a metal, half a one is up and half a one is down.
        assert paired % 2 == 0 or "Cu" in atoms.symbols


@pytest.mark.parametrize("name", DATASETS)
def test_the_checks_find_no_error(name, loaded):
    assert [finding for finding in loaded[name].findings if finding.severity == "error"] == []


def test_entries_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DATASETS["ethanol"].n_frames = 1


@pytest.mark.parametrize(
    ("wrong", "meant"), [("etanol", "ethanol"), ("ion-pair", "ion_pair"), ("water", "water_box")]
)
def test_a_misspelt_name_is_answered_with_the_nearest(wrong, meant):
    with pytest.raises(KeyError, match=f"Did you mean '{meant}'"):
        load(wrong)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(KeyError, match=", ".join(DATASETS)):
        load("zzz")


def test_without_sample_data_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "SAMPLE_DATA", tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="clone the repository"):
        load("ethanol")


def test_one_changed_digit_is_noticed(tmp_path, monkeypatch):
    text = gzip.decompress((catalogue.SAMPLE_DATA / "ion_pair.xyz.gz").read_bytes())
    (tmp_path / "ion_pair.xyz.gz").write_bytes(
        gzip.compress(text.replace(b"REF_energy=-7", b"REF_energy=-8", 1))
    )
    monkeypatch.setattr(catalogue, "SAMPLE_DATA", tmp_path)
    with pytest.raises(ValueError, match="git checkout"):
        load("ion_pair")
