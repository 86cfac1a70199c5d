"""Convert records to the rows of the SQLite journal and back. Pure.

A row is a struct whose field names are the names in the file: columns, or the members of a `record`. Everything that
is read is checked by the types here, whatever wrote it. A `record` is decoded by the names of its layout; for the
layout of new rows these are the fields in their order, so that no name is looked up.

*Theory.* SQLite's `json_extract` cuts text at a NUL character, and parsing a text of many megabytes as part of a batch
wastes memory; `split_for_statements` puts such rare rows aside, so that their columns are bound one by one.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from orchestrator.core.records import NewTask, PendingTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal.base import INVALID, Owner, Request, RunRecord, SupervisorRecord
from orchestrator.journal.sqlite.queries import EVENT_LAYOUT, OUTCOME_LAYOUT
from runtime.errors import UsageError
from runtime.interrupt_signal import read_signal
from runtime.ipc.codec import JSON
from runtime.model import ExecutionStatus

CHUNK: Final = 16 << 20
"""Approximate bytes of JSON in one statement. A larger row is bound on its own."""

PAGE: Final = 4 << 20
"""Approximate characters of JSON that are read at once."""

UNLIMITED: Final = (1 << 63) - 1
"""A number of rows that no table reaches: SQLite's largest integer."""

Page = tuple[str, ...]
"""Many rows that were read at once: each column is JSON text."""

R = TypeVar("R", bound=msgspec.Struct)

_encode = msgspec.json.Encoder().encode


def to_text(data: bytes, encoding: str) -> tuple[str, str]:
    """Return encoded bytes as they are stored (JSON unchanged, anything else as base64), and their encoding."""
    if encoding != JSON:
        return b2a_base64(data, newline=False).decode("ascii"), encoding
    try:
        return data.decode(), encoding
    except UnicodeDecodeError:
        return b2a_base64(data, newline=False).decode("ascii"), INVALID


def from_text(text: str, encoding: str) -> bytes:
    """Return the bytes that were given to `to_text`."""
    return text.encode() if encoding == JSON else a2b_base64(text)


def readable(projection: bytes) -> str:
    """Return a projection as it is stored. A broken executor may send bytes that are not UTF-8."""
    return projection.decode("utf-8", "backslashreplace")


def escape_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def to_json(value: Any) -> str:
    """Return JSON text of a plain value. Raises UsageError if it holds a lone surrogate."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError as error:
        raise not_text(error) from error


def not_text(error: UnicodeEncodeError) -> UsageError:
    """Return the error for text that UTF-8 cannot encode, such as a command-line argument that is not UTF-8."""
    return UsageError(f"{error.object[max(0, error.start - 20) : error.end + 20]!r} is not valid text")


class Piece(NamedTuple):
    """Part of a batch for one statement: rows from `at` on as JSON `text`, or the single row `at` if that is None."""

    at: int
    text: str | None


def split_for_statements(rows: Sequence[R], pack: Callable[[Sequence[R]], Any] = list) -> Iterator[Piece]:
    """Cut rows, in order, into statements. `pack` makes the JSON value. Raises UsageError for a lone surrogate."""
    text = to_json(pack(rows))
    if len(text) <= CHUNK and "\\u0000" not in text:  # nearly always
        yield Piece(0, text)
        return
    start, size = 0, 0
    for at, row in enumerate(rows):
        texts = [value for value in msgspec.structs.astuple(row) if isinstance(value, str)]
        length = 64 + sum(map(len, texts))
        rare = length > CHUNK or any("\0" in text for text in texts)
        if start < at and (rare or size + length > CHUNK):
            yield Piece(start, to_json(pack(rows[start:at])))
            start, size = at, 0
        size += length
        if rare:
            yield Piece(at, None)
            start, size = at + 1, 0
    if start < len(rows):
        yield Piece(start, to_json(pack(rows[start:])))


class AdaptivePageSize:
    """The number of rows to read at once, so that a page has about `PAGE` characters however large the rows are."""

    def __init__(self) -> None:
        self.limit = 256
        self.asked = 0

    def saw(self, characters: int) -> None:
        """Adapt the limit: a page of at most `asked` rows had so many characters."""
        if characters > PAGE:
            self.limit = max(1, self.asked * PAGE // characters)
        elif characters < PAGE // 4 and self.asked == self.limit:
            self.limit = min(4096, self.limit * 2)


_Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
_Time = Annotated[float, msgspec.Meta(ge=0, lt=250_000_000_000)]
"""Unix seconds of years that a calendar has."""
_Pid = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


_decode_seqs = msgspec.json.Decoder(list[_Number]).decode
_decode_layouts = msgspec.json.Decoder(dict[int, int]).decode

Layouts = Mapping[int, Sequence[str]]
"""The names of the members of a `record`, by number of layout."""

LayoutReader = Callable[[], Layouts]
"""Returns the layouts that are in the file. Is called only for rows of a layout that new rows do not have."""


class RecordDecoder(Generic[R]):
    """Decodes many `record` columns of one kind."""

    def __init__(self, layout: int, kind: type[R]) -> None:
        self._layout = layout
        self._kind = kind
        self._decode: Callable[[str], list[R]] = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def __call__(self, records: str, others: str, seqs: Sequence[int], read_layouts: LayoutReader) -> list[R]:
        """Return the rows. `others`: the layouts, by seq, of rows that have another one than new rows, as JSON."""
        layouts = _decode_layouts(others)
        if not layouts:
            return self._decode(records)
        stored = read_layouts()
        return [
            self._arrange(dict(zip(stored[layouts.get(seq, self._layout)], values, strict=False)))
            for seq, values in zip(seqs, msgspec.json.decode(records, type=list[list[Any]]), strict=True)
        ]

    def _arrange(self, members: Mapping[str, Any]) -> R:
        """Return the row of named members; one that is missing has its default value."""
        defaults = {field.name: field.default for field in msgspec.structs.fields(self._kind)}
        return msgspec.convert([members.get(name, default) for name, default in defaults.items()], self._kind)


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that is read column by column."""


