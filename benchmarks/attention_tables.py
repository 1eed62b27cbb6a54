"""Tables and figures of attention.json. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Table = tuple[list[str], list[list[str]]]  # head, rows

ENERGY, FORCES = "energy_rmse_meV_per_atom", "forces_rmse_meV_per_A"
# The columns of the first table, and what stands above them.
COMPARED = {
    "NeAnNoSi": "all-to-all",
    "NeAn": "without",
    "published elements": "published elements",
    "LOREM": "LOREM",
}
COLOURS = {
    "NeAnNoSi": "tab:blue",
    "NeAn": "tab:orange",
    "published elements": "tab:green",
    "LOREM": "tab:purple",
}
TURNING = {
    "learns turned structures": {"variant": "NeAnNoSi", "rotate": True},
    "as they are": {"variant": "NeAnNoSi", "rotate": False},
    "invariant": {"variant": "NeAnNoSi, invariant", "rotate": False},
}


class Found:
    """The trainings that were done."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.rows = record["rows"]

    def judged(self, **training: Any) -> list[list[dict[str, Any]]]:
        """What was found at every mark, for each seed."""
        return [
            row["judged"]
            for row in self.rows
            if all(row["training"][key] == value for key, value in training.items())
        ]

    def values(self, part: str, key: str) -> list[Any]:
        """What occurs in a part, in the order of the trainings."""
        return list(dict.fromkeys(r["training"][key] for r in self.rows if r["training"]["part"] == part))


def attention_tables(record: dict[str, Any]) -> dict[str, Table]:
    """Heads and rows of the tables of README.md, of the parts that were measured."""
    found = Found(record)
    makers = {"reach": reach, "growing": growing, "turning": turning, "stages": stages}
    made = {part for part in makers if found.values(part, "data")}
    return {f"attention {part}": maker(found) for part, maker in makers.items() if part in made}


def mean(values: Sequence[float]) -> float:
    """Over seeds; nan of none."""
    return float(np.mean(values)) if len(values) else float("nan")


def said(values: Sequence[float], digits: int = 0) -> str:
    return f"{mean(values):.{digits}f}" if len(values) else "–"


def ratio(without: Sequence[float], given: Sequence[float]) -> str:
    return f"{mean(without) / mean(given):.2f}" if len(without) and len(given) else "–"


# All-to-all against without


def reach(found: Found) -> Table:
    head = ["", "steps; seeds", "CPU s with / without"]
    for quantity in ("E / meV/atom", "F / meV/Å"):
        with_, without, *others = COMPARED.values()
        head += [f"{quantity}: {with_}", without, "ratio", *others]
    rows = []
    for data in found.values("reach", "data"):
        ends = {
            variant: [judged[-1] for judged in found.judged(part="reach", data=data, variant=variant)]
            for variant in COMPARED
        }
        everything = [end for some in ends.values() for end in some]
        seconds = [said([end["cpu_s"] for end in ends[variant]]) for variant in ("NeAnNoSi", "NeAn")]
        for test in everything[0]["tests"]:
            row = [f"{data}, {test}", f"{everything[0]['steps']}; {len(ends['NeAnNoSi'])}", " / ".join(seconds)]
            for key in (ENERGY, FORCES):
                errors = {v: [end["tests"][test][key] for end in some] for v, some in ends.items()}
                cells = [said(errors[variant], 1 if key == ENERGY else 0) for variant in COMPARED]
                row += [*cells[:2], ratio(errors["NeAn"], errors["NeAnNoSi"]), *cells[2:]]
            rows.append(row)
    return head, rows


# Growing data


def growing(found: Found) -> Table:
    sizes = sorted(found.values("growing", "n_train"))
    head = ["", *(f"{size} frames" for size in sizes), "slope of F"]
    rows = []
    for variant in found.values("growing", "variant"):
        cells, means = [], []
        for size in sizes:
            ends = [j[-1]["tests"]["test"] for j in found.judged(part="growing", variant=variant, n_train=size)]
            cells.append(f"{said([e[FORCES] for e in ends])}; {said([e[ENERGY] for e in ends], 1)}")
            means.append(mean([e[FORCES] for e in ends]))
        rows.append([variant, *cells, f"{slope(sizes, means):.2f}"])
    return head, rows


def slope(sizes: Sequence[int], errors: Sequence[float]) -> float:
    """Exponent of a power law fitted to the errors that are there."""
    there = np.isfinite(errors)
    if there.sum() < 2:
        return float("nan")
    return float(np.polyfit(np.log(np.array(sizes)[there]), np.log(np.array(errors)[there]), 1)[0])


# Turned structures


def turning(found: Found) -> Table:
    head = [
        "",
        "steps",
        "E, spread by turning / meV/atom",
        "F / meV/Å",
        "of the forces",
        "test F / meV/Å",
        "turned",
    ]
    head += ["test E / meV/atom", "turned"]
    rows = []
    for name, training in TURNING.items():
        for seeds in zip(*found.judged(part="turning", **training), strict=True):
            spread = [one["rotation"] for one in seeds]
            row = [name, str(seeds[0]["steps"]), f"{mean([s['energy_meV_per_atom'] for s in spread]):.3g}"]
            row += [f"{mean([s['forces_meV_per_A'] for s in spread]):.3g}"]
            row += [f"{100 * mean([s['relative_forces'] for s in spread]):.3g} %"]
            for key, digits in ((FORCES, 0), (ENERGY, 1)):
                for test in ("test", "test, turned"):
                    values = [one["tests"][test][key] for one in seeds if one["steps"]]
                    row.append(said(values, digits))
            rows.append(row)
    return head, rows


