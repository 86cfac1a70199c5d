"""One consumer's end of a bus: a bounded queue that says what happens when it is full."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import StrEnum
from typing import Any

from runtime.limits import check_count
from runtime.model import Event, InterruptEvent


class OverflowPolicy(StrEnum):
    """What a full queue does with one more event."""

    BLOCK = "block"
    """`await bus.publish(...)` waits for room. Publishers that cannot wait drop the oldest event:
    `bus.publish_nowait`, a sync agent, and the task that reads this queue."""
    DROP_OLDEST = "drop_oldest"
    """The oldest goes, and is counted in `dropped`."""
    LATEST = "latest"
    """Only the newest is kept; what it replaces is counted in `dropped`."""


class SubscriberQueue:
    """The queue between a bus and one consumer. Belongs to one event loop.

    An InterruptEvent is always let in. `ends_on_interrupt`: it is also the last thing that comes out.
    """

    def __init__(self, policy: OverflowPolicy, limit: int, *, ends_on_interrupt: bool) -> None:
        check_count("limit", limit)
        self.policy = OverflowPolicy(policy)
        self.limit = 1 if self.policy is OverflowPolicy.LATEST else limit
        self.dropped = 0
        self.closed = False
        self.reader: asyncio.Task[Any] | None = None
        self._ends_on_interrupt = ends_on_interrupt
        self._queue: deque[Event] = deque()
        self._reader_waiter: asyncio.Future[None] | None = None
        self._room: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether a publisher that can wait should."""
        return self.policy is OverflowPolicy.BLOCK and not self.closed and len(self._queue) > self.limit

    def put(self, event: Event, *, patient: bool) -> None:
        """Queue an event. `patient` publishers then wait until the outlet is no longer `full`."""
        if self.closed:
            return
        last = isinstance(event, InterruptEvent)
        if len(self._queue) >= self.limit and not last and not (patient and self.policy is OverflowPolicy.BLOCK):
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(event)
        if last and self._ends_on_interrupt:
            self.close()
        _wake(self._reader_waiter)

    async def get(self) -> Event | None:
        """Return the next event; None when the queue is closed and empty. Raises RuntimeError if another task waits."""
        self.reader = asyncio.current_task()
        while not self._queue:
            if self.closed:
                return None
            if self._reader_waiter is not None:
                raise RuntimeError("an event stream is read by one task at a time: open one for each")
            self._reader_waiter = asyncio.get_running_loop().create_future()
            try:
                await self._reader_waiter
            finally:
                self._reader_waiter = None
        event = self._queue.popleft()
        if self._room and not self.full:
            _wake(self._room[0])
        return event

    async def wait_not_full(self) -> None:
        """Wait until the outlet is no longer full, or closed. Publishers get their turn in order."""
        while self.full:
            turn = asyncio.get_running_loop().create_future()
            self._room.append(turn)
            try:
                await turn
            finally:
                self._room.remove(turn)
        if self._room and not self.full:
            _wake(self._room[0])

    def close(self, *, discard: bool = False) -> None:
        """Let nothing more in, and what is queued out, unless it is to be discarded."""
        self.closed = True
        if discard:
            self._queue.clear()
        _wake(self._reader_waiter)
        for turn in self._room:
            _wake(turn)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done() and not future.get_loop().is_closed():
        future.set_result(None)
