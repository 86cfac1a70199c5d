"""ExecutionState: requests, checkpoints, time limits, sleep, events, snapshots, the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.events.bus import EventBus
from runtime.execution.event import ExecutionEvent
from runtime.execution.state import ExecutionState
from runtime.model import Event, InterruptEvent, InterruptReason, InterruptSignal, Severity
from runtime.testing import FakeSupervisorLink, real_time, run_real, run_virtual, virtual_time
from tests.unit.runtime.support import settle, state_in_loop

FLAGGED = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="flag")


def test_a_request_is_answered_truly_and_kept_whole() -> None:
    state = ExecutionState(state_id="s")
    assert state.request_interrupt(
        reason=InterruptReason.PRIORITY_OVERRIDE, message="m", triggered_by="t", save_checkpoint=False
    )
    assert not state.request_interrupt()
    won = state.interrupt_signal
    assert won is not None
    assert (won.reason, won.message, won.triggered_by, won.save_checkpoint) == (
        InterruptReason.PRIORITY_OVERRIDE,
        "m",
        "t",
        False,
    )
    assert won.triggered_at.tzinfo is not None


def test_a_state_knows_of_a_task_what_it_was_given() -> None:
    state = ExecutionState(key="k", attempt=2, run_id="r", slot=1, input=[1])
    assert (state.key, state.attempt, state.run_id, state.slot, state.input) == ("k", 2, "r", 1, [1])
    state = ExecutionState()
    assert (state.key, state.attempt, state.run_id, state.slot, state.input) == (None, 1, None, None, None)


def test_a_request_in_a_signal_handler() -> None:
    """Without a loop: the next checkpoint sees it."""
    state = ExecutionState()
    before = signal.signal(signal.SIGUSR2, lambda *_: state.request_interrupt(message="handler"))
    try:
        signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(ExecutionInterrupted, match="handler"):
            state.raise_if_interrupted()
    finally:
        signal.signal(signal.SIGUSR2, before)


@virtual_time
async def test_check_interrupt_looks_at_the_flag() -> None:
    state = ExecutionState()
    await state.check_interrupt()
    state.request_interrupt()
    with pytest.raises(ExecutionInterrupted):
        await state.check_interrupt()


# -- the interrupt event ------------------------------------------------------------------------------------


def test_one_interrupt_event_however_many_checkpoints_see_the_flag() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host, state_id="s")
    state.request_interrupt(message="m")
    for _ in range(5):
        with pytest.raises(ExecutionInterrupted):
            state.raise_if_interrupted()
    state.close()
    (event,) = [event for event in host.events if isinstance(event, InterruptEvent)]
    assert (event.signal, event.state_id) == (state.interrupt_signal, "s")


def test_threads_that_see_the_flag_together_publish_one_event() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host)
    gate = threading.Barrier(8)

    def look() -> None:
        gate.wait()
        with pytest.raises(ExecutionInterrupted):
            state.raise_if_interrupted()

    host.raise_flag(FLAGGED)
    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(host.events) == 1


@virtual_time
async def test_a_stream_hears_of_an_interrupt_although_nobody_comes_to_a_checkpoint() -> None:
    state = ExecutionState()
    stream = state.event_bus.stream()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    assert [event.kind async for event in stream] == ["interrupt"]
    await state.aclose()


def test_an_interrupt_nobody_saw_is_published_at_the_end() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host)
    state.request_interrupt()
    assert host.events == []
    state.close()
    state.close()
    assert [event.kind for event in host.events] == ["interrupt"]


@virtual_time
async def test_the_interrupt_event_says_what_is_cancelled_and_saved() -> None:
    state = ExecutionState()
    stream = state.event_bus.stream()
    state.save_snapshot({"page": 3})
    state.register_generator(asyncio.create_task(asyncio.Event().wait(), name="ticker"))
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel(name="fetch") as group:
            group.add(asyncio.Event().wait)
            group.add(asyncio.Event().wait)
            await group.gather()
    events = [event async for event in stream]
    data = events[-1].data
    assert data["snapshot_saved"] is True
    assert data["cancels"] == ["ticker", "2 of fetch"]
    assert InterruptSignal.model_validate(data["signal"]) == state.interrupt_signal
    await state.aclose()


# -- time limits --------------------------------------------------------------------------------------------


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_sync_agent_meets_its_time_limit_at_a_checkpoint() -> None:
    """No event loop and no timer thread."""
    clock = Clock()
    threads = threading.active_count()
    state = ExecutionState(clock=clock)
    state.set_timeout(10, "too slow")
    clock.now = 59.9
    looks = [state.is_interrupted]
    state.raise_if_interrupted()
    clock.now = 60.0
    looks.append(state.is_interrupted)
    assert looks == [False, True]
    with pytest.raises(ExecutionInterrupted, match="timeout: too slow"):
        state.raise_if_interrupted()
    state.cancel_timeout()  # too late
    assert state.is_interrupted
    assert threading.active_count() <= threads


def test_a_time_limit_can_be_cancelled_and_armed_anew() -> None:
    clock = Clock()
    state = ExecutionState(clock=clock)
    state.cancel_timeout()
    state.set_timeout(10)
    state.cancel_timeout()
    clock.now = 70.0
    state.raise_if_interrupted()
    state.set_timeout(10)
    state.set_timeout(20)
    clock.now = 85.0
    state.raise_if_interrupted()
    clock.now = 90.0
    with pytest.raises(ExecutionInterrupted, match="timed out after 20 s"):
        state.raise_if_interrupted()


@pytest.mark.parametrize("undo", [lambda state: state.cancel_timeout(), lambda state: state.set_timeout(100)])
def test_a_time_limit_that_is_over_stays_over(undo: Callable[[ExecutionState], None]) -> None:
    """Although no checkpoint has raised: who has seen the flag up must not see it down again."""
    clock = Clock()
    state = ExecutionState(clock=clock)
    state.set_timeout(10, "too slow")
    clock.now += 11
    assert state.is_interrupted
    undo(state)
    with pytest.raises(ExecutionInterrupted, match="timeout: too slow"):
        state.raise_if_interrupted()


@pytest.mark.parametrize(("seconds", "interrupted"), [(9, False), (11, True)])
def test_a_time_limit_ends_with_the_execution(seconds: int, interrupted: bool) -> None:
    """What has ended in time is not interrupted later; what has not has its event, although no code looked."""
    clock, host = Clock(), FakeSupervisorLink()
    state = ExecutionState(clock=clock, host=host)
    state.set_timeout(10)
    clock.now += seconds
    state.close()
    clock.now += 100
    assert state.is_interrupted is interrupted
    assert len(host.events) == interrupted


def test_a_time_limit_of_nothing_is_over_at_once_and_nan_is_refused() -> None:
    state = ExecutionState()
    with pytest.raises(ValueError, match="NaN"):
        state.set_timeout(float("nan"))
    state.set_timeout(float("inf"))
    state.raise_if_interrupted()
    state.set_timeout(0)
    with pytest.raises(ExecutionInterrupted):
        state.raise_if_interrupted()


def test_a_time_limit_does_not_undo_an_interrupt() -> None:
    state = ExecutionState()
    state.request_interrupt(message="first")
    state.set_timeout(100)
    state.cancel_timeout()
    with pytest.raises(ExecutionInterrupted, match="first"):
        state.raise_if_interrupted()


def test_under_a_time_limit_the_supervisors_flag_still_tells_its_own_reason() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host)
    state.set_timeout(100)
    host.raise_flag(FLAGGED)
    with pytest.raises(ExecutionInterrupted, match="system_shutdown: flag"):
        state.raise_if_interrupted()


@pytest.mark.parametrize("when", ["before the loop", "in the loop", "while it sleeps"])
def test_a_time_limit_wakes_an_async_agent(when: str) -> None:
    early = ExecutionState()
    if when == "before the loop":
        early._clock = lambda: 1000.0
        early.set_timeout(3)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        early._clock = loop.time
        if when == "in the loop":
            early.set_timeout(3)
        elif when == "while it sleeps":
            loop.call_later(1, early.set_timeout, 2)
        with pytest.raises(ExecutionInterrupted, match="timed out"):
            await early.sleep(100)
        await early.aclose()
        return loop.time()

    assert run_virtual(main) == pytest.approx(1003.0)


@virtual_time
async def test_a_time_limit_that_was_cancelled_leaves_no_timer() -> None:
    state = state_in_loop()
    state.set_timeout(3)
    asyncio.get_running_loop().call_later(1, state.cancel_timeout)
    await state.sleep(10)


@real_time
async def test_a_time_limit_set_by_a_thread_wakes_the_loop() -> None:
    state = ExecutionState()
    thread = threading.Thread(target=state.set_timeout, args=(0.01,))
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(asyncio.Event().wait)
            group.add(thread.start)
            await group.gather()
    thread.join()
    await state.aclose()


# -- sleep --------------------------------------------------------------------------------------------------


@virtual_time
async def test_sleep_sleeps() -> None:
    before = asyncio.get_running_loop().time()
    await state_in_loop().sleep(3)
    assert asyncio.get_running_loop().time() - before == pytest.approx(3)


@pytest.mark.parametrize("when", ["before", "during"])
@virtual_time
async def test_sleep_ends_at_once_on_interrupt(when: str) -> None:
    state = state_in_loop()
    if when == "before":
        state.request_interrupt()
    else:
        asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        await state.sleep(1000)
    assert not state._bells
    assert asyncio.get_running_loop().time() <= 1001.1


@virtual_time
async def test_sleep_in_a_shield_sleeps_on() -> None:
    state = state_in_loop()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted), state.shield():
        await state.sleep(5)
    assert asyncio.get_running_loop().time() == pytest.approx(1005)


def test_a_blocking_sleep_is_over_and_can_be_awaited() -> None:
    state = ExecutionState()
    done = state.sleep(0.001)

    async def main() -> None:
        await done

    run_virtual(main)
    state.close()


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_blocking_sleep_ends_at_once_on_interrupt(when: str) -> None:
    state = ExecutionState()
    timer = threading.Timer(0.0 if when == "before" else 0.02, state.request_interrupt)
    timer.start()
    if when == "before":
        timer.join()
    with pytest.raises(ExecutionInterrupted):
        state.sleep(50)
    timer.join()
    state.close()


def test_a_signal_handler_ends_a_blocking_sleep() -> None:
    state = ExecutionState()
    before = signal.signal(signal.SIGALRM, lambda *_: state.request_interrupt())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(ExecutionInterrupted):
            state.sleep(50)
    finally:
        signal.signal(signal.SIGALRM, before)
    state.close()


def test_the_supervisors_wake_descriptor_ends_a_blocking_sleep() -> None:
    read, write = os.pipe()
    host = FakeSupervisorLink(read)
    state = ExecutionState(host=host)

    def raise_flag() -> None:
        host.raise_flag(FLAGGED)
        os.write(write, b"!")

    timer = threading.Timer(0.02, raise_flag)
    timer.start()
    with pytest.raises(ExecutionInterrupted, match="flag"):
        state.sleep(50)
    timer.join()
    state.close()
    os.close(read)
    os.close(write)


def test_a_time_limit_ends_a_blocking_sleep() -> None:
    state = ExecutionState()
    state.set_timeout(0.02)
    with pytest.raises(ExecutionInterrupted, match="timeout"):
        state.sleep(50)
    state.close()


def test_a_blocking_sleep_in_a_shield_sleeps_on() -> None:
    state = ExecutionState()
    state.request_interrupt()
    with pytest.raises(ExecutionInterrupted), state.shield():
        state.sleep(0.001)


def test_an_interrupt_after_the_end_does_not_write_into_a_closed_descriptor() -> None:
    state = ExecutionState()
    state.sleep(0)
    state.close()
    assert state.request_interrupt()


# -- events, progress, snapshots ----------------------------------------------------------------------------


def test_events_go_to_the_bus_and_up() -> None:
    host = FakeSupervisorLink()
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(seen.append)
    state = ExecutionState(host=host, event_bus=bus, state_id="s")
    state.emit("page", number=1)
    state.progress(1, 2)
    assert [(event.kind, event.data, event.state_id) for event in seen] == [
        ("page", {"number": 1}, "s"),
        ("progress", {"done": 1, "total": 2}, "s"),
    ]
    assert [event.kind for event in host.events] == ["page", "progress"]
    assert [event.seq for event in seen] == [1, 2]


def test_log_is_an_event_and_without_a_supervisor_a_log_record(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[Event]:
        seen: list[Event] = []
        state = ExecutionState()
        state.event_bus.subscribe(seen.append)
        await state.log("hello", Severity.WARNING, {"page": 3})
        supervised = ExecutionState(host=FakeSupervisorLink())
        await supervised.log("not twice")
        await asyncio.to_thread(state.log, "from a sync agent")
        await settle()
        return seen

    event, other = run_real(main)
    assert other.data["message"] == "from a sync agent"
    assert event.data == {"message": "hello", "severity": "warning", "metadata": {"page": 3}}
    assert [(record.message, record.levelno) for record in caplog.records] == [("hello", logging.WARNING)]


def test_a_sync_actor_in_a_loop_logs_without_awaiting() -> None:
    """Nothing is left un-awaited, and a full queue loses its oldest as for every publisher that cannot wait."""

    def actor(data: Any, state: ExecutionState) -> None:
        for number in range(5):
            state.log(str(number))

    async def main() -> list[str]:
        async with ExecutionState() as state:
            stream = state.event_bus.stream(kinds={"log"}, limit=3)
            await ExecutionEvent(actor=actor)(None, state)
            gc.collect()
            assert stream.dropped == 2
            state.event_bus.close()
            return [event.data["message"] async for event in stream]

    assert run_virtual(main) == ["2", "3", "4"]


@virtual_time
async def test_awaited_a_log_line_waits_for_a_full_bus() -> None:
    async with ExecutionState() as state:
        stream = state.event_bus.stream(limit=1)
        await state.log("first")
        second = asyncio.ensure_future(state.log("second"))
        await settle()
        assert not second.done()
        assert [(await anext(stream)).data["message"] for _ in range(2)] == ["first", "second"]
        await second
        assert stream.dropped == 0


def test_a_severity_that_is_none_is_refused() -> None:
    for host in (None, FakeSupervisorLink()):
        with pytest.raises(ValueError, match="loud"):
            ExecutionState(host=host).log("hello", "loud")  # type: ignore[arg-type]


@virtual_time
async def test_a_bus_that_was_handed_in_outlives_the_state() -> None:
    bus = EventBus()
    stream = bus.stream()
    async with ExecutionState(event_bus=bus) as state:
        state.emit("one")
    await bus.publish(Event(kind="two"))
    bus.close()
    assert [event.kind async for event in stream] == ["one", "two"]
    assert not bus._on_bind


def test_a_state_is_closed_after_its_loop() -> None:
    """A stream was open, so a reader of the wake descriptor is still there when the loop has gone."""
    read, write = os.pipe()
    state = ExecutionState(host=FakeSupervisorLink(read))

    async def main() -> None:
        state.event_bus.stream()
        state.set_timeout(100)

    run_virtual(main)
    state.set_timeout(50)
    state.close()
    os.close(read)
    os.close(write)


def test_a_snapshot_is_kept_and_handed_back() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host, snapshot={"page": 1})
    assert state.snapshot == {"page": 1}
    assert state.save_snapshot({"page": 2})
    assert state.snapshot == {"page": 2}
    assert host.snapshots == [{"page": 2}]
    assert not ExecutionState().save_snapshot("kept in this process only")


@pytest.mark.parametrize(("wanted", "kept"), [(True, [1, 2]), (False, [1])])
def test_an_interrupt_that_wants_no_checkpoint_gets_none(wanted: bool, kept: list[int]) -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host)
    state.save_snapshot(1)
    state.request_interrupt(save_checkpoint=wanted)
    assert state.save_snapshot(2) is wanted
    assert host.snapshots == kept


def test_a_flag_that_nobody_has_looked_at_is_honoured_too() -> None:
    host = FakeSupervisorLink()
    state = ExecutionState(host=host)
    host.raise_flag(InterruptSignal(reason=InterruptReason.CUSTOM, save_checkpoint=False))
    assert not state.save_snapshot(1)
    assert host.snapshots == []


def test_remaining_grace() -> None:
    clock, host = Clock(), FakeSupervisorLink()
    state = ExecutionState(host=host, clock=clock)
    seen = [state.remaining_grace]
    host.rung_at = 55.0
    with state.shield():
        seen.append(state.remaining_grace)
    clock.now = 56.0
    seen.append(state.remaining_grace)
    assert seen == [None, 5.0, 0.0]
    assert ExecutionState().remaining_grace is None


# -- the end ------------------------------------------------------------------------------------------------


@virtual_time
async def test_the_end_leaves_nothing() -> None:
    async with state_in_loop() as state:
        stream = state.event_bus.stream()
        state.event_bus.subscribe(lambda event: asyncio.sleep(0, event))
        state.set_interrupt_checker(lambda: False)
        state.set_timeout(100)
        state.register_generator(asyncio.create_task(asyncio.Event().wait()))
        await settle()
    assert [event async for event in stream] == []
    assert not state._bells
    assert not state._wakers


def test_a_closed_state_is_freed_at_once() -> None:
    """No reference cycle: an executor makes thousands, and descriptors must not wait for the collector."""

    async def main() -> list[weakref.ref[ExecutionState]]:
        used, bare = state_in_loop(), ExecutionState()
        used.set_timeout(100)
        async with used.parallel() as group:
            group.add(used.sleep, 1)
            await group.gather()
        await used.log("hello")
        await used.aclose()
        return [weakref.ref(used), weakref.ref(bare)]

    gc.collect()
    gc.disable()
    try:
        assert [ref() for ref in run_virtual(main)] == [None, None]
    finally:
        gc.enable()


def test_the_package_offers_what_it_says() -> None:
    import runtime  # noqa: PLC0415 - the thing under test

    offered: dict[str, Any] = {name: getattr(runtime, name) for name in runtime.__all__}
    assert offered["ExecutionState"] is ExecutionState
    assert set(runtime.__all__) <= set(dir(runtime))
    with pytest.raises(AttributeError, match="nonsense"):
        runtime.nonsense  # noqa: B018
