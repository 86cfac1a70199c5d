"""Queue log events and lines, and write them to their streams.

setup.py, which is slow to import, renders them.
No caller waits for a stream: lines are queued, and a thread writes them (background.py). If a pipe is not read, a
terminal is stopped (Ctrl-S) or a disk does not answer, lines are dropped and counted, and the run ends in time.
"""

from __future__ import annotations

import atexit
import functools
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from orchestrator.background import Background
from runtime.statuses import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

__all__ = ["BackgroundLog", "Buffer", "BufferedLog", "DescriptorSink", "LogCallback", "Sink", "TimedLog"]

LogCallback = Callable[[str, Severity, Mapping[str, Any]], None]
"""Log one event: its name, its severity and its fields. Must not raise."""


@runtime_checkable
class Buffer(Protocol):
    """A log or sink that writes later, on another thread. A program's own log need not be one: see `buffer_of`."""

    def is_congested(self) -> bool:
        """Return whether much is waiting to be written: a caller that can wait should wait."""
        ...

    def flush(self, limit: float | None = None) -> bool:
        """Wait until all is written: `limit` seconds at most, and only while writing advances. Return if all is."""
        ...


def buffer_of(log: object) -> Buffer | None:
    """Return the log as a Buffer, or None if it is not one."""
    return log if isinstance(log, Buffer) else None


class TimedLog(Buffer, Protocol):
    """A log that takes the time of an event (Unix seconds; None: now), so that events can be logged later."""

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Log one event."""
        ...


class Sink(Buffer, Protocol):
    """A destination for lines of text, given without their line end."""

    def write_line(self, line: str) -> None:
        """Queue a line to be written. Never waits, never raises."""
        ...


class DescriptorSink:
    """Write lines to a file descriptor, on a thread. Only `flush` waits; no method raises."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._piece: int | None = None
        self._background = Background(f"quiesce-output-{fd}", self._write_all)
        self._lock = threading.Lock()
        self.dropped = 0

    def write_line(self, line: str, *, urgent: bool = False) -> None:
        """Queue a line, or drop and count it when the queue is full."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            if self.dropped:
                data = self._notice() + data
            if self._background.put(data, len(data), urgent=urgent):
                self.dropped = 0
            else:
                self.dropped += 1

    def write(self, data: bytes) -> None:
        """Queue bytes whose loss need not be counted."""
        self._background.put(data, len(data))

    @property
    def is_idle(self) -> bool:
        """Whether everything is written."""
        return self._background.is_idle

    def is_congested(self) -> bool:
        """Return whether lines come faster than they are read."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Wait until all is written: `limit` seconds at most, and only while writing advances. Return if all is."""
        written = self._background.flush(OUTPUT_TIMEOUT, limit)
        with self._lock:
            if written and self.dropped:
                notice, self.dropped = self._notice(), 0
                self._background.put(notice, len(notice))
                written = self._background.flush(OUTPUT_TIMEOUT, limit)
        return written

    def _notice(self) -> bytes:
        return f"... {self.dropped} lines were lost: standard error was not read\n".encode()

    # -- on the thread ------------------------------------------------------------------------------

    def _write_all(self, pieces: list[bytes]) -> None:
        data = memoryview(b"".join(pieces))
        while data:
            try:
                written = os.write(self._fd, data[: self._piece_size()])
            except BlockingIOError:  # another process that shares the open file made it non-blocking
                self._wait_for_room()
                continue
            except OSError:  # closed, full, or its reader is gone: there is nothing left to wait for
                return
            data = data[written:]
            self._background.note_progress()

    def _piece_size(self) -> int:
        """Return how many bytes to write at once: few to a pipe, so that a slow reader shows progress."""
        if self._piece is None:
            try:
                is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)
            except OSError:
                is_file = False
            self._piece = 1 << 20 if is_file else select.PIPE_BUF
        return self._piece

    def _wait_for_room(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()


@functools.cache
def standard_error() -> DescriptorSink:
    """Return the one sink for standard error. It is flushed when the interpreter exits."""
    sink = DescriptorSink(2)
    atexit.register(sink.flush, OUTPUT_TIMEOUT)
    return sink


os.register_at_fork(after_in_child=standard_error.cache_clear)


class BackgroundLog:
    """Call a log that may block on a thread of its own. Count dropped events in the next event's `lost_before`."""

    def __init__(self, log: LogCallback, name: str = "quiesce-log") -> None:
        self._log = log
        self._background: Background[tuple[str, Severity, Mapping[str, Any]]] = Background(name, self._log_all)
        self._lost = 0

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Queue one event, or drop and count it when the queue is full."""
        at = time.time() if at is None else at
        shown = {**fields, "lost_before": self._lost} if self._lost else fields
        if self._background.put((name, severity, {**shown, "at": at}), _weigh(fields)):
            self._lost = 0
        else:
            self._lost += 1

    def is_congested(self) -> bool:
        """Return whether events come faster than they are logged."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Wait as DescriptorSink.flush does."""
        return self._background.flush(OUTPUT_TIMEOUT, limit)

    def _log_all(self, events: list[tuple[str, Severity, Mapping[str, Any]]]) -> None:
        for name, severity, fields in events:
            self._log(name, severity, fields)
            self._background.note_progress()


def _weigh(fields: Mapping[str, Any]) -> int:
    """Return the approximate size of an event in bytes."""
    return 256 + sum(len(value) for value in fields.values() if isinstance(value, str))


class BufferedLog:
    """Log that holds events back until the run has begun and its real log is ready."""

    def __init__(self) -> None:
        self._log: TimedLog | None = None
        self._lock = threading.Lock()
        self._held: list[tuple[str, Severity, Mapping[str, Any], float]] = []
        self._discarding = False

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Pass an event to the real log, hold it with the current time, or drop it after `discard`."""
        log = self._log
        if log is None:
            with self._lock:
                log = self._log
                if log is None:
                    if not self._discarding:
                        self._held.append((name, severity, fields, time.time()))
                    return
        log(name, severity, fields)

    def is_congested(self) -> bool:
        """Return whether the real log is congested."""
        return self._log is not None and self._log.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Flush the real log."""
        return self._log is None or self._log.flush(limit)

    def release(self, log: TimedLog) -> None:
        """Pass the held events, and all later ones, to `log`."""
        with self._lock:
            held, self._held = self._held, []
            for name, severity, fields, at in held:
                log(name, severity, fields, at)
            if not self._discarding:
                self._log = log

    def discard(self) -> None:
        """Drop the held events and all later ones."""
        with self._lock:
            self._discarding, self._held, self._log = True, [], None
