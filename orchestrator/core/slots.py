"""Slots and what their executors have in hand. The machine's memory; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.core.ladder import Escalation
from orchestrator.core.records import PendingTask
from runtime.ipc.executor_protocol import TaskDone
from runtime.model import InterruptSignal


class SlotState(StrEnum):
    """The life of one incarnation."""

    EMPTY = "empty"
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class Excuse(StrEnum):
    """Why a task that was interrupted for a limit runs again at no cost."""

    NEIGHBOUR = "a task beside it held the event loop"
    UNKNOWN = "it is not known which task was at fault"


@dataclass(frozen=True, slots=True)
class Block:
    """A step that has held the event loop since a time: of this task, 0 = unknown."""

    task: int
    since: float


@dataclass(slots=True)
class Assignment:
    """A task that an executor was given.

    `since` is when it began, None while it has not (or nobody said so); `asked` is the interrupt that was sent for it
    alone, `requested` that somebody meant this very task. `alone`: the executor had nothing beside it; `sole`: nor
    had any other. `excuse`: it was interrupted for a limit, and is not to blame. `threads`: it ends, and threads of it
    still run; its outcome is `held` (since `held_at`) until they have ended or the executor is gone.
    """

    task: PendingTask
    attempt: int
    started_at: float | None = None
    interrupt_signal: InterruptSignal | None = None
    interrupted_at: float = 0.0
    by_user: bool = False
    exclusive_on_executor: bool = False
    exclusive_in_run: bool = False
    suspended_seconds: float = 0.0
    """Seconds since it began in which the supervisor did not run; they count for no time limit."""
    excuse: Excuse | None = None
    has_threads: bool = False
    held_record: TaskDone | None = None
    held_at: float = 0.0

    @property
    def leaving_since(self) -> float | None:
        """Since when it should be gone: told to end, or at its end but for its threads. None: it may go on."""
        if self.interrupt_signal is not None:
            return self.interrupted_at
        return self.held_at if self.held_record is not None else None

    def has_begun(self, executing: int) -> bool:
        """Whether it was under way when its executor died; `in_hand`: what that was executing (0 = nothing)."""
        return self.started_at is not None or self.held_record is not None or self.task.seq == executing


@dataclass(slots=True)
class Slot:
    """One place for an executor, and the incarnation that is in it now.

    `alone`: it has a suspect in hand and gets nothing else. `spent`: it gets nothing more and is to be replaced.
    `distrusted`: it sent what is no frame, or what makes no sense. `killed`: SIGKILL was sent to
    its tree. `loading`: agents that it was told to load and has said nothing of yet. `proven`: it has once loaded all
    of them. `unwilling`: it could not load what others could. `block`: its event loop does not turn.
    """

    number: int
    state: SlotState = SlotState.EMPTY
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
    exclusive_on_executor: bool = False
    reclaim_pending: bool = False
    draining: bool = False
    protocol_error: bool = False
    killed: bool = False
    executed: int = 0
    loaded: dict[int, int] = field(default_factory=dict)
    """The agents that it was told to load and not to drop, the one used last at the end, and how many bytes each is."""
    loaded_bytes: int = 0
    pending_loads: int = 0
    has_loaded_all: bool = False
    load_failed_here: bool = False
    failures: int = 0
    restart_at: float = 0.0
    escalation: Escalation | None = None
    exit_reason: str | None = None
    block: Block | None = None

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.state is not SlotState.EMPTY

    def reset(self) -> list[Assignment]:
        """The executor is gone: what it had in hand, in order."""
        left = list(self.assigned.values())
        self.assigned = {}
        self.state = SlotState.EMPTY
        self.pid = None
        self.window = 1
        self.exclusive_on_executor = self.reclaim_pending = self.draining = self.protocol_error = self.killed = False
        self.executed = self.pending_loads = self.loaded_bytes = 0
        self.loaded = {}
        self.has_loaded_all = self.load_failed_here = False
        self.escalation = None
        self.cpu = None
        self.exit_reason = None
        self.block = None
        return left


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """One executor as the console shows it; `since` on the machine's clock."""

    slot: int
    pid: int | None
    state: str
    tasks: tuple[str, ...]
    started_at: float | None
