"""AllScAIP: what attention between all atoms gains where forces reach far, what its built-in knowledge is worth as data
grow, how it takes turned structures, and whether it pays to train direct forces first.

    python benchmarks/attention.py                    ethanol and the ion pair of sample_data/
    python benchmarks/attention.py --data FOLDER      the published long-range sets too, which are not the project's
    python benchmarks/attention.py --only turning     one part

FOLDER holds some of these, as gzipped extended XYZ with energy, forces and, per frame, `split` and `config_type`:

coulomb_pair.xyz.gz        two atoms from 1 to 10 Å apart, every tenth of two_atoms.npz; and
coulomb_clusters.xyz.gz    clusters of 32 atoms, all pairs of which attract as -2/r: both synthetic, both from
                           github.com/thorben-frank/euclidean_fast_attention, datasets (Frank et al., arXiv:2412.08541)
cumulene_gnl.xyz.gz        H2C(=C)n=CH2 at various torsions, from github.com/LarsSchaaf/
                           Guaranteed-Non-Local-Molecular-Dataset, GNL-v0.2 (Batatia et al., arXiv:2310.10434)

Every training is written to results/attention.json as it ends, and one that is there is not repeated: remove the file
to measure anew. `run.py --only` makes the tables of README.md from it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from attention_tables import draw
from run import circumstances
from scipy.spatial.transform import Rotation

from workbench import TrainingConfig, build, build_from, catalogue, evaluate, fit
from workbench.models import Potential
from workbench.predict import predict
from workbench.probes import rotation_error

RESULTS = Path(__file__).resolve().parent / "results"
SHA256 = {
    "coulomb_pair": "7db14f3ca7aed7140d095b218fcfdf20597f47e9c2937d4b20ff3530bc435880",
    "coulomb_clusters": "861529dbd60668e0527fdca585b1076ad33fa3be58308c108dd07ecc9336784b",
    "cumulene_gnl": "43b1ec8451652095c83e419babefec23ba015b923324451d1fb396fa18b4427e",
}
# `tiny` of each model, with the parts of the paper that are in it (Ne is always).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "NeAnNoSi": ("allscaip", {}),
    "NeNo": ("allscaip", {"radial_bias": False, "angular_bias": False}),
    "NeAn": ("allscaip", {"radial_bias": False, "all_to_all": False}),
    "Ne": ("allscaip", {"radial_bias": False, "angular_bias": False, "all_to_all": False}),
    "NeAnNoSi, invariant": ("allscaip", {"max_degree": 0}),
    "published elements": ("allscaip", {"element_scale": 1e-3}),
    "LOREM": ("lorem", {}),
}
LEARNING_RATE = 1e-3
GRADIENT_CLIP = 1.0
EMA_DECAY = 0.99
FORCES_WEIGHT = 1.0
N_ROTATIONS, N_TURNED = 10, 10  # rotations of each structure, structures
SETTINGS = {
    "learning_rate": LEARNING_RATE,
    "gradient_clip": GRADIENT_CLIP,
    "ema_decay": EMA_DECAY,
    "forces_weight": FORCES_WEIGHT,
}


@dataclass(frozen=True)
class Data:
    """Frames of one set, and the cutoff that every model has for it [Å].

    invariant   AllScAIP with max_degree 0: of structures turned any way it need not learn that this does not matter
    """

    cutoff: float
    invariant: bool
    train: list[ase.Atoms]
    validation: list[ase.Atoms]
    tests: dict[str, list[ase.Atoms]]
    scan: list[ase.Atoms] = field(default_factory=list)  # for a figure, along info["x"]


@dataclass(frozen=True)
class Training:
    """One training, and all that its numbers depend on.

    marks          steps with conservative forces after which the model is judged
    direct_steps   steps before them with direct forces; the model is judged after these too
    Where the model is judged only at the end, the learning rate falls to zero as a cosine after an eighth of the
    steps. Else it stays: what is judged on the way must not depend on what follows.
    """

    part: str
    data: str
    variant: str
    n_train: int
    marks: tuple[int, ...]
    seed: int = 0
    rotate: bool = False
    direct_steps: int = 0
    batch_size: int = 8
    energy_weight: float = 1.0


def trainings(seed: int) -> list[Training]:
    """All of them for one seed, those that say most first."""
    marks = (0, 100, 200)

    def reach(data: str, n_train: int, steps: int, *variants: str, **recipe: Any) -> list[Training]:
        return [Training("reach", data, variant, n_train, (steps,), seed, **recipe) for variant in variants]

    with_and_without = ("NeAnNoSi", "NeAn")
    pair: dict[str, Any] = {"batch_size": 20, "energy_weight": 100.0}
    turning = Training("turning", "ethanol", "NeAnNoSi", 400, marks, seed)
    return [
        *reach("coulomb_pair", 200, 800, *with_and_without, "published elements", **pair),
        *reach("coulomb_clusters", 400, 200, *with_and_without, batch_size=4, energy_weight=10.0),
        *reach("cumulene_gnl", 200, 200, *with_and_without, energy_weight=10.0),
        *reach("ion_pair", 260, 132, *with_and_without, energy_weight=100.0),
        replace(turning, rotate=True),
        turning,
        replace(turning, variant="NeAnNoSi, invariant"),
        Training("stages", "ethanol", "NeAnNoSi", 400, marks[1:2], seed, rotate=True, direct_steps=200),
        *(
            Training("growing", "ethanol", variant, n_train, (100,), seed)
            for n_train in (25, 400)
            for variant in ("NeAnNoSi", "NeNo", "NeAn", "Ne")
        ),
        *reach("coulomb_pair", 200, 800, "LOREM", **pair),
        *reach("ion_pair", 260, 132, "LOREM", energy_weight=100.0),
    ]


# The data


def published(folder: Path, name: str, *words: str) -> list[ase.Atoms]:
    """The frames of a file whose comment holds all of the words.

    Raises ValueError for a file that is another than these results are of.
    """
    path = folder / f"{name}.xyz.gz"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise ValueError(f"{path} has sha256 {found}; these results are of {SHA256[name]}. Get that file")
    lines = io.StringIO(gzip.decompress(content).decode())
    kept: list[str] = []
    while count := lines.readline():  # parsing a frame takes long, so only those that are wanted
        frame = [count, *(lines.readline() for _ in range(int(count) + 1))]
        if all(word in frame[1] for word in words):
            kept += frame
    return list(ase.io.read(io.StringIO("".join(kept)), ":", format="extxyz"))


def of(frames: Sequence[ase.Atoms], **info: Any) -> list[ase.Atoms]:
    """The frames whose info holds these values."""
    return [frame for frame in frames if all(frame.info[key] == value for key, value in info.items())]


def labelled(atoms: ase.Atoms, energy: float, forces: np.ndarray) -> ase.Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


def turned(frames: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    """Each frame turned at random, with its labels."""
    turns = Rotation.from_quat(np.random.default_rng(0).normal(size=(len(frames), 4))).as_matrix()
    return [
        labelled(
            ase.Atoms(frame.numbers, frame.positions @ turn.T, info=frame.info),
            frame.get_potential_energy(),
            frame.get_forces() @ turn.T,
        )
        for frame, turn in zip(frames, turns, strict=True)
    ]


def ethanol() -> Data:
    frames = catalogue.load("ethanol")
    test = of(frames, split="test")
    # Whole trajectories lie one after the other; a part of the training frames takes from all of them.
    train = [of(frames, split="train")[i] for i in np.random.default_rng(0).permutation(800)]
    return Data(
        5.0, False, train, of(frames, split="validation")[::3], {"test": test, "test, turned": turned(test)}
    )


def ion_pair() -> Data:
    """Frames of all orientations and distances to train on, others to test on: within what was seen."""
    frames = list(catalogue.load("ion_pair"))
    for frame in frames:
        frame.info["x"] = frame.info["distance"]
    mixed = [frames[i] for i in np.random.default_rng(0).permutation(len(frames))]
    test = sorted(mixed[300:], key=lambda frame: frame.info["x"])
    return Data(
        5.0,
        True,
        mixed[:260],
        mixed[260:300],
        {split: of(test, split=split) for split in ("near", "far")},
        test,
    )


def coulomb_pair(folder: Path) -> Data:
    cutoff, frames = 3.0, published(folder, "coulomb_pair")
    for frame in frames:
        frame.info["x"] = frame.get_distance(0, 1)
    test = sorted(of(frames, split="test"), key=lambda frame: frame.info["x"])
    near = [frame for frame in test if frame.info["x"] < cutoff]
    tests = {"within the cutoff": near, "beyond": test[len(near) :]}
    # The file is in the order of the distances; a part of the training frames takes from all of them.
    train = [of(frames, split="train")[i] for i in np.random.default_rng(0).permutation(600)]
    return Data(cutoff, True, train, of(frames, split="val")[::4], tests, test)


def coulomb_clusters(folder: Path) -> Data:
    train, validation, test = (
        published(folder, "coulomb_clusters", "N32", f"split={split}") for split in ("train", "val", "test")
    )
    return Data(2.0, True, train, validation[:24], {"test": test[:100]})


def cumulene_gnl(folder: Path) -> Data:
    frames = published(folder, "cumulene_gnl")
    test = of(frames, split="test")
    tests = {
        "chains as trained on": of(test, config_type="in-domain"),
        "11, 12 C between the ends": of(test, config_type="out-domain-nc-11,12"),
        "15, 16 C": of(test, config_type="out-domain-nc-15,16"),
    }
    scan = of(frames, config_type="angle_scan_n12")
    for frame in scan:
        frame.info["x"] = frame.info["phi"]
    scan.sort(key=lambda frame: frame.info["x"])
    return Data(2.0, False, of(frames, split="train"), of(frames, split="val"), tests, scan)


def load(name: str, folder: Path | None) -> Data | None:
    """The set, or None where it is a published one that is not there."""
    if name in SHA256:
        there = folder is not None and (folder / f"{name}.xyz.gz").is_file()
        return globals()[name](folder) if there else None
    return {"ethanol": ethanol, "ion_pair": ion_pair}[name]()


# Training and judging


def judged(training: Training, data: Data) -> Iterator[dict[str, Any]]:
    """Train, and say at every mark how far it is, what CPU time that took (judging left out) and how good it is."""
    name, config = VARIANTS[training.variant]
    config = {
        "cutoff": data.cutoff,
        **({"max_degree": 0} if data.invariant and name == "allscaip" else {}),
        **config,
    }
    frames = data.train[: training.n_train]
    steps, seconds = 0, 0.0
    torch.manual_seed(training.seed)
    with TemporaryDirectory() as folder:
        if training.direct_steps:
            model = build(name, "tiny", **config, direct_forces=True)
            where = Path(folder, "direct")
            steps, seconds = trained(model, training, data, frames, training.direct_steps, where)
            yield {"stage": "direct", "steps": steps, "cpu_s": seconds, **verdict(model, training, data)}
            model = build_from(model, direct_forces=False)
        else:
            model = build(name, "tiny", **config)
        before = steps
        for mark in training.marks:
            if mark:
                taken, spent = trained(model, training, data, frames, mark, Path(folder, "conservative"))
                steps, seconds = before + taken, seconds + spent
            yield {"stage": "conservative", "steps": steps, "cpu_s": seconds, **verdict(model, training, data)}


def trained(
    model: Potential, training: Training, data: Data, frames: list[ase.Atoms], n_steps: int, folder: Path
) -> tuple[int, float]:
    """Go on in `folder` until so many steps are taken: their number, in whole epochs, and the CPU time of these [s]."""
    per_epoch = -(-len(frames) // training.batch_size)
    epochs = max(1, round(n_steps / per_epoch))
    # What is judged on the way must not depend on what follows.
    on_the_way = len(training.marks) > 1 or (training.direct_steps > 0 and bool(training.marks))
    config = TrainingConfig(
        epochs=epochs,
        batch_size=training.batch_size,
        learning_rate=LEARNING_RATE,
        schedule="constant" if on_the_way else "cosine",
        constant_epochs=0 if on_the_way else epochs / 8,
        energy_weight=training.energy_weight,
        forces_weight=FORCES_WEIGHT,
        rotate=training.rotate,
        ema_decay=EMA_DECAY,
        gradient_clip=GRADIENT_CLIP,
        validate_every=max(1, epochs // 10),
        seed=training.seed,
        device="cpu",
    )
    began = time.process_time()
    fit(model, frames, data.validation, config, folder=folder, resume=folder.exists(), progress=False)
    return epochs * per_epoch, time.process_time() - began


def verdict(model: Potential, training: Training, data: Data) -> dict[str, Any]:
    """Errors on every test set, the energies along the scan, and what turning does, as far as the part asks."""
    found: dict[str, Any] = {
        "parameters": model.n_parameters,
        "tests": {
            name: {key: value for key, value in evaluate(model, frames).numbers.items() if "rmse" in key}
            for name, frames in data.tests.items()
        },
    }
    if data.scan:
        found["scan"] = {
            "x": [float(frame.info["x"]) for frame in data.scan],
            "reference": [frame.get_potential_energy() for frame in data.scan],
            "predicted": [one.energy for one in predict(model, data.scan)],
        }
    if training.part in ("turning", "stages"):
        first = next(iter(data.tests.values()))
        error = rotation_error(model, first[:: len(first) // N_TURNED], N_ROTATIONS)
        found["rotation"] = {
            "energy_meV_per_atom": 1000 * error.energy,
            "forces_meV_per_A": 1000 * error.forces,
            "relative_forces": error.relative_forces,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder of the published sets; without it, sample_data/ alone"
    )
    parser.add_argument(
        "--only", nargs="*", choices=("reach", "turning", "stages", "growing"), help="these parts"
    )
    parser.add_argument("--sets", nargs="*", help="these data sets, for example ion_pair")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of everything")
    parser.add_argument("--steps", type=int, help="of every training, in place of its own: to try it out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of attention.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "attention.json"
    rows = json.loads(record.read_text())["rows"] if record.is_file() else []
    sets: dict[str, Data | None] = {}
    for training in (one for seed in range(options.seeds) for one in trainings(seed)):
        if options.steps:
            direct = min(options.steps, training.direct_steps)
            training = replace(training, marks=training.marks[:1] and (options.steps,), direct_steps=direct)
        settings = json.loads(json.dumps(asdict(training)))
        done = any(row["training"] == settings for row in rows)
        if done or training.part not in (options.only or [training.part]):
            continue
        if training.data not in (options.sets or [training.data]):
            continue
        if training.data not in sets:
            sets[training.data] = load(training.data, options.data)
        data = sets[training.data]
        if data is None:
            continue
        before = circumstances()
        rows.append({"training": settings, "circumstances": before, "judged": list(judged(training, data))})
        record.write_text(json.dumps({"settings": SETTINGS, "rows": rows}, indent=1) + "\n")
        draw({"rows": rows}, options.out)
        last = rows[-1]["judged"][-1]
        print(training, f"{last['cpu_s']:.0f} s", last["tests"], flush=True)


if __name__ == "__main__":
    main()
