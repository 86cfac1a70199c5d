"""The subscribers of a bus: a `Stream` is read, a `Subscription` is called. Each has a queue of its own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from runtime.errors import ExecutionInterrupted
from runtime.events.queue import SubscriberQueue
from runtime.model import Event

log = logging.getLogger("quiesce.bus")

Handler = Callable[[Event], Awaitable[object]] | Callable[[Event], object]


class Stream(AsyncIterator[Event]):
    """Events as they come, `async for event in bus.stream():`. Ends after the InterruptEvent, or with the bus.

    Cancelled while it waits, it closes itself and the cancellation goes on. Dropped without being closed, it
    unsubscribes when it is collected.
    """

    def __init__(self, outlet: SubscriberQueue, leave: Callable[[], None]) -> None:
        self._outlet = outlet
        self._leave = leave

    @property
    def dropped(self) -> int:
        """How many events a full queue has cost this stream."""
        return self._outlet.dropped

    @property
    def closed(self) -> bool:
        """Whether nothing more will be queued. What is queued already can still be read."""
        return self._outlet.closed

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        try:
            event = await self._outlet.get()
        except asyncio.CancelledError:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Unsubscribe. Idempotent."""
        self._leave()
        self._outlet.close(discard=True)

    async def aclose(self) -> None:
        """Unsubscribe, for `contextlib.aclosing`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._leave()


class Subscription:
    """A subscriber's handle: `close()` ends it, `dropped` counts what its full queue has cost it."""

    def __init__(self, handler: Handler, outlet: SubscriberQueue) -> None:
        self.on_close: Callable[[], None] = _nothing
        self.on_awaitable: Callable[[], None] = _nothing
        self._handler = handler
        self._outlet = outlet
        self._first: tuple[Event, Awaitable[object]] | None = None

    @property
    def dropped(self) -> int:
        """How many events never reached the handler because its queue was full."""
        return self._outlet.dropped

    def close(self) -> None:
        """Unsubscribe. What is queued for an async handler is still delivered. Idempotent."""
        self.on_close()
        self._outlet.close()

    def call(self, event: Event) -> None:
        """Run a sync handler. An exception is logged and does not affect other subscribers.

        If it gives something to await, `on_awaitable` is called, which must arrange that `run` is called.
        """
        try:
            result = self._handler(event)
            if inspect.isawaitable(result):
                self._first = event, result
                self.on_awaitable()
        except (Exception, ExecutionInterrupted):  # noqa: BLE001 - a subscriber's error is the subscriber's
            self._complain(event)

    async def run(self) -> None:
        """Run an async handler for one event after the other, until its queue is closed and empty."""
        if self._first is not None:
            (event, result), self._first = self._first, None
            await self._await(event, result)
        while (following := await self._outlet.get()) is not None:
            await self._await(following)

    async def _await(self, event: Event, result: object = None) -> None:
        try:
            result = self._handler(event) if result is None else result
            if inspect.isawaitable(result):
                await result
        except (Exception, ExecutionInterrupted):  # noqa: BLE001 - a subscriber's error is the subscriber's
            self._complain(event)

    def _complain(self, event: Event) -> None:
        log.exception("a subscriber of the event bus raised on %r", event.kind)  # noqa: LOG004 - called by handlers


def _nothing() -> None:
    pass


def is_async(handler: Handler) -> bool:
    """Whether calling it makes something to await."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
