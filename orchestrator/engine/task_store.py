"""Keep tasks that wait and outcomes: in memory, or in a journal that has a thread of its own.

The journal's thread takes everything that has piled up while it was committing, and commits it as one: the
busier the run, the larger the group. The supervisor's loop never waits for a disk.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.core import stimuli
from orchestrator.core.instructions import FetchTasks
from orchestrator.core.records import NewTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from orchestrator.engine.hub import Hub
from orchestrator.journal import Contention, DuplicateKeyError, Journal, JournalError
from orchestrator.journal.contention import REPORT_AFTER
from runtime.errors import QuiesceError, UsageError
from runtime.model import ExecutionStatus, InterruptSignal

Post = Callable[[stimuli.Stimulus], None]
"""Hand a stimulus to the engine, from any thread."""

Known = Mapping[str, StoredTask]
"""Tasks of an earlier start by key."""

NOTHING_KNOWN: Known = {}

POLL_SECONDS = 0.25
"""Seconds between two looks into the journal for requests from outside."""

CONTENTION_LIMIT = 300.0
"""Seconds that a run waits for another process that has the journal locked, before it stops. Outcomes are kept."""


@dataclass(slots=True)
class WriteBatch:
    """Hold what is to be made durable. Of a task's snapshots, the last. `weight` is about the bytes that it came in."""

    outcomes: list[TaskOutcome] = field(default_factory=list)
    snapshots: dict[int, TaskSnapshot] = field(default_factory=dict)
    events: list[RunEvent] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    weight: int = 0

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.snapshots or self.events or self.attempts)

    def add(self, other: WriteBatch) -> None:
        """Join two batches."""
        self.outcomes.extend(other.outcomes)
        self.snapshots.update(other.snapshots)
        self.events.extend(other.events)
        self.attempts.update(other.attempts)
        self.weight += other.weight


