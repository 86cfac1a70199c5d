"""`quiesce logs`: print what the tasks of a run have printed and logged, as far as the journal keeps it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from orchestrator.cli.declare import Option
from orchestrator.cli.events import task_of_key
from orchestrator.cli.journal_query import AsJson, JournalPath, RunId, follow, print_json, print_line, query
from orchestrator.cli.output_rendering import kept_line_object, kept_line_text
from orchestrator.core.output import KeptLine
from orchestrator.journal import DEFAULT_JOURNAL, Journal
from orchestrator.kept_output import read_output
from runtime.limits import LARGEST_SIZE

if TYPE_CHECKING:
    import typer


class LoggedLine(NamedTuple):
    """A line with its task: key and number, None and 0 for what belongs to none."""

    line: KeptLine
    key: str | None
    task: int
    slot: int


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(logs)


def logs(
    run: RunId = None,
    key: Annotated[str | None, Option(metavar="KEY", help="Only the output of the task with this key.")] = None,
    followed: Annotated[
        bool, Option("--follow", "-f", help="Print new output as it is committed, until the run has ended.")
    ] = False,
    tail: Annotated[
        int | None,
        Option(metavar="N", min=0, max=LARGEST_SIZE, help="Only the last N lines; new ones with --follow."),
    ] = None,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the output of a run's tasks, or of one: what they printed, logged and warned."""
    with query(journal) as opened_journal:
        number = opened_journal.get_run(run).id
        reader = OutputReader(opened_journal, number, key)
        lines: Any = reader.read()
        for line in lines if tail is None else deque(lines, maxlen=tail):
            _show(line, json=json)
        for line in follow(opened_journal, number, reader.read) if followed else ():
            _show(line, json=json)


class OutputReader:
    """Read output, each line once. Raises UsageError if no task has the `key`."""

    def __init__(self, journal: Journal, run: int, key: str | None) -> None:
        self._journal = journal
        self._run = run
        self._after = 0
        self._task = None if key is None else task_of_key(journal, run, key)

    def read(self) -> Iterator[LoggedLine]:
        """Yield the lines that have come since the last call."""
        for chunk, key in read_output(self._journal, self._run, self._after, self._task):
            self._after = chunk.seq
            for line in chunk.lines:
                yield LoggedLine(line, key, chunk.task, chunk.slot)


def _show(logged: LoggedLine, *, json: bool) -> None:
    if json:
        place = {"key": logged.key, "seq": logged.task, "slot": logged.slot}
        print_json({**place, **kept_line_object(logged.line)})
        return
    print_line(kept_line_text(logged.line, logged.key, logged.slot))
