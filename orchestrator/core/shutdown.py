"""Stopping: of everything, by the ladder; of one task, by its executor's own climb. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core import stimuli as told
from orchestrator.core.instructions import KillTree, RaiseFlag, SendControl, ShowRung, Terminate
from orchestrator.core.slots import Assigned, Slot
from orchestrator.core.state import Mind
from orchestrator.core.status import Phase
from orchestrator.core.task_queue import Unwanted
from orchestrator.core.verdicts import withdrawn
from orchestrator.ladder import LOOK_SHARE, Climb, Rung
from runtime.ipc import executor_protocol as wire
from runtime.model import InterruptReason, InterruptSignal, Severity

LOOK_PATIENCE = 3.0
"""Seconds that the last look may take at most, however much of the ladder is left: the loop may have to wait for it."""

DEBOUNCE = 0.5
"""Seconds in which a second signal counts as the same press: a terminal and a parent may both send one."""


class Stopping:
    """The first signal wins; what follows hurries. A stop ends at most `ladder.total` after it began."""

    def __init__(self, mind: Mind) -> None:
        self._mind = mind
        self._pressed_at: float | None = None
        self._ends_at: float | None = None
        self.began_at = 0.0

    # -- why ----------------------------------------------------------------------------------------

    def set_deadline(self, now: float) -> None:
        """The run has begun."""
        deadline = self._mind.settings.deadline
        self._ends_at = None if deadline is None else now + deadline

    def signalled(self, stimulus: told.Signalled, now: float) -> None:
        """An OS signal: the first stops, a later one skips to the next rung."""
        if self._pressed_at is not None and now - self._pressed_at < DEBOUNCE:
            return
        self._pressed_at = now
        by = f"signal:{stimulus.name}"
        if self._mind.phase is Phase.RUNNING:
            reason = InterruptReason.USER_CANCELLED if stimulus.user else InterruptReason.SYSTEM_SHUTDOWN
            self.stop(InterruptSignal(reason=reason, message=f"received {stimulus.name}", triggered_by=by), now)
        elif self._mind.phase in (Phase.STOPPING, Phase.FINISHING):
            self._mind.hurried = True
            self._mind.log("interrupt.hurried", Severity.WARNING, triggered_by=by)
            self._climb(now)

    def interrupt(self, stimulus: told.Interrupt, now: float) -> None:
        """A request from the program, the journal or a limit."""
        if stimulus.task is None:
            self.stop(stimulus.signal, now)
            return
        for slot in self._mind.slots:
            for one in slot.assigned.values():
                if one.task.key == stimulus.task:
                    self.ask(slot, one, stimulus.signal, now, requested=True)
                    return
        task = self._mind.backlog.withdraw(stimulus.task)
        if task is not None:
            self._mind.keep(withdrawn(task, stimulus.signal), task.agent)
        elif not self._mind.backlog.withdraw_later(stimulus.task, stimulus.signal):
            self._mind.log("interrupt.ignored", Severity.WARNING, key=stimulus.task, why="no such task waits or runs")

    def withdraw(self, unwanted: Unwanted) -> None:
        """Tasks that were told to end while they were still in the store, and that have come now."""
        for task, signal in unwanted:
            self._mind.keep(withdrawn(task, signal), task.agent)

    def fail(self, why: str, now: float, reason: InterruptReason = InterruptReason.ERROR_THRESHOLD) -> None:
        """Something that the run cannot go on without is broken."""
        self._mind.error = self._mind.error or why
        self.stop(InterruptSignal(reason=reason, message=why, triggered_by="supervisor"), now)

    # -- everything ---------------------------------------------------------------------------------

    def stop(self, signal: InterruptSignal, now: float) -> None:
        """The flag goes up at once; the rest of the ladder follows by the clock."""
        mind = self._mind
        if mind.phase is not Phase.RUNNING:  # also FINISHING: what is complete is not interrupted any more
            return
        mind.signal = signal
        mind.phase = Phase.STOPPING
        self.began_at = now
        self._ends_at = None
        mind.do(RaiseFlag(signal))
        mind.log(
            "interrupt.requested",
            Severity.WARNING,
            reason=signal.reason.value,
            message=signal.message,
            triggered_by=signal.triggered_by,
            executors=len(mind.alive),
            running=mind.running,
            grace=mind.ladder.grace,
            term_grace=mind.ladder.term_grace,
        )
        mind.climb = Climb(mind.ladder.for_stop)
        self._climb(now)

    def finish(self, now: float) -> None:
        """All is done and every executor was told to go; the ladder is for those that do not."""
        self._mind.phase = Phase.FINISHING
        self._ends_at = None
        self._mind.climb = Climb(self._mind.ladder, Rung.FLAG, now)

    def _climb(self, now: float) -> None:
        """The next rung, for everybody who is left."""
        mind = self._mind
        mind.climb = mind.climb.next(now)
        mind.do(ShowRung(mind.climb.due))
        left = mind.alive
        if left:
            self._log_rung(mind.climb, left)
        for slot in left:
            self._push(slot, mind.climb.rung)

    def _log_rung(self, climb: Climb, slots: list[Slot]) -> None:
        self._mind.log(
            "ladder.rung",
            Severity.INFO if climb.rung is Rung.FLAG else Severity.WARNING,
            rung=climb.rung.name,
            executors=[slot.number for slot in slots],
            pids=[slot.pid for slot in slots],
            seconds=climb.ladder.seconds(climb.rung),
        )

    def _push(self, slot: Slot, rung: Rung) -> None:
        if rung is Rung.TERM and not slot.killed:
            self._mind.do(Terminate(slot.number, slot.incarnation))
        elif rung is Rung.KILL:
            self.kill(slot)
        elif rung is Rung.ABANDONED:
            self._mind.to_abandon.append(slot)

    def kill(self, slot: Slot) -> None:
        """An end of an executor and its tree; once, whichever ladder comes there first."""
        if not slot.killed:
            slot.killed = True
            self._mind.do(KillTree(slot.number, slot.incarnation))

    def give_back(self, left: Sequence[Assigned]) -> None:
        """Tasks that an executor had and had not begun are ready again, but for those that nobody wants any more."""
        for one in left:
            if one.requested and one.asked is not None:
                self._mind.keep(withdrawn(one.task, one.asked), one.task.agent)
        self._mind.backlog.put_back([one.task for one in left if not one.requested])

    # -- one task -----------------------------------------------------------------------------------

    def ask(self, slot: Slot, one: Assigned, signal: InterruptSignal, now: float, *, requested: bool = False) -> None:
        """Interrupt one task; if it does not end, its executor goes down the ladder.

        `requested`: somebody meant this very task, so that it does not go on later, whatever else it was asked for.
        """
        if one.asked is not None:
            if requested and one.asked.reason is InterruptReason.PRIORITY_OVERRIDE:
                one.asked, one.requested = signal, True
            return
        one.requested = requested
        one.asked, one.asked_at = signal, now
        if one.held is not None:  # it has ended, and its threads are on the ladder already
            return
        slot.climb = slot.climb or Climb(self._mind.ladder_of(one.task.agent), Rung.FLAG, now)
        self._mind.log(
            "task.interrupting",
            Severity.WARNING,
            key=one.task.key,
            reason=signal.reason.value,
            message=signal.message,
            slot=slot.number,
            pid=slot.pid,
        )
        order = wire.Interrupt(one.task.seq, one.attempt, signal.model_dump_json().encode())
        self._mind.do(SendControl(slot.number, order))

    def paused(self, seconds: float) -> None:
        """The supervisor, and perhaps everybody, stood still for so long: every climb goes on where it was."""
        mind = self._mind
        if mind.climb.due is not None:
            mind.climb = replace(mind.climb, since=mind.climb.since + seconds)
            if mind.signal is not None:
                mind.do(ShowRung(mind.climb.due))
        for slot in mind.slots:
            if slot.climb is not None:
                slot.climb = replace(slot.climb, since=slot.climb.since + seconds)

    # -- time ---------------------------------------------------------------------------------------

    def due(self) -> list[float | None]:
        """When something here is due (monotonic seconds)."""
        climbs = [slot.climb.due for slot in self._mind.slots if slot.climb] if self._mind.signal is None else []
        return [self._mind.climb.due, self._ends_at, *climbs]

    def end_of_last_look(self, now: float) -> float:
        """Return until when the last look, which begins now, may wait for processes (monotonic seconds)."""
        last_look, ends = self._mind.ladder.for_stop.last_look, self._mind.climb.ends
        begins = now if ends is None else max(now, ends - last_look)
        return min(begins + LOOK_SHARE * last_look, now + LOOK_PATIENCE)

    def tick(self, now: float) -> None:
        """Whatever is due."""
        mind = self._mind
        if self._ends_at is not None and now >= self._ends_at:
            message = f"the run's deadline of {mind.settings.deadline:g} s is over"
            self.stop(InterruptSignal(reason=InterruptReason.TIMEOUT, message=message, triggered_by="deadline"), now)
        while (due := mind.climb.due) is not None and due <= now:
            self._climb(now)
        if mind.signal is None:
            for slot in mind.slots:
                self._tick_slot(slot, now)

    def _tick_slot(self, slot: Slot, now: float) -> None:
        """One executor's own climb: a task of it was told to end, or it was told to go, and did not."""
        due = slot.climb.due if slot.climb is not None else None
        if slot.climb is not None and due is not None and due <= now:
            slot.climb = slot.climb.next(now)
            self._log_rung(slot.climb, [slot])
            self._push(slot, slot.climb.rung)
