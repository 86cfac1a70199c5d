"""`quiesce runs | status | results | events | interrupt`: query a journal. They import no agent and unpickle nothing.

With --json they print one object a line, otherwise plain columns, coloured on a terminal. A closed standard output
(`| head`) and Ctrl-C end them by the signal, like other Unix tools.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from orchestrator.cli import rendering, stdout
from orchestrator.cli.journals import open_for_command
from orchestrator.core.records import RunEvent
from orchestrator.journal import DEFAULT_JOURNAL, Journal, Mode, RunRecord
from runtime.errors import QuiesceError, UsageError
from runtime.interrupt_signal import build_signal
from runtime.limits import LARGEST_SIZE
from runtime.model import ExecutionStatus, InterruptReason
from runtime.text import printable

POLL_SECONDS: Final = 0.05
"""Seconds between two checks of `events --follow` for new commits; a check costs a few microseconds."""

RunId = Annotated[
    str | None, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one. Default: the latest.")
]
JournalPath = Annotated[
    str, typer.Option("--journal", "-j", metavar="PATH", envvar="QUIESCE_JOURNAL", help="The journal.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (runs, status, results, events, interrupt):
        app.command()(command)


# -- the commands ------------------------------------------------------------------------------------------


def runs(journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """List all runs, oldest first."""
    with _query(journal) as opened_journal:
        if not json:
            _print(rendering.RUN_HEAD)
        for run in opened_journal.runs():
            counts = opened_journal.counts(run.id)
            _say_json(rendering.run_object(run, counts)) if json else _print(rendering.run_line(run, counts))


def status(run: RunId = None, journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """Show the status of a run: its tasks by status, its supervisor, and the reason for its interrupt."""
    with _query(journal) as opened_journal:
        record = opened_journal.get_run(run)
        counts = opened_journal.counts(record.id)
        if json:
            _say_json(rendering.run_object(record, counts))
            return
        for line in rendering.run_lines(record, counts, opened_journal.location):
            _print(line)


def results(
    run: RunId = None,
    status: Annotated[
        list[ExecutionStatus] | None,
        typer.Option("--status", help="Only tasks of this status. May be given more than once."),
    ] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the outcome of each task that has one, in the order of the input."""
    with _query(journal) as opened_journal:
        for outcome in opened_journal.results(opened_journal.get_run(run).id, status or None):
            if json:
                _say_json(rendering.outcome_object(outcome))
            else:
                _print(rendering.outcome_line(outcome))


def events(
    run: RunId = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new events as they come, until the run has ended.")
    ] = False,
    first: Annotated[
        int, typer.Option("--from", metavar="SEQ", min=1, max=LARGEST_SIZE, help="Begin with the event of this number.")
    ] = 1,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the events of a run, in order."""
    with _query(journal) as opened_journal:
        number = opened_journal.get_run(run).id
        for event in _follow(opened_journal, number, first) if follow else opened_journal.events(number, first):
            _say_json(rendering.event_object(event)) if json else _print(rendering.event_line(event))


def interrupt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    reason: Annotated[InterruptReason, typer.Option(help="The reason to record.")] = InterruptReason.USER_CANCELLED,
    message: Annotated[str, typer.Option(help="A sentence that explains the reason.")] = "",
    task: Annotated[str | None, typer.Option(metavar="KEY", help="Stop this task only.")] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Ask the supervisor of a run to stop the run, or one task of it, in order."""
    with _query(journal, "write") as opened_journal:
        record = opened_journal.get_run(run)
        _refuse_over(opened_journal, record, task)
        interrupt_signal = build_signal(reason, message, f"quiesce interrupt, process {os.getpid()}")
        owner = opened_journal.add_request(record.id, interrupt_signal, task)
        if json:
            _say_json({"run_id": record.run_id, "requested": owner is not None, "owner": owner})
        elif owner is not None:
            target = "run" if task is None else f"task {task!r} of"
            _print(f"asked process {owner.pid} to stop {target} {printable(record.run_id)}")
        if owner is None:
            _print_error(f"no living supervisor has run {record.run_id}: nothing to interrupt")
            raise typer.Exit(1)


# -- their beginning and end -------------------------------------------------------------------------------


@contextlib.contextmanager
def _query(where: str, mode: Mode = "read") -> Iterator[Journal]:
    """Open a journal for the block. An error becomes one line and exit code 2."""
    stdout.die_by_sigpipe()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # keep SIG_IGN if the parent set it (nohup)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that the locale lacks must not be an error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with open_for_command(where, mode) as journal:
            yield journal
            stdout.flush()
    except QuiesceError as error:
        _print_error(str(error))
        raise typer.Exit(2) from None


def _refuse_over(journal: Journal, run: RunRecord, key: str | None) -> None:
    """Raise UsageError for a task that has ended: it cannot be stopped."""
    task = None if key is None else journal.look_up(run.id, [key]).get(key)
    if task is not None and task.outcome is not None:
        raise UsageError(f"task {key!r} of run {run.run_id} is over: it has {task.outcome.status}")


def _follow(journal: Journal, number: int, first: int) -> Iterator[RunEvent]:
    """Yield the events from `first` on, until the run has ended or its supervisor is gone."""
    while True:
        version, run = journal.data_version(), next((run for run in journal.runs() if run.id == number), None)
        if run is None:
            raise UsageError(f"the run is no longer in {journal.location}")
        gone = run.starts > 0 and not (run.owner and run.owner.alive)
        for event in journal.events(number, first):  # read after the run itself, so the last events are included
            first = event.seq + 1
            yield event
        stdout.flush()
        if run.status not in (ExecutionStatus.AWAITING, ExecutionStatus.STARTED):
            return
        if gone:
            _print_error(f"the supervisor of run {run.run_id} is gone: no more events until it is resumed")
            return
        for _ in range(20):  # then check the run all the same: a supervisor that is killed commits nothing
            time.sleep(POLL_SECONDS)
            if journal.data_version() != version:
                break


def _print(line: str) -> None:
    stdout.write(line + "\n")


def _say_json(value: Any) -> None:
    """Print JSON in UTF-8, independent of the locale."""
    sys.stdout.buffer.write(rendering.text(value).encode() + b"\n")


def _print_error(line: str) -> None:
    sys.stderr.write(f"quiesce: {printable(line)}\n")
