"""Random histories: whatever happens in whatever order, the rules hold and it comes to an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import history_text, stimuli
from orchestrator.core.records import TERMINAL
from orchestrator.core.replay import comparable, replay
from orchestrator.core.status import Phase
from runtime.ipc import executor_protocol
from runtime.stop_limits import JOURNAL_TIMEOUT, SWEEP_TIMEOUT
from tests.support.described import describe
from tests.support.examples import scaled
from tests.unit.orchestrator.core.simulated_run import STOP, SimulatedRun

SLOTS = 3
_STATUSES = ("completed", "completed", "failed", "interrupted")
_CODES = (-9, -11, 0, 3)


def _comes_up(world: SimulatedRun, slot: int, _: int) -> None:
    if slot in world.executors:
        world.come_up(slot)


def _ends_a_task(world: SimulatedRun, slot: int, number: int) -> None:
    executor = world.executors.get(slot)
    if executor is not None and executor.ready and not executor.hires and executor.tasks:
        which = number % len(executor.tasks)
        status = _STATUSES[number % 4]
        world.hear(slot, executor_protocol.Started(executor.tasks[which]))
        world.end_task(slot, status, which, STOP if status == "interrupted" else None)


def _begins_a_task(world: SimulatedRun, slot: int, number: int) -> None:
    executor = world.executors.get(slot)
    if executor is not None and executor.ready and executor.tasks:
        world.hear(slot, executor_protocol.Started(executor.tasks[number % len(executor.tasks)]))


def _gives_back(world: SimulatedRun, slot: int, number: int) -> None:
    executor = world.executors.get(slot)
    if executor is not None and executor.ready:
        world.give_back(slot, number % 4)


def _dies(world: SimulatedRun, slot: int, number: int) -> None:
    if slot in world.executors:
        world.die(slot, _CODES[number % 4])


def _leaves(world: SimulatedRun, slot: int, _: int) -> None:
    executor = world.executors.get(slot)
    if executor is not None and executor.ready and (executor.retiring or world.flags):
        world.leave(slot)


def _sends_garbage(world: SimulatedRun, slot: int, _: int) -> None:
    executor = world.executors.get(slot)
    if executor is not None:
        world.tell(stimuli.ProtocolErrorDetected(slot, executor.incarnation, "noise"))


def _store_answers(world: SimulatedRun, _slot: int, _number: int) -> None:
    if world.fetches:
        world.answer_fetch()
    if world.records:
        world.answer_commit()


def _time_passes(world: SimulatedRun, _slot: int, number: int) -> None:
    world.tick((0.01, 0.3, 1.0, 3.0)[number % 4])


def _one_task_is_interrupted(world: SimulatedRun, _slot: int, number: int) -> None:
    world.tell(stimuli.InterruptRequested(STOP, f"k{number + 1}"))


def _signal(world: SimulatedRun, _slot: int, number: int) -> None:
    name = ("SIGTERM", "SIGINT")[number % 2]
    world.tell(stimuli.OsSignalReceived(name, user=name == "SIGINT"))


_PEACE: tuple[Callable[[SimulatedRun, int, int], None], ...] = (
    _comes_up, _comes_up, _ends_a_task, _ends_a_task, _begins_a_task, _gives_back, _dies, _leaves, _sends_garbage,
    _store_answers, _store_answers, _time_passes,
)  # fmt: skip
_TROUBLE = (*_PEACE, _one_task_is_interrupted, _signal)

_steps = st.tuples(st.integers(0, 100), st.integers(0, SLOTS - 1), st.integers(0, 11))
_worlds = st.fixed_dictionaries(
    {
        "tasks": st.integers(0, 12),
        "fresh": st.booleans(),
        "retries": st.integers(0, 2),
        "concurrency": st.sampled_from([1, 3]),
        "max_failures": st.one_of(st.none(), st.builds(lambda count: {"count": count}, st.integers(0, 3))),
    }
)


def lived(
    made: dict[str, Any],
    asynchronous: bool,
    steps: list[tuple[int, int, int]],
    events: tuple[Callable[[SimulatedRun, int, int], None], ...],
) -> SimulatedRun:
    """A world in which these things have happened; the world itself checks each instruction."""
    world = SimulatedRun(workers=SLOTS, **made)
    world.begin(asynchronous=asynchronous)
    for what, slot, number in steps:
        if world.finished:
            break
        if world.sweeps:
            world.answer_sweep()
            continue
        events[what % len(events)](world, slot, number)
        state = world.machine.state
        assert state.uncommitted == sum(len(record.outcomes) for record in world.records)
        assert {slot.number for slot in state.alive} <= set(world.executors)
    return world


@settings(max_examples=scaled(150))
@given(_worlds, st.booleans(), st.lists(_steps, max_size=80))
def test_a_stop_ends_in_bounded_time_although_nobody_answers(
    made: dict[str, Any], asynchronous: bool, steps: list[tuple[int, int, int]]
) -> None:
    world = lived(made, asynchronous, steps, _TROUBLE)
    if world.finished:
        return
    world.tell(stimuli.InterruptRequested(STOP))
    world.tick(world.settings.ladder.total + JOURNAL_TIMEOUT + SWEEP_TIMEOUT + 0.1)
    if world.sweeps:
        world.answer_sweep()
    assert world.finished, world.machine.state.phase


@settings(max_examples=scaled(50))
@given(_worlds, st.booleans(), st.lists(_steps, max_size=80))
def test_a_replay_of_a_history_gives_the_same_instructions_and_state(
    made: dict[str, Any], asynchronous: bool, steps: list[tuple[int, int, int]]
) -> None:
    world = lived(made, asynchronous, steps, _TROUBLE)
    read_settings, history = history_text.load(history_text.dump(world.settings, world.machine.history))
    machine, given = replay(read_settings, history)
    assert list(map(comparable, given)) == list(map(comparable, world.given))
    assert machine.due() == world.machine.due()
    assert describe(machine) == describe(world.machine)


@settings(max_examples=scaled(150))
@given(_worlds, st.booleans(), st.lists(_steps, max_size=80))
def test_left_in_peace_every_task_comes_to_its_end(
    made: dict[str, Any], asynchronous: bool, steps: list[tuple[int, int, int]]
) -> None:
    world = lived(made, asynchronous, steps, _PEACE)
    for _ in range(300):
        if world.finished:
            break
        _settle(world)
    assert world.finished, world.machine.state.phase
    state = world.machine.state
    if state.signal is None:
        assert len(world.outcomes) == len(world.pending)
        ends = [str(outcomes[-1].status) for outcomes in world.outcomes.values()]
        assert all(outcomes[-1].status in TERMINAL or "interrupted" in ends for outcomes in world.outcomes.values())
    assert state.phase is Phase.ENDED


def _settle(world: SimulatedRun) -> None:
    """Every executor does what is expected of it."""
    _store_answers(world, 0, 0)
    if world.sweeps:
        world.answer_sweep()
    for slot, executor in list(world.executors.items()):
        if executor.killed:
            world.die(slot)
        elif not executor.ready or executor.hires:
            world.come_up(slot)
        elif executor.tasks and not world.flags:
            world.end_task(slot, "completed")
        elif executor.retiring or world.flags:
            world.leave(slot)
    if not world.finished:
        world.tick(0.3)
