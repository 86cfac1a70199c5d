"""Parallel groups: they end as one, whatever ends them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from typing import Any

import anyio
import pytest

from runtime.concurrency.circuit_breaker import CircuitBreaker
from runtime.concurrency.group_runner import SLOW_CANCEL_SECONDS
from runtime.concurrency.parallel import ParallelExecutionManager
from runtime.concurrency.retry import Backoff, RetryPolicy
from runtime.errors import ChildCancelledError, CircuitOpenError, ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupts.interruptible import Interruptible
from runtime.model import ErrorStrategy, Event, InterruptReason, InterruptSignal
from runtime.scope import current_address
from runtime.testing import real_time, run_real, run_virtual, virtual_time
from tests.unit.runtime.support import settle, state_in_loop

SIGNAL = InterruptSignal(reason=InterruptReason.CUSTOM, message="stop")


async def forever() -> None:
    await asyncio.Event().wait()


async def after(seconds: float, value: Any = None) -> Any:
    await asyncio.sleep(seconds)
    return value


async def fails(seconds: float, text: str = "boom") -> None:
    await asyncio.sleep(seconds)
    raise ValueError(text)


# -- results ------------------------------------------------------------------------------------------------


@virtual_time
async def test_gather_keeps_the_order_and_takes_what_can_be_called_or_awaited() -> None:
    state = ExecutionState()
    async with state.parallel() as group:
        group.add(after(2, "coroutine"))
        group.add(after, 1, value="function")
        group.add(lambda: "sync")
        group.add(asyncio.create_task(after(0.5, "task")))
        assert await group.gather() == ["coroutine", "function", "sync", "task"]
    async with state.parallel() as group:
        assert await group.gather() == []


@virtual_time
async def test_gather_of_some_children() -> None:
    async with ExecutionState().parallel() as group:
        first = group.add(after, 1, "first")
        group.add(after, 1, "second")
        third = group.add(after, 1, "third")
        with pytest.raises(RuntimeError, match="not ended"):
            first.result()
        assert await group.gather(third, first) == ("third", "first")
        assert first.result() == "first"


@virtual_time
async def test_a_child_of_another_group_is_refused() -> None:
    state = ExecutionState()
    async with state.parallel() as group, state.parallel(name="g") as other:
        child = group.add(after, 1)
        other.add(after, 1)
        with pytest.raises(ValueError, match="child '0' is not one of group 'g'"):
            await other.gather(child)


@virtual_time
async def test_several_may_wait_for_one_group() -> None:
    async with ExecutionState().parallel() as group:
        for number in range(3):
            group.add(after, number, number)
        streamed: list[int] = []

        async def read() -> None:
            async for result in group.stream():
                streamed.append(result)

        gathered, again, _ = await asyncio.gather(group.gather(), group.gather(), read())
        assert gathered == again == [0, 1, 2]
        assert set(streamed) <= {0, 1, 2}


@virtual_time
async def test_gather_dict() -> None:
    async with ExecutionState().parallel() as group:
        group.add(after, 2, 1, key="one")
        group.add(after, 1, 2)
        assert await group.gather_dict() == {"one": 1, "1": 2}


@virtual_time
async def test_stream_yields_results_as_they_come() -> None:
    async with ExecutionState().parallel() as group:
        for seconds in (3, 1, 2):
            group.add(after, seconds, seconds)
        assert [result async for result in group.stream()] == [1, 2, 3]
    async with ExecutionState().parallel() as group:
        group.add(after, 2, key="late")
        group.add(after, 1, key="early")
        assert [child.key async for child in group.as_completed()] == ["early", "late"]


@virtual_time
async def test_children_added_while_streaming_run_too() -> None:
    async with ExecutionState().parallel() as group:
        group.add(after, 1, 1)
        got = []
        async for result in group.stream():
            got.append(result)
            if result < 3:
                group.add(after, 1, result + 1)
        assert got == [1, 2, 3]
        with pytest.raises(RuntimeError, match="ended"):
            group.add(after(1))


@virtual_time
async def test_a_block_that_never_gathers_runs_its_children_to_the_end() -> None:
    async with ExecutionState().parallel() as group:
        child = group.add(after, 1, "done")
    assert child.result() == "done"


@virtual_time
async def test_a_block_that_raises_runs_none_and_leaves_nothing_un_awaited() -> None:
    with pytest.raises(KeyError):
        async with ExecutionState().parallel() as group:
            group.add(forever())
            raise KeyError


@virtual_time
async def test_a_stream_left_early_cancels_the_rest() -> None:
    async with ExecutionState().parallel() as group:
        group.add(after, 1, 1)
        slow = group.add(forever)
        async for _ in group.stream():
            break
    assert isinstance(slow.error, ChildCancelledError)


@virtual_time
async def test_interrupted_while_a_stream_that_was_left_early_ends() -> None:
    state = state_in_loop()

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(10)

    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(after, 1)
            child = group.add(slow_to_end)
            async for _ in group.stream():
                asyncio.get_running_loop().call_later(5, state.request_interrupt)
                break
    assert child.done


@pytest.mark.parametrize("how", ["interrupted", "the block raises", "a sibling fails"])
@virtual_time
async def test_a_task_that_was_handed_in_is_ended_even_if_its_turn_never_came(how: str) -> None:
    state = state_in_loop()
    cleaned: list[int] = []

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(3)
            cleaned.append(1)

    task, future = asyncio.create_task(slow_to_end()), asyncio.get_running_loop().create_future()
    await settle()
    with pytest.raises((ExecutionInterrupted, ValueError)):
        async with state.parallel(max_workers=1) as group:
            group.add(fails, 1) if how == "a sibling fails" else group.add(forever)
            group.add(task)
            group.add(future)
            if how == "the block raises":
                raise ValueError("boom")
            if how == "interrupted":
                asyncio.get_running_loop().call_later(1, state.request_interrupt)
            await group.gather()
    assert cleaned == [1]
    assert future.cancelled()


@virtual_time
async def test_what_cannot_be_a_child_is_refused() -> None:
    state = ExecutionState()
    async with state.parallel(retry=RetryPolicy()) as group:
        with pytest.raises(TypeError, match="only once"):
            group.add(forever())
        group.add(after, 0, key="taken")
        with pytest.raises(ValueError, match="taken"):
            group.add(after, 0, key="taken")
        with pytest.raises(TypeError, match="int"):
            group.add(1)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="max_workers"):
        state.parallel(max_workers=0)


@pytest.mark.parametrize("workers", [1, 3, 100])
@virtual_time
async def test_max_workers(workers: int) -> None:
    running, most = 0, 0

    async def child() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1

    async with ExecutionState().parallel(max_workers=workers) as group:
        for _ in range(10):
            group.add(child)
        await group.gather()
    assert most == min(workers, 10)


@virtual_time
async def test_each_child_has_its_own_address() -> None:
    async def leaf() -> str:
        await asyncio.sleep(0)
        return current_address()

    async def branch() -> list[str]:
        async with state.parallel() as inner:
            inner.add(leaf, key="x")
            inner.add(leaf, key="y")
            return await inner.gather()

    state = ExecutionState()
    async with state.parallel() as group:
        group.add(branch, key="a")
        group.add(branch, key="b")
        assert await group.gather() == [["a::x", "a::y"], ["b::x", "b::y"]]
    assert current_address() == ""


# -- failures -----------------------------------------------------------------------------------------------


@virtual_time
async def test_fail_fast_cancels_the_others_and_raises_the_first() -> None:
    async with ExecutionState().parallel() as group:
        group.add(fails, 1, "first")
        slow = group.add(forever)
        with pytest.raises(ValueError, match="first"):
            await group.gather()
        assert isinstance(slow.error, ChildCancelledError)
        assert asyncio.get_running_loop().time() == pytest.approx(1001)


@virtual_time
async def test_fail_slow_runs_all_and_raises_all() -> None:
    async with ExecutionState().parallel(error_strategy=ErrorStrategy.FAIL_SLOW) as group:
        group.add(fails, 1, "a")
        done = group.add(after, 3, "done")
        group.add(fails, 2, "b")
        with pytest.raises(ExceptionGroup, match="2 of 3") as caught:
            await group.gather()
        assert [str(error) for error in caught.value.exceptions] == ["a", "b"]
        assert done.result() == "done"


@virtual_time
async def test_fail_slow_stream_yields_what_succeeds_and_raises_at_the_end() -> None:
    got = []
    async with ExecutionState().parallel(error_strategy=ErrorStrategy.FAIL_SLOW) as group:
        group.add(fails, 1)
        group.add(after, 2, "done")
        with pytest.raises(ExceptionGroup):
            async for result in group.stream():
                got.append(result)
    assert got == ["done"]


@virtual_time
async def test_collect_puts_failures_among_the_results() -> None:
    async with ExecutionState().parallel(error_strategy=ErrorStrategy.COLLECT) as group:
        group.add(fails, 1)
        group.add(after, 2, "done")
        first, second = await group.gather()
        assert isinstance(first, ValueError)
        assert second == "done"


@virtual_time
async def test_a_child_cancelled_by_somebody_else_has_failed() -> None:
    async with ExecutionState().parallel() as group:
        task = asyncio.create_task(forever())
        group.add(task)
        asyncio.get_running_loop().call_later(1, task.cancel)
        with pytest.raises(ChildCancelledError):
            await group.gather()


@virtual_time
async def test_somebody_elses_interrupt_ends_the_group_whatever_the_strategy() -> None:
    def child() -> None:
        raise ExecutionInterrupted(SIGNAL)

    async with ExecutionState().parallel(error_strategy=ErrorStrategy.COLLECT) as group:
        group.add(child)
        slow = group.add(forever)
        with pytest.raises(ExecutionInterrupted, match="stop"):
            await group.gather()
        assert slow.error is not None


# -- the interrupt ------------------------------------------------------------------------------------------


@virtual_time
async def test_interrupted_before_nothing_is_created() -> None:
    state = ExecutionState()
    state.request_interrupt()
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel():
            pytest.fail("the block was entered")


@pytest.mark.parametrize("kind", ["coroutine", "function"])
@virtual_time
async def test_interrupted_between_adding_and_starting(kind: str) -> None:
    """Nothing has run, and no coroutine is left un-awaited."""
    ran: list[int] = []

    async def child() -> None:
        ran.append(1)

    state = ExecutionState()
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(child() if kind == "coroutine" else child)
            state.request_interrupt()
            with pytest.raises(ExecutionInterrupted):
                group.add(child())
            await group.gather()
    assert ran == []


@pytest.mark.parametrize("how", ["gather", "stream", "gather_dict"])
@virtual_time
async def test_interrupted_while_it_runs(how: str) -> None:
    """Every child is cancelled and awaited before the interrupt is raised."""
    cleaned: list[int] = []

    async def child(number: int) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(number)
            cleaned.append(number)

    state = state_in_loop()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            for number in range(5):
                group.add(child, number)
            if how == "stream":
                async for _ in group.stream():
                    pass
            else:
                await getattr(group, how)()
    assert cleaned == [0, 1, 2, 3, 4]
    assert not state._bells


@virtual_time
async def test_interrupted_while_it_starts() -> None:
    """A signal handler runs between two children: the rest are not created, those created are awaited."""

    class Signalled(Interruptible):
        """Interrupted at the third look."""

        looks = 0

        @property
        def is_interrupted(self) -> bool:
            self.looks += 1
            if self.looks == 3:
                self.set_signal(SIGNAL)
            return super().is_interrupted

    begun: list[int] = []

    async def child(number: int) -> None:
        begun.append(number)
        await forever()

    group = ParallelExecutionManager(Signalled())
    with pytest.raises(ExecutionInterrupted):
        async with group:
            for number in range(10):
                group.add(child(number))
            await group.gather()
    assert sum(child.done for child in group.children) == 2
    assert begun == []


@pytest.mark.parametrize("last", ["the last child", "after the last child"])
@virtual_time
async def test_interrupted_while_it_ends(last: str) -> None:
    """The last child ends and the interrupt comes in the same step: the post-check raises."""
    state = ExecutionState()

    async def child() -> str:
        if last == "the last child":
            state.request_interrupt()
        else:
            asyncio.get_running_loop().call_soon(state.request_interrupt)
        return "done"

    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            done = group.add(child)
            await group.gather()
    assert done.result() == "done"


@virtual_time
async def test_interrupted_after_it_ended_keeps_the_results() -> None:
    state = ExecutionState()
    async with state.parallel() as group:
        group.add(after, 1, 1)
        results = await group.gather()
        state.request_interrupt()
    assert results == [1]


@virtual_time
async def test_interrupted_during_backoff() -> None:
    state = state_in_loop()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel(retry=RetryPolicy(attempts=9, delay=1000, max_delay=1000)) as group:
            child = group.add(fails, 0)
            await group.gather()
    assert child.attempt == 1
    assert asyncio.get_running_loop().time() == pytest.approx(1001)


@virtual_time
async def test_a_child_in_a_shield_commits_first() -> None:
    state = state_in_loop()
    committed: list[int] = []

    async def child() -> None:
        with state.shield():
            await asyncio.sleep(5)
            committed.append(1)
        pytest.fail("leaving the shield is a checkpoint")

    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(child)
            group.add(forever)
            await group.gather()
    assert committed == [1]


@virtual_time
async def test_a_group_in_a_shield_goes_on() -> None:
    state = state_in_loop()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    results = []
    with pytest.raises(ExecutionInterrupted), state.shield():
        async with state.parallel(max_workers=1) as group:
            group.add(after, 2, "a")
            group.add(state.sleep, 2)
            results = await group.gather()
    assert results == ["a", None]


@virtual_time
async def test_fail_fast_waits_for_a_shield_too() -> None:
    state = state_in_loop()
    committed: list[int] = []

    async def child() -> None:
        with state.shield():
            await asyncio.sleep(5)
            committed.append(1)
        await forever()

    async with state.parallel() as group:
        group.add(child)
        group.add(fails, 1)
        with pytest.raises(ValueError, match="boom"):
            await group.gather()
    assert committed == [1]


@real_time
async def test_interrupted_from_a_thread() -> None:
    state = ExecutionState()
    thread = threading.Thread(target=state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(forever)
            group.add(thread.start)
            await group.gather()
    thread.join()


@virtual_time
async def test_interrupted_twice_is_interrupted_once() -> None:
    state = ExecutionState()
    cleaned: list[int] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            state.request_interrupt(message="second")
            await asyncio.sleep(1)
            cleaned.append(1)

    asyncio.get_running_loop().call_later(1, state.request_interrupt, InterruptReason.CUSTOM, "first")
    with pytest.raises(ExecutionInterrupted, match="first"):
        async with state.parallel() as group:
            group.add(child)
            await group.gather()
    assert cleaned == [1]


@virtual_time
async def test_a_child_that_a_checkpoint_has_told_is_not_cancelled_in_its_clean_up() -> None:
    state = ExecutionState()
    cleaned: list[int] = []

    async def child() -> None:
        try:
            state.request_interrupt()
            await state.check_interrupt()
        finally:
            await asyncio.sleep(1)
            cleaned.append(1)

    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(child)
            group.add(forever)
            await group.gather()
    assert cleaned == [1]


@virtual_time
async def test_a_thousand_children() -> None:
    state = ExecutionState()
    asyncio.get_running_loop().call_later(1, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            for _ in range(1000):
                group.add(state.sleep, 100)
            await group.gather()
    assert all(child.done for child in group.children)


@virtual_time
async def test_an_interrupt_beats_a_failure_that_came_first() -> None:
    """The interrupt arrives while the failure's cancellations are still being awaited."""
    state = state_in_loop()

    async def slow() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(5)

    asyncio.get_running_loop().call_later(2, state.request_interrupt)
    with pytest.raises(ExecutionInterrupted):
        async with state.parallel() as group:
            group.add(fails, 1)
            group.add(slow)
            await group.gather()


