"""`quiesce stacks`: ask a living run for its stacks, from another terminal."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from orchestrator.cli.asking import ask_supervisor, report_request
from orchestrator.cli.journal_query import AsJson, JournalPath, query
from orchestrator.control.client import connect
from orchestrator.control.protocol import StacksRequest
from orchestrator.journal import DEFAULT_JOURNAL, Journal, Owner, RunRecord, stacks_request
from runtime.text import printable


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(stacks)


def stacks(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique beginning of one.")],
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Ask the supervisor of a run for the Python stacks of all its processes; it writes them where it writes its log.

    Nothing is stopped. The request goes through the control socket of the run, or else through the journal.
    """
    with query(journal, "write") as opened_journal:
        record = opened_journal.get_run(run)
        owner = _ask(opened_journal, record, f"quiesce stacks, process {os.getpid()}")
        wish = f"write the stacks of run {printable(record.run_id)} to its log"
        report_request(record, owner, wish, "there are no stacks", json=json)


def _ask(journal: Journal, run: RunRecord, trigger: str) -> Owner | None:
    """Send the request, and return the supervisor that has it; None if there is none."""
    client = connect(journal.location, run.run_id)
    if client is None:
        return journal.add_request(run.id, stacks_request(trigger))
    return ask_supervisor(client, StacksRequest(trigger))
