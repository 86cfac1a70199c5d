"""ExecutionEvent: four checkpoints that behave alike, and records that stay."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest

from runtime.concurrency.retry import RetryPolicy
from runtime.errors import ExecutionInterrupted
from runtime.execution.event import Condition, ExecutionEvent
from runtime.execution.state import ExecutionState
from runtime.model import ExecutionStatus, InterruptReason
from runtime.scope import current_address
from runtime.testing import run_virtual, virtual_time
from tests.unit.runtime.support import settle, state_in_loop


def statuses(state: ExecutionState) -> list[str]:
    return [str(record.status) for record in state.history]


def interrupts(data: Any, state: ExecutionState) -> None:
    """A precondition, a handler, whatever: it is interrupted while it runs, and does not look."""
    state.request_interrupt(InterruptReason.CUSTOM, "stop", triggered_by="test")


async def interrupts_async(data: Any, state: ExecutionState) -> None:
    interrupts(data, state)


def test_an_actors_name_is_its_functions() -> None:
    assert ExecutionEvent(actor=double).name == "double"
    assert ExecutionEvent(actor=Doubler()).name == "Doubler"
    assert ExecutionEvent(actor=functools.partial(functools.partial(double), 1)).name == "double"
    assert ExecutionEvent(actor=double, name="mine").name == "mine"


def double(number: int, state: ExecutionState) -> int:
    return number * 2


async def double_async(number: int, state: ExecutionState) -> int:
    await asyncio.sleep(1)
    return number * 2


class Doubler:
    async def __call__(self, number: int, state: ExecutionState) -> int:
        return number * 2


ACTORS: list[Callable[[Any, ExecutionState], Any]] = [
    double,
    double_async,
    Doubler(),
    functools.partial(lambda number, _state, factor: number * factor, factor=2),
    lambda number, state: double_async(number + 0, state),
]


@pytest.mark.parametrize("actor", ACTORS)
@virtual_time
async def test_every_kind_of_actor(actor: Callable[[Any, ExecutionState], Any]) -> None:
    result = await ExecutionEvent(actor=actor)(21, state_in_loop())
    assert (result.result, result.ok, result.status) == (42, True, ExecutionStatus.COMPLETED)
    assert (result.error_message, result.signal) == (None, None)


@pytest.mark.parametrize(
    ("checkpoint", "ran"), [(1, []), (2, []), (3, ["precondition"]), (4, ["precondition", "handler"])]
)
@pytest.mark.parametrize("interrupt", [interrupts, interrupts_async], ids=["sync", "async"])
@virtual_time
async def test_the_four_checkpoints_behave_alike(
    checkpoint: int, ran: list[str], interrupt: Callable[..., Any]
) -> None:
    trace: list[str] = []
    state = ExecutionState()

    async def precondition(data: Any, state: ExecutionState) -> None:
        trace.append("precondition")
        if checkpoint == 3 and (waiting := interrupt(data, state)):
            await waiting

    async def handler(data: Any, state: ExecutionState) -> str:
        trace.append("handler")
        if checkpoint == 4 and (waiting := interrupt(data, state)):
            await waiting
        return "finished"

    if checkpoint == 1:
        interrupts(None, state)
    elif checkpoint == 2:

        async def checker() -> bool:
            interrupts(None, state)
            return False

        state.set_interrupt_checker(checker)
    event = ExecutionEvent(
        actor=handler, preconditions=[precondition], postconditions=[lambda result, state: trace.append("post")]
    )
    result = await event("input", state)
    assert trace == ran
    assert (result.ok, result.status, result.result) == (False, ExecutionStatus.INTERRUPTED, None)
    assert result.error_message == "custom: stop"
    assert result.signal is state.interrupt_signal
    assert result.signal is not None
    assert (result.signal.reason, result.signal.triggered_by) == (InterruptReason.CUSTOM, "test")
    assert result.execution_time >= 0
    assert statuses(state) == ["started", "interrupted"]
    assert state.history[-1].message == "custom: stop"
    await state.aclose()


@pytest.mark.parametrize("where", ["precondition", "handler", "postcondition"])
@virtual_time
async def test_an_await_is_interrupted_and_its_finally_has_run(where: str) -> None:
    state = state_in_loop()
    cleaned: list[int] = []

    async def slow(data: Any, state: ExecutionState) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            cleaned.append(1)

    def quick(data: Any, state: ExecutionState) -> None:
        pass

    asyncio.get_running_loop().call_later(2, interrupts, None, state)
    result = await ExecutionEvent(
        actor=slow if where == "handler" else quick,
        preconditions=[slow] if where == "precondition" else [],
        postconditions=[slow] if where == "postcondition" else [],
    )(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    assert result.execution_time == pytest.approx(3)
    assert cleaned == [1]


@virtual_time
async def test_interrupted_inside_a_shield_the_commit_is_made() -> None:
    state = state_in_loop()
    committed: list[int] = []

    async def handler(data: Any, state: ExecutionState) -> None:
        with state.shield():
            await asyncio.sleep(5)
            committed.append(1)

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    result = await ExecutionEvent(actor=handler)(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    assert committed == [1]


@virtual_time
async def test_a_sync_actor_is_interrupted_at_its_checkpoint() -> None:
    state = ExecutionState()

    def handler(data: Any, state: ExecutionState) -> None:
        interrupts(data, state)
        state.raise_if_interrupted()
        pytest.fail("went on")

    assert (await ExecutionEvent(actor=handler)(None, state)).status is ExecutionStatus.INTERRUPTED


@virtual_time
async def test_interrupted_twice_one_signal() -> None:
    state = ExecutionState()

    def handler(data: Any, state: ExecutionState) -> None:
        assert state.request_interrupt(message="first")
        assert not state.request_interrupt(message="second")

    result = await ExecutionEvent(actor=handler)(None, state)
    assert result.signal is not None
    assert result.signal.message == "first"


@virtual_time
async def test_an_interrupt_hidden_in_a_task_group_or_behind_clean_up_is_no_failure() -> None:
    async def asleep(state: ExecutionState) -> None:
        await state.sleep(100)

    async def grouped(data: Any, state: ExecutionState) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asleep(state))
            interrupts(data, state)

    async def clumsy(data: Any, state: ExecutionState) -> None:
        interrupts(data, state)
        try:
            state.raise_if_interrupted()
        finally:
            raise KeyError("clean-up")

    for actor in (grouped, clumsy):
        result = await ExecutionEvent(actor=actor)(None, ExecutionState())
        assert result.status is ExecutionStatus.INTERRUPTED


@pytest.mark.parametrize("how", ["finally", "wrapped", "from none"])
def test_clean_up_that_fails_after_a_cancelled_await_is_no_failure(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither retried nor recovered, and what it raised is logged."""

    async def main() -> None:
        state = state_in_loop()
        calls: list[str] = []

        async def handler(data: Any, state: ExecutionState) -> None:
            calls.append("handler")
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError as error:
                if how == "wrapped":
                    raise OSError("clean-up") from error
                if how == "from none":
                    raise OSError("clean-up") from None
                raise
            finally:
                if how == "finally":
                    raise OSError("clean-up")

        asyncio.get_running_loop().call_later(1, interrupts, None, state)
        event = ExecutionEvent(
            actor=handler, retry=RetryPolicy(delay=0), recover=lambda error, state: calls.append("recover")
        )
        result = await event(None, state)
        assert (result.status, result.error_message) == (ExecutionStatus.INTERRUPTED, "custom: stop")
        assert calls == ["handler"]
        assert statuses(state) == ["started", "interrupted"]

    run_virtual(main)
    assert [record.getMessage() for record in caplog.records] == [
        "clean-up failed after an interrupt: OSError('clean-up')"
    ]


