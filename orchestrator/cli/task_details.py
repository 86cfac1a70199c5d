"""Collect all that a journal has about one task, and render it: an object for --json, lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from orchestrator import run_text
from orchestrator.cli import rendering
from orchestrator.cli.output_rendering import kept_line_object, kept_line_text
from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.core.records import PendingTask, RunEvent, TaskOutcome
from orchestrator.core.undo_records import UndoRecord
from orchestrator.failures import cause_of
from orchestrator.journal import Journal, RunRecord
from runtime.errors import UsageError
from runtime.ipc.encodings import JSON
from runtime.statuses import ExecutionStatus
from runtime.text import printable, printable_lines, shell_word

SHOWN_EVENTS: Final = 40
"""Events, and lines of output, that are shown to people, the last ones. JSON has all."""

SHOWN_ATTEMPTS: Final = 10
"""Attempts before the last one that are shown to people, with their tracebacks. JSON has all."""


class FailedAttempt(msgspec.Struct, frozen=True):
    """An attempt after which the task was tried again. `event` says why, and is `at` a time (Unix seconds)."""

    error: str | None = None
    detail: str | None = None
    attempt: int | None = None
    event: str = ""
    at: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the attempt for programs."""
        return {**msgspec.structs.asdict(self), "at": run_text.iso(self.at)}


_FAILED_ATTEMPTS: Final = frozenset({"task.retrying", "task.postponed", "task.crashed", "task.out_of_memory"})
_decode_attempt = msgspec.json.Decoder(FailedAttempt).decode


def _failed_attempt(event: RunEvent) -> FailedAttempt | None:
    """Return the attempt that an event reports. An attempt that was postponed is none that counts: it has no number."""
    if event.kind not in _FAILED_ATTEMPTS:
        return None
    try:
        return replace(_decode_attempt(event.data), event=event.kind, at=event.at)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # damaged
        return None


@dataclass(frozen=True, slots=True)
class TaskDetails:
    """One task of a run, its outcome if it has one, its events and its output."""

    run: RunRecord
    task: PendingTask
    outcome: TaskOutcome | None
    events: Sequence[RunEvent]
    output: Sequence[OutputChunk] = ()
    undo: Sequence[UndoRecord] = ()

    @property
    def lines(self) -> list[KeptLine]:
        """Return the task's output, as far as the journal keeps it."""
        return [line for chunk in self.output for line in chunk.lines]

    @property
    def attempts(self) -> int:
        """Return how many attempts the task has used."""
        return self.task.attempts if self.outcome is None else self.outcome.attempts

    @property
    def failed_attempts(self) -> list[FailedAttempt]:
        """Return the attempts before the last one, as far as they failed, oldest first."""
        return [attempt for attempt in map(_failed_attempt, self.events) if attempt is not None]

    @property
    def cause(self) -> str | None:
        """Return why the task failed, None if it has not."""
        if self.outcome is None or self.outcome.status is not ExecutionStatus.FAILED:
            return None
        return cause_of(self.outcome).text(self.run.cwd)


def read_details(journal: Journal, run: RunRecord, key: str) -> TaskDetails:
    """Read a task from the journal. Raises UsageError if the run has none of this key."""
    stored = journal.look_up(run.id, [key]).get(key)
    if stored is None:
        raise UsageError(f"run {run.run_id} has no task {key!r}")
    task = stored.task
    outcome = stored.outcome or next(
        (found for found in journal.results(run.id, [ExecutionStatus.INTERRUPTED]) if found.seq == task.seq), None
    )
    events = [event for event in journal.events(run.id) if _is_about(event, task)]
    undo = [record for record in journal.undo_records(run.id) if record.task == task.seq]
    return TaskDetails(run, task, outcome, events, list(journal.output(run.id, task=task.seq)), undo)


def _is_about(event: RunEvent, task: PendingTask) -> bool:
    """Return whether an event is one of the task, or a line of the log with its key."""
    return event.task == task.seq or (not event.task and rendering.event_key(event) == task.key)


