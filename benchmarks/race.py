"""Timing that survives a busy machine: contestants are processes that live side by side and make one call each per
round, so that ratios within a run mean something where seconds do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass
class Times:
    """One call of one contestant on one system, over the rounds."""

    contestant: str
    system: str
    call: str
    n_atoms: int
    cpu: list[float] = field(default_factory=list)  # of the process [s]
    wall: list[float] = field(default_factory=list)  # [s]
    peak_MB: float = 0.0  # resident memory, the interpreter and its libraries included

    def record(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            **asdict(self),
            "cpu_ms": 1000 * median(self.cpu),
            "cpu_ms_min": 1000 * min(self.cpu),
            "wall_ms": 1000 * median(self.wall),
            "us_per_atom": 1e6 * median(self.cpu) / self.n_atoms,
        }


class Contestant:
    """A process that answers `peers/serve.py`'s requests.

    name        what tables call it
    command     script in peers/ and its arguments
    python      interpreter of its environment
    variables   of its process, besides ours

    Raises RuntimeError, with the last of what it said, when it ends before it is asked to.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        python: str | Path = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.complaints = TemporaryFile("w+")  # noqa: SIM115, closed with the process
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", str(HERE / "peers" / command[0]), *command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            env={**os.environ, **ONE_THREAD, **(variables or {})},
        )
        self.facts = self._reply()

    def ask(self, **request: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):  # what a library prints while it is imported
            line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.complaints.seek(0)
            said = self.complaints.read()[-2000:]
            self.close()
            raise RuntimeError(f"{self.name} ended with code {code}: {said}")
        return dict(json.loads(line))

    def close(self) -> None:
        """Let the process end, which it does when nobody can ask it any more."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.complaints.close()


def race(
    contestants: Sequence[Contestant], system: str, n_rounds: int, calls: Sequence[str] | None = None
) -> list[Times]:
    """Every contestant makes each of its calls once per round; one or two rounds before are not counted.

    calls   which calls to make, of those that a contestant offers; None is all of them
    """
    entries = []
    for contestant in contestants:
        offer = contestant.ask(system=system)
        entries += [
            (contestant, Times(contestant.name, system, call, offer["n_atoms"]))
            for call in offer["calls"]
            if calls is None or call in calls
        ]
    for n in range(-2 if n_rounds > 3 else -1, n_rounds):
        for contestant, times in entries:
            reply = contestant.ask(call=times.call)
            times.peak_MB = reply["peak_MB"] if n < 0 else max(times.peak_MB, reply["peak_MB"])
            if n >= 0:
                times.cpu.append(reply["cpu"])
                times.wall.append(reply["wall"])
    return [times for _, times in entries]
