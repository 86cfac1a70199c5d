"""External checkers: six shapes, an interval, a time limit, and no harm to the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.model import InterruptReason, InterruptSignal
from runtime.testing import real_time, run_real, run_virtual, virtual_time
from tests.unit.runtime.support import settle, state_in_loop

MINE = InterruptSignal(reason=InterruptReason.ERROR_THRESHOLD, message="mine")


def asynchronous(answer: Any) -> Callable[[], Any]:
    async def checker() -> Any:
        return answer

    return checker


@pytest.mark.parametrize("wrap", [lambda answer: lambda: answer, asynchronous], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("answer", "reason"), [(True, "custom"), (MINE, "error_threshold"), (False, None), (None, None)]
)
@real_time
async def test_every_shape(wrap: Callable[[Any], Any], answer: Any, reason: str | None) -> None:
    async with ExecutionState() as state:
        state.set_interrupt_checker(wrap(answer))
        if reason is None:
            await state.check_interrupt()
            assert not state.is_interrupted
        else:
            with pytest.raises(ExecutionInterrupted) as caught:
                await state.check_interrupt()
            assert caught.value.reason == reason


@real_time
async def test_a_sync_callable_that_returns_an_awaitable() -> None:
    state = ExecutionState()
    state.set_interrupt_checker(lambda: asyncio.sleep(0, True))
    with pytest.raises(ExecutionInterrupted):
        await state.check_interrupt()


@virtual_time
async def test_asked_at_most_once_an_interval() -> None:
    asked = 0

    async def checker() -> bool:
        nonlocal asked
        asked += 1
        return False

    state = state_in_loop()
    state.set_interrupt_checker(checker, min_interval=1.0)
    for _ in range(35):
        await state.check_interrupt()
        await asyncio.sleep(0.1)
    assert asked == 4


@virtual_time
async def test_many_checkpoints_at_once_ask_once() -> None:
    asked = 0

    async def checker() -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.5)
        return False

    state = state_in_loop()
    state.set_interrupt_checker(checker, min_interval=1.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(state.check_interrupt())
    assert asked == 1


@pytest.mark.parametrize("trouble", ["raises", "nonsense"])
def test_trouble_is_logged_once_and_never_harms(trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def checker() -> Any:
            if trouble == "raises":
                raise OSError("no route")
            return "yes"

        state = state_in_loop()
        state.set_interrupt_checker(checker, min_interval=0)
        for _ in range(3):
            await state.check_interrupt()

    with caplog.at_level(logging.WARNING):
        run_virtual(main)
    assert len(caplog.records) == 1


def leave() -> bool:
    raise SystemExit(3)


def runs_out() -> bool:
    raise StopIteration


def times_out() -> bool:
    raise TimeoutError("of the socket")


def is_told() -> bool:
    raise ExecutionInterrupted(InterruptSignal(reason=InterruptReason.CUSTOM, message="another state's"))


def is_cancelled() -> bool:
    raise asyncio.CancelledError


@pytest.mark.parametrize("checker", [leave, runs_out, times_out, is_told, is_cancelled])
@pytest.mark.parametrize("shape", ["sync", "async"])
def test_whatever_it_raises_the_work_goes_on(
    checker: Callable[[], bool], shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def asynchronous() -> bool:
        return checker()

    async def main() -> None:
        async with ExecutionState() as state:
            state.set_interrupt_checker(checker if shape == "sync" else asynchronous, time_limit=30)
            await state.check_interrupt()
            assert not state.is_interrupted

    run_real(main)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the interrupt checker failed"]


def test_an_async_checker_that_is_deaf_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """It delays no checkpoint for longer than its time and a farewell, and is not asked again meanwhile."""

    async def main() -> None:
        asked: list[int] = []
        release = asyncio.Event()

        async def checker() -> None:
            asked.append(1)
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        async with state_in_loop() as state:
            state.set_interrupt_checker(checker, min_interval=0, time_limit=2)
            before = asyncio.get_running_loop().time()
            await state.check_interrupt()
            assert asyncio.get_running_loop().time() - before == pytest.approx(3)
            await state.check_interrupt()
            assert asked == [1]
            release.set()
            await settle()
            await state.check_interrupt()
            assert asked == [1, 1]

    run_virtual(main)
    assert len(caplog.records) == 1


def test_a_checker_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def checker() -> bool:
            await asyncio.Event().wait()
            return True

        state = state_in_loop()
        state.set_interrupt_checker(checker, time_limit=2)
        before = asyncio.get_running_loop().time()
        await state.check_interrupt()
        assert asyncio.get_running_loop().time() - before == pytest.approx(2)

    run_virtual(main)
    assert "longer than 2 s" in caplog.text


def test_a_sync_checker_that_hangs_is_not_asked_again_until_it_is_back() -> None:
    """Else every interval would leave one more thread behind."""
    asked: list[int] = []
    began, release = threading.Event(), threading.Event()

    def checker() -> bool:
        asked.append(1)
        began.set()
        release.wait()
        return False

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "quiesce-checker"]

    async def main() -> None:
        state = ExecutionState()
        state.set_interrupt_checker(checker, min_interval=0, time_limit=0.01)
        for _ in range(3):
            await state.check_interrupt()
        assert began.wait(10)  # a thread that was started need not have run within the limit
        assert len(asked) == len(threads()) == 1
        release.set()
        while len(asked) < 2:
            await state.check_interrupt()
            await asyncio.sleep(0.001)

    run_real(main)
    for thread in threads():
        thread.join()


@virtual_time
async def test_an_interrupt_does_not_wait_for_a_checker_that_hangs() -> None:
    state = state_in_loop()
    state.set_interrupt_checker(lambda: asyncio.Event().wait(), time_limit=1000)
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        await state.check_interrupt()
    assert asyncio.get_running_loop().time() < 1010
    await state.aclose()


@pytest.mark.parametrize("first", ["checker", "request"])
@virtual_time
async def test_a_checker_and_a_request_at_the_same_time(first: str) -> None:
    """The first signal wins; the other caller gets False."""
    state = state_in_loop()
    answers: list[bool] = []

    async def checker() -> InterruptSignal:
        if first == "request":
            answers.append(state.request_interrupt(message="request"))
        else:
            asyncio.get_running_loop().call_later(
                0.001, lambda: answers.append(state.request_interrupt(message="request"))
            )
        return MINE

    state.set_interrupt_checker(checker)
    with pytest.raises(ExecutionInterrupted, match="mine" if first == "checker" else "request"):
        await state.check_interrupt()
    await asyncio.sleep(1)
    assert answers == [first == "request"]


@virtual_time
async def test_a_checker_is_asked_while_everybody_sleeps() -> None:
    """A group that comes to no checkpoint is interrupted all the same."""
    verdicts = iter([False, False, True])

    async def checker() -> bool:
        return next(verdicts)

    async with state_in_loop() as state:
        state.set_interrupt_checker(checker, min_interval=1.0)
        with pytest.raises(ExecutionInterrupted):
            async with state.parallel() as group:
                group.add(asyncio.Event().wait)
                await group.gather()
    assert asyncio.get_running_loop().time() == pytest.approx(1002)


@virtual_time
async def test_a_checker_set_while_everybody_sleeps_is_asked() -> None:
    async with state_in_loop() as state:
        asyncio.get_running_loop().call_later(1, state.set_interrupt_checker, asynchronous(True))
        with pytest.raises(ExecutionInterrupted):
            await state.sleep(100)


@virtual_time
async def test_a_checker_that_was_removed_is_not_asked() -> None:
    async with state_in_loop() as state:
        state.set_interrupt_checker(asynchronous(True))
        state.set_interrupt_checker(None)
        await state.check_interrupt()
        await state.sleep(10)
