"""The standard output and error of an executor: what a task writes goes up with the task's number.

Python's own output is known to be a task's by its context variable, also in threads that have the context and in forks
of the agent. What children and C code write to the descriptors has no number: the supervisor attributes it to the task
that the executor executes at that time, and a frame at the end of a task says up to where it was that one
(runtime/ipc/output_frames.py).
"""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import select
import termios
from array import array
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from runtime import native
from runtime.ipc import output_frames
from runtime.ipc.output_frames import OutputRecord
from runtime.reasons import escape_surrogates
from runtime.statuses import Severity

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PENDING_LIMIT: Final = 8192
"""Bytes of an unfinished line that are held back until it is finished or flushed."""

record_level: ContextVar[Severity | None] = ContextVar("quiesce_record_level", default=None)
"""The severity of the record that a log of its own (structlog) is writing as text; None: plain text is written."""

_numbers = itertools.count(1)


class TaskStream(io.BufferedIOBase):
    """The bytes below sys.stdout or sys.stderr. Whole lines are written at once; any thread may write.

    An unfinished line is held for each thread of each task, so no lock is needed, and none can be left taken by an
    exception or a fork.
    """

    def __init__(self, fd: int, key: int, current_task: Callable[[], int]) -> None:
        self.name = fd
        self.mode = "wb"
        self._fd = fd
        self._key = key
        self._current_task = current_task
        self._pending: dict[tuple[int, int], bytes] = {}
        self._identity = _identity(fd)
        self._unfinished: set[int] = set()
        self._unread = array("i", [0])
        os.register_at_fork(after_in_child=self._pending.clear)

    # -- as a file ----------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether an agent has put a terminal in the place of the descriptor."""
        return os.isatty(self._fd)

    def write(self, data: ReadableBuffer) -> int:
        """Write the lines that are finished; hold the rest."""
        piece = bytes(data)
        task = self._current_task()
        writer = (task, native.get_ident())
        held = self._pending.pop(writer, None)
        whole = piece if held is None else held + piece
        end = len(whole) if len(whole) > PENDING_LIMIT else whole.rfind(b"\n") + 1
        if end < len(whole):
            self._pending[writer] = whole[end:] if end else whole
        if end:
            self._emit(task, whole[:end])
        return len(piece)

    def flush(self) -> None:
        """Write what the calling thread's task has not finished."""
        task = self._current_task()
        held = self._pending.pop((task, native.get_ident()), None)
        if held is not None:
            self._emit(task, held)

    # -- for the executor ---------------------------------------------------------------------------

    def send_record(self, level: Severity, logger: str, text: str) -> bool:
        """Send a record of a log. Return False when the descriptor leads elsewhere: there it is to be text."""
        if _identity(self._fd) != self._identity:
            return False
        self.flush()
        record = OutputRecord(str(level), escape_surrogates(logger), escape_surrogates(text), next(_numbers))
        for frame in output_frames.record_frames(self._key, self._current_task(), record, select.PIPE_BUF):
            self._write(frame)
        return True

    def end_task(self, task: int, *, is_alone: bool) -> None:
        """Finish the output of a task that has ended. `is_alone`: the executor executes no other one beside it."""
        for writer in tuple(self._pending) if self._pending else ():
            held = self._pending.pop(writer, None) if writer[0] == task else None
            if held is not None:
                self._emit(task, held)
        if task in self._unfinished or (is_alone and self._has_unread_bytes()):
            self._unfinished.discard(task)
            if _identity(self._fd) == self._identity:
                self._write(output_frames.end_frame(self._key, task))

    def _has_unread_bytes(self) -> bool:
        """Return whether the supervisor has yet to read something: it may be without a frame, and of this task."""
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, self._unread)
        except OSError:  # an agent has closed or replaced the descriptor
            return False
        return self._unread[0] > 0

    def _emit(self, task: int, data: bytes) -> None:
        if not task or _identity(self._fd) != self._identity:
            self._write(data)
            return
        level = record_level.get()
        if level is not None:
            self.send_record(level, "structlog", data.decode("utf-8", "backslashreplace").rstrip("\n"))
            return
        if data.endswith(b"\n"):
            self._unfinished.discard(task)
        else:
            self._unfinished.add(task)
        for frame in output_frames.text_frames(self._key, task, data, select.PIPE_BUF):
            self._write(frame)

    def _write(self, data: bytes) -> None:
        """Write all of it. Waits while the pipe is full."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # an agent, or a child that has the pipe, has made it non-blocking
                waiter = native.poll()
                waiter.register(self._fd, select.POLLOUT)
                waiter.poll()


def stream_of(file: object) -> TaskStream | None:
    """Return the TaskStream below a text file, or None."""
    buffer = getattr(file, "buffer", None)
    return buffer if isinstance(buffer, TaskStream) else None


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
