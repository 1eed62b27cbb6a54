"""The rows of a training as they come: to its Stream, to metrics.csv, and to one line for whoever waits."""

from __future__ import annotations

import csv
import math
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from workbench.checkpoint import write_whole
from workbench.losses import QUANTITIES
from workbench.stream import Row, Stream

INTERVAL_S = 0.2  # a step's row is written to metrics.csv at most so often; a long training has millions


class Report:
    """Where the rows of steps and of validations go. The names of a validation's begin with `validation_`.

    path         metrics.csv; rows after `step` are dropped first, for a resumed run writes them again
    quantities   what is learned, of "energy", "forces", "stress"
    step         where the run stands, of `n_steps`
    stream       gets all rows, those already in the file first
    progress     show a bar with the errors and the time left
    """

    def __init__(
        self, path: Path, quantities: Iterable[str], step: int, n_steps: int, stream: Stream, progress: bool
    ) -> None:
        errors = [QUANTITIES[q].format(kind) for q in quantities for kind in ("mae", "rmse")]
        names = [
            "loss",
            *errors,
            "learning_rate",
            "gradient_norm",
            "structures_per_s",
            "memory_GB",
            "seconds_left",
        ]
        self._names = ["step", "epoch", "minutes", *names]
        self._names += [f"validation_{name}" for name in ("loss", *errors)] + ["best"]
        self._shown = {name: _caption(name) for name in errors[::2]}
        self._stream = stream
        kept = [row for row in read_rows(path) if row["step"] <= step]
        header: Mapping[str, float | str] = {name: name for name in self._names}
        write_whole(path, "".join(self._line(row) for row in [header, *kept]).encode())
        for row in kept:
            stream.emit(**row)
        self._file = path.open("a", encoding="utf-8")
        self._written_at = -math.inf
        self._bar = tqdm(total=n_steps, initial=step, unit="step", disable=not progress, dynamic_ncols=True)
        self._validated = ""

    def step(self, row: Row) -> None:
        self._stream.emit(**row)
        now = time.monotonic()
        if now - self._written_at >= INTERVAL_S:
            self._written_at = now
            self._write(row)
        if not self._bar.disable:
            self._bar.set_postfix_str(self._errors(row) + self._validated, refresh=False)
            self._bar.update()

    def validation(self, row: Row) -> None:
        self._stream.emit(**row)
        self._write(row)
        self._validated = "; validation " + self._errors(row, "validation_")

    def close(self) -> None:
        self._file.close()
        self._bar.close()

    def _errors(self, row: Row, prefix: str = "") -> str:
        return ", ".join(caption.format(row[prefix + name]) for name, caption in self._shown.items())

    def _write(self, row: Row) -> None:
        self._file.write(self._line(row))
        self._file.flush()

    def _line(self, row: Mapping[str, float | str]) -> str:
        return ",".join(str(row.get(name, "")) for name in self._names) + "\n"


def _caption(name: str) -> str:
    """energy_mae_meV_per_atom -> "energy {:.3g} meV/atom"."""
    quantity, _, unit = name.split("_", 2)
    return f"{quantity} {{:.3g}} {unit.replace('_per_', '/').replace('A', 'Å')}"


def memory_GB(device: torch.device) -> float:
    """The most that was in use so far: on a GPU of its memory, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1e-9 if sys.platform == "darwin" else 1e-6)


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file without their empty columns; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]
