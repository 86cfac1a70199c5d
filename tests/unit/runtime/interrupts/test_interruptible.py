"""The latch, the shield, the guard around an await, and the bell that loops hear."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator

import pytest

from runtime.errors import ExecutionInterrupted, find_interrupt
from runtime.interrupts.interruptible import CancelOnInterrupt, Interruptible
from runtime.model import InterruptReason, InterruptSignal
from runtime.scope import scope
from runtime.testing import FakeSupervisorLink, real_time, run_virtual, virtual_time
from tests.unit.runtime.support import settle

FIRST = InterruptSignal(reason=InterruptReason.TIMEOUT, message="first")
SECOND = InterruptSignal(reason=InterruptReason.CUSTOM, message="second")


def test_first_signal_wins_and_never_changes() -> None:
    state = Interruptible()
    assert state.set_signal(FIRST)
    assert not state.set_signal(SECOND)
    assert state.interrupt_signal is FIRST
    with pytest.raises(ExecutionInterrupted) as caught:
        state.raise_if_interrupted()
    assert (caught.value.signal, caught.value.reason, caught.value.message) == (FIRST, InterruptReason.TIMEOUT, "first")


def test_of_many_threads_one_wins() -> None:
    """Each thread learns correctly whether its signal won."""
    state = Interruptible()
    gate = threading.Barrier(16)
    won: list[InterruptSignal] = []

    def trip(number: int) -> None:
        mine = InterruptSignal(reason=InterruptReason.CUSTOM, message=str(number))
        gate.wait()
        if state.set_signal(mine):
            won.append(mine)

    threads = [threading.Thread(target=trip, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [state.interrupt_signal]


def test_an_interrupt_is_not_an_exception() -> None:
    assert not issubclass(ExecutionInterrupted, Exception)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_waker_is_called_whether_added_before_or_after(when: str) -> None:
    state = Interruptible()
    called: list[int] = []
    if when == "before":
        state.add_waker(lambda: called.append(1))
        state.set_signal(FIRST)
    else:
        state.set_signal(FIRST)
        state.add_waker(lambda: called.append(1))
    assert called == [1]


def test_a_removed_waker_is_not_called() -> None:
    state = Interruptible()
    called: list[int] = []
    remove = state.add_waker(lambda: called.append(1))
    remove()
    remove()
    state.set_signal(FIRST)
    assert called == []


def test_a_waker_that_trips_again_changes_nothing() -> None:
    state = Interruptible()
    state.add_waker(lambda: state.set_signal(SECOND))
    assert state.set_signal(FIRST)
    assert state.interrupt_signal is FIRST


def test_the_flag_of_the_host_is_an_interrupt() -> None:
    """No one calls set_signal: the supervisor's byte is up, and its signal is asked for."""
    host = FakeSupervisorLink()
    state = Interruptible(host)
    state.raise_if_interrupted()
    host.raise_flag(FIRST)
    assert state.is_interrupted
    with pytest.raises(ExecutionInterrupted, match="first"):
        state.raise_if_interrupted()
    assert not state.set_signal(SECOND)


def test_a_local_interrupt_beats_a_later_flag() -> None:
    host = FakeSupervisorLink()
    state = Interruptible(host)
    state.set_signal(FIRST)
    host.raise_flag(SECOND)
    assert state.interrupt_signal is FIRST


# -- shields ------------------------------------------------------------------------------------------------


def test_an_interrupt_in_a_shield_waits_until_it_is_left() -> None:
    state = Interruptible()
    reached = []
    with pytest.raises(ExecutionInterrupted), state.shield():
        state.set_signal(FIRST)
        state.raise_if_interrupted()
        assert state.is_interrupted
        reached.append("end")
    assert reached == ["end"]


def test_the_outermost_shield_counts() -> None:
    state = Interruptible()
    with pytest.raises(ExecutionInterrupted), state.shield():
        with state.shield():
            state.set_signal(FIRST)
        state.raise_if_interrupted()


def test_leaving_a_shield_by_an_exception_does_not_replace_it() -> None:
    state = Interruptible()
    with pytest.raises(ValueError, match="mine"), state.shield():
        state.set_signal(FIRST)
        raise ValueError("mine")


@pytest.mark.parametrize("error", [ExecutionInterrupted(SECOND), asyncio.CancelledError()])
def test_a_shield_in_clean_up_does_not_replace_what_led_to_it(error: BaseException) -> None:
    state = Interruptible()
    state.set_signal(FIRST)
    with pytest.raises(type(error)) as caught:
        try:
            raise error
        finally:
            with state.shield():
                pass
    assert caught.value is error


