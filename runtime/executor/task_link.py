"""Link a task's execution state to the supervisor: the shared flag, and the event pipe."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import ResultError
from runtime.executor.outbox import Outbox
from runtime.ipc import codec
from runtime.ipc.executor_protocol import Snapshot, TaskEvent, UndoDeferred, UndoReleased
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.undo import UndoCommand
from runtime.ipc.undo_tickets import UndoTicket, UndoTickets
from runtime.model import Event
from runtime.reasons import escape_surrogates

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


@dataclass(frozen=True, slots=True)
class ExecutorResources:
    """The resources that all tasks of one executor share."""

    run_id: str
    slot: int
    flag: InterruptFlag
    raised: object
    wake_fd: int
    outbox: Outbox
    undo: UndoTickets


EVENT_SECONDS = 1.0
"""Seconds between two events of a task's progress."""


class TaskLink:
    """The SupervisorLink of a task's execution state: the shared flag, and the event pipe."""

    def __init__(self, cell: ExecutorResources, task: int, attempt: int, wake_fd: int | None) -> None:
        self.flag: object = cell.raised
        self._wake_fd = wake_fd
        self._cell = cell
        self._task = self.task = task
        self._attempt = attempt
        self._next_event = 0.0
        self._is_whole = False

    def signal(self) -> InterruptSignal:
        """Return the signal that the supervisor wrote before it raised the flag."""
        return self._cell.flag.signal(self._cell.slot)

    def wake_fd(self) -> int | None:
        """Return the run's wake-up socket; None where the executor's own loop watches it for every task."""
        return self._wake_fd

    def next_rung_at(self) -> float | None:
        """Return the time of the ladder's next rung (monotonic seconds), or None."""
        return self._cell.flag.next_rung_at()

    def emit(self, event: Event) -> None:
        """Send an event up; waits while the pipe is full. Raises ResultError for data that is not JSON-able."""
        try:
            data = codec.encode_json(event.data)
        except (TypeError, NotImplementedError, ValueError) as error:
            raise ResultError(f"the data of event {event.kind!r} is not JSON-able: {error}") from error
        if len(data) > codec.MAX_VALUE:
            raise ResultError(f"the data of event {event.kind!r} cannot travel: {codec.too_large(len(data))}")
        self._cell.outbox.send(
            TaskEvent(self._task, escape_surrogates(event.kind), escape_surrogates(event.address), event.at, data)
        )

    def emit_plain(self, kind: str, data: dict[str, Any], address: str) -> bool:
        """Send an event whose data is JSON's own types. Return False for any other: freezing them takes longer.

        A frozen copy would be encoded as the same bytes, and an Event costs three times as much as all the rest.
        """
        encoded = codec.encode_plain(data)
        if encoded is None or len(encoded) > codec.MAX_VALUE:
            return False
        self._cell.outbox.send(
            TaskEvent(self._task, escape_surrogates(kind), escape_surrogates(address), time.time(), encoded)
        )
        return True

    def report_progress(self, done: float, total: float | None) -> bool:
        """Write it into shared memory. An event is due once in a while, unless it would have to wait for the pipe."""
        try:
            exact_done, exact_total = float(done), None if total is None else float(total)
        except (TypeError, ValueError, OverflowError):  # the event has it as it is
            exact_done, exact_total = math.nan, None
        cell = self._cell
        cell.flag.report_progress(cell.slot, self._task, self._attempt, exact_done, exact_total)
        now, is_whole = time.monotonic(), exact_done == exact_total
        is_new = is_whole and not self._is_whole
        if (now < self._next_event and not is_new) or not cell.outbox.has_room():
            return False
        self._next_event, self._is_whole = now + EVENT_SECONDS, is_whole
        return True

    def save_snapshot(self, snapshot: Any) -> bool:
        """Send a snapshot up; it is handed back when the task runs again."""
        self._cell.outbox.send(Snapshot(self._task, *codec.encode_for_readers(snapshot)))
        return True

    @property
    def task_number(self) -> int:
        """Return the number of the task in its run."""
        return self._task

    def defer_undo(self, command: UndoCommand) -> UndoTicket:
        """Send an undo record up; the ticket says when the supervisor, its journal and the guardian have it."""
        ticket = self._cell.undo.issue(self._task)
        self._cell.outbox.send(UndoDeferred(self._task, ticket.number, command))
        return ticket

    def release_undo(self, ticket: UndoTicket, *, kept: bool) -> None:
        """Send up that a resource is to be undone, or is kept."""
        self._cell.outbox.send(UndoReleased(self._task, ticket.number, kept))
