"""Checks and acts between threads: every order of two calls on one object."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pytest

from orchestrator.callbacks import CallbackThread
from orchestrator.core.records import TaskOutcome
from orchestrator.engine.hub import EventStream, Hub
from orchestrator.outcome import Outcome
from orchestrator.task_handle import Handle
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.events.bus import EventBus
from runtime.execution.state import ExecutionState
from runtime.model import Event, ExecutionStatus, InterruptSignal
from runtime.testing import real_time
from tests.support.interleave import interleave

ENDED: Outcome[Any] = Outcome(seq=1, key="k", status=ExecutionStatus.COMPLETED, attempts=1)


class Waiting(Hub):
    """A hub and what its callbacks received."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[TaskOutcome | None]] = {"first": [], "second": []}

    def wait(self, name: str) -> None:
        self.add_waiter("k", self.told[name].append)


def test_of_two_who_wait_for_one_key_one_is_refused_and_the_other_is_told() -> None:
    def check(hub: Waiting, first: Any, second: Any) -> None:
        hub.publish([ENDED], [], 1)
        refused = [isinstance(result, UsageError) for result in (first, second)]
        assert sorted(refused) == [False, True]
        assert list(hub.told.values()) == [[] if no else [ENDED] for no in refused]

    count = interleave(Waiting, lambda hub: hub.wait("first"), lambda hub: hub.wait("second"), check, "hub.py")
    assert count >= 3


def test_who_waits_while_the_run_ends_is_told_once() -> None:
    def check(hub: Waiting, first: Any, second: Any) -> None:
        assert (first, second) == (None, None)
        assert hub.told["first"] == [None]

    interleave(Waiting, lambda hub: hub.wait("first"), Hub.fail_waiters, check, "hub.py")
    interleave(Waiting, Hub.fail_waiters, lambda hub: hub.wait("first"), check, "hub.py")


def test_an_outcome_that_comes_while_the_run_ends_is_told_once() -> None:
    def make() -> Waiting:
        hub = Waiting()
        hub.wait("first")
        return hub

    def check(hub: Waiting, first: Any, second: Any) -> None:
        assert (first, second) == (None, None)
        assert hub.told["first"] in ([None], [ENDED])

    interleave(make, lambda hub: hub.publish([ENDED], [], 1), Hub.fail_waiters, check, "hub.py")
    interleave(make, Hub.fail_waiters, lambda hub: hub.publish([ENDED], [], 1), check, "hub.py")


def test_a_stream_that_is_opened_while_the_hub_closes_ends() -> None:
    def check(_: Hub, first: Any, second: Any) -> None:
        stream = first if isinstance(first, EventStream) else second
        assert list(stream) == []

    interleave(Hub, lambda hub: hub.subscribe(1), Hub.close, check, "hub.py")
    interleave(Hub, Hub.close, lambda hub: hub.subscribe(1), check, "hub.py")


class NoRun:
    """The owner of a handle, without a run."""

    def __init__(self) -> None:
        self.callbacks = CallbackThread()
        self.interrupted: list[str] = []

    def interrupt_task(self, key: str, signal: InterruptSignal) -> None:
        self.interrupted.append(key)

    def is_running(self, key: str) -> bool:
        return False

    def wait_until_done(self, future: concurrent.futures.Future[Any], timeout: float | None) -> None:
        concurrent.futures.wait([future], timeout)

    def end_error(self) -> BaseException:
        return QuiesceError("the supervisor has ended")


class Called(Handle[Any]):
    """A handle and the calls of its callback."""

    def __init__(self) -> None:
        super().__init__("k", None, NoRun())
        self.calls: list[str] = []

    def add(self) -> None:
        self.add_done_callback(lambda handle: self.calls.append(handle.key))


def test_a_callback_that_is_added_while_the_task_ends_is_called_once() -> None:
    def check(handle: Called, first: Any, second: Any) -> None:
        assert (first, second) == (None, None)
        assert handle._owner.callbacks.flush(10)
        assert handle.calls == ["k"]

    interleave(Called, Called.add, lambda handle: handle._settle(ENDED), check, "task_handle.py")
    interleave(Called, lambda handle: handle._settle(ENDED), Called.add, check, "task_handle.py")