def test_a_shield_in_the_handling_of_a_failure_is_a_checkpoint() -> None:
    state = Interruptible()
    state.set_signal(FIRST)
    with pytest.raises(ExecutionInterrupted):
        try:
            raise ValueError
        except ValueError:
            with state.shield():
                pass


@virtual_time
async def test_a_shield_that_another_task_leaves_is_left() -> None:
    """An async generator stands in one, and is closed by another task than the one that began to iterate it."""
    state = Interruptible()

    async def generator() -> AsyncGenerator[int, None]:
        with state.shield(), scope("inside"):
            yield 1

    async def iterate() -> None:
        assert await anext(opened) == 1
        await asyncio.create_task(opened.aclose())
        assert not state.is_shielded
        await asyncio.sleep(100)

    opened = generator()
    task = asyncio.create_task(iterate())
    await settle()
    assert not state.shields.covers(task)
    state.cancel(task)
    await asyncio.wait([task])
    assert task.cancelled()


def test_a_shield_is_of_its_own_state_only() -> None:
    shielded, other = Interruptible(), Interruptible()
    other.set_signal(FIRST)
    with shielded.shield(), pytest.raises(ExecutionInterrupted):
        other.raise_if_interrupted()


def test_a_shield_covers_its_own_thread_only() -> None:
    state = Interruptible()
    state.set_signal(FIRST)
    outcome: list[BaseException] = []

    def look() -> None:
        try:
            state.raise_if_interrupted()
        except ExecutionInterrupted as error:
            outcome.append(error)

    with pytest.raises(ExecutionInterrupted), state.shield():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert len(outcome) == 1


# -- the guard around an await ------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "during"])
@virtual_time
async def test_an_await_is_interrupted(when: str) -> None:
    state = Interruptible()
    if when == "before":
        state.set_signal(FIRST)
    else:
        asyncio.get_running_loop().call_later(1, state.set_signal, FIRST)
    with pytest.raises(ExecutionInterrupted, match="first"):
        async with CancelOnInterrupt(state):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual_time
async def test_an_interrupt_after_the_await_is_none_of_the_guards_business() -> None:
    state = Interruptible()
    async with CancelOnInterrupt(state):
        await asyncio.sleep(0)
    state.set_signal(FIRST)
    await settle()


@virtual_time
async def test_a_body_that_ends_as_the_interrupt_comes_keeps_its_result() -> None:
    """The interrupt rings, but the body returns before its next await."""
    state = Interruptible()
    async with CancelOnInterrupt(state):
        await asyncio.sleep(0)
        state.set_signal(FIRST)
    await settle()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual_time
async def test_a_cancellation_from_outside_stays_one() -> None:
    state = Interruptible()

    async def body() -> None:
        async with CancelOnInterrupt(state):
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await settle()
    task.cancel()
    state.set_signal(FIRST)
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_a_timeout_around_the_guard_stays_a_timeout() -> None:
    state = Interruptible()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), CancelOnInterrupt(state):
            await asyncio.Event().wait()


@virtual_time
async def test_nested_guards_cancel_once_and_the_inner_one_tells() -> None:
    state = Interruptible()
    asyncio.get_running_loop().call_later(1, state.set_signal, FIRST)
    seen = []
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            try:
                async with CancelOnInterrupt(state):
                    await asyncio.Event().wait()
            except ExecutionInterrupted as error:
                seen.append(error)
                raise
    assert len(seen) == 1


@virtual_time
async def test_swallowed_inside_the_outer_guard_still_interrupts_its_next_await() -> None:
    state = Interruptible()
    asyncio.get_running_loop().call_later(1, state.set_signal, FIRST)
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            try:
                async with CancelOnInterrupt(state):
                    await asyncio.Event().wait()
            except ExecutionInterrupted:
                pass
            await asyncio.Event().wait()


@virtual_time
async def test_a_shielded_await_is_left_alone_and_its_end_raises() -> None:
    state = Interruptible()
    done = []
    asyncio.get_running_loop().call_later(1, state.set_signal, FIRST)
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            with state.shield():
                await asyncio.sleep(10)
                done.append("committed")
    assert done == ["committed"]


