"""Deliver committed outcomes and events to callers and subscribers. Nothing is delivered before it is durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from orchestrator.core.records import RunEvent, TaskOutcome
from runtime.errors import UsageError
from runtime.limits import check_count

OutcomeCallback = Callable[[TaskOutcome | None], None]
"""Take one outcome, or None when none can come any more.

Called from the store's thread: it must neither block nor raise."""

OutcomesListener = Callable[[Sequence[TaskOutcome]], None]
"""Take the outcomes that have just been committed. Called as OutcomeCallback is."""


class EventSink(Protocol):
    """Take events. Called from the store's thread: it must neither block nor raise."""

    def put(self, events: Sequence[RunEvent]) -> None:
        """Take events that have just been committed."""
        ...

    def close(self) -> None:
        """Note that no more come."""
        ...


class Hub:
    """Deliver each outcome to the caller that waits for its key, and events to every subscriber.

    Any thread may call any method. Sinks are called without the lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, OutcomeCallback] = {}
        self._abandoned = False
        self._events: list[EventSink] = []
        self._closed = False
        self.on_outcomes: OutcomesListener | None = None
        self.next_seq = 1
        """The number of the next event; of a run that was resumed it is known from its first event on."""

    def add_waiter(self, key: str, sink: OutcomeCallback) -> None:
        """Have `sink` called with the outcome of this key, once. Register before the task is handed in.

        Raises UsageError when a caller waits for that key already.
        """
        with self._lock:
            if key in self._waiting:
                raise UsageError(f"duplicate key {key!r}: a task of that key is on its way")
            if not self._abandoned:
                self._waiting[key] = sink
                return
        sink(None)

    def remove_waiter(self, key: str) -> None:
        """Cancel the wait for a key."""
        with self._lock:
            self._waiting.pop(key, None)

    def publish(self, outcomes: Sequence[TaskOutcome], events: Sequence[RunEvent], first_seq: int) -> None:
        """Deliver what has just been committed; the events got the numbers from `first_seq` on."""
        if self._waiting:
            with self._lock:
                deliveries = [(self._waiting.pop(outcome.key, None), outcome) for outcome in outcomes]
            for sink, outcome in deliveries:
                if sink is not None:
                    sink(outcome)
        if events and self.on_outcomes is not None:  # without events they are those of an earlier start
            self.on_outcomes(outcomes)
        if events:
            self.next_seq = first_seq + len(events)  # before subscribers get them: see `attach`
        if events and self._events:
            numbered = [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events, first_seq)]
            for stream in tuple(self._events):
                stream.put(numbered)

    def subscribe(self, limit: int, past: Iterable[RunEvent] = ()) -> EventStream:
        """Return a stream of the events of the `past` and from now on; at most `limit` of these wait to be read.

        The past is read when the stream is, and may overlap with what has come since. Raises ValueError for a limit
        below 1.
        """
        check_count("limit", limit)
        stream = EventStream(limit, past, self.detach)
        self.attach(stream)
        return stream

    def attach(self, sink: EventSink) -> None:
        """Deliver events to a sink from now on; what comes before `next_seq`, read after this, it may get or not."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._events.append(sink)
        if closed:
            sink.close()

    def detach(self, sink: EventSink) -> None:
        """Deliver no more events to a sink."""
        with self._lock, suppress(ValueError):  # it came after the end
            self._events.remove(sink)

    def fail_waiters(self) -> None:
        """Answer every wait with None: no outcome can come any more."""
        with self._lock:
            self._abandoned = True
            sinks, self._waiting = tuple(self._waiting.values()), {}
        for sink in sinks:
            sink(None)

    def close(self) -> None:
        """End every stream, and those that are opened from now on at once."""
        with self._lock:
            self._closed = True
            streams = tuple(self._events)
        for stream in streams:
            stream.close()


class EventStream:
    """Iterate over events, for one reader. A slow reader loses the oldest, and `dropped` says how many."""

    def __init__(self, limit: int, past: Iterable[RunEvent], leave: Callable[[EventStream], None]) -> None:
        self._past: Iterator[RunEvent] | None = iter(past)
        self._read_to = 0
        self._waiting: deque[RunEvent] = deque()
        self._limit = limit
        self._leave = leave
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, events: Sequence[RunEvent]) -> None:
        """Add events. Never blocks."""
        with self._changed:
            if self._closed:
                return
            self._waiting.extend(events)
            while len(self._waiting) > self._limit:
                with suppress(IndexError):  # the reader needs no lock, and was quicker
                    self._waiting.popleft()
                    self.dropped += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End the stream: what is waiting can still be read."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._leave(self)
                self._changed.notify_all()

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> RunEvent:
        if self._past is not None:
            past = next(self._past, None)
            if past is not None:
                self._read_to = past.seq
                return past
            self._past = None
        while (event := self._next_live()).seq <= self._read_to:
            pass
        return event

    def _next_live(self) -> RunEvent:
        with suppress(IndexError):
            return self._waiting.popleft()  # one step, so it needs no lock: most of the time something is there
        with self._changed:
            while not self._waiting:
                if self._closed:
                    raise StopIteration
                self._changed.wait()
            return self._waiting.popleft()
