"""The read ends of the executors' standard output and error that the guardian keeps open.

Writing to a pipe without a reader fails: after the supervisor's death, an agent that prints in its clean-up would not
reach the next line, and a child that prints would be killed by SIGPIPE. So the guardian always holds a read end, and
reads nothing from it while the supervisor does.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Collection, Iterable, Iterator

_CHUNK = 1 << 16


def redirect_to_null(fds: Collection[int], mode: int = os.O_RDWR) -> None:
    """Replace these standard descriptors by /dev/null."""
    null = os.open(os.devnull, mode)
    for fd in fds:
        os.dup2(null, fd)
    if null not in fds:  # one of them was closed
        os.close(null)


class StdioKeeper:
    """Keeps read ends open until their writers are gone, and discards the output after the supervisor's death."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._fds: set[int] = set()
        self._listening = False

    def __iter__(self) -> Iterator[int]:
        return iter(self._fds)

    def keep(self, fds: Iterable[int]) -> None:
        """Take over these descriptors."""
        self._fds.update(fds)

    def close(self, fds: Iterable[int]) -> None:
        """Close these descriptors: their writers are gone."""
        for fd in self._fds.intersection(fds):
            self._fds.remove(fd)
            if self._listening:
                self._selector.unregister(fd)
            os.close(fd)

    def listen(self) -> None:
        """Begin to discard the output: the supervisor no longer reads it."""
        self._listening = True
        for fd in self._fds:
            self._selector.register(fd, selectors.EVENT_READ)

    def discard(self, fd: int) -> None:
        """Read and discard what is in `fd`, if it is one of these: the writer must not wait for room."""
        if fd not in self._fds:
            return
        try:
            ended = not os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if ended:
            self.close([fd])
