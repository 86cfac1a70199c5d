"""Which agents an executor has: what its tasks need, and no more of the others than a few MiB."""

from __future__ import annotations

from typing import Any

from orchestrator.config import Settings
from orchestrator.core import stimuli
from orchestrator.core.agent_needs import KEPT_BYTES
from orchestrator.core.instructions import SendOrder
from orchestrator.core.loading import EAGER_BYTES, LOADED_BYTES, Loading
from orchestrator.core.machine import SupervisorStateMachine
from orchestrator.core.records import NewTask, PendingTask, TaskOutcome
from orchestrator.core.slots import Assignment, Slot
from orchestrator.core.state import SupervisorState
from orchestrator.core.transitions import AgentLoading, SlotState
from runtime.ipc.executor_protocol import Drop, LoadAgent
from runtime.model import ExecutionStatus

FOURTH = LOADED_BYTES // 4


class Bench:
    """Loading alone, with one executor that is ready, and six agents of a fourth of what may be."""

    def __init__(self, *, by_name: bool = False) -> None:
        self.state = SupervisorState(Settings.from_options(workers=1))
        self.loading = Loading(self.state)
        self.slot: Slot = self.state.slots[0]
        self.slot.state = SlotState.READY
        for number in range(6):
            self.state.agents[number] = LoadAgent(number, by_name, bytes(FOURTH - (1 << 13)))

    def sent(self) -> list[Any]:
        """`+1`: agent 1 is loaded, `-1`: it is dropped."""
        orders = [it.order for it in self.state.drain_instructions() if isinstance(it, SendOrder)]
        signs = {LoadAgent: "+", Drop: "-"}
        return [f"{signs[type(order)]}{order.agent}" for order in orders if isinstance(order, (LoadAgent, Drop))]

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
        self.slot.assigned[task.seq] = Assignment(task, 1)


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
        bench.state.agents[number] = order = LoadAgent(number, by_name=False, source=bytes(size))
        bench.loading.load_new(order)
    assert bench.sent() == ["+7"]
    bench.use(8)
    assert bench.sent() == ["+8"]


def test_an_executor_that_dies_of_an_agent_that_it_needed_first_has_proven_nothing() -> None:
    bench = Bench()
    bench.slot.loading = AgentLoading.DONE
    bench.use(1)
    assert bench.sent() == ["+1"]
    assert bench.slot.loading is AgentLoading.PENDING


def spooled(*agents: int) -> stimuli.TasksAdded:
    """Tasks of these agents were handed in."""
    return stimuli.TasksAdded(
        0, len(agents), [NewTask(f"k{seq}", b"1", agent=agent) for seq, agent in enumerate(agents)]
    )


def outcome(seq: int) -> TaskOutcome:
    """A task has ended."""
    return TaskOutcome(seq=seq, key=str(seq), status=ExecutionStatus.COMPLETED, attempts=1)


class Needs:
    """A machine with one large agent that a caller has handed in."""

    def __init__(self, size: int = KEPT_BYTES + 1) -> None:
        self.machine = SupervisorStateMachine(Settings.from_options(workers=1))
        self.source = bytes(size)
        self.hire()

    def hire(self) -> None:
        """A caller hands the agent in."""
        self.tell(stimuli.AgentAdded(0, by_name=False, source=self.source))

    def tell(self, stimulus: stimuli.Stimulus) -> None:
        """At no time in particular."""
        self.machine.handle(stimulus, 0.0)

    def release(self) -> None:
        """A caller has no more tasks of it."""
        self.tell(stimuli.AgentReleased(0))

    def is_kept(self) -> bool:
        """Whether the supervisor could send it to an executor."""
        return self.machine.state.agents[0].source == self.source


def test_the_pickle_of_a_large_agent_goes_with_its_last_task() -> None:
    needs = Needs()
    needs.tell(spooled(0, 0))
    needs.release()
    needs.machine.state.record_outcome(outcome(1), 0)
    assert needs.is_kept()
    needs.machine.state.record_outcome(outcome(2), 0)
    assert not needs.is_kept()
    needs.hire()
    assert needs.is_kept()


def test_a_caller_with_tasks_on_the_way_keeps_it() -> None:
    needs = Needs()
    needs.tell(spooled(0))
    needs.release()
    needs.hire()
    needs.machine.state.record_outcome(outcome(1), 0)
    assert needs.is_kept()
    needs.tell(spooled(0))
    needs.release()
    assert needs.is_kept()
    needs.machine.state.record_outcome(outcome(2), 0)
    assert not needs.is_kept()


def test_a_small_agent_and_those_of_a_resumed_run_are_kept() -> None:
    small = Needs(KEPT_BYTES)
    small.tell(spooled(0))
    small.machine.state.record_outcome(outcome(1), 0)
    small.release()
    assert small.is_kept()
    resumed = Needs()
    resumed.tell(stimuli.RunResumed(5, 5, 0, 0, by_program=True))
    resumed.release()
    assert resumed.is_kept()


def test_a_new_executor_is_not_sent_what_nobody_needs() -> None:
    bench = Bench()
    bench.state.agents[5] = LoadAgent(5, by_name=False, source=b"")
    bench.loading.load_recent(bench.slot)
    assert "+5" not in bench.sent()
