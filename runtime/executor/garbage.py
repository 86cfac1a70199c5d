"""End an executor whose pipes cannot be trusted any more."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NoReturn

from runtime.executor.outbox import EventPipeLost, Outbox
from runtime.ipc.executor_protocol import BROKEN


def end_executor(outbox: Outbox, pipe: str, why: str) -> NoReturn:
    """Report the tasks that have ended, write one line to standard error, and end this process. From any thread.

    What stands behind garbage in a pipe is lost, and any order in front of it may be lost in part: nothing that the
    executor would still do is known to be right. The supervisor charges the running task and requeues the others.

    Rejected: an exception in the main thread. It may be in C code, or in an event loop that waits for its tasks.
    """
    with suppress(EventPipeLost):
        outbox.send()
    line = f"quiesce: the executor ends: its {pipe} pipe holds what the supervisor has not written: {why}\n"
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(BROKEN)
