"""A task that runs out of memory is tried again alone in its executor, and has a counter of its own for that."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import stimuli
from orchestrator.core.outcomes import MEMORY_LIMIT
from runtime.ipc.executor_protocol import Started
from runtime.model import InterruptReason, InterruptSignal
from tests.unit.orchestrator.core.simulated_run import SimulatedRun

TEXT = "out of memory (the kernel killed the executor, which had used 512 MiB; 1.0 GiB is the limit of all)"
LARGE = InterruptSignal(reason=InterruptReason.RESOURCE_LIMIT, message="large", triggered_by=MEMORY_LIMIT)


def started(tasks: int = 1, *, asynchronous: bool = False, **chosen: Any) -> SimulatedRun:
    world = SimulatedRun(tasks, workers=1, **chosen)
    world.begin(asynchronous=asynchronous)
    world.answer_fetch()
    world.come_up(0)
    return world


def come_back(world: SimulatedRun) -> None:
    """Wait until the slot has an executor again, with a task."""
    while 0 not in world.executors:
        world.tick(0.1)
    world.come_up(0)
    while not world.executors[0].tasks:
        world.tick(0.1)


def test_a_task_that_the_kernel_killed_is_tried_once_more_and_fails() -> None:
    world = started(retries=5)
    world.look(world.now)
    world.die(0, oom=True)
    assert world.outcomes == {}
    (logged,) = world.named("task.out_of_memory")
    assert (logged.fields["times"], logged.fields["error"]) == (1, TEXT)
    come_back(world)
    world.look(world.now)
    world.die(0, oom=True)
    (outcome,) = world.outcomes[1]
    assert (outcome.status, outcome.error, outcome.attempts) == ("failed", TEXT, 1)


def test_a_task_that_was_killed_beside_others_succeeds_alone() -> None:
    world = started()
    world.look(world.now)
    world.die(0, oom=True)
    come_back(world)
    world.end_task(0, "completed")
    assert (world.status(1), world.outcomes[1][0].attempts) == ("completed", 1)


@pytest.mark.parametrize("oom_retries", [0, 3])
def test_the_counter_is_a_setting(oom_retries: int) -> None:
    world = started(oom_retries=oom_retries)
    for _ in range(oom_retries):
        world.look(world.now)
        world.die(0, oom=True)
        assert world.outcomes == {}
        come_back(world)
    world.look(world.now)
    world.die(0, oom=True)
    assert world.status(1) == "failed"


def test_a_sigkill_that_is_no_lack_of_memory_is_a_crash() -> None:
    world = started()
    world.look(world.now)
    world.die(0)
    assert len(world.named("task.crashed")) == 1
    assert world.named("task.out_of_memory") == []


def test_of_several_in_an_executor_each_runs_alone() -> None:
    world = started(2, asynchronous=True, concurrency=2)
    for task in (1, 2):
        world.hear(0, Started(task))
    world.die(0, oom=True)
    come_back(world)
    assert len(world.executors[0].tasks) == 1
    assert world.named("task.out_of_memory") == [], "it is not known which one it was"


def test_a_task_over_the_limit_that_was_not_alone_in_a_new_executor_is_tried_alone() -> None:
    world = started(2, memory_limit=1000)
    world.end_task(0, "completed")
    world.look(world.now)
    world.tell(stimuli.MemoryExceeded(0, 1, 2000))
    world.end_task(0, "interrupted", signal=LARGE)
    assert list(world.outcomes) == [1]
    assert len(world.named("task.out_of_memory")) == 1


def test_a_task_over_the_limit_in_a_new_executor_of_its_own_has_failed() -> None:
    world = started(memory_limit=1000)
    world.look(world.now)
    world.tell(stimuli.MemoryExceeded(0, 1, 2000))
    world.end_task(0, "interrupted", signal=LARGE)
    assert world.status(1) == "failed"
    assert world.named("task.out_of_memory") == []
