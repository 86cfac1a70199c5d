"""The public block on a FakeBackend: what map, submit, interrupt and the block's end do, in milliseconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.feeding import delivery
from orchestrator.feeding.map_feed import CHUNK_SECONDS, LAST_CHUNK
from orchestrator.testing import FakeBackend
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.model import ExecutionStatus
from tests.support.recorded_log import PATIENCE, RecordedLog
from tests.support.wait import wait_until

BEGAN, GATE = threading.Event(), threading.Event()
EXECUTED: list[int] = []


def double(task_input: int, _state: Any) -> int:
    return 2 * task_input


async def double_soon(task_input: int, state: Any) -> int:
    await state.sleep(0)
    return 2 * task_input


def fail(_input: int, _state: Any) -> None:
    raise ValueError("no")


def copy(task_input: dict[str, Any], _state: Any) -> dict[str, Any]:
    return task_input


def first_waits(task_input: int, _state: Any) -> None:
    if task_input == 0:
        GATE.wait(PATIENCE)


def even_ones_wait(task_input: int, state: Any) -> None:
    EXECUTED.append(task_input)
    if task_input % 2 == 0:
        state.sleep(3600)


def note_execution(task_input: int, _state: Any) -> None:
    EXECUTED.append(task_input)


def wait(_input: int, state: Any) -> None:
    BEGAN.set()
    state.sleep(3600)


def supervisor(backend: FakeBackend | None = None, **options: Any) -> Supervisor:
    BEGAN.clear()
    GATE.clear()
    return Supervisor(
        **{"workers": 2, "log": RecordedLog(), "handle_signals": False, **options}, backend=backend or FakeBackend()
    )


def interrupt_when_begun(running: Supervisor) -> None:
    BEGAN.wait(PATIENCE)
    running.interrupt(message="enough")


@pytest.mark.parametrize("agent", [double, double_soon])
def test_map_yields_every_outcome(agent: Any) -> None:
    with supervisor() as running:
        assert [outcome.value for outcome in running.map(agent, range(100))] == [2 * n for n in range(100)]


def test_submit_returns_a_handle_of_the_result() -> None:
    with supervisor() as running:
        assert running.submit(double, 21).result(PATIENCE) == 42


def test_amap_yields_every_outcome() -> None:
    async def main() -> list[int]:
        async with supervisor() as running:
            return [outcome.value async for outcome in running.amap(double, range(5))]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]


def test_a_failing_task_is_tried_again_and_does_not_fail_the_block() -> None:
    with supervisor(retries=1) as running:
        (outcome,) = running.map(fail, [1])
    assert (outcome.status, outcome.attempts, outcome.error) == (ExecutionStatus.FAILED, 2, "ValueError: no")


def test_an_interrupt_is_raised_where_outcomes_are_waited_for() -> None:
    with pytest.raises(ExecutionInterrupted), supervisor() as running:
        outcomes = running.map(wait, [1, 2, 3])
        threading.Thread(target=interrupt_when_begun, args=[running]).start()
        assert {outcome.status for outcome in outcomes} == {ExecutionStatus.INTERRUPTED}
    assert running.ending is not None
    assert running.ending.status is ExecutionStatus.INTERRUPTED


def test_an_exception_that_leaves_the_block_interrupts_what_runs() -> None:
    with pytest.raises(KeyError), supervisor() as running:
        handle = running.submit(wait, 1)
        assert BEGAN.wait(PATIENCE)
        raise KeyError("the program's own")
    assert handle.outcome(PATIENCE).status is ExecutionStatus.INTERRUPTED


def test_an_outcome_says_which_input_it_is_of() -> None:
    with supervisor() as running:
        inputs = [{"key": "a", "n": 1}, {"key": "b", "n": 2}]
        outcomes = list(running.map(copy, inputs))
        assert [(outcome.key, outcome.index) for outcome in outcomes] == [("a", 0), ("b", 1)]
        assert all(outcome.input is given for outcome, given in zip(outcomes, inputs, strict=True))
        assert repr(outcomes[1]) == "<Outcome key='b' index=1 completed>"
        handle = running.submit(copy, inputs[0], key="c")
        assert (handle.outcome(PATIENCE).index, handle.outcome().input) == (0, inputs[0])


@pytest.mark.parametrize("through", ["map", "amap", "amap of an async iterable"])
def test_map_yields_in_the_order_of_the_inputs(through: str) -> None:

    def inputs() -> Iterator[int]:
        yield 0
        yield from range(1, 20)
        GATE.set()  # after those that could be executed meanwhile
        yield 20

    async def collect(running: Supervisor) -> list[int]:
        source = inputs() if through == "amap" else later(inputs())
        return [outcome.index async for outcome in running.amap(first_waits, source)]

    with supervisor() as running:
        if through == "map":
            indices = [outcome.index for outcome in running.map(first_waits, inputs())]
        else:
            indices = asyncio.run(collect(running))
    assert indices == list(range(21))


@pytest.mark.parametrize("through", ["map_unordered", "amap_unordered"])
def test_map_unordered_yields_as_outcomes_are_committed(through: str) -> None:

    def note(index: int) -> int:
        if index == 2:
            GATE.set()
        return index

    async def collect(running: Supervisor) -> list[int]:
        return [note(outcome.index) async for outcome in running.amap_unordered(first_waits, later(range(3)))]

    with supervisor() as running:
        if through == "map_unordered":
            indices = [note(outcome.index) for outcome in running.map_unordered(first_waits, range(3))]
        else:
            indices = asyncio.run(collect(running))
    assert indices == [1, 2, 0]


async def later(inputs: Iterable[int]) -> AsyncIterator[int]:
    for task_input in inputs:
        await asyncio.sleep(0)
        yield task_input


def test_an_endless_iterable_is_read_a_bounded_number_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first task is slow: what is far behind it is not read before it has ended."""
    monkeypatch.setattr(delivery, "MAX_TASKS", 100)
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            yield read
            read += 1
            if read == 100:
                GATE.set()

    with supervisor() as running:
        outcomes = running.map(first_waits, endless())
        for number in range(1000):
            assert next(outcomes).index == number
            assert read <= number + 2 * 100 + LAST_CHUNK


