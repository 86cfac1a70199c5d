"""Meeting points between a test and the agents of a run, without a sleep anywhere.

`AnnouncementPipe` carries words up (an agent says that it has come to a place), `Gate` holds agents until the test lets
them go. Both are FIFOs, so both sides block in the kernel. The child's side is a plain function on a path,
because a path is what travels to an agent as input.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_SAFE = select.PIPE_BUF  # bytes; writes up to this size never mix


class _Fifo:
    """A FIFO that this process holds open at both ends, so that no process ever blocks in open()."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Close and remove it."""
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self.path)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AnnouncementPipe(_Fifo):
    """Collects the lines that agents `announce`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._rest = b""
        self.seen: list[str] = []

    def expect(self, count: int = 1, deadline: float = 30.0) -> list[str]:
        """Block until `count` more lines have come and hand them back, in the order of their arrival."""
        end = time.monotonic() + deadline
        while self._rest.count(b"\n") < count:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                heard = self.seen + self._rest.decode().splitlines()
                raise AssertionError(f"not {count} announcements within {deadline:g} s; so far: {heard}")
            self._rest += os.read(self._fd, 65536)
        *lines, self._rest = self._rest.split(b"\n", count)
        words = [line.decode() for line in lines]
        self.seen += words
        return words


class Gate(_Fifo):
    """Holds every caller of `wait_for_gate` until `open` is called once; later callers pass at once."""

    def open(self) -> None:
        """Let every caller through, now and from now on: the byte is looked at, never read."""
        os.write(self._fd, b".")


def announce(path: str, word: object = "") -> None:
    """For an agent: write one line to the test's AnnouncementPipe."""
    line = str(word).encode()[: _SAFE - 1] + b"\n"
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def is_open(path: str) -> bool:
    """For an agent: whether the test has opened the Gate."""
    with suppress(TimeoutError):
        wait_for_gate(path, 0)
        return True
    return False


def wait_for_gate(path: str, timeout: float = 60.0) -> None:
    """For an agent: block, deaf to everything but signals, until the test opens the Gate."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not select.select([fd], [], [], timeout)[0]:
            raise TimeoutError(f"{path} was not opened within {timeout:g} s")
    finally:
        os.close(fd)
