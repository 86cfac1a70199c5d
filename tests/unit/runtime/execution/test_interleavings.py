"""One rich execution, interrupted or cancelled before every single step of the event loop, in turn.

Whatever the step: the result is complete or interrupted, commits are whole, clean-up has run, there is one
InterruptEvent, and nothing is left running.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.concurrency.retry import RetryPolicy
from runtime.events.subscribers import Stream
from runtime.execution.event import ExecutionEvent
from runtime.execution.state import ExecutionState
from runtime.model import Event, ExecutionResult, ExecutionStatus
from runtime.testing import VirtualTimeLoop
from tests.support.examples import scaled


@dataclass
class Story:
    """What happened."""

    opened: int = 0
    closed: int = 0
    half_commits: int = 0
    commits: int = 0
    tries: int = 0
    too_late: bool = False
    events: list[Event] = field(default_factory=list)
    streamed: list[Event] = field(default_factory=list)


async def execute(state: ExecutionState, story: Story) -> ExecutionResult[Any]:
    """An event with a condition, a generator, a group with retries, a nested event and a shielded commit."""

    async def ticker() -> None:
        story.opened += 1
        try:
            await asyncio.sleep(1000)
        finally:
            with state.shield():
                await asyncio.sleep(0)
                story.closed += 1

    async def flaky(data: int) -> int:
        story.opened += 1
        try:
            await state.check_interrupt()
            await asyncio.sleep(1)
            story.tries += 1
            if story.tries == 1:
                raise OSError
            return data
        finally:
            with state.shield():
                await asyncio.sleep(0)
                story.closed += 1

    async def commit(data: Any, state: ExecutionState) -> str:
        await state.sleep(1)
        with state.shield():
            story.half_commits += 1
            await asyncio.sleep(1)
            story.commits += 1
        return "committed"

    async def actor(data: Any, state: ExecutionState) -> list[Any]:
        state.register_generator(asyncio.create_task(ticker()))
        async with state.parallel(max_workers=2, retry=RetryPolicy(delay=1), timeout=100) as group:
            group.add(flaky, 1)
            group.add(flaky, 2)
            group.add(ExecutionEvent(actor=commit), None, state)
            return await group.gather()

    async def ready(data: Any, state: ExecutionState) -> bool:
        await asyncio.sleep(0)
        return True

    return await ExecutionEvent(actor=actor, preconditions=[ready])(None, state)


async def read(stream: Stream) -> list[Event]:
    return [event async for event in stream]


STEPS = 40
"""More than an undisturbed run takes."""


class SteppedLoop(VirtualTimeLoop):
    """Calls something before its steps number so and so."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.plans: dict[int, list[Callable[[], object]]] = {}

    def _run_once(self) -> None:
        plans = self.plans.pop(self.steps, [])
        self.steps += 1
        for plan in plans:
            plan()
        super()._run_once()  # type: ignore[misc]  # asyncio's own, the only place between two steps


def play(interrupt_at: int | None, cancel_at: int | None) -> tuple[Story, ExecutionState, Any]:
    """Run it once. Returns the story, the state and the result (or "cancelled")."""
    story, states = Story(), []

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        state = ExecutionState(clock=loop.time)
        states.append(state)
        state.event_bus.subscribe(story.events.append)
        reader = asyncio.create_task(read(state.event_bus.stream()))
        task = asyncio.create_task(execute(state, story))

        def interrupt() -> None:
            story.too_late = "closer" in state._once
            state.request_interrupt()

        if cancel_at is not None:
            loop.plans.setdefault(loop.steps + cancel_at, []).append(task.cancel)
        if interrupt_at is not None:
            loop.plans.setdefault(loop.steps + interrupt_at, []).append(interrupt)
        await asyncio.wait([task])
        result = "cancelled" if task.cancelled() else task.result()
        await state.aclose()
        story.streamed = await reader
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        result = runner.run(main())
        loop = runner.get_loop()
        assert isinstance(loop, SteppedLoop)
        assert loop.steps < STEPS
        return story, states[0], result


def check(story: Story, state: ExecutionState, result: Any, label: object) -> None:
    """What is true however it ended."""
    assert story.opened == story.closed, label
    interrupts = [event for event in story.events if event.kind == "interrupt"]
    assert len(interrupts) == (1 if state.is_interrupted and not story.too_late else 0), label
    if interrupts:
        assert story.streamed[-1].kind == "interrupt", label
    assert [event.seq for event in story.streamed] == list(range(1, len(story.streamed) + 1)), label
    if result != "cancelled":
        assert story.half_commits == story.commits, label
        assert result.status in {ExecutionStatus.COMPLETED, ExecutionStatus.INTERRUPTED}, label
        assert (result.status is ExecutionStatus.INTERRUPTED) == (result.signal is not None), label
        assert str(state.history[-1].status) == str(result.status), label
    ended = [record for record in state.history if record.status is not ExecutionStatus.STARTED]
    assert len(ended) == len(state.history) - len(ended), label  # each execution that started has one end


def test_undisturbed() -> None:
    story, state, result = play(None, None)
    check(story, state, result, "undisturbed")
    assert result.status is ExecutionStatus.COMPLETED
    assert (story.commits, story.tries) == (1, 3)


def test_interrupted_before_every_step() -> None:
    outcomes = set()
    for step in range(STEPS):
        story, state, result = play(step, None)
        check(story, state, result, step)
        outcomes.add(str(result.status))
    assert outcomes == {"interrupted", "completed"}


def test_cancelled_before_every_step() -> None:
    for step in range(1, STEPS):
        story, state, result = play(None, step)
        check(story, state, result, step)


def test_interrupted_and_cancelled_before_every_pair_of_steps() -> None:
    """The quick profile tries a tenth of the pairs, evenly."""
    pairs = list(itertools.product(range(STEPS), range(1, STEPS)))
    for interrupt_at, cancel_at in pairs[:: len(pairs) // scaled(len(pairs))]:
        story, state, result = play(interrupt_at, cancel_at)
        check(story, state, result, (interrupt_at, cancel_at))
