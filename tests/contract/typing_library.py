"""A user's code against `orchestrator`. Never run: mypy --strict and pyright (basic) must accept it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Future, as_completed, wait
from functools import partial
from typing import Any, assert_type

from orchestrator import Counts, Handle, Outcome, RunEvent, RunReader, Supervisor, open_run
from runtime import ExecutionState, ExecutionStatus, agent


@agent
async def summarise(path: str, state: ExecutionState) -> dict[str, int]:
    return {path: 1}


@agent(timeout=3)
def count(path: str, state: ExecutionState) -> int:
    return len(path)


def double(number: int) -> int:
    return 2 * number


def scaled(number: int, state: ExecutionState, *, factor: float = 2) -> float:
    return factor * number


async def fetch(number: int) -> str:
    return str(number)


class Model:
    def predict(self, text: str, state: ExecutionState) -> list[float]:
        return [float(len(text))]

    def __call__(self, text: str) -> bool:
        return bool(text)


async def numbers() -> AsyncIterator[int]:
    yield 1


def maps(supervisor: Supervisor) -> None:
    for first in supervisor.map(summarise, ["a"]):
        assert_type(first, Outcome[dict[str, int]])
        assert_type(first.value, dict[str, int])
        assert_type((first.key, first.index, first.ok), tuple[str, int, bool])
    for second in supervisor.map(count, iter(["a"]), keys=["k"]):
        assert_type(second.value, int)
    for third in supervisor.map_unordered(double, range(3)):
        assert_type(third.value, int)
    for fourth in supervisor.map_unordered(fetch, {1, 2}):
        assert_type(fourth.value, str)
    for fifth in supervisor.map(partial(scaled, factor=3), [1]):
        assert_type(fifth.value, float)
    for sixth in supervisor.map(Model().predict, ["a"]):
        assert_type(sixth.value, list[float])
    for seventh in supervisor.map(Model(), ["a"]):
        assert_type(seventh.value, bool)
    anything: list[Outcome[Any]] = list(supervisor.map(lambda number, state: number * 2, [1]))
    objects: Outcome[object] = next(supervisor.map(double, [1]))
    print(anything, objects)


def handles(supervisor: Supervisor) -> None:
    first = supervisor.submit(summarise, "a", key="k", priority=1)
    assert_type(first, Handle[dict[str, int]])
    assert_type(first.result(3), dict[str, int])
    assert_type(first.outcome(), Outcome[dict[str, int]])
    assert_type(first.exception(), BaseException | None)
    second = supervisor.submit(double, 1)
    assert_type(second.result(), int)
    second.add_done_callback(lambda done: print(done.key, done.result() + 1))
    second.add_done_callback(on_done)
    for done in as_completed([second, supervisor.submit(double, 2)]):
        assert_type(done.result(), int)
    future: Future[int] = second
    print(wait([second]).done, second.cancel(), second.cancelled(), second.running(), second.done(), future)


def reads() -> None:
    run = open_run("runs.db")
    assert_type(run, RunReader)
    for task in run.tasks("failed"):
        assert_type((task.key, task.index, task.attempts), tuple[str, int, int])
        assert_type(task.outcome, Outcome[Any] | None)
    for outcome in run.outcomes(status={ExecutionStatus.COMPLETED, "interrupted"}):
        assert_type(outcome.started_at, float | None)
        print(outcome.value, outcome.input, outcome.projected)
    for event in run.events(10, kind=["task.failed"]):
        assert_type(event, RunEvent)
    assert_type(run.counts, Counts)
    assert_type(run.outcome("k"), Outcome[Any] | None)
    print(run.status, run.is_alive, run.settings["grace"], run.signal, run.created_at, run.to_pandas())


def on_done(handle: Handle[int]) -> None:
    print(handle.key)


async def handles_in_a_loop(supervisor: Supervisor) -> None:
    assert_type(await supervisor.submit(fetch, 1), str)
    assert_type(await supervisor.submit(double, 1).outcome_async(), Outcome[int])


async def maps_in_a_loop(supervisor: Supervisor) -> None:
    async for first in supervisor.amap(summarise, ["a"]):
        assert_type(first.value, dict[str, int])
    async for second in supervisor.amap(fetch, numbers()):
        assert_type(second.value, str)
    async for third in supervisor.amap_unordered(double, numbers(), keys=["k"]):
        assert_type(third, Outcome[int])
