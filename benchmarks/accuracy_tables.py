"""accuracy.md, from the numbers of accuracy.py, degrees.py and stability.py. Nothing is measured here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPOCH_FRAMES, STEP_FRAMES = 950, 8  # of MD17's small protocol; in a step of degrees.py
KCAL_MOL = 43.3641  # meV
ENERGY_MAE, ENERGY_RMSE = "energy_mae_meV_per_atom", "energy_rmse_meV_per_atom"
FORCES_MAE, FORCES_RMSE = "forces_mae_meV_per_A", "forces_rmse_meV_per_A"


@dataclass(frozen=True)
class Published:
    """What the paper says of such data, as two summaries of it give it; and what keeps it from being the same task."""

    row: str
    conditions: str


PUBLISHED = {
    "qm7_ae": Published(
        "MAE 3.07 ± 0.09 kcal/mol (Table 1)",
        "7165 molecules of qm7.mat, split unknown; here the 7101 of 2012, whose energies differ by about 1 kcal/mol, "
        "80/10/10 at random",
    ),
    "md17_ethanol": Published(
        "no number readable (Table S2)", "950 frames to train on, as here; the benchmark's own test frames"
    ),
    "rmd17_aspirin": Published(
        "no number readable (Table S2)", "MD17, not its revision, 950 frames; here the revision, 475 frames"
    ),
    "ag3_charged": Published(
        "forces, RMSE 24 meV/Å (Table 6)",
        "11 013 DFT frames of Ag3+ and Ag3- (Ko et al.); here 2200 with GFN2-xTB labels: the same question, not the "
        "same numbers",
    ),
    "formate_cu": Published(
        "MAE 2.31 meV/atom, 44.9 meV/Å (Table 4); in it NequIP 0.50, 47.3, AlphaNet 0.23, 42.5",
        "2500 of 6855 frames to train on; here 994 of 1420, enriched in rare events, six of them with forces above "
        "15 eV/Å",
    ),
    "water_revpbe0_d3": Published(
        "RMSE 0.47 meV/atom, 60 meV/Å (Table 5); in it MACE 0.63, 36, NequIP 0.94, 45",
        "about 1400 of 1593 frames to train on; here 27, of 192 atoms: few shots",
    ),
    "carbon_layers": Published(
        "bilayer graphene, RMSE: sliding 0.5, binding 1.3 meV/atom (Table 3)",
        "other quantities: differences along two scans; here all energies of graphene, graphite and diamond at "
        "300 to 1500 K, 312 frames to train on",
    ),
    "li_metal": Published(
        "none for this set (Li-containing MPtrj, unread)", "241 frames, 24 of them to validate"
    ),
    "li_mn_o": Published(
        "none for this set (Li-containing MPtrj, unread)",
        "300 frames; stands in for crystals that hold lithium",
    ),
}

HEAD = """# Accuracy, cost and stability of MLANet

Written by `accuracy.py`, `degrees.py` and `stability.py`; nothing but the published rows is typed by hand.

```
.venv/bin/python benchmarks/accuracy.py --data FOLDER     the trainings; --only NAME one of them, --minutes M each
.venv/bin/python benchmarks/degrees.py                    cost against l_max, and beside NequIP
.venv/bin/python benchmarks/stability.py --data FOLDER    NVT and NVE with the networks of accuracy.py
.venv/bin/python benchmarks/accuracy.py --only            this page from what was measured
```

FOLDER holds published sets that are not the project's to hand on; `accuracy.py` says where each is from and checks it.

## Errors beside the published rows

**These are not the paper's conditions.** There: two RTX 4090 for a time that is not disclosed, presumably hours, with
direct forces and a network of unknown size. Here: `tiny`, gradient forces unless a row says direct, and **16 to 66
seconds of one CPU core** for each row, one seed; where the errors of the forces (RMSE) are as large as the forces
(RMS), the network has learned nothing yet. The rows say how far that gets; they neither confirm nor contradict the
paper. Its numbers are quoted from two summaries of it, because its text was not at hand.

