"""`quiesce results`: print or write the outcomes of a run, or follow them while it goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from orchestrator.cli.declare import Exit, Option
from orchestrator.cli.exit_codes import RESUMABLE
from orchestrator.cli.journal_query import AsJson, JournalPath, RunId, print_error, query
from orchestrator.cli.result_fields import Field, Inputs, parse_fields
from orchestrator.cli.result_files import replaced_file
from orchestrator.cli.result_follower import ResultFollower
from orchestrator.cli.result_formats import ResultFormat, format_of_file, make_writer
from orchestrator.cli.result_parquet import write_parquet
from orchestrator.core.records import TaskOutcome
from orchestrator.hints import resumption
from orchestrator.journal import DEFAULT_JOURNAL, Journal, RunRecord
from orchestrator.retries import merged_results
from runtime.errors import UsageError
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(results)


def results(
    run: RunId = None,
    status: Annotated[
        list[ExecutionStatus] | None,
        Option(
            "--status",
            metavar="STATUS",
            help="Only tasks of this status: completed, failed or interrupted. May be given more than once.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None, Option(metavar="KEY", help="Only the task with this key. May be given more than once.")
    ] = None,
    form: Annotated[
        ResultFormat | None,
        Option("--format", help="How outcomes are written. (default: table; with --output by its extension)"),
    ] = None,
    fields: Annotated[
        str | None,
        Option(metavar="NAME,…", help="The fields to write, for example key,value.name,error. (default: all)"),
    ] = None,
    output: Annotated[
        str | None,
        Option("--output", "-o", metavar="FILE", help="Write a file, which is complete or is not there."),
    ] = None,
    followed: Annotated[
        bool, Option("--follow", "-f", help="Print outcomes as they are recorded, until the run is over.")
    ] = False,
    with_retries: Annotated[
        bool,
        Option("--with-retries", help="Of a task that was retried, the latest success (or else the latest end)."),
    ] = False,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Print the outcome of each task that has one, in the order of the input."""
    with query(journal) as opened_journal:
        chosen = _choose_format(form, output, json=json)
        columns = parse_fields(fields)
        _check(chosen, output, followed=followed, with_retries=with_retries)
        record = opened_journal.get_run(run)
        outcomes = _Outcomes(opened_journal, record, status, key, with_retries=with_retries)
        inputs = Inputs(opened_journal, record.id)
        if columns is not None and any(field.field == "input" for field in columns):
            columns, outcomes.inputs = inputs.bind(columns), inputs
        if followed:
            _follow(opened_journal, record, outcomes, chosen, columns)
        elif chosen is ResultFormat.PARQUET:
            assert output is not None
            with replaced_file(output) as file:
                write_parquet(file, outcomes.read, columns)
        else:
            _write(outcomes.read(), chosen, columns, output)


class _Outcomes:
    """The outcomes that a user wants. Raises UsageError for a key that no task of the run has."""

    def __init__(
        self,
        journal: Journal,
        run: RunRecord,
        statuses: Sequence[ExecutionStatus] | None,
        keys: Sequence[str] | None,
        *,
        with_retries: bool,
    ) -> None:
        self._journal = journal
        self._run = run
        self._with_retries = with_retries
        self._keys = frozenset(keys or ())
        self.statuses = statuses or None
        self.seqs: list[int] | None = None
        self.inputs: Inputs | None = None
        """Where the inputs are read, if they are wanted."""
        if keys:
            known = journal.look_up(run.id, keys)
            missing = next((key for key in keys if key not in known), None)
            if missing is not None:
                raise UsageError(f"run {run.run_id} has no task with the key {missing!r}")
            self.seqs = sorted(stored.task.seq for stored in known.values())

    def read(self) -> Iterator[TaskOutcome]:
        """Iterate over the outcomes that there are, in the order of the input."""
        return self._read() if self.inputs is None else self.inputs.ahead(self._read())

    def _read(self) -> Iterator[TaskOutcome]:
        if not self._with_retries:
            return self._journal.results(self._run.id, self.statuses, self.seqs)
        merged = merged_results(self._journal, self._run, self.statuses)
        return (outcome for outcome in merged if not self._keys or outcome.key in self._keys)


def _choose_format(form: ResultFormat | None, output: str | None, *, json: bool) -> ResultFormat:
    if json and form not in (None, ResultFormat.JSONL):
        raise UsageError(f"--json is --format jsonl: give it, or --format {form}")
    if form is not None or json:
        return form or ResultFormat.JSONL
    return ResultFormat.TABLE if output is None else format_of_file(output)


def _check(form: ResultFormat, output: str | None, *, followed: bool, with_retries: bool) -> None:
    """Raise UsageError for options that do not go together."""
    if form is ResultFormat.PARQUET and output is None:
        raise UsageError("--format parquet needs --output FILE")
    if followed and output is not None:
        raise UsageError("--follow prints outcomes as they come, and --output FILE is written as a whole: give one")
    if followed and with_retries:
        raise UsageError("--follow prints what one run records, and --with-retries needs all of its retries: give one")


def _write(
    outcomes: Iterator[TaskOutcome], form: ResultFormat, columns: Sequence[Field] | None, output: str | None
) -> None:
    with contextlib.ExitStack() as stack:
        writer = make_writer(form, columns, None if output is None else stack.enter_context(replaced_file(output)))
        writer.begin()
        for outcome in outcomes:
            writer.write(outcome)


def _follow(
    journal: Journal,
    run: RunRecord,
    outcomes: _Outcomes,
    form: ResultFormat,
    columns: Sequence[Field] | None,
) -> None:
    """Print outcomes as they come. Exits with RESUMABLE if the run has ended before all its tasks have."""
    writer = make_writer(form, columns, None)
    writer.begin()
    for outcome in ResultFollower(journal, run.id, outcomes.statuses, outcomes.seqs).outcomes():
        writer.write(outcome)
    ended = journal.get_run(run.run_id)
    if not ended.ended:
        print_error(f"run {run.run_id} is not over: to resume it: {resumption(ended, journal.location)}")
        raise Exit(RESUMABLE)