@virtual_time
async def test_a_cancellation_from_outside_is_not_retried_behind_a_failing_clean_up() -> None:
    state = state_in_loop()
    tries: list[int] = []

    async def handler(data: Any, state: ExecutionState) -> None:
        tries.append(1)
        try:
            await asyncio.sleep(100)
        finally:
            raise OSError("clean-up")

    task = asyncio.create_task(ExecutionEvent(actor=handler, retry=RetryPolicy(delay=0))(None, state))
    await settle()
    task.cancel()
    result = await task
    assert (result.status, tries) == (ExecutionStatus.FAILED, [1])


@virtual_time
async def test_a_failure_after_a_swallowed_cancellation_is_a_failure() -> None:
    """The guard cannot know better, and the cancellation is not what led to it."""
    state = state_in_loop()

    async def handler(data: Any, state: ExecutionState) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(100)
        raise KeyError("its own")

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    result = await ExecutionEvent(actor=handler)(None, state)
    assert result.status is ExecutionStatus.FAILED
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@virtual_time
async def test_a_failure_is_a_result() -> None:
    state = ExecutionState()

    def handler(data: Any, state: ExecutionState) -> None:
        raise ValueError("no\n  good")

    result = await ExecutionEvent(actor=handler)(None, state)
    assert (result.ok, result.status, result.signal) == (False, ExecutionStatus.FAILED, None)
    assert result.error_message == "ValueError: no good"
    assert statuses(state) == ["started", "failed"]


