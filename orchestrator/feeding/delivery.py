"""Put the outcomes of one `map` into the order in which they are yielded, and bound what is on the way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.core.records import TaskOutcome
from orchestrator.outcome import Outcome

MAX_TASKS = 4096
"""Tasks that `map` has handed in beyond what was taken from it, at most: any iterable may be endless."""

MAX_BYTES = 64 << 20
"""Bytes of their encoded inputs, and of outcomes that wait to be yielded, at most; `least` tasks may have more."""


class Delivery:
    """Match outcomes with inputs. One thread calls.

    `in_order`: an outcome waits for those of the inputs before it. Then `MAX_TASKS` counts from the first input whose
    outcome was not yielded: one slow task delays what is far behind it, and memory stays bounded. `least`: so many
    tasks may always be on the way, however large they are, so that no executor is idle.
    """

    def __init__(self, *, in_order: bool, least: int) -> None:
        self._in_order = in_order
        self._least = least
        self._given: dict[int, tuple[Any, int]] = {}
        self._arrived: dict[int, Outcome[Any]] = {}
        self._bytes = 0
        self._count = 0
        self._next = 0

    @property
    def outstanding(self) -> int:
        """The number of inputs that were handed in and whose outcome was not yielded."""
        return len(self._given) + len(self._arrived)

    @property
    def has_room(self) -> bool:
        """Whether one more input may be handed in."""
        count = self.outstanding
        return count < self._least or (count < MAX_TASKS and self._bytes < MAX_BYTES)

    def expect(self, task_input: Any, size: int) -> int:
        """Note an input that is handed in, `size` bytes when encoded. Return its index."""
        index = self._count
        self._count += 1
        self._given[index] = task_input, size
        self._bytes += size
        return index

    def put(self, index: int, record: TaskOutcome) -> None:
        """Take the outcome of an input."""
        self._arrived[index] = self._match(index, record)
        self._bytes += _size(record)

    def take(self, index: int, record: TaskOutcome) -> Iterable[Outcome[Any]]:
        """Take the outcome of an input, and return those whose turn it is."""
        if not self._arrived and (index == self._next or not self._in_order):  # the short way: nothing has to wait
            self._next = index + 1
            return (self._match(index, record),)
        self.put(index, record)
        return self.ready()

    def _match(self, index: int, record: TaskOutcome) -> Outcome[Any]:
        task_input, size = self._given.pop(index)
        self._bytes -= size
        return Outcome.from_record(record, index, task_input)

    def ready(self) -> Iterator[Outcome[Any]]:
        """Yield the outcomes whose turn it is."""
        while self._arrived:
            index = self._next if self._in_order else next(iter(self._arrived))
            outcome = self._arrived.pop(index, None)
            if outcome is None:
                return
            self._next = index + 1
            self._bytes -= _size(outcome)
            yield outcome

    def rest(self) -> Iterator[Outcome[Any]]:
        """Yield all outcomes that have arrived, over the gaps between them: no more will come."""
        arrived, self._arrived = self._arrived, {}
        yield from (arrived[index] for index in (sorted(arrived) if self._in_order else arrived))


def _size(outcome: TaskOutcome) -> int:
    return len(outcome.encoded or b"")
