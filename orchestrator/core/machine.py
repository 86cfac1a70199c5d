"""All decisions, and nothing else: stimuli and the time go in, instructions come out. Pure.

The machine has memory (mind.py) but no effect: no os, no signal, no clock. `now` is monotonic seconds. It is not
rebuilt from a copy at every step, because at 50,000 tasks a second the copies would cost more than the work;
what a pure function buys, tests that feed stimuli and read instructions, stays.

Rules that it keeps:
- a task is with one executor at most, and an outcome that is final is recorded once;
- while threads of a task run, it is with its executor, whatever that has said of its end;
- after the first interrupt no task is handed out and no executor is started;
- a stop ends at most `ladder.total` later, whatever is or is not heard;
- the first signal wins and never changes.

Its parts: roster (executors), handout (tasks to them), ledger (what becomes of tasks), stopping (the ladder),
abandonment (executors that cannot be killed), watch (what shared memory shows). Each reads the mind and writes what its
own file is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.core import stimuli
from orchestrator.core.abandonment import Abandonment
from orchestrator.core.dispatch import Dispatcher
from orchestrator.core.executors import ExecutorLifecycle
from orchestrator.core.instructions import (
    Instruction,
    SendOrder,
    SetJournalDeadline,
    StopLoop,
    SweepProcesses,
    SweepWithoutGuardian,
)
from orchestrator.core.loading import Loading
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.settings import RunSettings
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Slot, SlotState
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase, StatusView, make_status
from orchestrator.core.watchdog import Watchdog
from runtime.ipc import executor_protocol
from runtime.model import ExecutionStatus, InterruptReason, Severity
from runtime.process.capabilities import losses

SWEEP_TIMEOUT = 5.0
"""Seconds that the guardian may take for its last look: of a crowd it takes up to 4 (remains.CROWD_SECONDS and then
CROWD_KILL_TIMEOUT), after the sentinel's end.
One that neither answers nor works is replaced sooner (guardian_monitor.py)."""

JOURNAL_TIMEOUT = 10.0
"""Seconds that a stop may take longer because of the journal, all in all. A disk that hangs (NFS) must not keep us for
ever; nor one that is slow, at every commit. Where nobody stops the run, it may leave us so long without any answer."""

_NON_ACTIONABLE_STIMULI = frozenset(
    {
        stimuli.OutcomesCommitted,
        stimuli.GuardianReady,
        stimuli.ExecutorForked,
        stimuli.LogRequested,
        stimuli.JournalContended,
        stimuli.JournalAvailable,
    }
)
"""What gives nobody anything to do while the run goes on."""


class SupervisorStateMachine:
    """The supervisor's mind at work. Feed it with `handle`, ask `due` when to send a Tick."""

    def __init__(self, settings: RunSettings) -> None:
        self.mind = mind = SupervisorState(settings)
        self.settings = settings
        self._stopping = ShutdownController(mind)
        self._ledger = OutcomeTracker(mind, self._stopping)
        self._loading = loading = Loading(mind)
        self._roster = ExecutorLifecycle(mind, self._ledger, self._stopping, loading)
        self._abandonment = Abandonment(mind, self._ledger, self._stopping)
        self._handout = Dispatcher(mind, self._ledger, self._stopping, loading)
        self._watch = Watchdog(mind, self._stopping, self._roster)
        self._sweep_deadline: float | None = None
        self._commit_deadline: float | None = None
        self._empty_slots = 0
        self._due: float | None = None
        self._is_host_known = False
        self._due_cached = False
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            stimuli.RunStarted: lambda _, now: self._stopping.set_deadline(now),
            stimuli.AgentAdded: lambda it, _: self._roster.add_agent(it),
            stimuli.AgentReleased: lambda it, _: mind.needs.remove(it.agent),
            stimuli.TasksAdded: self._spooled,
            stimuli.RunResumed: self._resumed,
            stimuli.TasksRecalled: self._recalled,
            stimuli.TasksFetched: self._fetched,
            stimuli.InputClosed: self._sealed,
            stimuli.GuardianReady: self._standing,
            stimuli.ExecutorForked: self._roster.on_forked,
            stimuli.RecordsReceived: self._on_records,
            stimuli.ProtocolErrorDetected: self._roster.on_protocol_error,
            stimuli.ExecutorExited: self._exited,
            stimuli.GuardianLost: self._guardian_lost,
            stimuli.StraysFound: lambda it, _: self._roster.on_strays_found(it),
            stimuli.SweepFinished: self._swept,
            stimuli.OutcomesCommitted: self._committed,
            stimuli.JournalFailed: self._journal_failed,
            stimuli.JournalContended: self._journal_contended,
            stimuli.JournalAvailable: self._journal_available,
            stimuli.JournalStarved: self._journal_starved,
            stimuli.HostFailed: lambda it, now: self._stopping.abort_run(it.why, now, InterruptReason.RESOURCE_LIMIT),
            stimuli.InterruptRequested: self._stopping.interrupt,
            stimuli.OsSignalReceived: self._stopping.on_os_signal,
            stimuli.ProgressSampled: self._watch.progress,
            stimuli.SuspensionNoticed: self._paused,
            stimuli.MemoryExceeded: self._watch.on_memory_exceeded,
            stimuli.LogRequested: lambda it, _: mind.log(it.name, it.severity, **it.fields),
            stimuli.TimerFired: self._tick,
        }
        self._records: dict[type[Any], Callable[[Slot, Any, float], None]] = {
            executor_protocol.TaskDone: self._ledger.on_task_done,
            executor_protocol.Started: self._ledger.started,
            executor_protocol.TasksReturned: self._ledger.on_tasks_returned,
            executor_protocol.Snapshot: self._ledger.snapshot,
            executor_protocol.Ready: self._roster.on_ready,
            executor_protocol.AgentLoaded: self._roster.on_agent_loaded,
            executor_protocol.AgentLoadFailed: self._roster.on_agent_load_failed,
            executor_protocol.Leaving: self._roster.on_leaving,
            executor_protocol.ThreadsLeft: self._ledger.threads_left,
            executor_protocol.ThreadsEnded: self._ledger.threads_ended,
            executor_protocol.LoopBlocked: self._ledger.loop_blocked,
            executor_protocol.Delayed: self._roster.delayed,
        }

    # -- the engine's side --------------------------------------------------------------------------

    def handle(self, stimulus: stimuli.Stimulus, now: float) -> list[Instruction]:
        """Take one stimulus at `now` (monotonic seconds); what is to be done, in order. After the end, nothing."""
        if self.mind.phase is Phase.ENDED:
            return []
        self._handlers[type(stimulus)](stimulus, now)
        if self.mind.to_abandon:
            self._abandonment.abandon_due(now)
        self.mind.flush_outcomes()
        if self.mind.phase is not Phase.RUNNING or type(stimulus) not in _NON_ACTIONABLE_STIMULI:
            self._advance(now)
        self._due_cached = False
        return self.mind.drain_instructions()

    def due(self) -> float | None:
        """When the next Tick is needed (monotonic seconds), None if only a stimulus can change anything."""
        if self.mind.phase is Phase.ENDED:
            return None
        if not self._due_cached:  # asked more often than it changes
            times = [*self._stopping.due(), self._sweep_deadline, self._commit_deadline]
            if self.mind.phase is Phase.RUNNING:
                times += [self.mind.backlog.due, *self._roster.due(), *self._handout.due()]
            self._due = min((time for time in times if time is not None), default=None)
            self._due_cached = True
        return self._due

    def quiet(self, slots: Sequence[tuple[int, float, float]], now: float) -> list[Slot]:
        """Whose processor time is wanted with the Progress of these `slots`."""
        return self._watch.quiet(slots, now)

    def view(self, now: float) -> StatusView:
        """What a person may see of it."""
        return make_status(self.mind, now)

    # -- what it is told ----------------------------------------------------------------------------

    def _spooled(self, stimulus: stimuli.TasksAdded, _now: float) -> None:
        self.mind.accepted += len(stimulus.tasks)
        self.mind.needs.add_tasks(stimulus.tasks)
        self._stopping.record_cancelled(self.mind.backlog.on_tasks_added(stimulus, self.mind.agents))

    def _fetched(self, stimulus: stimuli.TasksFetched, _now: float) -> None:
        backlog, agents = self.mind.backlog, self.mind.agents
        if stimulus.urgent:
            unwanted = backlog.fetched_urgent(stimulus.tasks, agents)
        else:
            unwanted = backlog.fetched(stimulus.tasks, stimulus.read_to, agents)
        self._stopping.record_cancelled(unwanted)

    def _resumed(self, stimulus: stimuli.RunResumed, _now: float) -> None:
        if stimulus.last_seq:  # the tasks of an earlier start, or of this one, that were not counted
            self.mind.needs.keep_all()
        self.mind.accepted += stimulus.accepted
        self.mind.counts[ExecutionStatus.COMPLETED] += stimulus.completed
        self.mind.counts[ExecutionStatus.FAILED] += stimulus.failed
        self.mind.ended[ExecutionStatus.COMPLETED] += stimulus.completed
        self.mind.ended[ExecutionStatus.FAILED] += stimulus.failed
        self.mind.backlog.resumed(stimulus.last_seq, by_program=stimulus.by_program)

    def _recalled(self, stimulus: stimuli.TasksRecalled, _now: float) -> None:
        self._stopping.record_cancelled(self.mind.backlog.recalled(stimulus.tasks, self.mind.agents))

    def _sealed(self, _: stimuli.InputClosed, _now: float) -> None:
        self.mind.sealed = True

    def _on_records(self, stimulus: stimuli.RecordsReceived, now: float) -> None:
        slot = self.mind.slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        slot.last_seen_at = now
        for record in stimulus.records:
            if slot.protocol_error:
                return
            try:
                self._records[type(record)](slot, record, now)
            except ValueError as error:  # well-formed, and nonsense all the same: an agent has its hands in the pipe
                why = " ".join(str(error).split())
                self._roster.fail_protocol(slot, f"it sent a {type(record).__name__} that makes no sense: {why}", now)

    def _exited(self, stimulus: stimuli.ExecutorExited, now: float) -> None:
        self._roster.on_exited(stimulus, now)
        self._abandonment.exited(stimulus, now)

    def _guardian_lost(self, _: stimuli.GuardianLost, now: float) -> None:
        self._abandonment.guardian_lost()
        self._roster.guardian_lost(now)

    def _standing(self, stimulus: stimuli.GuardianReady, _now: float) -> None:
        """The guardian stands. What this host does not give is said once, by the first one."""
        mind = self.mind
        mind.log("guardian.started", pid=stimulus.pid, containment=list(stimulus.containment))
        if stimulus.missing and not self._is_host_known:
            consequences = losses(stimulus.missing, has_cgroup="cgroup" in stimulus.containment)
            mind.log(
                "host.degraded", Severity.WARNING, missing=list(map(str, stimulus.missing)), consequences=consequences
            )
        self._is_host_known = True

    def _committed(self, stimulus: stimuli.OutcomesCommitted, _now: float) -> None:
        self._ledger.committed(stimulus)
        self._commit_deadline = (
            None  # it answers: if more is under way, patience begins anew, unless the run is stopped
        )

    def _journal_failed(self, stimulus: stimuli.JournalFailed, now: float) -> None:
        self.mind.journal_broken = True
        self.mind.log("journal.failed", Severity.ERROR, error=stimulus.why)
        self._stopping.abort_run(stimulus.why, now, InterruptReason.RESOURCE_LIMIT)

    def _journal_contended(self, stimulus: stimuli.JournalContended, _now: float) -> None:
        self.mind.journal_contended = True
        self._commit_deadline = None
        seconds = round(stimulus.seconds, 1)
        self.mind.log("journal.waiting", Severity.WARNING, holders=list(stimulus.holders), seconds=seconds)

    def _journal_available(self, stimulus: stimuli.JournalAvailable, _now: float) -> None:
        self.mind.journal_contended = False
        self.mind.log("journal.available", Severity.INFO, seconds=round(stimulus.seconds, 1))

    def _journal_starved(self, stimulus: stimuli.JournalStarved, now: float) -> None:
        why = f"{stimulus.why}, for {stimulus.seconds:.0f} s now"
        if self.mind.phase is Phase.RUNNING:
            self._stopping.abort_run(why, now, InterruptReason.RESOURCE_LIMIT)
        elif self.mind.signal is None:  # all is done, but for the record
            self._journal_failed(stimuli.JournalFailed(why), now)

    def _wait_for_journal(self, now: float) -> None:
        """Executors are gone, outcomes are still on their way to the disk. A stop has one deadline for all that."""
        mind = self.mind
        if mind.signal is not None or mind.hurried:
            self._set_journal_deadline(now)
            self._commit_deadline = mind.journal_deadline
        elif not mind.journal_contended:  # else the store knows for how long
            self._commit_deadline = self._commit_deadline or now + JOURNAL_TIMEOUT

    def _set_journal_deadline(self, now: float) -> None:
        if self.mind.journal_deadline is None:
            self.mind.journal_deadline = now + JOURNAL_TIMEOUT
            self.mind.emit(SetJournalDeadline(self.mind.journal_deadline))

    def _paused(self, stimulus: stimuli.SuspensionNoticed, now: float) -> None:
        self._watch.paused(stimulus, now)
        if self._sweep_deadline is not None:
            self._sweep_deadline += stimulus.seconds
        if self._commit_deadline is not None:
            self._commit_deadline += stimulus.seconds

    def _tick(self, _: stimuli.TimerFired, now: float) -> None:
        self._stopping.tick(now)
        if self._commit_deadline is not None and self._commit_deadline <= now:
            why = f"the journal did not answer for {JOURNAL_TIMEOUT:g} s; what it has not confirmed may be lost"
            self._journal_failed(stimuli.JournalFailed(why), now)
        if self._sweep_deadline is not None and self._sweep_deadline <= now:
            self._sweep_deadline = None
            self.mind.log("guardian.unresponsive", Severity.ERROR, seconds=SWEEP_TIMEOUT)
            self.mind.emit(SweepWithoutGuardian())
        if self.mind.phase is Phase.RUNNING:
            self.mind.backlog.release_due_retries(now)
            self._handout.reclaim_prefetched(now)

    # -- going on -----------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """After every stimulus: start, fetch, hand out; or end, step by step."""
        mind = self.mind
        if mind.phase is Phase.RUNNING:
            if mind.is_complete:
                self._finish(now)
            else:
                self._schedule(now)
        if mind.phase not in (Phase.STOPPING, Phase.FINISHING) or self._has_executors():
            return
        if mind.uncommitted and not mind.journal_broken:
            self._wait_for_journal(now)
        else:
            self._commit_deadline = None
            if mind.signal is not None:
                self._set_journal_deadline(now)
            mind.phase = Phase.SWEEPING
            self._sweep_deadline = now + SWEEP_TIMEOUT
            mind.emit(SweepProcesses(self._stopping.end_of_last_look(now)))

    def _has_executors(self) -> bool:
        """Whether an executor is left, now that none is started any more. Each slot is found empty only once."""
        slots = self.mind.slots
        while self._empty_slots < len(slots) and not slots[self._empty_slots].is_alive:
            self._empty_slots += 1
        return self._empty_slots < len(slots)

    def _schedule(self, now: float) -> None:
        self._roster.start_missing(now)
        request = self.mind.backlog.fetch()
        if request is not None:
            self.mind.emit(request)
        self._watch.recycle_drained(now)
        if len(self.mind.backlog):
            self._handout.dispatch()
            self._handout.preempt(now)
        self._loading.trim()

    def _finish(self, now: float) -> None:
        """All is done: every executor may go."""
        self._stopping.finish(now)
        for slot in self.mind.slots:
            if slot.state in (SlotState.READY, SlotState.STARTING):
                self.mind.emit(SendOrder(slot.number, executor_protocol.FinishAndExit()))

    def _swept(self, stimulus: stimuli.SweepFinished, now: float) -> None:
        mind = self.mind
        mind.phase = Phase.ENDED
        self._sweep_deadline = None
        mind.remaining = tuple(stimulus.remaining)  # those that were abandoned on the way may have ended since
        if stimulus.processes:
            mind.log("cleanup.strays", Severity.WARNING, count=stimulus.found, processes=list(stimulus.processes))
        mind.log(
            "cleanup.verified",
            Severity.ERROR if mind.remaining else Severity.INFO,
            found=stimulus.found + self._roster.strays_ended,
            ended=stimulus.ended + self._roster.strays_ended,
            remaining=list(mind.remaining),
            **({"seconds": round(now - self._stopping.began_at, 3)} if mind.signal is not None else {}),
        )
        mind.emit(StopLoop())
