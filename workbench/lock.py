"""One writer at a time: a folder held against all other processes and threads, of this machine and of others that
share its disk. The system lets go of it when the process ends, however it ends. Standard library only."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK = "lock"  # the file that is held. It stays there, for whoever removes it may pull it from under another's feet
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

_held: set[TextIO] = set()
# A child process, such as one that prepares batches, would hold on when this one is killed.
os.register_at_fork(after_in_child=lambda: [file.close() for file in _held])


@contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Hold `folder`, made if it is not there, while something is written into it.

    Raises BlockingIOError when somebody else holds it, naming the process. Warns where the file system has no locks
    (some clusters' scratch disks), and then holds nothing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        _hold(file, folder)
        _held.add(file)
        try:
            file.truncate(0)  # whoever was killed left its name
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield
        finally:
            _held.remove(file)
            file.truncate(0)


def _hold(file: TextIO, folder: Path) -> None:
    """Lock it; raises BlockingIOError when somebody else has done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # the latter on some network file systems
        file.seek(0)
        raise BlockingIOError(
            f"{folder} is being written by {file.read().strip() or 'another process'}; expected it to be free. Stop "
            "what runs there or wait for its end, or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"the file system of {folder} has no locks; see to it that only one process writes there",
            stacklevel=4,
        )