# Two stages


def stages(found: Found) -> Table:
    head = ["", "steps", "CPU s", "ms per step of this stage", "test E / meV/atom", "test F / meV/Å"]
    rows = []
    for name, seeds in both_ways(found):
        previous = (0, 0.0)
        for marks in zip(*seeds, strict=True):
            steps, seconds = marks[0]["steps"], mean([one["cpu_s"] for one in marks])
            if steps:
                each = 1000 * (seconds - previous[1]) / (steps - previous[0])
                stage = "" if name == "from scratch" else f", {marks[0]['stage']}"
                errors = [
                    said([one["tests"]["test"][key] for one in marks], d)
                    for key, d in ((ENERGY, 1), (FORCES, 0))
                ]
                rows.append([name + stage, str(steps), f"{seconds:.0f}", f"{each:.0f}", *errors])
            previous = (steps, seconds)
    return head, rows


def both_ways(found: Found) -> Iterator[tuple[str, list[list[dict[str, Any]]]]]:
    yield "from scratch", found.judged(part="turning", **TURNING["learns turned structures"])
    yield "two stages", found.judged(part="stages")


# Figures


def draw(record: dict[str, Any], folder: Path) -> None:
    """attention_reach.png, the energies along each scan; attention_training.png, errors along the other three parts."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = Found(record)
    scanned = [d for d in found.values("reach", "data") if "scan" in found.judged(part="reach", data=d)[0][-1]]
    if scanned:
        figure, axes = plt.subplots(1, len(scanned), figsize=(4.2 * len(scanned), 3.3), squeeze=False)
        for axis, data in zip(axes.flat, scanned, strict=True):
            draw_scan(axis, found, data)
        figure.tight_layout()
        figure.savefig(folder / "attention_reach.png", dpi=100)
        plt.close(figure)
    panels = {"growing": draw_growing, "turning": draw_turning, "stages": draw_stages}
    panels = {part: panel for part, panel in panels.items() if found.values(part, "data")}
    if panels:
        figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.3), squeeze=False)
        for axis, panel in zip(axes.flat, panels.values(), strict=True):
            panel(axis, found)
            axis.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(folder / "attention_training.png", dpi=100)
        plt.close(figure)


def draw_scan(axis: Any, found: Found, data: str) -> None:
    """Energies less the reference's last one, so that the error of each curve's height is seen."""
    zero = None
    for variant, colour in COLOURS.items():
        for judged in found.judged(part="reach", data=data, variant=variant)[:1]:
            scan = judged[-1]["scan"]
            x, reference = np.array(scan["x"]), np.array(scan["reference"])
            zero = reference[-1]
            axis.plot(
                x, np.array(scan["predicted"]) - zero, ".-", ms=4, lw=0.8, color=colour, label=COMPARED[variant]
            )
    axis.plot(x, reference - zero, "o", ms=3.5, mfc="none", mec="black", mew=0.7, label="reference", zorder=3)
    what = "torsion / degrees" if data == "cumulene_gnl" else "distance / Å"
    axis.set(title=data, xlabel=what, ylabel="energy / eV")
    axis.legend(fontsize=7)


def draw_growing(axis: Any, found: Found) -> None:
    for variant in found.values("growing", "variant"):
        points = sorted(
            (
                size,
                mean(
                    [
                        j[-1]["tests"]["test"][FORCES]
                        for j in found.judged(part="growing", variant=variant, n_train=size)
                    ]
                ),
            )
            for size in found.values("growing", "n_train")
        )
        axis.loglog(*zip(*points, strict=True), "o-", ms=4, label=variant)
    sizes = sorted(found.values("growing", "n_train"))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set(title="growing data", xlabel="frames to train on", ylabel="test F, RMSE / meV/Å")


def draw_turning(axis: Any, found: Found) -> None:
    for name, training in TURNING.items():
        for judged in found.judged(part="turning", **training)[:1]:
            steps = [one["steps"] for one in judged]
            axis.semilogy(
                steps, [one["rotation"]["forces_meV_per_A"] for one in judged], "o-", ms=4, label=name
            )
    axis.set(title="turned structures", xlabel="steps", ylabel="spread of F by turning / meV/Å")


def draw_stages(axis: Any, found: Found) -> None:
    for name, seeds in both_ways(found):
        for judged in seeds[:1]:
            there = [one for one in judged if one["steps"]]
            axis.plot(
                [one["cpu_s"] for one in there],
                [one["tests"]["test"][FORCES] for one in there],
                "o-",
                ms=4,
                label=name,
            )
    axis.set(title="two stages", xlabel="CPU time of training / s", ylabel="test F, RMSE / meV/Å")
