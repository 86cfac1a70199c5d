"""Handing tasks out: how many each executor may hold, and taking back what waits behind a long one. Pure."""

from __future__ import annotations

import itertools

from orchestrator.core.instructions import SendControl, SendOrder
from orchestrator.core.loading import Loading
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.records import PendingTask
from orchestrator.core.shutdown import ShutdownController
from orchestrator.core.slots import Assignment, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.transitions import Intake, SlotState
from runtime.ipc import executor_protocol
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason

PREFETCH = 0.02
"""Seconds of work that an executor may hold in advance, by the average of the tasks so far."""

MAX_WINDOW = 512
"""Tasks that an executor may hold in advance, however short they are."""

FRAME_BYTES = 16 << 20
"""Bytes of input from which on tasks for one executor travel in several frames: none may be near wire.MAX_FRAME."""

RECLAIM_AFTER_IDLE = 0.02
"""Seconds that an executor may be idle while another one sits on tasks that have not begun."""


class Dispatcher:
    """Send tasks to executors: long ones one by one, short ones many at a time, so that frames cost little."""

    def __init__(
        self, state: SupervisorState, outcomes: OutcomeTracker, shutdown: ShutdownController, loading: Loading
    ) -> None:
        self._state = state
        self._loading = loading
        self._shutdown = shutdown
        self._outcomes = outcomes

    def dispatch(self) -> None:
        """Send every executor that has room as many tasks as pay, and none more than its share."""
        state, average = self._state, self._outcomes.mean_task_seconds
        width = state.concurrency_per_executor
        ahead = 0 if average is None else min(MAX_WINDOW, int(PREFETCH / max(1e-6, average)))
        takers = [slot for slot in self._slots_idle_first() if self._accepts_tasks(slot)]
        if state.queue.has_isolated and self._isolate(takers):
            return
        for left, slot in zip(range(len(takers), 0, -1), takers, strict=True):
            if not len(state.queue):
                break
            share = max(width, -(-len(state.queue) // left))
            suspect = None if slot.assigned else state.queue.take_suspect()
            if suspect is not None:
                self._assign(slot, [suspect], exclusive=True)
                continue
            if self._blocked_by_lower_priority(slot):
                continue
            window = min(width + ahead, max(width, slot.window), self._tasks_until_recycle(slot))
            if len(slot.assigned) <= window // 2 or len(slot.assigned) < width:
                slot.window = min(2 * window, width + MAX_WINDOW)
                self._assign(slot, state.queue.take(min(share, window - len(slot.assigned))))

    def _isolate(self, takers: list[Slot]) -> bool:
        """Send a task that must be the only one of the run, once the others have ended. Returns whether one is."""
        slots, backlog = self._state.slots, self._state.queue
        if any(assignment.exclusive_in_run for slot in slots for assignment in slot.assigned.values()):
            return True
        if not backlog.is_isolating:
            return False
        if takers and not any(slot.assigned for slot in slots):
            suspect = backlog.take_suspect()
            if suspect is not None:
                self._assign(takers[0], [suspect], exclusive=True, sole=True)
        return True

    def _blocked_by_lower_priority(self, slot: Slot) -> bool:
        """Whether the most urgent task would only wait there behind one that it may interrupt."""
        wanted = self._state.queue.most_urgent
        if not wanted or not self._state.settings.preempt or len(slot.assigned) < self._state.concurrency_per_executor:
            return False
        return any(assignment.task.priority < wanted for assignment in self._executing(slot))

    def _executing(self, slot: Slot) -> list[Assignment]:
        """Return the tasks that an executor executes. The others that it was sent have not begun."""
        return list(itertools.islice(slot.assigned.values(), self._state.concurrency_per_executor))

    @staticmethod
    def _accepts_tasks(slot: Slot) -> bool:
        """Whether an executor may be sent a task."""
        is_open = slot.state is SlotState.READY and slot.intake is Intake.OPEN
        return is_open and slot.escalation is None and not slot.is_exclusive

    def _slots_idle_first(self) -> list[Slot]:
        """Return the slots, idle ones first: tasks returned for an idle executor must not go back to the busy one."""
        slots = self._state.slots
        idle = [slot for slot in slots if not slot.assigned]
        return [*idle, *(slot for slot in slots if slot.assigned)] if idle else slots

    def _tasks_until_recycle(self, slot: Slot) -> int:
        """Return how many tasks an executor may still begin before it is replaced."""
        most = self._state.settings.max_tasks_per_executor
        return MAX_WINDOW * 2 + self._state.concurrency_per_executor if most is None else most - slot.executed

    def _assign(self, slot: Slot, tasks: list[PendingTask], *, exclusive: bool = False, sole: bool = False) -> None:
        if not tasks:
            return
        self._loading.require(slot, (task.agent for task in tasks))
        orders: list[executor_protocol.Task] = []
        size = 0
        is_fresh = not slot.executed and not slot.assigned and self._state.concurrency_per_executor == 1
        for task in tasks:
            weight = len(task.input) + len(task.snapshot or b"") + len(task.key)
            if orders and size + weight > FRAME_BYTES:
                self._state.emit(SendOrder(slot.number, executor_protocol.Tasks(orders)))
                orders, size = [], 0
            size += weight
            attempt = task.attempts + 1
            slot.assigned[task.seq] = Assignment(
                task, attempt, exclusive_on_executor=exclusive, exclusive_in_run=sole, is_fresh=is_fresh
            )
            is_fresh = False
            orders.append(
                executor_protocol.Task(
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
        self._state.emit(SendOrder(slot.number, executor_protocol.Tasks(orders)))

    # -- making room --------------------------------------------------------------------------------

    def preempt(self, now: float) -> None:
        """Interrupt a less urgent task for one that waits. Its snapshot is kept, and it continues later."""
        state = self._state
        wanted = state.queue.most_urgent
        if not state.settings.preempt or not wanted or any(slot.escalation is not None for slot in state.slots):
            return
        running = [
            (assignment.task.priority, -slot.number, slot, assignment)
            for slot in state.slots
            if slot.state is SlotState.READY and not slot.is_exclusive
            for assignment in self._executing(slot)
            if assignment.task.priority < wanted
        ]
        if running:
            _, _, slot, assignment = min(running, key=lambda candidate: candidate[:2])
            state.emit(SendControl(slot.number, executor_protocol.ReturnTasks(len(slot.assigned))))
            message = f"a task of priority {wanted} waits"
            reason = InterruptReason.PRIORITY_OVERRIDE
            signal = PlainSignal(reason=reason, message=message, triggered_by="priority")
            self._shutdown.interrupt_task(slot, assignment, signal, now)

    # -- taking back --------------------------------------------------------------------------------

    def due(self) -> list[float]:
        """Return when prefetched tasks of one executor may be reclaimed for an idle one (monotonic seconds)."""
        idle = self._idle_since() if self._slots_with_prefetched() else None
        return [] if idle is None else [idle + RECLAIM_AFTER_IDLE]

    def reclaim_prefetched(self, now: float) -> None:
        """Ask executors to return half of the tasks that wait in them, if another has been idle for long enough."""
        idle = self._idle_since()
        if idle is None or idle + RECLAIM_AFTER_IDLE > now:
            return
        for slot in self._slots_with_prefetched():
            slot.reclaim_pending = True
            self._state.emit(SendControl(slot.number, executor_protocol.ReturnTasks(max(1, len(slot.assigned) // 2))))

    def _idle_since(self) -> float | None:
        """Return when the first of the idle executors ended its last task, None if none is idle."""
        return min(
            (slot.last_seen_at for slot in self._state.slots if not slot.assigned and self._accepts_tasks(slot)),
            default=None,
        )

    def _slots_with_prefetched(self) -> list[Slot]:
        """Return the slots whose executors hold more tasks than they execute, while nothing else waits."""
        state = self._state
        if len(state.queue):
            return []
        width = state.concurrency_per_executor
        return [slot for slot in state.slots if len(slot.assigned) > width and not slot.reclaim_pending]
