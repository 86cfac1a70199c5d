"""The standard streams of an executor, and the stacks that faulthandler writes there."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from runtime.executor.log_records import capture_records, capture_structlog
from runtime.executor.task_output import TaskStream
from runtime.ipc.signals import STACK_DUMP_SIGNALS


class StandardStreams:
    """What is below sys.stdout and sys.stderr. `current_task` returns the number of the calling code's task, or 0."""

    def __init__(self, key: int) -> None:
        self.current_task: Callable[[], int] = lambda: 0
        self.streams = [
            TaskStream(fd, key, lambda: self.current_task())  # noqa: PLW0108 - it is set later
            for fd in (1, 2)
        ]

    def note_imports(self) -> None:
        """Capture the records of libraries that the agent has imported meanwhile."""
        capture_structlog()

    def end_task(self, task: int, *, is_alone: bool) -> None:
        """Finish the output of a task that has ended. `is_alone`: the executor executes no other one beside it."""
        self.note_imports()
        for stream in self.streams:
            with suppress(OSError):  # the agent has closed the descriptor
                stream.end_task(task, is_alone=is_alone)


def redirect(stdout_fd: int, stderr_fd: int, key: int) -> StandardStreams:
    """Connect the standard streams: /dev/null as input, pipes to the supervisor as output, flushed at every line.

    `key`: that of the executor's pipes.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(source, target)
        os.close(source)
    standard = StandardStreams(key)
    for name, stream in zip(("stdout", "stderr"), standard.streams, strict=True):
        text = io.TextIOWrapper(
            stream, encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
        )
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    capture_records()
    arm_faulthandler()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STACK_DUMP_SIGNALS)
    return standard


def arm_faulthandler() -> None:
    """Enable faulthandler, also again after a task: an agent may have disabled it or taken its signals.

    Each thread writes its own stack alone: without the GIL those of others cannot be read (stacks.py).
    """
    faulthandler.enable(file=2)
    for signum in STACK_DUMP_SIGNALS:
        faulthandler.unregister(signum)
        faulthandler.register(signum, file=2, all_threads=False)
