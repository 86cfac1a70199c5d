"""What the types must refuse. Never run. Each wrong line is excused; an excuse that is not needed fails the check."""

from __future__ import annotations

from runtime import ErrorStrategy, ExecutionEvent, ExecutionState, InterruptReason, RetryPolicy, agent


async def fetch(number: int) -> str:
    return str(number)


async def shout(text: str, state: ExecutionState) -> str:
    return text.upper()


def lonely(text: str) -> str:
    return text


async def wrong(state: ExecutionState) -> None:
    event = ExecutionEvent(actor=shout)
    number: int | None = (await event("x", state)).result  # type: ignore[assignment]
    ExecutionEvent(actor=lonely)  # type: ignore[arg-type]
    ExecutionEvent(shout)  # type: ignore[call-overload]
    async with state.parallel(error_strategy=ErrorStrategy.COLLECT) as group:
        child = group.add(fetch, 1)
        one: int = child.result()  # type: ignore[assignment]
        (first,) = await group.gather(child)
        two: int = first  # type: ignore[assignment]
        group.add(3)  # type: ignore[call-overload]
    state.parallel(workers=3)  # type: ignore[call-arg]
    state.request_interrupt("whatever")  # type: ignore[arg-type]
    print(state.request_interrupt(InterruptReason.CUSTOM).reason)  # type: ignore[attr-defined]
    state.set_interrupt_checker(lambda: "yes")  # type: ignore[arg-type]
    state.set_timeout("soon")  # type: ignore[arg-type]
    state.register_generator(fetch(1))  # type: ignore[arg-type]
    state.event_bus.subscribe(3)  # type: ignore[arg-type]
    state.history[0].status = None  # type: ignore[misc, assignment]
    RetryPolicy(3)  # type: ignore[call-arg]
    agent(timeout="soon")(shout)  # type: ignore[call-overload]
    print(number, one, two)
