"""The interpreter's own primitives, as they were before any agent's code could put others in their place.

Libraries like gevent replace what `threading`, `select` and `time` offer, for the whole process and at any time. An
executor's own threads need the real ones: a lock that blocks a thread, a thread that is none of the library's. This
module must be imported before an agent is loaded.
"""

from __future__ import annotations

import select
import threading
import time
from _thread import RLock, allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from contextlib import suppress

__all__ = ["MAIN_THREAD", "RLock", "Thread", "allocate_lock", "get_ident", "is_readable", "poll", "sleep"]

MAIN_THREAD = threading.main_thread().ident or 0
"""The main thread's id; it stays the same in a fork, and when a library changes the Thread object's `ident`."""

poll = select.poll
sleep = time.sleep


def is_readable(fd: int, seconds: float = 0.0) -> bool:
    """Wait until a descriptor is readable or its other end is gone, at most so many seconds. Return whether it is."""
    waiter = poll()
    waiter.register(fd, select.POLLIN)
    return bool(waiter.poll(1000 * seconds))


class Thread:
    """A thread that `threading` does not know: no tracer is set in it, and the exit does not wait for it."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._running = allocate_lock()

    def start(self) -> None:
        """Start the thread. The target must not raise."""
        self._running.acquire()
        start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        finally:
            with suppress(RuntimeError):
                self._running.release()

    def join(self) -> None:
        """Wait for its end."""
        with self._running:
            pass
