"""Read a run out of its journal, from Python: its tasks, outcomes and events, while it lives and afterwards.

Theory. A reader keeps no connection: each iteration opens one of its own, reads page by page, and closes it at its end.
So a reader needs not be closed, any thread may use it, and a slow one neither holds up the run nor lets its files grow.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from orchestrator.core.output import AgentOutput
from orchestrator.core.records import PendingTask, RunEvent, TaskOutcome
from orchestrator.journal import Counts, Journal, RunRecord, open_journal
from orchestrator.kept_output import read_output
from orchestrator.outcome import Outcome, RunTask
from orchestrator.retries import merged_results
from runtime.errors import UsageError
from runtime.limits import LARGEST_SIZE, check_count
from runtime.plain_signal import public
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    import pandas as pd

    from runtime.model import InterruptSignal

T = TypeVar("T")

LOOKED_UP: Final = 256
"""Outcomes whose inputs are looked up in one go."""

Statuses = ExecutionStatus | str | Collection[ExecutionStatus | str]
"""One status or several, as members or by their names."""


def open_run(path: str | os.PathLike[str], run_id: str | None = None) -> RunReader:
    """Return a reader of a run in the journal at `path`. It changes nothing.

    run_id: the run's id, or a prefix that no other id has; the latest run if it is None.

    Raises UsageError, in one line, when there is no such file, it is no journal, or it has no such run; JournalError
    when it cannot be read.
    """
    with open_journal(path, "read") as journal:
        return RunReader(journal.location, journal.get_run(run_id).run_id)


def results_with_retries(journal: str | os.PathLike[str], run_id: str) -> Iterator[Outcome[Any]]:
    """Yield the outcome of each task of a run, with those of runs that retried it: `outcomes(with_retries=True)`."""
    return open_run(journal, run_id).outcomes(with_retries=True)


class RunReader:
    """Read one run. Get it from `open_run`. Each property and each iteration reads anew: a living run goes on.

    Inputs and values that are no JSON are unpickled when they are looked at (`task.input`, `outcome.value`), which can
    execute code: do that with journals that you trust. `outcome.projected` executes nothing.
    """

    def __init__(self, path: str, run_id: str) -> None:
        self._path = path
        self._run_id = run_id

    def __repr__(self) -> str:
        return f"<RunReader run_id={self._run_id!r} path={self._path!r}>"

    @property
    def path(self) -> str:
        """The path of the journal, absolute."""
        return self._path

    @property
    def run_id(self) -> str:
        """The id of the run, in full."""
        return self._run_id

    # -- the run ------------------------------------------------------------------------------------

    @property
    def status(self) -> ExecutionStatus:
        """How the run stands: awaiting (not begun), started, completed, failed (a task has) or interrupted."""
        return self._look(lambda _, record: record.status)

    @property
    def is_alive(self) -> bool:
        """Whether a supervisor has the run now. A run that is `started` and not alive lost its supervisor."""
        return self._look(lambda _, record: record.owner is not None and record.owner.alive)

    @property
    def counts(self) -> Counts:
        """The number of tasks by status: pending (no outcome yet), completed, failed, interrupted, and the total."""
        return self._look(lambda journal, record: journal.counts(record.id))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that the run was begun with: seconds and bytes."""
        return self._look(lambda _, record: record.config or {})

    @property
    def signal(self) -> InterruptSignal | None:
        """Why the run was stopped, if it was."""
        return public(self._look(lambda _, record: record.signal))

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the run, by name."""
        return self._look(lambda _, record: record.labels)

    @property
    def created_at(self) -> float:
        """When the run was created, in Unix seconds."""
        return self._look(lambda _, record: record.created_at)

    @property
    def started_at(self) -> float | None:
        """When the run was started last, in Unix seconds; None before."""
        return self._look(lambda _, record: record.started_at)

    @property
    def ended_at(self) -> float | None:
        """When the run ended, in Unix seconds; None before."""
        return self._look(lambda _, record: record.ended_at)

    # -- what is in it ------------------------------------------------------------------------------

    def tasks(self, status: Statuses | None = None) -> Iterator[RunTask]:
        """Iterate over the tasks in the order of the input, with the outcome of each that has one. Lazy.

        status: only those with this status, or one of several; `awaiting` are those without an outcome. Raises
        UsageError for a status that no task can have.
        """
        wanted = _statuses(status)
        return self._iterate(lambda journal, record: _tasks(journal, record, wanted))

    def outcomes(self, status: Statuses | None = None, *, with_retries: bool = False) -> Iterator[Outcome[Any]]:
        """Iterate over the outcomes in the order of the input: status, value or error, attempts, times. Lazy.

        status: only those with this status, or one of several. with_retries: of a task that runs with `retry_of` have
        executed again, its latest success, else its latest end. Raises UsageError for a status that no outcome can
        have.
        """
        wanted = _statuses(status)

        def read(journal: Journal, record: RunRecord) -> Iterator[Outcome[Any]]:
            if with_retries:
                return _with_inputs(journal, record, merged_results(journal, record, wanted))
            return _with_inputs(journal, record, journal.results(record.id, wanted))

        return self._iterate(read)

    def outcome(self, key: str) -> Outcome[Any] | None:
        """Return the outcome of a task, None if it has none yet. Raises KeyError if there is no such task."""

        def find(journal: Journal, record: RunRecord) -> Outcome[Any] | None:
            stored = journal.look_up(record.id, [key]).get(key)
            if stored is None:
                raise KeyError(f"run {record.run_id} has no task with the key {key!r}")
            if stored.outcome is not None:
                return _with_input(stored.outcome, stored.task)
            interrupted = journal.results(record.id, [ExecutionStatus.INTERRUPTED])
            return next((_with_input(found, stored.task) for found in interrupted if found.key == key), None)

        return self._look(find)

    def events(self, from_seq: int = 1, *, kind: str | Collection[str] | None = None) -> Iterator[RunEvent]:
        """Iterate over the events that are committed, in order, from number `from_seq` on (the first is 1). Lazy.

        kind: only those of this kind, or one of several, as docs/journal.md lists them. Ends with the last event:
        `Supervisor.events` and `quiesce events --follow` wait for more. Raises ValueError for a number below 1.
        """
        check_count("from_seq", from_seq, most=LARGEST_SIZE)
        kinds = {kind} if isinstance(kind, str) else None if kind is None else set(kind)

        def select(journal: Journal, record: RunRecord) -> Iterator[RunEvent]:
            return (event for event in journal.events(record.id, from_seq) if kinds is None or event.kind in kinds)

        return self._iterate(select)

    def output(self, key: str | None = None) -> Iterator[AgentOutput]:
        """Iterate over what tasks printed, logged and warned, as far as the journal keeps it, in that order. Lazy.

        key: only that of this task. Raises KeyError if there is no such task.
        """

        def read(journal: Journal, record: RunRecord) -> Iterator[AgentOutput]:
            stored = None if key is None else journal.look_up(record.id, [key]).get(key)
            if key is not None and stored is None:
                raise KeyError(f"run {record.run_id} has no task with the key {key!r}")
            task = None if stored is None else stored.task.seq
            for chunk, its_key in read_output(journal, record.id, task=task):
                for line in chunk.lines:
                    yield AgentOutput(
                        key=its_key, text=line.text, stream=line.stream, severity=line.severity, logger=line.logger,
                        at=line.at, slot=chunk.slot, task=chunk.task,
                    )  # fmt: skip

        return self._iterate(read)

    def to_pandas(self) -> pd.DataFrame:
        """Return all tasks as a DataFrame, one a row: key, index, status, attempts, input, value, error, times.

        Its index is the place in the input. `value` and `error` are None where there is none; times are UTC, and
        `seconds` is the time that the last attempt took. Needs pandas (`pip install 'quiesce[pandas]'`). Raises
        UsageError without it, DecodeError for an input or a value that cannot be read here.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise UsageError("to_pandas needs pandas, which is not installed: pip install 'quiesce[pandas]'") from error
        frame = pandas.DataFrame([_row(task) for task in self.tasks()], columns=_COLUMNS).set_index("index")
        for name in ("started_at", "ended_at"):
            frame[name] = pandas.to_datetime(frame[name], unit="s", utc=True)
        return frame

    # -- connections --------------------------------------------------------------------------------

    def _look(self, read: Callable[[Journal, RunRecord], T]) -> T:
        with open_journal(self._path, "read") as journal:
            return read(journal, journal.get_run(self._run_id))

    def _iterate(self, read: Callable[[Journal, RunRecord], Iterator[T]]) -> Iterator[T]:
        with open_journal(self._path, "read") as journal:
            yield from read(journal, journal.get_run(self._run_id))


