"""MLANet `tiny` on published data sets, up to a minute of one CPU core each, beside the rows of its paper.

    python benchmarks/accuracy.py --data FOLDER                       every set; then `stability.py` moves two of them
    python benchmarks/accuracy.py --data FOLDER --only md17_ethanol   this one
    python benchmarks/accuracy.py --only                              accuracy.md anew from what was measured

FOLDER holds some of the sets of SETS as NAME.xyz.gz: gzipped extended XYZ with energy and, but for qm7_ae, forces, and
per frame `split` ("train", "test", perhaps "val") and `charge`. They are others' and not the project's to hand on;
where each is from stands in SETS.

Every training is written to results/accuracy.json as it ends, and one that is there is not repeated: remove it from the
file to measure it anew. The weights stay in build/accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from accuracy_tables import write_page
from run import circumstances

from workbench import TrainingConfig, build, evaluate, fit
from workbench.graphs import graph
from workbench.jobs import Control
from workbench.models import Potential

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WEIGHTS = HERE.parent / "build" / "accuracy"
CUTOFF = 5.0  # Å, of every model
MINUTES = 0.55  # of CPU time
TOO_SLOW = 1.3  # times the budget, at which a training whose steps grew slower is stopped
N_TIMED = 8  # steps, of a throwaway model, that tell how many the budget allows
N_VALIDATION = 20  # frames at most: validating counts as training time
N_TEST, N_TEST_ATOMS = 200, 4200  # frames and, about, atoms at most, evenly from all
SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-3,
    "schedule": "cosine",
    "constant_epochs": 0,
    "loss": "absolute",
    "energy_weight": 4.0,
    "forces_weight": 1.0,
    "gradient_clip": 10.0,
    "seed": 0,
    "device": "cpu",
}


@dataclass(frozen=True)
class Set:
    """A published set: the file, who it is from, and how many frames make a step."""

    sha256: str
    source: str
    batch_size: int


SETS = {
    "qm7_ae": Set(
        "d8ed8c200968967e3a431cfcdfeb9b90887e70c873470a6702eceebb4c442cd3",
        "github.com/qmlcode/qml, tests/qm7 (Rupp et al., PRL 108, 058301)",
        32,
    ),
    "md17_ethanol": Set(
        "630a152222cdde5151fceb032cbb248665a18e507db395f4be8b3adc51f9ddc5",
        "github.com/atomistic-machine-learning/schnetpack, data_tutorial (Chmiela et al., Sci. Adv. 3, e1603015)",
        8,
    ),
    "rmd17_aspirin": Set(
        "ae1294ec5893619a841cd2311108ee9741af6da7e95d44d1747700d5483b8b1a",
        "github.com/lab-cosmo/metatrain, tests/resources (Christensen and von Lilienfeld, revised MD17)",
        2,
    ),
    "ag3_charged": Set(
        "b16b5ec658a29cb2b219656dd55cf8df7b78f956d92e57616dda3b8a1c6c7f54",
        "github.com/atomistic-machine-learning/schnetpack, tests (Unke et al., Nat. Commun. 12, 7273)",
        32,
    ),
    "formate_cu": Set(
        "ba86b4962b5dad70042ed22b9905f31f33be575eb9a6ce063d32d5b52489f583",
        "github.com/luigibonati/DEAL (Batzner et al., Nat. Commun. 13, 2453)",
        1,
    ),
    "water_revpbe0_d3": Set(
        "af8b9f0061ce5bbd82534d68e9bf1dafb42b5fc051648216d791e86fd878eb56",
        "github.com/Fung-Lab/MatterTune, examples/water-thermodynamics (Cheng et al., PNAS 116, 1110)",
        1,
    ),
    "carbon_layers": Set(
        "46b741799b08118843e8ac19551e700a8a579b3f6a321cdb2f3e86b9878fdcf3",
        "github.com/yonatank93/compare_UQ (Wen and Tadmor, npj Comput. Mater. 6, 124)",
        1,
    ),
    "li_metal": Set(
        "c258e4b1a5a416f102af2af68e27f6a490ea2c8b956663533a0c9bababd1f711",
        "github.com/materialsvirtuallab/mlearn, data/Li (Zuo et al., J. Phys. Chem. A 124, 731)",
        1,
    ),
    "li_mn_o": Set(
        "97256372b3142a306b4cc0e09c01668f722171905a7f4afd8165e84455821c26",
        "github.com/Fung-Lab/MatterTune, examples/finetune-test; who made the labels is not said",
        1,
    ),
}


@dataclass(frozen=True)
class Training:
    """A model of `tiny` size on a set.

    variant   "" or what differs: "direct" forces of a head of their own, "without charge" as an input
    """

    data: str
    model: str = "mlanet"
    variant: str = ""

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.data, self.model, self.variant)))


VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "direct": {"forces": "direct"},
    "without charge": {"charge_input": False},
}
TRAININGS = (
    Training("md17_ethanol"),
    Training("md17_ethanol", variant="direct"),
    Training("ag3_charged"),
    Training("ag3_charged", variant="without charge"),
    Training("rmd17_aspirin"),
    Training("qm7_ae"),
    Training("formate_cu"),
    Training("water_revpbe0_d3"),
    Training("carbon_layers"),
    Training("li_metal"),
    Training("li_mn_o"),
    *(
        Training(data, model)
        for data in ("md17_ethanol", "li_mn_o", "rmd17_aspirin")
        for model in ("lorem", "allscaip")
    ),
    Training("rmd17_aspirin", variant="direct"),
    Training("formate_cu", variant="direct"),
)


class Budget(Control):
    """Stops a training after so much CPU time of the process [s], and remembers when each step began."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.began = seconds, time.process_time()
        self.steps: list[float] = []

    def wait_and_see_stop(self) -> bool:
        self.steps.append(time.process_time())
        if self.steps[-1] - self.began > self.seconds:
            self.stop()
        return super().wait_and_see_stop()


