"""Wake a loop that waits in a selector, from any thread."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


class Wakeup:
    """A pipe that becomes readable at `wake`. One byte is in it at most, however many threads call."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self._is_pending = False
        self._is_closed = False
        self._lock = threading.RLock()  # a generator that is collected inside it releases its agent

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._read

    def wake(self) -> None:
        """Make it readable, until `reset`. Does nothing after `close`."""
        with self._lock:
            if not self._is_pending and not self._is_closed:  # closed: the number may be another file's
                self._is_pending = True
                with suppress(BlockingIOError):  # full: it is readable
                    os.write(self._write, b"!")

    def reset(self) -> None:
        """Make it unreadable. Look at what may have come only after this."""
        with suppress(BlockingIOError):
            os.read(self._read, 4096)
        # Only now: a byte written between the two would be read, and `_is_pending` left on with an empty pipe. A caller
        # that finds it on has put its stimulus into the inbox already, which is read next.
        self._is_pending = False

    def close(self) -> None:
        """Close the pipe."""
        with self._lock:
            self._is_closed = True
        os.close(self._read)
        os.close(self._write)
