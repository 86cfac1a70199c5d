"""The executor's end of the event pipe: records in, numbered frames out, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from runtime.wire import Up, UpFrame, pack


class PipesLost(BaseException):
    """The event pipe is not what it was: the agent closed the descriptor, or it now leads elsewhere.

    Nothing can be reported any more, so the executor ends; the supervisor sees that and charges the task.
    """


class Outbox:
    """Writes frames, blocking while the pipe is full (back-pressure), from any thread.

    A frame must never be cut in two by the exception of the TERM rung, so while one is being written
    `is_writing` is true; the signal handler then leaves `on_written` for this class to call.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._identity = _identity(fd)
        self._seq = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._main = threading.main_thread().ident
        self._deaf = False
        self.is_writing = False
        self.on_written: Callable[[], None] | None = None

    def send(self, *records: Up) -> None:
        """Send one frame. Does nothing in a forked child of the executor, nor when nobody reads any more."""
        if os.getpid() != self._pid:
            return
        main = threading.get_ident() == self._main
        if main:
            self.is_writing = True  # before the lock: an exception must not leave it locked either
        try:
            with self._lock:
                self._seq += 1
                self._write(pack(UpFrame(self._seq, list(records))))
        finally:
            if main:
                self.is_writing = False
        if main and self.on_written is not None:
            hook, self.on_written = self.on_written, None
            hook()

    def _write(self, data: bytes) -> None:
        if self._deaf:
            return
        if _identity(self._fd) != self._identity:
            raise PipesLost
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                view = memoryview(data)
                while written < len(data):
                    written += os.write(self._fd, view[written:])
        except BrokenPipeError:
            self._deaf = True  # the supervisor is gone; the guardian ends us
        except OSError as error:
            raise PipesLost from error

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
