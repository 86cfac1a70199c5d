"""Watching executors: how long a task takes, how much memory, whether it lives, when it is used up. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core import stimuli as told
from orchestrator.core.executors import Roster
from orchestrator.core.instructions import SendControl
from orchestrator.core.shutdown import Stopping
from orchestrator.core.slots import Assigned, Excuse, Slot, SlotState
from orchestrator.core.state import Mind
from orchestrator.core.status import Phase
from orchestrator.ladder import Climb, Rung
from runtime.ipc import executor_protocol as wire
from runtime.model import InterruptReason, InterruptSignal, Severity

QUIET_SECONDS = 2.0
"""Seconds without a heartbeat after which an executor's processor time is looked at."""

CPU_TICK, CPU_SHARE = 0.01, 0.005
"""What counts as work: at least one of the kernel's ticks (seconds), and this share of the time since the last look
that counted. Many executors share a core; a native thread that only wakes up now and then is no work."""


class Watch:
    """The supervisor's clock decides, never the executor's: a thread there cannot run while C code holds the GIL.

    Work is not silence: an executor without a heartbeat that uses the processor is busy (a regular expression, numpy,
    an import: all may hold the GIL for minutes), and only the task's time limit ends it. Nor does one count as silent
    that waits for a processor, on a host with too much to do. One that is deadlocked or stopped does neither.
    """

    def __init__(self, mind: Mind, stopping: Stopping, roster: Roster) -> None:
        self._mind = mind
        self._stopping = stopping
        self._roster = roster

    def progress(self, stimulus: told.Progress, now: float) -> None:
        """What shared memory shows."""
        for slot, (task, since, beat) in zip(self._mind.slots, stimulus.slots, strict=True):
            one = slot.assigned.get(task)
            if one is not None:
                one.since = since
            if self._mind.phase is Phase.RUNNING and slot.state in (SlotState.STARTING, SlotState.READY):
                self._notice_work(slot, stimulus.cpu.get(slot.number), now)
                if slot.number in stimulus.runnable:
                    slot.worked_at = now
                self._listen(slot, max(beat, slot.heard_at, slot.worked_at), now)
        if self._mind.phase is Phase.RUNNING:
            self._limit_time(now)

    def quiet(self, slots: Sequence[tuple[int, float, float]], now: float) -> list[Slot]:
        """Whose processor time is wanted with the Progress of these `slots`."""
        silence = self._mind.settings.silence
        if silence is None or self._mind.phase is not Phase.RUNNING:
            return []
        patience = min(QUIET_SECONDS, silence / 2)
        return [
            slot
            for slot, (_, _, beat) in zip(self._mind.slots, slots, strict=True)
            if slot.is_alive and slot.pid is not None and now - max(beat, slot.heard_at) > patience
        ]

    def _notice_work(self, slot: Slot, cpu: float | None, now: float) -> None:
        if cpu is None or slot.cpu is None:
            slot.cpu = None if cpu is None else (cpu, now)
            return
        used, at = slot.cpu
        if cpu - used >= max(CPU_TICK, CPU_SHARE * (now - at)):
            slot.cpu = (cpu, now)
            slot.worked_at = now

    def paused(self, stimulus: told.Paused, now: float) -> None:
        """Nothing that happened, or did not happen, meanwhile is held against anybody: clocks stood still.

        Not the deadline's, which is about when the run must be over, whatever it does until then.
        """
        self._mind.log("supervisor.paused", seconds=round(stimulus.seconds, 3))
        for slot in self._mind.alive:
            slot.heard_at = slot.worked_at = now
            slot.cpu = None
            for one in slot.assigned.values():
                if one.since is not None:
                    one.paused += min(stimulus.seconds, max(0.0, now - one.since))
                if one.asked is not None:
                    one.asked_at += stimulus.seconds
                if one.held is not None:
                    one.held_at += stimulus.seconds
        self._stopping.paused(stimulus.seconds)

    def _limit_time(self, now: float) -> None:
        for slot in self._mind.slots:
            for one in list(slot.assigned.values()):
                timeout = self._mind.timeout_of(one.task.agent)
                if timeout is None or one.since is None or not _can_be_blamed(slot, one):
                    continue
                if now - one.since - one.paused >= timeout:
                    message = f"the task took longer than {timeout:g} s"
                    signal = InterruptSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="timeout")
                    self._stopping.ask(slot, one, signal, now)

    def _listen(self, slot: Slot, last: float, now: float) -> None:
        """An executor without a heartbeat that does not work either is stopped or deadlocked: the ladder is for it."""
        silence = self._mind.settings.silence
        if silence is None or slot.pid is None or slot.climb is not None or now - last < silence:
            return  # without a pid nothing has been forked yet, and nobody can show a sign of life
        slot.why = f"it showed no sign of life and used no processor for {now - last:.1f} s, --silence is {silence:g} s"
        self._mind.log(
            "executor.silent",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            seconds=round(now - last, 1),
            option=f"--silence {silence:g}",
            keys=[one.task.key for one in slot.assigned.values()][:10],
        )
        slot.spent = True
        slot.climb = Climb(self._mind.ladder.for_executor, Rung.FLAG, now - self._mind.ladder.grace)

    def grown(self, stimulus: told.Grown, now: float) -> None:
        """An executor's tree holds much memory: it is replaced; above the limit, what it executes has failed too."""
        slot = self._mind.slot(stimulus.slot, stimulus.incarnation)
        if slot is None or self._mind.phase is not Phase.RUNNING:
            return
        limit = self._mind.settings.memory_limit
        if not slot.spent:
            slot.spent = True
            self._log_grown(slot, stimulus.size)
            self._mind.do(SendControl(slot.number, wire.Revoke(len(slot.assigned))))
        if limit is None or stimulus.size <= limit:
            return
        message = f"the executor and its children hold {_size(stimulus.size)}, the limit is {_size(limit)}"
        signal = InterruptSignal(reason=InterruptReason.RESOURCE_LIMIT, message=message, triggered_by="memory-limit")
        running = [one for one in slot.assigned.values() if one.since is not None and one.held is None]
        begun = [one for one in running if one.since is not None and one.since <= stimulus.measured_at]
        for one in begun:
            if len(begun) > 1 and one.asked is None:
                one.excuse = Excuse.UNKNOWN
            self._stopping.ask(slot, one, signal, now)

    def _log_grown(self, slot: Slot, size: int) -> None:
        self._mind.log(
            "executor.grown",
            Severity.WARNING,
            slot=slot.number,
            incarnation=slot.incarnation,
            pid=slot.pid,
            memory=size,
            limit=self._mind.settings.report_above,
        )

    def replace_spent(self, now: float) -> None:
        """Executors that are to be replaced go when they have nothing in hand."""
        most = self._mind.settings.max_tasks_per_executor
        for slot in self._mind.slots:
            if most is not None and slot.executed >= most:
                slot.spent = True
            if slot.spent and slot.state is SlotState.READY and not slot.assigned and slot.climb is None:
                self._roster.dismiss(slot, now)


def _can_be_blamed(slot: Slot, one: Assigned) -> bool:
    """Whether a task's time is its own: it has not ended, and no other task holds the event loop that it waits for."""
    return one.held is None and (slot.block is None or slot.block.task in (0, one.task.seq))


def _size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
