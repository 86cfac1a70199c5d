"""Parallel groups: `async with state.parallel() as group: group.add(...); await group.gather()`.

Theory. Nothing runs until the group is started. Then the children are asyncio tasks; how each ends is seen by its
done-callback, which starts the next. The one who awaits the group sleeps on a single future, `_changed`, and four
things may wake it: a child's end, the interrupt (a callback on the state's bell: woken, not polling, and no task of
its own that could outlive the group), the group's time limit, and a cancellation from outside. Each of the last
three, and a failure under FAIL_FAST, ends the group the same way: what has not begun is discarded, what runs is
cancelled and awaited, and only then is the verdict raised.

A child that stands in a shield is cancelled when it leaves it. A group that was started inside a shield goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from runtime.breaker import CircuitBreaker
from runtime.child import Attempts, Child
from runtime.errors import ExecutionInterrupted
from runtime.interrupt import Interruptible
from runtime.model import ErrorStrategy
from runtime.retry import RetryPolicy

log = logging.getLogger("quiesce.parallel")

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
X = TypeVar("X")

SLUGGISH = 5.0
"""Seconds after which children that were cancelled and have not ended are named in the log."""


class ParallelExecutionManager:
    """A group of children that ends as one. Made by `state.parallel(...)`; use each one once.

    `max_workers` children run at a time (None: all). `timeout`, seconds for the whole group, raises TimeoutError.
    `retry` and `circuit_breaker` apply to each child; a retried child must be added as a callable.
    """

    def __init__(
        self,
        state: Interruptible,
        *,
        max_workers: int | None = None,
        error_strategy: ErrorStrategy = ErrorStrategy.FAIL_FAST,
        timeout: float | None = None,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        circuit_breaker: CircuitBreaker | None = None,
        emit: Callable[..., object] | None = None,
    ) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        self.name = name or "parallel"
        self._state = state
        self._max_workers = max_workers
        self._strategy = ErrorStrategy(error_strategy)
        self._timeout = timeout
        self._attempts = Attempts(retry=retry, breaker=circuit_breaker, emit=emit)
        self._children: list[Child[Any]] = []
        self._keys: set[str] = set()
        self._pending: deque[Child[Any]] = deque()
        self._running: dict[asyncio.Task[Any], Child[Any]] = {}
        self._ended: deque[Child[Any]] = deque()
        self._verdict: BaseException | None = None
        self._changed: asyncio.Future[None] | None = None
        self._started = False
        self._over = False
        self._undo: list[Callable[[], object]] = []

    # -- filling it ---------------------------------------------------------------------------------

    @overload
    def add(
        self, work: Callable[..., Awaitable[X]], /, *args: Any, key: str | None = None, **kwargs: Any
    ) -> Child[X]: ...
    @overload
    def add(self, work: Callable[..., X], /, *args: Any, key: str | None = None, **kwargs: Any) -> Child[X]: ...
    @overload
    def add(self, work: Awaitable[X], /, *, key: str | None = None) -> Child[X]: ...
    def add(self, work: Any, /, *args: Any, key: str | None = None, **kwargs: Any) -> Child[Any]:
        """Add a child: a callable, sync or async, with its arguments, or an awaitable. It runs when the group does.

        `key` is its address and its place in `gather_dict`; its number by default. Raises ValueError for a key
        that is taken, TypeError for what cannot be run and for an awaitable in a group that retries, RuntimeError
        on a group that has ended, ExecutionInterrupted on an interrupted state. A refused coroutine is closed.
        """
        key = str(len(self._children)) if key is None else key
        try:
            self._check(work, key)
        except BaseException:
            _close(work)
            raise
        call = partial(work, *args, **kwargs) if args or kwargs else work
        child: Child[Any] = Child(call, key=key, index=len(self._children))
        self._keys.add(key)
        self._children.append(child)
        self._pending.append(child)
        if self._started:
            self._fill()
        return child

    def _check(self, work: object, key: str) -> None:
        self._state.raise_if_interrupted()
        if self._over or self._verdict is not None:
            raise RuntimeError(f"group {self.name!r} has ended")
        if key in self._keys:
            raise ValueError(f"group {self.name!r} has a child {key!r} already")
        if not callable(work) and not isinstance(work, Awaitable):
            raise TypeError(f"a child is a callable or an awaitable, not a {type(work).__name__}")
        if not callable(work) and self._attempts.retry is not None:
            raise TypeError("a coroutine runs only once: a group that retries needs add(function, *args)")

    @property
    def children(self) -> tuple[Child[Any], ...]:
        """Every child, in the order in which they were added."""
        return tuple(self._children)

    @property
    def running(self) -> tuple[str, ...]:
        """The keys of the children that run now."""
        return tuple(child.key for child in self._running.values())

    # -- its results --------------------------------------------------------------------------------

    @overload
    async def gather(self) -> list[Any]: ...
    @overload
    async def gather(self, a: Child[A], /) -> tuple[A]: ...
    @overload
    async def gather(self, a: Child[A], b: Child[B], /) -> tuple[A, B]: ...
    @overload
    async def gather(self, a: Child[A], b: Child[B], c: Child[C], /) -> tuple[A, B, C]: ...
    @overload
    async def gather(self, a: Child[A], b: Child[B], c: Child[C], d: Child[D], /) -> tuple[A, B, C, D]: ...
    @overload
    async def gather(self, *children: Child[X]) -> tuple[X, ...]: ...
    async def gather(self, *children: Child[Any]) -> Any:
        """Run all. Returns a list of all results in the order of adding, or a tuple of those of `children`.

        Raises ExecutionInterrupted, TimeoutError, the first failure, or an ExceptionGroup, as the group's
        strategy says, after every child has ended.
        """
        async for _ in self.as_completed():
            pass
        if self._strategy is ErrorStrategy.FAIL_SLOW:
            self._raise_failures()
        if children:
            return tuple(child.outcome for child in children)
        return [child.outcome for child in self._children]

    async def gather_dict(self) -> dict[str, Any]:
        """As gather, by key."""
        results = await self.gather()
        return {child.key: result for child, result in zip(self._children, results, strict=True)}

    async def stream(self, timeout: float | None = None) -> AsyncIterator[Any]:  # noqa: ASYNC109 - of the whole, not of one await
        """Run all, and yield results as they come. `timeout`, seconds for the whole stream, raises TimeoutError.

        Leave it early and the group's end cancels what still runs.
        """
        async for child in self.as_completed(timeout):
            if child.error is None or self._strategy is ErrorStrategy.COLLECT:
                yield child.outcome
        if self._strategy is ErrorStrategy.FAIL_SLOW:
            self._raise_failures()

    def as_completed(self, timeout: float | None = None) -> AsyncIterator[Child[Any]]:
        """As stream, but yields the children's handles, failed ones included, and leaves judging them to you."""
        return _Completed(self, timeout)

    def _raise_failures(self) -> None:
        failures = [child.error for child in self._children if isinstance(child.error, Exception)]
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self._children)} children of {self.name!r} failed", failures)

    # -- running ------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._started:
            return
        try:
            self._state.raise_if_interrupted()
        except ExecutionInterrupted:
            self._discard_pending()  # nothing has been created, and no coroutine is left un-awaited
            raise
        self._started = True
        if not self._state.is_shielded:
            self._undo.append(self._state.when_interrupted(self._on_interrupt))
        if self._timeout is not None:
            self._limit(self._timeout, "group")
        self._fill()

    def _limit(self, seconds: float, what: str) -> None:
        error = TimeoutError(f"{what} {self.name!r} was not done within {seconds:g} s")
        self._undo.append(asyncio.get_running_loop().call_later(seconds, self._end, error).cancel)

    def _fill(self) -> None:
        """Start children while there is room. Looks at the flag before each: a signal may come in between."""
        while self._pending and self._verdict is None:
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
        child.settle(task)
        self._ended.append(child)
        error = child.error
        if isinstance(error, ExecutionInterrupted) and self._state.is_interrupted:
            self._on_interrupt()
        elif error is not None and (self._strategy is ErrorStrategy.FAIL_FAST or not isinstance(error, Exception)):
            self._end(error)
        self._fill()
        self._wake()

    def _on_interrupt(self) -> None:
        signal = self._state.interrupt_signal
        assert signal is not None
        self._end(ExecutionInterrupted(signal))

    def _end(self, verdict: BaseException) -> None:
        """Discard what has not begun and cancel what runs. The first verdict stays, but an interrupt beats it."""
        if self._verdict is not None:
            if isinstance(verdict, ExecutionInterrupted):
                self._verdict = verdict
            return
        self._verdict = verdict
        self._discard_pending()
        for task in tuple(self._running):
            self._state.once_unshielded(task, task.cancel)
        if self._running:
            self._undo.append(asyncio.get_running_loop().call_later(SLUGGISH, self._complain).cancel)
        self._wake()

    def _discard_pending(self) -> None:
        while self._pending:
            self._pending.popleft().discard()

    def _complain(self) -> None:
        log.warning("children of %r were cancelled and have not ended: %s", self.name, ", ".join(self.running))

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    async def _advance(self, limit: float | None) -> Child[Any] | None:
        """The next child that has ended; None after the last. `limit` is counted from now on."""
        self._start()
        if limit is not None:
            self._limit(limit, "stream")
        child = await self._next()
        if child is None:
            self._state.raise_if_interrupted()
        return child

    async def _next(self) -> Child[Any] | None:
        try:
            while self._verdict is None:
                if self._ended:
                    return self._ended.popleft()
                if not self._running:
                    break
                await self._change()
        except asyncio.CancelledError as error:
            self._end(error)
            await self._finish()
            raise
        await self._finish()
        if self._verdict is not None:
            raise self._verdict
        self._over = True
        return None

    async def _finish(self) -> None:
        """Wait for the last child, whatever is thrown at us meanwhile, and leave nothing behind."""
        cancelled: asyncio.CancelledError | None = None
        while self._running:
            try:
                await self._change()
            except asyncio.CancelledError as error:
                cancelled = error
        for undo in self._undo:
            undo()
        self._undo.clear()
        if cancelled is not None:
            raise cancelled

    # -- the block ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._state.raise_if_interrupted()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._started and self._children:
            await self.gather()
            return
        if self._running or self._pending:
            self._end(error or asyncio.CancelledError())
        await self._finish()


class _Completed(AsyncIterator[Child[Any]]):
    """The children of a group as they end. Not an async generator: one that is left early needs no closing."""

    def __init__(self, group: ParallelExecutionManager, timeout: float | None) -> None:
        self._group = group
        self._timeout = timeout

    async def __anext__(self) -> Child[Any]:
        child = await self._group._advance(self._timeout)  # noqa: SLF001 - the group's own iterator
        self._timeout = None
        if child is None:
            raise StopAsyncIteration
        return child


def _close(work: object) -> None:
    if asyncio.iscoroutine(work):
        work.close()