@pytest.mark.parametrize("which", ["preconditions", "postconditions"])
@pytest.mark.parametrize("answer", [False, 0, "raises"])
@virtual_time
async def test_conditions_that_are_not_met(which: str, answer: object) -> None:
    async def is_ready(subject: Any, state: ExecutionState) -> object:
        if answer == "raises":
            raise LookupError("nothing there")
        return answer

    conditions: list[Condition] = [lambda subject, state: None, is_ready]
    event = ExecutionEvent(
        actor=double,
        preconditions=conditions if which == "preconditions" else (),
        postconditions=conditions if which == "postconditions" else (),
    )
    result = await event(1, ExecutionState())
    assert result.status is ExecutionStatus.FAILED
    assert result.error_message in {
        "LookupError: nothing there",
        f"ConditionError: {which[:-1]} is_ready was not met",
    }


@virtual_time
async def test_conditions_see_the_input_and_the_result() -> None:
    seen: list[Any] = []
    event = ExecutionEvent(
        actor=double,
        preconditions=[lambda data, state: seen.append(data)],
        postconditions=[lambda result, state: seen.append(result)],
    )
    assert (await event(4, ExecutionState())).ok
    assert seen == [4, 8]


@pytest.mark.parametrize("interrupted", [False, True])
@virtual_time
async def test_cancelled_from_outside_is_recorded_and_goes_on(interrupted: bool) -> None:
    state = ExecutionState()

    async def handler(data: Any, state: ExecutionState) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(ExecutionEvent(actor=handler)(None, state))
    await settle()
    task.cancel()
    if interrupted:
        interrupts(None, state)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses(state) == ["started", "interrupted" if interrupted else "cancelling"]


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit])
@virtual_time
async def test_what_must_not_be_kept_is_raised_on(error: type[BaseException]) -> None:
    state = ExecutionState()

    def handler(data: Any, state: ExecutionState) -> None:
        raise error

    with pytest.raises(error):
        await ExecutionEvent(actor=handler)(None, state)
    assert statuses(state) == ["started", "failed"]


# -- nesting ------------------------------------------------------------------------------------------------


@virtual_time
async def test_addresses_of_nested_and_parallel_executions() -> None:
    state = state_in_loop()

    async def llm_call(data: Any, state: ExecutionState) -> str:
        await asyncio.sleep(data)
        return current_address()

    async def parse(data: Any, state: ExecutionState) -> list[str]:
        async with state.parallel() as group:
            for number in (2, 1):
                group.add(ExecutionEvent(actor=llm_call), number, state, key=f"page{number}")
            return [result.result for result in await group.gather()]

    async def audit(data: Any, state: ExecutionState) -> list[str] | None:
        return (await ExecutionEvent(actor=parse)(data, state)).result

    result = await ExecutionEvent(actor=audit)(None, state)
    assert result.result == ["audit::parse::page2::llm_call", "audit::parse::page1::llm_call"]
    addresses = [(str(record.status), record.address) for record in state.history]
    assert addresses[0] == ("started", "audit")
    assert ("completed", "audit::parse::page1::llm_call") in addresses
    assert addresses[-1] == ("completed", "audit")
    assert current_address() == ""


@virtual_time
async def test_history_is_frozen_and_complete() -> None:
    state = ExecutionState()
    during: list[tuple[Any, ...]] = []

    def handler(data: Any, state: ExecutionState) -> None:
        during.append(state.history)

    await ExecutionEvent(actor=handler, name="h")(None, state)
    assert [record.status for record in during[0]] == [ExecutionStatus.STARTED]
    assert state.history[0] is during[0][0]
    assert statuses(state) == ["started", "completed"]
    with pytest.raises(AttributeError):
        state.history[0].status = ExecutionStatus.FAILED


