"""Convert the records of tasks, outcomes, snapshots and events to rows, many at once, and back. Pure.

A row is a struct whose field names are the names in the file: columns, or the members of a `record`. Everything that
is read is checked by the types here, whatever wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.core.records import NewTask, PendingTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal.sqlite.batches import Page
from orchestrator.journal.sqlite.columns import Count, Number, Time, escape_surrogates, from_text, readable, to_text
from orchestrator.journal.sqlite.failure_column import failure_text, read_failure
from orchestrator.journal.sqlite.layouts import LayoutReader, RecordDecoder
from orchestrator.journal.sqlite.queries import EVENT_LAYOUT, OUTCOME_LAYOUT
from runtime.interrupt_signal import read_signal
from runtime.ipc.encodings import JSON
from runtime.statuses import ExecutionStatus

decode_seqs = msgspec.json.Decoder(list[Number]).decode

# -- tasks -------------------------------------------------------------------------------------------------


class TaskRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of `tasks`, when it is new. On its way to SQLite its columns are in the order of ADD_TASKS."""

    seq: int
    key: str
    input: str
    encoding: str
    priority: int
    agent: int


def task_row(task: NewTask, seq: int) -> TaskRow:
    """Return the row of a new task."""
    text, encoding = to_text(task.input, task.encoding)
    return TaskRow(seq, task.key, text, encoding, task.priority, task.agent)


def are_default_tasks(tasks: Sequence[NewTask], seqs: Sequence[int]) -> bool:
    """Return whether the inputs alone describe the tasks: JSON, numbered without gaps, the number is the key."""
    return seqs[-1] - seqs[0] == len(seqs) - 1 and all(
        task.encoding == JSON and not task.priority and not task.agent and task.key == str(seq)
        for task, seq in zip(tasks, seqs, strict=True)
    )


def inputs(tasks: Sequence[TaskRow]) -> list[str]:
    """Return only the inputs of tasks."""
    return [task.input for task in tasks]


class _TaskDetails(msgspec.Struct, frozen=True):
    """The columns of a task that is not a default one, and its snapshot."""

    seq: Number
    attempts: Count
    priority: int
    agent: Count
    encoding: str
    snapshot: str | None
    snapshot_encoding: str | None


