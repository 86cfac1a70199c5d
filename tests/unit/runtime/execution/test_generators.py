"""Generators must not outlive their execution."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.event import ExecutionEvent
from runtime.execution.state import ExecutionState
from runtime.testing import FakeSupervisorLink, run_virtual, virtual_time
from tests.unit.runtime.support import settle, state_in_loop


async def forever() -> None:
    await asyncio.Event().wait()


async def slow_to_end() -> None:
    try:
        await forever()
    finally:
        await asyncio.sleep(2)


@virtual_time
async def test_a_finished_one_leaves_by_itself() -> None:
    state = ExecutionState()
    task = asyncio.create_task(asyncio.sleep(1))
    state.register_generator(task)
    assert list(state.active_generators) == [task]
    await task
    await settle()
    assert list(state.active_generators) == []
    assert not state._bells


@virtual_time
async def test_unregistered_is_left_alone() -> None:
    state = ExecutionState()
    task = asyncio.create_task(forever())
    state.register_generator(task)
    state.unregister_generator(task)
    state.unregister_generator(task)
    assert (await state.kill_generators()).killed == 0
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


@virtual_time
async def test_killed_ones_are_awaited() -> None:
    """Their finally has run when kill_generators returns."""
    state = state_in_loop()
    cleaned: list[int] = []

    async def worker() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            cleaned.append(1)

    for _ in range(3):
        state.register_generator(asyncio.create_task(worker()))
    await settle()
    report = await state.kill_generators()
    assert (report.killed, report.survivors, cleaned) == (3, (), [1, 1, 1])


@pytest.mark.parametrize("when", ["before it is registered", "after"])
@virtual_time
async def test_an_interrupt_cancels_them(when: str) -> None:
    state = ExecutionState()
    if when == "before it is registered":
        state.request_interrupt()
    task = asyncio.create_task(forever())
    state.register_generator(task)
    if when == "after":
        state.request_interrupt()
    await asyncio.wait([task])
    assert task.cancelled()
    await state.aclose()


@virtual_time
async def test_one_that_is_registered_beside_a_dying_one_is_cancelled_too() -> None:
    async with state_in_loop() as state:
        state.register_generator(asyncio.create_task(slow_to_end()))
        await settle()
        state.request_interrupt()
        await settle()
        late = asyncio.create_task(forever())
        state.register_generator(late)
        await settle()
        assert late.cancelled()


@virtual_time
async def test_they_are_awaited_although_the_execution_is_cancelled_meanwhile() -> None:
    state = state_in_loop()
    generator = asyncio.create_task(slow_to_end())

    async def handler(data: Any, state: ExecutionState) -> None:
        state.register_generator(generator)
        await settle()

    execution = asyncio.create_task(ExecutionEvent(actor=handler)(None, state))
    asyncio.get_running_loop().call_later(1, execution.cancel)
    await asyncio.wait([execution])
    assert execution.cancelled()
    assert generator.done()


@virtual_time
async def test_cancelled_once_however_many_ask() -> None:
    """A second cancellation would cut its clean-up short."""
    state = state_in_loop()
    cleaned: list[int] = []

    async def worker() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            cleaned.append(1)

    state.register_generator(asyncio.create_task(worker()))
    await settle()
    state.request_interrupt()
    await settle()
    await asyncio.gather(state.kill_generators(), state.kill_generators(), state.aclose())
    assert cleaned == [1]


@virtual_time
async def test_one_in_a_shield_is_cancelled_as_it_leaves() -> None:
    state = state_in_loop()
    committed: list[int] = []

    async def worker() -> None:
        with state.shield():
            await asyncio.sleep(2)
            committed.append(1)
        await forever()

    task = asyncio.create_task(worker())
    state.register_generator(task)
    await settle()
    assert (await state.kill_generators()).killed == 1
    assert committed == [1]
    assert task.cancelled()


def test_one_that_refuses_is_named_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        state = state_in_loop()
        release = asyncio.Event()

        async def stubborn() -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass

        task = asyncio.create_task(stubborn(), name="mule")
        other = asyncio.create_task(forever())
        state.register_generator(task)
        state.register_generator(other)
        await settle()
        report = await state.kill_generators(limit=2)
        assert (report.killed, report.survivors) == (1, ("mule",))
        assert other.cancelled()
        assert asyncio.get_running_loop().time() == pytest.approx(1002)
        await state.aclose()  # not waited for again
        assert asyncio.get_running_loop().time() == pytest.approx(1002)
        release.set()
        await task

    with caplog.at_level(logging.WARNING):
        run_virtual(main)
    assert "mule" in caplog.text


@virtual_time
async def test_they_get_no_longer_than_the_grace() -> None:
    host = FakeSupervisorLink()
    state = state_in_loop(host=host)
    host.rung_at = 1001.5
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await release.wait()

    task = asyncio.create_task(stubborn())
    state.register_generator(task, name="slow")
    await settle()
    assert (await state.kill_generators()).survivors == ("slow",)
    assert asyncio.get_running_loop().time() == pytest.approx(1001.5)
    release.set()
    await task


@virtual_time
async def test_an_async_generator_is_closed() -> None:
    state = ExecutionState()
    closed: list[int] = []

    async def ticks() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(1)

    generator, finished = ticks(), ticks()
    state.register_generator(generator, name="ticks")
    state.register_generator(finished)
    assert await anext(generator) == 1
    assert [tick async for tick in finished] == [1, 2]
    assert state.active_generators == (generator,)
    assert (await state.kill_generators()).killed == 1
    assert closed == [1, 1]


@pytest.mark.parametrize("ending", ["comes to a checkpoint", "unregisters itself"])
def test_an_async_generators_end_is_its_own_business(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with ExecutionState() as state:

            async def ticks() -> AsyncGenerator[int, None]:
                try:
                    yield 1
                finally:
                    state.unregister_generator(generator)
                    if ending == "comes to a checkpoint":
                        await state.check_interrupt()
                    raise OSError("too late")

            generator = ticks()
            state.register_generator(generator, name="ticks")
            assert await anext(generator) == 1
            state.request_interrupt()
            report = await state.kill_generators()
            assert (report.killed, report.survivors) == (1, ())
            gc.collect()  # a task whose exception was never retrieved would be in the log now

    run_virtual(main)
    expected = [] if ending == "comes to a checkpoint" else ["ticks"]
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == expected


@virtual_time
async def test_an_async_generator_that_somebody_iterates_is_reported() -> None:
    state = ExecutionState()

    async def ticks() -> AsyncGenerator[int, None]:
        await forever()
        yield 1

    generator = ticks()
    task = asyncio.ensure_future(anext(generator))
    state.register_generator(generator, name="busy")
    await settle()
    assert (await state.kill_generators()).survivors == ("busy",)
    task.cancel()
    await asyncio.wait([task])


@virtual_time
async def test_what_is_no_generator_is_refused() -> None:
    with pytest.raises(TypeError, match="int"):
        ExecutionState().register_generator(1)  # type: ignore[arg-type]


def test_one_that_fails_as_it_ends_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        state = ExecutionState()

        async def clumsy() -> None:
            try:
                await forever()
            finally:
                raise ValueError("dropped it")

        state.register_generator(asyncio.create_task(clumsy()))
        await settle()
        assert (await state.kill_generators()).killed == 1

    run_virtual(main)
    assert "dropped it" in caplog.text


@pytest.mark.parametrize("how", ["returns", "raises", "is interrupted", "is cancelled"])
@virtual_time
async def test_an_execution_ends_what_was_registered_in_it(how: str) -> None:
    """In a nested event too; what was registered outside lives until the state's end, or the interrupt."""
    state = ExecutionState()
    outside = asyncio.create_task(forever())
    state.register_generator(outside)
    inside: list[asyncio.Task[None]] = []

    def inner(data: object, state: ExecutionState) -> None:
        inside.append(asyncio.create_task(forever()))
        state.register_generator(inside[-1])

    async def actor(data: object, state: ExecutionState) -> None:
        await ExecutionEvent(actor=inner)(None, state)
        assert not inside[0].done()
        if how == "raises":
            raise ValueError
        if how == "is interrupted":
            state.request_interrupt()
        if how != "returns":
            await forever()

    task = asyncio.create_task(ExecutionEvent(actor=actor)(None, state))
    await settle()
    if how == "is cancelled":
        task.cancel()
    await asyncio.wait([task])
    assert inside[0].cancelled()
    assert outside.cancelled() is (how == "is interrupted")
    await state.aclose()
    assert outside.cancelled()


@virtual_time
async def test_killing_from_within_leaves_the_caller_alive() -> None:
    state = ExecutionState()
    other = asyncio.create_task(forever())

    async def worker() -> str:
        await state.kill_generators()
        return "alive"

    task = asyncio.create_task(worker())
    state.register_generator(task)
    state.register_generator(other)
    assert await task == "alive"
    assert other.cancelled()


@virtual_time
async def test_a_raised_interrupt_in_a_generator_is_no_unhandled_error() -> None:
    state = ExecutionState()

    async def worker() -> None:
        await state.sleep(100)

    task = asyncio.create_task(worker())
    state.register_generator(task)
    await settle()
    state.request_interrupt()
    await state.aclose()
    with pytest.raises((ExecutionInterrupted, asyncio.CancelledError)):
        task.result()
