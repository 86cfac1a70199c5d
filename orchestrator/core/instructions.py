"""What the machine asks to be done: every effect, as a record. The engine performs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.core.records import TaskOutcome
from orchestrator.core.undo_records import UndoState
from runtime.ipc.executor_protocol import Control, TaskOrder
from runtime.ipc.guardian_protocol import UndoOrder
from runtime.ipc.undo import UndoCommand
from runtime.statuses import Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class StartExecutor(msgspec.Struct, frozen=True):
    """Fork an incarnation into a slot."""

    slot: int
    incarnation: int


class SendOrder(msgspec.Struct, frozen=True):
    """Send an order through a slot's tasks pipe."""

    slot: int
    order: TaskOrder


class SendControl(msgspec.Struct, frozen=True):
    """Send an order through a slot's control pipe."""

    slot: int
    order: Control


class RaiseFlag(msgspec.Struct, frozen=True):
    """Write the signal, raise every slot's byte, and wake every execution that sleeps."""

    signal: InterruptSignal


class PublishNextRung(msgspec.Struct, frozen=True):
    """Tell the executors when the next rung comes (monotonic seconds)."""

    at: float | None


class UpdateGraces(msgspec.Struct, frozen=True):
    """Set how long the guardian gives executors, in seconds, should the supervisor die: agents may need more."""

    grace: float
    term_grace: float


class TerminateExecutor(msgspec.Struct, frozen=True):
    """Send SIGTERM and SIGCONT to an executor."""

    slot: int
    incarnation: int


class KillExecutor(msgspec.Struct, frozen=True):
    """Send SIGKILL to an executor and all its descendants."""

    slot: int
    incarnation: int


class FetchTasks(msgspec.Struct, frozen=True):
    """Read pending tasks from the store; only the ones with a priority above 0, if `urgent`."""

    after: int
    to: int
    limit: int
    urgent: bool = False


class CommitOutcomes(msgspec.Struct, frozen=True):
    """Commit outcomes. Answered by OutcomesCommitted."""

    outcomes: Sequence[TaskOutcome]


class CommitAttempts(msgspec.Struct, frozen=True):
    """Keep how many attempts a task that will run again has used up."""

    attempts: Mapping[int, int]


class CommitUndo(msgspec.Struct, frozen=True):
    """Commit an undo record that a task waits for. Answered by UndoCommitted."""

    number: int
    task: int
    attempt: int
    command: UndoCommand


class UpdateUndo(msgspec.Struct, frozen=True):
    """Keep the state of an undo record."""

    number: int
    state: UndoState
    tries: int
    error: str | None = None


class OrderUndo(msgspec.Struct, frozen=True):
    """Send the guardian an order about undo records."""

    order: UndoOrder


class SetJournalDeadline(msgspec.Struct, frozen=True):
    """Let nothing wait for the journal any longer than until `at` (monotonic seconds)."""

    at: float


class ReportAgent(msgspec.Struct, frozen=True):
    """Report that an agent was loaded (error None) or refused, for the first time."""

    agent: int
    name: str
    error: str | None = None
    detail: str = ""


class SweepProcesses(msgspec.Struct, frozen=True):
    """End every process that is left, waiting `until` then (monotonic seconds). Answered by SweepReport."""

    until: float


class SweepWithoutGuardian(msgspec.Struct, frozen=True):
    """Kill the guardian, which does not answer, end all that it watched, and answer with a SweepReport."""


class WriteStacks(msgspec.Struct, frozen=True):
    """Have every process write its stacks, and the last stimuli written."""


class EmitLog(msgspec.Struct, frozen=True):
    """Write a named log event, which is also written into the journal's events, there with its `detail`."""

    name: str
    severity: Severity = Severity.INFO
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    detail: str | None = None


class StopLoop(msgspec.Struct, frozen=True):
    """End the engine's loop: nothing is left to do."""


Instruction = (
    StartExecutor
    | SendOrder
    | SendControl
    | RaiseFlag
    | PublishNextRung
    | UpdateGraces
    | TerminateExecutor
    | KillExecutor
    | FetchTasks
    | CommitOutcomes
    | CommitAttempts
    | CommitUndo
    | UpdateUndo
    | OrderUndo
    | SetJournalDeadline
    | ReportAgent
    | SweepProcesses
    | SweepWithoutGuardian
    | WriteStacks
    | EmitLog
    | StopLoop
)
