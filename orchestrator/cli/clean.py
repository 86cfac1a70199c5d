"""`quiesce clean`: undo what a run has left outside of its processes, and end what is left of these."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orchestrator import run_text
from orchestrator.backends.previous_supervisor import PreviousSupervisor
from orchestrator.cli.journal_query import AsJson, JournalPath, RunId, print_error, print_json, print_line, query
from orchestrator.core.undo_records import UndoRecord, describe
from orchestrator.journal import DEFAULT_JOURNAL, Journal, RunRecord
from orchestrator.undo_cleaning import UndoCleaner
from runtime.ipc.undo import UndoResult
from runtime.limits import LARGEST_COUNT
from runtime.statuses import Severity
from runtime.stop_limits import TAKEOVER_SLACK
from runtime.text import printable


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(clean)


def clean(
    run: RunId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is outstanding, and run nothing.")] = False,
    any_host: Annotated[
        bool,
        typer.Option("--any-host", help="Run also the commands of resources that were made on other hosts."),
    ] = False,
    tries: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=LARGEST_COUNT, help="Start a command that fails N times. (default: 3)"),
    ] = 3,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Run the undo commands that a run has left: they remove containers and other resources outside of its processes.

    Waits for what a killed supervisor has left running first, and ends it. The exit code is 1 if something is still
    outstanding.
    """
    with query(journal, "read" if dry_run else "write") as opened_journal:
        record = opened_journal.get_run(run)
        if dry_run:
            _show(opened_journal, record, json=json)
            return
        with opened_journal.lock(record.id):
            _end_processes(opened_journal, record)
            left = _undo(opened_journal, record, tries, any_host=any_host, json=json)
    if left:
        raise typer.Exit(1)


def _show(journal: Journal, run: RunRecord, *, json: bool) -> None:
    for record in journal.undo_records(run.id, outstanding=True):
        print_json(run_text.undo_object(record)) if json else print_line(run_text.undo_line(record))


def _end_processes(journal: Journal, run: RunRecord) -> None:
    """Wait for the guardians of killed supervisors, which undo what they can, and end what these have left."""
    config = run.config if isinstance(run.config, Mapping) else {}
    graces = (config.get("grace", 0.0), config.get("term_grace", 0.0))
    for supervisor in journal.other_supervisors(run.id, ""):
        previous = PreviousSupervisor(run.run_id, supervisor)
        timeout = sum(graces) + TAKEOVER_SLACK
        if previous.wait_and_clean_up(_log, lambda: None, timeout, keep_children=bool(config.get("keep_children"))):
            journal.remove_supervisor(run.id, supervisor.token)


def _undo(journal: Journal, run: RunRecord, tries: int, *, any_host: bool, json: bool) -> int:
    """Run what is outstanding, and report each start of a command. Return the number of what is left."""
    host = os.uname().nodename
    records = journal.undo_records(run.id, outstanding=True)
    here = [record for record in records if any_host or record.is_for(host)]
    keys = journal.keys(run.id, {record.task for record in records})

    def report(record: UndoRecord, result: UndoResult) -> None:
        if json:
            print_json({**run_text.undo_object(record), **_result_object(result)})
        else:
            print_line(_result_line(record, keys.get(record.task, ""), result))

    left = UndoCleaner(journal, run.id, report, tries).clean(here)
    elsewhere = [record for record in records if record not in here]
    if elsewhere:
        hosts = ", ".join(sorted({record.host for record in elsewhere}))
        print_error(
            f"{len(elsewhere)} resources were made on another host ({hosts}): run this command there, or --any-host"
        )
    if not json:
        done = len(here) - len(left)
        print_line(f"run {printable(run.run_id)}: {done} undone, {len(left) + len(elsewhere)} outstanding")
    return len(left) + len(elsewhere)


def _result_object(result: UndoResult) -> dict[str, Any]:
    return {"done": result.done, "found": result.found, "error": result.error or None, "seconds": result.seconds}


def _result_line(record: UndoRecord, key: str, result: UndoResult) -> str:
    how = "undone" if result.found else "nothing to remove"
    end = how if result.done else f"failed: {result.error}"
    return f"{printable(key)}: {printable(describe(record.command))}: {printable(end)}"


def _log(name: str, _severity: Severity, fields: Mapping[str, Any]) -> None:
    text = " ".join(f"{field}={value}" for field, value in fields.items())
    sys.stderr.write(f"quiesce: {name} {printable(text)}\n")
