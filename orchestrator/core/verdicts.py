"""What becomes of a task that ended: pure verdicts and the records they are written in."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.core.records import PendingTask, TaskOutcome
from orchestrator.core.slots import Assignment, Excuse, Slot
from orchestrator.core.stimuli import ExecutorExited
from orchestrator.units import format_size
from runtime.errors import ExecutionInterrupted
from runtime.ipc.executor_protocol import TaskDone
from runtime.plain_signal import decode_signal
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

UNKILLABLE = "its executor cannot be killed"


class TaskVerdict(Enum):
    """FAILED is final once the retries are used up; INTERRUPTED waits for the next start; REQUEUE costs nothing.

    ALONE costs nothing either; the task runs with nothing beside it, so that it is known whose fault it is.
    """

    FAILED = auto()
    INTERRUPTED = auto()
    REQUEUE = auto()
    ALONE = auto()


_FAILURES = frozenset({InterruptReason.TIMEOUT, InterruptReason.RESOURCE_LIMIT})


def classify_interrupted(assignment: Assignment, signal: InterruptSignal | None, *, stopping: bool) -> TaskVerdict:
    """Return what the end of an interrupted task means.

    While the run stops it is kept for the next start, and so is one that a caller interrupted by its key. A task that
    was over its own limit has failed, unless it is excused: a task beside it may be to blame. One whose executor
    got a foreign SIGTERM, or that made room for another, runs again.
    """
    if assignment.by_user:
        return TaskVerdict.INTERRUPTED
    if stopping and (assignment.interrupt_signal is None or assignment.interrupt_signal.reason not in _FAILURES):
        return TaskVerdict.INTERRUPTED
    if assignment.excuse is not None:
        return TaskVerdict.REQUEUE if assignment.excuse is Excuse.NEIGHBOUR else TaskVerdict.ALONE
    signal = signal or assignment.interrupt_signal
    if signal is None:
        return TaskVerdict.REQUEUE
    if signal.reason in _FAILURES:
        return TaskVerdict.FAILED
    if signal.reason is InterruptReason.PRIORITY_OVERRIDE or signal.triggered_by == "signal:SIGTERM":
        return TaskVerdict.REQUEUE
    return TaskVerdict.INTERRUPTED


def status_of_unkillable(
    assignment: Assignment, signal: InterruptSignal | None, *, has_failed: bool, stopping: bool
) -> ExecutionStatus:
    """Return how a task is recorded whose executor cannot be killed: no attempt may run beside what is left of it.

    It has failed if it had said so, or was over its own limit. What would run again waits for the next start.
    """
    if has_failed or (not stopping and classify_interrupted(assignment, signal, stopping=False) is TaskVerdict.FAILED):
        return ExecutionStatus.FAILED
    return ExecutionStatus.INTERRUPTED


def is_over_limit(assignment: Assignment) -> bool:
    """Whether a task was interrupted because of a limit of its own, and for no other reason."""
    return (
        assignment.interrupt_signal is not None
        and not assignment.by_user
        and assignment.interrupt_signal.reason in _FAILURES
    )


def outcome_of_unstarted(task: PendingTask, signal: InterruptSignal) -> TaskOutcome:
    """Return the outcome of a task that was interrupted before any executor had it."""
    return TaskOutcome(
        seq=task.seq, key=task.key, status=ExecutionStatus.INTERRUPTED, attempts=task.attempts,
        error=str(ExecutionInterrupted(signal)), signal=signal,
    )  # fmt: skip


def crash_message(exit_text: str, exit_reason: str | None) -> str:
    """Return the one line of a task whose executor died under it."""
    return f"the executor died: {exit_text}" + (f" ({exit_reason})" if exit_reason else "")


def out_of_memory_message(exited: ExecutorExited) -> str:
    """Return the one line of a task whose executor the kernel killed for want of memory."""
    limit = "" if exited.available_memory is None else f"; {format_size(exited.available_memory)} is the limit of all"
    return f"out of memory (the kernel killed the executor, which had used {format_size(exited.max_rss)}{limit})"


def kill_message(exit_text: str, signal: InterruptSignal | None) -> str:
    """Return the one line of a task that was interrupted, did not end, and whose executor was ended."""
    if signal is None:
        return f"ended by {exit_text}"
    return f"{ExecutionInterrupted(signal)} (ended by {exit_text})"


def unkillable_message(exit_reason: str | None, signal: InterruptSignal | None) -> str:
    """Return the one line of a task whose executor cannot be killed."""
    cause = exit_reason or (None if signal is None else str(ExecutionInterrupted(signal)))
    return f"{cause} ({UNKILLABLE})" if cause else UNKILLABLE


def backoff_seconds(first: float, times: int, most: float) -> float:
    """Return the seconds to wait: `first`, doubled so many times, and never more than `most`."""
    return min(most, first * 2.0 ** min(times, 20))


def startup_failure_message(times: int, exit_text: str, last_line: str) -> str:
    """Return the one line of a run whose executors do not start."""
    last_words = f"; it said: {last_line.strip()[:200]}" if last_line.strip() else ""
    died = f"{times} executors in a row died before they were ready (the last: {exit_text}{last_words})"
    return f"{died}; the environment is broken"


def make_outcome(
    assignment: Assignment,
    where: Slot | ExecutorExited,
    record: TaskDone | None,
    status: ExecutionStatus,
    error: str | None = None,
    signal: InterruptSignal | None = None,
) -> TaskOutcome:
    """Return the outcome of a task, from what its executor reported, or from nothing when it died."""
    number = where.number if isinstance(where, Slot) else where.slot
    task, attempt = assignment.task, assignment.attempt
    if record is None:
        return TaskOutcome(
            seq=task.seq, key=task.key, status=status, attempts=attempt, error=error, slot=number,
            incarnation=where.incarnation, signal=signal,
        )  # fmt: skip
    return TaskOutcome(
        seq=task.seq, key=task.key, status=status, attempts=attempt, encoded=record.value,
        encoding=record.encoding or "json", projection=record.projection,
        error=error or record.error, detail=record.detail,
        started_at=record.started_at, ended_at=record.started_at + record.seconds, slot=number,
        incarnation=where.incarnation, signal=signal,
        failure=record.failure if status is ExecutionStatus.FAILED else None,
    )  # fmt: skip


def prolong(record: TaskDone, seconds: float) -> TaskDone:
    """Return the end of a task whose threads ended so many seconds later."""
    return replace(record, seconds=record.seconds + seconds)


def signal_of(record: TaskDone) -> InterruptSignal | None:
    """Return the signal that a record gives as its cause: the run's, or one of the task's own (a limit, a checker)."""
    return decode_signal(record.signal) if record.signal else None
