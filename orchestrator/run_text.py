"""Say what a journal has of a run: as an object for programs, as lines for people.

It loads little, so that `quiesce status` is quick: neither typer nor pydantic.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from orchestrator.core.undo_records import UndoRecord, describe
from orchestrator.hints import resumption
from orchestrator.journal import Counts, Journal, RunRecord
from runtime.statuses import ExecutionStatus
from runtime.terminal import has_colour
from runtime.text import printable, printable_json, shell_word

if TYPE_CHECKING:  # what only a living run needs
    from orchestrator.core.progress_report import ProgressReport

_COLOURS: Final = {  # of the terminal: ECMA-48, SGR
    ExecutionStatus.COMPLETED: 32,
    ExecutionStatus.FAILED: 31,
    ExecutionStatus.INTERRUPTED: 33,
}
SHOWN_UNDO: Final = 10
"""Undo records that are shown to people. JSON has all."""

_encode = msgspec.json.Encoder().encode


def status_lines(journal: Journal, run: str | None, *, as_json: bool) -> Iterator[str]:
    """Yield what `quiesce status` prints of a run, of the latest one for None. Raises UsageError if there is none."""
    record = journal.get_run(run)
    counts = journal.counts(record.id)
    is_alive = record.owner is not None and record.owner.alive
    report = journal.progress(record.id) if is_alive else None
    parent, children = _parent_id(journal, record), journal.retries(record.id)
    undo = journal.undo_records(record.id, outstanding=True)
    if as_json:
        shown = {**run_object(record, counts), "progress": progress_object(report)}
        shown["undo"] = [undo_object(each) for each in undo]
        pruned = record.pruned_parent is not None
        yield text(
            {**shown, "parent": parent, "parent_pruned": pruned, "retries": [child.run_id for child in children]}
        )
        return
    yield from run_lines(record, counts, journal.location)
    yield from undo_lines(undo, record, journal.location)
    yield from progress_lines(report)
    if parent is not None:
        yield f"retries    {printable(parent)}{' (pruned)' if record.pruned_parent else ''}"
    for child in children:
        yield f"retried by {printable(child.run_id)}, {coloured(child.status)}"


def _parent_id(journal: Journal, run: RunRecord) -> str | None:
    """Return the id of the run that this one retries, also if that was removed; None if it retries none."""
    if run.pruned_parent is not None:
        return run.pruned_parent
    if run.parent is None:
        return None
    return next((parent.run_id for parent in journal.runs() if parent.id == run.parent), None)


def progress_object(report: ProgressReport | None) -> dict[str, Any] | None:
    """Return what a living supervisor tells of its run, for `status`; None without one."""
    if report is None:
        return None
    rendered: dict[str, Any] = _report_lines().report_object(report, iso(report.at))
    return rendered


def progress_lines(report: ProgressReport | None) -> list[str]:
    """Return the same as lines for people."""
    return [] if report is None else list(_report_lines().report_lines(report, time.time()))


def _report_lines() -> Any:
    """Import what only a living run needs."""
    return importlib.import_module("orchestrator.display.report_lines")


def run_object(run: RunRecord, counts: Counts) -> dict[str, Any]:
    """Return a run as an object, for `runs` and `status`."""
    return {
        "run_id": run.run_id,
        "status": run.status,
        "agent": run.agent,
        "tasks": {**msgspec.structs.asdict(counts), "total": counts.total},
        "sealed": run.sealed,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "signal": None if run.signal is None else run.signal.model_dump(mode="json"),
        "owner": run.owner,
        "starts": run.starts,
        "cwd": run.cwd,
        "labels": dict(run.labels),
    }


RUN_HEAD: Final = f"{'RUN':24} {'STATUS':12} {'DONE':>9} {'TOTAL':>9} {'FAILED':>7}  CREATED"


def run_line(run: RunRecord, counts: Counts) -> str:
    """Return the line about a run, for the columns of RUN_HEAD."""
    done = counts.completed + counts.failed
    numbers = f"{done:9} {counts.total:9} {counts.failed:7}"
    labels = f"  {labels_text(run)}" if run.labels else ""
    return f"{printable(run.run_id):24} {coloured(run.status, 12)} {numbers}  {local(run.created_at)}{labels}"


def run_lines(run: RunRecord, counts: Counts, journal: str) -> list[str]:
    """Return the lines about one run, with the command that resumes it."""
    total = str(counts.total) if run.sealed else f"{counts.total} so far"
    starts = f"{run.starts} start" if run.starts == 1 else f"{run.starts} starts"
    lines = [
        f"run        {printable(run.run_id)}",
        f"status     {coloured(run.status)}{_owner_or_hint(run, journal)}",
        (
            f"tasks      {total}: {counts.completed} completed, {counts.failed} failed,"
            f" {counts.interrupted} interrupted, {counts.pending} pending"
        ),
        f"created    {local(run.created_at)}",
        f"started    {local(run.started_at)} ({starts})",
        f"ended      {local(run.ended_at)}",
    ]
    if run.labels:
        lines.append(f"labels     {labels_text(run)}")
    if run.signal is not None:
        message = f": {printable(run.signal.message)}" if run.signal.message else ""
        lines.append(f"signal     {run.signal.reason}{message}")
    return lines


def undo_object(record: UndoRecord) -> dict[str, Any]:
    """Return an undo record as an object, without its environment, which may be secret."""
    command = record.command
    return {
        "number": record.number,
        "task": record.task,
        "attempt": record.attempt,
        "kind": command.kind,
        "name": command.name,
        "command": command.argv,
        "host": record.host,
        "state": record.state,
        "tries": record.tries,
        "error": record.error,
        "at": iso(record.at),
    }


def undo_line(record: UndoRecord) -> str:
    """Return the line about an undo record."""
    tries = "" if not record.tries else f", {record.tries} tr{'y' if record.tries == 1 else 'ies'}"
    error = "" if record.error is None else f": {record.error}"
    return printable(
        f"{record.command.kind}, {record.state}{tries}, on {record.host}: {describe(record.command)}{error}"
    )


def undo_lines(records: Sequence[UndoRecord], run: RunRecord, journal: str) -> Iterator[str]:
    """Yield the lines about undo records that are not struck out, with the command that runs them."""
    for record in records[:SHOWN_UNDO]:
        yield f"undo       {undo_line(record)}"
    if len(records) > SHOWN_UNDO:
        yield f"undo       {len(records) - SHOWN_UNDO} more"
    if records and not (run.owner is not None and run.owner.alive):
        words = ["quiesce", "clean", shell_word(run.run_id), "--journal", shell_word(journal)]
        yield f"           to undo: {printable(' '.join(words))}"


def labels_text(run: RunRecord) -> str:
    """Return the labels of a run on one line."""
    return printable(" ".join(f"{name}={value}" for name, value in run.labels.items()))


def _owner_or_hint(run: RunRecord, journal: str) -> str:
    """Return what follows the status: the supervisor that executes the run, or how to resume it."""
    if run.owner is not None and run.owner.alive:
        return f" (process {run.owner.pid} on {printable(run.owner.host)})"
    if run.ended or not run.starts:
        return ""
    gone = ", but its supervisor is gone" if run.status is ExecutionStatus.STARTED else ""
    return f"{gone}; to resume: {resumption(run, journal)}"


def text(value: Any) -> str:
    """Return a value as JSON on one line, without control characters."""
    return printable_json(_encode(value).decode())


def iso(at: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC, for programs."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


def local(at: float | None) -> str:
    """Return a time in the local time zone, to the second."""
    return "-" if at is None else datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def coloured(state: ExecutionStatus, width: int = 0) -> str:
    """Return a status, padded to `width`, in its colour on a terminal."""
    text, colour = f"{state:{width}}", _COLOURS.get(state)
    return text if colour is None or not has_colour(sys.stdout) else f"\x1b[{colour}m{text}\x1b[0m"
