"""Keep tasks that wait and outcomes in a journal that has a thread of its own.

The journal's thread takes everything that has piled up while it was committing, and commits it as one: the
busier the run, the larger the group. The supervisor's loop never waits for a disk.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.core import stimuli
from orchestrator.core.instructions import FetchTasks
from orchestrator.core.records import NewTask, RunEvent
from orchestrator.engine.hub import Hub
from orchestrator.engine.journal_contention import JournalContention
from orchestrator.engine.task_store import NOTHING_KNOWN, Known, Post, WriteBatch, committed
from orchestrator.journal import DuplicateKeyError, Journal, JournalError, is_stacks_request
from runtime.errors import QuiesceError, UsageError
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

POLL_SECONDS = 0.25
"""Seconds between two looks into the journal for requests from outside."""


REPORT_SECONDS = 2.0
"""Seconds between two reports of the run's progress, which `quiesce status` shows."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    """What the thread is to do, and the future of its answer if a caller waits for one."""

    perform: Callable[[Journal], Any]
    done: Future[Any] | None = None


_Item = _Job | WriteBatch | None
"""What the queue holds; None ends the thread."""


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
        self.report: Callable[[], bytes | None] = lambda: None
        """Return how far the run is, for other processes; None: there is nothing to tell."""
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
        return self._order(lambda journal: self._keep(journal, tasks, known))

    def look_up(self, keys: Sequence[str]) -> Future[Known]:
        """Queue the question."""
        return self._order(lambda journal: journal.look_up(self._run, keys))

    def _order(self, perform: Callable[[Journal], T]) -> Future[T]:
        done: Future[T] = Future()
        self._pending_futures.add(done)
        done.add_done_callback(self._pending_futures.discard)
        self._queue.put(_Job(perform, done))
        if self._closed_error is not None:
            self.fail_pending(self._closed_error)
        return done

    def seal(self, *, for_good: bool = True) -> None:
        """Queue the end of the input, behind the last task."""
        self._queue.put(_Job(self._close_input if for_good else lambda _: self._post(stimuli.InputClosed())))

    def fetch(self, request: FetchTasks) -> None:
        """Queue the request; it is answered when what was ordered before is committed."""
        self._queue.put(_Job(lambda journal: self._read_pending(journal, request)))

    def commit(self, batch: WriteBatch) -> None:
        """Queue a batch; batches that wait become one commit."""
        self._given += batch.weight
        self._queue.put(batch)

    def finish(
        self, events: Sequence[RunEvent], status: ExecutionStatus, signal: InterruptSignal | None, token: str = ""
    ) -> None:
        """Queue the end, which is written last."""
        self._queue.put(_Job(lambda journal: self._write_end(journal, events, status, signal, token)))

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
                self._queue.put(None)
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
            with suppress(InvalidStateError):
                done.set_exception(self._closed_error)

    # -- the thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        assert self._journal is not None
        report_at = time.monotonic() + REPORT_SECONDS
        seen, look_at = -1, 0.0  # at once: a request may have come between the claim and now
        while True:
            waiting = self._waiting()
            for item in _coalesce(waiting):
                if item is None:
                    self._journal.close()
                    return
                self._execute(self._journal, item)
            now = time.monotonic()
            if now >= look_at and self._failed is None:
                look_at = now + POLL_SECONDS
                seen = self._poll_requests(self._journal, seen)
            if now >= report_at and self._failed is None:
                report_at = now + REPORT_SECONDS
                self._report_progress(self._journal)

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

    def _execute(self, journal: Journal, item: _Job | WriteBatch) -> None:
        done = item.done if isinstance(item, _Job) else None
        try:
            if self._failed is not None:
                raise JournalError(self._failed)
            if isinstance(item, WriteBatch):
                self._commit(journal, item)
                return
            answer = item.perform(journal)
            if done is not None:
                with suppress(InvalidStateError):  # `fail_pending` was first: a disk may answer after the run has ended
                    done.set_result(answer)
        except UsageError as error:  # a refused task is the business of its caller
            self._fail(error, item, is_fatal=done is None)
        except QuiesceError as error:  # a journal that fails stops the run
            self._fail(error, item)
        except Exception as error:  # noqa: BLE001 - a defect, or no memory: else every caller would wait for ever
            self._fail(JournalError(f"the journal's thread failed: {error!r}"), item)

    def _close_input(self, journal: Journal) -> None:
        journal.seal(self._run)
        self._post(stimuli.InputClosed())

    def _read_pending(self, journal: Journal, request: FetchTasks) -> None:
        pending = journal.pending(self._run, request.after, request.limit, urgent=request.urgent)
        self._post(stimuli.TasksFetched(pending, pending[-1].seq if pending else request.to, urgent=request.urgent))

    def _keep(self, journal: Journal, tasks: Sequence[NewTask], known: Known) -> None:
        """Add the new tasks; of those that are known, publish the outcomes, and execute those that have none."""
        again = [known[task.key] for task in tasks if task.key in known]
        for stored in again:
            if stored.task.seq in self._recalled:
                raise DuplicateKeyError(stored.task.key, stored.task.seq, stored.task.seq)
        new = tasks if not again else [task for task in tasks if task.key not in known]
        if new:
            first, last = self._add(journal, new)
            self._post(stimuli.TasksAdded(first - 1, last, new))
        self._recalled.update(stored.task.seq for stored in again)
        self._hub.publish([stored.outcome for stored in again if stored.outcome is not None], [], 0)
        if pending := [stored.task for stored in again if stored.outcome is None]:
            self._post(stimuli.TasksRecalled(pending))

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
            output=batch.output,
            undo=batch.undo,
            undo_updates=batch.undo_updates,
        )
        self._hub.publish(result.accepted, batch.events, result.events.start)
        self._done += batch.weight
        if batch.undo:
            self._post(stimuli.UndoCommitted([record.number for record in batch.undo]))
        self._post(committed(len(batch.outcomes), result.accepted))  # last: when the engine ends, all was shown

    def _write_end(
        self,
        journal: Journal,
        events: Sequence[RunEvent],
        status: ExecutionStatus,
        signal: InterruptSignal | None,
        token: str,
    ) -> None:
        journal.finish_run(self._run, status, signal, events, token=token)
        self._hub.publish([], events, journal.last_event(self._run) - len(events) + 1)

    def _fail(self, error: QuiesceError, item: _Item, *, is_fatal: bool = True) -> None:
        """Answer an item with an error. One that `is_fatal` also stops the run: all is refused from now on."""
        if is_fatal and self._failed is None:
            self._failed = str(error)
            self._post(stimuli.JournalFailed(self._failed))
        if isinstance(item, WriteBatch):
            self._done += item.weight
            self._post(committed(len(item.outcomes), ()))
        elif item is not None and item.done is not None:
            with suppress(InvalidStateError):
                item.done.set_exception(error)

    def _report_progress(self, journal: Journal) -> None:
        """Tell other processes how far the run is. One report that cannot be written is left out."""
        with suppress(QuiesceError, TypeError, ValueError):  # what an agent reported may be of any kind
            report = self.report()
            if report is not None:
                journal.report_progress(self._run, report)

    def _poll_requests(self, journal: Journal, seen: int) -> int:
        """Post what `quiesce interrupt` and `quiesce stacks` have written.

        Another connection's commit changes the data version.
        """
        try:
            version = journal.data_version()
            if version != seen:
                for request in journal.take_requests(self._run):
                    if is_stacks_request(request.signal):
                        self._post(stimuli.StacksRequested(request.signal.message))
                    else:
                        self._post(stimuli.InterruptRequested(request.signal, request.key))
        except QuiesceError as error:
            self._fail(error, None)
            return seen
        return version


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