def read(folder: Path, name: str) -> dict[str, list[ase.Atoms]]:
    """The frames of a set by split, those to train on in random order; where it has no "val", a tenth of them.

    Raises ValueError for a file that is another than these results are of.
    """
    path = folder / f"{name}.xyz.gz"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SETS[name].sha256:
        raise ValueError(f"{path} has sha256 {found}; these results are of {SETS[name].sha256}. Get that file")
    parts: dict[str, list[ase.Atoms]] = {"train": [], "val": [], "test": []}
    for frame in ase.io.read(path, ":"):
        parts[frame.info["split"]].append(frame)
    parts["train"] = [parts["train"][i] for i in np.random.default_rng(0).permutation(len(parts["train"]))]
    if not parts["val"]:
        tenth = max(1, len(parts["train"]) // 10)
        parts["val"], parts["train"] = parts["train"][:tenth], parts["train"][tenth:]
    return parts


def new_model(training: Training, frames: Sequence[ase.Atoms]) -> Potential:
    """The untrained model. How many neighbours an atom has, which scales MLANet's first sum, is counted."""
    config: dict[str, Any] = {"cutoff": CUTOFF, **VARIANTS[training.variant]}
    if training.model == "mlanet":
        graphs = [graph(frame, CUTOFF) for frame in frames[:20]]
        pairs, atoms = sum(one.n_pairs for one in graphs), sum(one.n_atoms for one in graphs)
        config["mean_neighbours"] = round(pairs / atoms, 1)
    torch.manual_seed(0)
    return build(training.model, "tiny", **config)


def how(training: Training, epochs: int, n_train: int) -> TrainingConfig:
    labels = {"forces_weight": 0.0} if training.data == "qm7_ae" else {}
    return TrainingConfig(
        **{**SETTINGS, **labels},
        epochs=epochs,
        batch_size=min(SETS[training.data].batch_size, n_train),
        rotate=training.model == "allscaip",
        validate_every=max(1, epochs // 8),
    )


def seconds_per_step(training: Training, frames: Sequence[ase.Atoms]) -> float:
    """CPU time, from a few steps of a throwaway model."""
    few = list(frames[: N_TIMED * SETS[training.data].batch_size])
    budget = Budget(seconds=20.0)
    with TemporaryDirectory() as folder:
        config = how(training, 1, len(few))
        fit(new_model(training, few), few, few[:1], config, folder=folder, control=budget, progress=False)
    return median(np.diff(budget.steps)[1:])


def measure(training: Training, parts: dict[str, list[ase.Atoms]], minutes: float) -> dict[str, Any]:
    """Train within the budget, and judge on test frames."""
    before = circumstances()
    frames, batch = parts["train"], SETS[training.data].batch_size
    n_steps = max(1, int(60 * minutes / seconds_per_step(training, frames)))
    frames = frames[: n_steps * batch]  # where not all of them can be seen once, a part is
    epochs = max(1, n_steps // -(-len(frames) // batch))
    model = new_model(training, frames)
    config = how(training, epochs, len(frames))
    folder = WEIGHTS / training.name.replace(" ", "_")
    shutil.rmtree(folder, ignore_errors=True)
    budget, wall = Budget(60 * minutes * TOO_SLOW), time.monotonic()
    run = fit(model, frames, parts["val"][:N_VALIDATION], config, folder=folder, control=budget, progress=False)
    spent, wall = time.process_time() - budget.began, time.monotonic() - wall
    outcome, test = run.outcome, parts["test"]
    most = min(N_TEST, N_TEST_ATOMS * len(test) // sum(map(len, test)))
    tested = test[:: -(-len(test) // most)]
    return {
        "training": asdict(training),
        "minutes": minutes,
        "cpu_s": spent,
        "wall_s": wall,
        "steps": outcome.step if outcome else len(budget.steps),
        "epochs": epochs,
        "frames": {name: len(some) for name, some in {**parts, "seen": frames}.items()},
        "parameters": model.n_parameters,
        "tested": len(tested),
        "errors": judged(model, tested),
        "config": {key: value for key, value in asdict(config).items() if key in {*SETTINGS, "batch_size"}},
        "circumstances": before,
    }


def judged(model: Potential, frames: Sequence[ase.Atoms]) -> dict[str, float]:
    """Errors per atom, that of whole structures' energies, and how large the forces are."""
    found = evaluate(model, frames, batch_size=8)
    numbers = found.numbers
    if found.energy is not None:
        whole = found.n_atoms * np.abs(found.energy.predicted - found.energy.reference)
        numbers["energy_mae_meV"] = 1000 * float(whole.mean())
    if found.forces is not None:
        numbers["forces_rms_meV_per_A"] = 1000 * float(np.sqrt(np.square(found.forces.reference).mean()))
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the published sets")
    parser.add_argument("--only", nargs="*", help="these trainings: by set, or set, model and variant in one")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of CPU time for each training")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of accuracy.json")
    parser.add_argument("--page", type=Path, default=HERE / "accuracy.md", help="the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "accuracy.json"
    rows = json.loads(record.read_text())["rows"] if record.is_file() else []
    for training in TRAININGS:
        wanted = options.only is None or {training.name, training.data} & set(options.only)
        there = options.data is not None and (options.data / f"{training.data}.xyz.gz").is_file()
        if not (wanted and there) or any(row["training"] == asdict(training) for row in rows):
            continue
        rows.append(measure(training, read(options.data, training.data), options.minutes))
        record.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
        last = rows[-1]
        print(f"{training.name}: {last['cpu_s']:.0f} s, {last['steps']} steps", last["errors"], flush=True)
    write_page(options.page, options.out)


if __name__ == "__main__":
    main()
