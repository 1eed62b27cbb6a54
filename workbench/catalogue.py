"""Catalogue: data sets by name, verified, with what a reader must know before trusting them."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from workbench.published import PUBLISHED
from workbench.stored import StoredFrames, is_stored, open_frames
from workbench.structures import Frames, read

# Beside the package in a clone (an editable install); an installed wheel carries no data.
SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"


@dataclass(frozen=True)
class Dataset:
    """One data set: what it is, where it lies, and how far to trust it.

    path        file name inside sample_data/
    sha256      of that file, hexadecimal
    method      level of theory of the labels
    split       values of `atoms.info["split"]`, the part to train on first
    effect      what it is there to show
    """

    name: str
    title: str
    path: str
    sha256: str
    method: str
    units: str
    licence: str
    split: tuple[str, ...]
    effect: str
    n_frames: int


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="ethanol",
            title="Ethanol at 500 K",
            path="ethanol.xyz.gz",
            sha256="ed536a9552ec7e48a3dcd9a6520d1576aff5b5399ed832ad252a8c16f9ab5c8f",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("train", "validation", "test"),
            effect="A small organic molecule in motion: energies, forces, and charges that follow the geometry",
            n_frames=1000,
        ),
        Dataset(
            name="ion_pair",
            title="Methylammonium and tetrafluoroborate drawn apart",
            path="ion_pair.xyz.gz",
            sha256="376b864ccfb5117137eefbc926e1e8c6595a530185e5c22daf9c89b4fd979a59",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("near", "far"),
            effect="Two ions beyond any cutoff: the far part follows Coulomb's law, which a local model cannot see",
            n_frames=375,
        ),
        Dataset(
            name="water_box",
            title="Liquid water, 16 molecules, 350 K",
            path="water_box.xyz.gz",
            sha256="81fb53c5fbbff262a1ff8f3d99db26dfa886f3a96840419179ead5d9c853c2ea",
            method="GFN1-xTB",
            units="eV, Å, e, eV/Å^3",
            licence="CC0-1.0",
            split=("train", "validation", "test"),
            effect="A periodic polar liquid: stress, and long-range sums over a cell smaller than the usual cutoff",
            n_frames=72,
        ),
        Dataset(
            name="malonaldehyde",
            title="Malonaldehyde at 500 K",
            path="malonaldehyde.xyz.gz",
            sha256="f35331ef4f1a7641bacc57383d01ccd29f9081f492cf77cf104622cee14ac187",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("train", "validation", "test"),
            effect="A molecule whose proton hops from one oxygen to the other, and takes the double bonds along",
            n_frames=480,
        ),
        Dataset(
            name="small_molecules",
            title="Ninety-nine small molecules",
            path="small_molecules.xyz.gz",
            sha256="d7d4ec6df1baf08ba621440637fbcfc3d7846677acca77d3b5c87772df083775",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("train", "validation", "test"),
            effect="Many compositions, with energies of atomisation; whole molecules are held back",
            n_frames=495,
        ),
        Dataset(
            name="sodium_chloride",
            title="Rock salt, hot and strained",
            path="sodium_chloride.xyz.gz",
            sha256="7938ff0ffe10a16d5fa892bad7f2c2c7a363b5cda26c7207ec5846b56d22382d",
            method="GFN1-xTB",
            units="eV, Å, e, eV/Å^3",
            licence="CC0-1.0",
            split=("train", "validation", "test", "volumes"),
            effect="A hot ionic crystal with stress, and the energy of a perfect one against volume",
            n_frames=132,
        ),
        Dataset(
            name="lithium_crystals",
            title="LiCl, LiBr, LiI and Li2S, rattled and strained",
            path="lithium_crystals.xyz.gz",
            sha256="f30e4c5a21fabf4f152053ba14fe74eb8bae4e3b52fd15855356b5f897949973",
            method="GFN1-xTB",
            units="eV, Å, e, eV/Å^3",
            licence="CC0-1.0",
            split=("train", "validation", "test"),
            effect="Four crystals of one metal at once, with stress, and its charge in each",
            n_frames=120,
        ),
        Dataset(
            name="dimers",
            title="Dimers of charged, polar and apolar molecules",
            path="dimers.xyz.gz",
            sha256="4143873d497d07dbc905a473774afdbe2626de14e5bc7fcbf3ecd2f4e36fc347",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("near", "far"),
            effect="Six classes of interaction, from Coulomb to dispersion; the far part lies beyond any cutoff",
            n_frames=906,
        ),
        Dataset(
            name="cumulene",
            title="Cumulenes, C9H4 and others, turned end against end",
            path="cumulene.xyz.gz",
            sha256="844aee43ad108643de30dc65cc9c8f3963d7aacd6837c1723676571017527ae3",
            method="GFN2-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("train", "validation", "test", "profile", "lengths"),
            effect="Two ends 10 Å apart, that feel each other through the bonds: neither local nor electrostatic",
            n_frames=489,
        ),
        Dataset(
            name="charged_clusters",
            title="Na9Cl8+, Na8Cl8+ and Na8Cl8",
            path="charged_clusters.xyz.gz",
            sha256="26d24b739b49ac18994d7f807cf9bcf9521621861c627722a15323f7a0d71954",
            method="GFN1-xTB",
            units="eV, Å, e, e Å",
            licence="CC0-1.0",
            split=("train", "validation", "test", "curve"),
            effect="An atom removed 10 Å away moves charge and forces; one composition in two charge states",
            n_frames=513,
        ),
        Dataset(
            name="black_phosphorus",
            title="Black phosphorus, exfoliation and sliding",
            path="black_phosphorus.xyz.gz",
            sha256="aed4de8eae8d4b0a036982be12b0eb9ff55479fe21a55f5a1f0675cc750090c1",
            method="GFN1-xTB",
            units="eV, Å, e, eV/Å^3",
            licence="CC0-1.0",
            split=("train", "validation", "test", "exfoliation", "sliding"),
            effect="Layers that only dispersion holds together, a third of it beyond a cutoff; with it and without it",
            n_frames=157,
        ),
        Dataset(
            name="formate_copper",
            title="Formate on copper, giving off carbon dioxide",
            path="formate_copper.xyz.gz",
            sha256="200f4f6dde858491e4c6afe7a84d93254b120724eb21e63cad38c1c06db643e5",
            method="GFN1-xTB",
            units="eV, Å, e, eV/Å^3",
            licence="CC0-1.0",
            split=("train", "validation", "test", "path"),
            effect="A bond that breaks on a metal: an adsorbate, a gas, and charge that goes over to the surface",
            n_frames=81,
        ),
    )
}


def load(name: str) -> Frames:
    """Labelled structures of a data set by name, in the order of its file, as `structures.read` gives them.

    Every `atoms.info["split"]` is one of `DATASETS[name].split`; what else `info` holds stands in
    sample_data/README.md.

    Raises KeyError for an unknown name, FileNotFoundError where sample_data/ is not beside the package,
    ValueError where the file is not the one the catalogue describes.
    """
    dataset = _named(name)
    path = SAMPLE_DATA / dataset.path
    if not path.is_file():
        raise FileNotFoundError(
            f"data set {name!r}: no file {path}. It ships with the source, not with an installed package: "
            "clone the repository and install it from there with `pip install -e .`"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != dataset.sha256:
        raise ValueError(
            f"data set {name!r}: {path} has sha256 {found}; the catalogue expects {dataset.sha256}. The file is "
            f"damaged or was made anew: restore it with `git checkout -- sample_data/{dataset.path}`"
        )
    return read(path)


def fetched(name: str, folder: str | Path = "data") -> StoredFrames:
    """The frames of a published set that `workbench data fetch` made ready to train in `folder`.

    Raises KeyError for an unknown name, FileNotFoundError, saying how to get it, where it is not there.
    """
    if name not in PUBLISHED:
        raise KeyError(f"no published data set {name!r}; see `workbench data list`")
    for path in (Path(folder) / f"{name}.ready.h5", Path(folder) / f"{name}.h5"):
        if is_stored(path):
            return open_frames(path)
    raise FileNotFoundError(
        f"{name} is a published set that is not in {folder}/ ready to train. Get it: workbench data fetch {name}"
    )


def _named(name: str) -> Dataset:
    """Entry of the catalogue; an unknown name is answered with the nearest known one."""
    if name in DATASETS:
        return DATASETS[name]
    if name in PUBLISHED:
        raise KeyError(
            f"{name} is a published set: `workbench data fetch {name}` gets it, `fetched({name!r})` opens it"
        )
    close = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Use one of them."
    raise KeyError(f"no data set {name!r}; there are {', '.join(DATASETS)}. {hint}")
