"""Keep tasks that wait and outcomes in memory, where no resume is wanted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from orchestrator.core import stimuli
from orchestrator.core.instructions import FetchTasks
from orchestrator.core.records import NewTask, RunEvent
from orchestrator.engine.hub import Hub
from orchestrator.engine.task_store import NOTHING_KNOWN, Known, Post, WriteBatch, committed
from runtime.errors import UsageError
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


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
        self._added: Future[None] = Future()
        self._added.set_result(None)

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
        with self._lock:
            duplicate = next((task.key for task in tasks if task.key in self._keys), None)
            if duplicate is not None:
                refused: Future[None] = Future()
                refused.set_exception(UsageError(f"duplicate key {duplicate!r}"))
                return refused
            before = self._seq
            for task in tasks:
                self._keys.add(task.key)
                self._seq = task.seq or self._seq + 1
            added = stimuli.TasksAdded(before, self._seq, tasks, stored=False)
        self._post(added)
        return self._added

    def seal(self, *, for_good: bool = True) -> None:
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
        if batch.undo:  # the machine and the guardian keep them
            self._post(stimuli.UndoCommitted([record.number for record in batch.undo]))
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
