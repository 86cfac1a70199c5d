"""What the engine asks of the place where tasks that wait and outcomes are kept: in memory, or in a journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.core import stimuli
from orchestrator.core.instructions import FetchTasks
from orchestrator.core.output import OutputChunk
from orchestrator.core.records import NewTask, RunEvent, StoredTask, TaskOutcome, TaskSnapshot
from orchestrator.core.undo_records import UndoRecord, UndoUpdate
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

Post = Callable[[stimuli.Stimulus], None]
"""Hand a stimulus to the engine, from any thread."""

Known = Mapping[str, StoredTask]
"""Tasks of an earlier start by key."""

NOTHING_KNOWN: Known = {}


@dataclass(slots=True)
class WriteBatch:
    """Hold what is to be made durable. Of a task's snapshots, the last. `weight` is about the bytes that it came in."""

    outcomes: list[TaskOutcome] = field(default_factory=list)
    snapshots: dict[int, TaskSnapshot] = field(default_factory=dict)
    events: list[RunEvent] = field(default_factory=list)
    attempts: dict[int, int] = field(default_factory=dict)
    output: list[OutputChunk] = field(default_factory=list)
    undo: list[UndoRecord] = field(default_factory=list)
    undo_updates: list[UndoUpdate] = field(default_factory=list)
    weight: int = 0

    def __bool__(self) -> bool:
        parts = (self.outcomes, self.snapshots, self.events, self.attempts, self.output, self.undo, self.undo_updates)
        return any(parts)

    def add(self, other: WriteBatch) -> None:
        """Join two batches."""
        self.outcomes.extend(other.outcomes)
        self.snapshots.update(other.snapshots)
        self.events.extend(other.events)
        self.attempts.update(other.attempts)
        self.output.extend(other.output)
        self.undo.extend(other.undo)
        self.undo_updates.extend(other.undo_updates)
        self.weight += other.weight


class TaskStore(Protocol):
    """Keep tasks and outcomes, as the engine and the callers see it."""

    @property
    def unwritten_bytes(self) -> int:
        """The weight of what was to be committed and is not yet. OutcomesCommitted is posted when it becomes less."""
        ...

    def add_tasks(self, tasks: Sequence[NewTask], known: Known = NOTHING_KNOWN) -> Future[None]:
        """Add tasks. Return a future that is done when they are durable.

        It fails with UsageError for a duplicate key, or with JournalError.

        `known`: those that the run has from an earlier start. They are executed if they have not ended yet.
        """
        ...

    def look_up(self, keys: Sequence[str]) -> Future[Known]:
        """Return the tasks with these keys that the run has from before."""
        ...

    def seal(self, *, for_good: bool = True) -> None:
        """Close the input: no more tasks will come. InputClosed is posted.

        `for_good`: at later starts neither.
        """
        ...

    def fetch(self, request: FetchTasks) -> None:
        """Read up to `limit` pending tasks behind `after`. TasksFetched is posted, with `to` if there are none."""
        ...

    def commit(self, batch: WriteBatch) -> None:
        """Commit what happened, and publish it. OutcomesCommitted is posted, and UndoCommitted for new undo records."""
        ...

    def finish(
        self, events: Sequence[RunEvent], status: ExecutionStatus, signal: InterruptSignal | None, token: str = ""
    ) -> None:
        """Record how the run ended, behind everything else. `token`: see Journal.finish_run."""
        ...

    def set_deadline(self, at: float) -> None:
        """Wait only until `at` (monotonic seconds) for another process that has the journal locked: the run stops."""
        ...

    @property
    def is_contended(self) -> bool:
        """Whether another process has the journal locked right now."""
        ...

    @property
    def failure(self) -> str | None:
        """The reason why nothing can be written any more, or None."""
        ...

    def fail_pending(self, error: BaseException) -> None:
        """Fail every future that is not done, and those of tasks that are added from now on: the run is over."""
        ...

    def close(self, timeout: float) -> bool:
        """Finish what was ordered, and stop. Return False if that takes more than `timeout` seconds."""
        ...


def committed(asked: int, accepted: Sequence[TaskOutcome]) -> stimuli.OutcomesCommitted:
    """Return the answer to a commit of `asked` outcomes."""
    statuses = [outcome.status for outcome in accepted]
    return stimuli.OutcomesCommitted(
        asked,
        statuses.count(ExecutionStatus.COMPLETED),
        statuses.count(ExecutionStatus.FAILED),
        statuses.count(ExecutionStatus.INTERRUPTED),
    )
