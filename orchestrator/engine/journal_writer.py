"""Keep tasks that wait and outcomes in a journal that has a thread of its own.

The journal's thread takes everything that has piled up while it was committing, and commits it as one: the
busier the run, the larger the group. The supervisor's loop never waits for a disk.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.core import stimuli
from orchestrator.core.instructions import FetchTasks
from orchestrator.core.records import NewTask, RunEvent
from orchestrator.engine.hub import Hub
from orchestrator.engine.journal_contention import JournalContention
from orchestrator.engine.task_store import NOTHING_KNOWN, Known, Post, WriteBatch, committed
from orchestrator.journal import DuplicateKeyError, Journal, JournalError
from runtime.errors import QuiesceError, UsageError
from runtime.model import ExecutionStatus, InterruptSignal

POLL_SECONDS = 0.25
"""Seconds between two looks into the journal for requests from outside."""


@dataclass(frozen=True, slots=True)
class _AddTasks:
    tasks: Sequence[NewTask]
    done: Future[None]
    known: Known


@dataclass(frozen=True, slots=True)
class _LookUp:
    keys: Sequence[str]
    done: Future[Known]


class _Seal:
    """Say that the input is read to its end."""


@dataclass(frozen=True, slots=True)
class _Finish:
    events: Sequence[RunEvent]
    status: ExecutionStatus
    signal: InterruptSignal | None
    token: str


class _Close:
    """End the thread; the last item in the queue."""


_Job = _AddTasks | _LookUp | _Seal | FetchTasks | WriteBatch | _Finish
_Item = _Job | _Close


class JournalWriter:
    """Write a journal in a thread of its own. `start` it when the run exists; what was ordered before waits."""

    def __init__(self, hub: Hub, post: Post) -> None:
        self._hub = hub
        self._post = post
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._journal: Journal | None = None
        self._run = 0
        self._agents: dict[int, str] = {}
        self._recalled: set[int] = set()
        self._failed: str | None = None
        self._closed_error: BaseException | None = None
        self._pending_futures: set[Future[Any]] = set()
        self._contention = JournalContention(post)
        self._closing = False
        self._given = 0  # only the engine's thread adds to this one,
        self._done = 0  # and only the journal's thread to that

    def start(self, journal: Journal, run: int) -> None:
        """Start to write. The journal belongs to the thread from now on, until `close`.

        Raises JournalError if there is no thread to be had: the journal stays the caller's.
        """
        self._journal, self._run = journal, run
        journal.handle_contention(self._contention.handle)
        thread = threading.Thread(target=self._work, name="quiesce-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # a limit, or a sandbox
            raise JournalError(f"cannot start a thread for the journal: {error}") from error
        self._thread = thread

    @property
    def unwritten_bytes(self) -> int:
        """The weight of what waits for the disk."""
        return self._given - self._done

    def add_agent(self, number: int, identity: str) -> None:
        """Record an agent's identity before the first of its tasks."""
        self._agents[number] = identity

    def add_tasks(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Queue tasks. A caller that feeds many must wait for an earlier future now and then."""
        done: Future[None] = Future()
        self._order(_AddTasks(tasks, done, known), done)
        return done

    def look_up(self, keys: Sequence[str]) -> Future[Known]:
        """Queue the question."""
        done: Future[Known] = Future()
        self._order(_LookUp(keys, done), done)
        return done

    def _order(self, job: _AddTasks | _LookUp, done: Future[Any]) -> None:
        self._pending_futures.add(done)
        done.add_done_callback(self._pending_futures.discard)
        self._queue.put(job)
        if self._closed_error is not None:
            self.fail_pending(self._closed_error)

    def seal(self) -> None:
        """Queue the end of the input, behind the last task."""
        self._queue.put(_Seal())

    def fetch(self, request: FetchTasks) -> None:
        """Queue the request; it is answered when what was ordered before is committed."""
        self._queue.put(request)

    def commit(self, batch: WriteBatch) -> None:
        """Queue a batch; batches that wait become one commit."""
        self._given += batch.weight
        self._queue.put(batch)

    def finish(
        self, events: Sequence[RunEvent], status: ExecutionStatus, signal: InterruptSignal | None, token: str = ""
    ) -> None:
        """Queue the end, which is written last."""
        self._queue.put(_Finish(events, status, signal, token))

    def set_deadline(self, at: float) -> None:
        """Set the deadline; the journal's thread looks at it between two tries."""
        self._contention.set_deadline(at)

    @property
    def is_contended(self) -> bool:
        """Whether the thread waits for another process."""
        return self._contention.is_contended

    @property
    def failure(self) -> str | None:
        """The reason why everything has been refused since, or None."""
        return self._failed

    def close(self, timeout: float) -> bool:
        """Wait until everything is written and the journal is closed. Return False after `timeout` seconds."""
        if self._thread is not None:
            if not self._closing:
                self._closing = True
                self._queue.put(_Close())
            self._thread.join(timeout)
        self.fail_pending(QuiesceError("the supervisor has ended"))
        if self._thread is not None and self._thread.is_alive():
            return False  # a daemon thread holds up no exit, and the connection is still its own
        self._thread = None
        return True

    def fail_pending(self, error: BaseException) -> None:
        """Fail also the futures of what a disk hangs on, and of what is added from now on."""
        self._closed_error = self._closed_error or error
        for done in tuple(self._pending_futures):
            _resolve(done, self._closed_error)

    # -- the thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        assert self._journal is not None
        seen, look_at = -1, 0.0  # at once: a request may have come between the claim and now
        while True:
            waiting = self._waiting()
            for item in _coalesce(waiting):
                if isinstance(item, _Close):
                    self._journal.close()
                    return
                self._execute(self._journal, item)
            now = time.monotonic()
            if now >= look_at and self._failed is None:
                look_at = now + POLL_SECONDS
                seen = self._poll_requests(self._journal, seen)

    def _waiting(self) -> list[_Item]:
        """Return everything in the queue; wait for the first item, POLL_SECONDS at most."""
        try:
            items: list[_Item] = [self._queue.get(timeout=POLL_SECONDS)]
        except queue.Empty:
            return []
        with suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        return items

    def _execute(self, journal: Journal, item: _Job) -> None:
        try:
            if self._failed is not None:
                raise JournalError(self._failed)
            self._perform(journal, item)
        except UsageError as error:  # a refused task is the business of its caller
            if isinstance(item, _AddTasks | _LookUp):
                _resolve(item.done, error)
            else:
                self._fail(item, error)
        except QuiesceError as error:  # a journal that fails stops the run
            self._fail(item, error)
        except Exception as error:  # noqa: BLE001 - a defect, or no memory: else every caller would wait for ever
            self._fail(item, JournalError(f"the journal's thread failed: {error!r}"))

    def _perform(self, journal: Journal, item: _Job) -> None:
        if isinstance(item, _AddTasks):
            self._keep(journal, item)
        elif isinstance(item, _LookUp):
            _answer(item.done, journal.look_up(self._run, item.keys))
        elif isinstance(item, _Seal):
            journal.seal(self._run)
            self._post(stimuli.InputClosed())
        elif isinstance(item, FetchTasks):
            pending = journal.pending(self._run, item.after, item.limit, urgent=item.urgent)
            self._post(stimuli.TasksFetched(pending, pending[-1].seq if pending else item.to, urgent=item.urgent))
        elif isinstance(item, _Finish):
            self._write_end(journal, item)
        else:
            self._commit(journal, item)

    def _keep(self, journal: Journal, item: _AddTasks) -> None:
        """Add the new tasks; of those that are known, publish the outcomes, and execute those that have none."""
        known = [item.known[task.key] for task in item.tasks if task.key in item.known]
        for stored in known:
            if stored.task.seq in self._recalled:
                raise DuplicateKeyError(stored.task.key, stored.task.seq, stored.task.seq)
        tasks = item.tasks if not known else [task for task in item.tasks if task.key not in item.known]
        if tasks:
            first, last = self._add(journal, tasks)
            self._post(stimuli.TasksAdded(first - 1, last, tasks))
        self._recalled.update(stored.task.seq for stored in known)
        self._hub.publish([stored.outcome for stored in known if stored.outcome is not None], [], 0)
        if again := [stored.task for stored in known if stored.outcome is None]:
            self._post(stimuli.TasksRecalled(again))
        _resolve(item.done)

    def _add(self, journal: Journal, tasks: Sequence[NewTask]) -> tuple[int, int]:
        if not self._agents:
            return journal.add_tasks(self._run, tasks)
        agents = dict(self._agents)
        with journal.transaction():
            journal.add_agents(self._run, agents)
            added = journal.add_tasks(self._run, tasks)
        for number in agents:
            del self._agents[number]
        return added

    def _commit(self, journal: Journal, batch: WriteBatch) -> None:
        result = journal.commit(
            self._run,
            outcomes=batch.outcomes,
            snapshots=list(batch.snapshots.values()),
            events=batch.events,
            attempts=batch.attempts,
        )
        self._hub.publish(result.accepted, batch.events, result.events.start)
        self._done += batch.weight
        self._post(committed(len(batch.outcomes), result.accepted))  # last: when the engine ends, all was shown

    def _write_end(self, journal: Journal, end: _Finish) -> None:
        journal.finish_run(self._run, end.status, end.signal, end.events, token=end.token)
        self._hub.publish([], end.events, journal.last_event(self._run) - len(end.events) + 1)

    def _fail(self, item: _Job, error: QuiesceError) -> None:
        if self._failed is None:
            self._failed = str(error)
            self._post(stimuli.JournalFailed(self._failed))
        if isinstance(item, _AddTasks | _LookUp):
            _resolve(item.done, error)
        elif isinstance(item, WriteBatch):
            self._done += item.weight
            self._post(committed(len(item.outcomes), ()))

    def _poll_requests(self, journal: Journal, seen: int) -> int:
        """Post what `quiesce interrupt` has written. Another connection's commit changes the data version."""
        try:
            version = journal.data_version()
            if version != seen:
                for request in journal.take_requests(self._run):
                    self._post(stimuli.InterruptRequested(request.signal, request.key))
        except QuiesceError as error:
            self._fail(FetchTasks(0, 0, 0), error)
            return seen
        return version


def _resolve(done: Future[Any], error: BaseException | None = None) -> None:
    """Resolve a future, unless `fail_pending` has: a disk may answer after the run has ended."""
    with suppress(InvalidStateError):
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _answer(done: Future[Known], known: Known) -> None:
    with suppress(InvalidStateError):  # as above
        done.set_result(known)


def _coalesce(items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield the same items in the same order, neighbouring batches joined."""
    batch: WriteBatch | None = None
    for item in items:
        if isinstance(item, WriteBatch):
            if batch is None:
                batch = WriteBatch()
            batch.add(item)
            continue
        if batch is not None:
            yield batch
            batch = None
        yield item
    if batch is not None:
        yield batch
