"""Executors that not even SIGKILL ends are given up; the run goes on. (Process: chaos/test_uninterruptible.py.)"""

from __future__ import annotations

import pytest

from orchestrator.core import stimuli
from orchestrator.core.abandonment import MOST_ABANDONED
from orchestrator.core.status import Phase
from orchestrator.core.verdicts import UNKILLABLE
from runtime.ipc import executor_protocol
from runtime.model import ExecutionStatus, InterruptReason
from runtime.stop_limits import ABANDON_TIMEOUT, GUARDIAN_TIMEOUT, LOOK_TIMEOUT, SWEEP_TIMEOUT
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun
from tests.unit.orchestrator.core.test_machine_threads import start_all, world_at_work

STOP_LADDER = 3.0  # of tests.unit.orchestrator.core.simulated_run: 1 + 1 + 1

LADDER = 2.0 + ABANDON_TIMEOUT  # of one executor, there


def over_time(world: SimulatedRun) -> None:
    """Let the task that slot 0 executes be over its time, and its executor not end."""
    world.look(beat=world.now)
    world.tick(2.0)
    world.look(beat=world.now)
    world.tick(LADDER)


@pytest.mark.parametrize("retries", [0, 3])
def test_a_task_over_its_time_has_failed_and_is_not_tried_again(retries: int) -> None:
    world = world_at_work(1, workers=1, timeout=2.0, retries=retries)
    over_time(world)
    (outcome,) = world.outcomes[1]
    assert outcome.status is ExecutionStatus.FAILED
    assert outcome.error is not None
    assert outcome.error.startswith("timeout: ")
    assert UNKILLABLE in outcome.error
    assert outcome.signal is not None
    assert outcome.signal.reason is InterruptReason.TIMEOUT
    assert world.attempts == {}


def test_its_slot_gets_another_executor_and_the_run_ends() -> None:
    world = world_at_work(2, workers=1, timeout=2.0)
    over_time(world)
    assert world.executors[0].incarnation == 2
    world.come_up(0)
    assert world.executors[0].tasks == [2]
    world.end_task(0, "completed")
    world.leave(0)
    while world.records:
        world.answer_commit()
    world.answer_sweep()
    assert world.finished
    assert (world.status(1), world.status(2)) == ("failed", "completed")


def test_it_is_named_with_its_process_and_its_tasks() -> None:
    world = world_at_work(1, workers=1, timeout=2.0)
    over_time(world)
    (log,) = world.named("executor.abandoned")
    assert (log.fields["slot"], log.fields["incarnation"], log.fields["pid"]) == (0, 1, 100)
    assert log.fields["keys"] == ["k1"]


def test_what_waited_in_it_goes_to_the_next_one_at_no_cost() -> None:
    world = world_at_work(3, workers=1, concurrency=3, timeout=2.0)
    world.hear(0, executor_protocol.Started(1))
    world.tick(2.0)
    world.tell(stimuli.ProgressSampled([(0, 0.0, world.now)]))
    world.tick(LADDER)
    world.come_up(0)
    assert world.executors[0].tasks == [2, 3]
    assert list(world.outcomes) == [1]


def test_of_one_that_sent_garbage_every_task_may_have_begun() -> None:
    """Its Started and its TaskDone may have been in the garbage, and what it said after that was not believed."""
    world = world_at_work(3, workers=1, concurrency=3)
    world.tell(stimuli.ProtocolErrorDetected(0, 1, "noise"))
    world.hear(0, executor_protocol.Started(1))
    world.tick(LADDER)
    assert {world.status(seq) for seq in (1, 2, 3)} == {"interrupted"}
    assert all(UNKILLABLE in (outcome.error or "") for (outcome,) in world.outcomes.values())
    assert world.machine.state.phase is Phase.FINISHING  # none of them is tried again


