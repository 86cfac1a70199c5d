"""The executor's end of the event pipe: records in, numbered frames out, whole or not at all."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress

from runtime import native
from runtime.ipc.executor_protocol import ExecutorRecord, TaskDone, UpFrame
from runtime.ipc.frames import pack

HOLD_SECONDS = 0.001
"""A finished task's record waits at most this long for the next one's, as long as tasks keep ending…"""

FLUSH_SECONDS = 0.005
"""…and when the next task turns out to be a long one, about this long for the control thread to send it."""

HOLD_RECORDS = 128
"""At most so many wait."""


class EventPipeLost(BaseException):
    """The event pipe is lost: the agent closed its descriptor, or replaced it.

    Nothing can be reported any more, so the executor ends; the supervisor sees that and charges the task.
    """


class Outbox:
    """Writes frames, blocking while the pipe is full (back-pressure), from any thread.

    A frame must never be cut in two by the exception of the TERM rung, so while one is being written
    `is_writing` is true; the signal handler then leaves `on_written` for this class to call.
    """

    def __init__(self, fd: int, key: int = 0) -> None:
        self._fd = fd
        self._key = key
        self._identity = _identity(fd)
        self._seq = 0
        self._lock = native.allocate_lock()
        self._pid = os.getpid()
        self._main = native.MAIN_THREAD
        self._reader_gone = False
        self._held: list[TaskDone] = []
        self._sent_at = 0.0
        self._flusher_awake = False
        self._bell_read, self._bell_write = os.pipe()
        os.set_blocking(self._bell_read, False)
        self.is_writing = False
        self.on_written: Callable[[], None] | None = None

    @property
    def is_mine(self) -> bool:
        """Return whether this process made it; False in a fork of the executor."""
        return os.getpid() == self._pid

    def send(self, *records: ExecutorRecord) -> None:
        """Send one frame. Does nothing in a forked child of the executor, nor when its reader is gone."""
        if not self.is_mine:
            return
        main = native.get_ident() == self._main
        if main:
            self.is_writing = True  # before the lock: an exception must not leave it locked either
        try:
            with self._lock:
                count = len(self._held)
                if count or records:
                    frame = pack(
                        UpFrame(self._seq + 1, [*self._held[:count], *records]), self._key
                    )  # raises: all is as before
                    del self._held[:count]
                    self._seq += 1
                    self._write(frame)
                self._sent_at = time.monotonic()
        finally:
            if main:
                self.is_writing = False
        if main and self.on_written is not None:
            hook, self.on_written = self.on_written, None
            hook()

    def send_buffered(self, record: TaskDone, *, more: bool) -> None:
        """Send the record of a finished task, together with the next ones if `more` tasks are waiting.

        A write wakes the supervisor, which costs more than a tiny task; but no finished task may wait for a long
        one behind it. So the first one that is held wakes the control thread, which calls `flush_stale`.
        """
        self._held.append(record)
        if not more or len(self._held) >= HOLD_RECORDS or time.monotonic() - self._sent_at > HOLD_SECONDS:
            self.send()
            return
        if _identity(self._fd) != self._identity:  # now, so that not the next task pays for what this one did
            raise EventPipeLost
        if not self._flusher_awake:
            self._flusher_awake = True
            try:
                os.write(self._bell_write, b"!")
            except OSError as error:
                raise EventPipeLost from error

    def has_room(self) -> bool:
        """Return whether a small record can be sent now without waiting for the pipe or for another thread."""
        if self._lock.locked():
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(0))

    def ring(self) -> None:
        """Wake the control thread."""
        with suppress(OSError):
            os.write(self._bell_write, b"!")

    def fileno(self) -> int:
        """Return a descriptor that is readable when the control thread should begin to call `flush_stale`."""
        return self._bell_read

    def flush_stale(self) -> float | None:
        """Send records held too long; return the seconds until the next call, or None. For the control thread."""
        with suppress(OSError):
            os.read(self._bell_read, 16)
        idle = time.monotonic() - self._sent_at
        if self._held and idle > FLUSH_SECONDS:
            self.send()
        if idle > 20 * FLUSH_SECONDS and not self._held:
            self._flusher_awake = False
            if not self._held:  # looked at again: one may have come in between, and rung no bell
                return None
            self._flusher_awake = True
        return FLUSH_SECONDS

    def _write(self, data: bytes) -> None:
        if self._reader_gone:
            return
        if _identity(self._fd) != self._identity:
            raise EventPipeLost
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                view = memoryview(data)
                while written < len(data):
                    written += os.write(self._fd, view[written:])
        except BrokenPipeError:
            self._reader_gone = True  # the supervisor is gone; the guardian ends us
        except OSError as error:
            raise EventPipeLost from error

    def close(self) -> None:
        """Close the pipe: the reader sees its end."""
        with suppress(OSError):
            os.close(self._fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