All rows: cutoff 5 Å, Adam, learning rate 5e-3 falling to zero as a cosine, absolute errors with weights 4 (energy per
atom in eV) and 1 (force vectors in eV/Å), gradients clipped to 10, single precision, seed 0. How many steps the
budget allows is measured on a throwaway model, whose time does not count; building graphs and validation do. Where
the budget is over before all frames were seen once, *frames seen* says how many there are. Tested on up to 200 test
frames and about 4200 atoms, evenly from all, with the weights that had the lowest validation loss. Splits are those
of the files; a set without validation frames gives a tenth of its training frames."""


def write_page(page: Path, folder: Path) -> None:
    """The page from whichever of accuracy.json, degrees.json and stability.json lie in the folder."""
    writers: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "accuracy": errors,
        "degrees": costs,
        "stability": motion,
    }
    parts = [HEAD]
    for name, write in writers.items():
        if (folder / f"{name}.json").is_file():
            parts += write(json.loads((folder / f"{name}.json").read_text()))
    page.write_text("\n\n".join(parts) + "\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def place(said: dict[str, Any]) -> str:
    """When, where and with what."""
    versions = ", ".join(f"{name} {said['versions'][name]}" for name in ("torch", "e3nn", "ase"))
    return (
        f"{said['when'][:16].replace('T', ' ')} UTC, commit {said['commit'] or 'unknown'}; {said['processor']}, "
        f"{said['n_cores']} cores of which one was used, load average {said['load_average'][0]} (other work ran beside "
        f"it); Python {said['python']}, {versions}."
    )


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def spaced(count: int) -> str:
    return f"{count:_}".replace("_", " ")


def label(training: dict[str, str]) -> str:
    return ", ".join(filter(None, (training["data"], training["variant"])))


def spent(row: dict[str, Any]) -> list[str]:
    frames = row["frames"]
    seen = f"{frames['seen']} of {frames['train']}" if frames["seen"] < frames["train"] else str(frames["seen"])
    return [
        f"{row['cpu_s']:.0f}",
        str(row["steps"]),
        f"{row['config']['batch_size']}",
        seen,
        str(row["tested"]),
    ]


def judged(row: dict[str, Any]) -> list[str]:
    found = row["errors"]
    return [
        number(found[ENERGY_MAE], 2),
        number(found[ENERGY_RMSE], 2),
        number(found.get(FORCES_MAE)),
        number(found.get(FORCES_RMSE)),
        number(found.get("forces_rms_meV_per_A")),
    ]


BUDGET = ["CPU time / s", "steps", "batch", "frames seen", "tested"]
ERRORS = ["E: MAE / meV/atom", "E: RMSE", "F: MAE / meV/Å", "F: RMSE", "F: RMS of the labels"]


def errors(record: dict[str, Any]) -> list[str]:
    """MLANet on every set, the published rows, the charge, and the other models."""
    rows = sorted(record["rows"], key=lambda row: list(PUBLISHED).index(row["training"]["data"]))
    ours = [row for row in rows if row["training"]["model"] == "mlanet"]
    if not ours:
        return []
    said = [place(ours[0]["circumstances"])]
    said.append(table(["", *BUDGET, *ERRORS], [[label(r["training"]), *spent(r), *judged(r)] for r in ours]))
    said += [f"{label(row['training'])}: {row['note']}" for row in ours if "note" in row]
    said += [absent(ours), molecules(ours), charged(ours), "### The published rows"]
    published = [[name, one.row, one.conditions] for name, one in PUBLISHED.items()]
    said.append(table(["", "MLANet's paper", "its conditions and ours"], published).replace("---:", "---"))
    return [part for part in [*said, *others(rows)] if part]


def absent(rows: Sequence[dict[str, Any]]) -> str:
    """Which sets nothing was trained on."""
    missing = [name for name in PUBLISHED if all(row["training"]["data"] != name for row in rows)]
    return f"**Not measured yet:** {', '.join(missing)}." if missing else ""


def molecules(rows: Sequence[dict[str, Any]]) -> str:
    """QM7 in the unit it is published in."""
    for row in rows:
        if row["training"]["data"] == "qm7_ae":
            mae = row["errors"]["energy_mae_meV"] / KCAL_MOL
            return f"qm7_ae, of the whole molecule: MAE {mae:.1f} kcal/mol; the paper 3.07 ± 0.09."
    return ""


def charged(rows: Sequence[dict[str, Any]]) -> str:
    """With and without the charge as an input."""
    of = {row["training"]["variant"]: row["errors"] for row in rows if row["training"]["data"] == "ag3_charged"}
    if not {"", "without charge"} <= set(of):
        return ""
    known, blind = of[""], of["without charge"]
    ratio = blind[ENERGY_RMSE] / known[ENERGY_RMSE]
    return (
        f"**The charge input matters.** ag3_charged holds every geometry as Ag3+ and as Ag3-. With the total charge as "
        f"an input the energy is off by {known[ENERGY_RMSE]:.0f} meV/atom (RMSE), without it by "
        f"{blind[ENERGY_RMSE]:.0f}, {ratio:.0f} times as much: two labels for one input, so no training helps. "
        f"Forces: {known[FORCES_RMSE]:.0f} against {blind[FORCES_RMSE]:.0f} meV/Å."
    )


def others(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The three models where all were trained with the same budget."""
    raced = {row["training"]["data"] for row in rows if row["training"]["model"] != "mlanet"}
    if not raced:
        return []
    shown = [
        [f"{r['training']['data']}, {r['training']['model']}", spaced(r["parameters"]), *spent(r), *judged(r)]
        for r in rows
        if r["training"]["data"] in raced and not r["training"]["variant"]
    ]
    return [
        "### Beside LOREM and AllScAIP at the same budget",
        "Each model's `tiny` and the settings above, which were chosen for MLANet; AllScAIP's structures are turned at "
        "random in training.",
        table(["", "parameters", *BUDGET, *ERRORS], shown),
    ]