def test_a_task_that_is_cancelled_while_its_distrusted_executor_does_not_die_is_not_said_to_be_over() -> None:
    world = world_at_work(1, workers=1)
    world.tell(stimuli.ProtocolErrorDetected(0, 1, "noise"))
    world.tell(stimuli.InterruptRequested(STOP, "k1"))
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(STOP_LADDER)
    (outcome,) = world.outcomes[1]
    assert (outcome.status, outcome.slot) == (ExecutionStatus.INTERRUPTED, 0)
    assert UNKILLABLE in (outcome.error or "")


def test_who_ran_beside_it_waits_for_the_next_start() -> None:
    """A thread of it may be in the same sleep: a second attempt could run beside what is left of the first."""
    world = world_at_work(2, workers=1, concurrency=2, timeout=2.0)
    world.hear(0, executor_protocol.Started(1))
    world.tick(1.0)
    world.hear(0, executor_protocol.Started(2))
    world.hear(0, executor_protocol.LoopBlocked(1, world.now))
    world.tick(1.0)
    world.tell(stimuli.ProgressSampled([(0, 0.0, world.now)]))
    world.tick(LADDER)
    assert (world.status(1), world.status(2)) == ("failed", "interrupted")


def test_a_task_that_a_person_has_interrupted_stays_interrupted() -> None:
    world = world_at_work(2, workers=1)
    start_all(world)
    world.tell(stimuli.InterruptRequested(STOP, "k1"))
    world.tick(LADDER)
    assert world.status(1) == "interrupted"
    assert world.executors[0].incarnation == 2


def test_a_hung_executor_that_is_silent_costs_its_task_this_run() -> None:
    world = world_at_work(1, workers=1, heartbeat_timeout=5.0)
    world.look(beat=world.now)
    world.tick(6.0)
    world.look(beat=world.now - 6.0)
    world.tick(LADDER)
    (outcome,) = world.outcomes[1]
    assert outcome.status is ExecutionStatus.INTERRUPTED
    assert outcome.error is not None
    assert "--heartbeat-timeout" in outcome.error


@pytest.mark.parametrize(("said", "recorded"), [("failed", "failed"), ("interrupted", "interrupted")])
def test_a_task_whose_thread_cannot_be_killed_is_what_it_said(said: str, recorded: str) -> None:
    world = world_at_work(1, workers=1, retries=2)
    signal = STOP if said == "interrupted" else None
    world.end_with_threads(0, said, signal=signal)
    world.tick(LADDER)
    assert world.status(1) == recorded
    assert world.attempts == {}


def test_in_a_stop_it_is_interrupted() -> None:
    world = world_at_work(1, workers=1, timeout=2.0)
    world.look(beat=world.now)
    world.tick(2.0)
    world.look(beat=world.now)
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(STOP_LADDER)
    assert world.status(1) == "interrupted"
    world.answer_commit()
    assert world.swept == 1


def test_its_later_end_is_logged_and_changes_nothing() -> None:
    world = world_at_work(2, workers=1, timeout=2.0)
    over_time(world)
    world.come_up(0)
    world.tick(4.0)
    world.tell(stimuli.ExecutorExited(0, 1, 100, -9, 9.0, 0, 1, "SIGKILL"))
    (log,) = world.named("executor.ended_late")
    assert (log.fields["pid"], log.fields["exit"], log.fields["seconds"]) == (100, "SIGKILL", 4.0)
    assert len(world.outcomes[1]) == 1
    assert world.executors[0].tasks == [2]


def test_too_many_of_them_end_the_run() -> None:
    world = world_at_work(MOST_ABANDONED + 2, workers=1, timeout=2.0)
    for _ in range(MOST_ABANDONED):
        assert world.machine.state.phase is Phase.RUNNING
        over_time(world)
        if world.machine.state.phase is Phase.RUNNING:
            world.come_up(0)
    assert world.machine.state.signal is not None
    assert world.machine.state.signal.reason is InterruptReason.RESOURCE_LIMIT
    assert f"{MOST_ABANDONED} executors cannot be killed" in (world.machine.state.error or "")