def test_children_that_do_not_end_are_named(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def slow() -> None:
            try:
                await forever()
            finally:
                await asyncio.sleep(SLOW_CANCEL_SECONDS * 2)

        async with ExecutionState().parallel(name="fetch") as group:
            group.add(slow, key="mule")
            group.add(fails, 1)
            with pytest.raises(ValueError, match="boom"):
                await group.gather()

    with caplog.at_level(logging.WARNING):
        run_virtual(main)
    assert "'fetch' were cancelled and have not ended: mule" in caplog.text


# -- time limits and cancellation from outside --------------------------------------------------------------


@pytest.mark.parametrize("limit", ["group", "stream"])
@virtual_time
async def test_a_time_limit(limit: str) -> None:
    got = []
    async with ExecutionState().parallel(timeout=3 if limit == "group" else None, name="g") as group:
        group.add(after, 1, 1)
        group.add(forever)
        with pytest.raises(TimeoutError, match=f"{limit} 'g' was not done within 3 s"):
            async for result in group.stream(timeout=3 if limit == "stream" else None):
                got.append(result)
    assert got == [1]
    assert asyncio.get_running_loop().time() == pytest.approx(1003)


@pytest.mark.parametrize("limit", ["group", "stream"])
@virtual_time
async def test_a_slow_reader_does_not_make_a_group_late(limit: str) -> None:
    """All have ended in time: their results are read whenever it pleases. What is added after that is too late."""
    got = []
    async with ExecutionState().parallel(timeout=3 if limit == "group" else None) as group:
        for number in range(3):
            group.add(after, 1, number)
        async for result in group.stream(timeout=3 if limit == "stream" else None):
            got.append(result)
            await asyncio.sleep(10)
    assert got == [0, 1, 2]

    async with ExecutionState().parallel(timeout=3 if limit == "group" else None) as group:
        group.add(after, 1)
        with pytest.raises(TimeoutError, match="within 3 s"):
            async for _ in group.stream(timeout=3 if limit == "stream" else None):
                await asyncio.sleep(10)
                group.add(pytest.fail, "began")


@virtual_time
async def test_a_time_limit_that_is_kept_leaves_no_timer() -> None:
    async with ExecutionState().parallel(timeout=3) as group:
        group.add(after, 1)
        await group.gather()
    assert not group._crew._undo


@pytest.mark.parametrize("by", ["task.cancel", "asyncio.timeout", "anyio", "twice"])
def test_cancelled_from_outside_leaves_nothing_running(by: str) -> None:
    async def main() -> None:
        cleaned: list[int] = []

        async def child() -> None:
            try:
                await forever()
            finally:
                await asyncio.sleep(1)
                cleaned.append(1)

        async def body() -> None:
            async with state_in_loop().parallel(max_workers=2) as group:
                for _ in range(5):
                    group.add(child())
                await group.gather()

        if by == "asyncio.timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await body()
        elif by == "anyio":
            with anyio.move_on_after(0.01) as cancel_scope:
                await body()
            assert cancel_scope.cancelled_caught
        else:
            task = asyncio.create_task(body())
            await settle()
            task.cancel()
            await settle()
            if by == "twice":
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert cleaned == [1, 1]

    (run_real if by == "anyio" else run_virtual)(main)


@virtual_time
async def test_cancelled_and_interrupted_at_once_is_cancelled() -> None:
    """asyncio's rule: the outer one wins. The state still tells the interrupt."""
    state = ExecutionState()

    async def body() -> None:
        async with state.parallel() as group:
            group.add(forever)
            await group.gather()

    task = asyncio.create_task(body())
    await settle()
    task.cancel()
    state.request_interrupt()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- retries and the circuit breaker ------------------------------------------------------------------------


@virtual_time
async def test_retries_with_backoff_until_it_succeeds() -> None:
    seen: list[Event] = []
    state = state_in_loop()
    state.event_bus.subscribe(seen.append, kinds={"retrying"})
    tries = itertools.count(1)

    async def flaky() -> int:
        number = next(tries)
        if number < 3:
            raise OSError(number)
        return number

    async with state.parallel(retry=RetryPolicy(backoff=Backoff.LINEAR, delay=1)) as group:
        child = group.add(flaky, key="flaky")
        assert await group.gather() == [3]
    assert child.attempt == 3
    assert asyncio.get_running_loop().time() == pytest.approx(1003)
    assert [event.data["wait"] for event in seen] == [1, 2]
    await state.aclose()


@pytest.mark.parametrize("error", [ExecutionInterrupted(SIGNAL), asyncio.CancelledError()])
@virtual_time
async def test_an_interrupt_is_never_retried(error: BaseException) -> None:
    tries: list[int] = []

    async def child() -> None:
        tries.append(1)
        raise error

    async with ExecutionState().parallel(retry=RetryPolicy(attempts=5, delay=0)) as group:
        group.add(child)
        with pytest.raises((ExecutionInterrupted, ChildCancelledError)):
            await group.gather()
    assert tries == [1]


def test_a_child_that_was_cancelled_is_not_retried(caplog: pytest.LogCaptureFixture) -> None:
    """Not even if its clean-up raises something that is worth another try elsewhere; that is logged."""

    async def main() -> None:
        async with state_in_loop() as state:
            tries: list[int] = []

            async def clumsy() -> None:
                tries.append(1)
                try:
                    await asyncio.sleep(100)
                finally:
                    raise OSError("clean-up")

            with pytest.raises(TimeoutError):
                async with state.parallel(timeout=1, retry=RetryPolicy(delay=0), name="g") as group:
                    group.add(clumsy)
                    await group.gather()
            assert tries == [1]

    run_virtual(main)
    assert [record.getMessage() for record in caplog.records] == ["g[0] failed as it was ended: OSError('clean-up')"]


@virtual_time
async def test_an_open_circuit_breaker_spares_the_rest() -> None:
    tries: list[int] = []

    async def child() -> None:
        tries.append(1)
        raise OSError

    breaker = CircuitBreaker(failures=2, reset_after=100)
    async with ExecutionState().parallel(
        max_workers=1, error_strategy=ErrorStrategy.COLLECT, circuit_breaker=breaker, retry=RetryPolicy(delay=0)
    ) as group:
        for _ in range(4):
            group.add(child)
        outcomes = await group.gather()
    assert len(tries) == 2
    assert all(isinstance(outcome, CircuitOpenError) for outcome in outcomes)
    assert breaker.is_open


@virtual_time
async def test_a_breaker_is_told_of_success_and_of_cancellation() -> None:
    breaker = CircuitBreaker(failures=1, reset_after=5)
    breaker.failed(asyncio.get_running_loop().time() - 10)
    async with ExecutionState().parallel(circuit_breaker=breaker, timeout=1) as group:
        group.add(forever)
        with pytest.raises(TimeoutError):
            await group.gather()
    looks = [breaker.is_open]
    async with ExecutionState().parallel(circuit_breaker=breaker) as group:
        group.add(after(1))
        await group.gather()
    looks.append(breaker.is_open)
    assert looks == [True, False]
    breaker.failed(asyncio.get_running_loop().time())
    async with ExecutionState().parallel(circuit_breaker=breaker) as group:
        group.add(after(1))
        with pytest.raises(CircuitOpenError):
            await group.gather()
