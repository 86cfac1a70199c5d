"""The journal in one SQLite file, in WAL mode. All SQL is in statements.py.

The numbers that are kept here between calls (the last event, the last task) are safe because of the claim:
nobody else adds to a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

from orchestrator.core.records import TERMINAL, NewTask, PendingTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from orchestrator.journal.base import (
    ClaimedError,
    Committed,
    Counts,
    DuplicateKeyError,
    Owner,
    Request,
    RunRecord,
    SupervisorRecord,
)
from orchestrator.journal.sqlite import queries, rows
from orchestrator.journal.sqlite.connect import Mode
from orchestrator.journal.sqlite.connection import Database, InsertPlan
from orchestrator.journal.sqlite.contention import Handler, wait_at_most
from orchestrator.journal.sqlite.locks import PRIVATE
from runtime.errors import QuiesceError, UsageError
from runtime.interrupt_signal import read_signal
from runtime.model import ExecutionStatus, InterruptSignal

REMOVED_AT_ONCE = 2000
"""Tasks of a draft that are removed in one transaction."""

_TASKS = InsertPlan(queries.ADD_TASKS, queries.ADD_TASK, texts=(1, 2))
_SNAPSHOTS = InsertPlan(queries.PUT_SNAPSHOTS, queries.PUT_SNAPSHOT, texts=(1, 3))


def _outcomes_that_are(status: ExecutionStatus) -> InsertPlan:
    return InsertPlan(
        queries.PUT_OUTCOMES,
        queries.PUT_OUTCOME,
        texts=(3, 5, 6, 12),
        pack=rows.by_seq,
        more=lambda _: {"status": status.value},
        bind=lambda _, row: (row[0], status.value, rows.to_json(row)),
    )


_OUTCOMES = {
    status: _outcomes_that_are(status)
    for status in (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED)
}


def _plain_tasks_from(first: int) -> InsertPlan:
    return InsertPlan(
        queries.ADD_PLAIN_TASKS, queries.ADD_TASK, texts=(1, 2), pack=rows.inputs, more=lambda at: {"first": first + at}
    )


def _events_from(first: int) -> InsertPlan:
    return InsertPlan(
        queries.PUT_EVENTS,
        queries.PUT_EVENT,
        texts=(0, 2, 3),
        more=lambda at: {"first": first + at},
        bind=lambda at, row: (first + at, rows.to_json(row)),
    )


class SqliteJournal:
    """See Journal."""

    def __init__(
        self, path: str, mode: Mode = "create", handler: Handler | None = None, *, permissions: int = PRIVATE
    ) -> None:
        self._db = Database(path, mode, handler or wait_at_most(), permissions)
        self._claims: set[int] = set()
        self._last_event: dict[int, int] = {}
        self._last_task: dict[int, int] = {}
        self._has_snapshots: set[int] = set()
        self._pending_pager = rows.AdaptivePageSize()

    @property
    def location(self) -> str:
        """Its path, with symbolic links resolved."""
        return self._db.path

    def handle_contention(self, handler: Handler) -> None:
        """See Journal."""
        self._db.on_contention = handler

    def close(self) -> None:
        """See Journal."""
        for run in tuple(self._claims):
            self.release(run)
        self._db.close(tidy=bool(self._last_event))  # whoever had a claim has written much

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # -- runs ----------------------------------------------------------------------------------------------

    def create_run(self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "") -> RunRecord:
        """See Journal."""
        values = (run_id, rows.to_json(agent), rows.to_json(config), rows.escape_surrogates(cwd), time.time())
        with self._db.writing():
            self._insert_run(queries.CREATE_RUN, values)
            return self.get_run(run_id)

    def _insert_run(self, statement: str, values: rows.Row) -> None:
        if self._db.execute(statement, values):
            return
        run_id = values[0]
        ((number, ready),) = self._db.fetch_all(queries.NUMBER_OF_RUN, (run_id,))
        if not ready:
            raise _claimed(self._run(number))
        raise UsageError(f"there is a run {run_id} already in {self.location}: resume it, or choose another id")

    @contextlib.contextmanager
    def draft(self, run_id: str, *, agent: Any, config: Any = None, cwd: str = "") -> Iterator[RunRecord]:
        """See Journal."""
        self._remove_dead_drafts()
        values = (run_id, rows.to_json(agent), rows.to_json(config), rows.escape_surrogates(cwd), time.time())
        with self._db.writing():
            self._insert_run(queries.DRAFT_RUN, values)
            ((number, _),) = self._db.fetch_all(queries.NUMBER_OF_RUN, (run_id,))
            self._db.execute(queries.OWN_RUN, {"run": number, "pid": os.getpid(), "host": socket.gethostname()})
            run = self._run(number)
            self._db.locks.claim(number)  # before anybody can see it: a draft that nobody has is dead
        try:
            with self._db.hastily():
                yield run
            with self._db.writing():
                self._db.execute(queries.PUBLISH_RUN, (number,))
        except QuiesceError:
            self._last_task.pop(number, None)
            self._remove_draft(number)
            raise
        except BaseException:  # nobody has the time now: whoever drafts next removes it
            self._last_task.pop(number, None)
            raise
        finally:
            self._db.locks.release(number)

    def _remove_dead_drafts(self) -> None:
        for (number,) in self._db.fetch_all(queries.DRAFTS):
            if self._db.locks.claim(number):
                try:
                    self._remove_draft(number)
                finally:
                    self._db.locks.release(number)

    def _remove_draft(self, number: int) -> None:
        """In steps, so that others can write meanwhile."""
        with self._db.hastily():
            while True:
                with self._db.writing():
                    if not self._db.execute(queries.DROP_SOME_TASKS, {"run": number, "limit": REMOVED_AT_ONCE}):
                        self._db.execute(queries.DROP_DRAFT, (number,))
                        return

    def get_run(self, run_id: str | None = None) -> RunRecord:
        """See Journal."""
        with self._db.reading():
            if run_id is None:
                found = self._db.fetch_all(queries.LATEST_RUN)
            else:
                found = self._db.fetch_all(queries.RUN_BY_ID, (run_id,)) or self._db.fetch_all(
                    queries.RUNS_BY_PREFIX, {"prefix": run_id}
                )
        if not found:
            raise UsageError(f"there is no run {run_id or 'at all'} in {self.location}")
        if len(found) > 1:
            names = ", ".join(row[1] for row in found[:5])
            raise UsageError(f"{len(found)} runs in {self.location} begin with {run_id!r}: {names}")
        return self._run_of(found[0])

    def latest_resumable(self) -> RunRecord | None:
        """See Journal."""
        with self._db.reading():
            runs = [self._run_of(row) for row in self._db.fetch_all(queries.RESUMABLE_RUNS)]
        free = [run for run in runs if run.owner is None or not run.owner.alive]
        return next(iter(free or runs), None)

    def runs(self) -> list[RunRecord]:
        """See Journal."""
        with self._db.reading():
            return [self._run_of(row) for row in self._db.fetch_all(queries.ALL_RUNS)]

    def claim(self, run: int, token: str = "") -> RunRecord:
        """See Journal."""
        locks = self._db.locks
        if not locks.claim(self._run(run).id):
            raise _claimed(self._run(run), locks.find_owner(run))
        try:
            with self._db.writing():
                pid, host = os.getpid(), socket.gethostname()
                self._db.execute(queries.CLAIM_RUN, {"run": run, "pid": pid, "host": host, "now": time.time()})
                if token:
                    self._db.execute(queries.ADD_SUPERVISOR, (run, token, pid, host))
                self._db.execute(queries.FORGET_REQUESTS, (run,))
                self._last_event[run] = self._db.fetch_value(queries.LAST_EVENT, (run,))
                if self._db.fetch_value(queries.ANY_SNAPSHOT, (run,)):
                    self._has_snapshots.add(run)
        except BaseException:
            locks.release(run)
            raise
        self._claims.add(run)
        return self._run(run)

    def release(self, run: int) -> None:
        """See Journal."""
        if run in self._claims:
            self._claims.discard(run)
            self._has_snapshots.discard(run)
            self._db.locks.release(run)

    def other_supervisors(self, run: int, token: str) -> list[SupervisorRecord]:
        """See Journal."""
        found = self._db.fetch_all(queries.OTHER_SUPERVISORS, (run, token))
        with self._db.decoding():
            return [rows.supervisor_record(row) for row in found]

    def remove_supervisor(self, run: int, token: str) -> None:
        """See Journal."""
        with self._db.writing():
            self._db.execute(queries.REMOVE_SUPERVISOR, (run, token))

    def finish_run(
        self,
        run: int,
        status: ExecutionStatus,
        signal: InterruptSignal | None = None,
        events: Sequence[RunEvent] = (),
        *,
        token: str = "",
    ) -> RunRecord:
        """See Journal."""
        text = None if signal is None else signal.model_dump_json()
        with self._db.writing():
            values = {"run": run, "status": status.value, "now": time.time(), "signal": text}
            self._db.execute(queries.FINISH_RUN, values)
            if token:
                self._db.execute(queries.REMOVE_SUPERVISOR, (run, token))
            if events:
                self._put_events(run, events, self._last_event[run] + 1)
        if events:
            self._last_event[run] += len(events)
        return self._run(run)

    def _run(self, run: int) -> RunRecord:
        with self._db.reading():
            found = self._db.fetch_all(queries.RUN_BY_NUMBER, (run,))
        if not found:
            raise UsageError(f"there is no run number {run} in {self.location}")
        return self._run_of(found[0])

    def _run_of(self, row: rows.Row) -> RunRecord:
        with self._db.decoding():
            return rows.run_record(row, self._db.locks.owner)

    # -- tasks ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """See Journal."""
        try:
            with self._db.writing():
                yield
        except BaseException:
            self._last_task.clear()
            raise

    def add_tasks(self, run: int, tasks: Sequence[NewTask]) -> tuple[int, int]:
        """See Journal."""
        with self._db.writing():
            last = self._last_of_unsealed(run)
            seqs = _assign_seqs(tasks, last)
            if not seqs:
                return last + 1, last
            values = [rows.task_row(task, seq) for task, seq in zip(tasks, seqs, strict=True)]
            try:
                self._db.insert_many(
                    _plain_tasks_from(seqs[0]) if rows.are_default_tasks(tasks, seqs) else _TASKS, run, values
                )
            except sqlite3.IntegrityError as error:
                raise self._duplicate(run, values) or error from error
        self._last_task[run] = seqs[-1]
        return seqs[0], seqs[-1]

    def look_up(self, run: int, keys: Sequence[str]) -> dict[str, StoredTask]:
        """See Journal."""
        plain = rows.to_json([key for key in keys if "\0" not in key])
        tasks = list(self._tasks(queries.TASKS_OF_KEYS, run, keys=plain))
        for key in keys:
            if "\0" in key:  # which JSON in SQLite has no word for
                tasks += self._tasks(queries.TASK_OF_KEY, run, key=key)
        outcomes = self._outcomes_of(run, [task.seq for task in tasks]) if tasks else {}
        return {task.key: StoredTask(task, outcomes.get(task.seq)) for task in tasks}

    def tasks(self, run: int) -> Iterator[PendingTask]:
        """See Journal. Each page is a transaction of its own."""
        return self._tasks(queries.ALL_TASKS, run)

    def _tasks(self, statement: str, run: int, **which: str) -> Iterator[PendingTask]:
        pager, after = rows.AdaptivePageSize(), 0
        while True:
            page = self._db.page(statement, pager, {"run": run, "after": after, **which})
            with self._db.decoding():
                tasks = rows.pending_tasks(page)
                rows.check_rising([task.seq for task in tasks], after)
            if not tasks:
                return
            yield from tasks
            after = tasks[-1].seq

    def _outcomes_of(self, run: int, seqs: Sequence[int]) -> dict[int, TaskOutcome]:
        """Terminal outcomes by seq."""
        found: dict[int, TaskOutcome] = {}
        pager, after, wanted = rows.AdaptivePageSize(), 0, rows.to_json(seqs)
        while True:
            page = self._db.page(queries.RESULTS_OF_SEQS, pager, {"run": run, "after": after, "seqs": wanted})
            with self._db.decoding():
                outcomes = rows.outcomes(page[:2])
                rows.check_rising([outcome.seq for outcome in outcomes], after)
            if not outcomes:
                return found
            found.update((outcome.seq, outcome) for outcome in outcomes)
            after = outcomes[-1].seq

    def agents(self, run: int) -> dict[int, str]:
        """See Journal."""
        with self._db.reading():
            return dict(self._db.fetch_all(queries.AGENTS, (run,)))

    def add_agents(self, run: int, agents: Mapping[int, str]) -> None:
        """See Journal."""
        with self._db.writing():
            for number, identity in agents.items():
                self._db.execute(queries.ADD_AGENT, (run, number, rows.escape_surrogates(identity)))

    def last_seq(self, run: int) -> int:
        """See Journal."""
        with self._db.decoding():
            return int(self._db.fetch_value(queries.LAST_TASK, (run,)))

    def _last_of_unsealed(self, run: int) -> int:
        last = self._last_task.get(run)
        if last is not None:
            return last
        record = self._run(run)
        if record.sealed:
            raise UsageError(f"run {record.run_id} takes no more tasks: its input is complete")
        return self.last_seq(run)

    def _duplicate(self, run: int, values: Sequence[rows.Row]) -> DuplicateKeyError | None:
        """Which key of a refused batch exists already: the first one, in the order of the input."""
        keys = [row[1] for row in values]
        known = rows.known_keys(self._db.fetch_value(queries.TASKS_WITH_KEYS, {"run": run, "keys": rows.to_json(keys)}))
        for key in keys:
            if "\0" in key:  # which JSON in SQLite has no word for
                known.update((key, seq) for (seq,) in self._db.fetch_all(queries.TASK_WITH_KEY, (run, key)))
        for seq, key, *_ in values:
            if key in known:
                return DuplicateKeyError(key, seq, known[key])
            known[key] = seq
        return None

    def seal(self, run: int) -> None:
        """See Journal."""
        with self._db.writing():
            self._db.execute(queries.SEAL_RUN, (run,))
        self._last_task.pop(run, None)

    def pending(self, run: int, after_seq: int = 0, limit: int = 1000, *, urgent: bool = False) -> list[PendingTask]:
        """See Journal."""
        values = {"run": run, "after": after_seq}
        page = self._db.page(queries.URGENT if urgent else queries.PENDING, self._pending_pager, values, limit)
        with self._db.decoding():
            found = rows.pending_tasks(page)
            rows.check_rising([task.seq for task in found], after_seq)
            return found

    def counts(self, run: int) -> Counts:
        """See Journal."""
        with self._db.reading():
            return Counts(*self._db.fetch_all(queries.COUNTS, {"run": run})[0])

    # -- what happened -------------------------------------------------------------------------------------

    def commit(
        self,
        run: int,
        *,
        outcomes: Sequence[TaskOutcome] = (),
        snapshots: Sequence[TaskSnapshot] = (),
        events: Sequence[RunEvent] = (),
        attempts: Mapping[int, int] | None = None,
    ) -> Committed:
        """See Journal."""
        if run not in self._claims or self._db.busy:
            raise RuntimeError("commit() needs a claimed run, outside of transaction()")
        numbers = range(self._last_event[run] + 1, self._last_event[run] + 1 + len(events))
        with self._db.writing():
            accepted = self._put_outcomes(run, outcomes)
            self._put_snapshots(run, snapshots, accepted)
            self._put_events(run, events, numbers.start)
            if attempts:
                self._db.execute(queries.USE_ATTEMPTS, {"run": run, "attempts": rows.to_json(attempts)})
        self._last_event[run] += len(events)
        return Committed(accepted, numbers)

    def last_event(self, run: int) -> int:
        """See Journal."""
        return self._last_event[run]

    def _put_outcomes(self, run: int, outcomes: Sequence[TaskOutcome]) -> Sequence[TaskOutcome]:
        """Store outcomes: those whose task is not terminal already, which is nearly always all of them."""
        if not outcomes:
            return outcomes
        if len({outcome.seq for outcome in outcomes}) == len(outcomes) == self._insert_outcomes(run, outcomes):
            return outcomes
        self._db.restart_transaction()  # they come first in their transaction: nothing else is undone
        accepted = self._without_terminal(run, outcomes)
        self._insert_outcomes(run, {outcome.seq: outcome for outcome in accepted}.values())
        return accepted

    def _insert_outcomes(self, run: int, outcomes: Collection[TaskOutcome]) -> int:
        """How many tasks changed: fewer than outcomes if one was terminal already. One outcome a task."""
        changed = 0
        for status, batch in _OUTCOMES.items():
            values = [rows.outcome_row(outcome) for outcome in outcomes if outcome.status is status]
            if values:
                changed += self._db.insert_many(batch, run, values)
        return changed

    def _without_terminal(self, run: int, outcomes: Sequence[TaskOutcome]) -> list[TaskOutcome]:
        seqs = rows.to_json([outcome.seq for outcome in outcomes])
        terminal: set[int] = set(json.loads(self._db.fetch_value(queries.TERMINAL_OF, {"run": run, "seqs": seqs})))
        accepted = []
        for outcome in outcomes:
            if outcome.seq not in terminal:
                accepted.append(outcome)
                if outcome.status in TERMINAL:
                    terminal.add(outcome.seq)
        return accepted

    def _put_snapshots(self, run: int, snapshots: Sequence[TaskSnapshot], outcomes: Sequence[TaskOutcome]) -> None:
        """Store new snapshots, and drop those of tasks that need none any more."""
        if snapshots:
            self._has_snapshots.add(run)
            self._db.insert_many(_SNAPSHOTS, run, [rows.snapshot_row(snapshot) for snapshot in snapshots])
        if outcomes and run in self._has_snapshots:
            done = [outcome.seq for outcome in outcomes if outcome.status in TERMINAL]
            self._db.execute(queries.DROP_SNAPSHOTS, {"run": run, "seqs": rows.to_json(done)})

    def _put_events(self, run: int, events: Sequence[RunEvent], first: int) -> None:
        if events:
            self._db.insert_many(_events_from(first), run, [rows.event_row(event) for event in events])

    def results(self, run: int, statuses: Collection[ExecutionStatus] | None = None) -> Iterator[TaskOutcome]:
        """See Journal. Each page is a transaction of its own, so that a slow reader does not hold up the WAL."""
        wanted = rows.to_json(list(TERMINAL | {ExecutionStatus.INTERRUPTED} if statuses is None else statuses))
        pager, after = rows.AdaptivePageSize(), 0
        while page := self._results(run, after, wanted, pager):
            yield from page
            after = page[-1].seq

    def _results(self, run: int, after: int, wanted: str, pager: rows.AdaptivePageSize) -> list[TaskOutcome]:
        page = self._db.page(queries.RESULTS, pager, {"run": run, "after": after, "statuses": wanted})
        with self._db.decoding():
            found = rows.outcomes(page[:2])
            rows.check_outcomes(found, page[2], after)
            return found

    def events(self, run: int, from_seq: int = 1, limit: int | None = None) -> Iterator[RunEvent]:
        """See Journal. Each page is a transaction of its own."""
        pager, after = rows.AdaptivePageSize(), from_seq - 1
        left = rows.UNLIMITED if limit is None else limit
        while left > 0 and (page := self._events(run, after, left, pager)):
            yield from page
            after = page[-1].seq
            left -= len(page)

    def _events(self, run: int, after: int, limit: int, pager: rows.AdaptivePageSize) -> list[RunEvent]:
        page = self._db.page(queries.EVENTS, pager, {"run": run, "after": after}, limit)
        with self._db.decoding():
            found = rows.events(page)
            rows.check_rising([event.seq for event in found], after)
            return found

    # -- from outside --------------------------------------------------------------------------------------

    def add_request(self, run: int, signal: InterruptSignal, key: str | None = None) -> Owner | None:
        """See Journal."""
        with self._db.writing():
            record, task = self._run(run), None
            if key is not None:
                found = self._db.fetch_all(queries.TASK_WITH_KEY, (run, key))
                if not found:
                    raise UsageError(f"run {record.run_id} has no task with the key {key!r}")
                ((task,),) = found
            if record.owner is None or not record.owner.alive:
                return None
            self._db.execute(queries.ADD_REQUEST, (run, signal.model_dump_json(), task, key))
            return record.owner

    def take_requests(self, run: int) -> list[Request]:
        """See Journal."""
        with self._db.reading():
            found = self._db.fetch_all(queries.REQUESTS, (run,))
        if found:
            with self._db.writing():
                self._db.execute(queries.DROP_REQUESTS, (run, found[-1][0]))
        return [Request(read_signal(text), task, key) for _, text, task, key in found]

    def data_version(self) -> int:
        """See Journal."""
        with self._db.reading():
            return self._db.version()


def _claimed(run: RunRecord, holder: int | None = None) -> ClaimedError:
    owner = run.owner
    if owner is None or holder:
        return ClaimedError(run.run_id, holder or None, "")
    here = owner.host == socket.gethostname()
    return ClaimedError(run.run_id, owner.pid or None, "" if here else f" on {owner.host}")


def _assign_seqs(tasks: Sequence[NewTask], last: int) -> list[int]:
    """The seq of each task. Raises UsageError if one does not rise."""
    seqs = []
    for task in tasks:
        seq = task.seq or last + 1
        if seq <= last:
            raise UsageError(f"task {seq} comes after task {last}: sequence numbers must rise")
        seqs.append(seq)
        last = seq
    return seqs
