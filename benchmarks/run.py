"""Measure everything and write it down: results/DATE.json, and the tables of README.md from it.

python benchmarks/run.py                    what `make bench` does
python benchmarks/run.py --peers            also beside the peers, whose environments it makes first (minutes, once)
python benchmarks/run.py --only scaling     one part anew; the others stay as they are in the day's file
python benchmarks/run.py --only allscaip    AllScAIP beside the official code
python benchmarks/run.py --only             the tables alone, from the newest file
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import drift
import official
import scaling
import speed
import torch
from peers.environments import PEERS, make
from tables import write_readme

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
OWN = ("speed", "scaling", "models", "drift")  # parts
BESIDE = ("peers", "allscaip")  # parts that need environments of others
PACKAGES = ("torch", "torch-pme", "vesin", "e3nn", "ase", "numpy", "lightning")


def circumstances() -> dict[str, Any]:
    """Where and with what a part was measured."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": processor(),
        "n_cores": os.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {name: installed(name) for name in PACKAGES},
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def commit() -> str:
    """Of the sources; empty outside a clone."""
    asked = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", action="store_true", help="also beside the peers, each in its own environment"
    )
    parser.add_argument(
        "--only", nargs="*", choices=(*OWN, *BESIDE), help="these parts; none is the tables alone"
    )
    options = parser.parse_args()
    wanted = list(OWN) if options.only is None else options.only
    if options.peers and not options.only:
        wanted = [*wanted, *BESIDE]
    for part in wanted:
        for environment in environments_of(part):
            make(environment)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": speed.measure,
        "scaling": scaling.measure,
        "models": scaling.models,
        "drift": drift.measure,
        "peers": speed.measure_peers,
        "allscaip": official.measure,
    }
    RESULTS.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for name in wanted:
        before = circumstances()
        result = parts[name]()
        before["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
        keep(name, {"circumstances": before, **result})
    results = newest()
    if "drift" in results:
        drift.draw(results["drift"]["rows"], RESULTS / "drift.png")
    if "models" in results:
        scaling.draw(results["models"], RESULTS / "scaling.png")
    write_readme(HERE / "README.md", results, RESULTS)


def environments_of(part: str) -> list[str]:
    """What has to be installed before a part is measured."""
    if part == "allscaip":
        return ["fairchem"]
    return list(dict.fromkeys(peer.environment for peer in PEERS)) if part == "peers" else []


def keep(part: str, result: dict[str, Any]) -> None:
    """Put one part into the file of the day."""
    path = RESULTS / f"{datetime.now(UTC).date()}.json"
    day = json.loads(path.read_text()) if path.is_file() else {}
    day[part] = result
    path.write_text(json.dumps(day, indent=1) + "\n")


def newest() -> dict[str, Any]:
    """The newest file of results."""
    return dict(json.loads(max(RESULTS.glob("20*.json")).read_text()))


if __name__ == "__main__":
    main()
