"""Parallel groups: `async with state.parallel() as group: group.add(...); await group.gather()`.

Nothing runs until the group is started, by `gather`, `stream` or the end of its block. See group_runner.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from runtime.concurrency.child import AttemptPolicy, Child
from runtime.concurrency.circuit_breaker import CircuitBreaker
from runtime.concurrency.group_runner import GroupRunner
from runtime.concurrency.retry import RetryPolicy
from runtime.interrupts.interruptible import Interruptible
from runtime.limits import check_count, check_seconds
from runtime.statuses import ErrorStrategy

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
X = TypeVar("X")

_NOTHING: Final = object()


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
        check_count("max_workers", max_workers)
        check_seconds("timeout", timeout, may_be_endless=True)
        self.name = name or "parallel"
        self._state = state
        self._strategy = ErrorStrategy(error_strategy)
        self._timeout = timeout
        self._repeats = retry is not None
        self._crew = GroupRunner(
            state,
            name=self.name,
            max_workers=max_workers,
            fail_fast=self._strategy is ErrorStrategy.FAIL_FAST,
            attempts=AttemptPolicy(retry=retry, breaker=circuit_breaker, emit=emit),
        )
        self._children: list[Child[Any]] = []
        self._keys: set[str] = set()

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
        self._crew.add(child)
        return child

    def _check(self, work: object, key: str) -> None:
        self._state.raise_if_interrupted()
        if self._crew.over:
            raise RuntimeError(f"group {self.name!r} has ended")
        if key in self._keys:
            raise ValueError(f"group {self.name!r} has a child {key!r} already")
        if not callable(work) and not isinstance(work, Awaitable):
            raise TypeError(f"a child is a callable or an awaitable, not a {type(work).__name__}")
        if not callable(work) and self._repeats:
            raise TypeError("a coroutine runs only once: a group that retries needs add(function, *args)")

    @property
    def children(self) -> tuple[Child[Any], ...]:
        """Every child, in the order in which they were added."""
        return tuple(self._children)

    @property
    def running(self) -> tuple[str, ...]:
        """The keys of the children that run now."""
        return self._crew.running

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
        strategy says, after every child has ended. Raises ValueError for a child of another group.
        """
        for child in children:
            if child.index >= len(self._children) or self._children[child.index] is not child:
                raise ValueError(f"child {child.key!r} is not one of group {self.name!r}")
        async for _ in _Results(self._crew, self._timeout, self._whole):
            pass
        self._judge()
        if children:
            return tuple(child.outcome for child in children)
        return [child.outcome for child in self._children]

    async def gather_dict(self) -> dict[str, Any]:
        """As gather, by key."""
        results = await self.gather()
        return {child.key: result for child, result in zip(self._children, results, strict=True)}

    def stream(self, timeout: float | None = None) -> AsyncIterator[Any]:
        """Run all, and yield results as they come. `timeout`, seconds for the whole stream, raises TimeoutError.

        Leave it early and the group's end cancels what still runs.
        """
        check_seconds("timeout", timeout, may_be_endless=True)
        return _Results(self._crew, self._timeout, self._outcome, limit=timeout, judge=self._judge)

    def as_completed(self, timeout: float | None = None) -> AsyncIterator[Child[Any]]:
        """As stream, but yields the children's handles, failed ones included, and leaves judging them to you."""
        check_seconds("timeout", timeout, may_be_endless=True)
        return _Results(self._crew, self._timeout, self._whole, limit=timeout, judge=self._state.raise_if_interrupted)

    def _whole(self, child: Child[Any]) -> Any:
        return child

    def _outcome(self, child: Child[Any]) -> Any:
        return child.outcome if child.error is None or self._strategy is ErrorStrategy.COLLECT else _NOTHING

    def _judge(self) -> None:
        self._state.raise_if_interrupted()
        if self._strategy is not ErrorStrategy.FAIL_SLOW:
            return
        failures = [child.error for child in self._children if isinstance(child.error, Exception)]
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(self._children)} children of {self.name!r} failed", failures)

    # -- the block ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._state.raise_if_interrupted()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and not self._crew.started and self._children:
            await self.gather()
        else:
            await self._crew.leave(error)


class _Results(AsyncIterator[Any]):
    """What a group's children come to, as they end. Not an async generator: one left early needs no closing."""

    def __init__(
        self,
        crew: GroupRunner,
        timeout: float | None,
        select: Callable[[Child[Any]], Any],
        *,
        limit: float | None = None,
        judge: Callable[[], None] = lambda: None,
    ) -> None:
        self._crew = crew
        self._timeout = timeout
        self._select = select
        self._limit = limit
        self._judge = judge

    async def __anext__(self) -> Any:
        self._crew.start(self._timeout)
        if self._limit is not None:
            self._crew.set_deadline(self._limit, "stream")
            self._limit = None
        while (child := await self._crew.next()) is not None:
            if (selected := self._select(child)) is not _NOTHING:
                return selected
        self._judge()
        raise StopAsyncIteration


def _close(work: object) -> None:
    if asyncio.iscoroutine(work):
        work.close()
