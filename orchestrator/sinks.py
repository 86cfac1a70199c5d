"""Where log events go, and the streams they are written to. (What they look like: log.py, which is slow to load.)

A stream is written so that nobody can hang us by not reading it: a pipe that stays full for `PATIENCE` seconds, or
a terminal that was stopped (Ctrl-S), loses lines, with a count, instead of the run its end.
"""

from __future__ import annotations

import functools
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from runtime.model import Severity

PATIENCE = 1.0
"""Seconds that a full pipe or a stopped terminal is waited for before lines are dropped."""

Log = Callable[[str, Severity, Mapping[str, Any]], None]
"""Takes one named event, how much it matters, and its fields. Never raises."""


class Sink(Protocol):
    """Takes whole lines of text, without their end."""

    def write_line(self, line: str) -> None:
        """Show a line."""
        ...


class DescriptorSink:
    """Lines to a file descriptor, waiting for a slow reader only so long. Never raises."""

    def __init__(self, fd: int) -> None:
        self._fd = _unblocked(fd)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._given_up_until = 0.0
        self.dropped = 0

    def write_line(self, line: str) -> None:
        """Write a line, or drop it when the reader does not read, or is gone."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            if self.dropped and self._is_writable(0):
                data = f"... {self.dropped} lines were lost: standard error was not read\n".encode() + data
                self.dropped = 0
            self.dropped += not self._write(data)

    def write(self, data: bytes) -> None:
        """Write something that need not be told of when it is lost: it will be drawn anew."""
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> bool:
        """False if it was not read in time. What nobody can read any more counts as written."""
        while data:
            if not self._is_writable(PATIENCE):
                return False
            try:
                # at most PIPE_BUF bytes: poll(2) promises room for no more
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
            except BlockingIOError:
                return False
            except OSError:  # closed, or its reader is gone
                break
        return True

    def _is_writable(self, patience: float) -> bool:
        now = time.monotonic()
        if patience and now < self._given_up_until:
            patience = 0
        if self._poll.poll(patience * 1000):
            self._given_up_until = 0.0
            return True
        self._given_up_until = now + PATIENCE * 10
        return False


def _unblocked(fd: int) -> int:
    """A terminal's own descriptor that does not block: poll(2) promises room for one byte there, and no more.

    Opened anew, because the file status flags of the one we have are shared with the shell.
    """
    if not os.isatty(fd):
        return fd
    try:
        return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # another user's, after su; or it is gone
        return fd


@functools.cache
def standard_error() -> DescriptorSink:
    """The one sink for it."""
    return DescriptorSink(2)


class HeldLog:
    """A Log that keeps everything back until it is clear whether there will be a run, and how it is to be logged."""

    def __init__(self) -> None:
        self._log: Log | None = None
        self._lock = threading.Lock()
        self._held: list[tuple[str, Severity, Mapping[str, Any]]] = []
        self._discarding = False

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Log it now, or later, or never."""
        log = self._log
        if log is None:
            with self._lock:
                log = self._log
                if log is None:
                    if not self._discarding:
                        self._held.append((name, severity, fields))
                    return
        log(name, severity, fields)

    def release(self, log: Log) -> None:
        """From now on to `log`, after what was held."""
        with self._lock:
            held, self._held = self._held, []
            for name, severity, fields in held:
                log(name, severity, fields)
            if not self._discarding:
                self._log = log

    def discard(self) -> None:
        """Nothing, ever."""
        with self._lock:
            self._discarding, self._held, self._log = True, [], None
