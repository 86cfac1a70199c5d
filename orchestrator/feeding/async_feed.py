"""Hand in inputs that come one by one, and deliver their outcomes, in the caller's event loop."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator import lazy_imports
from orchestrator.core.records import TaskOutcome
from orchestrator.engine.task_store import NOTHING_KNOWN, Known
from orchestrator.feeding.task_feed import MAX_OUTSTANDING, TaskFeed
from orchestrator.outcome import Outcome

if TYPE_CHECKING:
    import asyncio


class AsyncFeed:
    """Feed a run with an async iterable. Make it inside the event loop that awaits it; it never blocks that."""

    def __init__(self, feed: TaskFeed, agent: int, inputs: AsyncIterable[Any], keys: Iterator[str] | None) -> None:
        self._feed = feed
        self._agent = agent
        self._inputs = inputs
        self._keys = keys
        self._loop: asyncio.AbstractEventLoop = lazy_imports.asyncio().get_running_loop()
        self._arrived: asyncio.Queue[TaskOutcome | None] = lazy_imports.asyncio().Queue()
        self._room: asyncio.Semaphore = lazy_imports.asyncio().Semaphore(MAX_OUTSTANDING)
        self._count = 0
        self._unwritten: list[Future[None]] = []

    async def outcomes(self) -> AsyncIterator[Outcome]:
        """Yield outcomes as they are committed, a bounded number of tasks behind the inputs."""
        feeding: asyncio.Task[None] = self._loop.create_task(self._hand_in())
        feeding.add_done_callback(lambda _: self._arrived.put_nowait(None))
        given = 0
        try:
            while not feeding.done() or given < self._count:
                outcome = await self._arrived.get()
                if outcome is not None:
                    yield Outcome.from_record(outcome)
                    given += 1
                    self._room.release()
                elif not feeding.done() or self._feed.session.has_ended:
                    raise self._feed.end_error()
                else:
                    feeding.result()
        finally:
            feeding.cancel()
            self._feed.release_after(self._unwritten, self._agent)
        if self._feed.session.was_interrupted:
            raise self._feed.end_error()

    async def _hand_in(self) -> None:
        asyncio = lazy_imports.asyncio()
        async for task_input in self._inputs:
            await self._room.acquire()
            task = self._feed.builder.task(self._agent, task_input, None if self._keys is None else next(self._keys))
            known: Known = NOTHING_KNOWN
            if self._feed.session.is_resumed_by_program:
                known = await asyncio.to_thread(self._feed.session.compare, [task])
            self._feed.wait_for([task], self._deliver)
            self._count += 1
            self._unwritten[:] = [self._feed.spool([task], known)]
            await asyncio.shield(asyncio.wrap_future(self._unwritten[0]))  # written, also when the caller leaves

    def _deliver(self, outcome: TaskOutcome | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: no coroutine waits any more
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, outcome)
