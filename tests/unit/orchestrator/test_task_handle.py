"""A handle is a Future: state, callbacks, cancellation, `wait`, `as_completed` and asyncio, on a FakeBackend."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator import Handle, Supervisor
from orchestrator.testing import FakeBackend
from runtime.errors import ExecutionInterrupted, QuiesceError
from runtime.model import ExecutionStatus
from tests.support.recorded_log import PATIENCE, RecordedLog
from tests.support.wait import wait_until

GATE = threading.Event()


def double(task_input: int, _state: Any) -> int:
    return 2 * task_input


def waits(task_input: int, state: Any) -> int:
    while not GATE.is_set():
        state.sleep(0.001)
    return task_input


def sleeps(_input: int, state: Any) -> None:
    state.sleep(3600)


def fails(_input: int, _state: Any) -> None:
    raise ValueError("no")


def make_unreadable(_input: int, _state: Any) -> Any:
    return Unreadable()


class Unreadable:
    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise RuntimeError("it cannot be read here")


@pytest.fixture
def running() -> Iterator[Supervisor]:
    GATE.clear()
    with Supervisor(workers=2, log=RecordedLog(), handle_signals=False, backend=FakeBackend()) as supervisor:
        yield supervisor
        GATE.set()


def test_the_states_of_a_handle(running: Supervisor) -> None:
    handle = running.submit(waits, 1, key="a")
    assert not handle.done()
    wait_until(handle.running, what="it runs")
    assert repr(handle) == "<Handle key='a' running>"
    with pytest.raises(TimeoutError):
        handle.result(0)
    with pytest.raises(TimeoutError):
        handle.exception(0)
    GATE.set()
    assert handle.result(PATIENCE) == 1
    assert (handle.done(), handle.running(), handle.cancelled(), handle.exception()) == (True, False, False, None)
    assert repr(handle) == "<Handle key='a' completed>"
    assert not handle.cancel()


def test_a_failed_task_has_an_exception_and_no_result(running: Supervisor) -> None:
    handle = running.submit(fails, 1, key="a")
    error = handle.exception(PATIENCE)
    with pytest.raises(ValueError, match="no") as raised:
        handle.result()
    assert raised.value is error is handle.exception()
    assert handle.outcome().status is ExecutionStatus.FAILED
    assert repr(handle) == "<Handle key='a' failed>"


def test_the_value_is_decoded_once_and_an_error_of_that_is_the_handles(running: Supervisor) -> None:
    handle = running.submit(double, 2)
    assert handle.result(PATIENCE) is handle.result()
    unreadable = running.submit(make_unreadable, 1)
    error = unreadable.exception(PATIENCE)
    with pytest.raises(QuiesceError, match="cannot be read here") as raised:
        unreadable.result()
    assert raised.value is error


@pytest.mark.parametrize("has_begun", [True, False])
def test_cancel_ends_a_task_that_runs_and_one_that_has_not_begun(running: Supervisor, has_begun: bool) -> None:
    others = [] if has_begun else [running.submit(waits, number) for number in range(40)]
    handle = running.submit(waits, 1, key="a")
    if has_begun:
        wait_until(handle.running, what="it runs")
    assert handle.cancel()
    concurrent.futures.wait([handle], PATIENCE)
    assert (handle.done(), handle.cancelled(), handle.running()) == (True, True, False)
    assert handle.cancel(), "it is cancelled already"
    with pytest.raises(concurrent.futures.CancelledError):
        handle.result()
    with pytest.raises(concurrent.futures.CancelledError):
        handle.exception()
    assert handle.outcome().status is ExecutionStatus.INTERRUPTED
    assert repr(handle) == "<Handle key='a' cancelled>"
    GATE.set()
    assert [other.result(PATIENCE) for other in others] == list(range(len(others)))


def test_a_task_that_completes_although_it_was_cancelled_has_its_result(running: Supervisor) -> None:
    handle: Handle[int] = running.submit(double, 1)
    concurrent.futures.wait([handle], PATIENCE)
    assert not handle.cancel()
    assert (handle.cancelled(), handle.result()) == (False, 2)


def test_an_interrupt_that_is_no_cancellation_is_raised_as_such(running: Supervisor) -> None:
    handle = running.submit(sleeps, 1)
    handle.interrupt(message="enough")
    with pytest.raises(ExecutionInterrupted, match="enough"):
        handle.result(PATIENCE)
    assert isinstance(handle.exception(), ExecutionInterrupted)
    assert not handle.cancelled()


def test_wait_and_as_completed_take_handles(running: Supervisor) -> None:
    handles = [running.submit(double, number) for number in range(20)]
    assert {handle.result() for handle in concurrent.futures.as_completed(handles, PATIENCE)} == set(range(0, 40, 2))
    slow: Handle[Any] = running.submit(waits, 1)
    broken: Handle[Any] = running.submit(fails, 1)
    first = concurrent.futures.wait([slow, broken], PATIENCE, concurrent.futures.FIRST_EXCEPTION)
    assert (first.done, first.not_done) == ({broken}, {slow})
    slow.cancel()
    assert list(concurrent.futures.as_completed([slow], PATIENCE)) == [slow]


def add_and_wait(handle: Handle[Any], call: Callable[[Handle[Any]], object]) -> threading.Thread:
    """Add a callback. Return the thread that called it."""
    called: list[threading.Thread] = []
    is_over = threading.Event()

    def note(done: Handle[Any]) -> None:
        assert done is handle
        called.append(threading.current_thread())
        try:
            call(done)
        finally:
            is_over.set()

    handle.add_done_callback(note)
    GATE.set()
    assert is_over.wait(PATIENCE)
    return called[0]


def test_a_callback_may_wait_and_submit_in_a_thread_of_its_own(running: Supervisor) -> None:
    results: list[int] = []

    def call(done: Handle[Any]) -> None:
        results.append(running.submit(double, done.result() + 20).result(PATIENCE))

    thread = add_and_wait(running.submit(waits, 1), call)
    assert thread.name == "quiesce-callbacks"
    assert results == [42]
    done = running.submit(double, 1)
    done.result(PATIENCE)
    assert add_and_wait(done, lambda _: None) is threading.current_thread()


def test_what_a_callback_raises_is_logged_and_stops_nothing(
    running: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(_: Handle[Any]) -> None:
        raise KeyError("of the callback")

    def raises_an_interrupt(done: Handle[Any]) -> None:
        done.result()

    handle = running.submit(sleeps, 1)
    handle.add_done_callback(raises)
    handle.add_done_callback(raises_an_interrupt)
    handle.interrupt()
    concurrent.futures.wait([handle], PATIENCE)
    assert running.submit(double, 1).result(PATIENCE) == 2
    running._require_feed().callbacks.flush(PATIENCE)
    assert [record.levelname for record in caplog.records if record.name == "concurrent.futures"] == ["ERROR"] * 2


def test_the_end_of_a_block_waits_for_callbacks() -> None:
    GATE.set()
    seen: list[int] = []
    with Supervisor(workers=1, log=RecordedLog(), handle_signals=False, backend=FakeBackend()) as supervisor:
        for number in range(5):
            supervisor.submit(double, number).add_done_callback(lambda done: seen.append(done.result()))
    assert seen == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_task_that_never_began_says_so(is_stopped: bool) -> None:
    GATE.clear()
    backend = FakeBackend()
    with (
        pytest.raises(ExecutionInterrupted),
        Supervisor(workers=1, log=RecordedLog(), handle_signals=False, backend=backend) as supervisor,
    ):
        handles = [supervisor.submit(waits, number) for number in range(3)]
        if not is_stopped:
            handles[2].cancel()
        supervisor.interrupt(message="enough")
        assert concurrent.futures.wait(handles, PATIENCE).not_done == set()
        handles[0].result()
    for handle in handles[:2]:
        assert isinstance(handle.exception(), ExecutionInterrupted)
    assert handles[2].cancelled() != is_stopped


# -- asyncio ----------------------------------------------------------------------------------------


def test_handles_are_awaited(running: Supervisor) -> None:
    async def main() -> None:
        assert await running.submit(double, 1) == 2
        assert await asyncio.gather(*(running.submit(double, number) for number in range(3))) == [0, 2, 4]
        assert await asyncio.wrap_future(running.submit(double, 3)) == 6
        with pytest.raises(ValueError, match="no"):
            await running.submit(fails, 1)
        with pytest.raises(ValueError, match="no"):
            await asyncio.wrap_future(running.submit(fails, 1))
        with pytest.raises(QuiesceError, match="cannot be read here"):
            await asyncio.wrap_future(running.submit(make_unreadable, 1))

    asyncio.run(main())


def test_awaiting_a_cancelled_handle_is_a_cancellation(running: Supervisor) -> None:
    async def main() -> None:
        handle = running.submit(sleeps, 1)
        handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handle
        wrapped = asyncio.wrap_future(slow := running.submit(waits, 2))
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    asyncio.run(main())


def test_a_caller_who_is_cancelled_does_not_cancel_the_task(running: Supervisor) -> None:
    async def main() -> None:
        handle = running.submit(waits, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.01)
        assert not handle.done()
        GATE.set()
        assert await handle == 1

    asyncio.run(main())


def waits_and_fails(_input: int, state: Any) -> None:
    waits(0, state)
    raise ValueError("no")


def test_the_thread_that_waits_for_a_result_drives_the_loop() -> None:
    GATE.clear()
    log_threads: dict[str, int] = {}

    def log(name: str, _severity: object, _fields: object) -> None:
        log_threads[name] = threading.get_ident()

    with Supervisor(
        workers=1, retries=1, retry_delay=0, log=log, handle_signals=False, backend=FakeBackend()
    ) as supervisor:
        handle = supervisor.submit(waits_and_fails, 1)
        follower = threading.Thread(target=handle.outcome)
        caller = threading.Thread(target=handle.outcome)
        caller.start()
        engine = supervisor._require_session()._engine
        wait_until(lambda: engine._driver == caller.ident)
        follower.start()  # it waits without driving
        GATE.set()
        caller.join(PATIENCE)
        follower.join(PATIENCE)
        assert not caller.is_alive()
        assert not follower.is_alive()
        assert handle.outcome().attempts == 2
        assert supervisor.submit(double, 2).result() == 4  # in the main thread, whose signal handlers are not ours
    assert log_threads["task.retrying"] == caller.ident


def test_the_time_limit_of_a_wait_holds_while_the_caller_drives(running: Supervisor) -> None:
    handle = running.submit(waits, 1)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            handle.result(timeout=0.01)
        except TimeoutError as error:
            errors.append(error)

    caller = threading.Thread(target=wait)
    caller.start()
    caller.join(PATIENCE)
    assert errors
    assert not handle.done()
    GATE.set()
    assert handle.result() == 1


class Alarm(Exception):
    """What a program's own handler raises."""


def test_a_handler_of_the_program_that_raises_ends_its_wait_and_not_the_run() -> None:
    def raise_alarm(_signum: int, _frame: object) -> None:
        raise Alarm

    GATE.clear()
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        with Supervisor(workers=1, log=RecordedLog(), backend=FakeBackend()) as supervisor:
            handle = supervisor.submit(waits, 5)
            for _ in range(3):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(Alarm):
                    handle.result()
            GATE.set()
            assert handle.result() == 5
            assert supervisor.submit(double, 4).result() == 8
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_main_thread_drives_when_all_handlers_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.loop.has_foreign_handler", lambda: False)  # pytest's time limit has one
    GATE.clear()
    with Supervisor(workers=1, log=RecordedLog(), backend=FakeBackend()) as supervisor:
        handle = supervisor.submit(waits, 5)
        engine = supervisor._require_session()._engine

        def open_gate() -> None:
            wait_until(lambda: engine._driver == threading.main_thread().ident)
            GATE.set()

        helper = threading.Thread(target=open_gate)
        helper.start()
        assert handle.result(PATIENCE) == 5
        helper.join(PATIENCE)
        assert not helper.is_alive()
