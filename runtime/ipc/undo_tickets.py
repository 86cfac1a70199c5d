"""Wait for the supervisor's word that an undo record is kept, before the task makes the resource."""

from __future__ import annotations

from _thread import LockType
from collections.abc import Callable
from contextlib import suppress

from runtime import native


class UndoTicket:
    """One record that was sent up. Any thread may wait; the control thread calls `accept`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_held = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock: LockType = native.allocate_lock()

    def when_held(self, callback: Callable[[], object]) -> None:
        """Call back, from another thread, when the record is kept; at once if it is."""
        with self._lock:
            if not self.is_held:
                self._callbacks.append(callback)
                return
        callback()

    def accept(self) -> None:
        """Note that the record is kept."""
        with self._lock:
            self.is_held = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class UndoTickets:
    """The tickets of one executor that wait, by task and number. Numbers are the executor's own, from 1."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], UndoTicket] = {}
        self._lock = native.allocate_lock()
        self._last = 0

    def issue(self, task: int) -> UndoTicket:
        """Return a new ticket."""
        with self._lock:
            self._last += 1
            ticket = self._waiting[task, self._last] = UndoTicket(self._last)
        return ticket

    def accept(self, task: int, number: int) -> None:
        """Note that the record of a ticket is kept."""
        with self._lock:
            ticket = self._waiting.pop((task, number), None)
        if ticket is not None:
            with suppress(RuntimeError):  # its event loop is closed: the task has ended
                ticket.accept()
