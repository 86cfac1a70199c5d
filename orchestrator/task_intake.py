"""What a Supervisor does with agents and inputs: `map`, `amap` and `submit`, typed by what the agent returns."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar, overload

from orchestrator import lazy_imports
from orchestrator.feeding.async_feed import AsyncFeed
from orchestrator.feeding.map_feed import MapFeed
from orchestrator.feeding.task_feed import TaskFeed
from orchestrator.outcome import Outcome
from orchestrator.task_handle import Handle
from runtime.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

AsyncAgent = Callable[[T, Any], Coroutine[Any, Any, R]] | Callable[[T], Coroutine[Any, Any, R]]
SyncAgent = Callable[[T, Any], R] | Callable[[T], R]


class TaskIntake:
    """The part of Supervisor that takes tasks."""

    def _require_feed(self) -> TaskFeed:
        """Return what feeds the run. Raises QuiesceError outside of the block."""
        raise NotImplementedError

    @overload
    def map(
        self, agent: AsyncAgent[T, R], inputs: Iterable[T], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[R]]: ...
    @overload
    def map(
        self, agent: SyncAgent[T, R], inputs: Iterable[T], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[R]]: ...
    def map(
        self, agent: Callable[..., Any], inputs: Iterable[Any], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[Any]]:
        """Execute `agent` for every input. Yield the outcomes in the order of the inputs.

        An outcome that comes early waits for those before it; `map_unordered` yields each as soon as it is committed.
        `inputs` may be endless: it is read at most 4,096 inputs ahead of the first one whose outcome was not yielded,
        fewer when they are large (64 MiB; `orchestrator/feeding/delivery.py`).

        `keys` name the inputs, one each; otherwise an input that is a dict with a "key" is named by it, and any
        other by its number.

        A run that is gone on with must get the inputs that it was begun with: a list, or another collection, is
        compared as a whole before any of it is executed, an iterator input by input (docs/resume.md).

        Raises UsageError when the agent cannot be executed or a key comes twice, RunMismatchError (a UsageError and
        ValueError) when the run was begun with other agents or inputs, ExecutionInterrupted when the run was
        stopped before the last outcome (those that have come are yielded first, the interrupted ones among them).
        """
        return self._map(agent, inputs, keys, in_order=True)

    @overload
    def map_unordered(
        self, agent: AsyncAgent[T, R], inputs: Iterable[T], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[R]]: ...
    @overload
    def map_unordered(
        self, agent: SyncAgent[T, R], inputs: Iterable[T], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[R]]: ...
    def map_unordered(
        self, agent: Callable[..., Any], inputs: Iterable[Any], *, keys: Iterable[str] | None = None
    ) -> Iterator[Outcome[Any]]:
        """Execute as `map` does, but yield each outcome as soon as it is committed: a slow task delays no other.

        `outcome.index` and `outcome.input` say which input it is of.
        """
        return self._map(agent, inputs, keys, in_order=False)

    def _map(
        self, agent: Callable[..., Any], inputs: Iterable[Any], keys: Iterable[str] | None, *, in_order: bool
    ) -> Iterator[Outcome[Any]]:
        if isinstance(inputs, AsyncIterable):
            raise UsageError("the inputs are an async iterable: use amap or amap_unordered, in `async for`")
        feed = self._require_feed()
        return MapFeed(feed, *feed.prepare(agent, inputs, keys), in_order=in_order).outcomes()

    @overload
    def amap(
        self,
        agent: AsyncAgent[T, R],
        inputs: Iterable[T] | AsyncIterable[T],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[R]]: ...
    @overload
    def amap(
        self,
        agent: SyncAgent[T, R],
        inputs: Iterable[T] | AsyncIterable[T],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[R]]: ...
    def amap(
        self,
        agent: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[Any]]:
        """Execute as `map` does, for `async for`. Never blocks the event loop; `inputs` may be an async iterable."""
        return self._amap(agent, inputs, keys, in_order=True)

    @overload
    def amap_unordered(
        self,
        agent: AsyncAgent[T, R],
        inputs: Iterable[T] | AsyncIterable[T],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[R]]: ...
    @overload
    def amap_unordered(
        self,
        agent: SyncAgent[T, R],
        inputs: Iterable[T] | AsyncIterable[T],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[R]]: ...
    def amap_unordered(
        self,
        agent: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        keys: Iterable[str] | None = None,
    ) -> AsyncIterator[Outcome[Any]]:
        """Execute as `map_unordered` does, for `async for`. Never blocks the event loop."""
        return self._amap(agent, inputs, keys, in_order=False)

    async def _amap(
        self,
        agent: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        keys: Iterable[str] | None,
        *,
        in_order: bool,
    ) -> AsyncIterator[Outcome[Any]]:
        feed, to_thread = self._require_feed(), lazy_imports.asyncio().to_thread
        if isinstance(inputs, AsyncIterable):
            number = await to_thread(feed.register, agent)
            names = None if keys is None else iter(keys)
            async with aclosing(AsyncFeed(feed, number, inputs, names, in_order=in_order).outcomes()) as arriving:
                async for outcome in arriving:
                    yield outcome
            return
        outcomes = MapFeed(feed, *await to_thread(feed.prepare, agent, inputs, keys), in_order=in_order).outcomes()
        while (outcome := await to_thread(next, outcomes, None)) is not None:
            yield outcome

    @overload
    def submit(
        self, agent: AsyncAgent[T, R], task_input: T, *, key: str | None = None, priority: int = 0
    ) -> Handle[R]: ...
    @overload
    def submit(
        self, agent: SyncAgent[T, R], task_input: T, *, key: str | None = None, priority: int = 0
    ) -> Handle[R]: ...
    def submit(
        self, agent: Callable[..., Any], task_input: Any, *, key: str | None = None, priority: int = 0
    ) -> Handle[Any]:
        """Hand in one task, from any thread, also while others run. Return the handle of its result.

        `key` names it, else the "key" of an input that is a dict, else its number. Tasks of a higher `priority` begin
        before those of a lower one.

        Raises UsageError when the agent cannot be executed or the key is taken, RunMismatchError when the run has
        another task of this key.
        """
        feed = self._require_feed()
        return feed.submit(feed.register(agent), task_input, key, priority)