_COLUMNS: Final = [
    "key", "index", "status", "attempts", "input", "value", "error", "started_at", "ended_at", "seconds",
]  # fmt: skip


def _row(task: RunTask) -> list[Any]:
    outcome = task.outcome
    if outcome is None:
        return [task.key, task.index, str(task.status), task.attempts, task.input, None, None, None, None, None]
    began, ended = outcome.started_at, outcome.ended_at
    seconds = None if began is None or ended is None else ended - began
    value = outcome.value if outcome.ok else None
    status = str(task.status)
    return [task.key, task.index, status, outcome.attempts, task.input, value, outcome.error, began, ended, seconds]


def _tasks(journal: Journal, record: RunRecord, wanted: Collection[ExecutionStatus] | None) -> Iterator[RunTask]:
    """Join tasks and outcomes, both in the order of the input."""
    outcomes = journal.results(record.id)
    outcome = next(outcomes, None)
    for task in journal.tasks(record.id):
        while outcome is not None and outcome.seq < task.seq:
            outcome = next(outcomes, None)
        its_own = None if outcome is None or outcome.seq != task.seq else _with_input(outcome, task)
        joined = RunTask(task, its_own)
        if wanted is None or joined.status in wanted:
            yield joined


def _with_inputs(journal: Journal, record: RunRecord, outcomes: Iterator[TaskOutcome]) -> Iterator[Outcome[Any]]:
    """Look the inputs of outcomes up, some at once."""
    while chunk := list(itertools.islice(outcomes, LOOKED_UP)):
        tasks = journal.look_up(record.id, [outcome.key for outcome in chunk])
        yield from (_with_input(outcome, tasks[outcome.key].task) for outcome in chunk)


def _with_input(outcome: TaskOutcome, task: PendingTask) -> Outcome[Any]:
    return Outcome.from_record(outcome, task.seq - 1, encoded_input=(task.input, task.encoding))


def _statuses(given: Statuses | None) -> Collection[ExecutionStatus] | None:
    if given is None:
        return None
    possible = {
        ExecutionStatus.AWAITING, ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED
    }  # fmt: skip
    wanted = [given] if isinstance(given, str) else list(given)
    unknown = next((status for status in wanted if status not in possible), None)
    if unknown is not None:
        raise UsageError(f"no task has the status {unknown!r}: give {', '.join(sorted(possible))}")
    return {ExecutionStatus(status) for status in wanted}
