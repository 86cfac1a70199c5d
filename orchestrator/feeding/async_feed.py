"""Hand in inputs that come one by one, and deliver their outcomes, in the caller's event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator import lazy_imports
from orchestrator.core.records import TaskOutcome
from orchestrator.engine.task_store import NOTHING_KNOWN, Known
from orchestrator.feeding.task_feed import TaskFeed
from orchestrator.outcome import Outcome

if TYPE_CHECKING:
    import asyncio


class AsyncFeed:
    """Feed a run with an async iterable. Make it inside the event loop that awaits it; it never blocks that."""

    def __init__(
        self, feed: TaskFeed, agent: int, inputs: AsyncIterable[Any], keys: Iterator[str] | None, *, in_order: bool
    ) -> None:
        self._feed = feed
        self._agent = agent
        self._inputs = inputs
        self._keys = keys
        self._delivery = feed.delivery(in_order=in_order)
        self._loop: asyncio.AbstractEventLoop = lazy_imports.asyncio().get_running_loop()
        self._arrived: asyncio.Queue[tuple[int, TaskOutcome | None]] = lazy_imports.asyncio().Queue()
        self._has_room: asyncio.Event = lazy_imports.asyncio().Event()
        self._unwritten: list[Future[None]] = []

    async def outcomes(self) -> AsyncGenerator[Outcome[Any], None]:
        """Yield outcomes, a bounded number of tasks behind the inputs."""
        feeding: asyncio.Task[None] = self._loop.create_task(self._hand_in())
        feeding.add_done_callback(lambda _: self._arrived.put_nowait((-1, None)))
        try:
            while not feeding.done() or self._delivery.outstanding:
                index, record = await self._arrived.get()
                if record is not None:
                    for outcome in self._delivery.take(index, record):
                        yield outcome
                        self._has_room.set()
                elif not feeding.done() or self._feed.session.has_ended:
                    self._take_last()
                    for outcome in self._delivery.rest():
                        yield outcome
                    raise self._feed.end_error()
                else:
                    feeding.result()
        finally:
            feeding.cancel()
            self._feed.release_after(self._unwritten, self._agent)
        if self._feed.session.was_interrupted:
            raise self._feed.end_error()

    def _take_last(self) -> None:
        """Take the outcomes that came before the end of the run."""
        while not self._arrived.empty():
            index, record = self._arrived.get_nowait()
            if record is not None:
                self._delivery.put(index, record)

    async def _hand_in(self) -> None:
        asyncio = lazy_imports.asyncio()
        async for task_input in self._inputs:
            while not self._delivery.has_room:
                self._has_room.clear()
                await self._has_room.wait()
            task = self._feed.builder.task(self._agent, task_input, self._next_key())
            known: Known = NOTHING_KNOWN
            if self._feed.session.is_resumed_by_program:
                known = await asyncio.to_thread(self._feed.session.compare, [task])
            index = self._delivery.expect(task_input, len(task.input))
            self._feed.wait_for([task], [partial(self._deliver, index)])
            self._unwritten[:] = [self._feed.spool([task], known)]
            await asyncio.shield(asyncio.wrap_future(self._unwritten[0]))  # written, also when the caller leaves

    def _next_key(self) -> str | None:
        if self._keys is None:
            return None
        key = next(self._keys, None)
        if key is None:
            raise ValueError("there are fewer keys than inputs")
        return key

    def _deliver(self, index: int, outcome: TaskOutcome | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: no coroutine waits any more
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, (index, outcome))
