"""`quiesce runs | status`: query a journal. They import no agent and unpickle nothing.

With --json they print one object a line, otherwise plain columns, coloured on a terminal. A closed standard output
(`| head`) and Ctrl-C end them by the signal, like other Unix tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator import run_text
from orchestrator.cli.declare import Option
from orchestrator.cli.journal_query import (
    AsJson,
    JournalPath,
    RunId,
    print_json,
    print_line,
    print_utf8,
    query,
)
from orchestrator.cli.labels import LabelFilter, has_labels, parse_labels
from orchestrator.journal import DEFAULT_JOURNAL
from runtime.limits import LARGEST_SIZE

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (runs, status):
        app.command()(command)


# -- the commands ------------------------------------------------------------------------------------------


def runs(
    limit: Annotated[
        int | None, Option(metavar="N", min=0, max=LARGEST_SIZE, help="Only the latest N. (default: all)")
    ] = None,
    label: LabelFilter = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """List the runs, oldest first."""
    wanted = parse_labels(label)
    with query(journal) as opened_journal:
        if not json:
            print_line(run_text.RUN_HEAD)
        known_runs = [run for run in opened_journal.runs() if has_labels(run, wanted)]
        for run in known_runs if limit is None else known_runs[max(0, len(known_runs) - limit) :]:
            counts = opened_journal.counts(run.id)
            print_json(run_text.run_object(run, counts)) if json else print_line(run_text.run_line(run, counts))


def status(run: RunId = None, journal: JournalPath = DEFAULT_JOURNAL, json: AsJson = False) -> None:
    """Show the status of a run: its tasks, its supervisor and what that does now, and the reason for its interrupt."""
    with query(journal) as opened_journal:
        for line in run_text.status_lines(opened_journal, run, as_json=json):
            print_utf8(line) if json else print_line(line)