@virtual_time
async def test_an_exception_out_of_a_shield_leaves_the_next_await_interruptible() -> None:
    state = Interruptible()
    asyncio.get_running_loop().call_later(1, state.set_signal, FIRST)
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            try:
                with state.shield():
                    await asyncio.sleep(10)
                    raise ValueError
            except ValueError:
                await asyncio.Event().wait()


@virtual_time
async def test_a_body_that_a_checkpoint_has_told_is_not_cancelled_in_its_clean_up() -> None:
    """The flag is up, a checkpoint raises, and the loop hears of it only while the body is in its finally."""
    state = Interruptible()
    cleaned = []
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            try:
                state.set_signal(FIRST)
                state.raise_if_interrupted()
            finally:
                await asyncio.sleep(1)
                cleaned.append(1)
    assert cleaned == [1]


def test_a_guard_needs_a_task() -> None:
    guard = CancelOnInterrupt(Interruptible())
    with pytest.raises(RuntimeError):
        guard.__aenter__().send(None)


# -- the bell -----------------------------------------------------------------------------------------------


@virtual_time
async def test_the_bell_is_taken_down_with_its_last_callback() -> None:
    state = Interruptible()
    removers = [state.when_interrupted(lambda: None) for _ in range(3)]
    assert len(state._bells) == len(state._wakers) == 1
    for remove in removers:
        remove()
        remove()
    assert not state._bells
    assert not state._wakers


@virtual_time
async def test_callbacks_run_once_and_late_ones_soon() -> None:
    state = Interruptible()
    called: list[str] = []
    state.when_interrupted(lambda: called.append("early"))
    state.set_signal(FIRST)
    state.set_signal(SECOND)
    await settle()
    state.when_interrupted(lambda: called.append("late"))
    assert called == ["early"]
    await settle()
    assert called == ["early", "late"]


@virtual_time
async def test_a_thread_wakes_the_loop() -> None:
    state = Interruptible()
    thread = threading.Thread(target=state.set_signal, args=(FIRST,))
    with pytest.raises(ExecutionInterrupted):
        async with CancelOnInterrupt(state):
            thread.start()
            await asyncio.Event().wait()
    thread.join()


@real_time
async def test_a_signal_handler_wakes_the_loop() -> None:
    state = Interruptible()
    before = signal.signal(signal.SIGUSR2, lambda *_: state.set_signal(FIRST))
    try:
        with pytest.raises(ExecutionInterrupted):
            async with CancelOnInterrupt(state):
                asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGUSR2)
                await asyncio.Event().wait()
    finally:
        signal.signal(signal.SIGUSR2, before)


@real_time
async def test_states_of_one_loop_share_one_reader_of_the_wake_descriptor() -> None:
    """And it is not the reader of other code that watches the same descriptor in the same loop."""
    read, write = os.pipe()
    loop = asyncio.get_running_loop()
    mine: list[str] = []

    def readable() -> None:
        mine.append("readable")
        loop.remove_reader(read)

    loop.add_reader(read, readable)
    hosts = [FakeSupervisorLink(read) for _ in range(3)]
    states = [Interruptible(host) for host in hosts]

    async def wait(state: Interruptible) -> None:
        with pytest.raises(ExecutionInterrupted):
            async with CancelOnInterrupt(state):
                await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        for state in states:
            group.create_task(wait(state))
        await settle()
        for host in hosts:
            host.raise_flag(FIRST)
        os.write(write, b"!")
    with pytest.raises(ExecutionInterrupted):  # a newcomer, long after the descriptor became readable
        async with CancelOnInterrupt(Interruptible(hosts[0])):
            await asyncio.Event().wait()
    assert mine == ["readable"]
    os.close(read)
    os.close(write)


def test_tripping_after_the_loop_is_closed_is_harmless() -> None:
    state = Interruptible()

    async def main() -> None:
        state.when_interrupted(lambda: None)

    run_virtual(main)
    assert state.set_signal(FIRST)


# -- what is behind an exception ----------------------------------------------------------------------------


def test_an_interrupt_is_found_in_groups_and_behind_failing_clean_up() -> None:
    inner = ExecutionInterrupted(FIRST)
    assert find_interrupt(BaseExceptionGroup("g", [ValueError(), BaseExceptionGroup("h", [inner])])) is inner
    hidden = ValueError()
    hidden.__context__ = inner
    assert find_interrupt(hidden) is inner
    assert find_interrupt(ValueError()) is None
    circle = ValueError()
    circle.__cause__ = circle
    assert find_interrupt(circle) is None