class TaskStore(Protocol):
    """Keep tasks and outcomes, as the engine and the callers see it."""

    @property
    def unwritten_bytes(self) -> int:
        """The weight of what was to be committed and is not yet. OutcomesCommitted is posted when it becomes less."""
        ...

    def add_tasks(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Add tasks. Return a future that is done when they are durable.

        It fails with UsageError for a duplicate key, or with JournalError.

        `known`: those that the run has from an earlier start. They are executed if they have not ended yet.
        """
        ...

    def look_up(self, keys: Sequence[str]) -> Future[Known]:
        """Return the tasks with these keys that the run has from before."""
        ...

    def seal(self) -> None:
        """Close the input: no more tasks will come. InputClosed is posted."""
        ...

    def fetch(self, request: FetchTasks) -> None:
        """Read up to `limit` pending tasks behind `after`. TasksFetched is posted, with `to` if there are none."""
        ...

    def commit(self, batch: WriteBatch) -> None:
        """Commit what happened, and publish it. OutcomesCommitted is posted."""
        ...

    def finish(
        self, events: Sequence[RunEvent], status: ExecutionStatus, signal: InterruptSignal | None, token: str = ""
    ) -> None:
        """Record how the run ended, behind everything else. `token`: see Journal.finish_run."""
        ...

    def set_deadline(self, at: float) -> None:
        """Wait only until `at` (monotonic seconds) for another process that has the journal locked: the run stops."""
        ...

    @property
    def is_contended(self) -> bool:
        """Whether another process has the journal locked right now."""
        ...

    @property
    def failure(self) -> str | None:
        """The reason why nothing can be written any more, or None."""
        ...

    def fail_pending(self, error: BaseException) -> None:
        """Fail every future that is not done, and those of tasks that are added from now on: the run is over."""
        ...

    def close(self, timeout: float) -> bool:
        """Finish what was ordered, and stop. Return False if that takes more than `timeout` seconds."""
        ...


def committed(asked: int, accepted: Sequence[TaskOutcome]) -> stimuli.OutcomesCommitted:
    """Return the answer to a commit of `asked` outcomes."""
    statuses = [outcome.status for outcome in accepted]
    return stimuli.OutcomesCommitted(
        asked,
        statuses.count(ExecutionStatus.COMPLETED),
        statuses.count(ExecutionStatus.FAILED),
        statuses.count(ExecutionStatus.INTERRUPTED),
    )


class MemoryStore:
    """Keep tasks and outcomes in memory: nothing outlives the process, nothing costs a thread."""

    is_contended = False
    failure: str | None = None

    def __init__(self, hub: Hub, post: Post) -> None:
        self._hub = hub
        self._post = post
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self._seq = 0
        self._events = 0

    @property
    def unwritten_bytes(self) -> int:
        """Zero: nothing is ever unwritten."""
        return 0

    def look_up(self, keys: Sequence[str]) -> Future[Known]:
        """Return nothing: there was no earlier start."""
        known: Future[Known] = Future()
        known.set_result(NOTHING_KNOWN)
        return known

    def add_tasks(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Post tasks at once. A key may come again when its first task has ended."""
        done: Future[None] = Future()
        with self._lock:
            duplicate = next((task.key for task in tasks if task.key in self._keys), None)
            if duplicate is not None:
                done.set_exception(UsageError(f"duplicate key {duplicate!r}"))
                return done
            before = self._seq
            for task in tasks:
                self._keys.add(task.key)
                self._seq = task.seq or self._seq + 1
            added = stimuli.TasksAdded(before, self._seq, tasks, stored=False)
        self._post(added)
        done.set_result(None)
        return done

    def seal(self) -> None:
        """Post that the input is closed."""
        self._post(stimuli.InputClosed())

    def fetch(self, request: FetchTasks) -> None:
        """Post that there are none: every task was posted when it was added."""
        self._post(stimuli.TasksFetched([], request.to, urgent=request.urgent))

    def commit(self, batch: WriteBatch) -> None:
        """Publish it at once."""
        first_seq = self._events + 1
        self._events += len(batch.events)
        with self._lock:
            self._keys.difference_update(outcome.key for outcome in batch.outcomes)
        self._hub.publish(batch.outcomes, batch.events, first_seq)
        if batch.outcomes:
            self._post(committed(len(batch.outcomes), batch.outcomes))

    def finish(
        self, events: Sequence[RunEvent], status: ExecutionStatus, signal: InterruptSignal | None, token: str = ""
    ) -> None:
        """Publish the last events."""
        self.commit(WriteBatch(events=list(events)))

    def set_deadline(self, at: float) -> None:
        """Do nothing: nothing here waits."""

    def fail_pending(self, error: BaseException) -> None:
        """Do nothing: every future is done."""

    def close(self, timeout: float) -> bool:
        """Return True: nothing is left to do."""
        return True


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
        self._until = math.inf
        self._contended = False
        self._starved = False
        self._closing = False
        self._given = 0  # only the engine's thread adds to this one,
        self._done = 0  # and only the journal's thread to that

    def start(self, journal: Journal, run: int) -> None:
        """Start to write. The journal belongs to the thread from now on, until `close`.

        Raises JournalError if there is no thread to be had: the journal stays the caller's.
        """
        self._journal, self._run = journal, run
        journal.handle_contention(self._on_contention)
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
        self._until = min(self._until, at)

    @property
    def is_contended(self) -> bool:
        """Whether the thread waits for another process."""
        return self._contended

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

    def _on_contention(self, contention: Contention) -> None:
        """Wait while another process has the journal locked; raise after the deadline. What waits here is kept."""
        if contention.over:
            if self._contended:
                self._contended = self._starved = False
                self._post(stimuli.JournalAvailable(contention.seconds))
        elif time.monotonic() >= self._until:
            raise contention.error()
        elif contention.seconds >= REPORT_AFTER and not self._contended:
            self._contended = True
            self._post(stimuli.JournalContended(contention.find_holders(), contention.seconds))
        elif contention.seconds >= CONTENTION_LIMIT and not self._starved:
            self._starved = True
            self._post(stimuli.JournalStarved(str(contention.error()), contention.seconds))

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