def details_object(details: TaskDetails) -> dict[str, Any]:
    """Return a task as an object, for `show --json`."""
    task = details.task
    return {
        "run_id": details.run.run_id,
        "key": task.key,
        "seq": task.seq,
        "priority": task.priority,
        "input": rendering.shown_bytes(task.input, task.encoding),
        "attempts": details.attempts,
        "failed_attempts": [attempt.to_dict() for attempt in details.failed_attempts],
        "outcome": None if details.outcome is None else rendering.outcome_object(details.outcome),
        "cause": details.cause,
        "snapshot": None
        if task.snapshot is None
        else rendering.shown_bytes(task.snapshot, task.snapshot_encoding or JSON),
        "undo": [run_text.undo_object(record) for record in details.undo],
        "output": [kept_line_object(line) for line in details.lines],
        "events": [rendering.event_object(event, task.key) for event in details.events],
    }


def details_lines(details: TaskDetails) -> Iterator[str]:
    """Yield the lines about a task, for `show`. Each part that a task may lack is a function of its own."""
    yield from _heading(details)
    yield from _attempt_lines(details.failed_attempts)
    yield from _outcome_lines(details)
    for record in details.undo:
        yield f"undo       {run_text.undo_line(record)}"
    yield from _output_lines(details.lines, details.task.key)
    yield from _event_lines(details.events, details.task.key)


def _heading(details: TaskDetails) -> Iterator[str]:
    task, outcome = details.task, details.outcome
    status = "pending" if outcome is None else run_text.coloured(outcome.status)
    attempts = f"{details.attempts} attempt{'' if details.attempts == 1 else 's'}"
    yield f"task       {printable(task.key)} (number {task.seq} of run {printable(details.run.run_id)})"
    yield f"status     {status}, {attempts}"
    yield f"input      {run_text.text(rendering.shown_bytes(task.input, task.encoding))}"
    if task.priority:
        yield f"priority   {task.priority}"


def _attempt_lines(attempts: Sequence[FailedAttempt]) -> Iterator[str]:
    """Yield the errors and tracebacks of the attempts before the last one."""
    left_out = len(attempts) - SHOWN_ATTEMPTS
    for number, attempt in enumerate(attempts[-SHOWN_ATTEMPTS:]):
        if number == 0 and left_out > 0:
            yield f"           (the last {SHOWN_ATTEMPTS} of {len(attempts)} attempts before; --json has all)"
        name = f"attempt {attempt.attempt}" if attempt.attempt is not None else attempt.event.removeprefix("task.")
        yield f"{name:10} {run_text.local(attempt.at)} {printable(attempt.error or '')}"
        yield from (f"           {line}" for line in _text_lines(attempt.detail))
    if attempts:
        yield ""


def _text_lines(text: str | None) -> list[str]:
    return printable_lines(text.rstrip("\n")).split("\n") if text else []


def _outcome_lines(details: TaskDetails) -> Iterator[str]:
    outcome = details.outcome
    if outcome is None:
        return
    if outcome.started_at is not None and outcome.ended_at is not None:
        seconds = outcome.ended_at - outcome.started_at
        yield f"started    {run_text.local(outcome.started_at)}, took {seconds:.3f} s"
    if outcome.slot is not None:
        yield f"executor   slot {outcome.slot}, incarnation {outcome.incarnation}"
    if outcome.encoded is not None:
        value, kind = rendering.shown_value(outcome)
        yield f"value      {run_text.text(value)}{f' ({printable(kind)})' if kind else ''}"
    if details.cause is not None:
        yield f"cause      {printable(details.cause)}"
    if outcome.error:
        yield f"error      {printable(outcome.error)}"
    if outcome.detail:
        yield ""
        yield from _text_lines(outcome.detail)


def _output_lines(lines: Sequence[KeptLine], key: str) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield "output" + (
        f" (the end of it; quiesce logs --key {shell_word(key)} has more)" if len(lines) > SHOWN_EVENTS else ""
    )
    for line in lines[-SHOWN_EVENTS:]:
        yield kept_line_text(line, key, 0)


def _event_lines(events: Sequence[RunEvent], key: str) -> Iterator[str]:
    if not events:
        return
    yield ""
    left_out = len(events) - SHOWN_EVENTS
    yield "events" + (f" (the last {SHOWN_EVENTS} of {len(events)}; --json has all)" if left_out > 0 else "")
    for event in events[-SHOWN_EVENTS:]:
        yield rendering.event_line(event, key)
