"""Slots and what their executors have in hand. The machine's memory; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.ladder import Climb
from orchestrator.records import PendingTask
from runtime.ipc.executor_protocol import Done
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
class Assigned:
    """A task that an executor was given.

    `since` is when it began, None while it has not (or nobody said so); `asked` is the interrupt that was sent for it
    alone, `requested` that somebody meant this very task. `alone`: the executor had nothing beside it; `sole`: nor
    had any other. `excuse`: it was interrupted for a limit, and is not to blame. `threads`: it ends, and threads of it
    still run; its outcome is `held` (since `held_at`) until they have ended or the executor is gone.
    """

    task: PendingTask
    attempt: int
    since: float | None = None
    asked: InterruptSignal | None = None
    asked_at: float = 0.0
    requested: bool = False
    alone: bool = False
    sole: bool = False
    paused: float = 0.0
    """Seconds since it began in which the supervisor did not run; they count for no time limit."""
    excuse: Excuse | None = None
    threads: bool = False
    held: Done | None = None
    held_at: float = 0.0

    @property
    def leaving_since(self) -> float | None:
        """Since when it should be gone: told to end, or at its end but for its threads. None: it may go on."""
        if self.asked is not None:
            return self.asked_at
        return self.held_at if self.held is not None else None

    def has_begun(self, in_hand: int) -> bool:
        """Whether it was under way when its executor died; `in_hand`: what that was executing (0 = nothing)."""
        return self.since is not None or self.held is not None or self.task.seq == in_hand


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
    heard_at: float = 0.0
    worked_at: float = 0.0
    """When it was last seen to have used the processor, while it showed no heartbeat."""
    cpu: tuple[float, float] | None = None
    """Processor seconds that it had used, and when; None while it shows heartbeats."""
    window: int = 1
    assigned: dict[int, Assigned] = field(default_factory=dict)
    alone: bool = False
    revoking: bool = False
    spent: bool = False
    distrusted: bool = False
    killed: bool = False
    executed: int = 0
    loaded: dict[int, int] = field(default_factory=dict)
    """The agents that it was told to load and not to drop, the one used last at the end, and how many bytes each is."""
    loaded_bytes: int = 0
    loading: int = 0
    proven: bool = False
    unwilling: bool = False
    failures: int = 0
    restart_at: float = 0.0
    climb: Climb | None = None
    why: str | None = None
    block: Block | None = None

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self.state is not SlotState.EMPTY

    def vacate(self) -> list[Assigned]:
        """The executor is gone: what it had in hand, in order."""
        left = list(self.assigned.values())
        self.assigned = {}
        self.state = SlotState.EMPTY
        self.pid = None
        self.window = 1
        self.alone = self.revoking = self.spent = self.distrusted = self.killed = False
        self.executed = self.loading = self.loaded_bytes = 0
        self.loaded = {}
        self.proven = self.unwilling = False
        self.climb = None
        self.cpu = None
        self.why = None
        self.block = None
        return left


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """One executor as the console shows it; `since` on the machine's clock."""

    slot: int
    pid: int | None
    state: str
    tasks: tuple[str, ...]
    since: float | None
