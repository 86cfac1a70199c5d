"""The InterruptEvent comes when the interrupt does, also where only sync subscribers listen and no loop runs."""

from __future__ import annotations

import asyncio
import functools
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupts.handler_context import is_in_signal_handler
from runtime.model import Event, InterruptEvent, InterruptReason, InterruptSignal
from runtime.scope import scope
from runtime.testing import real_time, run_virtual


class Listener:
    """A sync subscriber that says where it was called, and lets others wait for the call."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: list[int] = []
        self.called = threading.Event()

    def __call__(self, event: Event) -> None:
        self.threads.append(threading.get_ident())
        self.events.append(event)
        self.called.set()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def state(listener: Listener) -> ExecutionState:
    state = ExecutionState()
    state.event_bus.subscribe(listener)
    return state


@pytest.fixture
def handled() -> Iterator[Any]:
    """Install a handler of SIGUSR2 and call it."""
    before = signal.getsignal(signal.SIGUSR2)

    def call(handler: Any) -> None:
        signal.signal(signal.SIGUSR2, handler)
        signal.raise_signal(signal.SIGUSR2)

    yield call
    signal.signal(signal.SIGUSR2, before)


def end(state: ExecutionState, listener: Listener) -> None:
    """Meet checkpoints and the end; there is one InterruptEvent all the same."""
    for _ in range(2):
        with pytest.raises(ExecutionInterrupted):
            state.raise_if_interrupted()
    state.close()
    assert [type(event) for event in listener.events] == [InterruptEvent]


def test_at_the_request(state: ExecutionState, listener: Listener) -> None:
    with scope("here"):
        state.request_interrupt(message="m")
    assert [event.data["signal"]["message"] for event in listener.events] == ["m"]
    assert listener.events[0].address == "here"
    assert not state.request_interrupt()
    end(state, listener)


def test_at_the_request_of_another_thread_and_in_it(state: ExecutionState, listener: Listener) -> None:
    thread = threading.Thread(target=state.request_interrupt)
    thread.start()
    thread.join()
    assert listener.threads == [thread.ident]
    end(state, listener)


class Handlers:
    """The forms that a handler may have."""

    def __init__(self, state: ExecutionState) -> None:
        self.state = state

    def method(self, _signum: int, _frame: FrameType | None) -> None:
        self.deeper()

    def deeper(self) -> None:
        self.state.request_interrupt()

    def forms(self) -> dict[str, Any]:
        return {
            "function": lambda signum, frame: self.deeper(),
            "any arguments": lambda *_: self.deeper(),
            "method": self.method,
            "partial": functools.partial(Handlers.method, self),
            "the request itself": self.state.request_interrupt,
        }


@pytest.mark.parametrize("form", ["function", "any arguments", "method", "partial", "the request itself"])
def test_in_a_signal_handler_by_another_thread(
    state: ExecutionState, listener: Listener, handled: Any, form: str
) -> None:
    handled(Handlers(state).forms()[form])
    assert state.is_interrupted
    assert listener.called.wait(10)
    assert threading.get_ident() not in listener.threads
    end(state, listener)


def test_a_handler_in_the_middle_of_a_subscriber_enters_no_subscriber(state: ExecutionState, handled: Any) -> None:
    """As EventPrinter in the middle of a write."""
    order: list[str] = []
    inside = [False]

    def subscriber(event: Event) -> None:
        assert not inside[0], "called within itself"
        inside[0] = True
        order.append(event.kind)
        if event.kind == "first":
            handled(lambda *_: state.request_interrupt())
        inside[0] = False

    state.event_bus.subscribe(subscriber)
    state.emit("first")
    with pytest.raises(ExecutionInterrupted):
        state.raise_if_interrupted()
    state.close()
    assert order == ["first", "interrupt"]


def test_a_checkpoint_does_not_wait_for_a_thread_that_is_about_to_publish(
    state: ExecutionState, listener: Listener, monkeypatch: pytest.MonkeyPatch, handled: Any
) -> None:
    """Both interleavings: the thread comes before the checkpoint (above), and only after the end."""
    later: list[Any] = []
    monkeypatch.setattr(
        "runtime.execution.state.start_new_thread", lambda run, args: later.append(functools.partial(run, *args))
    )
    handled(lambda *_: state.request_interrupt())
    assert not listener.events
    end(state, listener)
    later[0]()
    end(state, listener)


def test_no_thread_to_be_had(
    state: ExecutionState, listener: Listener, monkeypatch: pytest.MonkeyPatch, handled: Any
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("runtime.execution.state.start_new_thread", refuse)
    handled(lambda *_: state.request_interrupt())
    end(state, listener)


def test_two_threads_and_one_event(state: ExecutionState, listener: Listener) -> None:
    """One is held just before the bus takes the event; the other posts it meanwhile."""
    posted, goes_on = threading.Event(), threading.Event()
    original = state.event_bus.post_once

    def held(event: InterruptEvent) -> None:
        if threading.current_thread() is thread:
            posted.set()
            assert goes_on.wait(10)
        original(event)

    state.event_bus.post_once = held  # type: ignore[method-assign]
    thread = threading.Thread(target=state.request_interrupt)
    thread.start()
    assert posted.wait(10)
    with pytest.raises(ExecutionInterrupted):
        state.raise_if_interrupted()
    assert len(listener.events) == 1
    goes_on.set()
    thread.join()
    end(state, listener)


@real_time
async def test_in_a_loop_as_ever(listener: Listener) -> None:
    async with ExecutionState() as state:
        state.event_bus.subscribe(listener)
        await state.log("binds the bus to this loop")
        threading.Thread(target=state.request_interrupt).start()
        with pytest.raises(ExecutionInterrupted):
            await state.sleep(60)
    assert [event.kind for event in listener.events] == ["log", "interrupt"]
    assert set(listener.threads) == {threading.get_ident()}


def test_a_loop_that_is_closed_delivers_no_more(listener: Listener) -> None:
    state = ExecutionState()

    async def main() -> None:
        state.event_bus.subscribe(listener)
        await state.log("once")

    asyncio.run(main())
    state.request_interrupt()
    assert [event.kind for event in listener.events] == ["log", "interrupt"]


def test_code_that_is_no_handler_is_told_apart(handled: Any) -> None:
    answers: list[bool] = []

    def ask(*_: object) -> None:
        answers.append(is_in_signal_handler())

    ask()
    ask(1, None)
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    handled(ask)
    handled(lambda signum, frame: ask())
    assert answers == [False, False, False, True, True]


def test_a_signal_that_is_tripped_apart_runs_no_subscriber_here(state: ExecutionState, listener: Listener) -> None:
    state.set_signal(InterruptSignal(reason=InterruptReason.CUSTOM), apart=True)
    assert listener.called.wait(10)
    assert threading.get_ident() not in listener.threads
    end(state, listener)


def test_a_time_limit_that_runs_out_while_nobody_looks_is_published_by_the_loop(
    state: ExecutionState, listener: Listener
) -> None:
    async def wait() -> None:
        state.set_timeout(0.01)
        while not listener.events:  # noqa: ASYNC110 - a sync subscriber; the test's own time limit ends it
            await asyncio.sleep(0.005)

    run_virtual(wait)
    (event,) = listener.events
    assert isinstance(event, InterruptEvent)
    assert event.signal.reason is InterruptReason.TIMEOUT


def test_a_time_limit_that_was_dropped_is_published_by_no_loop(state: ExecutionState, listener: Listener) -> None:
    async def wait() -> None:
        state.set_timeout(0.01)
        state.cancel_timeout()
        await asyncio.sleep(0.05)

    run_virtual(wait)
    assert not listener.events
    assert not state.is_interrupted
