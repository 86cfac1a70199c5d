"""A user's code against `quiesce`. Never run: mypy --strict and pyright (basic) must accept it."""

from __future__ import annotations

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
