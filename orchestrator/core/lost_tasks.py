"""Tasks whose executor died or cannot be killed: which one is at fault, and which runs again. Pure."""

from __future__ import annotations

from orchestrator.core import stimuli
from orchestrator.core.ladder import Escalation
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Excuse, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.verdicts import (
    classify_interrupted,
    crash_message,
    is_over_limit,
    kill_message,
    out_of_memory_message,
    prolong,
    signal_of,
    status_of_unkillable,
    unkillable_message,
)
from runtime.statuses import ExecutionStatus, Severity


class LostTasks:
    """Decide what becomes of the tasks that an executor leaves behind. A crash costs the task at fault an attempt."""

    def __init__(self, state: SupervisorState, outcomes: OutcomeTracker, shutdown: ShutdownController) -> None:
        self._state = state
        self._outcomes = outcomes
        self._shutdown = shutdown

    def on_executor_lost(
        self,
        left: list[Assignment],
        exited: stimuli.ExecutorExited,
        exit_reason: str | None,
        escalation: Escalation | None,
        now: float,
        *,
        distrusted: bool = False,
    ) -> None:
        """Find the task at fault when an executor died: it uses up an attempt, and the others do not.

        Of a `distrusted` executor it is not known which tasks have ended: one whose record was lost in the garbage may
        be the one that wrote it, so each is suspected, or the same garbage would come again for ever.
        """
        held = [assignment for assignment in left if assignment.is_held]
        for assignment in held:
            self._release(assignment, exited, now)
        left = [assignment for assignment in left if not assignment.is_held]
        begun = [assignment for assignment in left if assignment.has_begun(exited.executing)]
        unstarted = [assignment for assignment in left if assignment not in begun]
        self._excuse_if_several(begun)
        if self._state.signal is not None:
            self._record_killed(begun, exited, now)
        elif escalation is not None and (held or any(assignment.interrupt_signal is not None for assignment in left)):
            self._judge_interrupted(begun, exited, now)
        elif exited.with_guardian and not any(assignment.exclusive_in_run for assignment in begun):
            self._shutdown.requeue_unstarted(unstarted)  # first: those that had begun run before them
            self._on_guardian_lost(begun)
            return
        else:
            suspects, unstarted = (left, []) if distrusted else (begun, unstarted)
            if len(suspects) == 1 and exited.is_out_of_memory:
                self._on_out_of_memory(suspects[0], exited, now)
            elif len(suspects) == 1:
                self._on_crash(suspects[0], exited, exit_reason, now)
            else:
                self._state.queue.add_suspects([assignment.task for assignment in suspects])
        self._shutdown.requeue_unstarted(unstarted)

    def _record_killed(self, begun: list[Assignment], exited: stimuli.ExecutorExited, now: float) -> None:
        """Record tasks whose executor was killed by the stop of the run."""
        for assignment in begun:
            self._outcomes.log_slow_stop(exited.slot, assignment, now)
            error = kill_message(exited.exit_text, assignment.interrupt_signal or self._state.signal)
            self._outcomes.record_outcome(assignment, exited, ExecutionStatus.INTERRUPTED, error, now)

    def _judge_interrupted(self, begun: list[Assignment], exited: stimuli.ExecutorExited, now: float) -> None:
        """Judge the tasks for which the ladder has ended their executor, and put back those beside them, at no cost."""
        for assignment in begun:
            signal = assignment.interrupt_signal
            if signal is not None:
                self._outcomes.log_slow_stop(exited.slot, assignment, now)
                verdict = classify_interrupted(assignment, signal, stopping=False)
                self._outcomes.apply_verdict(assignment, verdict, exited, kill_message(exited.exit_text, signal), now)
        self._state.queue.put_back([assignment.task for assignment in begun if assignment.interrupt_signal is None])

    def record_abandoned(
        self, left: list[Assignment], where: Slot, exit_reason: str | None, now: float, *, distrusted: bool
    ) -> None:
        """Record the tasks of an executor that cannot be killed. Those that had begun do not run again in this run.

        What a `distrusted` executor said of their beginnings was not believed, so any of them may have begun.
        """
        begun = [assignment for assignment in left if distrusted or assignment.has_begun(executing=0)]
        self._excuse_if_several(begun)
        for assignment in begun:
            record = (
                None if assignment.held_record is None else prolong(assignment.held_record, now - assignment.held_at)
            )
            signal = assignment.interrupt_signal if record is None else signal_of(record) or assignment.interrupt_signal
            has_failed = record is not None and record.status == ExecutionStatus.FAILED
            status = status_of_unkillable(
                assignment, signal, has_failed=has_failed, stopping=self._state.signal is not None
            )
            said = (None if record is None else record.error) or exit_reason
            error = unkillable_message(said, signal or self._state.signal)
            self._outcomes.record_outcome(assignment, where, status, error, now, record)
        self._shutdown.requeue_unstarted([assignment for assignment in left if assignment not in begun])

    def _release(self, assignment: Assignment, exited: stimuli.ExecutorExited, now: float) -> None:
        """Conclude a task that was held: its threads are gone with their process."""
        if assignment.held_record is not None:
            record = prolong(assignment.held_record, now - assignment.held_at)
            self._outcomes.conclude(assignment, exited, record, signal_of(record), now)

    @staticmethod
    def _excuse_if_several(begun: list[Assignment]) -> None:
        """Excuse several tasks of one event loop that were over their limits: it is not known which one held it."""
        blamed = [assignment for assignment in begun if is_over_limit(assignment) and assignment.excuse is None]
        if len(blamed) > 1:
            for assignment in blamed:
                assignment.excuse = Excuse.UNKNOWN

    def _on_guardian_lost(self, begun: list[Assignment]) -> None:
        """Requeue the tasks that died with the guardian, at no cost. Where it comes again, each runs by itself."""
        backlog, again = self._state.queue, []
        for assignment in begun:
            if backlog.count_crash(assignment.task.seq) < self._state.settings.crash_limit:
                again.append(assignment.task)
            else:
                backlog.isolate(assignment.task)
        backlog.put_back(again)

    def _on_out_of_memory(self, assignment: Assignment, exited: stimuli.ExecutorExited, now: float) -> None:
        """Run the task again alone in its executor: beside others, or at once, it would be killed again."""
        text = out_of_memory_message(exited)
        if not self._outcomes.retry_alone(assignment, text):
            self._outcomes.record_outcome(assignment, exited, ExecutionStatus.FAILED, text, now)

    def _on_crash(
        self, assignment: Assignment, exited: stimuli.ExecutorExited, exit_reason: str | None, now: float
    ) -> None:
        crashes = self._state.queue.count_crash(assignment.task.seq)
        text = crash_message(exited.exit_text, exit_reason)
        self._state.log(
            "task.crashed",
            Severity.WARNING,
            key=assignment.task.key,
            attempt=assignment.attempt,
            crashes=crashes,
            error=text,
        )
        before = assignment.attempt - self._state.retries_of(assignment.task.agent)
        times = max(crashes, before)  # what its retries cannot explain were crashes, at an earlier start
        if times >= self._state.settings.crash_limit:
            self._outcomes.record_outcome(assignment, exited, ExecutionStatus.FAILED, f"{text} ({times} times)", now)
        else:
            self._outcomes.schedule_retry(assignment, now)