def test_inputs_that_come_slowly_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input is executed while the next one is waited for, however many have come before."""
    EXECUTED.clear()

    def slow() -> Iterator[int]:
        for number in range(6):
            yield number
            time.sleep(CHUNK_SECONDS * 2)
            if number > 1:
                wait_until(lambda: number in EXECUTED, what="it is executed")  # noqa: B023

    with supervisor() as running:
        assert [outcome.index for outcome in running.map(note_execution, slow())] == list(range(6))


def test_a_stop_yields_what_has_ended_in_order() -> None:
    def interrupt_when_all_have_begun() -> None:
        wait_until(lambda: len(EXECUTED) == 4, what="all have begun")
        running.interrupt(message="enough")

    EXECUTED.clear()
    indices = []
    with pytest.raises(ExecutionInterrupted), supervisor(workers=4) as running:
        outcomes = running.map(even_ones_wait, range(4))
        threading.Thread(target=interrupt_when_all_have_begun).start()
        for outcome in outcomes:
            indices.append((outcome.index, outcome.ok))
    assert indices == [(0, False), (1, True), (2, False), (3, True)]


@pytest.mark.parametrize("through", ["map", "map_unordered"])
def test_map_refuses_an_async_iterable(through: str) -> None:
    with supervisor() as running, pytest.raises(UsageError, match="use amap"):
        getattr(running, through)(double, later([1]))


def test_too_few_keys_for_an_async_iterable_are_an_error() -> None:
    async def collect() -> None:
        async with supervisor() as running:
            with pytest.raises(ValueError, match="fewer keys than inputs"):
                async for _ in running.amap(double, later([1, 2]), keys=["a"]):
                    pass

    asyncio.run(collect())


def test_a_key_that_comes_twice_in_one_map_is_an_error() -> None:
    """It ends the map, also where outcomes of other tasks are waited for in order."""
    with supervisor() as running:
        with pytest.raises(UsageError, match="duplicate key 'a'"):
            list(running.map(even_ones_wait, [0, 1, 3, 5], keys=["a", "b", "c", "a"]))
        running.interrupt()


def test_a_guardian_that_dies_costs_no_result() -> None:
    backend = FakeBackend()
    with supervisor(backend) as running:
        outcomes = running.map(double, range(50))
        first = next(outcomes)
        backend.kill_guardian()
        values = [first.value, *(outcome.value for outcome in outcomes)]
    assert values == [2 * n for n in range(50)]


def test_a_guardian_that_cannot_be_started_fails_the_block() -> None:
    backend = FakeBackend()
    backend.fail_open = OSError(12, "Cannot allocate memory")
    with pytest.raises(QuiesceError, match="guardian cannot be started: Cannot allocate memory"), supervisor(backend):
        pass


def test_processes_that_no_signal_ends_are_in_the_ending() -> None:
    backend = FakeBackend()
    backend.strays = ["4711 (daemon)", "4712 (hung)"]
    backend.unkillable = ["4712 (hung)"]
    with supervisor(backend) as running:
        running.submit(double, 1).result(PATIENCE)
    assert running.ending is not None
    assert list(running.ending.remaining) == ["4712 (hung)"]


def test_a_backend_is_used_once() -> None:
    backend = FakeBackend()
    with supervisor(backend):
        pass
    with pytest.raises(RuntimeError, match="used for one run"), supervisor(backend):
        pass


def test_a_key_comes_once() -> None:
    with supervisor() as running:
        running.submit(wait, 1, key="a")
        with pytest.raises(UsageError, match="duplicate key 'a'"):
            running.submit(double, 1, key="a")
        running.interrupt()
