"""What does watching cost? Dynamics of water with and without a DynamicsPanel, in turns, in a Jupyter kernel.

python benchmarks/watching.py          a table on the screen, and results/watching.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel
from run import circumstances

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SYSTEM, MODEL, PRESET = "water:192", "lorem", "tiny"
TURNS, STEPS = 8, 60
WARM_UP = 10  # steps of a turn before the clock is read
INTERVAL = 5  # steps between frames

# Runs in the kernel. The browser's part is played: it says that it has loaded, and after every picture that it has
# drawn. The weights are random, which holds no water together, so nothing is called an explosion.
SETUP = f"""
import json, sys, time
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
torch.manual_seed(0)
from IPython.display import display
from systems import one
from widgets import DynamicsPanel
from workbench import Stream, build, run_md, start
from workbench.analysis import drift_of, rdf
from workbench.dynamics import Bounds

atoms, model = one({SYSTEM!r}, 0), build({MODEL!r}, {PRESET!r})

def clock(stream, turn):
    marks = turn.setdefault("marks", [])
    def read(row):
        if row["step"] in ({WARM_UP}, {STEPS}):
            marks.append((time.process_time(), time.perf_counter()))
    stream.subscribe(read)

def begin(stream, show=None):
    clock(stream, turn)
    return start(run_md, atoms, model, temperature_K=300, timestep_fs=0.1, n_steps={STEPS}, interval={INTERVAL},
                 stream=stream, watch=show, bounds=Bounds(1e9, 1e12, 1e9))

panel = DynamicsPanel(atoms, begin, Stream, lambda stream: drift_of(stream.since(0), len(atoms)),
                      rdf=lambda frame, pair: rdf(frame, pair=pair))
display(panel)
stage, pictures = panel.view.stage, 0
send = stage.widget.send
def drawn(content, buffers=None):
    global pictures
    pictures += 1
    send(content, buffers)
    stage._sent = float("-inf")
stage.widget.send = drawn
stage._receive(None, {{"type": "request_loaded"}}, None)
"""
TURN = """
turn, pictures = {{}}, 0
if {watched}:
    panel.start()
    panel.controls.job.join()
    while not panel.controls._ended:
        time.sleep(0.05)
else:
    begin(Stream()).join()
(cpu, wall), (cpu_end, wall_end) = turn["marks"]
print(json.dumps({{"cpu_s": cpu_end - cpu, "wall_s": wall_end - wall, "pictures": pictures}}))
"""


def measure(turns: int = TURNS) -> dict[str, Any]:
    """CPU and wall time per step [ms] with and without a panel: every turn, and the ratio of the medians."""
    kernel, client = start_new_kernel()
    try:
        _execute(client, SETUP)
        found: dict[str, list[dict[str, float]]] = {"alone": [], "watched": []}
        for _ in range(turns):
            for name in found:
                found[name].append(json.loads(_execute(client, TURN.format(watched=name == "watched"))))
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    n_steps = STEPS - WARM_UP
    per_step = {
        name: [1000 * turn["cpu_s"] / n_steps for turn in all_turns] for name, all_turns in found.items()
    }
    wall = {name: [1000 * turn["wall_s"] / n_steps for turn in all_turns] for name, all_turns in found.items()}
    pairs = [b / a for a, b in zip(per_step["alone"], per_step["watched"], strict=True)]
    seconds = sum(turn["wall_s"] for turn in found["watched"])
    more = statistics.median(per_step["watched"]) - statistics.median(per_step["alone"])
    return {
        "system": SYSTEM,
        "model": f"{MODEL} {PRESET}",
        "cpu_ms_per_step": per_step,
        "wall_ms_per_step": wall,
        "ratio": statistics.median(pairs),
        "share": more / statistics.median(wall["watched"]),
        "ratios": pairs,
        "pictures_per_s": sum(turn["pictures"] for turn in found["watched"]) / seconds,
    }


def _execute(client: Any, code: str) -> str:
    """Run code in the kernel; returns what it printed. Raises RuntimeError with its traceback."""
    printed: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=600, output_hook=hear)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"].get("traceback", ["the kernel stopped"])))
    return "".join(printed)


def table(found: dict[str, Any]) -> str:
    lines = ["|  | CPU ms per step (least) | wall ms per step |", "| --- | ---: | ---: |"]
    for name in ("alone", "watched"):
        cpu, wall = found["cpu_ms_per_step"][name], found["wall_ms_per_step"][name]
        lines.append(
            f"| {name} | {statistics.median(cpu):.1f} ({min(cpu):.1f}) | {statistics.median(wall):.1f} |"
        )
    lines.append(f"| watched / alone, median of {len(found['ratios'])} turns | {found['ratio']:.3f} | |")
    lines.append(f"| CPU time of watching, of the wall time | {100 * found['share']:.1f} % | |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=TURNS, help=f"with and without each [{TURNS}]")
    found = {**measure(parser.parse_args().turns), "circumstances": circumstances()}
    (RESULTS / "watching.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
