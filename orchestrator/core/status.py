"""What a person may see of the machine: one frozen record. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.ladder import Rung
from orchestrator.core.slots import ExecutorView

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class Phase(StrEnum):
    """Name where a run is. FINISHING: all done, executors leave. SWEEPING: the last look for processes."""

    RUNNING = "running"
    FINISHING = "finishing"
    STOPPING = "stopping"
    SWEEPING = "sweeping"
    ENDED = "ended"

    @property
    def is_over(self) -> bool:
        """Whether no task is executed any more."""
        return self in (Phase.SWEEPING, Phase.ENDED)


@dataclass(frozen=True, slots=True)
class StatusView:
    """Hold a run at one moment, `at` (monotonic seconds). `next_rung` and `stop_bound`, the end of the last rung,
    are in seconds from then.

    `loaded`: some executor has loaded an agent. `restarts`: executors that took the place of an earlier one.
    `error`: what the run could not go on without, in one line. `remaining`: processes that SIGKILL did not end.
    `journal_deadline`: until when a stop waits for the journal (monotonic seconds). `is_total_known`: no more tasks
    come than the `accepted` ones. `retried`: how often a task was tried again since this start.
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
    is_total_known: bool = False
    retried: int = 0

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
