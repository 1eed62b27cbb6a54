"""Published data sets by name: where each lies, what it must hash to, its licence, and what to know before using it.

Nothing of them ships here. `downloads.fetch` gets one, and believes it only when the checksum agrees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from workbench.literature import RESULTS, Result


@dataclass(frozen=True)
class Published:
    """One file of a published data set.

    url         where it lies; a page to read where it must be got by hand
    checksum    ALGORITHM:HEX of sha256, md5 or git-blob-sha1 (what `git hash-object FILE` prints), as its publisher or
                another reader has it; the beginning of the digits where no more is known; "" where nothing is
    licence     of the data; "not stated" where they carry none: ask before passing them on
    note        units, split and traps
    size        bytes, where known exactly
    suffix      of the file, where its address has none
    by_hand     why no program can fetch it; "" where one can
    units       of its numbers, as `structures.read` takes them; "" where the file says them, or has eV and Å
    archive     the set whose file, an archive, this one is in; "" where it has a file of its own
    member      its name in that archive
    results     what the literature reached on it
    """

    name: str
    title: str
    url: str
    checksum: str
    licence: str
    citation: str
    note: str = ""
    size: int | None = None
    suffix: str = ""
    by_hand: str = ""
    units: str = ""
    archive: str = ""
    member: str = ""
    results: tuple[Result, ...] = ()

    @property
    def file_name(self) -> str:
        """Name of the file on disk: that of the set, since many are called train.xyz."""
        last = self.member or self.url.partition("?")[0].removesuffix("/content")
        found = re.search(r"(\.tar)?\.[A-Za-z]\w*$", last.rsplit("/", 1)[-1])
        return self.name + (self.suffix or (found.group() if found else ""))


_CACE = "https://raw.githubusercontent.com/BingqingCheng/cace-lr-fit"
_CACE_4G = f"{_CACE}/c009da6edf720b9302b7eadfe2a00b6694dfd70c"
_LES = "https://raw.githubusercontent.com/ChengUCB/les_fit"
_BIO_DIMERS = "https://archive.materialscloud.org/api/records/405an-d8183/files"
_3BPA = "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets/main/dataset_3BPA"
_SPOOKYNET = "https://zenodo.org/records/5115732/files"
_LOAD_ATOMS = "https://github.com/jla-gardner/load-atoms/raw/main/database"
_4G = "Ko et al., Nat. Commun. 12, 398 (2021), 10.1038/s41467-020-20427-2"
_LODE = "Huguenin-Dumittan et al., J. Phys. Chem. Lett. 14, 9612 (2023), 10.1021/acs.jpclett.3c02375"
_UNKE = "Unke et al., Nat. Commun. 12, 7273 (2021), 10.1038/s41467-021-27504-0"
_KOVACS = "Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021), 10.1021/acs.jctc.1c00647"
_SCHMIEDMAYER = "Schmiedmayer, Kresse, J. Chem. Phys. 161 (2024), 10.1063/5.0217391; split of arXiv:2504.05169"
_NC = "CC BY-NC 4.0 (of the repository)"


def _charged_4g() -> tuple[Published, ...]:
    """The sets of the 4G-HDNNP paper, whose charges move as far as the molecule reaches."""
    rows = (
        (
            "nacl",
            "Na9Cl8+ and Na8Cl8+",
            f"{_CACE_4G}/fit-4hdnnp-NaCl/NaCl.xyz",
            "md5:cd28edb3ea3893ad0e25f995064363f9",
        ),
        (
            "carbon_chain",
            "C10H2 and C10H3+",
            f"{_CACE_4G}/fit-4hdnnp-carbon-chain/both.xyz",
            "md5:be48cbff4b6bbe288fa5ecbe3615127c",
        ),
        (
            "ag",
            "Ag3+ and Ag3-",
            f"{_CACE_4G}/fit-4hdnnp-Ag-cluster/Ag-cluster.xyz",
            "md5:dd601bfbbf1e42f031046c55cd92b9b0",
        ),
        (
            "aumgo_train",
            "Au2 on pure and doped MgO, to train",
            f"{_LES}/a886785caa4182a0effb95d95f0e402881adfc4d/data-benchmark/train-Au-MgO-Al.xyz",
            "md5:e5c2290ae3e58b492e8add5e054e4df9",
        ),
        (
            "aumgo_test",
            "Au2 on pure and doped MgO, to test",
            f"{_LES}/a886785caa4182a0effb95d95f0e402881adfc4d/data-benchmark/test-Au-MgO-Al.xyz",
            "md5:ace9a86f28262db5ef1022ef523d24f9",
        ),
    )
    note = "the paper's own split is 90/10 at random; a copy in extended XYZ of the set of the paper"
    return tuple(
        Published(f"4g_{name}", title, url, checksum, _NC, _4G, note) for name, title, url, checksum in rows
    )


def _bio_dimers() -> tuple[Published, ...]:
    """The LODE paper's sets on one record of the Materials Cloud."""
    rows = (
        (
            "bio_dimers",
            "Dimers of side chains, six classes",
            "bio_dimers.xyz",
            "cdf5f3e139bd56a2c31014c8e50e8b93",
        ),
        ("bio_monomers", "Their monomers", "bio_dimers_monomers.xyz", "3d4b87ec5e1a79b75c41c48a78f78552"),
        (
            "point_charges_p1",
            "Point charges",
            "point_charges_Training_set_p1.xyz",
            "9e76b4a8972a2e829335163fe31c7d7c",
        ),
        (
            "point_charges_p6",
            "1/R^6 points",
            "point_charges_Training_set_p6.xyz",
            "57c54e0ea0b01be89e0a0622f0f2ff96",
        ),
        ("xenon", "Xenon", "xenon.xyz", "9371ed17727e39635fa0c11e27425ace"),
    )
    return tuple(
        Published(
            name,
            title,
            f"{_BIO_DIMERS}/{file}/content",
            f"md5:{md5}",
            "not stated",
            _LODE,
            "eV, Å; with forces",
        )
        for name, title, file, md5 in rows
    )


