"""How long until something happens? Fresh processes, in turns: imports, the command line, the first prediction, the
first picture of the tour; each beside `import torch`, which nothing that predicts can do without.

python benchmarks/startup.py          a table on the screen, and results/startup.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

import nbformat
from jupyter_client.manager import start_new_kernel
from race import HERE, ONE_THREAD
from run import RESULTS, circumstances

ROOT = HERE.parent
TOUR = ROOT / "notebooks" / "00_tour.ipynb"
# Prints what the first prediction takes by itself, the import of its names left out.
PREDICTION = """
import time
from ase.build import molecule
from workbench import build, predict
wall, cpu = time.perf_counter(), time.process_time()
predict(build("{model}", "tiny"), molecule("CH3CH2OH"))
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
CASES = {
    "python": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import workbench": ["-c", "import workbench"],
    "workbench --help": ["-m", "workbench", "--help"],
    "workbench train --help": ["-m", "workbench", "train", "--help"],
    "from workbench import build, predict": ["-c", "from workbench import build, predict"],
    "from workbench import fit": ["-c", "from workbench import fit"],
    "first prediction, LOREM": ["-c", PREDICTION.format(model="lorem")],
    "first prediction, AllScAIP": ["-c", PREDICTION.format(model="allscaip")],
    "first prediction, MLANet": ["-c", PREDICTION.format(model="mlanet")],
}
PICTURE = "first picture of the tour"
ENVIRONMENT = {**os.environ, **ONE_THREAD}


def once(arguments: list[str]) -> dict[str, float]:
    """CPU and wall time of a process [s]; `inner_` is what it measured itself."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT)
    assert process.stdout is not None
    said = process.stdout.read().split()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with code {process.returncode}")
    times = {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall}
    if "perf_counter" in arguments[-1]:
        times |= {"inner_wall": float(said[-2]), "inner_cpu": float(said[-1])}
    return times


def first_picture() -> dict[str, float]:
    """The same for a kernel that runs the tour until a cell shows something; the start of the kernel is counted."""
    cells = [cell.source for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "code"]
    shown: list[float] = []
    printed: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] in ("display_data", "execute_result"):
            shown.append(time.perf_counter())
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    began = time.perf_counter()
    kernel, client = start_new_kernel(cwd=str(TOUR.parent), env=ENVIRONMENT)
    try:
        for cell in [*cells, ""]:
            if shown:
                break
            reply = client.execute_interactive(cell, timeout=300, output_hook=hear)["content"]
            if reply["status"] != "ok":
                raise RuntimeError("\n".join(reply["traceback"]))
        client.execute_interactive("import time; print(time.process_time())", output_hook=hear)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    return {"cpu": float(printed[-1]), "wall": shown[0] - began}


def measure(
    rounds: int, cases: dict[str, list[str]], picture: bool = True
) -> dict[str, list[dict[str, float]]]:
    """The times of every case in every round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    for n in range(-1, rounds):
        for name, arguments in cases.items():
            times = once(arguments)
            if n >= 0:  # the first fills the file cache
                found[name].append(times)
        if picture and n >= 0:
            found.setdefault(PICTURE, []).append(first_picture())
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    lines = ["|  | CPU s (least) | × import torch | wall s (least) | after its imports: CPU s, wall s |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    torch_s = [times["cpu"] for times in found["import torch"]]
    for name, turns in found.items():
        cpu, wall = ([times[kind] for times in turns] for kind in ("cpu", "wall"))
        ratio = median(mine / its for mine, its in zip(cpu, torch_s, strict=True))
        inner = ""
        if "inner_cpu" in turns[0]:
            inner = ", ".join(
                f"{median(times[kind] for times in turns):.2f}" for kind in ("inner_cpu", "inner_wall")
            )
        lines.append(
            f"| {name} | {median(cpu):.2f} ({min(cpu):.2f}) | {ratio:.2f} | {median(wall):.2f} ({min(wall):.2f}) "
            f"| {inner} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="[7]")
    parser.add_argument(
        "--only", nargs="*", choices=CASES, metavar="CASE", help="these beside torch, and no file"
    )
    options = parser.parse_args()
    if options.only is not None:
        print(
            table(
                measure(options.rounds, {n: CASES[n] for n in ["import torch", *options.only]}, picture=False)
            )
        )
    else:
        before = circumstances()
        found = measure(options.rounds, CASES)
        before["load_average_after"] = [round(load, 1) for load in os.getloadavg()]
        record = {"circumstances": before, "cases": found}
        (RESULTS / "startup.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(table(found))
