"""Where log events go, and the streams they are written to. (What they look like: log.py, which is slow to load.)

Nobody waits for a stream: lines are queued, and written by a thread of their own (background.py). A pipe that is
not read, a terminal that was stopped (Ctrl-S) or a disk that hangs loses lines, with a count, instead of the run its
end.
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

from orchestrator.background import PATIENCE, Background
from runtime.model import Severity

__all__ = ["PATIENCE", "BackgroundLog", "Buffer", "BufferedLog", "DescriptorSink", "LogCallback", "Sink", "TimedLog"]

LogCallback = Callable[[str, Severity, Mapping[str, Any]], None]
"""Takes one named event, how much it matters, and its fields. Never raises."""


@runtime_checkable
class Buffer(Protocol):
    """What is written later, by somebody else. A program's own Log need not be one: see `buffer_of`."""

    def is_congested(self) -> bool:
        """Whether a lot is waiting, and goes on: who can wait should."""
        ...

    def flush(self, limit: float | None = None) -> bool:
        """Wait while it is written, `limit` seconds at most, and not for what hangs. Whether all is written."""
        ...


def buffer_of(log: object) -> Buffer | None:
    """What a log can say of how far it has come, if it can."""
    return log if isinstance(log, Buffer) else None


class TimedLog(Buffer, Protocol):
    """A Log that can be told later when something happened (Unix seconds; None: now)."""

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Log one event."""
        ...


class Sink(Buffer, Protocol):
    """Takes whole lines of text, without their end."""

    def write_line(self, line: str) -> None:
        """Show a line soon. Never waits, never raises."""
        ...


class DescriptorSink:
    """Lines to a file descriptor. Nobody waits but who calls `flush`; never raises."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._piece: int | None = None
        self._background = Background(f"quiesce-output-{fd}", self._write_all)
        self._lock = threading.Lock()
        self.dropped = 0

    def write_line(self, line: str, *, urgent: bool = False) -> None:
        """Write a line soon, or drop it when there is no room."""
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            if self.dropped:
                data = self._notice() + data
            if self._background.put(data, len(data), urgent=urgent):
                self.dropped = 0
            else:
                self.dropped += 1

    def write(self, data: bytes) -> None:
        """Write something that need not be told of when it is lost."""
        self._background.put(data, len(data))

    @property
    def is_idle(self) -> bool:
        """Whether all is written."""
        return self._background.is_idle

    def is_congested(self) -> bool:
        """Whether lines come faster than they are read."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """Wait while it is written, `limit` seconds at most, and not for one that hangs. Whether all is written."""
        written = self._background.flush(PATIENCE, limit)
        with self._lock:
            if written and self.dropped:
                notice, self.dropped = self._notice(), 0
                self._background.put(notice, len(notice))
                written = self._background.flush(PATIENCE, limit)
        return written

    def _notice(self) -> bytes:
        return f"... {self.dropped} lines were lost: standard error was not read\n".encode()

    # -- on the thread ------------------------------------------------------------------------------

    def _write_all(self, pieces: list[bytes]) -> None:
        data = memoryview(b"".join(pieces))
        while data:
            try:
                written = os.write(self._fd, data[: self._piece_size()])
            except BlockingIOError:  # somebody who shares the open file has made it so
                self._wait_for_room()
                continue
            except OSError:  # closed, full, or its reader is gone: what nobody can read counts as written
                return
            data = data[written:]
            self._background.note_progress()

    def _piece_size(self) -> int:
        """A reader that is slow shows progress by the piece; a file is written at once."""
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
    """The one sink for it. What it still has is written before the interpreter ends."""
    sink = DescriptorSink(2)
    atexit.register(sink.flush, PATIENCE)
    return sink


os.register_at_fork(after_in_child=standard_error.cache_clear)


class BackgroundLog:
    """A log that may block, on a thread of its own. What finds no room is counted, and told with the next event."""

    def __init__(self, log: LogCallback, name: str = "quiesce-log") -> None:
        self._log = log
        self._background: Background[tuple[str, Severity, Mapping[str, Any]]] = Background(name, self._log_all)
        self._lost = 0

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any], at: float | None = None) -> None:
        """Log one event soon."""
        at = time.time() if at is None else at
        shown = {**fields, "lost_before": self._lost} if self._lost else fields
        if self._background.put((name, severity, {**shown, "at": at}), _weigh(fields)):
            self._lost = 0
        else:
            self._lost += 1

    def is_congested(self) -> bool:
        """Whether events come faster than they are logged."""
        return self._background.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """As DescriptorSink's."""
        return self._background.flush(PATIENCE, limit)

    def _log_all(self, events: list[tuple[str, Severity, Mapping[str, Any]]]) -> None:
        for name, severity, fields in events:
            self._log(name, severity, fields)
            self._background.note_progress()


def _weigh(fields: Mapping[str, Any]) -> int:
    """Roughly, in bytes."""
    return 256 + sum(len(value) for value in fields.values() if isinstance(value, str))


class BufferedLog:
    """A Log that keeps everything back until it is clear whether there will be a run, and how it is to be logged."""

    def __init__(self) -> None:
        self._log: TimedLog | None = None
        self._lock = threading.Lock()
        self._held: list[tuple[str, Severity, Mapping[str, Any], float]] = []
        self._discarding = False

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Log it now, or later with the time of now, or never."""
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
        """As the log behind it."""
        return self._log is not None and self._log.is_congested()

    def flush(self, limit: float | None = None) -> bool:
        """As the log behind it."""
        return self._log is None or self._log.flush(limit)

    def release(self, log: TimedLog) -> None:
        """From now on to `log`, after what was held."""
        with self._lock:
            held, self._held = self._held, []
            for name, severity, fields, at in held:
                log(name, severity, fields, at)
            if not self._discarding:
                self._log = log

    def discard(self) -> None:
        """Nothing, ever."""
        with self._lock:
            self._discarding, self._held, self._log = True, [], None
