"""From the journal to whoever listens. What the journal does not have, nobody is shown."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.records import Outcome, RunEvent
from runtime.errors import UsageError

Sink = Callable[[Outcome | None], None]
"""Takes one outcome, or None when none can come any more.

Called from the store's thread: it must neither block nor raise."""


class Hub:
    """Outcomes go to whoever waits for their key; events to every subscriber."""

    def __init__(self) -> None:
        self._waiting: dict[str, Sink] = {}
        self._abandoned = False
        self._events: list[EventStream] = []

    def wait_for(self, key: str, sink: Sink) -> None:
        """Have `sink` called with the outcome of this key, once. Register before the task is handed in.

        Raises UsageError when somebody waits for that key already.
        """
        if key in self._waiting:
            raise UsageError(f"duplicate key {key!r}: a task of that key is on its way")
        self._waiting[key] = sink
        if self._abandoned and self._waiting.pop(key, None) is not None:
            sink(None)

    def forget(self, key: str) -> None:
        """Nobody waits for this key any more."""
        self._waiting.pop(key, None)

    def publish(self, outcomes: Sequence[Outcome], events: Sequence[RunEvent]) -> None:
        """Tell of what has just been committed."""
        if self._waiting:
            for outcome in outcomes:
                sink = self._waiting.pop(outcome.key, None)
                if sink is not None:
                    sink(outcome)
        if events:
            for stream in tuple(self._events):
                stream.put(events)

    def subscribe(self, limit: int) -> EventStream:
        """A stream of the events from now on, at most `limit` of them waiting to be read."""
        stream = EventStream(limit, self._events.remove)
        self._events.append(stream)
        return stream

    def abandon(self) -> None:
        """No outcome can come any more: whoever still waits is told."""
        self._abandoned = True
        for key in tuple(self._waiting):
            sink = self._waiting.pop(key, None)
            if sink is not None:
                sink(None)

    def close(self) -> None:
        """End every stream."""
        for stream in tuple(self._events):
            stream.close()


class EventStream:
    """An iterator of events. A slow reader loses the oldest ones, and `dropped` says how many."""

    def __init__(self, limit: int, leave: Callable[[EventStream], None]) -> None:
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
        with self._changed:
            while not self._waiting:
                if self._closed:
                    raise StopIteration
                self._changed.wait()
            return self._waiting.popleft()
