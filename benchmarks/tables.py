"""The tables of README.md, from the numbers of a run. Nothing is measured here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_tables import attention_tables
from speed import MD_STEPS, SMALLEST, WHOLE

BASIS = "LOREM small"  # what ratios are taken to


def write_readme(readme: Path, results: dict[str, Any], folder: Path) -> None:
    """Put the tables between the README's markers, `<!-- NAME -->` and `<!-- end -->`.

    results   parts by name, as run.py keeps them; the tables of a part that is absent stay as they are
    folder    where dimers.json and attention.json lie, if they were made
    """
    tables: dict[str, str] = {}
    if "speed" in results:
        tables |= speed_tables(results["speed"])
    if "peers" in results:
        part = results["peers"]
        found = Found(part["times"])
        measured = inference(found, part["contestants"])
        tables["peers"] = circumstances(part["circumstances"]) + "\n\n" + measured
        tables["peers training"] = training(found, "NequIP, preset S")
    if "scaling" in results:
        tables |= scaling_tables(results["scaling"])
    if "models" in results:
        tables["models"] = growth(results["models"])
    if "allscaip" in results:
        tables["allscaip"] = beside_official(results["allscaip"])
    if "drift" in results:
        tables["drift"] = drift_table(results["drift"])
    if (folder / "dimers.json").is_file():
        tables["dimers"] = dimers_table(json.loads((folder / "dimers.json").read_text()))
    if (folder / "attention.json").is_file():
        tables |= attention(json.loads((folder / "attention.json").read_text()))
    text = readme.read_text()
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        if not re.search(pattern, text, flags=re.DOTALL):
            raise ValueError(
                f"{readme} has no place for the table {name!r}; put <!-- {name} --> and <!-- end -->"
            )
        text = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL)
    readme.write_text(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Found:
    """The records of a part by contestant, system and call; of a call in two races, the later one's."""

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self.records = {(r["contestant"], r["system"], r["call"]): r for r in records}

    def record(self, contestant: str, system: str, call: str = "energy and forces") -> dict[str, Any] | None:
        return self.records.get((contestant, system, call))

    def ms(self, contestant: str, system: str, call: str = "energy and forces") -> float:
        """Median CPU time; nan where it was not measured."""
        record = self.record(contestant, system, call)
        return record["cpu_ms"] if record else float("nan")


def speed_tables(part: dict[str, Any]) -> dict[str, str]:
    found = Found(part["times"])
    said = circumstances(part["circumstances"])
    return {
        "speed": said + "\n\n" + inference(found, part["contestants"]),
        "parts": parts(found),
        "dynamics": dynamics(found),
        "training": training(found),
    }


