"""The standard streams of an executor, and the stacks that faulthandler writes there."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

from runtime.ipc.signals import STACK_DUMP_SIGNALS


def redirect(stdout_fd: int, stderr_fd: int) -> None:
    """Connect the standard streams: /dev/null as input, pipes to the supervisor as output, flushed at every line."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(source, target)
        os.close(source)
    for stream, fd in (("stdout", 1), ("stderr", 2)):
        text = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, stream, text)
        setattr(sys, f"__{stream}__", text)
    arm_faulthandler()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STACK_DUMP_SIGNALS)


def arm_faulthandler() -> None:
    """Enable faulthandler, also again after a task: an agent may have disabled it or taken its signals.

    Each thread writes its own stack alone: without the GIL those of others cannot be read (stacks.py).
    """
    faulthandler.enable(file=2)
    for signum in STACK_DUMP_SIGNALS:
        faulthandler.unregister(signum)
        faulthandler.register(signum, file=2, all_threads=False)
