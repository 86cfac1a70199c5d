"""Executors come and go: start, ready, trusted or not, gone, started again. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core import stimuli
from orchestrator.core.instructions import ReportAgent, SendOrder, StartExecutor, UpdateGraces
from orchestrator.core.ladder import Escalation, Rung
from orchestrator.core.loading import Loading
from orchestrator.core.lost_tasks import LostTasks
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.stop_budget import explain_shortening
from orchestrator.core.transitions import AgentLoading, LoadingEvent, SlotEvent, SlotState
from orchestrator.core.verdicts import backoff_seconds, startup_failure_message
from runtime.agents import AgentOptions
from runtime.ipc import executor_protocol, frames, guardian_protocol
from runtime.statuses import Severity

START_FAILURES = 5
"""Executors that may die in a row before one is ready; then the environment is broken and the run ends."""

FIRST_BACKOFF, MAX_BACKOFF = 0.1, 5.0
"""Seconds before an executor is started again after a failed start; doubled each time, up to the maximum."""


class ExecutorLifecycle:
    """Start, retire and replace executors. After the first interrupt none is started any more."""

    def __init__(
        self, state: SupervisorState, lost_tasks: LostTasks, shutdown: ShutdownController, loading: Loading
    ) -> None:
        self._state = state
        self._loading = loading
        self._lost_tasks = lost_tasks
        self._shutdown = shutdown
        self._start_failures = 0
        self.strays_ended = 0

    # -- they come ----------------------------------------------------------------------------------

    def start_missing(self, now: float) -> None:
        """Start an executor in every empty slot that need not wait any longer."""
        for slot in self._state.slots:
            if slot.state is SlotState.EMPTY and slot.restart_at <= now:
                slot.incarnation += 1
                slot.apply(SlotEvent.START)
                slot.started_at = slot.last_seen_at = now
                slot.restart_at = 0.0
                self._state.emit(StartExecutor(slot.number, slot.incarnation))

    def add_agent(self, stimulus: stimuli.AgentAdded) -> None:
        """Register an agent and have executors load it: those that are ready now, the others when they are."""
        order = executor_protocol.LoadAgent(stimulus.agent, stimulus.by_name, stimulus.source)
        self._state.agents[stimulus.agent] = order
        self._state.needs.add_caller(order)
        self._state.queue.on_agent_loaded(stimulus.agent)
        self._loading.load_new(order)

    def on_forked(self, stimulus: guardian_protocol.ForkedReport, now: float) -> None:
        """Note the pid of a new process, which can show a heartbeat from now on."""
        slot = self._state.slot(stimulus.slot, stimulus.incarnation)
        if slot is not None:
            slot.pid, slot.last_seen_at = stimulus.pid, now

    def on_ready(self, slot: Slot, record: executor_protocol.Ready, now: float) -> None:
        """Admit an executor whose signal handlers are set, and have it load agents."""
        if record.version != frames.VERSION:
            self.fail_protocol(slot, f"it speaks version {record.version} of the wire, not {frames.VERSION}", now)
            return
        slot.apply(SlotEvent.READY)
        slot.pid = record.pid
        self._state.log(
            "executor.started",
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=record.pid,
            seconds=round(now - slot.started_at, 4),
        )
        self._loading.load_recent(slot)
        if not slot.pending_loads:  # nothing is asked of it
            slot.apply_loading(LoadingEvent.FINISH)

    def on_agent_loaded(self, slot: Slot, record: executor_protocol.AgentLoaded, _now: float) -> None:
        """Note that an executor has loaded an agent. Raises ValueError, having done nothing, when that cannot be."""
        self._require_known_agent(record.agent)
        try:
            options = msgspec.json.decode(record.options, type=AgentOptions)
        except msgspec.DecodeError as error:
            raise ValueError(f"the options of agent {record.agent} cannot be read: {error}") from error
        slot.pending_loads -= 1
        if not slot.pending_loads:  # all of them: one that kills its executor must not hide behind another
            slot.apply_loading(LoadingEvent.FINISH)
            self._start_failures = 0
        if record.agent not in self._state.loaded_agents:
            before = self._state.ladder
            self._state.record_agent_loaded(record, options)
            ladder = self._state.ladder
            if ladder != before:
                self._state.emit(UpdateGraces(ladder.grace, ladder.term_grace))
            self._warn_if_grace_too_short(record.agent)
            self._state.emit(ReportAgent(record.agent, record.name))

    def _warn_if_grace_too_short(self, agent: int) -> None:
        """Log a warning if the ladder, whose length is known now, does not fit into what the host grants."""
        fitted = self._state.fit_of(agent)
        if not fitted.fits:
            self._state.log(
                "ladder.shortened",
                Severity.WARNING,
                granted=fitted.granted,
                needed=fitted.needed,
                hint=explain_shortening(fitted),
            )

    def _require_known_agent(self, agent: int) -> None:
        if agent not in self._state.agents:
            raise ValueError(f"agent {agent} is not one of this run")

    def on_agent_load_failed(self, slot: Slot, record: executor_protocol.AgentLoadFailed, now: float) -> None:
        """Note that an executor cannot load an agent. Raises ValueError for one that it was not asked to load."""
        self._require_known_agent(record.agent)
        slot.pending_loads -= 1
        if record.agent in self._state.loaded_agents:  # it loaded elsewhere: this executor is in a changed world
            slot.exit_reason = record.message
            slot.apply_loading(LoadingEvent.FAIL)
            self.retire(slot, now)
        elif record.agent not in self._state.load_errors:
            self._state.load_errors[record.agent] = record.message
            self._state.emit(ReportAgent(record.agent, "", record.message, record.detail))
        if slot.state is SlotState.READY and not slot.pending_loads:
            slot.apply_loading(LoadingEvent.FINISH)

    # -- they go ------------------------------------------------------------------------------------

    def retire(self, slot: Slot, now: float) -> None:
        """Ask one executor to finish and exit. The ladder ends it if it does not."""
        self._state.emit(SendOrder(slot.number, executor_protocol.FinishAndExit()))
        slot.apply(SlotEvent.LEAVE)
        slot.escalation = Escalation(self._state.ladder.for_leaving.for_executor, Rung.FLAG, now)

    def on_leaving(self, slot: Slot, _record: executor_protocol.Leaving, now: float) -> None:
        """Note that an executor takes no more work. Code of agents may hang at its exit: the ladder bounds that."""
        slot.apply(SlotEvent.LEAVE)
        if self._state.phase is Phase.RUNNING:  # else the one of all is on its way
            slot.escalation = slot.escalation or Escalation(self._state.ladder.for_leaving.for_executor, Rung.FLAG, now)

    def on_delayed(self, slot: Slot, record: executor_protocol.Delayed, _now: float) -> None:
        """Log that an executor would exit, and waits for threads that its agents have left."""
        self._state.log(
            "executor.delayed",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            threads=record.threads,
            stack=record.stack,
            hint="wait for the work in the agent, or make it a daemon thread if it may be lost",
        )

    def on_protocol_error(self, stimulus: stimuli.ProtocolErrorDetected, now: float) -> None:
        """Distrust an executor that sent what is not a frame."""
        slot = self._state.slot(stimulus.slot, stimulus.incarnation)
        if slot is not None and slot.state is not SlotState.DISTRUSTED:
            self.fail_protocol(slot, stimulus.problem, now)

    def fail_protocol(self, slot: Slot, problem: str, now: float) -> None:
        """Distrust an executor and kill it: nothing that it sends is believed any more."""
        slot.exit_reason = problem
        slot.apply(SlotEvent.DISTRUST)
        slot.escalation = Escalation(self._state.ladder.for_executor, Rung.KILL, now)
        self._state.log(
            "executor.protocol_error",
            Severity.ERROR,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            reason=problem,
        )
        self._shutdown.kill(slot)

    def on_exited(self, stimulus: stimuli.ExecutorExited, now: float) -> None:
        """Empty the slot of an executor that has exited. All that it sent was received before."""
        slot = self._state.slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        state, reason, escalation, loading = slot.state, slot.exit_reason, slot.escalation, slot.loading
        distrusted = state is SlotState.DISTRUSTED
        # An import can kill, too; and one that was dismissed may have been so because it could load nothing.
        unborn = loading is AgentLoading.FAILED or (
            loading is AgentLoading.PENDING and state in (SlotState.STARTING, SlotState.READY)
        )
        has_worked = slot.executed or any(
            assignment.has_begun(stimulus.executing) for assignment in slot.assigned.values()
        )
        idle = state is SlotState.READY and not has_worked  # it died of itself
        self._log_exit(slot, stimulus)
        self._lost_tasks.on_executor_lost(slot.reset(), stimulus, reason, escalation, now, distrusted=distrusted)
        failed = unborn or idle or (reason is not None and state in (SlotState.LEAVING, SlotState.DISTRUSTED))
        if stimulus.with_guardian:
            unborn = failed = False
        slot.failures = slot.failures + 1 if failed else 0
        slot.restart_at = now + (backoff_seconds(FIRST_BACKOFF, slot.failures, MAX_BACKOFF) if failed else 0.0)
        if unborn:
            self._count_failed_start(stimulus.exit_text, reason or stimulus.last_line, now)

    def on_guardian_lost(self, now: float) -> None:
        """Count the loss of the guardian, whose executors die with it. One that dies again and again ends the run."""
        self._state.log("guardian.lost", Severity.ERROR)
        self._count_failed_start("the guardian was killed", "", now)

    def _count_failed_start(self, how: str, last_line: str, now: float) -> None:
        self._start_failures += 1
        if self._start_failures >= START_FAILURES and self._state.phase is Phase.RUNNING:
            self._shutdown.abort_run(startup_failure_message(self._start_failures, how, last_line), now)

    def _log_exit(self, slot: Slot, stimulus: stimuli.ExecutorExited) -> None:
        expected = slot.state in (SlotState.LEAVING, SlotState.DISTRUSTED) or self._state.phase is not Phase.RUNNING
        self._state.log(
            "executor.exited",
            Severity.INFO if expected and slot.exit_reason is None else Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=stimulus.pid,
            exit=stimulus.exit_text,
            code=stimulus.code,
            seconds=round(stimulus.seconds, 3),
            max_rss=stimulus.max_rss,
            executed=slot.executed,
            in_hand=len(slot.assigned),
            **({"reason": slot.exit_reason} if slot.exit_reason else {}),
        )

    def on_strays_found(self, stimulus: guardian_protocol.StraysReport) -> None:
        """Log the processes that an executor left behind, which the guardian is ending."""
        self.strays_ended += len(stimulus.found)
        self._state.log(
            "executor.strays",
            Severity.WARNING,
            slot=stimulus.slot,
            incarnation=stimulus.incarnation,
            count=len(stimulus.found),
            processes=list(stimulus.found),
        )

    def due(self) -> list[float]:
        """Return when executors may be started again (monotonic seconds)."""
        return [slot.restart_at for slot in self._state.slots if slot.restart_at and not slot.is_alive]
