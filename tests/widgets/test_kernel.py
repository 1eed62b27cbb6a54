"""What panels ask of the Jupyter kernel under them."""

from __future__ import annotations

import time

from jupyter_client.manager import start_new_kernel

REGISTER = """
import asyncio
from widgets.kernel import answer_every_message
answer_every_message()
answer_every_message()
get_ipython().kernel.comm_manager.register_target("ear", lambda comm, opened: None)
"""


def test_a_message_that_comes_while_a_cell_runs_is_answered_with_idle() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive(REGISTER, timeout=60, output_hook=lambda message: None)
        cell = client.execute("await asyncio.sleep(0.5)")
        sent = client.session.msg("comm_open", {"comm_id": "one", "target_name": "ear", "data": {}})
        client.shell_channel.send(sent)
        wanted, end = {cell, sent["header"]["msg_id"]}, time.monotonic() + 60
        while wanted:
            message = client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            if message["content"].get("execution_state") == "idle":
                wanted.discard(message["parent_header"]["msg_id"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


IMPORT = """
import builtins
from widgets.ngl_stage import _import_nglview
plain, publishers = builtins.__import__, []
def spy(name, *given, **named):
    publishers.append(get_ipython().display_pub)
    return plain(name, *given, **named)
builtins.__import__ = spy
_import_nglview()
builtins.__import__ = plain
print(len(publishers) > 10, len({id(one) for one in publishers}))
"""


def test_nglview_is_imported_out_of_sight_with_the_kernels_publisher_in_its_place() -> None:
    """Without it, messages that come meanwhile are dropped without an answer: clicks are lost, cells never end."""
    manager, client = start_new_kernel(kernel_name="python3")
    heard = []
    try:
        client.execute_interactive(IMPORT, timeout=120, output_hook=heard.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [one["content"]["text"] for one in heard if one["msg_type"] == "stream"] == ["True 1\n"]
    assert not [one for one in heard if one["msg_type"] in ("display_data", "error")]
