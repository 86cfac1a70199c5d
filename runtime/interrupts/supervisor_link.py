"""What an execution state gets from where it runs: an executor process, or nothing but itself.

`Host` is the whole of what `ExecutionState` knows of the supervised world, so that an agent gets exactly
the same with and without a supervisor.
"""

from __future__ import annotations

from typing import Any, Protocol

from runtime.model import Event, InterruptSignal


class SupervisorLink(Protocol):
    """The place an execution state runs in."""

    flag: object
    """Its truth value is the interrupt flag. Read at every checkpoint, so it must be cheap."""

    def signal(self) -> InterruptSignal:
        """The signal behind a raised flag."""
        ...

    def wake_fd(self) -> int | None:
        """A descriptor that is readable for as long as the flag is up (never read from), or None."""
        ...

    def next_rung_at(self) -> float | None:
        """Monotonic seconds of the next rung of the ladder, or None."""
        ...

    def emit(self, event: Event) -> None:
        """Send an event up."""
        ...

    def save_snapshot(self, snapshot: Any) -> bool:
        """Keep a snapshot beyond this process. True if it will outlive it."""
        ...


class NullLink:
    """The host of a state that has no supervisor: nothing interrupts it from outside, nothing goes up."""

    flag: object = False

    def signal(self) -> InterruptSignal:
        """Never asked: the flag is never up."""
        raise AssertionError("a standalone flag is never raised")

    def wake_fd(self) -> int | None:
        """None: there is nobody to wake for."""
        return None

    def next_rung_at(self) -> float | None:
        """None: there is no ladder."""
        return None

    def emit(self, event: Event) -> None:
        """Nobody is above."""

    def save_snapshot(self, snapshot: Any) -> bool:
        """Kept in the state only, which is as far as this process goes: False."""
        return False
