"""Working is not silence, and a pause of the whole run is no executor's fault."""

from __future__ import annotations

from typing import Any

from orchestrator.core import stimuli
from orchestrator.core.ladder import Rung
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun


def quiet_world(**settings: Any) -> SimulatedRun:
    """One executor that began its task at 1000 and has shown no heartbeat since."""
    world = SimulatedRun(1, workers=1, heartbeat_timeout=2.0, **settings)
    world.begin()
    world.come_up(0)
    while world.fetches:
        world.answer_fetch()
    world.machine.state.slots[0].pid = 100
    return world


def watch(world: SimulatedRun, seconds: float, *, share: float, began: float = 1000.0) -> None:
    """Look four times a second; of that time the executor has the processor for a share."""
    for _ in range(int(seconds * 4)):
        world.tick(0.25)
        slots = [(1, began, began)]
        quiet = world.machine.slots_without_heartbeat(slots, world.now)
        world.tell(stimuli.ProgressSampled(slots, {slot.number: share * (world.now - began) for slot in quiet}))


def test_an_executor_that_works_without_a_heartbeat_is_left_alone() -> None:
    world = quiet_world()
    watch(world, 100, share=0.05)
    assert world.named("executor.heartbeat_lost") == []


def test_one_that_uses_next_to_nothing_is_found_and_told_which_option_it_was() -> None:
    for share in (0.0, 0.001):
        world = quiet_world()
        watch(world, 3, share=share)
        silent = world.named("executor.heartbeat_lost")[0]
        assert silent.fields["option"] == "--heartbeat-timeout 2"


def test_one_that_waits_for_a_processor_is_not_silent() -> None:
    world = quiet_world()
    for _ in range(40):
        world.tick(0.25)
        world.tell(stimuli.ProgressSampled([(1, 1000.0, 1000.0)], {0: 0.0}, frozenset({0})))
    assert world.named("executor.heartbeat_lost") == []


def test_the_task_limit_bounds_work_without_heartbeats() -> None:
    world = quiet_world(timeout=30.0)
    watch(world, 31, share=1.0)
    assert world.named("executor.heartbeat_lost") == []
    assert world.named("task.interrupting")


def test_the_processor_is_asked_only_of_who_is_quiet() -> None:
    world = quiet_world()
    assert world.machine.slots_without_heartbeat([(1, 1000.0, world.now)], world.now) == []
    assert [slot.number for slot in world.machine.slots_without_heartbeat([(1, 1000.0, 0.0)], world.now + 1.5)] == [0]


def test_after_a_pause_every_executor_has_a_new_window_and_no_task_pays() -> None:
    world = quiet_world(timeout=10.0)
    watch(world, 1, share=0.0)
    world.now += 1000.0
    world.tell(stimuli.SuspensionNoticed(1000.0))
    world.tell(stimuli.ProgressSampled([(1, 1000.0, 1000.0)]))
    watch(world, 1.5, share=0.0)
    assert world.named("executor.heartbeat_lost") == []
    assert world.named("task.interrupting") == []
    watch(world, 2, share=0.0)
    assert len(world.named("executor.heartbeat_lost")) == 1


def test_a_time_limit_goes_on_where_it_was() -> None:
    world = quiet_world(timeout=10.0)
    began = world.now

    def alive() -> None:
        world.tell(stimuli.ProgressSampled([(1, began, world.now)]))

    world.now += 6
    alive()
    world.now += 100
    world.tell(stimuli.SuspensionNoticed(100.0))
    alive()
    world.now += 3.5
    alive()
    assert world.named("task.interrupting") == []
    world.now += 1
    alive()
    assert len(world.named("task.interrupting")) == 1


def test_a_stop_that_is_paused_grants_the_rest_of_its_grace() -> None:
    world = quiet_world()
    world.tell(stimuli.InterruptRequested(STOP))
    world.now += 50.5
    out = world.tell(stimuli.SuspensionNoticed(50.0))
    assert any(type(instruction).__name__ == "PublishNextRung" for instruction in out)
    world.tell(stimuli.TimerFired())
    rungs = [world.machine.state.escalation.rung]
    world.tick(0.6)
    rungs.append(world.machine.state.escalation.rung)
    assert rungs == [Rung.FLAG, Rung.TERM]


def test_the_deadline_is_not_paused() -> None:
    world = quiet_world(deadline=60.0)
    world.now += 100
    world.tell(stimuli.SuspensionNoticed(100.0))
    world.tell(stimuli.TimerFired())
    assert world.machine.state.signal is not None
