"""Handing tasks out: how many each executor may hold, and taking back what waits behind a long one. Pure."""

from __future__ import annotations

from orchestrator.instructions import Send, SendControl
from orchestrator.ledger import Ledger
from orchestrator.mind import Mind
from orchestrator.records import PendingTask
from orchestrator.slots import Assigned, Slot, SlotState
from orchestrator.stopping import Stopping
from runtime import wire
from runtime.model import InterruptReason, InterruptSignal

PREFETCH = 0.02
"""Seconds of work that an executor may hold in advance, by the average of the tasks so far."""

MAX_WINDOW = 512
"""Tasks that an executor may hold in advance, however short they are."""

IDLE_BEFORE_REVOKE = 0.05
"""Seconds that an executor may sit on unbegun tasks while another one is idle."""


class Handout:
    """Long tasks one by one; short ones many at a time, so that pipes and frames cost little."""

    def __init__(self, mind: Mind, ledger: Ledger, stopping: Stopping) -> None:
        self._mind = mind
        self._stopping = stopping
        self._ledger = ledger

    def hand_out(self) -> None:
        """Give every executor that has room as much as is good."""
        mind, average = self._mind, self._ledger.task_seconds
        width = mind.width
        ahead = 0 if average is None else min(MAX_WINDOW, int(PREFETCH / max(1e-6, average)))
        for slot in self._idle_first():
            if slot.state is not SlotState.READY or slot.alone or slot.spent or slot.climb is not None:
                continue
            suspect = None if slot.assigned else mind.backlog.take_suspect()
            if suspect is not None:
                slot.alone = True
                self._assign(slot, [suspect])
                continue
            window = min(width + ahead, max(width, slot.window), self._life_left(slot))
            if len(slot.assigned) <= window // 2 or len(slot.assigned) < width:
                slot.window = min(2 * window, width + MAX_WINDOW)
                self._assign(slot, mind.backlog.take(window - len(slot.assigned)))

    def _idle_first(self) -> list[Slot]:
        """What was taken back for an idle executor must not go to the busy one again that had it."""
        slots = self._mind.slots
        idle = [slot for slot in slots if not slot.assigned]
        return [*idle, *(slot for slot in slots if slot.assigned)] if idle else slots

    def _life_left(self, slot: Slot) -> int:
        """How many tasks an executor may still begin before it is replaced."""
        most = self._mind.settings.max_tasks_per_executor
        return MAX_WINDOW * 2 + self._mind.width if most is None else most - slot.executed

    def _assign(self, slot: Slot, tasks: list[PendingTask]) -> None:
        if not tasks:
            return
        orders = []
        for task in tasks:
            attempt = task.attempts + 1
            slot.assigned[task.seq] = Assigned(task, attempt)
            orders.append(
                wire.Task(
                    task.seq,
                    task.key,
                    task.agent,
                    attempt,
                    task.input,
                    task.encoding,
                    task.snapshot,
                    task.snapshot_encoding,
                )
            )
        self._mind.do(Send(slot.number, wire.Tasks(orders)))

    # -- making room --------------------------------------------------------------------------------

    def preempt(self, now: float) -> None:
        """Interrupt a less urgent task for one that waits. Its snapshot is kept, and it goes on later."""
        mind = self._mind
        wanted = mind.backlog.most_urgent
        if not mind.settings.preempt or not wanted or any(slot.climb is not None for slot in mind.slots):
            return
        running = [
            (one.task.priority, -slot.number, slot, one)
            for slot in mind.slots
            if slot.state is SlotState.READY and not slot.alone
            for one in slot.assigned.values()
            if one.task.priority < wanted
        ]
        if running:
            _, _, slot, one = min(running, key=lambda each: each[:2])
            mind.do(SendControl(slot.number, wire.Revoke(len(slot.assigned))))
            message = f"a task of priority {wanted} waits"
            reason = InterruptReason.PRIORITY_OVERRIDE
            signal = InterruptSignal(reason=reason, message=message, triggered_by="priority")
            self._stopping.ask(slot, one, signal, now)

    # -- taking back --------------------------------------------------------------------------------

    def due(self) -> list[float]:
        """When tasks that wait behind a long one may be taken back for an idle executor (monotonic seconds)."""
        return [slot.heard_at + IDLE_BEFORE_REVOKE for slot in self._hoarders()]

    def revoke(self, now: float) -> None:
        """Ask for half of them."""
        for slot in self._hoarders():
            if slot.heard_at + IDLE_BEFORE_REVOKE <= now:
                slot.revoking = True
                self._mind.do(SendControl(slot.number, wire.Revoke(max(1, len(slot.assigned) // 2))))

    def _hoarders(self) -> list[Slot]:
        """Executors that hold more than they execute, while another one has nothing and nothing else waits."""
        mind = self._mind
        width = mind.width
        rich = [slot for slot in mind.slots if len(slot.assigned) > width and not slot.revoking and not slot.alone]
        if not rich or len(mind.backlog):
            return []
        return rich if any(slot.state is SlotState.READY and not slot.assigned for slot in mind.slots) else []
