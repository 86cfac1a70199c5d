"""Death proved by end-of-file.

A FIFO reads as ended when, and only when, the last process that holds its write end is gone: the kernel keeps
the count, so a detached, re-parented or renamed process cannot hide, and no pid is ever guessed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import time
from types import TracebackType
from typing import Self

from tests.support import procs


class ExitDetector:
    """Knows when every process that ever held its write end has gone.

    Hand the write end down with `pass_fds=[proof.fd]` (and call `close_write_end` once it is), or have an agent take
    it by itself with `hold(proof.path)`: forks inherit it either way.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="qe-", dir="/tmp")
        self.path = os.path.join(self._folder, "held")
        os.mkfifo(self.path)
        self._read = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.fd = os.open(self.path, os.O_WRONLY)

    def close_write_end(self) -> None:
        """Close this process's own write end, which would otherwise keep the proof from coming."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def wait_until_held(self, count: int = 1, deadline: float = 30.0) -> None:
        """Block until `count` calls of `hold` have happened: from here on the proof covers those processes."""
        end = time.monotonic() + deadline
        while count > 0:
            got = os.read(self._read, count) if self._ready(end) else b""
            assert got, f"{count} of the processes that were to hold the proof did not within {deadline:g} s"
            count -= len(got)

    def wait(self, deadline: float = 10.0) -> float:
        """Block until every holder has gone; how many seconds it took. AssertionError names who is left."""
        self.close_write_end()
        began = time.monotonic()
        while self._ready(began + deadline):
            if not os.read(self._read, 4096):
                return time.monotonic() - began
        raise AssertionError(f"still there after {deadline:g} s:\n" + "\n".join(self.holders()))

    def holders(self) -> list[str]:
        """Who still holds the write end, described."""
        return [procs.describe(each) for each in procs.select(lambda pid: bool(procs.holds(pid, self.path)))]

    def _ready(self, end: float) -> bool:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        return bool(poll.poll(max(0.0, end - time.monotonic()) * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_write_end()
        with contextlib.suppress(OSError):
            os.close(self._read)
        shutil.rmtree(self._folder, ignore_errors=True)


def hold(path: str) -> int:
    """For an agent or a grandchild: hold the proof's write end for as long as this process and its forks live."""
    fd = os.open(path, os.O_WRONLY)
    os.set_inheritable(fd, True)
    os.write(fd, b".")
    return fd