class LayoutRow(Stored, frozen=True):
    """A row of `layouts`."""

    id: int
    position: Count
    name: str


# -- runs --------------------------------------------------------------------------------------------------


class RunRow(Stored, frozen=True):
    """A row of `runs`."""

    id: _Number
    run_id: str
    agent: str
    config: str
    cwd: str
    status: ExecutionStatus
    created_at: _Time
    started_at: _Time | None
    ended_at: _Time | None
    sealed: Literal[0, 1]
    signal: str | None
    starts: Count
    owner_pid: _Pid | None
    owner_host: str | None
    ready: Literal[0, 1]

    def record(self, holder: int | None) -> RunRecord:
        """Return the record. `holder`: the process that holds the run's lock (None: no process, 0: a hidden one)."""
        if "\0" in self.run_id or "\0" in self.cwd:
            raise ValueError("a run's name and directory hold no NUL")
        return RunRecord(
            id=self.id,
            run_id=self.run_id,
            agent=json.loads(self.agent),
            config=json.loads(self.config),
            cwd=self.cwd,
            status=self.status,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            sealed=bool(self.sealed),
            signal=None if self.signal is None else read_signal(self.signal),
            starts=self.starts,
            owner=self._owner(holder),
        )

    def _owner(self, holder: int | None) -> Owner | None:
        if self.owner_pid is None and holder is None:
            return None
        return Owner(holder or self.owner_pid or 0, self.owner_host or "", alive=holder is not None)


class SupervisorRow(Stored, frozen=True):
    """A row of `supervisors`."""

    token: str
    pid: _Pid
    host: str

    def record(self) -> SupervisorRecord:
        """Return the record. Raises ValueError for a token that is no name of a cgroup."""
        if "\0" in self.token or "/" in self.token:
            raise ValueError("a supervisor's token holds no NUL and no slash")
        return SupervisorRecord(self.token, self.pid, self.host)


class RequestRow(Stored, frozen=True):
    """A row of `requests`."""

    id: int
    signal: str
    task: int | None
    key: str | None

    def record(self) -> Request:
        """Return the record."""
        return Request(read_signal(self.signal), self.task, self.key)


class AgentRow(Stored, frozen=True):
    """A row of `agents`."""

    number: Count
    identity: str


class CountsRow(Stored, frozen=True):
    """The tasks of a run, by status."""

    pending: Count
    completed: Count
    failed: Count
    interrupted: Count


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

    seq: _Number
    attempts: Count
    priority: int
    agent: Count
    encoding: str
    snapshot: str | None
    snapshot_encoding: str | None


_decode_keys = msgspec.json.Decoder(dict[str, _Number]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_details = msgspec.json.Decoder(list[_TaskDetails]).decode


def terminal_seqs(text: str) -> set[int]:
    """Decode the result of TERMINAL_OF."""
    return set(_decode_seqs(text))


def known_keys(text: str) -> dict[str, int]:
    """Decode the result of SEQS_OF_KEYS: keys and their seq."""
    return _decode_keys(text)


def pending_tasks(page: Page) -> list[PendingTask]:
    """Decode a page of tasks."""
    seqs, keys, texts, details = page
    tasks = [
        PendingTask(seq, key, text.encode())
        for seq, key, text in zip(_decode_seqs(seqs), _decode_texts(keys), _decode_texts(texts), strict=True)
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

    seq: _Number
    status: ExecutionStatus
    attempts: Count
    value: str | None = None
    encoding: str = JSON
    error: str | None = None
    detail: str | None = None
    started_at: _Time | None = None
    ended_at: _Time | None = None
    slot: int | None = None
    incarnation: int | None = None
    signal: str | None = None
    projection: str | None = None


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
        )
        for key, row in zip(_decode_texts(keys), rows, strict=True)
    ]


_decode_marks = msgspec.json.Decoder(dict[int, ExecutionStatus]).decode


def check_rising(seqs: Sequence[int], after: int) -> None:
    """Check that numbers rise. A page whose last number is not behind its first would be read for ever.

    Raises ValueError.
    """
    for seq in seqs:
        if seq <= after:
            raise ValueError(f"number {seq} comes after number {after}")
        after = seq


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
    at: _Time
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
    seqs = _decode_seqs(numbers)
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


def columns(row: msgspec.Struct) -> Mapping[str, Any]:
    """Return the columns of a row that is bound on its own, by name."""
    return msgspec.structs.asdict(row)
