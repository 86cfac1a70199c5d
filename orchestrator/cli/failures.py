"""`quiesce failures | show`: why tasks of a run failed, by cause, and all that is known about one task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

from orchestrator import hints
from orchestrator.cli.declare import Argument
from orchestrator.cli.journal_query import AsJson, JournalPath, RunId, print_json, print_line, query
from orchestrator.cli.task_details import details_lines, details_object, read_details
from orchestrator.failures import FailureGroup, FailureGroups, group_failures, summary_lines, tasks
from orchestrator.journal import DEFAULT_JOURNAL, RunRecord, open_journal, wait_at_most
from runtime.errors import QuiesceError
from runtime.statuses import ExecutionStatus
from runtime.text import printable

if TYPE_CHECKING:
    import typer

SUMMARY_SECONDS: Final = 1.0
"""Seconds that the end of a run spends at most on finding out why tasks failed."""


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(failures)
    app.command()(show)


def failures(run: RunId = None, journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """Show why tasks of a run failed, grouped by cause: the exception, and the place in your code."""
    with query(journal) as opened_journal:
        record = opened_journal.get_run(run)
        groups = group_failures(opened_journal.results(record.id, [ExecutionStatus.FAILED]))
        location = opened_journal.location
        if json:
            for group in groups.largest_first():
                print_json(
                    {"run_id": record.run_id, **group.to_dict(record.cwd), "retry": _retry(group, record, location)}
                )
            return
        for line in _lines(groups, record, opened_journal.counts(record.id).total, location):
            print_line(line)


def show(
    run: Annotated[str, Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    key: Annotated[str, Argument(metavar="KEY", help="The key of a task.")],
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Show one task: its input, outcome, attempts, traceback, output and events."""
    with query(journal) as opened_journal:
        details = read_details(opened_journal, opened_journal.get_run(run), key)
        if json:
            print_json(details_object(details))
            return
        for line in details_lines(details):
            print_line(line)


def summarise(location: str, run_id: str) -> list[str]:
    """Return the lines about a run's failures for its end: empty if there are none, or the journal cannot be read."""
    groups, deadline = FailureGroups(), time.monotonic() + SUMMARY_SECONDS
    try:
        with open_journal(location, "read", wait_at_most(SUMMARY_SECONDS)) as journal:
            record = journal.get_run(run_id)
            for outcome in journal.results(record.id, [ExecutionStatus.FAILED]):
                groups.add(outcome)
                if time.monotonic() > deadline:
                    return [*summary_lines(groups.largest_first(), record.cwd), f"  (of the first {groups.count})"]
    except QuiesceError:
        return []
    return summary_lines(groups.largest_first(), record.cwd)


def _lines(groups: FailureGroups, run: RunRecord, total: int, location: str) -> Iterator[str]:
    if not groups.count:
        yield f"no task of run {printable(run.run_id)} has failed"
        return
    yield f"{groups.count} of {total} tasks of run {printable(run.run_id)} failed:"
    for group in groups.largest_first():
        yield ""
        yield f"  {tasks(group.count)}: {printable(group.cause.text(run.cwd))}"
        yield f"    for example task {printable(group.example.key)}: {printable(group.example.error or '')}"
        retry = _retry(group, run, location)
        if retry is not None:
            yield f"    to retry: {retry}"


def _retry(group: FailureGroup, run: RunRecord, location: str) -> str | None:
    """Return the command that retries the tasks of a group; None if only a program can."""
    if hints.is_of_program(run):
        return None
    return hints.command("retry", run.run_id, location, "--where", group.cause.pattern(run.cwd))
