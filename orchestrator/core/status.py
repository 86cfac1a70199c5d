"""What a person may see of the machine: one frozen record, made when asked for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.ladder import Rung
from orchestrator.core.slots import ExecutorView, Slot
from runtime.model import ExecutionStatus, InterruptSignal

if TYPE_CHECKING:
    from orchestrator.core.state import SupervisorState


class Phase(StrEnum):
    """Name where a run is. FINISHING: all done, executors leave. SWEEPING: the last look for processes."""

    RUNNING = "running"
    FINISHING = "finishing"
    STOPPING = "stopping"
    SWEEPING = "sweeping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StatusView:
    """Hold a run at one moment, `at` (monotonic seconds). `next_rung` and `stop_bound`, the end of the last rung,
    are in seconds from then.

    `loaded`: some executor has loaded an agent. `restarts`: executors that took the place of an earlier one.
    `error`: what the run could not go on without, in one line. `remaining`: processes that SIGKILL did not end.
    `journal_deadline`: until when a stop waits for the journal (monotonic seconds).
    """

    at: float
    phase: Phase
    accepted: int
    completed: int
    failed: int
    interrupted: int
    running: int
    executors: Sequence[ExecutorView]
    signal: InterruptSignal | None
    rung: Rung
    next_rung: float | None
    stop_bound: float | None = None
    loaded: bool = False
    restarts: int = 0
    error: str | None = None
    remaining: Sequence[str] = ()
    journal_broken: bool = False
    journal_deadline: float | None = None

    @property
    def finished(self) -> int:
        """Return how many tasks have their outcome for good: completed or failed."""
        return self.completed + self.failed

    @property
    def left(self) -> int:
        """Return how many tasks have none: the next start runs them."""
        return self.accepted - self.finished

    @property
    def pending(self) -> int:
        """Return how many of those that are left were not interrupted: they run, or have not begun."""
        return self.left - self.interrupted


def make_status(state: SupervisorState, now: float) -> StatusView:
    """Return what people may see of a run at `now` (monotonic seconds)."""
    counts = state.counts
    due, ends = state.escalation.due, state.escalation.ends
    return StatusView(
        at=now,
        phase=state.phase,
        accepted=state.accepted,
        completed=counts[ExecutionStatus.COMPLETED],
        failed=counts[ExecutionStatus.FAILED],
        interrupted=counts[ExecutionStatus.INTERRUPTED],
        running=state.running,
        executors=[_executor(slot) for slot in state.slots if slot.is_alive],
        signal=state.signal,
        rung=state.escalation.rung,
        next_rung=None if due is None else max(0.0, due - now),
        stop_bound=None if ends is None else max(0.0, ends - now),
        loaded=bool(state.loaded_agents),
        restarts=sum(max(0, slot.incarnation - 1) for slot in state.slots),
        error=state.error,
        remaining=tuple(state.remaining),
        journal_broken=state.journal_broken,
        journal_deadline=state.journal_deadline,
    )


def _executor(slot: Slot) -> ExecutorView:
    begun = [assignment for assignment in slot.assigned.values() if assignment.started_at is not None]
    shown = begun or list(slot.assigned.values())
    since = min((assignment.started_at for assignment in begun if assignment.started_at is not None), default=None)
    return ExecutorView(
        slot.number, slot.pid, slot.state.value, tuple(assignment.task.key for assignment in shown[:3]), since
    )
