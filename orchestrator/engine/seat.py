"""Decide which thread drives the loop: its own, or a caller that waits for what a turn of it brings.

Theory. A caller that waits for a result while another thread reads the pipes costs two changes of thread for each task,
and both threads want the interpreter's lock. So a caller that would only wait takes the seat, waits in the loop's
selector itself, and takes the turns that come until it has what it waits for. There is one loop, and one driver at a
time. The loop's own thread takes the seat back when no caller has had it for LEASE_SECONDS: a program that hands in
tasks one by one is back before. Nothing is read meanwhile, but a stimulus from another thread ends the lease at once.

Rejected: to give the seat back after each result. That wakes the loop's thread for each task, as before.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LEASE_SECONDS = 0.001
"""Seconds for which the seat stays free for the next caller when one has left it."""


class Seat:
    """The seat of the thread that waits in the selector. `wake` makes the selector return, from any thread.

    `take` and `leave` are for the loop's own thread, `visit`, `follow` and `ring` for all others.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._visitor = threading.Lock()
        self._visits = 0
        self._is_owner_asleep = False
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._followers = 0
        self._counting = threading.Lock()
        self.is_wanted = False
        """Whether a caller waits for the seat: the loop's own thread leaves it then."""

    def take(self) -> None:
        """Take the seat when no caller has had it for LEASE_SECONDS, or as soon as `ring` asks for it."""
        seen = 0
        while self._visits != seen or not self._lock.acquire(blocking=False):
            seen = self._visits
            if self._is_called(LEASE_SECONDS):
                if self._lock.acquire(blocking=False):
                    return
            elif self._visits == seen and self._lock.locked():  # a caller that stays: it calls when it leaves
                self._is_owner_asleep = True
                if self._lock.locked() and self._is_called(None) and self._lock.acquire(blocking=False):
                    self._is_owner_asleep = False
                    return
                self._is_owner_asleep = False

    def _is_called(self, seconds: float | None) -> bool:
        """Wait for a call, and return whether the seat is to be taken at once."""
        with suppress(queue.Empty):
            return self._calls.get(timeout=seconds)
        return False

    def leave(self) -> None:
        """Leave the seat."""
        self._lock.release()

    @contextmanager
    def visit(self) -> Iterator[bool]:
        """Enter a block in which the calling thread has the seat. Gives False when another caller has it."""
        if not self._visitor.acquire(blocking=False):
            yield False
            return
        try:
            if not self._lock.acquire(blocking=False):
                self.is_wanted = True
                self._wake()
                self._lock.acquire()
                self.is_wanted = False
            self._visits += 1
            try:
                yield True
            finally:
                self._lock.release()
                if self._is_owner_asleep or self._followers:
                    self._calls.put(self._followers > 0)
        finally:
            self._visitor.release()

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Enter a block that waits without driving: the loop goes on at once when a caller has left the seat."""
        with self._counting:
            self._followers += 1
        try:
            yield
        finally:
            with self._counting:
                self._followers -= 1

    def ring(self) -> None:
        """Have the loop's own thread take the seat at once if no thread has it."""
        if not self._lock.locked():
            self._calls.put(True)
