"""Everything that happens outside the state machine, as frozen records: its input.

What the guardian reports goes in as it comes (guardian_protocol.py), unless more than the report belongs to it: a
process's exit (ExecutorExited), memory above the limit (MemoryExceeded).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.core.ladder import Rung
from orchestrator.core.records import NewTask, PendingTask
from orchestrator.core.undo_records import UndoRecord
from runtime.ipc.executor_protocol import ExecutorRecord
from runtime.ipc.guardian_protocol import (
    ForkedReport,
    ReadyReport,
    StraysReport,
    SweepReport,
    UndoJournal,
    UndoKeptReport,
    UndoReport,
)
from runtime.statuses import Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class RunStarted(msgspec.Struct, frozen=True):
    """Start the executors."""


class AgentAdded(msgspec.Struct, frozen=True):
    """An agent that tasks may name from now on."""

    agent: int
    by_name: bool
    source: bytes


class AgentReleased(msgspec.Struct, frozen=True):
    """A caller that has handed an agent in has no more tasks of it on the way; those that it had were added before."""

    agent: int


class TasksAdded(msgspec.Struct, frozen=True):
    """The store has taken `tasks`: those with a seq have that one, the others the next after `after`, up to `last_seq`.

    `kept`: they can be fetched later. Otherwise this is the only time that they are seen.
    """

    after: int
    last_seq: int
    tasks: Sequence[NewTask]
    stored: bool = True


class RunResumed(msgspec.Struct, frozen=True):
    """The run is resumed: its last seq, and its tasks by status.

    `by_program`: a program hands its tasks in again. Each comes as Recalled then, and none is fetched.
    """

    last_seq: int
    accepted: int
    completed: int
    failed: int
    by_program: bool = False


class TasksRecalled(msgspec.Struct, frozen=True):
    """Tasks of an earlier start were handed in again, and are what they were."""

    tasks: Sequence[PendingTask]


class LogRequested(msgspec.Struct, frozen=True):
    """Another thread has something to log, and nothing else."""

    name: str
    severity: Severity
    fields: Mapping[str, Any]


class TasksFetched(msgspec.Struct, frozen=True):
    """The store has answered FetchTasks: tasks in order, and up to which seq it was read.

    `urgent`: only the urgent ones were asked for.
    """

    tasks: Sequence[PendingTask]
    read_to: int
    urgent: bool = False


class InputClosed(msgspec.Struct, frozen=True):
    """No more tasks will come."""


class RecordsReceived(msgspec.Struct, frozen=True):
    """An executor sent records, in order."""

    slot: int
    incarnation: int
    records: Sequence[ExecutorRecord]


class ProtocolErrorDetected(msgspec.Struct, frozen=True):
    """An executor sent what is not a frame; it must not be believed any more."""

    slot: int
    incarnation: int
    problem: str


class ExecutorExited(msgspec.Struct, frozen=True):
    """An executor is gone, and all it had sent was received. `code` is negative for a signal, None if unknown.

    `executing` is the task that shared memory shows for it, 0 = none; `exit_text` describes the code, and
    `last_line` is what it wrote to standard error last. `with_guardian`: it died because that did.
    `is_out_of_memory`: the kernel killed it for want of memory; all executors may use `available_memory` bytes.
    """

    slot: int
    incarnation: int
    pid: int
    code: int | None
    seconds: float
    max_rss: int
    executing: int
    exit_text: str
    last_line: str = ""
    with_guardian: bool = False
    is_out_of_memory: bool = False
    available_memory: int | None = None


class GuardianLost(msgspec.Struct, frozen=True):
    """The guardian has died; ExecutorExited of the executors that died with it follow."""


class MemoryExceeded(msgspec.Struct, frozen=True):
    """An executor's tree held more memory than it may, at `measured_at` (monotonic seconds): `size` bytes."""

    slot: int
    incarnation: int
    size: int
    measured_at: float = math.inf


class OutcomesCommitted(msgspec.Struct, frozen=True):
    """The journal was given `submitted` outcomes; the other fields count the ones that it accepted, by status."""

    submitted: int
    completed: int
    failed: int
    interrupted: int


class UndoCommitted(msgspec.Struct, frozen=True):
    """The store has undo records with these numbers: they survive what the store survives."""

    numbers: Sequence[int]


