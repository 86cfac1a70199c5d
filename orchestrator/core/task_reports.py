"""What executors report of their tasks: begun, saved, returned, ended, threads left, a loop that is blocked. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.core.instructions import SendControl
from orchestrator.core.ladder import Escalation, Rung
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Block, Excuse, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.transitions import AssignmentEvent, AssignmentState, Intake, SlotState
from orchestrator.core.verdicts import is_over_limit, prolong, signal_of
from runtime.ipc import executor_protocol
from runtime.statuses import ExecutionStatus, Severity


class TaskReports:
    """Take what executors report of their tasks. Each task is with one executor at most."""

    def __init__(self, state: SupervisorState, outcomes: OutcomeTracker, shutdown: ShutdownController) -> None:
        self._state = state
        self._outcomes = outcomes
        self._shutdown = shutdown

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
                self._outcomes.record_outcome(assignment, slot, ExecutionStatus.FAILED, load_error, now)
        self._cancel_escalation_if_idle(slot)
        self._shutdown.requeue_unstarted(back[::-1])

    def on_task_done(self, slot: Slot, record: executor_protocol.TaskDone, now: float) -> None:
        """Note that a task ended. Raises ValueError, having done nothing, for an invalid signal or a second end."""
        signal = signal_of(record)
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
        self._outcomes.conclude(assignment, slot, record, signal, now)

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
            self.on_task_done(slot, prolong(held_record, now - assignment.held_at), now)

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

    # -- a loop that does not turn ------------------------------------------------------------------

    def on_loop_blocked(self, slot: Slot, record: executor_protocol.LoopBlocked, now: float) -> None:
        """Excuse the tasks beside one that holds the event loop: their clocks stand still."""
        excuse = Excuse.NEIGHBOUR if record.task else Excuse.UNKNOWN
        neighbours = [
            assignment
            for assignment in slot.assigned.values()
            if assignment.task.seq != record.task and not assignment.is_held
        ]
        for assignment in neighbours:
            if is_over_limit(assignment) and assignment.interrupted_at >= record.since:
                assignment.excuse = assignment.excuse or excuse
        if record.until is None:
            slot.block = Block(record.task, record.since)
            return
        slot.block = None
        for assignment in neighbours:
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
        leaving = [
            (assignment.leaving_since, assignment.task.agent)
            for assignment in slot.assigned.values()
            if assignment.leaving_since is not None
        ]
        if not leaving:
            slot.escalation = None
            return
        since, agent = min(leaving)
        if not slot.escalation.is_for(since):
            slot.escalation = Escalation(self._state.ladder_for_agent(agent), Rung.FLAG, since)
