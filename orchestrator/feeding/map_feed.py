"""Hand in the inputs of one `map`, and yield their outcomes, in the caller's thread."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from orchestrator.core.records import TaskOutcome
from orchestrator.feeding.task_builder import GivenTask
from orchestrator.feeding.task_feed import TaskFeed
from orchestrator.outcome import Outcome
from orchestrator.run_session import SPOOL_AHEAD

FIRST_CHUNK, LAST_CHUNK = 1, 512
"""Inputs are handed in a few at a time: the first result comes soon, and many cost little."""

CHUNK_BYTES = 8 << 20
CHUNK_SECONDS = 0.05
"""What ends a chunk early: inputs that are large, or that come slowly."""

_Arrival = tuple[int, TaskOutcome | None]
_REFUSED: _Arrival = -1, None
"""Not an outcome: some tasks could not be written."""


class MapFeed:
    """Feed a run with the inputs of one `map`. `tasks` is read in the thread that iterates over `outcomes()`."""

    def __init__(self, feed: TaskFeed, agent: int, tasks: Iterator[GivenTask], *, in_order: bool) -> None:
        self._feed = feed
        self._agent = agent
        self._tasks = tasks
        self._delivery = feed.delivery(in_order=in_order)
        self._arrived: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
        self._unwritten: deque[Future[None]] = deque()

    def outcomes(self) -> Generator[Outcome[Any], None, None]:
        """Hand in tasks, and yield their outcomes; a bounded number of them is on the way."""
        size = FIRST_CHUNK
        with self._feed.handing_in(self._agent, self._unwritten):
            while chunk := self._read_chunk(size):
                self._hand_in(chunk)
                size = min(LAST_CHUNK, size * 2)
                while not self._delivery.has_room or not self._arrived.empty():
                    yield from self._deliver()
            for spooled in self._unwritten:
                spooled.result()
        while self._delivery.outstanding:
            yield from self._deliver()
        if self._feed.session.was_interrupted:
            raise self._feed.end_error()

    def _read_chunk(self, size: int) -> list[GivenTask]:
        chunk: list[GivenTask] = []
        until, room = time.monotonic() + CHUNK_SECONDS, CHUNK_BYTES
        for given in self._tasks:
            chunk.append(given)
            room -= len(given[0].input)
            if len(chunk) >= size or room <= 0 or time.monotonic() > until:
                break
        return chunk

    def _hand_in(self, chunk: list[GivenTask]) -> None:
        sinks = [self._sink(self._delivery.expect(given, len(task.input))) for task, given in chunk]
        spooled = self._feed.hand_in([task for task, _ in chunk], sinks)
        spooled.add_done_callback(self._on_spooled)
        self._unwritten.append(spooled)
        while len(self._unwritten) > SPOOL_AHEAD or (self._unwritten and self._unwritten[0].done()):
            self._unwritten.popleft().result()

    def _sink(self, index: int) -> Callable[[TaskOutcome | None], None]:
        return partial(_put, self._arrived, index)

    def _on_spooled(self, spooled: Future[None]) -> None:
        """Wake the caller when tasks could not be written: no outcome of them can come."""
        if spooled.cancelled() or spooled.exception() is not None:
            self._arrived.put(_REFUSED)
        self._feed.session.nudge()  # there may also be outcomes of an earlier start

    def _deliver(self) -> Iterable[Outcome[Any]]:
        """Wait for the next outcome, and return those whose turn has come."""
        if self._arrived.empty():
            self._feed.session.drive_until(lambda: not self._arrived.empty())
        index, record = self._arrived.get()
        if record is not None:
            return self._delivery.take(index, record)
        if index >= 0:
            return self._deliver_last()
        for spooled in self._unwritten:
            if spooled.done():
                spooled.result()
        return ()

    def _deliver_last(self) -> Iterator[Outcome[Any]]:
        """Yield the outcomes that came before the end of the run, and raise."""
        while not self._arrived.empty():
            index, record = self._arrived.get()
            if record is not None:
                self._delivery.put(index, record)
        yield from self._delivery.rest()
        raise self._feed.end_error()


def _put(arrived: queue.SimpleQueue[_Arrival], index: int, record: TaskOutcome | None) -> None:
    arrived.put((index, record))
