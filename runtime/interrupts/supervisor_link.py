"""Connect an execution state to its supervisor, if there is one.

`SupervisorLink` is all that `ExecutionState` knows of the supervised world, so that an agent gets exactly
the same with and without a supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from runtime.ipc.undo import UndoCommand
from runtime.ipc.undo_tickets import UndoTicket
from runtime.model import Event

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class SupervisorLink(Protocol):
    """What an execution state uses of the process that it runs in."""

    flag: object
    """Its truth value is the interrupt flag. Read at every checkpoint, so it must be cheap."""

    def signal(self) -> InterruptSignal:
        """Return the signal behind a raised flag."""
        ...

    def wake_fd(self) -> int | None:
        """Return a descriptor that is readable while the flag is raised (never read from), or None."""
        ...

    def next_rung_at(self) -> float | None:
        """Return the time of the ladder's next rung (monotonic seconds), or None."""
        ...

    def emit(self, event: Event) -> None:
        """Send an event to the supervisor."""
        ...

    def emit_plain(self, kind: str, data: dict[str, Any], address: str) -> bool:
        """Send an event of now without an Event being made. Return False where `emit` has to do it."""
        ...

    def report_progress(self, done: float, total: float | None) -> bool:
        """Show how far the execution is; never waits. Return whether an event should say so, too."""
        ...

    def save_snapshot(self, snapshot: Any) -> bool:
        """Keep a snapshot beyond this process. Return whether it will outlive the process."""
        ...

    @property
    def task_number(self) -> int:
        """Return the number of the task in its run; 0 without a run."""
        ...

    def defer_undo(self, command: UndoCommand) -> UndoTicket | None:
        """Send an undo record to where it is kept; None where there is no such place."""
        ...

    def release_undo(self, ticket: UndoTicket, *, kept: bool) -> None:
        """Have a record undone now, or struck out because its resource is kept."""
        ...


class NullLink:
    """The link of a state without a supervisor: nothing interrupts it from outside, nothing is sent."""

    flag: object = False

    def signal(self) -> InterruptSignal:
        """Raise: the flag is never raised here."""
        raise AssertionError("a standalone flag is never raised")

    def wake_fd(self) -> int | None:
        """Return None: nothing wakes this state from outside."""
        return None

    def next_rung_at(self) -> float | None:
        """Return None: there is no ladder."""
        return None

    def emit(self, event: Event) -> None:
        """Drop the event: there is no supervisor."""

    def emit_plain(self, kind: str, data: dict[str, Any], address: str) -> bool:
        """Return False."""
        return False

    def report_progress(self, done: float, total: float | None) -> bool:
        """Return True: there is only the event."""
        return True

    def save_snapshot(self, snapshot: Any) -> bool:
        """Return False: the snapshot is kept in the state only."""
        return False

    @property
    def task_number(self) -> int:
        """Return 0: there is no run."""
        return 0

    def defer_undo(self, command: UndoCommand) -> UndoTicket | None:
        """Return None: there is no supervisor that could keep it."""
        return None

    def release_undo(self, ticket: UndoTicket, *, kept: bool) -> None:
        """Do nothing: no record was sent."""
