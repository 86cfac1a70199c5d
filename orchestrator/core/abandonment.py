"""Executors that not even SIGKILL ends: their slots are given up, and the run goes on without them. Pure.

*Theory.* A process in uninterruptible sleep (state D: a disk or a file server that does not answer) ends when the
kernel lets it, perhaps never. SIGKILL is pending, so no code of an agent runs in it again; but the system call that it
waits in may still take effect, at any time. So a task that had begun there is not run again in this run, whatever
retries it has: two attempts of it could write to one file. Its slot gets a new executor. If the disk answers later, the
old one ends at once, and the guardian reaps it.

Every one of them may be followed by another: they are counted while they last, and too many end the run.
"""

from __future__ import annotations

from orchestrator.core import stimuli
from orchestrator.core.lost_tasks import LostTasks
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.transitions import SlotState
from runtime.reasons import InterruptReason
from runtime.statuses import Severity

MOST_ABANDONED = 5
"""Abandoned executors that a run bears at a time; as many as it has workers, if those are more."""

NAMED_KEYS = 10
"""So many of the tasks of one of them are named in the log."""


class Abandonment:
    """Give up executors that the ladder could not end, and notice when one of them ends after all."""

    def __init__(self, state: SupervisorState, lost_tasks: LostTasks, shutdown: ShutdownController) -> None:
        self._state = state
        self._lost_tasks = lost_tasks
        self._shutdown = shutdown
        self._abandoned: dict[tuple[int, int], float] = {}

    def abandon_due(self, now: float) -> None:
        """Give up the slots of all executors whose ladder is at its end."""
        due, self._state.to_abandon = self._state.to_abandon, []
        for slot in due:
            if slot.is_alive:
                self._abandon(slot, now)
        most = max(MOST_ABANDONED, len(self._state.slots))
        if due and len(self._abandoned) >= most and self._state.phase is Phase.RUNNING:
            count = len(self._abandoned)
            problem = f"{count} executors cannot be killed: they wait for a disk or a server that does not answer"
            self._shutdown.abort_run(problem, now, InterruptReason.RESOURCE_LIMIT)

    def _abandon(self, slot: Slot, now: float) -> None:
        where, exit_reason = Slot(slot.number, incarnation=slot.incarnation, pid=slot.pid), slot.exit_reason
        distrusted = slot.state is SlotState.DISTRUSTED
        left = slot.reset()
        if where.pid is not None and self._state.signal is None:  # a stop looks again, and names what is left then
            self._abandoned[where.number, where.incarnation] = now
            self._state.log(
                "executor.abandoned",
                Severity.ERROR,
                slot=where.number,
                incarnation=where.incarnation,
                pid=where.pid,
                keys=[assignment.task.key for assignment in left][:NAMED_KEYS],
                hint=f"see what it waits for: /proc/{where.pid}/stack",
            )
        self._lost_tasks.record_abandoned(left, where, exit_reason, now, distrusted=distrusted)

    def on_guardian_lost(self) -> None:
        """Forget the abandoned executors: without the guardian nothing reports their ends."""
        self._abandoned.clear()

    def on_exited(self, stimulus: stimuli.ExecutorExited, now: float) -> None:
        """Log the end of an executor that was abandoned."""
        since = self._abandoned.pop((stimulus.slot, stimulus.incarnation), None)
        if since is not None:
            self._state.log(
                "executor.ended_late",
                slot=stimulus.slot,
                incarnation=stimulus.incarnation,
                pid=stimulus.pid,
                exit=stimulus.exit_text,
                seconds=round(now - since, 3),
            )
