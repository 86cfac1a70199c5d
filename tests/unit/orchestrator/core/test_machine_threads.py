"""A task is over when its threads are; only who holds an event loop pays for its time. (Process: test_threads.py.)"""

from __future__ import annotations

from typing import Any

from orchestrator.core import stimuli
from runtime.ipc import executor_protocol
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun

OVER_TIME = InterruptSignal(reason=InterruptReason.TIMEOUT, message="late", triggered_by="timeout")


def world_at_work(tasks: int, **settings: Any) -> SimulatedRun:
    """Every executor is up, and has what it was given."""
    world = SimulatedRun(tasks, **settings)
    world.begin(asynchronous=bool(settings.get("concurrency")))
    for slot in range(world.settings.workers):
        world.come_up(slot)
    while world.fetches:
        world.answer_fetch()
    return world


def start_all(world: SimulatedRun, slot: int = 0) -> None:
    """Its tasks have begun."""
    world.hear(slot, *[executor_protocol.Started(task) for task in world.executors[slot].tasks])


def test_a_failed_task_with_threads_is_neither_recorded_nor_retried_before_they_have_ended() -> None:
    world = world_at_work(1, retries=1)
    (slot,) = [number for number, each in world.executors.items() if each.tasks]
    task = world.end_with_threads(slot, "failed")
    world.tick(0.9)
    assert task not in world.outcomes
    assert world.attempts == {}
    assert [log.fields["key"] for log in world.named("task.threads_left")] == ["k1"]
    world.end_threads(slot)
    assert world.attempts == {1: 1}
    world.tick(0.5)
    assert [each.tasks for each in world.executors.values() if each.tasks] == [[1]]


def test_its_executor_gets_nothing_meanwhile_and_goes_on_afterwards() -> None:
    world = world_at_work(3, workers=1)
    world.end_with_threads(0, "failed")
    assert world.executors[0].tasks == []
    world.end_threads(0)
    assert world.executors[0].tasks == [2]
    assert world.terminated == []


def test_what_waits_in_it_is_taken_back() -> None:
    world = world_at_work(3, workers=1, concurrency=3)
    world.end_with_threads(0, "failed")
    assert world.executors[0].revoked == 3


def test_threads_that_do_not_end_cost_the_executor_by_the_ladder_and_then_the_end_counts() -> None:
    world = world_at_work(2, workers=1, concurrency=2)
    start_all(world)
    world.end_with_threads(0, "failed")
    world.tick(1.0)
    assert world.terminated == [0]
    world.tick(1.0)
    assert world.killed == [0]
    assert world.outcomes == {}
    world.die(0)
    assert world.status(1) == "failed"
    world.come_up(0)
    assert world.executors[0].tasks == [2]  # it was beside it, and pays nothing
    world.end_task(0, "completed")
    assert world.outcomes[2][-1].attempts == 1


def test_tasks_that_come_back_late_do_not_begin_the_ladder_again() -> None:
    """A second SIGTERM would hit the `finally` blocks that the first one began; and SIGKILL would come later."""
    world = world_at_work(3, workers=1, concurrency=3)
    start_all(world)
    world.end_with_threads(0, "failed")
    world.tick(1.5)
    assert world.terminated == [0]
    world.give_back(0, 1)
    world.tick(0.4)
    assert (world.terminated, world.killed) == ([0], [])
    world.tick(0.1)
    assert (world.terminated, world.killed) == ([0], [0])


def test_an_interrupt_of_a_task_that_has_ended_but_for_its_threads_gives_them_no_more_time() -> None:
    world = world_at_work(3, workers=1, concurrency=3)
    start_all(world)
    world.end_with_threads(0, "failed")
    world.tick(0.9)
    world.tell(stimuli.InterruptRequested(STOP, "k1"))
    world.give_back(0, 1)
    world.tick(0.1)
    assert world.terminated == [0]


def test_the_ladder_counts_from_the_oldest_task_that_is_left() -> None:
    world = world_at_work(2, workers=1, concurrency=2)
    start_all(world)
    world.tell(stimuli.InterruptRequested(STOP, "k1"))
    world.tick(0.5)
    world.tell(stimuli.InterruptRequested(STOP, "k2"))
    world.tick(0.6)
    assert world.terminated == [0]
    world.end_task(0, "interrupted", 0, STOP)
    world.tick(0.3)
    assert world.terminated == [0]
    world.tick(0.1)
    assert world.terminated == [0, 0]  # the second task is asked by SIGTERM in its own time
    world.tick(1.0)
    assert world.killed == [0]


def test_threads_that_end_before_the_word_of_their_task_hold_up_nothing() -> None:
    world = world_at_work(1, workers=1)
    world.hear(0, executor_protocol.ThreadsLeft(1, ["tool"], ""), executor_protocol.ThreadsEnded(1))
    world.end_task(0, "failed")
    assert world.status(1) == "failed"


