"""Which agents each executor has loaded: what its tasks need, and of the others no more than a few MiB. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orchestrator.core.instructions import SendOrder
from orchestrator.core.slots import Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.transitions import LoadingEvent, SlotState
from runtime.ipc import executor_protocol

LOADED_BYTES: Final = 16 << 20
"""Beyond so many bytes of agents an executor drops those that none of its tasks needs, the longest unused first."""

AGENT_BYTES: Final = 4096
"""What an agent weighs at least: code and tables, which its source only names."""

EAGER_BYTES: Final = 64 << 10
"""A larger agent would lie, once for each busy executor, in the supervisor's memory until that reads it."""


class Loading:
    """Load agents into executors, and drop them. A dropped one is sent again with the next task that needs it."""

    def __init__(self, state: SupervisorState) -> None:
        self._state = state

    def load_new(self, order: executor_protocol.LoadAgent) -> None:
        """Have every executor that is ready load an agent; a busy one loads a large agent only when it needs that."""
        for slot in self._state.slots:
            is_small = len(order.source) <= EAGER_BYTES
            if order.agent in slot.loaded:  # it was handed in again
                continue
            if slot.state is SlotState.READY and (is_small or not slot.assigned):
                self._send(slot, order)

    def load_recent(self, slot: Slot) -> None:
        """Have a new executor load the agents that came last; the others follow when they are needed."""
        recent: list[executor_protocol.LoadAgent] = []
        size = 0
        for order in reversed(self._state.agents.values()):
            if not order.source:  # no task needs it (agent_needs.py)
                continue
            size += AGENT_BYTES + len(order.source)
            if recent and size > LOADED_BYTES:
                break
            recent.append(order)
        for order in reversed(recent):
            self._send(slot, order)

    def require(self, slot: Slot, agents: Iterable[int]) -> None:
        """Send an executor the agents that it has not loaded and that the tasks it is about to be sent need."""
        needed = dict.fromkeys(agents)
        if len(needed) == len(slot.loaded) == 1 and needed.keys() == slot.loaded.keys():
            return
        for agent in needed:
            if agent in slot.loaded:  # now it is the one that was used last
                slot.loaded[agent] = slot.loaded.pop(agent)
        missing = [self._state.agents[agent] for agent in needed if agent not in slot.loaded]
        if missing and not slot.assigned:
            slot.apply_loading(LoadingEvent.REQUIRE)  # an agent that kills its executor is recognised
        for order in missing:
            self._send(slot, order)

    def _send(self, slot: Slot, order: executor_protocol.LoadAgent) -> None:
        slot.pending_loads += 1
        slot.loaded[order.agent] = AGENT_BYTES + len(order.source)
        slot.loaded_bytes += slot.loaded[order.agent]
        self._state.emit(SendOrder(slot.number, order))

    def trim(self) -> None:
        """Have executors drop agents beyond LOADED_BYTES, but none that a task needs which they were sent."""
        for slot in self._state.slots:
            if slot.loaded_bytes > LOADED_BYTES and slot.state is SlotState.READY:
                self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        needed = {assignment.task.agent for assignment in slot.assigned.values()}
        unneeded = [agent for agent in slot.loaded if agent not in needed and not self._state.agents[agent].by_name]
        for agent in unneeded:
            slot.loaded_bytes -= slot.loaded.pop(agent)
            self._state.emit(SendOrder(slot.number, executor_protocol.Drop(agent)))
            if slot.loaded_bytes <= LOADED_BYTES:
                return