@pytest.mark.parametrize("status", [ExecutionStatus.COMPLETED, ExecutionStatus.INTERRUPTED])
def test_a_task_that_ends_while_it_is_cancelled_is_done_once(status: ExecutionStatus) -> None:
    ending: Outcome[Any] = Outcome(seq=1, key="k", status=status, attempts=1)

    def check(handle: Called, *_: Any) -> None:
        assert handle.done()
        assert not (handle.cancelled() and status is ExecutionStatus.COMPLETED)
        assert handle.outcome(0) == ending

    interleave(Called, Called.cancel, lambda handle: handle._settle(ending), check, "task_handle.py")
    interleave(Called, lambda handle: handle._settle(ending), Called.cancel, check, "task_handle.py")


@real_time
async def test_a_caller_who_stops_waiting_cancels_nothing_for_others() -> None:
    handle: Handle[Any] = Handle("k", None, NoRun())
    patient = asyncio.create_task(handle.outcome_async())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle.outcome_async(), 0)
    impatient = asyncio.create_task(handle.outcome_async())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    threading.Thread(target=handle._settle, args=(ENDED,)).start()
    assert await patient == ENDED
    assert impatient.cancelled()


# -- one execution state in several threads -----------------------------------------------------------------


def test_a_state_has_one_bus() -> None:
    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert first is second is state.event_bus

    interleave(ExecutionState, lambda state: state.event_bus, lambda state: state.event_bus, check, "state.py")


def test_a_state_has_one_registry_of_generators() -> None:
    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert first is second is state._generators()

    interleave(ExecutionState, ExecutionState._generators, ExecutionState._generators, check, "state.py")


def test_a_state_has_one_doorbell_and_it_rings() -> None:
    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert first is second
        state.request_interrupt()
        with pytest.raises(ExecutionInterrupted):
            state.sleep(60)
        state.close()

    interleave(ExecutionState, ExecutionState._hang_doorbell, ExecutionState._hang_doorbell, check, "state.py")


def test_two_requests_have_one_winner_and_one_event() -> None:
    def make() -> ExecutionState:
        events.clear()
        state = ExecutionState()
        state.event_bus.subscribe(events.append)
        return state

    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert sorted((first, second)) == [False, True]
        state.close()
        assert len(events) == 1

    events: list[Event] = []
    interleave(
        make, ExecutionState.request_interrupt, ExecutionState.request_interrupt, check, "interrupt.py", "bus.py"
    )


def test_an_interrupt_while_the_state_is_closed_is_published_once_or_not_at_all() -> None:
    def make() -> ExecutionState:
        events.clear()
        state = ExecutionState()
        state.event_bus.subscribe(events.append)
        return state

    def check(_: ExecutionState, first: Any, second: Any) -> None:
        assert not isinstance(first, Exception)
        assert not isinstance(second, Exception)
        assert len(events) <= 1

    events: list[Event] = []
    interleave(make, ExecutionState.request_interrupt, ExecutionState.close, check, "state.py", "bus.py")
    interleave(make, ExecutionState.close, ExecutionState.request_interrupt, check, "state.py", "bus.py")


def test_a_time_limit_that_two_threads_drop() -> None:
    def make() -> ExecutionState:
        state = ExecutionState()
        state.set_timeout(60)
        return state

    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert (first, second) == (None, None)
        assert not state.is_interrupted

    interleave(make, ExecutionState.cancel_timeout, ExecutionState.cancel_timeout, check, "deadline.py", "state.py")


def test_of_two_time_limits_that_two_threads_set_the_one_that_raises_the_flag_has_a_signal() -> None:
    def check(state: ExecutionState, first: Any, second: Any) -> None:
        assert (first, second) == (None, None)
        now[0] = 30.0
        assert (state.interrupt_signal is not None) is state.is_interrupted
        now[0] = 90.0
        with pytest.raises(ExecutionInterrupted):
            state.raise_if_interrupted()

    def make() -> ExecutionState:
        now[0] = 0.0
        return ExecutionState(clock=lambda: now[0])

    def short(state: ExecutionState) -> None:
        state.set_timeout(20)

    def long(state: ExecutionState) -> None:
        state.set_timeout(80)

    now = [0.0]
    interleave(make, short, long, check, "interruptible.py", "state.py")
    interleave(make, long, short, check, "interruptible.py", "state.py")


def test_a_bus_serves_the_loop_that_came_first() -> None:
    bound: list[int] = []

    def bind(bus: EventBus) -> asyncio.AbstractEventLoop | None:
        async def main() -> asyncio.AbstractEventLoop | None:
            bus.on_bind(lambda: bound.append(1))
            bus._bind()
            return bus._loop

        return asyncio.run(main())

    def check(bus: EventBus, first: Any, second: Any) -> None:
        assert not isinstance(first, Exception)
        assert not isinstance(second, Exception)

    interleave(EventBus, bind, bind, check, "runtime/events/bus.py")
