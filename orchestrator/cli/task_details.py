"""Collect all that a journal has about one task, and render it: an object for --json, lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator import run_text
from orchestrator.cli import rendering
from orchestrator.cli.output_rendering import kept_line_object, kept_line_text
from orchestrator.core.output import KeptLine, OutputChunk
from orchestrator.core.records import PendingTask, RunEvent, TaskOutcome
from orchestrator.failures import cause_of
from orchestrator.journal import Journal, RunRecord
from runtime.errors import UsageError
from runtime.ipc.encodings import JSON
from runtime.model import ExecutionStatus
from runtime.text import printable, printable_lines, shell_word

SHOWN_EVENTS: Final = 40
"""Events, and lines of output, that are shown to people, the last ones. JSON has all."""


@dataclass(frozen=True, slots=True)
class TaskDetails:
    """One task of a run, its outcome if it has one, its events and its output."""

    run: RunRecord
    task: PendingTask
    outcome: TaskOutcome | None
    events: Sequence[RunEvent]
    output: Sequence[OutputChunk] = ()

    @property
    def lines(self) -> list[KeptLine]:
        """Return the task's output, as far as the journal keeps it."""
        return [line for chunk in self.output for line in chunk.lines]

    @property
    def attempts(self) -> int:
        """Return how many attempts the task has used."""
        return self.task.attempts if self.outcome is None else self.outcome.attempts

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
    return TaskDetails(run, task, outcome, events, list(journal.output(run.id, task=task.seq)))


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
        "outcome": None if details.outcome is None else rendering.outcome_object(details.outcome),
        "cause": details.cause,
        "snapshot": None
        if task.snapshot is None
        else rendering.shown_bytes(task.snapshot, task.snapshot_encoding or JSON),
        "output": [kept_line_object(line) for line in details.lines],
        "events": [rendering.event_object(event, task.key) for event in details.events],
    }


def details_lines(details: TaskDetails) -> Iterator[str]:
    """Yield the lines about a task, for `show`. Each part that a task may lack is a function of its own."""
    yield from _heading(details)
    yield from _outcome_lines(details)
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
        yield from printable_lines(outcome.detail.rstrip("\n")).split("\n")


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
