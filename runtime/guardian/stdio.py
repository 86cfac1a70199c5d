"""The other ends of the executors' standard output and error, which the guardian keeps.

A pipe without a reader makes whoever writes fail: after the supervisor's death, an agent that prints in its clean-up
would not come to the next line of it, and a child that says goodbye would be killed by SIGPIPE. So there is always this
one, which reads nothing as long as the supervisor does.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterable, Iterator

_CHUNK = 1 << 16


class StdioKeeper:
    """Kept until whoever might write is gone, and read, into nowhere, once nobody else does."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._fds: set[int] = set()
        self._listening = False

    def __iter__(self) -> Iterator[int]:
        return iter(self._fds)

    def keep(self, fds: Iterable[int]) -> None:
        """Take these over."""
        self._fds.update(fds)

    def close(self, fds: Iterable[int]) -> None:
        """Nobody writes to these any more."""
        for fd in self._fds.intersection(fds):
            self._fds.remove(fd)
            if self._listening:
                self._selector.unregister(fd)
            os.close(fd)

    def listen(self) -> None:
        """From now on nobody else reads."""
        self._listening = True
        for fd in self._fds:
            self._selector.register(fd, selectors.EVENT_READ)

    def discard(self, fd: int) -> None:
        """Read what is there, if it is one of these: the writer must not wait for room."""
        if fd not in self._fds:
            return
        try:
            ended = not os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if ended:
            self.close([fd])