def costs(record: dict[str, Any]) -> list[str]:
    """A training step by degree, and a call beside NequIP."""
    part, per_epoch = record["training"], -(-EPOCH_FRAMES // STEP_FRAMES)
    first = part["times"][0]["cpu_ms"]
    rows = [
        [
            r["contestant"],
            spaced(part["contestants"][r["contestant"]]["parameters"]),
            f"{r['cpu_ms']:.0f} ({r['cpu_ms_min']:.0f})",
            f"{r['cpu_ms'] * per_epoch / 1000:.1f}",
            f"{r['cpu_ms'] / first:.2f}",
            f"{r['peak_MB'] - part['contestants'][r['contestant']]['idle_MB']:.0f}",
        ]
        for r in part["times"]
    ]
    head = ["", "parameters", "a step: ms (least)", f"an epoch of {EPOCH_FRAMES} frames / s"]
    said = place(record["circumstances"])
    step = table([*head, f"× {part['times'][0]['contestant']}", "peak MB above idle"], rows)
    return [
        "## Cost against l_max",
        f"A step of training on {STEP_FRAMES} ethanol molecules (forward, backward, Adam; graphs built once), all "
        "in one run. The paper says of l_max 3 that it takes two to three times the memory and time, presumably of "
        "l_max 2.",
        said,
        step,
        "## A call beside NequIP",
        "Energy and forces through the ASE calculator; random weights, cutoff 5 Å, single precision, eager, one "
        "thread, all in one run.",
        calls(record["inference"]),
    ]


def calls(part: dict[str, Any]) -> str:
    times = {(r["contestant"], r["system"]): r for r in part["times"]}
    systems = list(dict.fromkeys(r["system"] for r in part["times"]))
    basis = next((name for name in part["contestants"] if "NequIP" in name), next(iter(part["contestants"])))
    rows = []
    for name, facts in part["contestants"].items():
        row = [name, spaced(facts["parameters"])]
        for system in systems:
            r = times[name, system]
            ratio = r["cpu_ms"] / times[basis, system]["cpu_ms"]
            row += [f"{r['cpu_ms']:.1f} ({r['cpu_ms_min']:.1f})", f"{ratio:.2f}"]
        rows.append([*row, f"{times[name, systems[-1]]['peak_MB'] - facts['idle_MB']:.0f}"])
    head = ["", "parameters"]
    for system in systems:
        head += [f"{system}: ms (least)", f"× {basis}"]
    versions = [facts["version"] for facts in part["contestants"].values() if "version" in facts]
    beside = f"\n\nPeer: {', '.join(versions)}." if versions else ""
    return table([*head, f"peak MB above idle, {systems[-1]}"], rows) + beside


def ending(row: dict[str, Any]) -> str:
    if "exploded" in row["ended"]:
        return str(row["ended"])
    return "the time was over" if row["stable"] else "a bond departed"


def motion(record: dict[str, Any]) -> list[str]:
    """NVT by the published criterion, and NVE with both kinds of forces."""
    nvt = [
        [
            r["data"],
            f"{r['time_ps']:.2f}",
            "stable" if r["stable"] else "unstable",
            f"{r['worst_departure_A']:.2f}",
            f"{r['mean_temperature_K']:.0f}",
            ending(r),
        ]
        for r in record["nvt"]
    ]
    nve = [
        [
            f"{r['data']}, {r['forces']}",
            f"{r['time_ps']:.2f}",
            f"{r['drift_meV_per_atom_per_ps']:.2f}",
            f"{r['low']:.2f} to {r['high']:.2f}",
            f"{r['std_meV_per_atom']:.3f}",
            f"{r['range_meV_per_atom']:.2f}",
        ]
        for r in record["nve"]
    ]
    return [
        "## Stability at 500 K",
        "Unstable from the first frame, of one in 10 fs, in which a bond departs by more than 0.5 Å from its mean "
        "length in the data (Fu et al., arXiv:2210.07237). The paper: 300 ps, every molecule stable, trained on "
        "9500 frames. Here: one run each, Langevin (100 fs), 0.5 fs, gradient forces, the `tiny` networks from above, "
        "**only as long as the CPU time given allowed**: no evidence for 300 ps. A network that has not "
        "learned its forces (see above) holds nothing together.",
        place(record["circumstances"]),
        table(["", "time / ps", "", "worst bond / Å", "mean temperature / K", "how it ended"], nvt),
        "## Constant energy: gradient and direct forces",
        "NVE from one test frame, velocities of 300 K, 0.5 fs. Net force and torque of direct forces are taken out.",
        table(
            [
                "",
                "time / ps",
                "drift / meV/atom/ps",
                "95 % interval",
                "standard deviation / meV/atom",
                "highest less lowest",
            ],
            nve,
        ),
    ]
