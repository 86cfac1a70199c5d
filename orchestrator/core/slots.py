"""Slots for executors, and the tasks that each executor was sent: memory of the state machine. Pure."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.ladder import Escalation
from orchestrator.core.records import PendingTask
from orchestrator.core.transitions import (
    ASSIGNMENT_TABLE,
    INTAKE_TABLE,
    LOADING_TABLE,
    SLOT_TABLE,
    AgentLoading,
    AssignmentEvent,
    AssignmentState,
    Intake,
    IntakeEvent,
    LoadingEvent,
    SlotEvent,
    SlotState,
    next_state,
)
from runtime.ipc.executor_protocol import TaskDone

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

SHOWN_TASKS = 3
"""Tasks of one executor that people are shown, at most."""


class Excuse(StrEnum):
    """Name why a task that was interrupted for a limit runs again at no cost."""

    NEIGHBOUR = "a task beside it held the event loop"
    UNKNOWN = "it is not known which task was at fault"


@dataclass(frozen=True, slots=True)
class Block:
    """Hold a step that has held the event loop since a time: of this task, 0 = unknown."""

    task: int
    since: float


@dataclass(slots=True)
class Assignment:
    """Hold a task that an executor was sent, and all that is known of it there.

    `started_at` is None while it has not begun, or no record has said so; `interrupt_signal` is the interrupt that was
    sent for this task alone, `by_user` that a caller named this very task. `exclusive_on_executor`: its executor has
    nothing beside it; `exclusive_in_run`: nor has any other. `excuse`: it was interrupted for a limit, and is not to
    blame. `held_record` is how it ended, at `held_at`, while its state is HELD.
    """

    task: PendingTask
    attempt: int
    started_at: float | None = None
    interrupt_signal: InterruptSignal | None = None
    interrupted_at: float = 0.0
    by_user: bool = False
    exclusive_on_executor: bool = False
    exclusive_in_run: bool = False
    is_fresh: bool = False
    """Whether it was alone in an executor that had executed nothing before."""
    suspended_seconds: float = 0.0
    """Seconds since it began in which the supervisor did not run; they count for no time limit."""
    excuse: Excuse | None = None
    state: AssignmentState = AssignmentState.SENT
    held_record: TaskDone | None = None
    held_at: float = 0.0

    def apply(self, event: AssignmentEvent) -> None:
        """Change the state. Raises IllegalTransition, having done nothing."""
        self.state = next_state(ASSIGNMENT_TABLE, self.state, event, f"task {self.task.seq}")

    def begin(self, since: float) -> None:
        """Note that the task began at `since` (monotonic seconds)."""
        self.apply(AssignmentEvent.BEGIN)
        self.started_at = since

    def hold(self, record: TaskDone, now: float) -> None:
        """Keep how the task ended until its threads have ended, too."""
        self.apply(AssignmentEvent.HOLD)
        self.held_record, self.held_at = record, now

    def end_threads(self) -> TaskDone | None:
        """Note that no thread of the task runs any more. Returns how it ended, if it had."""
        self.apply(AssignmentEvent.END_THREADS)
        record, self.held_record = self.held_record, None
        return record

    @property
    def is_held(self) -> bool:
        """Whether the task has ended and threads of it still run."""
        return self.state is AssignmentState.HELD

    @property
    def leaving_since(self) -> float | None:
        """Return since when it should be gone: interrupted, or ended but for its threads. None: it may go on."""
        if self.is_held:
            return self.held_at if self.interrupt_signal is None else min(self.held_at, self.interrupted_at)
        return None if self.interrupt_signal is None else self.interrupted_at

    def has_begun(self, executing: int) -> bool:
        """Whether it was under way when its executor died; `executing`: the task that ran then (0 = none)."""
        return self.started_at is not None or self.is_held or self.task.seq == executing


@dataclass(slots=True)
class Slot:
    """One place for an executor, and the incarnation that is in it now.

    `reclaim_pending`: it was asked to return tasks, and has not answered or had none. `loaded`: the agents that it was
    sent and not asked to drop, with their bytes, the one used last at the end; `pending_loads`: how many of them it
    has not answered. `block`: its event loop does not turn.
    """

    number: int
    state: SlotState = SlotState.EMPTY
    intake: Intake = Intake.OPEN
    loading: AgentLoading = AgentLoading.PENDING
    incarnation: int = 0
    pid: int | None = None
    started_at: float = 0.0
    last_seen_at: float = 0.0
    worked_at: float = 0.0
    """When it was last seen to have used the processor, while it showed no heartbeat."""
    cpu: tuple[float, float] | None = None
    """Processor seconds that it had used, and when; None while it shows heartbeats."""
    window: int = 1
    assigned: dict[int, Assignment] = field(default_factory=dict)
    reclaim_pending: bool = False
    executed: int = 0
    loaded: dict[int, int] = field(default_factory=dict)
    loaded_bytes: int = 0
    pending_loads: int = 0
    failures: int = 0
    restart_at: float = 0.0
    escalation: Escalation | None = None
    exit_reason: str | None = None
    block: Block | None = None

    def apply(self, event: SlotEvent) -> None:
        """Change the state of the process. Raises IllegalTransition, having done nothing."""
        self.state = next_state(SLOT_TABLE, self.state, event, f"slot {self.number}")

    def apply_intake(self, event: IntakeEvent) -> None:
        """Change what goes to the executor. Raises IllegalTransition, having done nothing."""
        self.intake = next_state(INTAKE_TABLE, self.intake, event, f"the intake of slot {self.number}")

    def apply_loading(self, event: LoadingEvent) -> None:
        """Change how far the agents are loaded. Raises IllegalTransition, having done nothing."""
        self.loading = next_state(LOADING_TABLE, self.loading, event, f"the loading of slot {self.number}")

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.state is not SlotState.EMPTY

    @property
    def is_exclusive(self) -> bool:
        """Whether it has a suspect, which runs alone there."""
        return len(self.assigned) == 1 and next(iter(self.assigned.values())).exclusive_on_executor

    def reset(self) -> list[Assignment]:
        """Empty the slot, whose executor is gone or given up. Returns the tasks that it had, in order."""
        self.apply(SlotEvent.EXIT)
        self.apply_intake(IntakeEvent.EXIT)
        self.apply_loading(LoadingEvent.EXIT)
        assignments = list(self.assigned.values())
        self.assigned = {}
        self.pid = None
        self.window = 1
        self.reclaim_pending = False
        self.executed = self.pending_loads = self.loaded_bytes = 0
        self.loaded = {}
        self.escalation = None
        self.cpu = None
        self.exit_reason = None
        self.block = None
        return assignments

    def view(self, concurrency: int = 1) -> ExecutorView:
        """Return what people may see of the executor: its tasks that have begun longest ago, else those that wait.

        concurrency: how many tasks an executor executes at once.
        """
        begun = [assignment for assignment in self.assigned.values() if assignment.started_at is not None]
        if len(begun) > SHOWN_TASKS:
            begun = heapq.nsmallest(SHOWN_TASKS, begun, key=lambda assignment: assignment.started_at or 0.0)
        shown = begun or itertools.islice(self.assigned.values(), min(concurrency, SHOWN_TASKS))
        tasks = [
            TaskView(assignment.task.key, assignment.task.seq, assignment.attempt, assignment.started_at)
            for assignment in shown
        ]
        in_flight = min(len(self.assigned), concurrency)
        return ExecutorView(self.number, self.pid, self.state.value, tuple(tasks), in_flight)


@dataclass(frozen=True, slots=True)
class TaskView:
    """Hold what people may see of a task that an executor has; `started_at` on the machine's clock."""

    key: str
    seq: int
    attempt: int
    started_at: float | None


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """Hold what people may see of one executor: SHOWN_TASKS of its tasks, and how many it executes."""

    slot: int
    pid: int | None
    state: str
    tasks: tuple[TaskView, ...] = ()
    in_flight: int = 0
