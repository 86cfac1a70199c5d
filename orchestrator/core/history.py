"""Keep the last stimuli of the state machine, so that a crash can be explained and replayed. Pure.

*Theory.* Stimuli are frozen, so keeping one costs a reference. What makes them large is what they carry for others: the
bytes of inputs, results and agents, and the text of tracebacks. The machine looks at the length of these, never at
what is in them, so beyond PAYLOAD_LIMIT they are replaced by a beginning that has the length of the whole. Two
payloads are read by the machine, and are kept: the options of an agent, and the signal of an interrupted task.

*Rejected:* to copy the machine's state now and then, so that the last thousand stimuli of a long run could be replayed.
The state holds thousands of waiting tasks, and a copy of it for every thousand stimuli costs more than they do. Of a
longer run the history is a record to read; only one that has its beginning is replayed (replay.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

import msgspec

from orchestrator.core import stimuli
from orchestrator.core.records import NewTask, PendingTask, TaskOutcome
from runtime.failure import Failure
from runtime.ipc import executor_protocol
from runtime.ipc.undo import UndoCommand

MAX_STIMULI = 1000
"""Stimuli that are kept."""

MAX_ITEMS = 8192
"""Tasks and records that the kept stimuli may carry in all, a few MiB; beyond that the oldest stimuli are dropped."""

PAYLOAD_LIMIT = 512
"""Bytes or characters of one payload that are kept."""


class Entry(NamedTuple):
    """A stimulus, and when the machine took it (monotonic seconds)."""

    now: float
    stimulus: stimuli.Stimulus


class OmittedBytes(bytes):
    """The beginning of a payload that has the length of the whole."""

    size: int

    @classmethod
    def of(cls, payload: bytes, size: int | None = None) -> Self:
        """Keep the beginning of a payload of `size` bytes (default: its length)."""
        kept = cls(payload[:PAYLOAD_LIMIT])
        kept.size = len(payload) if size is None else size
        return kept

    def __len__(self) -> int:
        return self.size


class OmittedText(str):
    """The beginning of a text that has the length of the whole."""

    __slots__ = ("size",)
    size: int

    @classmethod
    def of(cls, text: str, size: int | None = None) -> Self:
        """Keep the beginning of a text of `size` characters (default: its length)."""
        kept = cls(text[:PAYLOAD_LIMIT])
        kept.size = len(text) if size is None else size
        return kept

    def __len__(self) -> int:
        return self.size


PAYLOADS: dict[type, tuple[str, ...]] = {
    stimuli.AgentAdded: ("source",),
    NewTask: ("input",),
    PendingTask: ("input", "snapshot"),
    executor_protocol.AgentLoadFailed: ("message", "detail"),
    executor_protocol.TaskDone: ("value", "error", "detail", "projection"),
    executor_protocol.Snapshot: ("data", "projection"),
    executor_protocol.ThreadsLeft: ("stack",),
    executor_protocol.Delayed: ("stack",),
    executor_protocol.LoadAgent: ("source",),
    executor_protocol.Task: ("input", "snapshot"),
    Failure: ("arguments",),
    TaskOutcome: ("encoded", "error", "detail", "projection"),
}
"""The members that may be large, and that the machine does not read: of stimuli, of what they carry, and of orders."""


class History:
    """The last stimuli, in order. `dropped` counts those that were there before them."""

    def __init__(self, entries: Iterable[Entry] = (), dropped: int = 0) -> None:
        self._entries: deque[tuple[float, stimuli.Stimulus, int]] = deque(maxlen=MAX_STIMULI)
        self._items = 0
        self.dropped = dropped
        for entry in entries:
            self.add(entry.stimulus, entry.now)

    def __iter__(self) -> Iterator[Entry]:
        return (Entry(now, stimulus) for now, stimulus, _ in tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def copy(self) -> History:
        """Return a history of the same stimuli, which does not change."""
        copy = History(dropped=self.dropped)
        copy._entries.extend(self._entries)
        copy._items = self._items
        return copy

    def add(self, stimulus: stimuli.Stimulus, now: float) -> None:
        """Add a stimulus that the machine takes at `now`; drop the oldest ones if there are too many."""
        entries, items = self._entries, 1
        shorten = _SHORTEN.get(type(stimulus))
        if shorten is not None:
            stimulus, items = shorten(stimulus)
        if len(entries) == MAX_STIMULI:
            self._drop_oldest()
        entries.append((now, stimulus, items))
        self._items += items
        while self._items > MAX_ITEMS and len(entries) > 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._items -= self._entries.popleft()[2]
        self.dropped += 1


def _shorten_records(stimulus: stimuli.RecordsReceived) -> tuple[stimuli.Stimulus, int]:
    """Return a stimulus without large payloads, and the number of its records. Fast for the common ones."""
    records = stimulus.records
    for record in records:
        if type(record) is executor_protocol.TaskDone:
            value = record.value
            is_bare = record.error is None and record.detail is None and record.projection is None
            if is_bare and (value is None or len(value) <= PAYLOAD_LIMIT):
                continue
        elif type(record) not in PAYLOADS and type(record) is not executor_protocol.UndoDeferred:
            continue
        return msgspec.structs.replace(stimulus, records=list(map(_shorten, records))), len(records)
    return stimulus, len(records)


def _shorten_new_tasks(stimulus: stimuli.TasksAdded) -> tuple[stimuli.Stimulus, int]:
    """Return a stimulus without the large inputs of its tasks, and the number of these (one at least)."""
    tasks = stimulus.tasks
    for task in tasks:
        if len(task.input) > PAYLOAD_LIMIT:
            return msgspec.structs.replace(stimulus, tasks=list(map(_shorten, tasks))), len(tasks)
    return stimulus, len(tasks) or 1


def _shorten_pending_tasks(stimulus: Any) -> tuple[stimuli.Stimulus, int]:
    """Do the same for tasks that may have snapshots."""
    tasks = stimulus.tasks
    for task in tasks:
        if len(task.input) > PAYLOAD_LIMIT or task.snapshot is not None:
            return msgspec.structs.replace(stimulus, tasks=list(map(_shorten, tasks))), len(tasks)
    return stimulus, len(tasks) or 1


def _shorten(item: Any) -> Any:
    """Return a stimulus, task or record without its large payloads: itself, if it has none."""
    for name in PAYLOADS.get(type(item), ()):
        payload = getattr(item, name)
        if payload is not None and len(payload) > PAYLOAD_LIMIT:
            item = msgspec.structs.replace(item, **{name: _cut(payload)})
    if type(item) is executor_protocol.UndoDeferred:
        return msgspec.structs.replace(item, command=without_environment(item.command))
    if type(item) is executor_protocol.TaskDone and item.failure is not None:
        return msgspec.structs.replace(item, failure=_shorten(item.failure))
    return item


def _shorten_undo(stimulus: stimuli.UndoJournalOpened) -> tuple[stimuli.Stimulus, int]:
    """Return a stimulus without the environments of the commands, and without the place of the journal."""
    records = [
        msgspec.structs.replace(record, command=without_environment(record.command)) for record in stimulus.records
    ]
    journal = msgspec.structs.replace(stimulus.journal, location=b"")
    return msgspec.structs.replace(stimulus, journal=journal, records=records), len(records) or 1


def without_environment(command: UndoCommand) -> UndoCommand:
    """Return an undo command without its environment: it decides nothing, and may be secret."""
    return msgspec.structs.replace(command, env={})


def _cut(payload: bytes | str) -> bytes | str:
    return OmittedBytes.of(payload) if isinstance(payload, bytes) else OmittedText.of(payload)


_SHORTEN: dict[type, Callable[[Any], tuple[stimuli.Stimulus, int]]] = {
    stimuli.AgentAdded: lambda added: (_shorten(added), 1),
    stimuli.TasksAdded: _shorten_new_tasks,
    stimuli.TasksRecalled: _shorten_pending_tasks,
    stimuli.TasksFetched: _shorten_pending_tasks,
    stimuli.RecordsReceived: _shorten_records,
    stimuli.UndoJournalOpened: _shorten_undo,
}
