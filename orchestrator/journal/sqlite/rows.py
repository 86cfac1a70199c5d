"""Records into the JSON that statements.py takes, and back. Pure.

A column that SQLite must take out of JSON is cut short at a NUL character, and a text of many megabytes is
parsed for nothing; `pieces` puts such rare rows aside, to be bound one by one.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from orchestrator.core.records import NewTask, PendingTask, RunEvent, TaskOutcome, TaskSnapshot
from orchestrator.journal.base import Owner, RunRecord, SupervisorRecord
from runtime.interrupt_signal import read_signal
from runtime.ipc.codec import JSON
from runtime.model import ExecutionStatus

INVALID: Final = "invalid"
"""The encoding of a value that claimed to be JSON and is not even text. Kept as bytes; it has no value."""

CHUNK: Final = 16 << 20
"""Bytes of JSON in one statement, roughly. A larger row is bound on its own."""

PAGE: Final = 4 << 20
"""Characters of JSON that are read at once, roughly."""

UNLIMITED: Final = (1 << 63) - 1
"""Rows: more than there can be."""

Row = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode


def to_text(data: bytes, encoding: str) -> tuple[str, str]:
    """Encoded bytes as they are stored: JSON as it is, anything else as base64; and the encoding."""
    if encoding != JSON:
        return b2a_base64(data, newline=False).decode("ascii"), encoding
    try:
        return data.decode(), encoding
    except UnicodeDecodeError:
        return b2a_base64(data, newline=False).decode("ascii"), INVALID


def from_text(text: str, encoding: str) -> bytes:
    """The bytes that were given to `to_text`."""
    return text.encode() if encoding == JSON else a2b_base64(text)


def readable(projection: bytes) -> str:
    """A projection as it is stored. An executor that is broken may send what is no text."""
    return projection.decode("utf-8", "backslashreplace")


def escape_surrogates(text: str | None) -> str | None:
    """Text that UTF-8 has bytes for; lone surrogates become escapes."""
    return text if text is None or text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def to_json(value: Any) -> str:
    """JSON text of any plain value."""
    return _encode(value).decode()


class Piece(NamedTuple):
    """Part of a batch for one statement: `rows[at:]` as one JSON text, or (`text` is None) the one row at `at`."""

    at: int
    text: str | None


def split_for_statements(
    rows: Sequence[Row], texts: Sequence[int], pack: Callable[[Sequence[Row]], Any]
) -> Iterator[Piece]:
    """Cut rows, in order, into statements. `texts` are the columns that are text; `pack` makes the JSON value."""
    data = _encode(pack(rows))
    if len(data) <= CHUNK and b"\\u0000" not in data:  # nearly always
        yield Piece(0, data.decode())
        return
    start, size = 0, 0
    for at, row in enumerate(rows):
        length = 64 + sum(len(row[column] or "") for column in texts)
        rare = length > CHUNK or any("\0" in (row[column] or "") for column in texts)
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
    """How many rows to read at once, so that a page has about `PAGE` characters however large they are."""

    def __init__(self) -> None:
        self.limit = 256
        self.asked = 0

    def saw(self, characters: int) -> None:
        """A page of at most `asked` rows had so many characters."""
        if characters > PAGE:
            self.limit = max(1, self.asked * PAGE // characters)
        elif characters < PAGE // 4 and self.asked == self.limit:
            self.limit = min(4096, self.limit * 2)


# -- runs --------------------------------------------------------------------------------------------------


_Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
_Time = Annotated[float, msgspec.Meta(ge=0, lt=250_000_000_000)]
"""Unix seconds of years that a calendar has."""
_Pid = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _Run(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """As `_RUN_COLUMNS` of statements.py; everything that is read is checked here, whatever wrote it."""

    number: _Number
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
    starts: _Count
    owner_pid: _Pid | None
    owner_host: str | None


def run_record(row: Row, holder_of: Callable[[int], int | None]) -> RunRecord:
    """A row of `runs`. `holder_of` tells which process has its lock (None: nobody, 0: one that we cannot see)."""
    run = msgspec.convert(row, _Run)
    if "\0" in run.run_id or "\0" in run.cwd:
        raise ValueError("a run's name and directory hold no NUL")
    holder = holder_of(run.number)
    known = run.owner_pid is not None or holder is not None
    return RunRecord(
        id=run.number,
        run_id=run.run_id,
        agent=json.loads(run.agent),
        config=json.loads(run.config),
        cwd=run.cwd,
        status=run.status,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        sealed=bool(run.sealed),
        signal=None if run.signal is None else read_signal(run.signal),
        starts=run.starts,
        owner=_owner(run, holder) if known else None,
    )


def _owner(run: _Run, holder: int | None) -> Owner:
    pid, host = holder or run.owner_pid or 0, run.owner_host or ""
    return Owner(pid, host, alive=holder is not None)


class _Supervisor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    token: str
    pid: _Pid
    host: str


def supervisor_record(row: Row) -> SupervisorRecord:
    """A row of `supervisors`, as OTHER_SUPERVISORS returns it."""
    found = msgspec.convert(row, _Supervisor)
    if "\0" in found.token or "/" in found.token:
        raise ValueError("a supervisor's token holds no NUL and no slash")
    return SupervisorRecord(found.token, found.pid, found.host)


_decode_known = msgspec.json.Decoder(list[tuple[str, _Number]]).decode


def known_keys(text: str) -> dict[str, int]:
    """What TASKS_WITH_KEYS returned: keys and their seq."""
    return dict(_decode_known(text))


# -- tasks -------------------------------------------------------------------------------------------------


def task_row(task: NewTask, seq: int) -> Row:
    """The columns of a new task."""
    text, encoding = to_text(task.input, task.encoding)
    return (seq, task.key, text, encoding, task.priority, task.agent)


def are_default_tasks(tasks: Sequence[NewTask], seqs: Sequence[int]) -> bool:
    """Whether the inputs say it all: JSON, numbered without gaps, the number is the key, nothing else."""
    return seqs[-1] - seqs[0] == len(seqs) - 1 and all(
        task.encoding == JSON and not task.priority and not task.agent and task.key == str(seq)
        for task, seq in zip(tasks, seqs, strict=True)
    )


def inputs(part: Sequence[Row]) -> list[str]:
    """Only the inputs of task rows."""
    return [row[2] for row in part]


_decode_seqs = msgspec.json.Decoder(list[_Number]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_special = msgspec.json.Decoder(list[tuple[_Number, _Count, int, _Count, str, str | None, str | None]]).decode


def pending_tasks(page: Row) -> list[PendingTask]:
    """What PENDING returned."""
    seqs, keys, texts, special = page
    tasks = [
        PendingTask(seq, key, text.encode())
        for seq, key, text in zip(_decode_seqs(seqs), _decode_texts(keys), _decode_texts(texts), strict=True)
    ]
    found = {row[0]: row for row in _decode_special(special)}
    return [_special(task, *found[task.seq]) if task.seq in found else task for task in tasks] if found else tasks


def _special(
    task: PendingTask,
    seq: int,
    attempts: int,
    priority: int,
    agent: int,
    encoding: str,
    stored: str | None,
    data: str | None,
) -> PendingTask:
    return PendingTask(
        seq=seq,
        key=task.key,
        input=from_text(task.input.decode(), encoding),
        encoding=encoding,
        attempts=attempts,
        agent=agent,
        snapshot=None if stored is None or data is None else from_text(data, stored),
        snapshot_encoding=stored or "",
        priority=priority,
    )


# -- outcomes ----------------------------------------------------------------------------------------------


class _Outcome(msgspec.Struct, array_like=True):
    seq: _Number
    status: ExecutionStatus
    attempts: _Count
    value: str | None
    encoding: str
    error: str | None
    detail: str | None
    started_at: _Time | None
    ended_at: _Time | None
    slot: int | None
    incarnation: int | None
    signal: str | None
    projection: str | None = None


_decode_outcomes = msgspec.json.Decoder(list[_Outcome]).decode


def outcome_row(outcome: TaskOutcome) -> Row:
    """The body of an outcome, which begins with its seq and status."""
    text, encoding = (None, outcome.encoding) if outcome.encoded is None else to_text(outcome.encoded, outcome.encoding)
    return (
        outcome.seq,
        outcome.status,
        outcome.attempts,
        text,
        encoding,
        escape_surrogates(outcome.error),
        escape_surrogates(outcome.detail),
        outcome.started_at,
        outcome.ended_at,
        outcome.slot,
        outcome.incarnation,
        None if outcome.signal is None else outcome.signal.model_dump_json(),
        None if outcome.projection is None else readable(outcome.projection),
    )


def by_seq(part: Sequence[Row]) -> dict[int, Row]:
    """Outcome rows under their seq, which is how SQLite gets at it for nothing."""
    return {row[0]: row for row in part}


def outcomes(page: Row) -> list[TaskOutcome]:
    """What RESULTS returned."""
    keys, bodies = page
    return [
        TaskOutcome(
            seq=body.seq,
            key=key,
            status=body.status,
            attempts=body.attempts,
            encoded=None if body.value is None else from_text(body.value, body.encoding),
            encoding=body.encoding,
            error=body.error,
            detail=body.detail,
            started_at=body.started_at,
            ended_at=body.ended_at,
            slot=body.slot,
            incarnation=body.incarnation,
            signal=None if body.signal is None else read_signal(body.signal),
            projection=None if body.projection is None else body.projection.encode(),
        )
        for key, body in zip(_decode_texts(keys), _decode_outcomes(bodies), strict=True)
    ]


_decode_marks = msgspec.json.Decoder(list[tuple[_Number, ExecutionStatus]]).decode


def check_outcomes(found: Sequence[TaskOutcome], marks: str, after: int) -> None:
    """Each is the one that its row says, so that reading gets on. Raises ValueError."""
    said = [(outcome.seq, outcome.status) for outcome in found]
    if said != _decode_marks(marks):
        raise ValueError("an outcome is not where it belongs")
    check_rising([seq for seq, _ in said], after)


def check_rising(seqs: Sequence[int], after: int) -> None:
    """A page of which the last is not behind the first would be read for ever. Raises ValueError."""
    for seq in seqs:
        if seq <= after:
            raise ValueError(f"number {seq} comes after number {after}")
        after = seq


# -- snapshots and events ----------------------------------------------------------------------------------


def snapshot_row(snapshot: TaskSnapshot) -> Row:
    """The columns of a snapshot."""
    projection = None if snapshot.projection is None else readable(snapshot.projection)
    return (snapshot.seq, *to_text(snapshot.data, snapshot.encoding), projection)


class _Event(msgspec.Struct, array_like=True):
    kind: str
    at: _Time
    data: str
    address: str
    task: int
    slot: int | None
    incarnation: int | None


_decode_events = msgspec.json.Decoder(list[_Event]).decode


def event_row(event: RunEvent) -> Row:
    """The body of an event."""
    data, _ = to_text(event.data, JSON)
    return (
        escape_surrogates(event.kind),
        event.at,
        data,
        escape_surrogates(event.address),
        event.task,
        event.slot,
        event.incarnation,
    )


def events(page: Row) -> list[RunEvent]:
    """What EVENTS returned."""
    seqs, bodies = page
    return [
        RunEvent(
            kind=body.kind,
            at=body.at,
            data=body.data.encode(),
            address=body.address,
            task=body.task,
            slot=body.slot,
            incarnation=body.incarnation,
            seq=seq,
        )
        for seq, body in zip(_decode_seqs(seqs), _decode_events(bodies), strict=True)
    ]