def test_an_outcome_says_when_the_last_thread_ended() -> None:
    world = world_at_work(1, workers=1)
    world.end_with_threads(0, "failed")
    world.tick(0.5)
    world.end_threads(0)
    (outcome,) = world.outcomes[1]
    assert outcome.started_at is not None
    assert outcome.ended_at == outcome.started_at + 1.5


def test_a_stop_records_it_when_its_executor_is_gone() -> None:
    world = world_at_work(1, workers=1)
    world.tell(stimuli.InterruptRequested(STOP))
    world.end_with_threads(0, "interrupted", signal=STOP)
    assert world.outcomes == {}
    world.hear(0, executor_protocol.Leaving())
    world.die(0, 0)
    assert world.status(1) == "interrupted"


def test_one_that_ends_twice_is_not_believed() -> None:
    world = world_at_work(1, workers=1)
    world.end_with_threads(0, "failed")
    world.hear(0, executor_protocol.TaskDone(1, "completed", b"1", "json", None, None, 0.0, 1.0, None))
    assert [log.fields["slot"] for log in world.named("executor.protocol_error")] == [0]


def test_a_task_that_is_asked_for_by_name_while_its_threads_run_does_not_run_again() -> None:
    world = world_at_work(1, workers=1, retries=3)
    world.end_with_threads(0, "failed")
    world.tell(stimuli.InterruptRequested(STOP, "k1"))
    assert world.controls == []
    world.end_threads(0)
    assert world.status(1) == "interrupted"


# -- one loop, several tasks ------------------------------------------------------------------------------


def blocked_world(**settings: Any) -> SimulatedRun:
    """Three tasks on one loop since a moment, each with two seconds."""
    world = world_at_work(3, workers=1, concurrency=3, timeout=2.0, **settings)
    start_all(world)
    return world


def look(world: SimulatedRun) -> None:
    """Shared memory shows no task of an async executor, only a sign of life."""
    world.tell(stimuli.ProgressSampled([(0, 0.0, world.now)]))


def asked(world: SimulatedRun) -> list[int]:
    """Return the tasks that were interrupted."""
    return [order.task for _, order in world.controls if isinstance(order, executor_protocol.Interrupt)]


def test_only_who_holds_the_loop_is_over_its_time() -> None:
    world = blocked_world()
    world.hear(0, executor_protocol.LoopBlocked(2, world.now))
    world.tick(2.5)
    look(world)
    assert asked(world) == [2]


def test_the_clocks_of_the_others_stand_still_meanwhile() -> None:
    world = blocked_world()
    began = world.now
    world.hear(0, executor_protocol.LoopBlocked(2, began))
    world.tick(3.0)
    world.hear(0, executor_protocol.LoopBlocked(2, began, world.now))
    world.tick(1.5)
    look(world)
    assert asked(world) == [2]
    world.tick(1.0)
    look(world)
    assert asked(world) == [2, 1, 3]


def test_who_was_asked_before_it_was_known_runs_again_at_no_cost() -> None:
    world = blocked_world()
    began = world.now
    world.tick(2.0)
    look(world)
    assert asked(world) == [1, 2, 3]
    world.hear(0, executor_protocol.LoopBlocked(2, began + 1))
    for which in (0, 0, 0):
        world.end_task(0, "interrupted", which, OVER_TIME)
    assert {seq: world.status(seq) for seq in (1, 2, 3)} == {1: None, 2: "failed", 3: None}
    assert sorted(world.executors[0].tasks) == [1, 3]
    assert world.attempts == {}


def test_where_nobody_knows_who_held_the_loop_each_runs_alone() -> None:
    world = blocked_world()
    world.tick(2.0)
    look(world)
    world.tick(2.0)
    world.die(0)
    assert world.outcomes == {}
    world.come_up(0)
    assert len(world.executors[0].tasks) == 1
    world.hear(0, executor_protocol.Started(world.executors[0].tasks[0]))
    world.tick(2.0)
    look(world)
    world.end_task(0, "interrupted", 0, OVER_TIME)
    (outcome,) = [known[-1] for known in world.outcomes.values()]
    assert outcome.status is ExecutionStatus.FAILED
    assert outcome.attempts == 1


def test_memory_that_was_measured_before_a_task_began_is_not_held_against_it() -> None:
    world = world_at_work(1, workers=1, memory_limit=1000)
    start_all(world)
    world.tell(stimuli.MemoryExceeded(0, 1, 2000, measured_at=world.now - 1))
    assert asked(world) == []
    world.tell(stimuli.MemoryExceeded(0, 1, 2000, measured_at=world.now))
    assert asked(world) == [1]


def test_of_several_in_an_executor_that_is_too_large_each_runs_alone() -> None:
    world = world_at_work(2, workers=1, concurrency=2, memory_limit=1000)
    start_all(world)
    world.tell(stimuli.MemoryExceeded(0, 1, 2000))
    assert asked(world) == [1, 2]
    large = InterruptSignal(reason=InterruptReason.RESOURCE_LIMIT, message="large", triggered_by="memory-limit")
    for _ in range(2):
        world.end_task(0, "interrupted", 0, large)
    assert world.outcomes == {}