def circumstances(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    before, after = record["load_average"][0], record["load_average_after"][0]
    return (
        f"{record['when'][:16].replace('T', ' ')} UTC, commit {record['commit'] or 'unknown'}; {record['processor']}, "
        f"{record['n_cores']} cores, load average {before} before and {after} after (other work ran beside it); "
        f"Python {record['python']}, {versions}."
    )


def inference(found: Found, contestants: dict[str, Any]) -> str:
    systems = (("aspirin", 21), ("water:192", 192), ("water:648", 648))
    head = ["", "parameters"]
    for name, n_atoms in systems:
        head += [f"{name.partition(':')[0]}, {n_atoms} atoms: ms (least)", "µs/atom", f"× {BASIS}"]
    head.append("peak MB, 648 atoms")
    rows = []
    for contestant, facts in sorted(contestants.items(), key=lambda item: found.ms(item[0], "water:192")):
        row = [contestant, f"{facts['parameters']:,}".replace(",", " ")]
        for name, _ in systems:
            record = found.record(contestant, name)
            if record is None:
                row += ["–"] * 3
                continue
            ratio = record["cpu_ms"] / found.ms(BASIS, name)
            row += [f"{record['cpu_ms']:.1f} ({record['cpu_ms_min']:.1f})", f"{record['us_per_atom']:.0f}"]
            row.append(f"{ratio:.2f}")
        largest = found.record(contestant, "water:648")
        rows.append([*row, f"{largest['peak_MB']:.0f}" if largest else "–"])
    versions = sorted({facts["version"] for facts in contestants.values() if "version" in facts})
    beside = f"\n\nPeers: {', '.join(versions)}." if versions else ""
    return table(head, rows) + beside


def parts(found: Found) -> str:
    head = ["", "energy and forces / ms", "pairs kept / new", "long range", "Python and dispatch"]
    rows = []
    for contestant in ("LOREM small", "LOREM paper"):
        for system, smallest in SMALLEST.items():
            whole = found.ms(contestant, system)
            kept = found.ms(contestant, system, "graph from kept pairs") / whole
            new = found.ms(contestant, system, "graph from new pairs") / whole
            far = 1 - found.ms(f"{contestant}, local", system) / whole
            fixed = found.ms(contestant, smallest) / whole
            shares = [f"{100 * kept:.0f} % / {100 * new:.0f} %", f"{100 * far:.0f} %", f"{100 * fixed:.0f} %"]
            rows.append([f"{contestant}, {system}", f"{whole:.1f}", *shares])
    return table(head, rows)


def dynamics(found: Found) -> str:
    head = [
        "",
        "model alone / ms",
        "ASE step / ms",
        "run_md step / ms",
        "overhead of run_md",
        "steps per CPU second",
    ]
    rows = []
    for (contestant, system, call), record in found.records.items():
        if call != f"run_md, {MD_STEPS} steps":
            continue
        start = found.ms(contestant, system, "run_md, 0 steps")
        step = (record["cpu_ms"] - start) / MD_STEPS
        # The integrator computes the forces of the first positions too.
        ase_step = found.ms(contestant, system, f"ASE VelocityVerlet, {MD_STEPS} steps") / (MD_STEPS + 1)
        model = found.ms(contestant, system, "model alone")
        overhead = f"{step - model:.2f} ms, {100 * (step / model - 1):.0f} %"
        rows.append(
            [
                f"{contestant}, {system}",
                f"{model:.2f}",
                f"{ase_step:.2f}",
                f"{step:.2f}",
                overhead,
                f"{1000 / step:.0f}",
            ]
        )
    return table(head, rows)


def training(found: Found, basis: str = BASIS) -> str:
    systems = dict.fromkeys(system for _, system, call in found.records if call == "training step")
    head = [""]
    for system in systems:
        head += [f"{system}: ms (least)", f"× {basis}"]
    rows = []
    for contestant in dict.fromkeys(name for name, _, call in found.records if call == "training step"):
        row = [contestant]
        for system in systems:
            r = found.record(contestant, system, "training step")
            ratio = found.ms(contestant, system, "training step") / found.ms(basis, system, "training step")
            row += [f"{r['cpu_ms']:.0f} ({r['cpu_ms_min']:.0f})", f"{ratio:.2f}"] if r else ["–"] * 2
        rows.append(row)
    return table(head, rows)


def scaling_tables(part: dict[str, Any]) -> dict[str, str]:
    pairs = part["neighbours"]
    rows = [
        [
            f"{r['n_atoms']:_}".replace("_", " "),
            f"{r['n_pairs']:_}".replace("_", " "),
            f"{r['cpu_ms']:.2f}",
            f"{1000 * r['cpu_ms'] / r['n_atoms']:.2f}",
        ]
        for r in pairs["rows"]
    ]
    exponent = f"\n\nFitted from 1000 atoms on: time ∝ n^{pairs['exponent']:.2f}."
    said = circumstances(part["circumstances"])
    return {
        "neighbours": said + "\n\n" + table(["atoms", "pairs", "ms", "µs/atom"], rows) + exponent,
        "long range": sums(part["long range"]),
        "mesh": accuracy(part["mesh"]),
    }


def beside_official(part: dict[str, Any]) -> str:
    """Time and memory of both codes, and how many times the official one takes what ours takes."""
    found = Found(part["times"])
    head = ["", *(f"{name}: ms (least)" for name in ("aspirin", "water, 192 atoms", "water, 648 atoms"))]
    head += ["idle MB", "peak MB, 192 atoms", "peak MB, 648 atoms"]
    rows = []
    for variant in dict.fromkeys(name.partition(",")[0] for name in part["contestants"]):
        times, memory = [], []
        for name in (f"{variant}, official", f"{variant}, ours"):
            records = [
                found.records[name, system, WHOLE[0]] for system in ("aspirin", "water:192", "water:648")
            ]
            idle, peaks = part["contestants"][name]["idle_MB"], [r["peak_MB"] for r in records[1:]]
            shown = [f"{r['cpu_ms']:.1f} ({r['cpu_ms_min']:.1f})" for r in records]
            rows.append([name, *shown, *(f"{mb:.0f}" for mb in (idle, *peaks))])
            times.append([r["cpu_ms"] for r in records])
            memory.append([peak - idle for peak in peaks])
        ratios = [a / b for both in (times, memory) for a, b in zip(*both, strict=True)]
        ratios = [f"× {ratio:.1f}" for ratio in ratios]
        rows.append([f"{variant}, official / ours", *ratios[:3], "", *(f"{r} above idle" for r in ratios[3:])])
    version = next(facts["version"] for facts in part["contestants"].values() if "version" in facts)
    said = circumstances(part["circumstances"])
    return f"{said}\n\n{table(head, rows)}\n\nOfficial: {version}."


def growth(part: dict[str, Any]) -> str:
    """Time and memory of the models by number of atoms, and fitted exponents."""
    found, names = Found(part["times"]), list(part["contestants"])
    head = ["atoms", *(f"{name}: {what}" for name in names for what in ("ms", "MB above idle"))]
    rows = []
    for system in dict.fromkeys(r["system"] for r in part["times"]):
        row = [system.partition(":")[2]]
        for name in names:
            record = found.records.get((name, system, WHOLE[0]))
            above = record["peak_MB"] - part["contestants"][name]["idle_MB"] if record else 0.0
            row += [f"{record['cpu_ms']:.0f}", f"{above:.0f}"] if record else ["–", "–"]
        rows.append(row)
    powers = [part["exponents"][name][what] for name in names for what in ("time", "memory")]
    rows.append(["∝ n^", *(f"{power:.2f}" for power in powers)])
    return circumstances(part["circumstances"]) + "\n\n" + table(head, rows)


def accuracy(rows: Sequence[dict[str, Any]]) -> str:
    """Relative errors (root mean square) of the sums in reciprocal space."""
    head = [f"{rows[0]['system']}", "potentials", "forces", "ms"]
    return table(
        head,
        [
            [r["way"], f"{r['potential_error']:.0e}", f"{r['force_error']:.0e}", f"{r['cpu_ms']:.0f}"]
            for r in rows
        ],
    )


def sums(records: Sequence[dict[str, Any]]) -> str:
    """Time and peak memory of both sums; the block's own time is the difference to the local twin."""
    by = {(r["system"], r["contestant"]): r for r in records}
    rows = []
    for system in dict.fromkeys(r["system"] for r in records):
        local = by[system, "local"]
        row = [system, f"{local['cpu_ms']:.0f}"]
        for way in ("ewald", "mesh"):
            r = by.get((system, way))
            own = f"{r['cpu_ms'] - local['cpu_ms']:.0f}" if r else "–"
            row += [f"{r['cpu_ms']:.0f}" if r else "–", own, f"{r['peak_MB']:.0f}" if r else "–"]
        rows.append(row)
    head = ["", "local / ms", "Ewald / ms", "of it the sum", "peak MB", "mesh / ms", "of it the sum", "peak MB"]
    return table(head, rows)


def drift_table(part: dict[str, Any]) -> str:
    head = ["norm_softening", "test forces: RMSE / meV/Å", "run / ps", "drift / meV/atom/ns", "95 % interval"]
    head += ["standard deviation of the total energy / meV/atom", "highest less lowest"]
    rows = [
        [
            f"{r['norm_softening']:g}",
            f"{r['forces_rmse_meV_per_A']:.0f}",
            f"{r['time_ps']:g}",
            f"{r['drift_meV_per_atom_per_ns']:.2f}",
            f"{r['low']:.2f} to {r['high']:.2f}",
            f"{r['std_meV_per_atom']:.4f}",
            f"{r['range_meV_per_atom']:.4f}",
        ]
        for r in part["rows"]
    ]
    return circumstances(part["circumstances"]) + "\n\n" + table(head, rows)


def dimers_table(record: dict[str, Any]) -> str:
    head = ["", "frames near / far", "spread of the far energies / meV"]
    head += ["near: RMSE of E, long range / meV", "local", "far: RMSE of E, long range / meV", "local"]
    head += ["far: RMSE of F, long range / meV/Å", "local"]
    rows = []
    for name, r in record["results"].items():
        far, local = r["long range"], r["local"]
        row = [name, f"{r['n_near']} / {r['n_far']}", f"{r['far_spread_meV']:.1f}"]
        row += [f"{one['near']['energy_rmse_meV']:.1f}" for one in (far, local)]
        row += [f"{one['far']['energy_rmse_meV']:.1f}" for one in (far, local)]
        row += [f"{one['far']['forces_rmse_meV_per_A']:.1f}" for one in (far, local)]
        rows.append(row)
    return table(head, rows)


def attention(record: dict[str, Any]) -> dict[str, str]:
    return {name: table(*content) for name, content in attention_tables(record).items()}
