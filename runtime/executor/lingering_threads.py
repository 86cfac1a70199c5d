"""The threads that outlive their task, or delay the executor's end.

A task that ends without a result is not over before its threads are: it is reported, and no task may begin meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from runtime.executor.outbox import Outbox
from runtime.executor.running_task import RunningTask
from runtime.executor.threads import ThreadWatch, names, raise_in, stacks
from runtime.ipc.executor_protocol import Delayed, ThreadsEnded, ThreadsLeft
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason

LINGER_SECONDS = 1.0
"""Seconds that threads may delay the executor's end before they are named in the log."""

_OVER = PlainSignal(
    reason=InterruptReason.CUSTOM, message="the task has ended, and its threads must too", triggered_by="executor"
)
_ENDING = PlainSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="the executor ends", triggered_by="executor")


class LingeringThreads:
    """Interrupts and reports these threads, and looks for their end. `look` belongs to the control thread."""

    def __init__(self, threads: ThreadWatch, outbox: Outbox) -> None:
        self._threads = threads
        self._outbox = outbox
        self._left: dict[int, RunningTask] = {}  # ended, but for their threads
        self._leaving_since: float | None = None

    @property
    def tasks(self) -> Iterable[RunningTask]:
        """Return the tasks that have ended and whose threads still run."""
        return self._left.values()

    @property
    def is_any_left(self) -> bool:
        """Return whether threads of a task that has ended still run: no task may begin meanwhile."""
        return bool(self._left)

    @property
    def must_look(self) -> bool:
        """Return whether `look` must be called again soon."""
        return bool(self._left) or self._leaving_since is not None

    def report(self, running: RunningTask) -> None:
        """Interrupt and report the threads that a task without a result has left; its end waits for them."""
        frames = self._threads.of(running, running.threads)
        if not frames:
            return
        running.state.set_signal(_OVER)
        self._outbox.send(ThreadsLeft(running.order.task, names(frames), stacks(frames)))
        self._left[running.order.task] = running
        self._outbox.ring()

    def begin_leaving(self) -> None:
        """Note that the executor ends: from now on it waits for threads, as every program does."""
        self._leaving_since = time.monotonic()
        self._outbox.ring()

    def raise_at_end(self) -> None:
        """Raise (the TERM rung) in the threads that the executor waits for at its end."""
        if self._leaving_since is not None:
            for ident in self._threads.lingering():
                raise_in(ident, _ENDING)

    def look(self) -> bool:
        """Report threads that ended or delay the end. Return whether any ended."""
        over = [task for task, running in tuple(self._left.items()) if self._is_rid_of_threads(running)]
        for task in over:
            self._outbox.send(ThreadsEnded(task))
            self._left.pop(task, None)
        if self._leaving_since is not None and time.monotonic() - self._leaving_since > LINGER_SECONDS:
            self._leaving_since = float("inf")  # reported once
            frames = self._threads.lingering()
            if frames:
                self._outbox.send(Delayed(names(frames), stacks(frames)))
        return bool(over)

    def _is_rid_of_threads(self, running: RunningTask) -> bool:
        """Return whether two checks in a row found none: at one of them a pool's thread may be between two items."""
        running.looks = 0 if self._threads.of(running, running.threads) else running.looks + 1
        return running.looks > 1
