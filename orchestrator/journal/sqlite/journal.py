"""Keep the journal in one SQLite file, in WAL mode. All SQL is in queries.py.

The numbers that are kept here between calls (the last event, the last task) are safe because of the claim:
no other supervisor adds to a run.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from orchestrator.core.output import OutputChunk
from orchestrator.core.records import NewTask, PendingTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from orchestrator.core.undo_records import UndoRecord, UndoUpdate
from orchestrator.journal.base import Committed, Counts, Mode, Owner, Request, RunRecord, SupervisorRecord
from orchestrator.journal.contention import Handler, wait_at_most
from orchestrator.journal.errors import ClaimedError, DuplicateKeyError
from orchestrator.journal.sqlite import batches, queries, removal, rows, run_rows, undo_rows
from orchestrator.journal.sqlite.columns import Count, escape_surrogates, to_json
from orchestrator.journal.sqlite.commits import TASK_STATUSES, CommitWriter
from orchestrator.journal.sqlite.connection import Database
from orchestrator.journal.sqlite.locks import PRIVATE
from orchestrator.journal.sqlite.pages import PageReader
from runtime import plain_signal
from runtime.errors import QuiesceError, UsageError
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:  # what only a living run needs
    from orchestrator.core.progress_report import ProgressReport


class SqliteJournal:
    """Keep the runs of a Journal in one SQLite file."""

    def __init__(
        self, path: str, mode: Mode = "create", handler: Handler | None = None, *, permissions: int = PRIVATE
    ) -> None:
        self._db = Database(path, mode, handler or wait_at_most(), permissions)
        self._claims: set[int] = set()
        self._last_event: dict[int, int] = {}
        self._last_task: dict[int, int] = {}
        self._reader = PageReader(self._db)
        self._writer = CommitWriter(self._db)

    @property
    def location(self) -> str:
        """Return the path of the file, with symbolic links resolved."""
        return self._db.path

    def handle_contention(self, handler: Handler) -> None:
        """Call this handler from now on while another process has the file locked."""
        self._db.on_contention = handler

    def close(self) -> None:
        """Release all claims and close the file. A second call has no effect."""
        for run in tuple(self._claims):
            self.release(run)
        self._db.close(tidy=bool(self._last_event))  # a connection with a claim has written much

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- runs ----------------------------------------------------------------------------------------------

    def create_run(
        self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "", parent: int | None = None
    ) -> RunRecord:
        """Insert a run. Raises UsageError if its id is taken."""
        with self._db.writing():
            return self._insert_run(queries.CREATE_RUN, run_id, agent, config, cwd, parent)

    def _insert_run(
        self, statement: str, run_id: str, agent: Any, config: Any, cwd: str, parent: int | None
    ) -> RunRecord:
        parameters = (run_id, to_json(agent), to_json(config), escape_surrogates(cwd), time.time(), parent)
        inserted = self._db.execute(statement, parameters)
        (run,) = self._db.fetch_rows(queries.RUN_BY_ID, run_rows.RunRow, (run_id,))
        if inserted:
            return self._record(run)
        if not run.ready:
            raise _claimed(self._record(run))
        raise UsageError(f"there is a run {run_id} already in {self.location}: resume it, or choose another id")

    @contextlib.contextmanager
    def draft(
        self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "", parent: int | None = None
    ) -> Iterator[RunRecord]:
        """Insert a run that `ready` hides from others until the block ends; remove it if the block raises."""
        self._remove_abandoned_drafts()
        with self._db.writing():
            number = self._insert_run(queries.DRAFT_RUN, run_id, agent, config, cwd, parent).id
            self._db.execute(queries.OWN_RUN, {"run": number, "pid": os.getpid(), "host": os.uname().nodename})
            run = self._run(number)
            self._db.locks.claim(number)  # before others can see it: a draft without a lock is abandoned
        try:
            with self._db.hastily():
                yield run
            with self._db.writing():
                self._db.execute(queries.PUBLISH_RUN, (number,))
        except QuiesceError:
            self._last_task.pop(number, None)
            removal.remove_hidden_run(self._db, number)
            raise
        except BaseException:  # removal may take too long now: the next draft does it
            self._last_task.pop(number, None)
            raise
        finally:
            self._db.locks.release(number)

    def _remove_abandoned_drafts(self) -> None:
        for number in self._db.fetch_values(queries.DRAFTS, int):
            if self._db.locks.claim(number):
                try:
                    removal.remove_hidden_run(self._db, number)
                finally:
                    self._db.locks.release(number)

    def label_run(self, run: int, labels: Mapping[str, str]) -> None:
        """Update the labels of a run."""
        with self._db.writing():
            self._db.execute(queries.LABEL_RUN, (to_json(dict(labels)), run))

    def remove_run(self, run: RunRecord) -> None:
        """Hide a run, and remove it as a draft that was abandoned: so is one whose removal was cut off."""
        if not self._db.locks.claim(run.id):
            raise _claimed(run, self._db.locks.find_owner(run.id))
        try:
            with self._db.writing():
                now = next((record for record in self.runs() if record.id == run.id), None)
                if now is None or (now.status, now.starts) != (run.status, run.starts):
                    raise UsageError(f"run {run.run_id} has changed meanwhile, and was not removed")
                self._db.execute(queries.HIDE_RUN, (run.id,))
                self._db.execute(queries.LEAVE_PARENT, {"run": run.id})
            removal.remove_hidden_run(self._db, run.id)
        finally:
            self._db.locks.release(run.id)

    def used_size(self, run: int | None = None) -> int:
        """Return the bytes of the file's used pages, or of the rows of a run."""
        return self._db.fetch_value(queries.USED_SIZE, Count) if run is None else removal.size_of_run(self._db, run)

    def vacuum(self) -> None:
        """Rewrite the file without free pages, and cut the WAL."""
        self._db.vacuum()

    def get_run(self, run_id: str | None = None) -> RunRecord:
        """Return the run with this id or prefix, the latest for None. Raises UsageError otherwise."""
        matches = self._find_runs(run_id)
        if not matches:
            raise UsageError(f"there is no run {run_id or 'at all'} in {self.location}")
        if len(matches) > 1:
            names = ", ".join(row.run_id for row in matches[:5])
            raise UsageError(f"{len(matches)} runs in {self.location} begin with {run_id!r}: {names}")
        return self._record(matches[0])

    def _find_runs(self, run_id: str | None) -> list[run_rows.RunRow]:
        if run_id is None:
            return self._db.fetch_rows(queries.LATEST_RUN, run_rows.RunRow)
        exact = [row for row in self._db.fetch_rows(queries.RUN_BY_ID, run_rows.RunRow, (run_id,)) if row.ready]
        return exact or self._db.fetch_rows(queries.RUNS_BY_PREFIX, run_rows.RunRow, {"prefix": run_id})

    def latest_resumable(self) -> RunRecord | None:
        """Return the latest run that is not over, preferably one whose lock is free."""
        runs = self._fetch_runs(queries.RESUMABLE_RUNS)
        free = [run for run in runs if run.owner is None or not run.owner.alive]
        return next(iter(free or runs), None)

    def runs(self) -> list[RunRecord]:
        """Return all runs, oldest first."""
        return self._fetch_runs(queries.ALL_RUNS)

    def retries(self, run: int) -> list[RunRecord]:
        """Return the runs that retry this one, and those that retry them, oldest first."""
        return self._fetch_runs(queries.RETRIES, (run,))

    def _fetch_runs(self, statement: str, parameters: Sequence[int] = ()) -> list[RunRecord]:
        return [self._record(row) for row in self._db.fetch_rows(statement, run_rows.RunRow, parameters)]

    def claim(self, run: int, token: str = "") -> RunRecord:
        """Lock the run and record its supervisor. Raises ClaimedError if another process has the lock."""
        locks = self._db.locks
        if not locks.claim(self._run(run).id):
            raise _claimed(self._run(run), locks.find_owner(run))
        try:
            with self._db.writing():
                pid, host = os.getpid(), os.uname().nodename
                self._db.execute(queries.CLAIM_RUN, {"run": run, "pid": pid, "host": host, "now": time.time()})
                if token:
                    self._db.execute(queries.ADD_SUPERVISOR, (run, token, pid, host))
                self._db.execute(queries.FORGET_REQUESTS, (run,))
                self._db.execute(queries.FORGET_PROGRESS, (run,))
                self._last_event[run] = self._db.fetch_value(queries.LAST_EVENT, Count, (run,))
                self._writer.look_for_snapshots(run)
        except BaseException:
            locks.release(run)
            raise
        self._claims.add(run)
        return self._run(run)

    @contextlib.contextmanager
    def lock(self, run: int) -> Iterator[None]:
        """Hold the run's lock for the block."""
        locks = self._db.locks
        if not locks.claim(run):
            raise _claimed(self._run(run), locks.find_owner(run))
        try:
            yield
        finally:
            locks.release(run)

    def release(self, run: int) -> None:
        """Unlock the run, if this connection has claimed it."""
        if run in self._claims:
            self._claims.discard(run)
            self._db.locks.release(run)

    def other_supervisors(self, run: int, token: str) -> list[SupervisorRecord]:
        """Return the supervisors of a run with another token. Raises JournalError for a damaged token."""
        supervisors = self._db.fetch_rows(queries.OTHER_SUPERVISORS, run_rows.SupervisorRow, (run, token))
        with self._db.decoding():
            return [row.record() for row in supervisors]

    def remove_supervisor(self, run: int, token: str) -> None:
        """Delete a supervisor of a run."""
        with self._db.writing():
            self._db.execute(queries.REMOVE_SUPERVISOR, (run, token))

    def finish_run(
        self,
        run: int,
        status: ExecutionStatus,
        signal: plain_signal.InterruptSignal | None = None,
        events: Sequence[RunEvent] = (),
        *,
        token: str = "",
    ) -> RunRecord:
        """Record the end of a run that is not over yet, and its last events."""
        text = None if signal is None else signal.model_dump_json()
        with self._db.writing():
            values = {"run": run, "status": status.value, "now": time.time(), "signal": text}
            self._db.execute(queries.FINISH_RUN, values)
            self._db.execute(queries.FORGET_PROGRESS, (run,))
            if token:
                self._db.execute(queries.REMOVE_SUPERVISOR, (run, token))
            if events:
                self._writer.put_events(run, events, self._last_event[run] + 1)
        if events:
            self._last_event[run] += len(events)
        return self._run(run)

    def _run(self, run: int) -> RunRecord:
        matches = self._db.fetch_rows(queries.RUN_BY_NUMBER, run_rows.RunRow, (run,))
        if not matches:
            raise UsageError(f"there is no run number {run} in {self.location}")
        return self._record(matches[0])

    def _record(self, row: run_rows.RunRow) -> RunRecord:
        with self._db.decoding():
            return row.record(self._db.locks.owner(row.id))

    def report_progress(self, run: int, report: bytes) -> None:
        """Keep a report. Waits for no other process and for no disk."""
        handler, self._db.on_contention = self._db.on_contention, wait_at_most(0)
        try:
            with self._db.hastily(), self._db.writing():
                self._db.execute(queries.REPORT_PROGRESS, (run, report.decode()))
        finally:
            self._db.on_contention = handler

    def progress(self, run: int) -> ProgressReport | None:
        """Return the last report."""
        reports = self._db.fetch_values(queries.PROGRESS, str, (run,))
        if not reports:
            return None
        with self._db.decoding():
            report: ProgressReport = importlib.import_module("orchestrator.core.progress_report").decode(reports[0])
            return report

    # -- tasks ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the calls in the block one transaction."""
        try:
            with self._db.writing():
                yield
        except BaseException:
            self._last_task.clear()
            raise

    def add_tasks(self, run: int, tasks: Sequence[NewTask]) -> tuple[int, int]:
        """Insert tasks and return their first and last seq. Raises UsageError if one is refused."""
        with self._db.writing():
            last = self._last_of_unsealed(run)
            seqs = _assign_seqs(tasks, last)
            if not seqs:
                return last + 1, last
            new = [rows.task_row(task, seq) for task, seq in zip(tasks, seqs, strict=True)]
            try:
                self._insert_tasks(run, new, default=rows.are_default_tasks(tasks, seqs))
            except sqlite3.IntegrityError as error:
                raise self._duplicate(run, new) or error from error
        self._last_task[run] = seqs[-1]
        return seqs[0], seqs[-1]

    def _insert_tasks(self, run: int, tasks: Sequence[rows.TaskRow], *, default: bool) -> None:
        pack, statement = (rows.inputs, queries.ADD_PLAIN_TASKS) if default else (list, queries.ADD_TASKS)
        for at, text in batches.split_for_statements(tasks, pack):
            if text is None:
                self._db.execute(queries.ADD_TASK, {"run": run, **msgspec.structs.asdict(tasks[at])})
            else:
                self._db.execute(statement, {"run": run, "rows": text, "first": tasks[at].seq})

    def look_up(self, run: int, keys: Sequence[str]) -> dict[str, StoredTask]:
        """Return the tasks with these keys, and their terminal outcomes, by key."""
        plain = to_json([key for key in keys if "\0" not in key])
        tasks = list(self._reader.tasks(queries.TASKS_OF_KEYS, run, keys=plain))
        for key in keys:
            if "\0" in key:  # SQLite would cut it out of the JSON
                tasks += self._reader.tasks(queries.TASK_OF_KEY, run, key=key)
        outcomes = self._outcomes_of(run, [task.seq for task in tasks]) if tasks else {}
        return {task.key: StoredTask(task, outcomes.get(task.seq)) for task in tasks}

    def keys(self, run: int, seqs: Collection[int]) -> dict[int, str]:
        """Return the keys of tasks by seq."""
        found = self._db.fetch_value(queries.KEYS_OF_SEQS, str, {"run": run, "seqs": to_json(sorted(seqs))})
        with self._db.decoding():
            return rows.keys_by_seq(found)

    def tasks(self, run: int) -> Iterator[PendingTask]:
        """Iterate over all tasks of a run, in seq order. Each page is a separate transaction."""
        return self._reader.tasks(queries.ALL_TASKS, run)

    def _outcomes_of(self, run: int, seqs: Sequence[int]) -> dict[int, TaskOutcome]:
        """Return terminal outcomes by seq."""
        outcomes = self._reader.outcomes(queries.RESULTS_OF_SEQS, run, seqs=to_json(seqs))
        return {outcome.seq: outcome for outcome in outcomes}

    def agents(self, run: int) -> dict[int, str]:
        """Return the identities of a run's agents by their numbers."""
        return {row.number: row.identity for row in self._db.fetch_rows(queries.AGENTS, run_rows.AgentRow, (run,))}

    def add_agents(self, run: int, agents: Mapping[int, str]) -> None:
        """Insert the identities of agents."""
        with self._db.writing():
            for number, identity in agents.items():
                self._db.execute(queries.ADD_AGENT, (run, number, escape_surrogates(identity)))

    def last_seq(self, run: int) -> int:
        """Return the highest seq of a run's tasks, 0 if it has none."""
        return self._db.fetch_value(queries.LAST_TASK, Count, (run,))

    def _last_of_unsealed(self, run: int) -> int:
        last = self._last_task.get(run)
        if last is not None:
            return last
        record = self._run(run)
        if record.sealed:
            raise UsageError(f"run {record.run_id} takes no more tasks: its input is complete")
        return self.last_seq(run)

    def _duplicate(self, run: int, tasks: Sequence[rows.TaskRow]) -> DuplicateKeyError | None:
        """Return the error for the first key of a refused batch, in input order, that exists already."""
        keys = [task.key for task in tasks]
        known = rows.known_keys(self._db.fetch_value(queries.SEQS_OF_KEYS, str, {"run": run, "keys": to_json(keys)}))
        for key in keys:
            if "\0" in key:  # SQLite would cut it out of the JSON
                known.update((key, seq) for seq in self._db.fetch_values(queries.SEQ_OF_KEY, int, (run, key)))
        for task in tasks:
            first = known.setdefault(task.key, task.seq)  # its own, if a statement before the refused one had it
            if first != task.seq:
                return DuplicateKeyError(task.key, task.seq, first)
        return None

    def unseal(self, run: int) -> None:
        """Let a run that is not over take further tasks."""
        with self._db.writing():
            self._db.execute(queries.UNSEAL_RUN, (run,))

    def seal(self, run: int) -> None:
        """Mark the run's input as complete."""
        with self._db.writing():
            self._db.execute(queries.SEAL_RUN, (run,))
        self._last_task.pop(run, None)

    def pending(self, run: int, after_seq: int = 0, limit: int = 1000, *, urgent: bool = False) -> list[PendingTask]:
        """Return a page of the tasks that have no terminal outcome, with their snapshots."""
        return self._reader.pending(queries.URGENT if urgent else queries.PENDING, run, after_seq, limit)

    def counts(self, run: int) -> Counts:
        """Return the number of the run's tasks by status."""
        (row,) = self._db.fetch_rows(queries.COUNTS, run_rows.CountsRow, {"run": run})
        return Counts(row.pending, row.completed, row.failed, row.interrupted)

    # -- what happened -------------------------------------------------------------------------------------

    def commit(
        self,
        run: int,
        *,
        outcomes: Sequence[TaskOutcome] = (),
        snapshots: Sequence[TaskSnapshot] = (),
        events: Sequence[RunEvent] = (),
        attempts: Mapping[int, int] | None = None,
        output: Sequence[OutputChunk] = (),
        undo: Sequence[UndoRecord] = (),
        undo_updates: Sequence[UndoUpdate] = (),
    ) -> Committed:
        """Write all of this in one transaction. Raises RuntimeError without a claim, and inside of `transaction`."""
        if run not in self._claims or self._db.busy:
            raise RuntimeError("commit() needs a claimed run, outside of transaction()")
        numbers = range(self._last_event[run] + 1, self._last_event[run] + 1 + len(events))
        with self._db.writing():
            accepted = self._writer.put_outcomes(run, outcomes)
            self._writer.put_snapshots(run, snapshots, accepted)
            self._writer.put_events(run, events, numbers.start)
            if attempts:
                self._db.execute(queries.USE_ATTEMPTS, {"run": run, "attempts": to_json(attempts)})
            if output:
                self._writer.put_output(run, output)
            self._writer.put_undo(run, undo, undo_updates)
        self._last_event[run] += len(events)
        return Committed(accepted, numbers)

    def undo_records(self, run: int, *, outstanding: bool = False) -> list[UndoRecord]:
        """Return the undo records of a run by number."""
        statement = queries.OUTSTANDING_UNDO if outstanding else queries.UNDO
        found = self._db.fetch_rows(statement, undo_rows.UndoRow, (run,))
        with self._db.decoding():
            return [row.record() for row in found]

    def last_undo(self, run: int) -> int:
        """Return the highest number of the run's undo records."""
        return self._db.fetch_value(queries.LAST_UNDO, Count, (run,))

    def update_undo(self, run: int, updates: Sequence[UndoUpdate]) -> None:
        """Change the states of undo records that are not struck out."""
        with self._db.writing():
            self._writer.put_undo(run, (), updates)

    def last_event(self, run: int) -> int:
        """Return the sequence number of the claimed run's last event."""
        return self._last_event[run]

    def results(
        self, run: int, statuses: Collection[ExecutionStatus] | None = None, seqs: Sequence[int] | None = None
    ) -> Iterator[TaskOutcome]:
        """Iterate over outcomes. Each page is a separate transaction: a slow reader does not make the WAL grow."""
        wanted = to_json(list(TASK_STATUSES if statuses is None else statuses))
        if seqs is None:
            return self._reader.outcomes(queries.RESULTS, run, statuses=wanted)
        return self._reader.outcomes(queries.CHOSEN_RESULTS, run, statuses=wanted, seqs=to_json(seqs))

    def ended_tasks(self, run: int, after_seq: int = 0) -> list[int]:
        """Return the seqs above this one of tasks with a terminal outcome."""
        parameters = {"run": run, "after": after_seq}
        return sorted(rows.decode_seqs(self._db.fetch_value(queries.ENDED_TASKS, str, parameters)))

    def events(self, run: int, from_seq: int = 1, limit: int | None = None) -> Iterator[RunEvent]:
        """Iterate over events from a sequence number on. Each page is a separate transaction."""
        return self._reader.events(run, from_seq - 1, batches.UNLIMITED if limit is None else limit)

    def output(self, run: int, after: int = 0, task: int | None = None) -> Iterator[OutputChunk]:
        """Iterate over chunks of output. Each page is a separate transaction."""
        return self._reader.output(run, after, task)

    # -- from outside --------------------------------------------------------------------------------------

    def add_request(self, run: int, signal: plain_signal.InterruptSignal, key: str | None = None) -> Owner | None:
        """Insert a request to the living supervisor of a run, and return that; None if there is none."""
        with self._db.writing():
            record, task = self._run(run), None
            if key is not None:
                task = next(iter(self._db.fetch_values(queries.SEQ_OF_KEY, int, (run, key))), None)
                if task is None:
                    raise UsageError(f"run {record.run_id} has no task with the key {key!r}")
            if record.owner is None or not record.owner.alive:
                return None
            self._db.execute(queries.ADD_REQUEST, (run, signal.model_dump_json(), task, key))
            return record.owner

    def take_requests(self, run: int) -> list[Request]:
        """Return the requests to a run's supervisor, oldest first, and delete them."""
        requests = self._db.fetch_rows(queries.REQUESTS, run_rows.RequestRow, (run,))
        if requests:
            with self._db.writing():
                self._db.execute(queries.DROP_REQUESTS, (run, requests[-1].id))
        return [row.record() for row in requests]

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return self._db.version()


def _claimed(run: RunRecord, holder: int | None = None) -> ClaimedError:
    owner = run.owner
    if owner is None or holder:
        return ClaimedError(run.run_id, holder or None)
    return ClaimedError(run.run_id, owner.pid or None, None if owner.host == os.uname().nodename else owner.host)


def _assign_seqs(tasks: Sequence[NewTask], last: int) -> list[int]:
    """Return the seq of each task. Raises UsageError if one does not rise."""
    seqs = []
    for task in tasks:
        seq = task.seq or last + 1
        if seq <= last:
            raise UsageError(f"task {seq} comes after task {last}: sequence numbers must rise")
        seqs.append(seq)
        last = seq
    return seqs
