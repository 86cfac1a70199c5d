"""`quiesce interrupt`: stop a living run, a part of it, or hurry its stop, from another terminal.

The request goes through the run's control socket, which answers at once. Where there is none (a supervisor on another
host, or in another container), it goes through the journal.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from orchestrator.cli.asking import ask_supervisor, report_request
from orchestrator.cli.journal_query import AsJson, JournalPath, query
from orchestrator.control.client import connect
from orchestrator.control.protocol import EscalateRequest, InterruptRequest
from orchestrator.journal import DEFAULT_JOURNAL, Journal, Owner, RunRecord
from runtime.errors import UsageError
from runtime.interrupt_signal import build_signal
from runtime.limits import MAX_SLOTS
from runtime.reasons import InterruptReason
from runtime.text import printable


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(interrupt)


def interrupt(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    reason: Annotated[InterruptReason, typer.Option(help="The reason to record.")] = InterruptReason.USER_CANCELLED,
    message: Annotated[str, typer.Option(help="A sentence that explains the reason.")] = "",
    task: Annotated[str | None, typer.Option(metavar="KEY", help="Stop this task only.")] = None,
    executor: Annotated[
        int | None,
        typer.Option(metavar="SLOT", min=0, max=MAX_SLOTS, help="Stop what this executor executes, only."),
    ] = None,
    escalate: Annotated[
        bool, typer.Option("--escalate", help="Take the next rung of a stop that goes on, without waiting for it.")
    ] = False,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Ask the supervisor of a run to stop the run, or a part of it, in order."""
    if (task is not None) + (executor is not None) + escalate > 1:
        raise typer.BadParameter("give one of --task, --executor and --escalate")
    with query(journal, "write") as opened_journal:
        record = opened_journal.get_run(run)
        _refuse_over(opened_journal, record, task)
        trigger = f"quiesce interrupt, process {os.getpid()}"
        request = InterruptRequest(reason.value, message, trigger, task, executor)
        client = connect(opened_journal.location, record.run_id)
        owner: Owner | None
        if client is not None:
            owner = ask_supervisor(client, EscalateRequest(trigger) if escalate else request)
        elif escalate or executor is not None:
            option = "--escalate" if escalate else "--executor"
            raise UsageError(f"{option} needs the control socket of run {record.run_id}, and there is none here")
        else:
            owner = opened_journal.add_request(record.id, build_signal(reason, message, trigger), task)
        wish = _wish(record, task, executor, escalate=escalate)
        report_request(record, owner, wish, "nothing to interrupt", json=json)


def _wish(run: RunRecord, task: str | None, executor: int | None, *, escalate: bool) -> str:
    """Return what was asked for, for people."""
    name = printable(run.run_id)
    if escalate:
        return f"take the next rung of the stop of run {name}"
    if executor is not None:
        return f"stop what executor {executor} of run {name} executes"
    return f"stop run {name}" if task is None else f"stop task {task!r} of {name}"


def _refuse_over(journal: Journal, run: RunRecord, key: str | None) -> None:
    """Raise UsageError for a task that has ended, or is none: it cannot be stopped."""
    if key is None:
        return
    task = journal.look_up(run.id, [key]).get(key)
    if task is None:
        raise UsageError(f"run {run.run_id} has no task with the key {key!r}")
    if task.outcome is not None:
        raise UsageError(f"task {key!r} of run {run.run_id} is over: it has {task.outcome.status}")