class UndoJournalOpened(msgspec.Struct, frozen=True):
    """The run has a journal: the heir writes into it as `journal` says, and `last` is the last record's number.

    `records` are outstanding from earlier starts; `keys` has the keys of their tasks. Those `elsewhere` were made on
    other hosts, and do not run here.
    """

    journal: UndoJournal
    last: int
    records: Sequence[UndoRecord]
    keys: Mapping[int, str]
    elsewhere: Sequence[UndoRecord] = ()


class JournalFailed(msgspec.Struct, frozen=True):
    """The journal cannot be written any more."""

    problem: str


class JournalContended(msgspec.Struct, frozen=True):
    """Another process holds the lock of the journal, one of `holders` as far as they are known: writes wait."""

    holders: Sequence[str]
    seconds: float


class JournalAvailable(msgspec.Struct, frozen=True):
    """The journal can be written again, after so many seconds."""

    seconds: float


class JournalStarved(msgspec.Struct, frozen=True):
    """The journal has been locked for so long that the run stops; what is finished is still to be written."""

    problem: str
    seconds: float


class HostFailed(msgspec.Struct, frozen=True):
    """The run cannot go on: what it needs from the host is not to be had."""

    problem: str


class InterruptRequested(msgspec.Struct, frozen=True):
    """A caller, the journal or a limit asks for a stop: of everything, of a task, or of what an executor executes.

    when_idle: begin nothing more, and stop everything once nothing runs.

    `rung`: a stop of everything goes down to this rung of the ladder at once.
    """

    signal: InterruptSignal
    task: str | None = None
    rung: int = int(Rung.FLAG)
    slot: int | None = None
    when_idle: bool = False


class EscalationRequested(msgspec.Struct, frozen=True):
    """A client of the control socket asks for the next rung of the stop that goes on."""

    triggered_by: str


class OsSignalReceived(msgspec.Struct, frozen=True):
    """An OS signal arrived. `user` is whether a person pressed a key (SIGINT)."""

    name: str
    user: bool


class StacksRequested(msgspec.Struct, frozen=True):
    """A caller asks for the stacks of all processes."""

    triggered_by: str


class HostEndAnnounced(msgspec.Struct, frozen=True):
    """The host is taken away in so many seconds. `revocable`: it may still withdraw that."""

    seconds: float
    message: str
    triggered_by: str
    revocable: bool = False


class HostEndExpected(msgspec.Struct, frozen=True):
    """The host may be taken away soon: nothing more should begin on it."""

    message: str
    triggered_by: str


class HostEndWithdrawn(msgspec.Struct, frozen=True):
    """The host stays: what it announced or expected is not so any more."""

    message: str
    triggered_by: str


class ProgressSampled(msgspec.Struct, frozen=True):
    """Shared memory was read: for each slot its task, since when, the last heartbeat (monotonic seconds).

    `cpu`: seconds of processor time that the executors of some slots have used, those of `Machine.quiet`. `runnable`:
    those of them that had a processor, or waited for one, just now.
    """

    slots: Sequence[tuple[int, float, float]]
    cpu: Mapping[int, float] = {}
    runnable: frozenset[int] = frozenset()


class SuspensionNoticed(msgspec.Struct, frozen=True):
    """The supervisor did not run for so many seconds: it was stopped or frozen, and perhaps the whole run."""

    seconds: float


class TimerFired(msgspec.Struct, frozen=True):
    """Time has passed."""


Stimulus = (
    RunStarted
    | AgentAdded
    | AgentReleased
    | TasksAdded
    | RunResumed
    | TasksRecalled
    | TasksFetched
    | InputClosed
    | RecordsReceived
    | ProtocolErrorDetected
    | ExecutorExited
    | GuardianLost
    | MemoryExceeded
    | OutcomesCommitted
    | UndoCommitted
    | UndoJournalOpened
    | JournalFailed
    | JournalContended
    | JournalAvailable
    | JournalStarved
    | HostFailed
    | InterruptRequested
    | EscalationRequested
    | OsSignalReceived
    | StacksRequested
    | HostEndAnnounced
    | HostEndExpected
    | HostEndWithdrawn
    | ProgressSampled
    | SuspensionNoticed
    | LogRequested
    | TimerFired
    | ReadyReport
    | ForkedReport
    | StraysReport
    | SweepReport
    | UndoKeptReport
    | UndoReport
)
