"""The tools for tests: a virtual clock, and a fake link to a supervisor."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.model import Event, InterruptReason, InterruptSignal
from runtime.testing import FakeSupervisorLink, real_time, run_real, run_virtual, virtual_time


def test_an_hour_passes_at_once() -> None:
    async def main() -> float:
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time() - before

    started = time.monotonic()
    assert run_virtual(main) == pytest.approx(3600)
    assert time.monotonic() - started < 60


@virtual_time
async def test_timers_fire_in_the_order_of_their_times() -> None:
    fired: list[float] = []
    loop = asyncio.get_running_loop()
    for seconds in (3, 1, 2):
        loop.call_later(seconds, fired.append, seconds)
    await asyncio.sleep(4)
    assert fired == [1, 2, 3]


@virtual_time
async def test_without_a_timer_the_loop_waits_for_other_threads() -> None:
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    threading.Timer(0.01, loop.call_soon_threadsafe, (event.set,)).start()
    await event.wait()
    assert loop.time() == 1000


@real_time
async def test_the_real_clock_runs() -> None:
    started = time.monotonic()
    await asyncio.sleep(0.01)
    assert time.monotonic() - started >= 0.009


@pytest.mark.parametrize("number", [1, 2])
@virtual_time
async def test_fixtures_and_parameters_arrive(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert number in {1, 2}
    assert isinstance(monkeypatch, pytest.MonkeyPatch)


@pytest.mark.parametrize("decorate", [virtual_time, real_time])
def test_a_decorated_test_is_sync_and_keeps_its_name_and_parameters(decorate: Callable[..., Any]) -> None:
    async def test(number: int, *, text: str = "t") -> str:
        """Say."""
        return text * number

    decorated = decorate(test)
    assert not inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(test)
    assert (decorated.__name__, decorated.__doc__) == ("test", "Say.")
    assert decorated(2, text="u") == "uu"


@pytest.mark.parametrize("run", [run_virtual, run_real])
def test_a_task_that_is_left_behind_fails_the_test(run: Callable[..., Any]) -> None:
    async def main() -> None:
        main.task = asyncio.create_task(asyncio.sleep(3600), name="left behind")  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="left behind"):
        run(main)


def test_a_link_interrupts_as_a_supervisor_does() -> None:
    link = FakeSupervisorLink()
    state = ExecutionState(host=link)
    state.raise_if_interrupted()
    first = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="first")
    link.raise_flag(first)
    link.raise_flag()
    with pytest.raises(ExecutionInterrupted) as caught:
        state.raise_if_interrupted()
    assert caught.value.signal == first
    assert [event.kind for event in link.events] == ["interrupt"]
    state.close()


def test_a_link_keeps_what_goes_up() -> None:
    link = FakeSupervisorLink()
    state = ExecutionState(host=link)
    state.save_snapshot({"page": 2})
    state.emit("page", n=2)
    assert link.snapshots == [{"page": 2}]
    assert [type(event) for event in link.events] == [Event]
    state.close()


@virtual_time
async def test_the_example_of_the_module() -> None:
    link = FakeSupervisorLink()
    async with ExecutionState(host=link) as state:
        asyncio.get_running_loop().call_later(3600, link.raise_flag)
        with pytest.raises(ExecutionInterrupted, match="user_cancelled"):
            while True:
                await asyncio.sleep(60)
                await state.check_interrupt()
