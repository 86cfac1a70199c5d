"""A user's code against `quiesce`. Never run: mypy --strict and pyright (basic) must accept it."""

from __future__ import annotations

from functools import partial
from typing import assert_type

import quiesce
from quiesce import ExecutionState, Outcome, RunResult, Supervisor, UsageError, agent


@agent
async def summarise(path: str, state: ExecutionState) -> dict[str, int]:
    await state.check_interrupt()
    return {path: 1}


@quiesce.agent(timeout=3, retries=2)
def count(path: str, state: quiesce.ExecutionState) -> int:
    state.raise_if_interrupted()
    return len(path)


def main() -> None:
    assert_type(quiesce.__version__, str)
    with Supervisor(workers=4) as supervisor:
        try:
            for outcome in supervisor.map(summarise, ["a"]):
                one: Outcome[dict[str, int]] = outcome
                print(one.key, one.status)
        except UsageError as error:
            print(error)
        assert_type(supervisor.ending, RunResult | None)


def length(path: str) -> int:
    return len(path)


async def fetch(url: str, limit: float = 3.0) -> str:
    return url * int(limit)


class Model:
    """An agent that is an object."""

    def __call__(self, path: str) -> str:
        return path

    async def method(self, path: str, state: ExecutionState) -> str:
        return path


def agents_of_every_kind(supervisor: Supervisor) -> None:
    for work in (length, fetch, Model(), Model().method, partial(fetch, limit=1.0), len):
        print(supervisor.submit(work, "a"))
    print(supervisor.map(length, ["a"]), supervisor.map(fetch, ["a"]), supervisor.map(Model(), ["a"]))
    print(supervisor.map(Model().method, ["a"]), supervisor.map(partial(fetch, limit=1.0), ["a"]))
    print(supervisor.map(len, ["a"]), supervisor.map(lambda path: path + "b", ["a"]))
    print(supervisor.map(lambda path, state: (path, state), ["a"]))
