"""`quiesce runs | status | interrupt`: query a journal. They import no agent and unpickle nothing.

With --json they print one object a line, otherwise plain columns, coloured on a terminal. A closed standard output
(`| head`) and Ctrl-C end them by the signal, like other Unix tools.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from orchestrator import run_text
from orchestrator.cli.journal_query import (
    AsJson,
    JournalPath,
    RunId,
    print_error,
    print_json,
    print_line,
    print_utf8,
    query,
)
from orchestrator.cli.labels import LabelFilter, has_labels, parse_labels
from orchestrator.journal import DEFAULT_JOURNAL, Journal, RunRecord
from runtime.errors import UsageError
from runtime.interrupt_signal import build_signal
from runtime.limits import LARGEST_SIZE
from runtime.model import InterruptReason
from runtime.text import printable


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (runs, status, interrupt):
        app.command()(command)


# -- the commands ------------------------------------------------------------------------------------------


def runs(
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=LARGEST_SIZE, help="Only the latest N. (default: all)")
    ] = None,
    label: LabelFilter = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """List the runs, oldest first."""
    with query(journal) as opened_journal:
        if not json:
            print_line(run_text.RUN_HEAD)
        wanted = parse_labels(label)
        known_runs = [run for run in opened_journal.runs() if has_labels(run, wanted)]
        for run in known_runs if limit is None else known_runs[max(0, len(known_runs) - limit) :]:
            counts = opened_journal.counts(run.id)
            print_json(run_text.run_object(run, counts)) if json else print_line(run_text.run_line(run, counts))


def status(run: RunId = None, journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """Show the status of a run: its tasks, its supervisor and what that does now, and the reason for its interrupt."""
    with query(journal) as opened_journal:
        for line in run_text.status_lines(opened_journal, run, as_json=json):
            print_utf8(line) if json else print_line(line)


def interrupt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    reason: Annotated[InterruptReason, typer.Option(help="The reason to record.")] = InterruptReason.USER_CANCELLED,
    message: Annotated[str, typer.Option(help="A sentence that explains the reason.")] = "",
    task: Annotated[str | None, typer.Option(metavar="KEY", help="Stop this task only.")] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Ask the supervisor of a run to stop the run, or one task of it, in order."""
    with query(journal, "write") as opened_journal:
        record = opened_journal.get_run(run)
        _refuse_over(opened_journal, record, task)
        interrupt_signal = build_signal(reason, message, f"quiesce interrupt, process {os.getpid()}")
        owner = opened_journal.add_request(record.id, interrupt_signal, task)
        if json:
            print_json({"run_id": record.run_id, "requested": owner is not None, "owner": owner})
        elif owner is not None:
            target = "run" if task is None else f"task {task!r} of"
            print_line(f"asked process {owner.pid} to stop {target} {printable(record.run_id)}")
        if owner is None:
            print_error(f"no living supervisor has run {record.run_id}: nothing to interrupt")
            raise typer.Exit(1)


def _refuse_over(journal: Journal, run: RunRecord, key: str | None) -> None:
    """Raise UsageError for a task that has ended: it cannot be stopped."""
    task = None if key is None else journal.look_up(run.id, [key]).get(key)
    if task is not None and task.outcome is not None:
        raise UsageError(f"task {key!r} of run {run.run_id} is over: it has {task.outcome.status}")