_decode_keys = msgspec.json.Decoder(dict[str, Number]).decode
_decode_names = msgspec.json.Decoder(dict[Number, str]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_details = msgspec.json.Decoder(list[_TaskDetails]).decode


def terminal_seqs(text: str) -> set[int]:
    """Decode the result of TERMINAL_OF."""
    return set(decode_seqs(text))


def known_keys(text: str) -> dict[str, int]:
    """Decode the result of SEQS_OF_KEYS: keys and their seq."""
    return _decode_keys(text)


def keys_by_seq(text: str) -> dict[int, str]:
    """Decode the result of KEYS_OF_SEQS."""
    return _decode_names(text)


def pending_tasks(page: Page) -> list[PendingTask]:
    """Decode a page of tasks."""
    seqs, keys, texts, details = page
    tasks = [
        PendingTask(seq, key, text.encode())
        for seq, key, text in zip(decode_seqs(seqs), _decode_texts(keys), _decode_texts(texts), strict=True)
    ]
    by_seq = {detail.seq: detail for detail in _decode_details(details)}
    if not by_seq:
        return tasks
    return [_detailed(task, by_seq[task.seq]) if task.seq in by_seq else task for task in tasks]


def _detailed(task: PendingTask, row: _TaskDetails) -> PendingTask:
    stored = row.snapshot_encoding
    return PendingTask(
        seq=task.seq,
        key=task.key,
        input=from_text(task.input.decode(), row.encoding),
        encoding=row.encoding,
        attempts=row.attempts,
        agent=row.agent,
        snapshot=None if stored is None or row.snapshot is None else from_text(row.snapshot, stored),
        snapshot_encoding=stored or "",
        priority=row.priority,
    )


# -- outcomes ----------------------------------------------------------------------------------------------


class OutcomeRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The column `record` of `outcomes`. It repeats the row's seq and status, so that damage to either shows."""

    seq: Number
    status: ExecutionStatus
    attempts: Count
    value: str | None = None
    encoding: str = JSON
    error: str | None = None
    detail: str | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    slot: int | None = None
    incarnation: int | None = None
    signal: str | None = None
    projection: str | None = None
    failure: str | None = None


def outcome_row(outcome: TaskOutcome) -> OutcomeRow:
    """Return the stored form of an outcome."""
    text, encoding = (None, outcome.encoding) if outcome.encoded is None else to_text(outcome.encoded, outcome.encoding)
    return OutcomeRow(
        outcome.seq,
        outcome.status,
        outcome.attempts,
        value=text,
        encoding=encoding,
        error=None if outcome.error is None else escape_surrogates(outcome.error),
        detail=None if outcome.detail is None else escape_surrogates(outcome.detail),
        started_at=outcome.started_at,
        ended_at=outcome.ended_at,
        slot=outcome.slot,
        incarnation=outcome.incarnation,
        signal=None if outcome.signal is None else outcome.signal.model_dump_json(),
        projection=None if outcome.projection is None else readable(outcome.projection),
        failure=None if outcome.failure is None else failure_text(outcome.failure),
    )


def by_seq(outcomes: Sequence[OutcomeRow]) -> dict[int, OutcomeRow]:
    """Return outcomes under their seq: SQLite gets the keys of an object without parsing its values."""
    return {outcome.seq: outcome for outcome in outcomes}


decode_outcome_rows = RecordDecoder(OUTCOME_LAYOUT, OutcomeRow)


def outcomes(page: Page, read_layouts: LayoutReader) -> list[TaskOutcome]:
    """Decode a page of outcomes. Raises ValueError if one is not the outcome that its row is about."""
    records, layouts, keys, marks = page
    statuses = _decode_marks(marks)
    rows = decode_outcome_rows(records, layouts, list(statuses), read_layouts)
    if [(row.seq, row.status) for row in rows] != list(statuses.items()):
        raise ValueError("an outcome is not where it belongs")
    return [
        TaskOutcome(
            seq=row.seq,
            key=key,
            status=row.status,
            attempts=row.attempts,
            encoded=None if row.value is None else from_text(row.value, row.encoding),
            encoding=row.encoding,
            error=row.error,
            detail=row.detail,
            started_at=row.started_at,
            ended_at=row.ended_at,
            slot=row.slot,
            incarnation=row.incarnation,
            signal=None if row.signal is None else read_signal(row.signal),
            projection=None if row.projection is None else row.projection.encode(),
            failure=None if row.failure is None else read_failure(row.failure),
        )
        for key, row in zip(_decode_texts(keys), rows, strict=True)
    ]


_decode_marks = msgspec.json.Decoder(dict[int, ExecutionStatus]).decode


# -- snapshots and events ----------------------------------------------------------------------------------


class SnapshotRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of `snapshots`. On its way to SQLite its columns are in the order of PUT_SNAPSHOTS."""

    seq: int
    data: str
    encoding: str
    projection: str | None


def snapshot_row(snapshot: TaskSnapshot) -> SnapshotRow:
    """Return the row of a snapshot."""
    projection = None if snapshot.projection is None else readable(snapshot.projection)
    return SnapshotRow(snapshot.seq, *to_text(snapshot.data, snapshot.encoding), projection)


class EventRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The column `record` of `events`."""

    kind: str
    at: Time
    data: str = "{}"
    address: str = ""
    task: int = 0
    slot: int | None = None
    incarnation: int | None = None


def event_row(event: RunEvent) -> EventRow:
    """Return the stored form of an event."""
    return EventRow(
        escape_surrogates(event.kind),
        event.at,
        data=to_text(event.data, JSON)[0],
        address=escape_surrogates(event.address),
        task=event.task,
        slot=event.slot,
        incarnation=event.incarnation,
    )


decode_event_rows = RecordDecoder(EVENT_LAYOUT, EventRow)


def events(page: Page, read_layouts: LayoutReader) -> list[RunEvent]:
    """Decode a page of events."""
    records, layouts, numbers = page
    seqs = decode_seqs(numbers)
    rows = decode_event_rows(records, layouts, seqs, read_layouts)
    return [
        RunEvent(
            kind=row.kind,
            at=row.at,
            data=row.data.encode(),
            address=row.address,
            task=row.task,
            slot=row.slot,
            incarnation=row.incarnation,
            seq=seq,
        )
        for seq, row in zip(seqs, rows, strict=True)
    ]
