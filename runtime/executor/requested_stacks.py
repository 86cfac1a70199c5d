"""Answer the guardian's request for the executor's Python stacks.

The main thread answers before it raises the TERM rung's exception, the control thread at its next heartbeat: whichever
runs first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import FrameType

from runtime.ipc.flag import InterruptFlag
from runtime.stacks import format_stacks


def write_requested_stacks(flag: InterruptFlag, slot: int, current: FrameType | None) -> None:
    """Write the stacks of all threads to standard error, if they are asked for. `current`: see `format_stacks`.

    They are read before the request is taken back: a thread that finds it gone may unwind its own.
    """
    if not flag.are_stacks_requested(slot):
        return
    with suppress(Exception):  # the agent closed standard error, or the stack has no room for one more call
        text = format_stacks(current)
        if flag.are_stacks_requested(slot):
            flag.answer_stacks(slot)
            _write(f"{text}\n".encode(errors="backslashreplace"))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(2, data) :]
