"""What the Jupyter kernel under the views has to do, and ipykernel 7.4.0 does not."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

SILENT = "7.4.0"


def answer_every_message() -> None:
    """Let the kernel say "idle" after a widget's message that it deals with during another.

    A widget keeps back all that it has to say until the kernel is idle after what it said last. ipykernel 7.4.0 is
    silent after such a message, and clicks are lost for good. Does nothing elsewhere.
    """
    from IPython.core.getipython import get_ipython

    kernel: Any = getattr(get_ipython(), "kernel", None)
    if kernel is None or "dispatch_shell" in vars(kernel) or _version() != SILENT:
        return
    dispatch = kernel.dispatch_shell

    async def dispatch_and_answer(
        message: Any, /, subshell_id: str | None = None, *, concurrent: bool = False
    ) -> None:
        await dispatch(message, subshell_id=subshell_id, concurrent=concurrent)
        if concurrent:  # in a task, and so in a context, of its own, where the message is the parent
            kernel._publish_status("idle", "shell")

    kernel.dispatch_shell = dispatch_and_answer


def _version() -> str:
    try:
        return version("ipykernel")
    except PackageNotFoundError:
        return ""