def test_those_that_have_ended_since_do_not_count() -> None:
    world = world_at_work(MOST_ABANDONED + 3, workers=1, timeout=2.0)
    for incarnation in range(1, MOST_ABANDONED + 2):
        over_time(world)
        world.tell(stimuli.ExecutorExited(0, incarnation, 100, -9, 9.0, 0, 1, "SIGKILL"))
        world.come_up(0)
    assert world.machine.state.phase is Phase.RUNNING


def test_those_whose_guardian_was_lost_do_not_count() -> None:
    """No guardian reports their ends any more."""
    world = world_at_work(MOST_ABANDONED + 3, workers=1, timeout=2.0)
    for number in range(MOST_ABANDONED + 1):
        over_time(world)
        world.come_up(0)
        if number == MOST_ABANDONED // 2:
            world.tell(stimuli.GuardianLost())
    assert world.machine.state.phase is Phase.RUNNING
    world.tell(stimuli.ExecutorExited(0, 1, 100, -9, 9.0, 0, 1, "SIGKILL"))
    assert not world.named("executor.ended_late")


def test_one_that_dies_slowly_costs_its_task_one_attempt() -> None:
    """Its memory takes seconds to unmap, or its guardian was held meanwhile."""
    assert ABANDON_TIMEOUT > GUARDIAN_TIMEOUT
    world = world_at_work(1, workers=1, timeout=2.0, retries=3)
    world.look(beat=world.now)
    world.tick(2.0)
    world.look(beat=world.now)
    world.tick(2.0 + GUARDIAN_TIMEOUT)
    world.die(0)
    assert not world.named("executor.abandoned")
    assert (world.attempts, world.outcomes) == ({1: 1}, {})


def test_a_stop_does_not_wait_as_long_for_one_that_was_killed_before_it_began() -> None:
    world = world_at_work(1, workers=1, timeout=2.0)
    world.look(beat=world.now)
    world.tick(2.0)
    world.look(beat=world.now)
    world.tick(2.5)
    assert world.killed == [0]
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(STOP_LADDER)
    world.answer_commit()
    assert world.swept == 1


def test_a_task_over_its_time_counts_as_a_failure() -> None:
    world = world_at_work(3, workers=1, timeout=2.0, max_failures={"count": 0})
    over_time(world)
    assert world.machine.state.signal is not None
    assert world.machine.state.signal.reason is InterruptReason.ERROR_THRESHOLD


@pytest.mark.parametrize("dies_at", [0.0, 1.5, 2.4, None])
def test_the_last_look_of_a_stop_is_over_before_its_bound(dies_at: float | None) -> None:
    """Whenever its executor dies; None: never. What is left of the bound is for writing down the end."""
    world = world_at_work(1, workers=1)
    start_all(world)
    began = world.now
    world.tell(stimuli.InterruptRequested(STOP))
    if dies_at is None:
        world.tick(2.5)
    else:
        world.tick(dies_at)
        world.die(0)
    world.answer_commit()
    assert world.swept == 1
    assert world.now < world.sweep_until < began + STOP_LADDER


@pytest.mark.parametrize("stopped", [True, False])
def test_the_last_look_does_not_wait_for_the_end_of_a_ladder_that_nobody_needed(stopped: bool) -> None:
    """The loop itself may have to wait: without a guardian, for a process that cannot be killed."""
    world = world_at_work(1, workers=1, grace=600.0)
    if stopped:
        world.tell(stimuli.InterruptRequested(STOP))
        world.die(0)
    else:
        world.end_task(0, "completed")
        world.leave(0)
    world.answer_commit()
    assert world.swept == 1
    assert world.now < world.sweep_until <= world.now + LOOK_TIMEOUT < world.now + SWEEP_TIMEOUT


def test_a_last_look_that_a_slow_journal_has_delayed_has_its_time_all_the_same() -> None:
    world = world_at_work(1, workers=1)
    start_all(world)
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(STOP_LADDER + 5.0)
    world.answer_commit()
    assert world.now < world.sweep_until < world.now + 0.5
