"""What the machine decides: stimuli in, instructions out. The world checks the rules at every step."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.config import Settings
from orchestrator.core import stimuli
from orchestrator.core.dispatch import Dispatcher
from orchestrator.core.executors import START_FAILURES
from orchestrator.core.loading import Loading
from orchestrator.core.outcomes import OutcomeTracker
from orchestrator.core.records import NewTask
from orchestrator.core.shutdown import DEBOUNCE, ShutdownController
from orchestrator.core.state import SupervisorState
from orchestrator.core.status import Phase
from orchestrator.core.transitions import SlotState
from runtime.ipc import executor_protocol, frames
from runtime.model import InterruptReason, InterruptSignal
from runtime.stop_limits import LEAVE_TIMEOUT
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun

TIMEOUT = InterruptSignal(reason=InterruptReason.TIMEOUT, message="too long", triggered_by="timeout")


def started(tasks: int, *, asynchronous: bool = False, **settings: Any) -> SimulatedRun:
    """A world whose executors are up and have their first tasks."""
    world = SimulatedRun(tasks, **settings)
    world.begin(asynchronous=asynchronous)
    for slot in list(world.executors):
        world.come_up(slot)
    while world.fetches:
        world.answer_fetch()
    return world


def wind_up(world: SimulatedRun) -> None:
    """Let every executor follow its orders, to the end."""
    for _ in range(10_000):
        if world.finished:
            return
        if world.records:
            world.answer_commit()
        elif world.fetches:
            world.answer_fetch()
        elif world.sweeps:
            world.answer_sweep()
        elif not _step(world):
            world.tick(0.1)
    raise AssertionError("it does not end")


def _step(world: SimulatedRun) -> bool:
    """Something that some executor can do now."""
    for slot, executor in list(world.executors.items()):
        if executor.killed:
            world.die(slot)
        elif not executor.ready or executor.hires:
            world.come_up(slot)
        elif world.flags or (executor.retiring and not executor.tasks):
            world.leave(slot)
        elif executor.tasks:
            world.end_task(slot, "completed")
        else:
            continue
        return True
    return False


# -- the plain course --------------------------------------------------------------------------------------


def test_all_tasks_are_completed_and_everybody_leaves() -> None:
    world = started(50)
    wind_up(world)
    assert [world.status(seq) for seq in range(1, 51)] == ["completed"] * 50
    assert world.machine.state.phase is Phase.ENDED
    assert not world.flags
    assert not world.killed


def test_nothing_to_do_ends_at_once() -> None:
    world = SimulatedRun(0)
    world.begin()
    wind_up(world)
    assert world.finished


def test_executors_are_told_the_agent_before_any_task() -> None:
    world = SimulatedRun(3)
    world.begin()
    world.answer_fetch()
    assert all(not executor.tasks for executor in world.executors.values())
    world.executors[0].ready = True
    world.hear(0, executor_protocol.Ready(frames.VERSION, 100))
    assert world.executors[0].hires == [0]


def test_the_sweep_waits_for_what_is_not_committed() -> None:
    """What was finished must be durable before the last word."""
    world = started(1, workers=1)
    world.end_task(0, "completed")
    world.leave(0)
    assert world.records
    assert world.machine.state.phase is Phase.FINISHING
    world.answer_commit()
    assert world.sweeps == 1


# -- executors that die ------------------------------------------------------------------------------------


def test_a_crash_is_charged_to_the_task_in_hand_and_to_nobody_else() -> None:
    world = started(4, workers=1)
    world.end_task(0, "completed")
    (task,) = world.executors[0].tasks[:1]
    others = world.executors[0].tasks[1:]
    world.die(0, -11)
    assert world.attempts == {task: 1}
    wind_up(world)
    assert world.outcomes[task][0].attempts == 2
    assert all(world.outcomes[other][0].attempts == 1 for other in others)


def test_a_task_that_kills_its_executor_is_failed_in_the_end() -> None:
    world = started(1, workers=1)
    for crash in range(3):
        world.tick(1)
        world.come_up(0)
        assert world.executors[0].tasks == [1], crash
        world.die(0, -11)
    assert world.status(1) == "failed"
    assert "3 times" in (world.outcomes[1][0].error or "")


def test_of_several_in_flight_none_is_blamed_before_it_ran_alone() -> None:
    """A crash with three async tasks begun: each runs alone afterwards, and the innocent keep their attempts."""
    world = started(3, workers=1, concurrency=3, asynchronous=True)
    assert len(world.executors[0].tasks) == 3
    for task in world.executors[0].tasks:
        world.hear(0, executor_protocol.Started(task))
    world.die(0, -11, in_hand=0)
    for _ in range(6):
        world.tick(1)
        if 0 not in world.executors:
            break
        world.come_up(0)
        while world.records:
            world.answer_commit()
        if not world.executors[0].tasks:
            break
        (task,) = world.executors[0].tasks
        world.hear(0, executor_protocol.Started(task))
        if task == 2:
            world.die(0, -11, in_hand=0)
        else:
            world.end_task(0, "completed")
    assert world.outcomes[1][0].attempts == 1
    assert world.outcomes[3][0].attempts == 1
    assert world.status(2) == "failed"


def test_an_environment_in_which_no_executor_comes_up_ends_the_run() -> None:
    world = SimulatedRun(1, workers=1)
    world.begin()
    for _ in range(START_FAILURES):
        world.tick(10)
        world.die(0, 1)
    assert world.machine.state.phase is not Phase.RUNNING
    assert "in a row died" in (world.machine.state.error or "")


def test_an_agent_whose_import_kills_the_executor_ends_the_run() -> None:
    """Ready is not enough: who dies while it loads the agent has not come up."""
    world = SimulatedRun(1, workers=1)
    world.begin()
    for _ in range(START_FAILURES):
        world.tick(10)
        world.executors[0].ready = True
        world.hear(0, executor_protocol.Ready(frames.VERSION, 100))
        world.die(0, 3)
    assert world.machine.state.phase is not Phase.RUNNING
    assert "exit code 3" in (world.machine.state.error or "")


def test_an_executor_of_another_version_is_not_trusted() -> None:
    world = SimulatedRun(1, workers=1)
    world.begin()
    world.executors[0].ready = True
    world.hear(0, executor_protocol.Ready(frames.VERSION + 1, 100))
    assert world.killed == [0]


def test_garbage_ends_the_executor_and_not_the_run() -> None:
    world = started(2, workers=1)
    world.tell(stimuli.ProtocolErrorDetected(0, world.executors[0].incarnation, "noise"))
    assert world.killed == [0]
    wind_up(world)
    assert [world.status(seq) for seq in (1, 2)] == ["completed", "completed"]


def test_what_a_dead_incarnation_still_says_is_not_heard() -> None:
    world = started(1, workers=1)
    old = world.executors[0].incarnation
    world.die(0, -9)
    world.tick(1)
    world.come_up(0)
    world.tell(
        stimuli.RecordsReceived(
            0, old, [executor_protocol.TaskDone(1, "completed", b"1", "json", None, None, 0.0, 1.0)]
        )
    )
    world.tell(stimuli.ExecutorExited(0, old, 100, -9, 1.0, 0, 1, "SIGKILL"))
    assert 1 not in world.outcomes
    assert world.executors[0].tasks == [1]


def test_a_task_that_is_reported_twice_is_recorded_once() -> None:
    world = started(1, workers=1)
    world.end_task(0, "completed")
    world.hear(0, executor_protocol.TaskDone(1, "failed", None, "json", "E", None, 0.0, 1.0))
    assert world.status(1) == "completed"
    assert len(world.outcomes[1]) == 1


# -- stopping ------------------------------------------------------------------------------------------------


def test_the_first_signal_wins_and_the_ladder_is_climbed_by_the_clock() -> None:
    world = started(2)
    world.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    world.tell(stimuli.InterruptRequested(STOP))
    assert [flag.triggered_by for flag in world.flags] == ["signal:SIGTERM"]
    world.tick(0.9)
    assert not world.terminated
    world.tick(0.2)
    assert world.terminated == [0, 1]
    assert not world.killed
    world.tick(1.0)
    assert world.killed == [0, 1]


def test_a_second_press_within_the_debounce_counts_once_and_a_later_one_hurries() -> None:
    world = started(2, grace=100, term_grace=100)
    world.tell(stimuli.OsSignalReceived("SIGINT", user=True))
    world.now += DEBOUNCE * 0.9
    world.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    assert not world.terminated
    world.now += DEBOUNCE
    world.tell(stimuli.OsSignalReceived("SIGINT", user=True))
    assert world.terminated == [0, 1]
    world.now += DEBOUNCE
    world.tell(stimuli.OsSignalReceived("SIGINT", user=True))
    assert world.killed == [0, 1]


def test_a_stop_is_over_at_last_even_if_nobody_ever_answers() -> None:
    """Unkillable executors and a mute guardian: the end does not wait for ever."""
    world = started(4)
    world.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    world.tick(world.settings.ladder.total + 0.01)
    while world.records:
        world.answer_commit()
    assert world.machine.state.phase is Phase.SWEEPING
    world.tick(5)
    world.answer_sweep()
    assert world.finished


def test_what_ends_after_the_stop_keeps_its_verdict() -> None:
    """Completed stays completed, failed stays failed, interrupted waits for the next start."""
    world = started(3, workers=3)
    world.tell(stimuli.InterruptRequested(STOP))
    world.end_task(0, "completed")
    world.end_task(1, "failed")
    world.end_task(2, "interrupted", signal=STOP)
    wind_up(world)
    assert sorted(str(world.status(seq)) for seq in (1, 2, 3)) == ["completed", "failed", "interrupted"]


def test_a_failure_that_may_be_tried_again_is_tried_at_the_next_start() -> None:
    """Not final because of when Ctrl-C was pressed; the attempt that it has used is kept."""
    world = started(1, workers=1, retries=1)
    world.tell(stimuli.InterruptRequested(STOP))
    world.end_task(0, "failed")
    wind_up(world)
    assert world.status(1) is None
    assert world.attempts == {1: 1}


def test_a_stop_while_executors_start() -> None:
    world = SimulatedRun(3)
    world.begin()
    world.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    wind_up(world)
    assert not world.outcomes
    assert world.finished


def test_a_signal_when_all_is_done_changes_nothing() -> None:
    world = started(1, workers=1)
    world.end_task(0, "completed")
    world.answer_commit()
    assert world.machine.state.phase is Phase.FINISHING
    world.tell(stimuli.OsSignalReceived("SIGTERM", user=False))
    assert not world.flags
    wind_up(world)
    assert world.machine.state.signal is None


def test_the_deadline() -> None:
    world = started(2, deadline=30)
    world.tick(29)
    assert not world.flags
    world.tick(2)
    assert [flag.reason for flag in world.flags] == [InterruptReason.TIMEOUT]


def test_a_journal_that_fails_ends_the_run_without_waiting_for_it() -> None:
    world = started(2)
    world.end_task(0, "completed")
    world.tell(stimuli.JournalFailed("the disk is full"))
    for slot in (0, 1):
        world.leave(slot)
    assert world.sweeps == 1
    world.tell(stimuli.JournalFailed("it gave no answer"))
    world.answer_sweep()
    assert world.machine.state.error == "the disk is full"
    assert [log.fields["error"] for log in world.named("journal.failed")] == ["the disk is full"]


@pytest.mark.parametrize(("limit", "stops_after"), [(0, 1), (3, 4)])
def test_too_many_failures_stop_the_run(limit: int, stops_after: int) -> None:
    world = started(50, workers=1, max_failures={"count": limit})
    failed = 0
    while not world.flags:
        world.end_task(0, "failed")
        failed += 1
        while world.records:
            world.answer_commit()
    assert failed == stops_after
    assert world.flags[0].reason is InterruptReason.ERROR_THRESHOLD


def test_a_share_of_failures_counts_from_twenty_tasks_on() -> None:
    world = started(100, workers=1, max_failures={"percent": 50})
    for number in range(19):
        world.end_task(0, "failed")
        while world.records:
            world.answer_commit()
        assert not world.flags, number
    world.end_task(0, "failed")
    assert world.flags


# -- one task -------------------------------------------------------------------------------------------------


def test_a_task_over_its_time_is_asked_then_its_executor_is_taken_down() -> None:
    world = started(2, workers=1, timeout=5)
    world.tick(0.1)
    since = world.now
    world.now += 5
    world.tell(stimuli.ProgressSampled([(1, since, world.now)]))
    assert world.executors[0].asked == [1]
    world.tick(1.1)
    assert world.terminated == [0]
    world.tick(1.1)
    assert world.killed == [0]
    world.die(0)
    assert world.status(1) == "failed"
    assert not world.flags
    wind_up(world)
    assert world.status(2) == "completed"


def test_a_timeout_has_a_grace_of_its_own() -> None:
    world = started(2, workers=1, timeout=5, timeout_grace=0.3)
    since = world.now
    world.now += 5
    world.tell(stimuli.ProgressSampled([(1, since, world.now)]))
    world.tick(0.2)
    assert world.terminated == []
    world.tick(0.2)
    assert world.terminated == [0]
    world.tick(0.8)
    assert world.killed == []
    world.tick(0.2)
    assert world.killed == [0]


def test_a_task_that_a_caller_interrupts_for_its_time_has_the_whole_grace() -> None:
    world = started(2, workers=1, timeout=5, timeout_grace=0.3)
    world.tell(stimuli.InterruptRequested(TIMEOUT, "k1"))
    world.tick(0.9)
    assert world.terminated == []
    world.tick(0.2)
    assert world.terminated == [0]


def test_the_ladder_of_one_task_goes_on_when_another_one_that_was_asked_has_ended() -> None:
    """Two async tasks were asked to end; one does, the other is stuck: it must not be forgotten."""
    world = started(2, workers=1, concurrency=2, asynchronous=True)
    for task in (1, 2):
        world.hear(0, executor_protocol.Started(task))
        world.tell(stimuli.InterruptRequested(TIMEOUT, f"k{task}"))
    world.end_task(0, "interrupted", 0, TIMEOUT)
    world.tick(2.5)
    assert world.terminated == [0]
    assert world.killed == [0]


def test_an_executor_that_leaves_is_seen_to_its_end() -> None:
    """It says Bye and then hangs in what runs at its exit. It has time for that, also where the grace is 0."""
    world = started(2, workers=1, grace=0.0)
    back, world.executors[0].tasks = world.executors[0].tasks, []
    world.hear(0, executor_protocol.TasksReturned(back), executor_protocol.Leaving())
    world.tick(0.9 * LEAVE_TIMEOUT)
    assert not world.killed
    world.tick(0.2 * LEAVE_TIMEOUT + world.machine.state.settings.term_grace)
    assert world.killed == [0]


def test_retries_wait_longer_each_time_and_are_used_up() -> None:
    world = started(1, workers=1, retries=2)
    gaps = []
    for _ in range(2):
        world.end_task(0, "failed")
        at = world.now
        while not world.executors[0].tasks:
            world.tick(0.05)
        gaps.append(world.now - at)
    world.end_task(0, "failed")
    assert world.status(1) == "failed"
    assert world.outcomes[1][0].attempts == 3
    assert gaps[1] > gaps[0] > 0


def test_an_unbegun_task_behind_a_long_one_is_taken_back_for_an_idle_executor() -> None:
    world = started(600)

    def end_short_one(slot: int) -> None:
        task = world.executors[slot].tasks.pop(0)
        world.hear(slot, executor_protocol.TaskDone(task, "completed", b"1", "json", None, None, 0.0, 0.0001))

    for _ in range(40):  # short tasks: the windows grow
        end_short_one(0)
        end_short_one(1)
    assert len(world.executors[0].tasks) > 2
    while world.executors[1].tasks:
        end_short_one(1)
    assert len(world.executors[0].tasks) > 2
    world.tick(0.2)
    assert world.executors[0].revoked > 0
    world.give_back(0, world.executors[0].revoked)
    assert world.executors[1].tasks


def test_tasks_are_taken_back_also_from_who_keeps_reporting() -> None:
    """Tasks that were short have become long: who holds most of them is busy, and says so with each."""
    world = started(600)

    def end_one(slot: int, seconds: float) -> None:
        task = world.executors[slot].tasks.pop(0)
        world.hear(slot, executor_protocol.TaskDone(task, "completed", b"1", "json", None, None, 0.0, seconds))

    for _ in range(40):
        end_one(0, 0.0001)
        end_one(1, 0.0001)
    while world.executors[1].tasks:
        end_one(1, 0.0001)
    assert len(world.executors[0].tasks) > 50
    for _ in range(5):
        world.tick(0.01)
        end_one(0, 0.01)
    assert world.executors[0].revoked > 20
    world.give_back(0, world.executors[0].revoked)
    assert world.executors[1].tasks


def test_who_has_nothing_to_give_back_is_not_asked_again_before_its_next_task_ends() -> None:
    world = started(6, workers=2)
    for slot in (0, 1):  # short tasks: both may hold more than one
        task = world.executors[slot].tasks.pop(0)
        world.hear(slot, executor_protocol.TaskDone(task, "completed", b"1", "json", None, None, 0.0, 0.0001))
    while world.executors[1].tasks:
        task = world.executors[1].tasks.pop(0)
        world.hear(1, executor_protocol.TaskDone(task, "completed", b"1", "json", None, None, 0.0, 0.0001))
    assert len(world.executors[0].tasks) > 1
    world.tick(1)
    assert world.executors[0].revoked > 0
    asked = len(world.controls)
    world.hear(0, executor_protocol.TasksReturned([]))
    world.tick(1)
    assert len(world.controls) == asked


def test_nobody_is_given_more_than_its_share() -> None:
    mind = SupervisorState(Settings.from_options(workers=4))
    stopping = ShutdownController(mind)
    ledger = OutcomeTracker(mind, stopping)
    ledger.mean_task_seconds = 0.00001
    for slot in mind.slots:
        slot.state, slot.window = SlotState.READY, 500
    tasks = [NewTask(f"n{number}", b"1") for number in range(201)]
    mind.agents[0] = executor_protocol.LoadAgent(0, by_name=True, source=b"m:f")
    mind.queue.on_tasks_added(stimuli.TasksAdded(0, len(tasks), tasks), {0})
    Dispatcher(mind, ledger, stopping, Loading(mind)).dispatch()
    assert [len(slot.assigned) for slot in mind.slots] == [51, 50, 50, 50]


def test_a_task_that_needed_long_to_notice_is_named_however_it_ended() -> None:
    world = started(3, workers=3, grace=5.0)
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(1.5)
    world.end_task(0, "completed")
    world.end_task(1, "interrupted", signal=STOP)
    world.die(2)
    slow = {log.fields["slot"]: log.fields["seconds"] for log in world.named("task.slow_to_stop")}
    assert slow == {0: 1.5, 1: 1.5, 2: 1.5}


def test_a_task_that_notices_at_once_is_not_named() -> None:
    world = started(2)
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(0.5)
    world.end_task(0, "interrupted", signal=STOP)
    world.end_task(1, "completed")
    assert world.named("task.slow_to_stop") == []


def test_a_task_whose_executor_had_to_be_killed_says_first_why_it_was_told_to_end() -> None:
    world = started(1, workers=1)
    world.tell(stimuli.InterruptRequested(TIMEOUT, "k1"))
    world.tick(2.1)
    world.die(0)
    assert world.outcomes[1][-1].error == "timeout: too long (ended by exit code -9)"
    world = started(1, workers=1)
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(2.1)
    world.die(0)
    assert world.outcomes[1][-1].error == "custom: enough (ended by exit code -9)"
