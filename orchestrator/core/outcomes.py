"""What becomes of tasks that ended: recorded as final, run again, or kept for the next start. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.core import stimuli
from orchestrator.core.instructions import CommitAttempts
from orchestrator.core.retry_rules import RETRY_LATER_LIMIT, is_retried, retry_delay, seconds_until_later
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.verdicts import TaskVerdict, classify_interrupted, make_outcome, signal_of
from runtime.ipc import executor_protocol
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus, Severity

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

FOREIGN_SIGTERM_LIMIT = 10
"""How often a task may be ended by a SIGTERM to its executor that is none of ours before it is taken for its sender."""

MEMORY_LIMIT = "memory-limit"
"""What has triggered the interrupt of a task whose executor holds more memory than it may."""

SLOW_STOP_SECONDS = 1.0
"""Seconds between an interrupt and the end of its task from which on that is worth a line in the log."""


LONGEST_DETAIL = 16 << 10
"""Characters of the traceback of an attempt that is not the last one, at most, the end of it: there may be many."""


def _end_of_detail(record: executor_protocol.TaskDone | None) -> str | None:
    return None if record is None or not record.detail else record.detail[-LONGEST_DETAIL:]


class OutcomeTracker:
    """Decide what becomes of tasks that ended. A final outcome is recorded once."""

    def __init__(self, state: SupervisorState, shutdown: ShutdownController) -> None:
        self._state = state
        self._shutdown = shutdown
        self.mean_task_seconds: float | None = None

    def conclude(
        self,
        assignment: Assignment,
        where: Slot | stimuli.ExecutorExited,
        record: executor_protocol.TaskDone,
        signal: InterruptSignal | None,
        now: float,
    ) -> None:
        """Record what a task's own report means, when nothing of it runs any more."""
        self.log_slow_stop(where.number if isinstance(where, Slot) else where.slot, assignment, now)
        if record.status == ExecutionStatus.COMPLETED:
            self._update_mean_duration(record.seconds)
            self._state.record_outcome(
                make_outcome(assignment, where, record, ExecutionStatus.COMPLETED), assignment.task.agent
            )
        elif record.status == ExecutionStatus.INTERRUPTED:
            verdict = classify_interrupted(
                assignment, signal or assignment.interrupt_signal, stopping=self._state.signal is not None
            )
            self.apply_verdict(assignment, verdict, where, record.error, now, record)
        elif not self._postpone(assignment, record, now):
            self._update_mean_duration(record.seconds)
            self.apply_verdict(assignment, TaskVerdict.FAILED, where, record.error, now, record)

    def log_slow_stop(self, slot: int, assignment: Assignment, now: float) -> None:
        """Log a task that went long without a checkpoint, so that it is known before it matters.

        Also one that was completed all the same, or whose executor had to be killed.
        """
        asked_at = assignment.interrupted_at or self._shutdown.began_at
        if asked_at and now - asked_at >= SLOW_STOP_SECONDS:
            self._state.log(
                "task.slow_to_stop",
                Severity.WARNING,
                key=assignment.task.key,
                slot=slot,
                seconds=round(now - asked_at, 2),
                hint="call state.raise_if_interrupted() more often",
            )

    def _update_mean_duration(self, seconds: float) -> None:
        old = self.mean_task_seconds
        self.mean_task_seconds = seconds if old is None else old + 0.1 * (seconds - old)

    # -- verdicts -----------------------------------------------------------------------------------

    def apply_verdict(
        self,
        assignment: Assignment,
        verdict: TaskVerdict,
        where: Slot | stimuli.ExecutorExited,
        error: str | None,
        now: float,
        record: executor_protocol.TaskDone | None = None,
    ) -> None:
        """Apply a verdict: record the task as final, run it again, or keep it for the next start."""
        if verdict is TaskVerdict.REQUEUE:
            self._requeue_without_attempt(assignment, where, error, now, record)
        elif verdict is TaskVerdict.ALONE:
            self._state.queue.add_suspects([assignment.task])
        elif verdict is TaskVerdict.INTERRUPTED or assignment.by_user:
            self.record_outcome(assignment, where, ExecutionStatus.INTERRUPTED, error, now, record)
        elif self._is_over_memory(assignment, record):
            if assignment.is_fresh or not self.retry_alone(assignment, error):
                self.record_outcome(assignment, where, ExecutionStatus.FAILED, error, now, record)
        elif self._is_retried(assignment, record):  # while the run stops, too: then at the next start
            self._state.log(
                "task.retrying", Severity.WARNING, detail=_end_of_detail(record),
                key=assignment.task.key, attempt=assignment.attempt, error=error,
            )  # fmt: skip
            delay = retry_delay(self._state.settings, assignment.task.seq, assignment.attempt)
            self.schedule_retry(assignment, now + delay)
        else:
            self.record_outcome(assignment, where, ExecutionStatus.FAILED, error, now, record)

    @staticmethod
    def _is_over_memory(assignment: Assignment, record: executor_protocol.TaskDone | None) -> bool:
        """Return whether a task was interrupted because its executor held more memory than it may."""
        signal = assignment.interrupt_signal or (None if record is None else signal_of(record))
        return signal is not None and signal.triggered_by == MEMORY_LIMIT

    def retry_alone(self, assignment: Assignment, error: str | None) -> bool:
        """Run a task that ran out of memory again, alone in its executor, at the cost of a counter of its own.

        Returns False when that is used up.
        """
        times = self._state.queue.count_out_of_memory(assignment.task.seq)
        if times > self._state.settings.oom_retries:
            return False
        key, attempt = assignment.task.key, assignment.attempt
        self._state.log("task.out_of_memory", Severity.WARNING, key=key, attempt=attempt, times=times, error=error)
        self._state.queue.add_suspects([assignment.task])
        return True

    def _is_retried(self, assignment: Assignment, record: executor_protocol.TaskDone | None) -> bool:
        """Return whether a task that failed has retries left, and failed of something that is retried."""
        if assignment.attempt > self._state.retries_of(assignment.task.agent):
            return False
        signal = assignment.interrupt_signal or (None if record is None else signal_of(record))
        return is_retried(self._state.settings, None if record is None else record.failure, signal)

    def _postpone(self, assignment: Assignment, record: executor_protocol.TaskDone, now: float) -> bool:
        """Run a task that raised RetryLater again when it asks for that, at no cost. Returns whether it did."""
        seconds = seconds_until_later(record)
        if seconds is None or assignment.by_user:
            return False
        times = self._state.queue.count_postponed(assignment.task.seq)
        if times > RETRY_LATER_LIMIT:
            return False
        self._state.log(
            "task.postponed", Severity.INFO, detail=_end_of_detail(record),
            key=assignment.task.key, seconds=seconds, times=times, error=record.error,
        )  # fmt: skip
        self._state.queue.retry_at(assignment.task, now + seconds)
        return True

    def _requeue_without_attempt(
        self,
        assignment: Assignment,
        where: Slot | stimuli.ExecutorExited,
        error: str | None,
        now: float,
        record: executor_protocol.TaskDone | None,
    ) -> None:
        """Requeue a task that made room for another, or whose executor got a foreign SIGTERM, at no cost.

        Where that comes again and again, it runs alone, so that it is known whose doing it is.
        """
        backlog = self._state.queue
        if (
            assignment.interrupt_signal is not None
            or backlog.count_foreign_sigterm(assignment.task.seq) < FOREIGN_SIGTERM_LIMIT
        ):
            backlog.put_back([assignment.task])
        elif assignment.exclusive_on_executor or self._state.concurrency_per_executor == 1:
            text = f"{error} ({FOREIGN_SIGTERM_LIMIT} times: the task seems to send it itself)"
            self.record_outcome(assignment, where, ExecutionStatus.FAILED, text, now, record)
        else:
            backlog.add_suspects([assignment.task])

    def schedule_retry(self, assignment: Assignment, at: float) -> None:
        """Run a task again at `at`; the attempt that it has used is kept in the journal too."""
        self._state.retried += 1
        self._state.emit(CommitAttempts({assignment.task.seq: assignment.attempt}))
        self._state.queue.retry_at(replace(assignment.task, attempts=assignment.attempt), at)

    def record_outcome(
        self,
        assignment: Assignment,
        where: Slot | stimuli.ExecutorExited,
        status: ExecutionStatus,
        error: str | None,
        now: float,
        record: executor_protocol.TaskDone | None = None,
    ) -> None:
        """Record an outcome as final. One failed task too many stops the run."""
        state = self._state
        signal = assignment.interrupt_signal or (None if record is None else signal_of(record))
        if signal is None and status is ExecutionStatus.INTERRUPTED:
            signal = state.signal
        state.record_outcome(make_outcome(assignment, where, record, status, error, signal), assignment.task.agent)
        limit, failures = state.settings.max_failures, state.failures
        ended = failures + state.ended[ExecutionStatus.COMPLETED]
        if status is ExecutionStatus.FAILED and limit is not None and limit.is_exceeded(failures, ended):
            self._shutdown.stop(
                PlainSignal(
                    reason=InterruptReason.ERROR_THRESHOLD,
                    message=f"{failures} tasks failed",
                    triggered_by="max-failures",
                ),
                now,
            )

    def on_committed(self, stimulus: stimuli.OutcomesCommitted) -> None:
        """Count outcomes that are in the journal now."""
        counts = self._state.counts
        self._state.uncommitted -= stimulus.submitted
        counts[ExecutionStatus.COMPLETED] += stimulus.completed
        counts[ExecutionStatus.FAILED] += stimulus.failed
        counts[ExecutionStatus.INTERRUPTED] += stimulus.interrupted
