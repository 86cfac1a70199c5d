"""What the machine decides when the host is taken away: how the ladder fits, and when dispatching pauses."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core import stimuli
from orchestrator.core.instructions import PublishNextRung
from orchestrator.core.status import Phase
from runtime.ipc import executor_protocol
from runtime.model import InterruptReason
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun
from tests.unit.orchestrator.core.test_machine import started, wind_up
from tests.unit.orchestrator.core.test_machine_one_task import with_many_ahead

HOST = "host:test"
GRACES: dict[str, Any] = {"grace": 10.0, "term_grace": 5.0, "kill_patience": 2.0}


def announce(world: SimulatedRun, seconds: float, *, revocable: bool = False) -> None:
    world.tell(stimuli.HostEndAnnounced(seconds, "the host goes", HOST, revocable))


def bound(world: SimulatedRun) -> float | None:
    """Seconds until the last rung of the stop is over."""
    found = world.machine.status(world.now).stop_bound
    return None if found is None else round(found, 3)


def logged(world: SimulatedRun, name: str) -> list[dict[str, Any]]:
    return [dict(event.fields) for event in world.logs if event.name == name]


@pytest.mark.parametrize(("seconds", "total"), [(120, 117), (30, 27), (20, 17), (10, 8), (0, 0), (-5, 0)])
def test_a_notice_stops_the_run_and_the_ladder_takes_what_is_left(seconds: float, total: float) -> None:
    """Less the margin, whether that is more than the graces or less."""
    world = started(4, **GRACES)
    announce(world, seconds)
    (signal,) = world.flags
    assert (signal.reason, signal.triggered_by) == (InterruptReason.SYSTEM_SHUTDOWN, HOST)
    assert bound(world) == total
    wind_up(world)


def test_the_host_grace_does_not_count_where_the_time_is_known() -> None:
    """It is the time between a SIGTERM, which has not come, and SIGKILL."""
    world = started(4, host_grace=4.0, **GRACES)
    announce(world, 120)
    assert bound(world) == 117


def test_a_notice_shortens_a_stop_that_has_begun_and_never_lengthens_it() -> None:
    world = started(4, **GRACES)
    world.tell(stimuli.InterruptRequested(STOP))
    announce(world, 100)
    assert bound(world) == 17
    world.tick(4)
    announce(world, 10)
    assert bound(world) == 8
    (rung,) = [it for it in world.given[-1] if isinstance(it, PublishNextRung)]
    assert rung.at == world.machine.due()
    world.tick(8)
    assert not [slot for slot in world.executors.values() if not slot.killed]


def test_an_expected_end_stops_only_the_dispatching() -> None:
    world = started(6)
    world.tell(stimuli.HostEndExpected("a rebalance", HOST))
    for slot in (0, 1):
        world.end_task(slot, "completed")
    world.tick(30)
    assert not [slot for slot in world.executors.values() if slot.tasks]
    assert not world.flags
    assert logged(world, "dispatch.paused") == [{"message": "a rebalance", "triggered_by": HOST, "running": 2}]
    world.tell(stimuli.HostEndExpected("a rebalance", HOST))
    assert len(logged(world, "dispatch.paused")) == 1
    announce(world, 60)
    assert world.flags
    wind_up(world)


def test_dispatching_takes_back_what_has_not_begun() -> None:
    world = with_many_ahead()
    ahead = len(world.executors[0].tasks)
    world.tell(stimuli.HostEndExpected("a rebalance", HOST))
    orders = [order for _, order in world.controls if isinstance(order, executor_protocol.ReturnTasks)]
    assert orders[-1].count == ahead > 1
    world.give_back(0, ahead)
    world.end_task(0, "completed")
    assert not world.executors[0].tasks


def test_a_withdrawn_end_resumes_the_dispatching() -> None:
    world = started(4)
    world.tell(stimuli.HostEndExpected("a rebalance", HOST))
    for slot in (0, 1):
        world.end_task(slot, "completed")
    world.tell(stimuli.HostEndWithdrawn("it stays", HOST))
    assert all(executor.tasks for executor in world.executors.values())
    assert logged(world, "dispatch.resumed") == [{"message": "it stays", "triggered_by": HOST}]
    for slot in (0, 1):
        world.end_task(slot, "completed")
    wind_up(world)
    assert not world.flags


def test_a_notice_that_may_be_withdrawn_stops_the_run_when_the_ladder_just_fits() -> None:
    world = started(6, **GRACES)
    announce(world, 60, revocable=True)
    world.end_task(0, "completed")
    assert not world.executors[0].tasks
    world.tick(39.9)
    assert not world.flags
    world.tick(0.2)
    assert world.flags
    assert bound(world) == pytest.approx(16.9, abs=0.11)
    wind_up(world)


def test_a_notice_that_is_withdrawn_in_time_costs_nothing() -> None:
    world = started(4, **GRACES)
    announce(world, 60, revocable=True)
    world.tick(30)
    world.tell(stimuli.HostEndWithdrawn("it stays", HOST))
    world.tick(300)
    assert not world.flags
    for slot in (0, 1, 0, 1):
        world.end_task(slot, "completed")
    wind_up(world)


def test_a_withdrawal_comes_too_late_for_a_stop() -> None:
    world = started(4)
    announce(world, 30)
    world.tell(stimuli.HostEndWithdrawn("it stays", HOST))
    assert world.machine.state.phase is Phase.STOPPING
    assert not logged(world, "dispatch.resumed")
    wind_up(world)


def test_a_run_that_is_done_while_it_is_paused_ends() -> None:
    world = started(2)
    world.tell(stimuli.HostEndExpected("a rebalance", HOST))
    for slot in (0, 1):
        world.end_task(slot, "completed")
    wind_up(world)
    assert not world.flags


@pytest.mark.parametrize(
    ("left", "name", "total"),
    [
        (8.0, "SIGUSR1", 6.4),
        (8.0, "SIGTERM", 6.4),
        (60.0, "SIGUSR1", 57.0),
        (60.0, "SIGTERM", 17.0),
        (3600.0, "SIGUSR1", 17.0),
        (0.0, "SIGTERM", 17.0),
    ],
)
def test_the_time_limit_of_a_job_bounds_the_ladder(left: float, name: str, total: float) -> None:
    """A warning before it has the ladder use all of the time, unless so much is left that a person has sent it."""
    world = started(4, stop_on="USR1", host_ends_at=1000.0 + left, **GRACES)
    world.tell(stimuli.OsSignalReceived(name, user=False))
    assert bound(world) == pytest.approx(total)
    wind_up(world)


def test_a_warning_may_have_more_time_than_a_sigterm() -> None:
    world = started(4, stop_on="USR1", host_grace=5.0, host_ends_at=1100.0, **GRACES)
    world.tell(stimuli.OsSignalReceived("SIGUSR1", user=False))
    assert bound(world) == 97
    wind_up(world)


def test_a_run_that_is_drained_stops_when_its_last_task_has_ended() -> None:
    world = started(6)
    world.tell(stimuli.InterruptRequested(STOP, when_idle=True))
    world.tell(stimuli.HostEndWithdrawn("it stays", HOST))  # of another matter
    assert not world.flags
    world.end_task(0, "completed")
    assert not world.executors[0].tasks
    assert not world.flags
    world.end_task(1, "completed")
    assert world.flags
    assert world.machine.state.signal is not None
    wind_up(world)


def test_a_drained_run_whose_last_tasks_were_running_is_complete() -> None:
    world = started(2)
    world.tell(stimuli.InterruptRequested(STOP, when_idle=True))
    for slot in (0, 1):
        world.end_task(slot, "completed")
    wind_up(world)
    assert not world.flags
