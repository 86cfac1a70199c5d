"""What the machine decides about one task, or one executor, while the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import stimuli
from orchestrator.core.dispatch import FRAME_BYTES
from orchestrator.core.executors import START_FAILURES
from orchestrator.core.outcomes import FOREIGN_SIGTERM_LIMIT
from orchestrator.core.records import NewTask, PendingTask
from orchestrator.core.settings import MaxFailures
from runtime.ipc import executor_protocol, frames, guardian_protocol
from runtime.model import InterruptReason, InterruptSignal
from runtime.stop_limits import LEAVE_TIMEOUT
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun
from tests.unit.orchestrator.core.test_machine import TIMEOUT, started, wind_up

STRAY = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="sent", triggered_by="signal:SIGTERM")


def ask(world: SimulatedRun, key: str, reason: InterruptReason = InterruptReason.CUSTOM) -> None:
    """Interrupt this task."""
    world.tell(
        stimuli.InterruptRequested(InterruptSignal(reason=reason, message="not this one", triggered_by="test"), key)
    )


def with_many_ahead(**settings: Any) -> SimulatedRun:
    """One executor, for which tiny tasks have ended, so that it holds more than it executes."""
    world = SimulatedRun(30, workers=1, fresh=True, **settings)
    world.begin()
    world.come_up(0)
    while len(world.executors[0].tasks) < 3:
        task = world.executors[0].tasks.pop(0)
        world.hear(0, executor_protocol.TaskDone(task, "completed", b"1", "json", None, None, 0.0, 1e-5))
    return world


# -- interrupting one ---------------------------------------------------------------------------------------


def test_a_task_that_waits_is_interrupted_without_ever_running() -> None:
    world = started(2, workers=1)
    ask(world, "k2")
    wind_up(world)
    assert (world.status(1), world.status(2)) == ("completed", "interrupted")
    assert world.outcomes[2][0].attempts == 0
    assert world.named("interrupt.ignored") == []


def test_a_task_that_is_still_in_the_store_is_interrupted_when_it_comes() -> None:
    world = SimulatedRun(3, workers=1)
    world.begin()
    world.come_up(0)
    ask(world, "k3")
    wind_up(world)
    assert [world.status(seq) for seq in (1, 2, 3)] == ["completed", "completed", "interrupted"]


def test_a_task_that_waits_for_its_retry_is_interrupted() -> None:
    world = started(1, workers=1, retries=3)
    world.end_task(0, "failed")
    ask(world, "k1")
    wind_up(world)
    assert world.status(1) == "interrupted"


def test_nobody_knows_such_a_task() -> None:
    world = started(2, workers=1)
    ask(world, "nobody")
    assert len(world.named("interrupt.ignored")) == 1


@pytest.mark.parametrize("reason", [InterruptReason.TIMEOUT, InterruptReason.PRIORITY_OVERRIDE, InterruptReason.CUSTOM])
def test_whoever_asks_for_one_task_to_end_gets_that_whatever_reason_he_gives(reason: InterruptReason) -> None:
    world = started(1, workers=1, retries=3)
    ask(world, "k1", reason)
    signal = InterruptSignal(reason=reason, message="not this one", triggered_by="test")
    world.end_task(0, "interrupted", signal=signal)
    wind_up(world)
    assert world.status(1) == "interrupted"


def test_a_task_that_makes_room_and_is_then_told_to_end_does_not_go_on_later() -> None:
    world = SimulatedRun(1, workers=1, preempt=True, fresh=True)
    world.begin()
    world.come_up(0)
    world.machine.state.sealed = False
    world.pending[2] = PendingTask(2, "k2", b"1", priority=5)
    world.tell(stimuli.TasksAdded(1, 2, [NewTask("k2", b"1", priority=5)]))
    assert [order for _, order in world.controls if isinstance(order, executor_protocol.Interrupt)]
    ask(world, "k1")
    override = InterruptSignal(reason=InterruptReason.PRIORITY_OVERRIDE, message="room", triggered_by="priority")
    world.end_task(0, "interrupted", signal=override)
    world.machine.state.sealed = True
    wind_up(world)
    assert (world.status(1), world.status(2)) == ("interrupted", "completed")


# -- making room --------------------------------------------------------------------------------------------


def urgent(world: SimulatedRun, priority: int = 5) -> int:
    """One more task, which is more urgent than the others. Its number."""
    seq = max(world.pending) + 1
    world.pending[seq] = PendingTask(seq, f"k{seq}", b"1", priority=priority)
    world.tell(stimuli.TasksAdded(seq - 1, seq, [NewTask(f"k{seq}", b"1", priority=priority)]))
    return seq


def test_room_is_made_by_what_runs_and_not_by_what_waits_behind_it() -> None:
    """The one that waited was asked: nothing happened, and the innocent one in front went down the ladder for it."""
    world = with_many_ahead(preempt=True)
    running, *_ = world.executors[0].tasks
    urgent(world)
    asked = [order.task for _, order in world.controls if isinstance(order, executor_protocol.Interrupt)]
    assert asked == [running]


def test_an_urgent_task_is_not_put_behind_the_one_that_it_may_interrupt() -> None:
    world = with_many_ahead(preempt=True)
    seq = urgent(world)
    assert seq not in world.executors[0].tasks


def test_what_comes_back_unbegun_takes_its_ladder_along() -> None:
    world = with_many_ahead()
    last = world.executors[0].tasks[-1]
    ask(world, f"k{last}")
    world.give_back(0, 1)
    world.tick(10)
    assert world.terminated == []


def test_the_ladder_begins_anew_with_the_oldest_that_is_left() -> None:
    """Each of them leaves promptly, one after the other: no executor is sent SIGTERM."""
    world = started(6, workers=1, concurrency=6, asynchronous=True, grace=1.0)
    for seq in range(1, 6):
        ask(world, f"k{seq}")
        world.tick(0.4)
        if seq > 1:
            world.end_task(0, "interrupted", signal=STOP)
    world.end_task(0, "interrupted", signal=STOP)
    world.tick(5)
    assert world.terminated == []
    assert world.executors[0].tasks == [6]


def test_nothing_is_handed_to_an_executor_that_is_being_killed() -> None:
    """Its task ended just after SIGKILL was decided; the next one would have paid for it."""
    world = started(2, workers=1, timeout=2.0)
    world.look(world.now)
    world.tick(2.1)
    world.look(world.now)
    world.tick(2.0)
    assert world.killed == [0]
    world.end_task(0, "interrupted", signal=TIMEOUT)
    assert world.executors[0].tasks == []
    wind_up(world)
    assert world.attempts.get(2) is None


def test_large_inputs_travel_in_several_frames() -> None:
    world = SimulatedRun(4, workers=1, concurrency=4)
    world.pending = {seq: PendingTask(seq, f"k{seq}", bytes(FRAME_BYTES * 2 // 5)) for seq in world.pending}
    sent: list[executor_protocol.Tasks] = []
    send = world._send

    def watch(slot: int, order: executor_protocol.TaskOrder) -> None:
        if isinstance(order, executor_protocol.Tasks):
            sent.append(order)
        send(slot, order)

    world._send = watch  # type: ignore[method-assign]
    world.begin(asynchronous=True)
    world.come_up(0)
    world.answer_fetch()
    assert [len(order.tasks) for order in sent] == [2, 2]


# -- whose fault --------------------------------------------------------------------------------------------


def test_a_task_that_always_ends_by_a_sigterm_from_nowhere_is_taken_for_its_sender() -> None:
    world = started(2, workers=1)
    for _ in range(FOREIGN_SIGTERM_LIMIT):
        assert world.status(1) is None
        world.end_task(0, "interrupted", signal=STRAY)
        world.leave(0)
        world.tick(0.1)
        world.come_up(0)
    assert world.executors[0].tasks == [2]
    wind_up(world)
    assert world.status(1) == "failed"
    assert "10 times" in str(world.outcomes[1][0].error)


def test_crashes_of_an_earlier_start_count() -> None:
    world = SimulatedRun(1, workers=1)
    world.pending = {1: PendingTask(1, "k1", b"1", attempts=2)}
    world.begin()
    world.come_up(0)
    world.answer_fetch()
    world.die(0)
    wind_up(world)
    assert world.status(1) == "failed"
    assert "(3 times)" in str(world.outcomes[1][0].error)


def test_failures_count_before_the_journal_has_confirmed_them() -> None:
    world = started(4, workers=2, max_failures=MaxFailures.parse(1, "max_failures"))
    world.end_task(0, "failed")
    assert world.flags == []
    world.end_task(1, "failed")
    assert [signal.reason for signal in world.flags] == [InterruptReason.ERROR_THRESHOLD]


# -- executors that do not come up ---------------------------------------------------------------------------


def test_busy_executors_that_crash_while_another_agent_is_hired_are_no_broken_environment() -> None:
    world = started(20, workers=START_FAILURES + 1)
    world.tell(stimuli.AgentAdded(1, by_name=True, source=b"m:g"))
    for slot in range(START_FAILURES):
        world.die(slot)
    assert world.flags == []


def test_an_agent_that_kills_whoever_loads_it_does_not_hide_behind_another() -> None:
    world = started(2, workers=1)
    world.tell(stimuli.AgentAdded(1, by_name=True, source=b"m:kills"))
    world.end_task(0, "completed")
    world.die(0)
    for _ in range(START_FAILURES + 2):
        if world.flags:
            break
        world.tick(10)
        if world.executors:
            world.hear(
                0,
                executor_protocol.Ready(frames.VERSION, 100),
                executor_protocol.AgentLoaded(0, "m:f", asynchronous=False, options=b"{}"),
            )
            world.executors[0].hires.clear()
            world.die(0, in_hand=0)
    assert [signal.reason for signal in world.flags] == [InterruptReason.ERROR_THRESHOLD]


def test_an_agent_that_can_be_loaded_no_more_ends_the_run() -> None:
    world = started(9, workers=1, max_tasks_per_executor=1)
    world.end_task(0, "completed")
    world.leave(0)
    for _ in range(START_FAILURES):
        assert world.flags == []
        world.tick(10)
        world.hear(
            0,
            executor_protocol.Ready(frames.VERSION, 100),
            executor_protocol.AgentLoadFailed(0, "cannot load m:f: changed", ""),
        )
        world.executors[0].hires.clear()
        world.leave(0)
    assert [signal.reason for signal in world.flags] == [InterruptReason.ERROR_THRESHOLD]
    assert "changed" in str(world.machine.state.error)


def test_an_executor_that_dies_of_itself_before_it_did_anything_is_started_ever_later() -> None:
    world = SimulatedRun(0, workers=1)
    world.asynchronous = False
    world.tell(stimuli.RunStarted())
    world.tell(stimuli.AgentAdded(0, by_name=True, source=b"m:f"))
    starts: list[float] = []
    for _ in range(4):
        world.come_up(0)
        world.die(0, in_hand=0)
        before = world.now
        while not world.executors:
            world.tick(0.05)
        starts.append(world.now - before)
    assert starts == sorted(starts)
    assert starts[-1] > 0.5


@pytest.mark.parametrize("ready", [False, True])
def test_an_executor_that_never_shows_a_sign_of_life_is_found(ready: bool) -> None:
    world = SimulatedRun(1, workers=1, heartbeat_timeout=2.0)
    world.begin()
    if ready:
        world.come_up(0)
    else:
        world.tell(guardian_protocol.ForkedReport(0, world.executors[0].incarnation, 100))
    for _ in range(10):
        world.tell(stimuli.ProgressSampled([(0, 0.0, 0.0)]))
        world.tick(0.25)
    assert len(world.named("executor.heartbeat_lost")) == 1


def test_an_executor_that_is_not_forked_yet_is_not_silent() -> None:
    """A guardian that is slow to start says nothing of the executors that were ordered."""
    world = SimulatedRun(1, workers=1, heartbeat_timeout=2.0)
    world.begin()
    for _ in range(10):
        world.tell(stimuli.ProgressSampled([(0, 0.0, 0.0)]))
        world.tick(0.25)
    assert world.named("executor.heartbeat_lost") == []


def test_a_guardian_that_is_killed_before_anything_was_asked_of_its_executors_ends_nothing() -> None:
    world = SimulatedRun(0, workers=START_FAILURES + 1)
    world.tell(stimuli.RunStarted())
    for slot in list(world.executors):
        world.hear(slot, executor_protocol.Ready(frames.VERSION, 100 + slot))
    world.tell(stimuli.GuardianLost())
    for slot, executor in list(world.executors.items()):
        del world.executors[slot]
        world.tell(
            stimuli.ExecutorExited(
                slot, executor.incarnation, 0, None, 0.0, 0, 0, "the guardian was killed", with_guardian=True
            )
        )
    assert world.flags == []
    assert len(world.executors) == START_FAILURES + 1


def test_a_guardian_that_dies_again_and_again_ends_the_run() -> None:
    world = SimulatedRun(1, workers=1)
    world.begin()
    for _ in range(START_FAILURES):
        assert world.flags == []
        world.tell(stimuli.GuardianLost())
    assert [signal.reason for signal in world.flags] == [InterruptReason.ERROR_THRESHOLD]


def test_an_innocent_task_is_not_charged_for_one_behind_it_that_was_told_to_end() -> None:
    """It held the interpreter, so that no code in it noticed the interrupt; then SIGKILL came."""
    world = with_many_ahead()
    first, second, *_ = world.executors[0].tasks
    ask(world, f"k{second}")
    world.tick(5)
    assert world.killed == [0]
    world.die(0)
    wind_up(world)
    assert (world.status(first), world.status(second)) == ("completed", "interrupted")
    assert world.attempts.get(first) is None


def test_a_task_that_is_given_back_unbegun_stays_told_to_end() -> None:
    world = with_many_ahead()
    last = world.executors[0].tasks[-1]
    ask(world, f"k{last}")
    world.give_back(0, 1)
    wind_up(world)
    assert world.status(last) == "interrupted"


def test_a_slot_that_fails_for_hours_is_still_tried() -> None:
    world = SimulatedRun(0, workers=1)
    world.asynchronous = False
    world.tell(stimuli.RunStarted())
    world.tell(stimuli.AgentAdded(0, by_name=True, source=b"m:f"))
    world.machine.state.slots[0].failures = 5000
    world.come_up(0)
    world.die(0, in_hand=0)
    world.tick(6)
    assert world.executors


def lose_guardian(world: SimulatedRun) -> None:
    """All executors die with it, one after the other is reported."""
    hands = {slot: (executor.tasks or [0])[0] for slot, executor in world.executors.items()}
    world.tell(stimuli.GuardianLost())
    for slot, in_hand in hands.items():
        gone = world.executors.pop(slot).incarnation
        how = "the guardian was killed"
        world.tell(stimuli.ExecutorExited(slot, gone, 0, None, 0.0, 0, in_hand, how, with_guardian=True))
    world.tick(1)
    for slot in world.executors:
        world.come_up(slot)


def test_tasks_whose_guardian_dies_are_not_charged_before_each_ran_by_itself() -> None:
    """One of them kills it; the neighbours, who die with it each time, are innocent."""
    world = started(3, workers=2)
    losses = 0
    while not world.flags and world.status(2) is None:
        running = {executor.tasks[0]: slot for slot, executor in world.executors.items() if executor.tasks}
        if 2 in running:
            losses += 1
            lose_guardian(world)
        else:
            world.end_task(next(iter(running.values())), "completed")
    wind_up(world)
    assert [world.status(seq) for seq in (1, 2, 3)] == ["completed", "failed", "completed"]
    assert [world.outcomes[seq][0].attempts for seq in (1, 3)] == [1, 1]
    assert losses == 4


def test_at_the_end_of_a_run_there_is_one_ladder() -> None:
    """What hangs at an executor's exit had it twice: its own, and the one of all."""
    world = started(1, workers=1)
    world.end_task(0, "completed")
    world.hear(0, executor_protocol.Leaving())
    world.tick(1.1 * LEAVE_TIMEOUT)
    assert world.terminated == [0]
