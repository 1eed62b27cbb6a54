"""A folder has one writer, whoever else asks; and it is free again when the writer has ended, however it ended."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.lock import sole_writer

ROOT = Path(__file__).resolve().parent.parent
HOLDS = """
import sys
from workbench.lock import sole_writer
with sole_writer(sys.argv[1]):
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds tmp_path / "run" until its input ends."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "run")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        yield process
        process.kill()


def test_another_process_is_refused_and_told_who_writes(holder: Any, tmp_path: Path) -> None:
    words = rf"run is being written by process {holder.pid} on {socket.gethostname()}; .* choose another folder"
    with pytest.raises(BlockingIOError, match=words), sole_writer(tmp_path / "run"):
        pass
    holder.stdin.close()
    assert holder.wait(60) == 0
    with sole_writer(tmp_path / "run"):
        pass


def test_a_killed_writer_leaves_the_folder_free(holder: Any, tmp_path: Path) -> None:
    holder.kill()
    assert holder.wait(60) == -signal.SIGKILL
    with sole_writer(tmp_path / "run"):
        assert (tmp_path / "run" / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert (tmp_path / "run" / "lock").read_text() == ""


def test_it_holds_within_a_process_and_ends_with_an_error(tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(BlockingIOError, match="written by"), sole_writer(tmp_path):
        pass
    with pytest.raises(RuntimeError), sole_writer(tmp_path):
        raise RuntimeError
    with sole_writer(tmp_path), sole_writer(tmp_path / "another"):
        pass


FORKS = """
import os, sys
from workbench.lock import sole_writer
with sole_writer(sys.argv[1]):
    if not os.fork():  # as a process that prepares batches, which outlives a killed training for some seconds
        print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
"""


def test_a_child_process_does_not_hold_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        with pytest.raises(BlockingIOError, match=str(process.pid)), sole_writer(tmp_path):
            pass
        process.kill()
        process.wait(60)
        os.kill(child, 0)  # it lives
        with sole_writer(tmp_path):
            pass
        assert process.stdin is not None
        process.stdin.close()


def test_a_disk_without_locks_is_used_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(code: int) -> Any:
        def flock(*_: Any) -> None:
            raise OSError(code, os.strerror(code))

        return flock

    monkeypatch.setattr(fcntl, "flock", fails(errno.ENOLCK))
    with pytest.warns(UserWarning, match="has no locks; see to it"), sole_writer(tmp_path):
        pass
    monkeypatch.setattr(fcntl, "flock", fails(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), sole_writer(tmp_path):
        pass
