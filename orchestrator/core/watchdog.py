"""Watching executors: how long a task takes, how much memory, whether it lives, when it is used up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import stimuli
from orchestrator.core.executors import ExecutorLifecycle
from orchestrator.core.instructions import SendControl
from orchestrator.core.ladder import Escalation, Rung
from orchestrator.core.outcomes import MEMORY_LIMIT
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Excuse, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.transitions import Intake, IntakeEvent, SlotState
from orchestrator.units import format_size
from runtime.ipc import executor_protocol
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import Severity

QUIET_SECONDS = 2.0
"""Seconds without a heartbeat after which an executor's processor time is looked at."""

CPU_TICK, CPU_SHARE = 0.01, 0.005
"""What counts as work: at least one of the kernel's ticks (seconds), and this share of the time since the last look
that counted. Many executors share a core; a native thread that only wakes up now and then is no work."""


class Watchdog:
    """Watch executors by the supervisor's clock: a thread of theirs cannot run while C code holds the GIL.

    Work is not silence: an executor without a heartbeat that uses the processor is busy (a regular expression, numpy,
    an import: all may hold the GIL for minutes), and only the task's time limit ends it. Nor does one count as silent
    that waits for a processor, on a host with too much to do. One that is deadlocked or stopped does neither.
    """

    def __init__(self, state: SupervisorState, shutdown: ShutdownController, executors: ExecutorLifecycle) -> None:
        self._state = state
        self._shutdown = shutdown
        self._executors = executors

    def on_progress(self, stimulus: stimuli.ProgressSampled, now: float) -> None:
        """Compare what shared memory shows with the limits."""
        for slot, (task, since, beat) in zip(self._state.slots, stimulus.slots, strict=True):
            assignment = slot.assigned.get(task)
            if assignment is not None:
                assignment.begin(since)
            if self._state.phase is Phase.RUNNING and slot.state in (SlotState.STARTING, SlotState.READY):
                self._notice_work(slot, stimulus.cpu.get(slot.number), now)
                if slot.number in stimulus.runnable:
                    slot.worked_at = now
                self._check_heartbeat(slot, max(beat, slot.last_seen_at, slot.worked_at), now)
        if self._state.phase is Phase.RUNNING:
            self._check_task_timeouts(now)

    def slots_without_heartbeat(self, slots: Sequence[tuple[int, float, float]], now: float) -> list[Slot]:
        """Return the slots whose processor time is wanted with the ProgressSampled of these `slots`."""
        silence = self._state.settings.heartbeat_timeout
        if silence is None or self._state.phase is not Phase.RUNNING:
            return []
        patience = min(QUIET_SECONDS, silence / 2)
        return [
            slot
            for slot, (_, _, beat) in zip(self._state.slots, slots, strict=True)
            if slot.is_alive and slot.pid is not None and now - max(beat, slot.last_seen_at) > patience
        ]

    def _notice_work(self, slot: Slot, cpu: float | None, now: float) -> None:
        if cpu is None or slot.cpu is None:
            slot.cpu = None if cpu is None else (cpu, now)
            return
        used, at = slot.cpu
        if cpu - used >= max(CPU_TICK, CPU_SHARE * (now - at)):
            slot.cpu = (cpu, now)
            slot.worked_at = now

    def on_suspension(self, stimulus: stimuli.SuspensionNoticed, now: float) -> None:
        """Move all clocks on, so that nothing that happened, or did not, meanwhile counts against an executor.

        Not the deadline's, which is about when the run must be over, whatever it does until then.
        """
        self._state.log("supervisor.paused", seconds=round(stimulus.seconds, 3))
        for slot in self._state.alive:
            slot.last_seen_at = slot.worked_at = now
            slot.cpu = None
            for assignment in slot.assigned.values():
                if assignment.started_at is not None:
                    assignment.suspended_seconds += min(stimulus.seconds, max(0.0, now - assignment.started_at))
                if assignment.interrupt_signal is not None:
                    assignment.interrupted_at += stimulus.seconds
                if assignment.is_held:
                    assignment.held_at += stimulus.seconds
        self._shutdown.on_suspension(stimulus.seconds)

    def _check_task_timeouts(self, now: float) -> None:
        for slot in self._state.slots:
            for assignment in list(slot.assigned.values()):
                timeout = self._state.timeout_of(assignment.task.agent)
                if timeout is None or assignment.started_at is None or not _can_be_blamed(slot, assignment):
                    continue
                if now - assignment.started_at - assignment.suspended_seconds >= timeout:
                    message = f"the task took longer than {timeout:g} s"
                    signal = PlainSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="timeout")
                    self._shutdown.interrupt_task(slot, assignment, signal, now)

    def _check_heartbeat(self, slot: Slot, last: float, now: float) -> None:
        """Drain and escalate an executor that shows no heartbeat and does not work either."""
        silence = self._state.settings.heartbeat_timeout
        if silence is None or slot.pid is None or slot.escalation is not None or now - last < silence:
            return  # without a pid nothing has been forked yet, and there is no heartbeat
        slot.exit_reason = (
            f"it showed no sign of life and used no processor for {now - last:.1f} s, "
            f"--heartbeat-timeout is {silence:g} s"
        )
        self._state.log(
            "executor.heartbeat_lost",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            seconds=round(now - last, 1),
            option=f"--heartbeat-timeout {silence:g}",
            keys=[assignment.task.key for assignment in slot.assigned.values()][:10],
        )
        slot.apply_intake(IntakeEvent.DRAIN)
        slot.escalation = Escalation(self._state.ladder.for_executor, Rung.FLAG, now - self._state.ladder.grace)

    def on_memory_exceeded(self, stimulus: stimuli.MemoryExceeded, now: float) -> None:
        """Replace an executor whose tree holds much memory. Above the limit, its running tasks have failed, too."""
        slot = self._state.slot(stimulus.slot, stimulus.incarnation)
        if slot is None or self._state.phase is not Phase.RUNNING:
            return
        limit = self._state.settings.memory_limit
        if slot.intake is Intake.OPEN:
            slot.apply_intake(IntakeEvent.DRAIN)
            self._log_memory_exceeded(slot, stimulus.size)
            self._state.emit(SendControl(slot.number, executor_protocol.ReturnTasks(len(slot.assigned))))
        if limit is None or stimulus.size <= limit:
            return
        sizes = f"hold {format_size(stimulus.size)}, the limit is {format_size(limit)}"
        message = f"out of memory: the executor and its children {sizes}"
        signal = PlainSignal(reason=InterruptReason.RESOURCE_LIMIT, message=message, triggered_by=MEMORY_LIMIT)
        running = [
            assignment
            for assignment in slot.assigned.values()
            if assignment.started_at is not None and not assignment.is_held
        ]
        begun = [
            assignment
            for assignment in running
            if assignment.started_at is not None and assignment.started_at <= stimulus.measured_at
        ]
        for assignment in begun:
            if len(begun) > 1 and assignment.interrupt_signal is None:
                assignment.excuse = Excuse.UNKNOWN
            self._shutdown.interrupt_task(slot, assignment, signal, now)

    def _log_memory_exceeded(self, slot: Slot, size: int) -> None:
        self._state.log(
            "executor.memory_exceeded",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            memory=size,
            limit=self._state.settings.report_above,
        )

    def recycle_drained(self, now: float) -> None:
        """Retire executors that are to be replaced and have no task."""
        most = self._state.settings.max_tasks_per_executor
        for slot in self._state.slots:
            if most is not None and slot.executed >= most:
                slot.apply_intake(IntakeEvent.DRAIN)
            if (
                slot.intake is Intake.DRAINING
                and slot.state is SlotState.READY
                and not slot.assigned
                and slot.escalation is None
            ):
                self._executors.retire(slot, now)


def _can_be_blamed(slot: Slot, assignment: Assignment) -> bool:
    """Whether a task's time is its own: it has not ended, and no other task holds the event loop that it waits for."""
    return not assignment.is_held and (slot.block is None or slot.block.task in (0, assignment.task.seq))
