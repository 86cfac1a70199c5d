"""All decisions, and nothing else: stimuli and the time go in, instructions come out. Pure.

The machine has memory (state.py) but no effect: no os, no signal, no clock. `now` is monotonic seconds. It is not
rebuilt from a copy at every step, because at 50,000 tasks a second the copies would cost more than the work;
what a pure function buys, tests that feed stimuli and read instructions, stays.

Rules that it keeps:
- a task is with one executor at most, and an outcome that is final is recorded once;
- while threads of a task run, it is with its executor, whatever that has said of its end;
- after the first interrupt no task is dispatched and no executor is started;
- a stop ends at most `ladder.total` later, whatever executors and guardian report, or do not;
- the first signal wins and never changes.

Its parts: executors (their lives), dispatch (tasks to them), outcomes (what becomes of tasks), shutdown (the ladder),
abandonment (executors that cannot be killed), host_end (notices of the host), watchdog (what shared memory shows).
Each reads the whole state and writes what its own file is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.core import stimuli
from orchestrator.core.abandonment import Abandonment
from orchestrator.core.dispatch import Dispatcher
from orchestrator.core.executors import ExecutorLifecycle
from orchestrator.core.history import History
from orchestrator.core.host_end import HostEnd
from orchestrator.core.instructions import (
    Instruction,
    SendOrder,
    SetJournalDeadline,
    StopLoop,
    SweepProcesses,
    SweepWithoutGuardian,
    WriteStacks,
)
from orchestrator.core.loading import Loading
from orchestrator.core.lost_tasks import LostTasks
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.settings import RunSettings
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase, StatusView
from orchestrator.core.task_reports import TaskReports
from orchestrator.core.transitions import SlotState
from orchestrator.core.undo import UndoLedger
from orchestrator.core.watchdog import Watchdog
from runtime.capabilities import losses
from runtime.ipc import executor_protocol, guardian_protocol
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus, Severity
from runtime.stop_limits import JOURNAL_TIMEOUT, SWEEP_TIMEOUT

_NON_ACTIONABLE_STIMULI = frozenset(
    {
        stimuli.OutcomesCommitted,
        guardian_protocol.ReadyReport,
        guardian_protocol.ForkedReport,
        stimuli.LogRequested,
        stimuli.StacksRequested,
        stimuli.JournalContended,
        stimuli.JournalAvailable,
    }
)
"""Stimuli after which there is nothing to start, fetch or dispatch while the run continues."""


class SupervisorStateMachine:
    """Decide what the supervisor does. Feed it with `handle`; `due` says when to send a TimerFired."""

    def __init__(self, settings: RunSettings) -> None:
        self.state = state = SupervisorState(settings)
        self.settings = settings
        self.history = History()
        self._shutdown = ShutdownController(state)
        self._outcomes = OutcomeTracker(state, self._shutdown)
        self._task_reports = TaskReports(state, self._outcomes, self._shutdown)
        lost_tasks = LostTasks(state, self._outcomes, self._shutdown)
        self._loading = loading = Loading(state)
        self._executors = ExecutorLifecycle(state, lost_tasks, self._shutdown, loading)
        self._abandonment = Abandonment(state, lost_tasks, self._shutdown)
        self._dispatcher = Dispatcher(state, self._outcomes, self._shutdown, loading)
        self._watchdog = Watchdog(state, self._shutdown, self._executors)
        self._host_end = HostEnd(state, self._shutdown)
        self._undo = UndoLedger(state)
        self._undo_deadline: float | None = None
        self._sweep_deadline: float | None = None
        self._commit_deadline: float | None = None
        self._empty_slots = 0
        self._due: float | None = None
        self._is_host_known = False
        self._due_cached = False
        self._handlers = self._make_handlers()
        self._record_handlers = self._make_record_handlers()

    def _make_handlers(self) -> dict[type[Any], Callable[[Any, float], None]]:
        """Return what handles each kind of stimulus."""
        state = self.state
        return {
            stimuli.RunStarted: lambda _, now: self._shutdown.on_run_started(now),
            stimuli.AgentAdded: lambda stimulus, _: self._executors.add_agent(stimulus),
            stimuli.AgentReleased: lambda stimulus, _: state.needs.remove(stimulus.agent),
            stimuli.TasksAdded: self._on_tasks_added,
            stimuli.RunResumed: self._on_run_resumed,
            stimuli.TasksRecalled: self._on_tasks_recalled,
            stimuli.TasksFetched: self._on_tasks_fetched,
            stimuli.InputClosed: self._on_input_closed,
            guardian_protocol.ReadyReport: self._on_guardian_ready,
            guardian_protocol.ForkedReport: self._executors.on_forked,
            stimuli.RecordsReceived: self._on_records,
            stimuli.ProtocolErrorDetected: self._executors.on_protocol_error,
            stimuli.ExecutorExited: self._on_executor_exited,
            stimuli.GuardianLost: self._on_guardian_lost,
            guardian_protocol.StraysReport: lambda stimulus, _: self._executors.on_strays_found(stimulus),
            guardian_protocol.SweepReport: self._on_sweep_finished,
            stimuli.OutcomesCommitted: self._on_outcomes_committed,
            stimuli.UndoCommitted: self._undo.on_committed,
            stimuli.UndoJournalOpened: self._undo.on_journal_opened,
            guardian_protocol.UndoKeptReport: self._undo.on_kept,
            guardian_protocol.UndoReport: self._undo.on_report,
            stimuli.JournalFailed: self._on_journal_failed,
            stimuli.JournalContended: self._on_journal_contended,
            stimuli.JournalAvailable: self._on_journal_available,
            stimuli.JournalStarved: self._on_journal_starved,
            stimuli.HostFailed: lambda stimulus, now: self._shutdown.abort_run(
                stimulus.problem, now, InterruptReason.RESOURCE_LIMIT
            ),
            stimuli.InterruptRequested: self._on_interrupt_requested,
            stimuli.EscalationRequested: self._shutdown.on_escalation_requested,
            stimuli.OsSignalReceived: self._shutdown.on_os_signal,
            stimuli.StacksRequested: self._on_stacks_requested,
            stimuli.HostEndAnnounced: self._host_end.on_announced,
            stimuli.HostEndExpected: self._host_end.on_expected,
            stimuli.HostEndWithdrawn: self._host_end.on_withdrawn,
            stimuli.ProgressSampled: self._watchdog.on_progress,
            stimuli.SuspensionNoticed: self._on_suspension,
            stimuli.MemoryExceeded: self._watchdog.on_memory_exceeded,
            stimuli.LogRequested: lambda stimulus, _: state.log(stimulus.name, stimulus.severity, **stimulus.fields),
            stimuli.TimerFired: self._on_timer,
        }

    def _make_record_handlers(self) -> dict[type[Any], Callable[[Slot, Any, float], None]]:
        """Return what handles each kind of record of an executor."""
        return {
            executor_protocol.TaskDone: self._task_reports.on_task_done,
            executor_protocol.Started: self._task_reports.on_started,
            executor_protocol.TasksReturned: self._task_reports.on_tasks_returned,
            executor_protocol.Snapshot: self._task_reports.on_snapshot,
            executor_protocol.Ready: self._executors.on_ready,
            executor_protocol.AgentLoaded: self._executors.on_agent_loaded,
            executor_protocol.AgentLoadFailed: self._executors.on_agent_load_failed,
            executor_protocol.Leaving: self._executors.on_leaving,
            executor_protocol.ThreadsLeft: self._task_reports.on_threads_left,
            executor_protocol.ThreadsEnded: self._task_reports.on_threads_ended,
            executor_protocol.LoopBlocked: self._task_reports.on_loop_blocked,
            executor_protocol.Delayed: self._executors.on_delayed,
            executor_protocol.UndoDeferred: self._undo.on_deferred,
            executor_protocol.UndoReleased: self._undo.on_released,
        }

    # -- the engine's side --------------------------------------------------------------------------

    def handle(self, stimulus: stimuli.Stimulus, now: float) -> list[Instruction]:
        """Take one stimulus at `now` (monotonic seconds). Returns instructions, in order; after the end, none."""
        if self.state.phase is Phase.ENDED:
            return []
        self.history.add(stimulus, now)  # first: if it makes the machine raise, it is the last one there
        self._handlers[type(stimulus)](stimulus, now)
        if self.state.to_abandon:
            self._abandonment.abandon_due(now)
        if self._undo:
            self._undo.release_ended(now)
            if self.state.phase not in (Phase.SWEEPING, Phase.ENDED):  # then the guardian takes no more orders
                self._undo.start_due(now)
        self.state.flush_outcomes()
        if self.state.phase is not Phase.RUNNING or type(stimulus) not in _NON_ACTIONABLE_STIMULI:
            self._advance(now)
        self._due_cached = False
        return self.state.drain_instructions()

    def due(self) -> float | None:
        """Return when the next TimerFired is needed (monotonic seconds), None if only other stimuli count."""
        if self.state.phase is Phase.ENDED:
            return None
        if not self._due_cached:  # asked more often than it changes
            times = [*self._shutdown.due(), self._sweep_deadline, self._commit_deadline, self._undo_deadline]
            if self.state.phase is not Phase.SWEEPING:
                times.append(self._undo.due)
            if self.state.phase is Phase.RUNNING:
                times += [self.state.queue.due, *self._executors.due(), *self._dispatcher.due(), *self._host_end.due()]
            self._due = min((time for time in times if time is not None), default=None)
            self._due_cached = True
        return self._due

    def slots_without_heartbeat(self, slots: Sequence[tuple[int, float, float]], now: float) -> list[Slot]:
        """Return the slots whose processor time is wanted with the ProgressSampled of these `slots`."""
        return self._watchdog.slots_without_heartbeat(slots, now)

    def status(self, now: float) -> StatusView:
        """Return what people may see of the run at `now` (monotonic seconds)."""
        return self.state.status(now)

    # -- stimuli ----------------------------------------------------------------------------------

    def _on_tasks_added(self, stimulus: stimuli.TasksAdded, _now: float) -> None:
        self.state.accepted += len(stimulus.tasks)
        self.state.needs.add_tasks(stimulus.tasks)
        self._shutdown.record_cancelled(self.state.queue.on_tasks_added(stimulus, self.state.agents))

    def _on_tasks_fetched(self, stimulus: stimuli.TasksFetched, _now: float) -> None:
        backlog, agents = self.state.queue, self.state.agents
        if stimulus.urgent:
            unwanted = backlog.on_urgent_tasks_fetched(stimulus.tasks, agents)
        else:
            unwanted = backlog.on_tasks_fetched(stimulus.tasks, stimulus.read_to, agents)
        self._shutdown.record_cancelled(unwanted)

    def _on_run_resumed(self, stimulus: stimuli.RunResumed, _now: float) -> None:
        if stimulus.last_seq:  # the tasks of an earlier start, or of this one, that were not counted
            self.state.needs.keep_all()
        self.state.accepted += stimulus.accepted
        self.state.counts[ExecutionStatus.COMPLETED] += stimulus.completed
        self.state.counts[ExecutionStatus.FAILED] += stimulus.failed
        self.state.ended[ExecutionStatus.COMPLETED] += stimulus.completed
        self.state.ended[ExecutionStatus.FAILED] += stimulus.failed
        self.state.queue.on_run_resumed(stimulus.last_seq, by_program=stimulus.by_program)

    def _on_tasks_recalled(self, stimulus: stimuli.TasksRecalled, _now: float) -> None:
        self._shutdown.record_cancelled(self.state.queue.on_tasks_recalled(stimulus.tasks, self.state.agents))

    def _on_input_closed(self, _: stimuli.InputClosed, _now: float) -> None:
        self.state.sealed = True

    def _on_records(self, stimulus: stimuli.RecordsReceived, now: float) -> None:
        slot = self.state.slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        slot.last_seen_at = now
        for record in stimulus.records:
            if slot.state is SlotState.DISTRUSTED:
                return
            try:
                self._record_handlers[type(record)](slot, record, now)
            except ValueError as error:  # well-formed, and nonsense all the same: an agent has its hands in the pipe
                problem = " ".join(str(error).split())
                self._executors.fail_protocol(
                    slot, f"it sent a {type(record).__name__} that makes no sense: {problem}", now
                )

    def _on_executor_exited(self, stimulus: stimuli.ExecutorExited, now: float) -> None:
        self._executors.on_exited(stimulus, now)
        self._abandonment.on_exited(stimulus, now)

    def _on_guardian_lost(self, _: stimuli.GuardianLost, now: float) -> None:
        self._abandonment.on_guardian_lost()
        self._undo.on_guardian_lost(now)
        self._executors.on_guardian_lost(now)

    def _on_guardian_ready(self, stimulus: guardian_protocol.ReadyReport, _now: float) -> None:
        """Log that the guardian is ready, and once what this host does not give."""
        state = self.state
        state.log("guardian.started", pid=stimulus.pid, containment=list(stimulus.containment))
        if stimulus.missing and not self._is_host_known:
            consequences = losses(stimulus.missing, has_cgroup="cgroup" in stimulus.containment)
            state.log(
                "host.degraded", Severity.WARNING, missing=list(map(str, stimulus.missing)), consequences=consequences
            )
        self._is_host_known = True
        self._undo.on_guardian_ready()

    def _on_outcomes_committed(self, stimulus: stimuli.OutcomesCommitted, _now: float) -> None:
        self._outcomes.on_committed(stimulus)
        self._commit_deadline = (
            None  # it answers: if more is under way, patience begins anew, unless the run is stopped
        )

    def _on_journal_failed(self, stimulus: stimuli.JournalFailed, now: float) -> None:
        if self.state.journal_broken:  # the store gives up at the moment at which it is given up
            return
        self.state.journal_broken = True
        self.state.log("journal.failed", Severity.ERROR, error=stimulus.problem)
        self._shutdown.abort_run(stimulus.problem, now, InterruptReason.RESOURCE_LIMIT)

    def _on_journal_contended(self, stimulus: stimuli.JournalContended, _now: float) -> None:
        self.state.journal_contended = True
        self._commit_deadline = None
        seconds = round(stimulus.seconds, 1)
        self.state.log("journal.waiting", Severity.WARNING, holders=list(stimulus.holders), seconds=seconds)

    def _on_journal_available(self, stimulus: stimuli.JournalAvailable, _now: float) -> None:
        self.state.journal_contended = False
        self.state.log("journal.available", Severity.INFO, seconds=round(stimulus.seconds, 1))

    def _on_journal_starved(self, stimulus: stimuli.JournalStarved, now: float) -> None:
        problem = f"{stimulus.problem}, for {stimulus.seconds:.0f} s now"
        if self.state.phase is Phase.RUNNING:
            self._shutdown.abort_run(problem, now, InterruptReason.RESOURCE_LIMIT)
        elif self.state.signal is None:  # all is done, but for the record
            self._on_journal_failed(stimuli.JournalFailed(problem), now)

    def _wait_for_journal(self, now: float) -> None:
        """Set how long outcomes may still take to the disk after the last executor. A stop has one deadline for all."""
        state = self.state
        if state.signal is not None or state.hurried:
            self._set_journal_deadline(now)
            self._commit_deadline = state.journal_deadline
        elif not state.journal_contended:  # else the store knows for how long
            self._commit_deadline = self._commit_deadline or now + JOURNAL_TIMEOUT

    def _set_journal_deadline(self, now: float) -> None:
        if self.state.journal_deadline is None:
            self.state.journal_deadline = now + JOURNAL_TIMEOUT
            self.state.emit(SetJournalDeadline(self.state.journal_deadline))

    def _on_suspension(self, stimulus: stimuli.SuspensionNoticed, now: float) -> None:
        self._watchdog.on_suspension(stimulus, now)
        if self._sweep_deadline is not None:
            self._sweep_deadline += stimulus.seconds
        if self._commit_deadline is not None:
            self._commit_deadline += stimulus.seconds

    def _on_stacks_requested(self, stimulus: stimuli.StacksRequested, _now: float) -> None:
        self.state.log("stacks.requested", triggered_by=stimulus.triggered_by)
        self.state.emit(WriteStacks())

    def _on_timer(self, _: stimuli.TimerFired, now: float) -> None:
        self._shutdown.on_timer(now)
        self._host_end.on_timer(now)
        if self._commit_deadline is not None and self._commit_deadline <= now:
            problem = f"the journal did not answer for {JOURNAL_TIMEOUT:g} s; what it has not confirmed may be lost"
            self._on_journal_failed(stimuli.JournalFailed(problem), now)
        if self._sweep_deadline is not None and self._sweep_deadline <= now:
            self._sweep_deadline = None
            self.state.log("guardian.unresponsive", Severity.ERROR, seconds=SWEEP_TIMEOUT)
            self.state.emit(SweepWithoutGuardian())
        if self.state.phase is Phase.RUNNING:
            self.state.queue.release_due_retries(now)
            self._dispatcher.reclaim_prefetched(now)

    # -- going on -----------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Go on after a stimulus: start executors, fetch and dispatch tasks; or end, step by step."""
        state = self.state
        if state.phase is Phase.RUNNING:
            if state.is_complete:
                self._finish(now)
            elif not self._host_end.stop_if_drained(now):
                self._schedule(now)
        if state.phase not in (Phase.STOPPING, Phase.FINISHING) or self._has_executors():
            return
        if self._waits_for_undo(now):
            return
        if state.uncommitted and not state.journal_broken:
            self._wait_for_journal(now)
        else:
            self._commit_deadline = None
            if state.signal is not None:
                self._set_journal_deadline(now)
            state.phase = Phase.SWEEPING
            self._sweep_deadline = now + SWEEP_TIMEOUT
            state.emit(SweepProcesses(self._shutdown.end_of_last_look(now)))

    def _waits_for_undo(self, now: float) -> bool:
        """Whether undo commands run, or are to run, and the end of the run has time for them."""
        deadline = self._shutdown.end_of_undo(now) if self._undo.is_awaited else None
        self._undo_deadline = None if deadline is None or deadline <= now else deadline
        return self._undo_deadline is not None

    def _has_executors(self) -> bool:
        """Whether an executor is left, now that none is started any more. Each slot is found empty only once."""
        slots = self.state.slots
        while self._empty_slots < len(slots) and not slots[self._empty_slots].is_alive:
            self._empty_slots += 1
        return self._empty_slots < len(slots)

    def _schedule(self, now: float) -> None:
        self._executors.start_missing(now)
        request = self.state.queue.next_fetch()
        if request is not None:
            self.state.emit(request)
        self._watchdog.recycle_drained(now)
        if len(self.state.queue) and self.state.paused_by is None:
            self._dispatcher.dispatch()
            self._dispatcher.preempt(now)
        self._loading.trim()

    def _on_interrupt_requested(self, stimulus: stimuli.InterruptRequested, now: float) -> None:
        if stimulus.when_idle:
            self._host_end.drain(stimulus.signal)
        else:
            self._shutdown.on_interrupt_requested(stimulus, now)

    def _finish(self, now: float) -> None:
        """Let every executor go: all tasks are done."""
        self._shutdown.finish(now)
        for slot in self.state.slots:
            if slot.state in (SlotState.READY, SlotState.STARTING):
                self.state.emit(SendOrder(slot.number, executor_protocol.FinishAndExit()))

    def _on_sweep_finished(self, stimulus: guardian_protocol.SweepReport, now: float) -> None:
        state = self.state
        state.phase = Phase.ENDED
        self._sweep_deadline = None
        state.remaining = tuple(stimulus.remaining)  # those that were abandoned on the way may have ended since
        if stimulus.processes:
            state.log("cleanup.strays", Severity.WARNING, count=stimulus.found, processes=list(stimulus.processes))
        stopped = state.signal is not None
        elapsed: dict[str, Any] = {"seconds": round(now - self._shutdown.began_at, 3)} if stopped else {}
        self._undo.log_outstanding()
        severity = Severity.WARNING if self._undo else Severity.INFO
        state.log(
            "cleanup.verified",
            Severity.ERROR if state.remaining else severity,
            found=stimulus.found + self._executors.strays_ended,
            ended=stimulus.ended + self._executors.strays_ended,
            remaining=list(state.remaining),
            undone=self._undo.struck_out,
            undo_outstanding=len(self._undo.outstanding),
            **elapsed,
        )
        state.emit(StopLoop())
