"""`quiesce prune`: remove runs from a journal, and give their space back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator import run_text
from orchestrator.cli.commands import folders
from orchestrator.cli.declare import Argument, Option
from orchestrator.cli.journal_query import AsJson, JournalPath, print_error, print_json, print_line, query
from orchestrator.cli.labels import LabelFilter, has_labels, parse_labels
from orchestrator.cli.options import seconds, size
from orchestrator.core.records import TERMINAL
from orchestrator.journal import DEFAULT_JOURNAL, ClaimedError, Journal, RunRecord
from orchestrator.units import format_size
from runtime.errors import UsageError
from runtime.statuses import ExecutionStatus
from runtime.text import printable, shell_word

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(prune)


def prune(
    run: Annotated[list[str] | None, Argument(metavar="RUN", help="Run ids. (default: chosen by the options)")] = None,
    older_than: Annotated[
        Any,
        Option(parser=seconds, metavar="TIME", help="Only runs that ended longer ago, for example 30d or 12h."),
    ] = None,
    status: Annotated[
        list[ExecutionStatus] | None,
        Option(
            "--status",
            metavar="STATUS",
            help="Only runs of this status: completed, failed or interrupted. May be repeated."
            " (default: completed and failed)",
        ),
    ] = None,
    label: LabelFilter = None,
    to_size: Annotated[
        Any,
        Option(parser=size, metavar="SIZE", help="Stop when the journal's content is this small, for example 1GB."),
    ] = None,
    with_undo: Annotated[
        bool,
        Option(
            "--with-undo",
            help="Remove also runs with outstanding undo records: what is known of their resources is lost.",
        ),
    ] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    vacuum: Annotated[
        bool, Option("--vacuum/--no-vacuum", help="Give the space back to the file system. (default: vacuum)")
    ] = True,
    journal: JournalPath = DEFAULT_JOURNAL,
    json: AsJson = False,
) -> None:
    """Remove runs that are over, the oldest first, with all that belongs to them.

    A run that can be resumed is removed only by its id or with --status interrupted; one that is being executed never.
    """
    if not (run or older_than is not None or status or label or to_size is not None):
        raise UsageError("say what to remove: run ids, --older-than, --status, --label or --to-size")
    with query(journal, "read" if dry_run else "write") as opened_journal:
        choice = _Choice(older_than, frozenset(status or ()), parse_labels(label), frozenset(run or ()))
        pruning = _Pruning(opened_journal, to_size, with_undo=with_undo, dry_run=dry_run)
        for removed, freed in pruning.remove(choice.runs(opened_journal)):
            _report(removed, freed, dry_run=dry_run, json=json)
        if pruning.count and vacuum and not dry_run:
            _vacuum(opened_journal)
        if not json:
            _summarise(pruning, dry_run=dry_run)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which runs to remove. `ids` are run ids, or unique beginnings of some; the others restrict the choice."""

    older_than: float | None
    statuses: frozenset[ExecutionStatus]
    labels: dict[str, str]
    ids: frozenset[str]

    def runs(self, journal: Journal) -> list[RunRecord]:
        """Return the chosen runs, oldest first. Raises UsageError for an id that there is not, or that is alive."""
        named = {record.id: record for record in map(journal.get_run, self.ids)}
        for record in named.values():
            if _is_alive(record):
                raise UsageError(f"run {record.run_id} is being executed by process {_pid(record)}: stop it first")
        known = sorted(named.values(), key=lambda record: record.id) if self.ids else journal.runs()
        now = time.time()
        return [record for record in known if not _is_alive(record) and self._has(record, now)]

    def _has(self, run: RunRecord, now: float) -> bool:
        age = now - (run.ended_at or run.started_at or run.created_at)
        default = frozenset(ExecutionStatus) if self.ids else TERMINAL
        return (
            (self.older_than is None or age > self.older_than)
            and run.status in (self._statuses() or default)
            and has_labels(run, self.labels)
        )

    def _statuses(self) -> frozenset[ExecutionStatus]:
        """Return the wanted statuses. A run whose supervisor was killed still has STARTED: it counts as interrupted."""
        interrupted = ExecutionStatus.INTERRUPTED
        return self.statuses | {ExecutionStatus.STARTED} if interrupted in self.statuses else self.statuses


class _Pruning:
    """Remove runs until the journal is small enough, and count them."""

    def __init__(self, journal: Journal, goal: int | None, *, with_undo: bool, dry_run: bool) -> None:
        self._with_undo = with_undo
        self._journal = journal
        self._goal = goal
        self._dry_run = dry_run
        self.before = self.after = journal.used_size()
        self.count = 0

    def remove(self, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, int]]:
        """Yield each run that was removed, with the bytes that it had."""
        for run in runs:
            if self._goal is not None and self.after <= self._goal:
                return
            if self._has_undo(run):
                continue
            freed = self._journal.used_size(run.id)
            if self._dry_run:
                self.after = max(0, self.after - freed)
            else:
                try:
                    self._journal.remove_run(run)
                except ClaimedError as error:
                    print_error(str(error))
                    continue
                folders.remove(self._journal.location, run.run_id)
                self.after = self._journal.used_size()
            self.count += 1
            yield run, freed

    def _has_undo(self, run: RunRecord) -> bool:
        """Return whether a run has outstanding undo records: then it stays, unless it is named with --with-undo."""
        count = 0 if self._with_undo else len(self._journal.undo_records(run.id, outstanding=True))
        if count:
            print_error(
                f"run {run.run_id} stays: it has {count} outstanding undo record{'' if count == 1 else 's'};"
                f" run `quiesce clean {shell_word(run.run_id)}` first, or give --with-undo"
            )
        return bool(count)


def _report(run: RunRecord, freed: int, *, dry_run: bool, json: bool) -> None:
    if json:
        print_json({"run_id": run.run_id, "status": run.status, "bytes": freed, "removed": not dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    ended = run_text.local(run.ended_at or run.created_at)
    print_line(f"{verb} {printable(run.run_id):24} {run_text.coloured(run.status, 12)} {ended}  {format_size(freed)}")


def _summarise(pruning: _Pruning, *, dry_run: bool) -> None:
    runs = "1 run" if pruning.count == 1 else f"{pruning.count} runs"
    verb = "would be removed" if dry_run else "removed"
    sizes = f"{format_size(pruning.before)} before, {format_size(pruning.after)} {'then' if dry_run else 'now'}"
    print_line(f"{runs} {verb}; content of the journal: {sizes}")


def _vacuum(journal: Journal) -> None:
    """Shorten the file, unless a run is being executed: its commits would have to wait."""
    alive = next((record for record in journal.runs() if _is_alive(record)), None)
    if alive is None:
        journal.vacuum()
    else:
        print_error(
            f"run {alive.run_id} is being executed, so the file keeps its length; new runs use what is free in it"
        )


def _is_alive(run: RunRecord) -> bool:
    return run.owner is not None and run.owner.alive


def _pid(run: RunRecord) -> int:
    return 0 if run.owner is None else run.owner.pid
