"""A loop that does not turn, and whose step holds it. Time is a number here; the loop is real."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar

from runtime.executor.loop_watch import BLOCKED_SECONDS, LoopWatch
from runtime.ipc.executor_protocol import LoopBlocked

_task: ContextVar[int] = ContextVar("task", default=0)


def task_of(context: Context) -> int:
    return context.get(_task, 0)


def test_a_loop_that_turns_is_not_reported() -> None:
    async def turn() -> list[LoopBlocked]:
        watch = LoopWatch(task_of)
        watch.enter(asyncio.get_running_loop())
        reports = []
        for step in range(5):
            reports += watch.look(step * BLOCKED_SECONDS)
            await asyncio.sleep(0)
        return reports

    assert asyncio.run(turn()) == []


def test_the_task_whose_step_holds_it_is_named_once_and_its_end_is_told() -> None:
    async def hold() -> list[LoopBlocked]:
        _task.set(7)
        watch = LoopWatch(task_of)
        watch.enter(asyncio.get_running_loop())
        reports = watch.look(1.0)
        reports += watch.look(1.0 + BLOCKED_SECONDS)
        reports += watch.look(1.0 + 2 * BLOCKED_SECONDS)
        await asyncio.sleep(0)
        return reports + watch.look(2.0)

    assert asyncio.run(hold()) == [LoopBlocked(7, 1.0), LoopBlocked(7, 1.0, 2.0)]


def test_a_gap_in_which_nobody_could_look_is_reported_when_it_is_over() -> None:
    """C code that keeps the interpreter's lock holds up the thread that looks, too."""

    async def hold() -> list[LoopBlocked]:
        _task.set(7)
        watch = LoopWatch(task_of)
        watch.enter(asyncio.get_running_loop())
        watch.look(1.0)
        await asyncio.sleep(0)
        return watch.look(6.0)

    assert asyncio.run(hold()) == [LoopBlocked(7, 1.0), LoopBlocked(7, 1.0, 6.0)]


def test_one_alone_is_not_watched() -> None:
    async def hold() -> list[LoopBlocked]:
        watch = LoopWatch(task_of)
        watch.enter(asyncio.get_running_loop())
        watch.look(1.0)
        watch.leave()
        assert not watch.is_watching
        return watch.look(9.0)

    assert asyncio.run(hold()) == []
