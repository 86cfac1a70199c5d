"""Executors come and go: start, ready, trusted or not, gone, started again. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core import stimuli as told
from orchestrator.core.instructions import AgentKnown, Send, SetGraces, StartExecutor
from orchestrator.core.loading import Loading
from orchestrator.core.outcomes import Ledger
from orchestrator.core.shutdown import Stopping
from orchestrator.core.slots import Slot, SlotState
from orchestrator.core.state import Mind
from orchestrator.core.status import Phase
from orchestrator.core.verdicts import backoff, failed_start
from orchestrator.ladder import Climb, Rung
from orchestrator.stop_budget import advice
from runtime.agents import AgentOptions
from runtime.ipc import executor_protocol as wire
from runtime.model import Severity

START_FAILURES = 5
"""Executors that may die in a row before one is ready; then the environment is broken and the run ends."""

FIRST_BACKOFF, MAX_BACKOFF = 0.1, 5.0
"""Seconds before an executor is started again after a failed start; doubled each time, up to the maximum."""


class Roster:
    """Who is in which slot. After the first interrupt nobody is started any more."""

    def __init__(self, mind: Mind, ledger: Ledger, stopping: Stopping, loading: Loading) -> None:
        self._mind = mind
        self._loading = loading
        self._ledger = ledger
        self._stopping = stopping
        self._start_failures = 0
        self.cleaned = 0

    # -- they come ----------------------------------------------------------------------------------

    def fill(self, now: float) -> None:
        """Start an executor in every empty slot whose time has come."""
        for slot in self._mind.slots:
            if slot.state is SlotState.EMPTY and slot.restart_at <= now:
                slot.incarnation += 1
                slot.state = SlotState.STARTING
                slot.started_at = slot.heard_at = now
                slot.restart_at = 0.0
                self._mind.do(StartExecutor(slot.number, slot.incarnation))

    def hire(self, stimulus: told.HireAgent) -> None:
        """An agent for every executor that is ready, and for every one that will be."""
        order = wire.Hire(stimulus.agent, stimulus.by_name, stimulus.source)
        self._mind.agents[stimulus.agent] = order
        self._mind.needs.add_caller(order)
        self._mind.backlog.hired(stimulus.agent)
        self._loading.load_new(order)

    def forked(self, stimulus: told.Forked, now: float) -> None:
        """The process exists: from now on it can show a sign of life."""
        slot = self._mind.slot(stimulus.slot, stimulus.incarnation)
        if slot is not None:
            slot.pid, slot.heard_at = stimulus.pid, now

    def ready(self, slot: Slot, record: wire.Ready, now: float) -> None:
        """Its handlers stand."""
        if record.version != wire.VERSION:
            self.distrust(slot, f"it speaks version {record.version} of the wire, not {wire.VERSION}", now)
            return
        if slot.state is not SlotState.STARTING:
            raise ValueError("an executor is ready once")
        slot.state = SlotState.READY
        slot.pid = record.pid
        self._mind.log(
            "executor.started",
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=record.pid,
            seconds=round(now - slot.started_at, 4),
        )
        self._loading.load_recent(slot)
        slot.proven = not slot.loading  # nothing is asked of it

    def hired(self, slot: Slot, record: wire.Hired, _now: float) -> None:
        """It has loaded an agent. Raises ValueError, having done nothing, when that cannot be."""
        self._check_known(record.agent)
        try:
            options = msgspec.json.decode(record.options, type=AgentOptions)
        except msgspec.DecodeError as error:
            raise ValueError(f"the options of agent {record.agent} cannot be read: {error}") from error
        slot.loading -= 1
        if not slot.loading:  # all of them: one that kills whoever loads it must not hide behind another
            slot.proven = True
            self._start_failures = 0
        if record.agent not in self._mind.hired:
            before = self._mind.ladder
            self._mind.learn(record, options)
            ladder = self._mind.ladder
            if ladder != before:
                self._mind.do(SetGraces(ladder.grace, ladder.term_grace))
            self._warn_of_host(record.agent)
            self._mind.do(AgentKnown(record.agent, record.name))

    def _warn_of_host(self, agent: int) -> None:
        """Now it is known how long the ladder is: does the host know too?"""
        found = self._mind.fit_of(agent)
        if not found.fits:
            self._mind.log(
                "host.impatient", Severity.WARNING, granted=found.granted, needed=found.needed, cure=advice(found)
            )

    def _check_known(self, agent: int) -> None:
        if agent not in self._mind.agents:
            raise ValueError(f"nobody has hired agent {agent}")

    def refused(self, slot: Slot, record: wire.Refused, now: float) -> None:
        """It cannot load an agent. Raises ValueError for one that it was not asked to load."""
        self._check_known(record.agent)
        slot.loading -= 1
        if record.agent in self._mind.hired:  # it loaded elsewhere: this executor is in a changed world
            slot.why = record.message
            slot.unwilling = True
            self.dismiss(slot, now)
        elif record.agent not in self._mind.refusals:
            self._mind.refusals[record.agent] = record.message
            self._mind.do(AgentKnown(record.agent, "", record.message, record.detail))
        slot.proven = slot.proven or (slot.state is SlotState.READY and not slot.loading)

    # -- they go ------------------------------------------------------------------------------------

    def dismiss(self, slot: Slot, now: float) -> None:
        """Have one executor end, by the ladder if it does not."""
        self._mind.do(Send(slot.number, wire.Retire()))
        slot.state = SlotState.LEAVING
        slot.climb = Climb(self._mind.ladder.for_executor, Rung.FLAG, now)

    def bye(self, slot: Slot, _record: wire.Bye, now: float) -> None:
        """It takes no more work. What runs at its exit is the agents', and may hang: the ladder sees to its end."""
        slot.state = SlotState.LEAVING
        if self._mind.phase is Phase.RUNNING:  # else the one of all is on its way
            slot.climb = slot.climb or Climb(self._mind.ladder.for_executor, Rung.FLAG, now)

    def delayed(self, slot: Slot, record: wire.Delayed, _now: float) -> None:
        """It would exit, and waits for threads that its agents have left."""
        self._mind.log(
            "executor.delayed",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            threads=record.threads,
            stack=record.stack,
            cure="wait for the work in the agent, or make it a daemon thread if it may be lost",
        )

    def garbled(self, stimulus: told.Garbled, now: float) -> None:
        """What it sent was no frame."""
        slot = self._mind.slot(stimulus.slot, stimulus.incarnation)
        if slot is not None and not slot.distrusted:
            self.distrust(slot, stimulus.why, now)

    def distrust(self, slot: Slot, why: str, now: float) -> None:
        """Nothing that it says is believed any more, and it is killed."""
        slot.why = why
        slot.distrusted = True
        slot.state = SlotState.LEAVING
        slot.climb = Climb(self._mind.ladder.for_executor, Rung.KILL, now)
        self._mind.log(
            "executor.garbled", Severity.ERROR, slot=slot.number, incarnation=slot.incarnation, pid=slot.pid, why=why
        )
        self._stopping.kill(slot)

    def exited(self, stimulus: told.Exited, now: float) -> None:
        """It is gone, and all that it had said was heard."""
        slot = self._mind.slot(stimulus.slot, stimulus.incarnation)
        if slot is None:
            return
        was, why, climb, distrusted = slot.state, slot.why, slot.climb, slot.distrusted
        # An import can kill, too; and one that was dismissed may have been so because it could load nothing.
        unborn = not slot.proven and (was in (SlotState.STARTING, SlotState.READY) or slot.unwilling)
        has_worked = slot.executed or any(one.has_begun(stimulus.in_hand) for one in slot.assigned.values())
        idle = was is SlotState.READY and not has_worked  # it died of itself
        self._log_exit(slot, stimulus)
        self._ledger.charge(slot.vacate(), stimulus, why, climb, now, distrusted=distrusted)
        failed = unborn or idle or (why is not None and was is SlotState.LEAVING)
        if stimulus.with_guardian:
            unborn = failed = False
        slot.failures = slot.failures + 1 if failed else 0
        slot.restart_at = now + (backoff(FIRST_BACKOFF, slot.failures, MAX_BACKOFF) if failed else 0.0)
        if unborn:
            self._count_failed_start(stimulus.how, why or stimulus.last_line, now)

    def guardian_lost(self, now: float) -> None:
        """Its executors die with it, through no fault of theirs; but one that dies again and again is no guardian."""
        self._mind.log("guardian.lost", Severity.ERROR)
        self._count_failed_start("the guardian was killed", "", now)

    def _count_failed_start(self, how: str, last_line: str, now: float) -> None:
        self._start_failures += 1
        if self._start_failures >= START_FAILURES and self._mind.phase is Phase.RUNNING:
            self._stopping.fail(failed_start(self._start_failures, how, last_line), now)

    def _log_exit(self, slot: Slot, stimulus: told.Exited) -> None:
        expected = slot.state is SlotState.LEAVING or self._mind.phase is not Phase.RUNNING
        self._mind.log(
            "executor.exited",
            Severity.INFO if expected and slot.why is None else Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=stimulus.pid,
            exit=stimulus.how,
            code=stimulus.code,
            seconds=round(stimulus.seconds, 3),
            max_rss=stimulus.max_rss,
            executed=slot.executed,
            in_hand=len(slot.assigned),
            **({"why": slot.why} if slot.why else {}),
        )

    def strays(self, stimulus: told.StraysFound) -> None:
        """It left processes behind, which the guardian is ending."""
        self.cleaned += len(stimulus.found)
        self._mind.log(
            "executor.strays",
            Severity.WARNING,
            slot=stimulus.slot,
            incarnation=stimulus.incarnation,
            count=len(stimulus.found),
            processes=list(stimulus.found),
        )

    def due(self) -> list[float]:
        """When an executor may be started again (monotonic seconds)."""
        return [slot.restart_at for slot in self._mind.slots if not slot.is_alive and slot.restart_at]
