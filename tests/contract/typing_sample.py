"""A user's code against the whole of `runtime`. Never run: mypy --strict and pyright (basic) must accept it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import assert_type

from runtime import (
    Backoff,
    CircuitBreaker,
    ErrorStrategy,
    Event,
    EventPrinter,
    ExecutionEvent,
    ExecutionInterrupted,
    ExecutionRecord,
    ExecutionResult,
    ExecutionState,
    FileChecker,
    InterruptEvent,
    InterruptReason,
    InterruptSignal,
    KillReport,
    ResourceMonitor,
    RetryPolicy,
    Severity,
    agent,
)


@agent
async def summarise(path: str, state: ExecutionState) -> dict[str, int]:
    await state.check_interrupt()
    return {path: 1}


@agent(timeout=3, retries=2)
def count(path: str, state: ExecutionState) -> int:
    state.raise_if_interrupted()
    state.sleep(0.1)
    return len(path)


async def fetch(number: int) -> str:
    return str(number)


async def ticks() -> AsyncIterator[int]:
    yield 1


async def results(state: ExecutionState) -> None:
    one = ExecutionEvent(actor=summarise, retry=RetryPolicy(backoff=Backoff.LINEAR))
    two = ExecutionEvent(actor=count, preconditions=[lambda data, state: bool(data)])
    assert_type(one, ExecutionEvent[dict[str, int]])
    assert_type(two, ExecutionEvent[int])
    assert_type(await one("x", state), ExecutionResult[dict[str, int]])
    result = await two("x", state)
    assert_type(result.result, int | None)
    assert_type(result.signal, InterruptSignal | None)
    assert_type(state.history, tuple[ExecutionRecord, ...])


async def groups(state: ExecutionState) -> None:
    async with state.parallel(
        max_workers=4, error_strategy=ErrorStrategy.COLLECT, timeout=3, circuit_breaker=CircuitBreaker()
    ) as group:
        first = group.add(fetch, 1, key="first")
        second = group.add(ExecutionEvent(actor=count), "x", state)
        third = group.add(fetch(3))
        a, b, c = await group.gather(first, second, third)
        assert_type(a, str)
        assert_type(b, ExecutionResult[int])
        assert_type(c, str)
        assert_type(first.result(), str)
    async with state.parallel() as group:
        children = [group.add(fetch, number) for number in range(10)]
        assert_type(await group.gather(*children), tuple[str, ...])
        assert_type(await group.gather(*children[:1]), tuple[str, ...])
        async for _ in group.stream(timeout=1):
            pass


async def everything_else(state: ExecutionState) -> None:
    won: bool = state.request_interrupt(InterruptReason.CUSTOM, message="m", triggered_by="t", save_checkpoint=False)
    async with state.event_bus.stream() as stream:
        async for event in stream:
            assert_type(event, Event)
            if isinstance(event, InterruptEvent):
                assert_type(event.signal, InterruptSignal)
    state.event_bus.subscribe(EventPrinter())
    state.event_bus.subscribe(on_event)
    state.set_interrupt_checker(lambda: False)
    state.set_interrupt_checker(lambda: None)
    state.set_interrupt_checker(ask)
    state.set_interrupt_checker(FileChecker("stop"), min_interval=1)
    state.set_timeout(3, "m")
    state.register_generator(asyncio.create_task(fetch(1)))
    assert_type(await state.kill_generators(), KillReport)
    await state.log("hello", Severity.INFO, {"n": 1})
    await state.sleep(1)
    with state.shield():
        grace: float | None = state.remaining_grace
    with ResourceMonitor(state, rss_limit=1):
        pass
    try:
        state.raise_if_interrupted()
    except ExecutionInterrupted as interrupted:
        print(interrupted.reason, interrupted.message, won, grace)


async def on_event(event: Event) -> None:
    print(event.seq)


async def ask() -> InterruptSignal | None:
    return None
