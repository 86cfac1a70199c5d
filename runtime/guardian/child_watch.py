"""Notice that children of the guardian have ended, and reap them."""

from __future__ import annotations

import os
import selectors
import signal
from contextlib import suppress
from typing import Any


class ChildWatch:
    """The descriptor that becomes readable on SIGCHLD, registered with the guardian's selector."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        selector.register(self.fd, selectors.EVENT_READ)

    def drain(self) -> None:
        """Empty the pipe of the wake-up descriptor."""
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass

    def close(self) -> None:
        """Take SIGCHLD back, in a forked executor."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.fd)
        os.close(self._write_fd)


def wait_for_any() -> tuple[int, int, Any] | None:
    """Return pid, status and resource usage of a child that has ended or was stopped by a tracer's signal."""
    try:
        pid, status, rusage = os.wait4(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status, rusage) if pid else None
