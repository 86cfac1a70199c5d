"""What becomes of tasks: done, failed, again, whose fault. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.core import stimuli
from orchestrator.core.instructions import CommitAttempts, SendControl
from orchestrator.core.ladder import Escalation, Rung
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Block, Excuse, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.transitions import AssignmentEvent, AssignmentState, Intake, SlotState
from orchestrator.core.verdicts import (
    TaskVerdict,
    backoff_seconds,
    classify_interrupted,
    crash_message,
    is_over_limit,
    kill_message,
    make_outcome,
    status_of_unkillable,
    unkillable_message,
)
from runtime.ipc import executor_protocol
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal, Severity

FOREIGN_SIGTERM_LIMIT = 10
"""How often a task may be ended by a SIGTERM to its executor that is none of ours before it is taken for its sender."""

FIRST_RETRY, MAX_RETRY = 0.2, 30.0
"""Seconds before a failed task is tried again; doubled each time, up to the maximum."""

SLOW_STOP_SECONDS = 1.0
"""Seconds between an interrupt and the end of its task from which on that is worth a line in the log."""


class OutcomeTracker:
    """Decide what becomes of tasks. Each is with one executor at most; a final outcome is recorded once."""

    def __init__(self, state: SupervisorState, shutdown: ShutdownController) -> None:
        self._state = state
        self._shutdown = shutdown
        self.mean_task_seconds: float | None = None

    # -- what executors say -------------------------------------------------------------------------

    def on_started(self, slot: Slot, record: executor_protocol.Started, now: float) -> None:
        """Note that an async task began."""
        if record.task in slot.assigned:
            slot.assigned[record.task].begin(now)

    def on_snapshot(self, slot: Slot, record: executor_protocol.Snapshot, _now: float) -> None:
        """Keep the progress that a task saved. It is sent back if the task runs again."""
        assignment = slot.assigned.get(record.task)
        if assignment is not None:
            assignment.task = replace(assignment.task, snapshot=record.data, snapshot_encoding=record.encoding)

    def on_tasks_returned(self, slot: Slot, record: executor_protocol.TasksReturned, now: float) -> None:
        """Requeue tasks that had not begun. Those of an agent that no executor can load have failed.

        Raises ValueError, having done nothing, for one that has ended.
        """
        if any(slot.assigned[task].is_held for task in record.tasks if task in slot.assigned):
            raise ValueError("a task that has ended cannot be given back")
        slot.reclaim_pending = (
            not record.tasks
        )  # who had nothing to give back is not asked again before its next task ends
        back: list[Assignment] = []
        for assignment in [slot.assigned.pop(task) for task in record.tasks if task in slot.assigned]:
            assignment.apply(AssignmentEvent.RETURN)
            load_error = (
                None
                if assignment.task.agent in self._state.loaded_agents
                else self._state.load_errors.get(assignment.task.agent)
            )
            if load_error is None:
                back.append(assignment)
            else:
                self._record_outcome(assignment, slot, ExecutionStatus.FAILED, load_error, now)
        self._cancel_escalation_if_idle(slot)
        self._shutdown.requeue_unstarted(back[::-1])

    def on_task_done(self, slot: Slot, record: executor_protocol.TaskDone, now: float) -> None:
        """Note that a task ended. Raises ValueError, having done nothing, for an invalid signal or a second end."""
        signal = _signal_of(record)
        assignment = slot.assigned.get(record.task)
        if assignment is None:
            return
        if assignment.state is AssignmentState.LINGERING and record.status != ExecutionStatus.COMPLETED:
            self._hold(slot, assignment, record, now)
            return
        assignment.apply(AssignmentEvent.END)
        del slot.assigned[record.task]
        slot.reclaim_pending = False
        slot.executed += 1
        if slot.escalation is not None:
            self._cancel_escalation_if_idle(slot)
        self._conclude(assignment, slot, record, signal, now)

    # -- threads that a task has left ---------------------------------------------------------------

    def on_threads_left(self, slot: Slot, record: executor_protocol.ThreadsLeft, _now: float) -> None:
        """Log that a task is about to end while threads of it still run."""
        assignment = slot.assigned.get(record.task)
        if assignment is None or assignment.is_held:
            return
        assignment.apply(AssignmentEvent.LEAVE_THREADS)
        self._state.log(
            "task.threads_left",
            Severity.WARNING,
            key=assignment.task.key,
            slot=slot.number,
            pid=slot.pid,
            threads=record.threads,
            stack=record.stack,
            hint="have the thread look at state.raise_if_interrupted(), await a call that can be cancelled,"
            " or give the work a process of its own",
        )

    def on_threads_ended(self, slot: Slot, record: executor_protocol.ThreadsEnded, now: float) -> None:
        """Let the end of a task count: none of its threads runs any more."""
        assignment = slot.assigned.get(record.task)
        if assignment is None:
            return
        held_record = assignment.end_threads()
        if held_record is not None:  # else its threads were quicker than its TaskDone
            self.on_task_done(slot, _prolonged(held_record, now - assignment.held_at), now)

    def _hold(self, slot: Slot, assignment: Assignment, record: executor_protocol.TaskDone, now: float) -> None:
        """Hold back how a task ended until its threads have ended. If they do not, the ladder ends its executor.

        Until then that executor gets nothing, and what waits in it goes to others.
        """
        assignment.hold(record, now)
        slot.escalation = slot.escalation or Escalation(
            self._state.ladder_for_agent(assignment.task.agent), Rung.FLAG, now
        )
        if self._state.phase is Phase.RUNNING and len(slot.assigned) > 1:
            self._state.emit(SendControl(slot.number, executor_protocol.ReturnTasks(len(slot.assigned))))

    def _conclude(
        self,
        assignment: Assignment,
        where: Slot | stimuli.ExecutorExited,
        record: executor_protocol.TaskDone,
        signal: InterruptSignal | None,
        now: float,
    ) -> None:
        """Record what a task's own report means, when nothing of it runs any more."""
        self._log_slow_stop(where.number if isinstance(where, Slot) else where.slot, assignment, now)
        if record.status == ExecutionStatus.COMPLETED:
            self._update_mean_duration(record.seconds)
            self._state.record_outcome(
                make_outcome(assignment, where, record, ExecutionStatus.COMPLETED), assignment.task.agent
            )
        elif record.status == ExecutionStatus.INTERRUPTED:
            verdict = classify_interrupted(
                assignment, signal or assignment.interrupt_signal, stopping=self._state.signal is not None
            )
            self._apply_verdict(assignment, verdict, where, record.error, now, record)
        else:
            self._update_mean_duration(record.seconds)
            self._apply_verdict(assignment, TaskVerdict.FAILED, where, record.error, now, record)

    # -- a loop that does not turn ------------------------------------------------------------------

    def on_loop_blocked(self, slot: Slot, record: executor_protocol.LoopBlocked, now: float) -> None:
        """Excuse the tasks beside one that holds the event loop: their clocks stand still."""
        excuse = Excuse.NEIGHBOUR if record.task else Excuse.UNKNOWN
        others = [
            assignment
            for assignment in slot.assigned.values()
            if assignment.task.seq != record.task and not assignment.is_held
        ]
        for assignment in others:
            if is_over_limit(assignment) and assignment.interrupted_at >= record.since:
                assignment.excuse = assignment.excuse or excuse
        if record.until is None:
            slot.block = Block(record.task, record.since)
            return
        slot.block = None
        for assignment in others:
            if assignment.started_at is not None and record.task:
                assignment.started_at = min(
                    now, assignment.started_at + max(0.0, record.until - max(record.since, assignment.started_at))
                )

    def _cancel_escalation_if_idle(self, slot: Slot) -> None:
        """End or restart a slot's ladder when an interrupted task is gone: it counts from the oldest that is left."""
        if (
            slot.state is not SlotState.READY
            or slot.intake is Intake.KILLED
            or slot.escalation is None
            or slot.exit_reason is not None
        ):
            return
        leaving = [(it.leaving_since, it.task.agent) for it in slot.assigned.values() if it.leaving_since is not None]
        if not leaving:
            slot.escalation = None
            return
        since, agent = min(leaving)
        if since > slot.escalation.since or slot.escalation.rung is not Rung.FLAG:
            slot.escalation = Escalation(self._state.ladder_for_agent(agent), Rung.FLAG, since)

    def _log_slow_stop(self, slot: int, assignment: Assignment, now: float) -> None:
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

    # -- an executor died ---------------------------------------------------------------------------

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
        backlog = self._state.queue
        held = [assignment for assignment in left if assignment.is_held]
        for assignment in held:
            self._release(assignment, exited, now)
        left = [assignment for assignment in left if not assignment.is_held]
        begun = [assignment for assignment in left if assignment.has_begun(exited.executing)]
        asked = [assignment for assignment in left if assignment.interrupt_signal is not None]
        self._excuse_if_several(begun)
        if self._state.signal is not None:
            for assignment in begun:
                self._log_slow_stop(exited.slot, assignment, now)
                error = kill_message(exited.exit_text, assignment.interrupt_signal or self._state.signal)
                self._record_outcome(assignment, exited, ExecutionStatus.INTERRUPTED, error, now)
        elif escalation is not None and (asked or held):
            for assignment in (assignment for assignment in begun if assignment.interrupt_signal is not None):
                self._log_slow_stop(exited.slot, assignment, now)
                error = kill_message(exited.exit_text, assignment.interrupt_signal)
                self._apply_verdict(
                    assignment,
                    classify_interrupted(assignment, assignment.interrupt_signal, stopping=False),
                    exited,
                    error,
                    now,
                )
            backlog.put_back([assignment.task for assignment in begun if assignment.interrupt_signal is None])
        elif exited.with_guardian and not any(assignment.exclusive_in_run for assignment in begun):
            self._shutdown.requeue_unstarted([assignment for assignment in left if assignment not in begun])
            self._on_guardian_lost(begun)
            return
        elif len(begun := left if distrusted else begun) == 1:
            self._on_crash(begun[0], exited, exit_reason, now)
        else:
            backlog.add_suspects([assignment.task for assignment in begun])
        self._shutdown.requeue_unstarted([assignment for assignment in left if assignment not in begun])

    def record_abandoned(self, left: list[Assignment], where: Slot, exit_reason: str | None, now: float) -> None:
        """Record the tasks of an executor that cannot be killed. Those that had begun do not run again in this run."""
        begun = [assignment for assignment in left if assignment.has_begun(executing=0)]
        self._excuse_if_several(begun)
        for assignment in begun:
            record = (
                None if assignment.held_record is None else _prolonged(assignment.held_record, now - assignment.held_at)
            )
            signal = (
                assignment.interrupt_signal if record is None else _signal_of(record) or assignment.interrupt_signal
            )
            has_failed = record is not None and record.status == ExecutionStatus.FAILED
            status = status_of_unkillable(
                assignment, signal, has_failed=has_failed, stopping=self._state.signal is not None
            )
            said = (None if record is None else record.error) or exit_reason
            error = unkillable_message(said, signal or self._state.signal)
            self._record_outcome(assignment, where, status, error, now, record)
        self._shutdown.requeue_unstarted([assignment for assignment in left if assignment not in begun])

    def _release(self, assignment: Assignment, exited: stimuli.ExecutorExited, now: float) -> None:
        """Conclude a task that was held: its threads are gone with their process."""
        if assignment.held_record is not None:
            record = _prolonged(assignment.held_record, now - assignment.held_at)
            self._conclude(assignment, exited, record, _signal_of(record), now)

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
        limit, before = (
            self._state.settings.crash_limit,
            assignment.attempt - self._state.retries_of(assignment.task.agent),
        )
        if max(crashes, before) >= limit:  # what its retries cannot explain were crashes, at an earlier start
            self._record_outcome(
                assignment, exited, ExecutionStatus.FAILED, f"{text} ({max(crashes, before)} times)", now
            )
        else:
            self._schedule_retry(assignment, now)

    # -- verdicts -----------------------------------------------------------------------------------

    def _apply_verdict(
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
            self._record_outcome(assignment, where, ExecutionStatus.INTERRUPTED, error, now, record)
        elif assignment.attempt <= self._state.retries_of(
            assignment.task.agent
        ):  # while the run stops, too: then at the next start
            self._state.log(
                "task.retrying", Severity.WARNING, key=assignment.task.key, attempt=assignment.attempt, error=error
            )
            self._schedule_retry(assignment, now + backoff_seconds(FIRST_RETRY, assignment.attempt - 1, MAX_RETRY))
        else:
            self._record_outcome(assignment, where, ExecutionStatus.FAILED, error, now, record)

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
            self._record_outcome(assignment, where, ExecutionStatus.FAILED, text, now, record)
        else:
            backlog.add_suspects([assignment.task])

    def _schedule_retry(self, assignment: Assignment, at: float) -> None:
        """Run a task again at `at`; the attempt that it has used is kept in the journal too."""
        self._state.emit(CommitAttempts({assignment.task.seq: assignment.attempt}))
        self._state.queue.retry_at(replace(assignment.task, attempts=assignment.attempt), at)

    def _record_outcome(
        self,
        assignment: Assignment,
        where: Slot | stimuli.ExecutorExited,
        status: ExecutionStatus,
        error: str | None,
        now: float,
        record: executor_protocol.TaskDone | None = None,
    ) -> None:
        state = self._state
        signal = assignment.interrupt_signal or (None if record is None else _signal_of(record))
        if signal is None and status is ExecutionStatus.INTERRUPTED:
            signal = state.signal
        state.record_outcome(make_outcome(assignment, where, record, status, error, signal), assignment.task.agent)
        limit, failures = state.settings.max_failures, state.failures
        ended = failures + state.ended[ExecutionStatus.COMPLETED]
        if status is ExecutionStatus.FAILED and limit is not None and limit.is_exceeded(failures, ended):
            self._shutdown.stop(
                InterruptSignal(
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


def _prolonged(record: executor_protocol.TaskDone, seconds: float) -> executor_protocol.TaskDone:
    """Return the end of a task whose threads ended so many seconds later."""
    return replace(record, seconds=record.seconds + seconds)


def _signal_of(record: executor_protocol.TaskDone) -> InterruptSignal | None:
    """Return the signal that a record gives as its cause: the run's, or one of the task's own (a limit, a checker)."""
    return InterruptSignal.model_validate_json(record.signal) if record.signal else None