@virtual_time
async def test_an_interrupt_ends_the_whole_nest_each_with_its_record() -> None:
    state = state_in_loop()

    async def inner(data: Any, state: ExecutionState) -> None:
        await asyncio.Event().wait()

    async def outer(data: Any, state: ExecutionState) -> None:
        result = await ExecutionEvent(actor=inner)(data, state)
        assert result.status is ExecutionStatus.INTERRUPTED
        await asyncio.Event().wait()  # went on after an interrupted step: interrupted here

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    result = await ExecutionEvent(actor=outer)(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    assert [(record.name, str(record.status)) for record in state.history] == [
        ("outer", "started"),
        ("inner", "started"),
        ("inner", "interrupted"),
        ("outer", "interrupted"),
    ]


@virtual_time
async def test_children_of_a_group_are_recorded_as_interrupted() -> None:
    state = state_in_loop()

    async def leaf(data: Any, state: ExecutionState) -> None:
        await asyncio.Event().wait()

    async def actor(data: Any, state: ExecutionState) -> None:
        async with state.parallel() as group:
            for number in range(3):
                group.add(ExecutionEvent(actor=leaf), number, state)
            await group.gather()

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    result = await ExecutionEvent(actor=actor)(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    ends = [(record.name, str(record.status)) for record in state.history[4:]]
    assert ends == [("leaf", "interrupted")] * 3 + [("actor", "interrupted")]


@virtual_time
async def test_the_stream_of_an_execution_ends_with_its_one_interrupt_event() -> None:
    """However many events and checkpoints see it."""
    state = state_in_loop()
    stream = state.event_bus.stream()
    seen: list[str] = []
    state.event_bus.subscribe(lambda event: seen.append(event.kind))

    async def leaf(data: Any, state: ExecutionState) -> None:
        await state.sleep(100)

    async def actor(data: Any, state: ExecutionState) -> None:
        async with state.parallel() as group:
            for number in range(10):
                group.add(ExecutionEvent(actor=leaf), number, state)
            await group.gather()

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    await ExecutionEvent(actor=actor)(None, state)
    assert [event.kind async for event in stream][-1] == "interrupt"
    assert seen.count("interrupt") == 1
    await state.aclose()


# -- retries and recovery -----------------------------------------------------------------------------------


@virtual_time
async def test_retrying_is_recorded() -> None:
    state = state_in_loop()
    tries: list[int] = []

    def flaky(data: Any, state: ExecutionState) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("busy")
        return "done"

    result = await ExecutionEvent(actor=flaky, retry=RetryPolicy(delay=1))(None, state)
    assert (result.result, result.status) == ("done", ExecutionStatus.COMPLETED)
    assert statuses(state) == ["started", "retrying", "retrying", "completed"]
    assert [record.attempt for record in state.history] == [1, 1, 2, 3]
    assert result.execution_time == pytest.approx(3)


@virtual_time
async def test_a_backoff_is_cut_short() -> None:
    state = state_in_loop()

    def bad(data: Any, state: ExecutionState) -> None:
        raise OSError

    asyncio.get_running_loop().call_later(1, interrupts, None, state)
    result = await ExecutionEvent(actor=bad, retry=RetryPolicy(delay=50))(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    assert result.execution_time == pytest.approx(1)


@virtual_time
async def test_an_interrupt_is_not_retried_even_behind_a_failing_clean_up() -> None:
    state = ExecutionState()
    tries: list[int] = []

    def handler(data: Any, state: ExecutionState) -> None:
        tries.append(1)
        interrupts(data, state)
        try:
            state.raise_if_interrupted()
        except ExecutionInterrupted:
            raise OSError("clean-up failed")  # noqa: B904

    result = await ExecutionEvent(actor=handler, retry=RetryPolicy(delay=0))(None, state)
    assert result.status is ExecutionStatus.INTERRUPTED
    assert tries == [1]


@virtual_time
async def test_recovery() -> None:
    state = ExecutionState()

    def bad(data: Any, state: ExecutionState) -> str:
        raise OSError("gone")

    async def recover(error: Exception, state: ExecutionState) -> str:
        return f"instead of {error}"

    result = await ExecutionEvent(actor=bad, recover=recover)(None, state)
    assert (result.result, result.ok, result.status) == ("instead of gone", True, ExecutionStatus.RECOVERED)


@virtual_time
async def test_a_timeout_fails_the_attempt() -> None:
    async def slow(data: Any, state: ExecutionState) -> None:
        await asyncio.Event().wait()

    state = state_in_loop()
    result = await ExecutionEvent(actor=slow, timeout=2, retry=RetryPolicy(attempts=2, delay=1))(None, state)
    assert result.status is ExecutionStatus.FAILED
    assert result.error_message == "TimeoutError"
    assert result.execution_time == pytest.approx(5)


@virtual_time
async def test_an_exception_that_cannot_say_what_it_is_fails_the_event_and_no_more() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    def bad(data: Any, state: ExecutionState) -> None:
        raise MuteError

    result = await ExecutionEvent(actor=bad)(None, ExecutionState())
    assert (result.status, result.error_message) == (ExecutionStatus.FAILED, "MuteError")
