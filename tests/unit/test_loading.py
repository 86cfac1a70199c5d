"""Which agents an executor has: what its tasks need, and no more of the others than a few MiB."""

from __future__ import annotations

from typing import Any

from orchestrator.config import Settings
from orchestrator.instructions import Send
from orchestrator.loading import EAGER_BYTES, LOADED_BYTES, Loading
from orchestrator.mind import Mind
from orchestrator.records import PendingTask
from orchestrator.slots import Assigned, Slot, SlotState
from runtime.wire import Drop, Hire

FOURTH = LOADED_BYTES // 4


class Bench:
    """Loading alone, with one executor that is ready, and six agents of a fourth of what may be."""

    def __init__(self, *, by_name: bool = False) -> None:
        self.mind = Mind(Settings.of(workers=1))
        self.loading = Loading(self.mind)
        self.slot: Slot = self.mind.slots[0]
        self.slot.state = SlotState.READY
        for number in range(6):
            self.mind.agents[number] = Hire(number, by_name, bytes(FOURTH - (1 << 13)))

    def sent(self) -> list[Any]:
        """`+1`: agent 1 is loaded, `-1`: it is dropped."""
        orders = [it.order for it in self.mind.take() if isinstance(it, Send)]
        signs = {Hire: "+", Drop: "-"}
        return [f"{signs[type(order)]}{order.agent}" for order in orders if isinstance(order, (Hire, Drop))]

    def use(self, *agents: int) -> None:
        """Tasks of these agents come to the executor, and end."""
        self.loading.require(self.slot, agents)
        for agent in agents:
            self.assign(agent)
        self.loading.trim()
        for agent in agents:
            del self.slot.assigned[agent + 100]

    def assign(self, agent: int) -> None:
        """A task of this agent is with the executor."""
        task = PendingTask(seq=agent + 100, key=str(agent), input=b"1", encoding="json", attempts=0, agent=agent)
        self.slot.assigned[task.seq] = Assigned(task, 1)


def test_what_is_too_much_is_dropped_the_longest_unused_first() -> None:
    bench = Bench()
    for agent in range(4):
        bench.use(agent)
    bench.use(0)
    assert bench.sent() == ["+0", "+1", "+2", "+3"]
    bench.use(4)
    bench.use(1)
    assert bench.sent() == ["+4", "-1", "+1", "-2"]


def test_what_a_task_of_the_executor_needs_is_not_dropped() -> None:
    bench = Bench()
    for agent in range(4):
        bench.use(agent)
    bench.assign(0)
    bench.sent()
    bench.use(3, 4)
    assert bench.sent() == ["+4", "-1"]


def test_what_is_needed_is_loaded_however_much_it_is() -> None:
    bench = Bench()
    bench.use(*range(6))
    assert bench.sent() == ["+0", "+1", "+2", "+3", "+4", "+5"]


def test_what_was_too_much_and_needed_is_dropped_when_it_is_not() -> None:
    bench = Bench()
    bench.use(*range(6))
    bench.sent()
    bench.loading.trim()
    assert bench.sent() == ["-0", "-1"]


def test_agents_by_name_are_modules_and_stay() -> None:
    bench = Bench(by_name=True)
    for agent in range(6):
        bench.use(agent)
    assert bench.sent() == ["+0", "+1", "+2", "+3", "+4", "+5"]


def test_a_new_executor_gets_the_agents_that_came_last() -> None:
    bench = Bench()
    bench.loading.load_recent(bench.slot)
    bench.loading.trim()
    assert bench.sent() == ["+2", "+3", "+4", "+5"]


def test_a_busy_executor_is_sent_a_large_agent_only_when_it_needs_it() -> None:
    bench = Bench()
    bench.assign(0)
    for number, size in ((7, EAGER_BYTES), (8, EAGER_BYTES + 1)):
        bench.mind.agents[number] = order = Hire(number, by_name=False, source=bytes(size))
        bench.loading.load_new(order)
    assert bench.sent() == ["+7"]
    bench.use(8)
    assert bench.sent() == ["+8"]


def test_an_executor_that_dies_of_an_agent_that_it_needed_first_has_proven_nothing() -> None:
    bench = Bench()
    bench.slot.proven = True
    bench.use(1)
    assert bench.sent() == ["+1"]
    assert not bench.slot.proven
