"""The engine of a parallel group: children start, end, and are ended together.

Theory. The children are asyncio tasks; how each ends is seen by its done-callback, which starts the next. A
caller that awaits the group sleeps on a future of its own, and four things may wake it: a child's end, the interrupt (a
callback on the state's bell: woken, not polling, and no task of its own that could outlive the group), a time limit,
and a cancellation from outside. Each of the last three, and a failure under FAIL_FAST, ends the group the same way:
what has not begun is discarded, what runs is cancelled and awaited, and only then is the verdict raised.

A child that stands in a shield is cancelled when it leaves it. A group that was started inside a shield goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from runtime.concurrency.child import AttemptPolicy, Child
from runtime.errors import ChildCancelledError, ExecutionInterrupted
from runtime.interrupts.interruptible import Interruptible

log = logging.getLogger("quiesce.parallel")

SLOW_CANCEL_SECONDS = 5.0
"""Seconds after which children that were cancelled and have not ended are named in the log."""


class GroupRunner:
    """Runs children, at most `max_workers` at a time, until all have ended. Belongs to one event loop."""

    def __init__(
        self,
        state: Interruptible,
        *,
        name: str,
        max_workers: int | None,
        fail_fast: bool,
        attempts: AttemptPolicy,
    ) -> None:
        self.name = name
        self.started = False
        self._over = False
        self._state = state
        self._max_workers = max_workers
        self._fail_fast = fail_fast
        self._attempts = attempts
        self._pending: deque[Child[Any]] = deque()
        self._running: dict[asyncio.Task[Any], Child[Any]] = {}
        self._orphans: set[asyncio.Future[Any]] = set()
        self._ended: deque[Child[Any]] = deque()
        self._exit_error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._late: TimeoutError | None = None
        self._undo: list[Callable[[], object]] = []

    @property
    def over(self) -> bool:
        """Whether it is too late to add a child."""
        return self._over or self._exit_error is not None

    @property
    def running(self) -> tuple[str, ...]:
        """The keys of the children that run now."""
        return tuple(child.key for child in self._running.values())

    def add(self, child: Child[Any]) -> None:
        """Take a child; it runs when there is room, and the crew has been started."""
        self._pending.append(child)
        if self.started:
            self._start_pending()

    def start(self, timeout: float | None) -> None:
        """Begin. Raises ExecutionInterrupted on an interrupted state: then nothing has been created."""
        if self.started:
            return
        try:
            self._state.raise_if_interrupted()
        except ExecutionInterrupted:
            self._discard_pending()  # and no coroutine is left un-awaited
            raise
        self.started = True
        if not self._state.is_shielded:
            self._undo.append(self._state.when_interrupted(self._on_interrupt))
        if timeout is not None:
            self.set_deadline(timeout, "group")
        self._start_pending()

    def set_deadline(self, seconds: float, what: str) -> None:
        """End all with TimeoutError `seconds` from now, unless all have ended by then."""
        error = TimeoutError(f"{what} {self.name!r} was not done within {seconds:g} s")
        self._undo.append(asyncio.get_running_loop().call_later(seconds, self._expire, error).cancel)

    def _expire(self, error: TimeoutError) -> None:
        if self._running or self._pending:
            self._end(error)
        else:  # done in time, and only not yet read; a child that is added now is too late
            self._late = error

    def _start_pending(self) -> None:
        """Start children while there is room. Looks at the flag before each: a signal may come in between."""
        if self._late is not None and self._pending:
            self._end(self._late)
        while self._pending and self._exit_error is None:
            if self._max_workers is not None and len(self._running) >= self._max_workers:
                return
            if self._state.is_interrupted and not self._state.is_shielded:
                self._on_interrupt()
                return
            child = self._pending.popleft()
            task = asyncio.create_task(child.run(self._state, self._attempts), name=f"{self.name}[{child.key}]")
            self._running[task] = child
            task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        child = self._running.pop(task)
        child.set_result_from(task)
        if self._exit_error is not None and not isinstance(child.error, ExecutionInterrupted):
            if isinstance(child.error, Exception) and not isinstance(child.error, ChildCancelledError):
                log.warning("%s[%s] failed as it was ended: %r", self.name, child.key, child.error)
            if not self._running:
                self._wake()
            return
        self._ended.append(child)
        error = child.error
        if isinstance(error, ExecutionInterrupted) and self._state.is_interrupted:
            self._on_interrupt()
        elif error is not None and (self._fail_fast or not isinstance(error, Exception)):
            self._end(error)
        self._start_pending()
        self._wake()

    def _on_interrupt(self) -> None:
        signal = self._state.settle_signal()
        assert signal is not None
        self._end(ExecutionInterrupted(signal))

    def _end(self, verdict: BaseException) -> None:
        """Discard what has not begun and cancel what runs. The first verdict stays, but an interrupt beats it."""
        if self._exit_error is not None:
            if isinstance(verdict, ExecutionInterrupted):
                self._exit_error = verdict
            return
        self._exit_error = verdict
        self._discard_pending()
        for task in tuple(self._running):
            self._state.cancel(task)
        if self._running:
            self._undo.append(
                asyncio.get_running_loop().call_later(SLOW_CANCEL_SECONDS, self._log_slow_children).cancel
            )
        self._wake()

    def _discard_pending(self) -> None:
        while self._pending:
            orphan = self._pending.popleft().discard()
            if orphan is None:
                continue
            self._orphans.add(orphan)
            orphan.add_done_callback(self._on_orphan_done)
            if isinstance(orphan, asyncio.Task):
                self._state.cancel(orphan)
            else:
                orphan.cancel()

    def _on_orphan_done(self, orphan: asyncio.Future[Any]) -> None:
        self._orphans.discard(orphan)
        if not orphan.cancelled() and isinstance(error := orphan.exception(), Exception):
            log.warning("a child of %r failed as it was ended: %r", self.name, error)
        self._wake()

    def _log_slow_children(self) -> None:
        log.warning("children of %r were cancelled and have not ended: %s", self.name, ", ".join(self.running))

    def _wake(self) -> None:
        for sleeper in self._waiters:
            if not sleeper.done():
                sleeper.set_result(None)

    async def _change(self) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._waiters.append(sleeper)
        try:
            await sleeper
        finally:
            self._waiters.remove(sleeper)

    async def next(self) -> Child[Any] | None:
        """Return the next child that has ended; None after the last. Raises the group's error once all have ended."""
        try:
            while self._exit_error is None:
                if self._ended:
                    return self._ended.popleft()
                if not self._running:
                    break
                await self._change()
        except asyncio.CancelledError as error:
            self._end(error)
            await self.finish()
            raise
        await self.finish()
        if self._exit_error is not None:
            raise self._exit_error
        self._over = True
        return None

    async def leave(self, error: BaseException | None) -> None:
        """End the remaining children when the block is left. Raises ExecutionInterrupted on an interrupt."""
        self._over = True
        known = self._exit_error
        if self._running or self._pending:
            self._end(error or asyncio.CancelledError())
        await self.finish()
        if error is None and isinstance(self._exit_error, ExecutionInterrupted) and self._exit_error is not known:
            raise self._exit_error

    async def finish(self) -> None:
        """Wait for the last child, whatever is thrown at us meanwhile, and leave nothing behind."""
        cancelled: asyncio.CancelledError | None = None
        while self._running or self._orphans:
            try:
                await self._change()
            except asyncio.CancelledError as error:
                cancelled = error
        for undo in self._undo:
            undo()
        self._undo.clear()
        if cancelled is not None:
            raise cancelled
