"""Stopping: of everything, by the ladder; of one task, by its executor's own climb. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.core import stimuli
from orchestrator.core.instructions import KillExecutor, PublishNextRung, RaiseFlag, SendControl, TerminateExecutor
from orchestrator.core.ladder import Escalation, Ladder, Rung
from orchestrator.core.slots import Assignment, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.stop_budget import ladder_of_stop
from orchestrator.core.task_queue import CancelledTasks
from orchestrator.core.transitions import Intake, IntakeEvent
from orchestrator.core.verdicts import outcome_of_unstarted
from runtime.ipc import executor_protocol
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import Severity
from runtime.stop_limits import LOOK_SHARE, LOOK_TIMEOUT

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

DEBOUNCE = 0.5
"""Seconds in which a second signal counts as the same press: a terminal and a parent may both send one."""


class ShutdownController:
    """Stop the run. The first signal wins; later ones hurry. A stop ends at most `ladder.total` after it began."""

    def __init__(self, state: SupervisorState) -> None:
        self._state = state
        self._last_signal_at: float | None = None
        self._ends_at: float | None = None
        self.began_at = 0.0
        self._undo_began_at: float | None = None

    # -- causes -------------------------------------------------------------------------------------

    def on_run_started(self, now: float) -> None:
        """Set the deadline of the run, which begins now."""
        deadline = self._state.settings.deadline
        self._ends_at = None if deadline is None else now + deadline

    def on_os_signal(self, stimulus: stimuli.OsSignalReceived, now: float) -> None:
        """Stop at the first OS signal, and skip to the next rung at a later one."""
        if self._last_signal_at is not None and now - self._last_signal_at < DEBOUNCE:
            return
        self._last_signal_at = now
        by = f"signal:{stimulus.name}"
        if self._state.phase is Phase.RUNNING:
            reason = InterruptReason.USER_CANCELLED if stimulus.user else InterruptReason.SYSTEM_SHUTDOWN
            signal = PlainSignal(reason=reason, message=f"received {stimulus.name}", triggered_by=by)
            self.stop(signal, now, self._ladder_of_signal(stimulus.name, now))
        else:
            self._hurry(by, now)

    def on_escalation_requested(self, stimulus: stimuli.EscalationRequested, now: float) -> None:
        """Skip to the next rung of a stop that goes on."""
        self._hurry(stimulus.triggered_by, now)

    def _hurry(self, by: str, now: float) -> None:
        if self._state.phase in (Phase.STOPPING, Phase.FINISHING):
            self._state.hurried = True
            self._state.log("interrupt.escalated", Severity.WARNING, triggered_by=by)
            self._escalate(now)

    def on_interrupt_requested(self, stimulus: stimuli.InterruptRequested, now: float) -> None:
        """Stop the run, one task, or what one executor executes, as the program, the journal or a limit asks."""
        if stimulus.slot is not None:
            self._interrupt_executor(stimulus.slot, stimulus.signal, now)
            return
        if stimulus.task is None:
            self.stop(stimulus.signal, now)
            while self._state.phase is Phase.STOPPING and self._state.escalation.rung < stimulus.rung:
                self._escalate(now)
            return
        for slot in self._state.slots:
            for assignment in slot.assigned.values():
                if assignment.task.key == stimulus.task:
                    self.interrupt_task(slot, assignment, stimulus.signal, now, requested=True)
                    return
        task = self._state.queue.cancel(stimulus.task)
        if task is not None:
            self._state.record_outcome(outcome_of_unstarted(task, stimulus.signal), task.agent)
        elif not self._state.queue.cancel_when_fetched(stimulus.task, stimulus.signal):
            self._state.log(
                "interrupt.ignored", Severity.WARNING, key=stimulus.task, reason="no such task waits or runs"
            )

    def _interrupt_executor(self, number: int, signal: InterruptSignal, now: float) -> None:
        """Interrupt every task that an executor executes; those that wait there are executed."""
        for slot in self._state.slots:
            if slot.number == number:
                for assignment in list(slot.assigned.values())[: self._state.concurrency_per_executor]:
                    self.interrupt_task(slot, assignment, signal, now, requested=True)

    def record_cancelled(self, unwanted: CancelledTasks) -> None:
        """Record tasks that were cancelled while they were still in the store, and that have come now."""
        for task, signal in unwanted:
            self._state.record_outcome(outcome_of_unstarted(task, signal), task.agent)

    def abort_run(self, problem: str, now: float, reason: InterruptReason = InterruptReason.ERROR_THRESHOLD) -> None:
        """Stop the run with an error: something that it needs is broken."""
        self._state.error = self._state.error or problem
        self.stop(PlainSignal(reason=reason, message=problem, triggered_by="supervisor"), now)

    # -- everything ---------------------------------------------------------------------------------

    def stop(self, signal: InterruptSignal, now: float, ladder: Ladder | None = None) -> None:
        """Raise the flag at once, and begin the ladder, which follows by the clock.

        `ladder` is the run's, shortened to what is left until the host ends this process, unless it is given.
        """
        state = self._state
        if state.phase is not Phase.RUNNING:  # also FINISHING: what is complete is not interrupted any more
            return
        state.signal = signal
        state.phase = Phase.STOPPING
        self.began_at = now
        self._ends_at = None
        ladder = ladder or ladder_of_stop(state.ladder, state.wanted_ladder, self._seconds_left(now))
        state.emit(RaiseFlag(signal))
        state.log(
            "interrupt.requested",
            Severity.WARNING,
            reason=signal.reason.value,
            message=signal.message,
            triggered_by=signal.triggered_by,
            executors=len(state.alive),
            running=state.running,
            grace=round(ladder.grace, 3),
            term_grace=round(ladder.term_grace, 3),
        )
        state.escalation = Escalation(ladder.for_stop)
        self._escalate(now)

    def _seconds_left(self, now: float) -> float | None:
        """Return the seconds until the host ends this process; None if that is not known."""
        ends = self._state.settings.host_ends_at
        return None if ends is None else ends - now

    def _ladder_of_signal(self, name: str, now: float) -> Ladder:
        state, left = self._state, self._seconds_left(now)
        is_warning = name in state.settings.warning_signals
        return ladder_of_stop(state.ladder, state.wanted_ladder, left, is_warning=is_warning)

    def shorten(self, seconds: float, now: float) -> None:
        """Have the stop that has begun end within so many seconds."""
        state = self._state
        shortened = state.escalation.shortened(now, seconds)
        if state.phase is Phase.STOPPING and shortened is not state.escalation:
            state.escalation = shortened
            state.emit(PublishNextRung(shortened.due))

    def finish(self, now: float) -> None:
        """Begin the ladder for executors that do not leave although all is done."""
        self._state.phase = Phase.FINISHING
        self._ends_at = None
        self._state.escalation = Escalation(self._state.ladder.for_leaving, Rung.FLAG, now)

    def _escalate(self, now: float) -> None:
        """Apply the next rung to all executors that are left."""
        state = self._state
        state.escalation = state.escalation.next(now)
        state.emit(PublishNextRung(state.escalation.due))
        left = state.alive
        if left:
            self._log_rung(state.escalation, left)
        for slot in left:
            self._apply_rung(slot, state.escalation.rung)

    def _log_rung(self, escalation: Escalation, slots: list[Slot]) -> None:
        self._state.log(
            "ladder.rung",
            Severity.INFO if escalation.rung is Rung.FLAG else Severity.WARNING,
            rung=escalation.rung.name,
            executors=[slot.number for slot in slots],
            pids=[slot.pid for slot in slots],
            seconds=escalation.ladder.seconds(escalation.rung),
        )

    def _apply_rung(self, slot: Slot, rung: Rung) -> None:
        if rung is Rung.TERM and slot.intake is not Intake.KILLED:
            self._state.emit(TerminateExecutor(slot.number, slot.incarnation))
        elif rung is Rung.KILL:
            self.kill(slot)
        elif rung is Rung.ABANDONED:
            self._state.to_abandon.append(slot)

    def kill(self, slot: Slot) -> None:
        """Kill an executor and its tree, once, whichever ladder comes there first."""
        if slot.intake is not Intake.KILLED:
            slot.apply_intake(IntakeEvent.KILL)
            self._state.emit(KillExecutor(slot.number, slot.incarnation))

    def requeue_unstarted(self, left: Sequence[Assignment]) -> None:
        """Requeue tasks that had not begun; record those that a caller has interrupted."""
        for assignment in left:
            if assignment.by_user and assignment.interrupt_signal is not None:
                self._state.record_outcome(
                    outcome_of_unstarted(assignment.task, assignment.interrupt_signal), assignment.task.agent
                )
        self._state.queue.put_back([assignment.task for assignment in left if not assignment.by_user])

    # -- one task -----------------------------------------------------------------------------------

    def interrupt_task(
        self, slot: Slot, assignment: Assignment, signal: InterruptSignal, now: float, *, requested: bool = False
    ) -> None:
        """Interrupt one task; if it does not end, its executor goes down the ladder.

        `requested`: a caller named this very task, so that it does not run again, whatever else interrupted it.
        """
        if assignment.interrupt_signal is not None:
            if requested and assignment.interrupt_signal.reason is InterruptReason.PRIORITY_OVERRIDE:
                assignment.interrupt_signal, assignment.by_user = signal, True
            return
        assignment.by_user = requested
        assignment.interrupt_signal, assignment.interrupted_at = signal, now
        if assignment.is_held:  # it has ended, and its threads are on the ladder already
            return
        is_timeout = signal.reason is InterruptReason.TIMEOUT and not requested
        ladder_for = self._state.ladder_for_timeout if is_timeout else self._state.ladder_for_agent
        slot.escalation = slot.escalation or Escalation(ladder_for(assignment.task.agent), Rung.FLAG, now)
        self._state.log(
            "task.interrupting",
            Severity.WARNING,
            key=assignment.task.key,
            reason=signal.reason.value,
            message=signal.message,
            slot=slot.number,
            pid=slot.pid,
        )
        order = executor_protocol.Interrupt(assignment.task.seq, assignment.attempt, signal.model_dump_json().encode())
        self._state.emit(SendControl(slot.number, order))

    def on_suspension(self, seconds: float) -> None:
        """Move every escalation on by the seconds in which the supervisor did not run."""
        state = self._state
        if state.escalation.due is not None:
            state.escalation = replace(state.escalation, since=state.escalation.since + seconds)
            if state.signal is not None:
                state.emit(PublishNextRung(state.escalation.due))
        for slot in state.slots:
            if slot.escalation is not None:
                slot.escalation = replace(slot.escalation, since=slot.escalation.since + seconds)

    # -- time ---------------------------------------------------------------------------------------

    def due(self) -> list[float | None]:
        """Return when something of a stop is due (monotonic seconds)."""
        escalations = (
            [slot.escalation.due for slot in self._state.slots if slot.escalation] if self._state.signal is None else []
        )
        return [self._state.escalation.due, self._ends_at, *escalations]

    def end_of_last_look(self, now: float) -> float:
        """Return until when the last look, which begins now, may wait for processes (monotonic seconds)."""
        escalation = self._state.escalation
        last_look, ends = escalation.ladder.last_look or self._state.ladder.for_stop.last_look, escalation.ends
        begins = now if ends is None else max(now, ends - last_look)
        return min(begins + LOOK_SHARE * last_look, now + LOOK_TIMEOUT)

    def end_of_undo(self, now: float) -> float:
        """Return until when the end of the run may wait for undo commands, once no executor is left.

        In a stop until the last look, which is part of the bound; else for `undo_timeout`, unless a signal hurries it.
        """
        state = self._state
        if state.signal is not None:
            ends = state.escalation.ends
            return now if ends is None else ends - state.ladder.for_stop.last_look
        if self._undo_began_at is None:
            self._undo_began_at = now
        return now if state.hurried else self._undo_began_at + state.settings.undo_timeout

    def on_timer(self, now: float) -> None:
        """Apply what is due: the deadline of the run, rungs of the stop, rungs of single executors."""
        state = self._state
        if self._ends_at is not None and now >= self._ends_at:
            message = f"the run's deadline of {state.settings.deadline:g} s is over"
            self.stop(PlainSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="deadline"), now)
        while (due := state.escalation.due) is not None and due <= now:
            self._escalate(now)
        if state.signal is None:
            for slot in state.slots:
                self._escalate_slot_if_due(slot, now)

    def _escalate_slot_if_due(self, slot: Slot, now: float) -> None:
        """Apply the next rung to one executor that did not end, or whose task did not."""
        due = slot.escalation.due if slot.escalation is not None else None
        if slot.escalation is not None and due is not None and due <= now:
            slot.escalation = slot.escalation.next(now)
            self._log_rung(slot.escalation, [slot])
            self._apply_rung(slot, slot.escalation.rung)
