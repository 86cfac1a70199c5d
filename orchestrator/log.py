"""Named log events, through structlog. Every one that the supervisor writes is listed in docs/log-events.md.

The stream is written so that nobody can hang us by not reading it: a pipe that stays full for `PATIENCE` seconds, or
a terminal that was stopped (Ctrl-S), loses lines, with a count, instead of the run its end.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from runtime.model import Severity

PATIENCE = 1.0
"""Seconds that a full pipe or a stopped terminal is waited for before lines are dropped."""

_LEVELS = {severity: logging.getLevelName(severity.name) for severity in Severity}

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


def make_log(sink: Sink, log_format: str, level: Severity = Severity.INFO, *, colors: bool = False) -> Log:
    """A Log that writes `console` lines for people or `json` ones for machines, from `level` on."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json"),
    ]
    if log_format == "json":
        shared.append(structlog.processors.JSONRenderer(default=str))
    else:
        shared[1] = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        shared.append(structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=22, sort_keys=False))
    logger = structlog.wrap_logger(
        _SinkLogger(sink),
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    ).bind()
    return _adapter(logger)


class HeldLog:
    """A Log that keeps everything back until it is clear whether there will be a run."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._held: list[tuple[str, Severity, Mapping[str, Any]]] | None = []
        self._discarding = False

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Log it now, or later, or never."""
        with self._lock:
            if self._discarding:
                return
            if self._held is not None:
                self._held.append((name, severity, fields))
                return
        self._log(name, severity, fields)

    def release(self) -> None:
        """From now on, and what was held."""
        with self._lock:
            held, self._held = self._held, None
        for name, severity, fields in held or ():
            self._log(name, severity, fields)

    def discard(self) -> None:
        """Nothing, ever."""
        with self._lock:
            self._discarding, self._held = True, None


def default_log() -> Log:
    """For a program that uses the library: its own structlog, if it configured one; else warnings on stderr."""
    if structlog.is_configured():
        return _adapter(structlog.get_logger("quiesce"))
    return make_log(standard_error(), "console", Severity.WARNING)


def _adapter(logger: Any) -> Log:
    def log(name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        logger.log(_LEVELS[severity], name, **fields)

    return log


class _SinkLogger:
    """What structlog calls at the end of its chain."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def msg(self, message: str) -> None:
        """One rendered line."""
        self._sink.write_line(message)

    log = debug = info = warning = error = critical = msg
