"""Where executors are started: the whole of what a supervisor uses of the place where its processes run.

`LocalBackend` is this machine; `orchestrator.testing.FakeBackend` runs executors as threads of a test. Nothing outside
the protocol is used, so that another place can be a third one.

Times that go into a backend are seconds from now, not points in time: another machine has another monotonic clock. What
`progress` returns is on the supervisor's clock, and a backend whose executors have another one converts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from runtime.ipc.guardian_protocol import Report, UndoOrder
from runtime.process.usage import ProcessorUse

if TYPE_CHECKING:
    from orchestrator.core.settings import RunSettings
    from orchestrator.journal import SupervisorRecord
    from orchestrator.logging.sinks import LogCallback
    from runtime.model import InterruptSignal


@dataclass(frozen=True, slots=True)
class Channels:
    """Hold the supervisor's ends of one executor's pipes, as file descriptors, and the key in their frames.

    The descriptors are the receiver's to close. All but `control` are non-blocking. See runtime.ipc.executor_protocol.
    """

    tasks: int
    control: int
    events: int
    stdout: int
    stderr: int
    key: int = 0


class SlotProgress(NamedTuple):
    """Hold the task that a slot executes (0 = none), since when, and its last heartbeat; monotonic seconds."""

    task: int
    started_at: float
    heartbeat_at: float


class Cleanup(NamedTuple):
    """Name the processes that a search found, and those of them that could not be ended, each as `pid (command)`."""

    found: list[str]
    remaining: list[str]


class Backend(Protocol):
    """Start executors, interrupt, signal and watch them, and end what they leave behind.

    All methods belong to the supervisor's loop, but for `token`, `guardian_pid`, and `wait_for_previous`, which blocks
    the thread that begins the run. `open`, `discard_guardian`, `kill_by_run_token` and `close` may take their time, the
    rest returns at once. The *guardian* is what watches the executors in the supervisor's stead.
    """

    @property
    def token(self) -> str:
        """The random text by which the processes of this supervisor are known on their host; empty: they are not."""
        ...

    @property
    def guardian_pid(self) -> int | None:
        """The guardian's process id; None before the first `open`."""
        ...

    def wait_for_previous(self, previous: SupervisorRecord, log: LogCallback, check: Callable[[], None]) -> bool:
        """Wait until a dead supervisor's guardian has done its work, and end what is left of that. Blocking, bounded.

        `check` is called every few milliseconds; what it raises ends the wait. Return False if the supervisor ran where
        this backend cannot see.
        """
        ...

    # -- the guardian ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Start a guardian; also one in the place of one that was discarded. Raises OSError."""
        ...

    def fileno(self) -> int:
        """Return the descriptor that is readable when `reports` has something, or when the guardian has died."""
        ...

    def reports(self) -> list[Report] | None:
        """Return what happened to processes since the last call; None when the guardian has died."""
        ...

    def flush(self) -> bool:
        """Send the orders that wait for room. Return whether some still do: then `fileno` becomes writable for them."""
        ...

    def silence(self) -> float:
        """Return for how many seconds the guardian has neither answered nor worked. Called at every sample."""
        ...

    def ensure_running(self) -> None:
        """Continue the guardian, should another process have stopped it. Called at every sample."""
        ...

    def discard_guardian(self, seconds: float) -> Cleanup:
        """End a guardian that has died or does not answer, and all that it watched, so that `open` can start anew.

        Wait at most so many seconds for their ends.
        """
        ...

    # -- executors ------------------------------------------------------------------------------------

    @property
    def has_executors(self) -> bool:
        """Whether any executor is alive, also while no guardian reports its end."""
        ...

    def start(self, slot: int, incarnation: int) -> Channels:
        """Start an executor. Raises OSError when the host has no process or descriptor left for it."""
        ...

    def raise_flag(self, signal: InterruptSignal) -> None:
        """Raise every slot's flag, and wake every executor that sleeps."""
        ...

    def publish_next_rung(self, seconds: float | None) -> None:
        """Tell the executors in how many seconds the ladder's next rung comes; None: none comes."""
        ...

    def terminate(self, slot: int, incarnation: int) -> None:
        """Send an executor SIGTERM and SIGCONT, after it has written its Python stacks to its standard error."""
        ...

    def kill_tree(self, slot: int, incarnation: int) -> None:
        """Send SIGKILL to an executor and all its descendants."""
        ...

    def set_graces(self, grace: float, term_grace: float) -> None:
        """Set the seconds of the first two rungs that the guardian gives to executors should the supervisor die."""
        ...

    def progress(self, slot: int) -> SlotProgress:
        """Return what a slot's executor does now, as it has written it into shared memory."""
        ...

    def reported_progress(self, slot: int, task: int, attempt: int) -> tuple[float, float | None] | None:
        """Return what a task gave to `state.progress` last: `done` and `total`; None if nothing. From any thread."""
        ...

    def processor_use(self, pid: int) -> ProcessorUse | None:
        """Return what an executor's process has used of the processor; None if the host does not say."""
        ...

    def oom_kills(self) -> int | None:
        """Return how many processes the host has killed for want of memory so far; None if it does not say."""
        ...

    def available_memory(self) -> int | None:
        """Return how much memory all executors together may use, in bytes; None if it is not known."""
        ...

    def dump_stacks(self, slot: int) -> None:
        """Make an executor write its Python stacks to its standard error."""
        ...

    def suspend(self) -> None:
        """Stop every process of the run (SIGSTOP); answered by a HaltedReport."""
        ...

    def resume(self) -> None:
        """Continue the processes that `suspend` has stopped."""
        ...

    # -- undo records ---------------------------------------------------------------------------------

    def order_undo(self, order: UndoOrder) -> None:
        """Have the guardian keep an undo record, run its command, or forget it; or tell it where the heir writes.

        HoldUndo is answered by an UndoKeptReport, RunUndo by an UndoReport. A new guardian knows of none.
        """
        ...

    # -- the end --------------------------------------------------------------------------------------

    def sweep(self, seconds: float) -> None:
        """End every process that is left, waiting at most so many seconds; answered by a SweepReport."""
        ...

    def kill_by_run_token(self, known: Sequence[str]) -> Cleanup:
        """End what still carries the run's token after the sweep, but for `known`, which the sweep could not end."""
        ...

    def close(self) -> None:
        """Release every process and descriptor. Safe at any time, and twice."""
        ...


class BackendFactory(Protocol):
    """Make the backend of one run. A backend's class can be one."""

    def __call__(self, run_id: str, settings: RunSettings) -> Backend:
        """Return a backend that is not open yet."""
        ...