def _3bpa() -> tuple[Published, ...]:
    rows = (
        ("300K", "6ea840dfce31bd7667a26e592f3625729c90441b"),
        ("600K", "681d24eeb4e9193644e6db58193b50e205a5bc0f"),
        ("1200K", "94beb5238c3573e4be4d368928460f951e07e513"),
        ("dih", "7bdd390b9aed0a677dd8036a3a5055a0b648d1f5"),
    )
    return tuple(
        Published(
            f"3bpa_test_{kind}",
            f"3BPA, test {kind}",
            f"{_3BPA}/test_{kind}.xyz",
            f"git-blob-sha1:{digest}",
            "MIT (of the repository)",
            _KOVACS,
            "eV, Å; train on the 500 frames of train_300K",
        )
        for kind, digest in rows
    )


_OTHERS = (
    Published(
        "les_random_charge",
        "Random point charges",
        f"{_CACE}/main/fit-random-charge/random_charge.xyz",
        "git-blob-sha1:592d1188a2ceecfed9be50946b476ff4564a4857",
        _NC,
        "Cheng, npj Comput. Mater. (2025), 10.1038/s41524-025-01577-7",
    ),
    Published(
        "les_electrolyte",
        "Liquid electrolyte",
        f"{_CACE}/main/fit-electrolyte/electrolyte.xyz.zip",
        "git-blob-sha1:c6fdaa326a4d54f008998d733c4d9a0b42611788",
        _NC,
        "Cheng, npj Comput. Mater. (2025), 10.1038/s41524-025-01577-7",
        "a zip archive of one file, which fetching takes out",
    ),
    Published(
        "spookynet_ag3",
        "Ag3+ and Ag3-",
        f"{_SPOOKYNET}/ag3_2200.db?download=1",
        "md5:941ee5359039b43f38d2b3a85cd02e63",
        "CC BY 4.0",
        _UNKE,
        "an SQLite file; two charge states of the same geometries: a model must be told the charge",
    ),
    Published(
        "spookynet_carbene",
        "Singlet and triplet carbene",
        f"{_SPOOKYNET}/carbene_2200.db?download=1",
        "md5:c3b31993e7f306f1556cd0b60141014a",
        "CC BY 4.0",
        _UNKE,
        "an SQLite file; two spin states of the same geometries",
    ),
    Published(
        "rmd17",
        "Revised MD17, ten molecules",
        "https://figshare.com/ndownloader/files/23950376",
        "md5:cb1a927628d96f2e966025da4fb63d18",
        "CC0",
        "Christensen, von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020), 10.1088/2632-2153/abba6f",
        "a tar.bz2 archive; kcal/mol; its authors ask to train on 1000 frames at most",
        suffix=".tar.bz2",
    ),
    Published(
        "md17",
        "MD17 and MD22, one file for each molecule",
        "http://www.quantum-machine.org/gdml/data/npz/",
        "",
        "not stated",
        "Chmiela et al., Sci. Adv. 3, e1603015 (2017), 10.1126/sciadv.1603015",
        "kcal/mol; noisy energies: prefer rmd17",
        by_hand="there is a file for each molecule, such as md17_ethanol.npz, and no checksum for any",
    ),
    Published(
        "qm7",
        "QM7, energies of atomisation",
        f"{_LOAD_ATOMS}/QM7/QM7.extxyz",
        "sha256:c9dcec505f4d",
        "not stated",
        "Rupp et al., Phys. Rev. Lett. 108, 058301 (2012), 10.1103/PhysRevLett.108.058301",
        "the original, qm7.mat at http://quantum-machine.org/data/qm7.mat, has five published folds; no forces",
    ),
    Published(
        "formate_cu",
        "Formate decomposing on copper",
        "https://archive.materialscloud.org/records/ycbvx-knj69/files/fcu.xyz?download=1",
        "sha256:57f00395d6945a3018a873d229fd7fbb7352a44a66f00f3c6e8a36247e0851e5",
        "CC BY 4.0",
        "Batzner et al., Nat. Commun. 13, 2453 (2022), 10.1038/s41467-022-29939-5",
        "eV, Å",
    ),
    Published(
        "water_revpbe0",
        "Liquid water, revPBE0-D3, 1593 frames",
        "https://raw.githubusercontent.com/BingqingCheng/ab-initio-thermodynamics-of-water/master/training-set/"
        "dataset_1593.xyz",
        "git-blob-sha1:6792c4658498c07f47c881a011ac82b2f26109fc",
        "not stated",
        "Cheng et al., PNAS 116, 1110 (2019), 10.1073/pnas.1815117116",
        "bohr and Hartree, although extended XYZ",
        units="Ha, Bohr",
    ),
    Published(
        "water_rpbe_train",
        "Liquid water, RPBE-D3",
        f"{_LES}/main/data-benchmark/train-H2O_RPBE-D3.xyz",
        "",
        _NC,
        _SCHMIEDMAYER,
    ),
    Published(
        "p_gap_20",
        "Phosphorus, with black phosphorus drawn apart",
        "https://zenodo.org/record/4003703/files/P_GAP_20_fitting_data.xyz",
        "sha256:ab3059018068",
        "CC BY 4.0",
        "Deringer, Caro, Csányi, Nat. Commun. 11, 5461 (2020), 10.1038/s41467-020-19168-z",
        "DFT with many-body dispersion, 4798 frames",
    ),
    Published(
        "carbon_layers",
        "Mono-, bilayer graphene and graphite",
        "https://raw.githubusercontent.com/yonatank93/compare_UQ/main/neuralnetwork/C/data/mingjian_partition_data/"
        "carbon_training_set.tar.gz",
        "",
        "not stated",
        "Wen, Tadmor, npj Comput. Mater. 6, 124 (2020), 10.1038/s41524-020-00390-8",
        "an archive; the part to train on",
    ),
    Published(
        "c_gap_20u",
        "Carbon in all its forms",
        f"{_LOAD_ATOMS}/C-GAP-20U/C-GAP-20U.xyz",
        "sha256:da0462802df1",
        "not stated",
        "Rowe et al., J. Chem. Phys. 153, 034702 (2020), 10.1063/5.0005084",
    ),
    Published(
        "c_gap_17",
        "Amorphous carbon",
        f"{_LOAD_ATOMS}/C-GAP-17/C-GAP-17.extxyz",
        "sha256:8dd037b59c88",
        "not stated",
        "Deringer, Csányi, Phys. Rev. B 95, 094203 (2017), 10.1103/PhysRevB.95.094203",
    ),
    Published(
        "mptrj",
        "MPtrj, 1,580,395 structures of relaxations",
        "https://figshare.com/ndownloader/files/41619375",
        "",
        "not stated",
        "Deng et al., Nat. Mach. Intell. 5, 1031 (2023), 10.1038/s42256-023-00716-3",
        "MPtrj_2022.9_full.json, 11.3 GB; filter Li for the lithium subset",
        suffix=".json",
    ),
    Published(
        "oc20_200k",
        "OC20, 200K split of S2EF",
        "https://dl.fbaipublicfiles.com/opencatalystproject/data/s2ef_train_200K.tar",
        "",
        "CC BY 4.0",
        "Chanussot et al., ACS Catal. 11, 6059 (2021), 10.1021/acscatal.0c04525",
        "an archive, 344 MB, 1.7 GB unpacked; fixed atoms have no force",
    ),
    Published(
        "spice",
        "SPICE 2.0.1",
        "https://zenodo.org/records/10975225/files/SPICE-2.0.1.hdf5",
        "md5:bfba2224b6540e1390a579569b475510",
        "CC0",
        "Eastman et al., Sci. Data 10, 11 (2023), 10.1038/s41597-022-01882-6",
        "Hartree and bohr, said in the file",
        size=37_479_271_148,
    ),
    Published(
        "ani_1x",
        "ANI-1x and ANI-1ccx",
        "https://springernature.figshare.com/ndownloader/files/18112775",
        "",
        "not stated",
        "Smith et al., Sci. Data 7, 134 (2020), 10.1038/s41597-020-0473-z",
        suffix=".h5",
    ),
    Published(
        "lorem",
        "LOREM's splits: cumulene, bio-dimers, SN2, AuMgO, NaCl",
        "https://github.com/sirmarcel/lorem-tmlr-archive",
        "",
        "not stated",
        "LOREM, arXiv:2507.19382",
        by_hand="it is a repository: clone it and see its folder datasets/",
    ),
    Published(
        "efa",
        "Cumulene, SN2 and clusters of Euclidean fast attention",
        "https://zenodo.org/records/14750286",
        "",
        "not stated",
        "Frank et al., arXiv:2412.08541",
        by_hand="the files of the record have not been looked at",
    ),
    Published(
        "omol25",
        "OMol25",
        "https://huggingface.co/facebook/OMol25",
        "",
        "CC BY 4.0",
        "Levine et al., arXiv:2505.08762",
        by_hand="access must be asked for",
    ),
)


def _rmd17() -> tuple[Published, ...]:
    """The molecules of the revised MD17, which come in one archive."""
    molecules = (
        *("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol"),
        *("salicylic", "toluene", "uracil"),
    )
    whole = next(entry for entry in _OTHERS if entry.name == "rmd17")
    return tuple(
        Published(
            f"rmd17_{molecule}",
            f"Revised MD17, {molecule}",
            whole.url,
            whole.checksum,
            whole.licence,
            whole.citation,
            "100,000 frames in no order; its authors ask to train on 1000 frames at most",
            units="kcal/mol, Å",
            archive="rmd17",
            member=f"rmd17_{molecule}.npz",
        )
        for molecule in molecules
    )


PUBLISHED = {
    entry.name: replace(entry, results=RESULTS.get(entry.name, ()))
    for entry in (*_charged_4g(), *_bio_dimers(), *_3bpa(), *_OTHERS, *_rmd17())
}
