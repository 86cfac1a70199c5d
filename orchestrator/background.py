"""Write to the outside in a thread: a disk, a terminal or a reader that hangs holds up nothing else.

A write(2) has no time limit. On a dead NFS mount, a FUSE file system, a terminal that was stopped or a pipe that is
not read it returns at any time, and until then its thread can do nothing else. So what is to be written goes into a
bounded queue; what finds no room is refused, for its sender to count. Only `flush` waits for the thread, with a limit.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from runtime.stop_limits import OUTPUT_TIMEOUT

CAPACITY = 1 << 20
"""How much may wait: bytes, or what else `put` counts in `size`."""

HIGH_WATER = CAPACITY // 4
"""How much may wait before a sender that can wait should."""

BATCH = 1 << 16
"""About how much is carried out at a time."""

IDLE_SECONDS = 0.05
"""Seconds without work after which the thread ends; the next item starts another one."""

T = TypeVar("T")


class Background(Generic[T]):
    """Carry items out in order, in batches. `perform` may block for ever; it must not raise."""

    def __init__(self, name: str, perform: Callable[[list[T]], None]) -> None:
        self._name = name
        self._perform = perform
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._moved_at = 0.0
        self._moves = 0
        self._hung_at: int | None = None
        self._is_dismissed = False

    # -- for senders --------------------------------------------------------------------------------

    def put(self, item: T, size: int, *, urgent: bool = False) -> bool:
        """Queue an item. Return False if there is no room for it; `urgent` ones have twice as much."""
        with self._changed:
            if self._size and self._size + size > CAPACITY * (1 + urgent):
                return False
            if self._size == 0:
                self._moved_at = time.monotonic()
            if not self._waiting:  # else the thread knows that there is something to do
                self._changed.notify_all()
            self._waiting.append((item, size))
            self._size += size
            self._is_dismissed = False
            has_thread = self._thread is not None or self._start()
        if not has_thread:
            self._carry_out()
        return True

    @property
    def is_idle(self) -> bool:
        """Whether everything is carried out."""
        return self._size == 0

    def is_congested(self) -> bool:
        """Return whether much waits and goes on: a sender that can wait should. One does not wait for what hangs."""
        return self._size > HIGH_WATER and time.monotonic() - self._moved_at < OUTPUT_TIMEOUT

    def flush(self, patience: float = OUTPUT_TIMEOUT, limit: float | None = None) -> bool:
        """Wait until everything is carried out: `patience` seconds a step, `limit` in all. Return whether it is.

        What has hung once is not waited for again before it moves.
        """
        if os.getpid() != self._process:  # in a fork, which has no thread of ours
            return False
        end = None if limit is None else time.monotonic() + limit
        with self._changed:
            while self._size:
                now = time.monotonic()
                until = max(self._moved_at, now if self._hung_at != self._moves else 0.0) + patience
                until = until if end is None else min(until, end)
                if until <= now or not self._wait_for_move(until):
                    self._hung_at = self._moves
                    return False
        self._dismiss()
        return True

    def _dismiss(self) -> None:
        """End the thread before the caller of `flush` goes on: nothing waits."""
        with self._changed:
            thread, self._is_dismissed = self._thread, True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(OUTPUT_TIMEOUT)

    def _wait_for_move(self, until: float) -> bool:
        """Wait with the lock. Return whether anything moved."""
        moves = self._moves
        while self._size and self._moves == moves and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)
        return not self._size or self._moves != moves

    # -- for `perform` ------------------------------------------------------------------------------

    def note_progress(self) -> None:
        """Note that a part of a batch is done."""
        with self._changed:
            self._moved_at = time.monotonic()
            self._moves += 1
            self._changed.notify_all()

    # -- the thread ---------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start the thread, with the lock. Return False where the host has none left: then the caller writes."""
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _work(self) -> None:
        # A background job whose terminal has `tostop` set is stopped by its own output, and after `kill -CONT` by the
        # next line: it would never come to its end. Where the signal is blocked, the kernel lets the write pass.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        while True:
            with self._changed:
                if not self._waiting and not self._is_dismissed:
                    self._changed.wait(IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return
            if self._waiting:
                self._carry_out()

    def _carry_out(self) -> None:
        with self._changed:
            batch, size = self._take()
        if batch:
            self._perform(batch)
        with self._changed:
            self._size -= size
        self.note_progress()

    def _take(self) -> tuple[list[T], int]:
        """Take the next items, with the lock. Return them and their size."""
        batch: list[T] = []
        size = 0
        while self._waiting and size < BATCH:
            item, its_size = self._waiting.popleft()
            batch.append(item)
            size += its_size
        return batch, size
