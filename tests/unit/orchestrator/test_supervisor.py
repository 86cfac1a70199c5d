"""The public block on a FakeBackend: what map, submit, interrupt and the block's end do, in milliseconds."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.testing import FakeBackend
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.model import ExecutionStatus
from tests.support.recorded_log import PATIENCE, RecordedLog

BEGAN = threading.Event()


def double(task_input: int, _state: Any) -> int:
    return 2 * task_input


async def double_soon(task_input: int, state: Any) -> int:
    await state.sleep(0)
    return 2 * task_input


def fail(_input: int, _state: Any) -> None:
    raise ValueError("no")


def wait(_input: int, state: Any) -> None:
    BEGAN.set()
    state.sleep(3600)


def supervisor(backend: FakeBackend | None = None, **options: Any) -> Supervisor:
    BEGAN.clear()
    return Supervisor(
        **{"workers": 2, "log": RecordedLog(), "handle_signals": False, **options}, backend=backend or FakeBackend()
    )


def interrupt_when_begun(running: Supervisor) -> None:
    BEGAN.wait(PATIENCE)
    running.interrupt(message="enough")


@pytest.mark.parametrize("agent", [double, double_soon])
def test_map_yields_every_outcome(agent: Any) -> None:
    with supervisor() as running:
        assert sorted(outcome.value for outcome in running.map(agent, range(100))) == [2 * n for n in range(100)]


def test_submit_returns_a_handle_of_the_result() -> None:
    with supervisor() as running:
        assert running.submit(double, 21).result(PATIENCE) == 42


def test_amap_yields_every_outcome() -> None:
    async def main() -> list[int]:
        async with supervisor() as running:
            return [outcome.value async for outcome in running.amap(double, range(5))]

    assert sorted(asyncio.run(main())) == [0, 2, 4, 6, 8]


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


def test_a_guardian_that_dies_costs_no_result() -> None:
    backend = FakeBackend()
    with supervisor(backend) as running:
        outcomes = running.map(double, range(50))
        first = next(outcomes)
        backend.kill_guardian()
        values = sorted([first.value, *(outcome.value for outcome in outcomes)])
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
