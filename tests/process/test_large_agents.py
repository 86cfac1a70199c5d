"""The pickle of a large agent is in no process for longer than a task needs it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import Supervisor
from runtime import heap
from runtime.errors import UsageError
from tests.support.wait import wait_until

SIZE = 1 << 20


def measure(data: bytes, task: int, state: Any) -> tuple[int, int, int]:
    """What an agent with a large argument got, and where."""
    return len(data), task, os.getpid()


def is_trimmed() -> bool:
    """Whether freed memory can be given back."""
    return heap._trim is not None


def held(supervisor: Supervisor) -> int:
    """Bytes of pickled agents that the supervisor holds."""
    session = supervisor._require_session()
    return sum(len(order.source) for order in tuple(session._engine.machine.state.agents.values()))


@pytest.mark.skipif(not is_trimmed(), reason="the C library is not glibc")
def test_an_executor_gives_back_the_memory_of_agents_that_it_dropped() -> None:
    """It holds 16 MiB of those that it used last, and has had a hundred."""
    with Supervisor(workers=1, log=lambda *_: None) as supervisor:
        pid = supervisor.submit(partial(measure, b""), 0, key="first").outcome(60).value[2]
        executor = psutil.Process(pid)
        before = executor.memory_info().rss
        handles = [supervisor.submit(partial(measure, os.urandom(SIZE)), number) for number in range(100)]
        assert {handle.outcome(60).value[2] for handle in handles} == {pid}
        wait_until(lambda: executor.memory_info().rss - before < 40 * SIZE, 30, "the executor to shrink")


@pytest.mark.parametrize("with_journal", [False, True])
def test_the_supervisor_holds_the_agents_of_pending_tasks_only(tmp_path: Path, with_journal: bool) -> None:
    journal = tmp_path / "j.db" if with_journal else None
    with Supervisor(workers=2, journal=journal, log=lambda *_: None) as supervisor:
        handles = [supervisor.submit(partial(measure, bytes([number]) * SIZE), number) for number in range(20)]
        assert [handle.outcome(60).value[:2] for handle in handles] == [(SIZE, number) for number in range(20)]
        wait_until(lambda: held(supervisor) == 0, what="the supervisor to drop all of them")
        # one that was dropped is handed in again, also to an executor that has never had it
        again = partial(measure, bytes(SIZE))
        *_, pid = supervisor.submit(again, 20, key="again").outcome(60).value
        os.kill(pid, signal.SIGKILL)
        assert supervisor.submit(again, 21, key="after a crash").outcome(60).value[:2] == (SIZE, 21)
        assert {outcome.value[:2] for outcome in supervisor.map(again, [30, 31])} == {(SIZE, 30), (SIZE, 31)}
        wait_until(lambda: held(supervisor) == 0, what="the supervisor to drop it after map, too")


@pytest.mark.parametrize("with_journal", [False, True])
def test_an_agent_is_dropped_though_its_caller_did_not_come_to_the_end(tmp_path: Path, with_journal: bool) -> None:
    """A task that is refused, and a loop over outcomes that is left early."""

    def agent(number: int) -> partial[tuple[int, int, int]]:
        return partial(measure, bytes([number]) * SIZE)

    async def stream() -> AsyncIterator[int]:
        for number in range(50):
            yield number

    async def leave_early() -> None:
        async for _ in supervisor.amap(agent(4), stream(), keys=(f"stream {number}" for number in range(50))):
            break

    journal = tmp_path / "j.db" if with_journal else None
    with Supervisor(workers=1, journal=journal, log=lambda *_: None) as supervisor:
        supervisor.submit(agent(1), 0, key="first").outcome(60)
        busy = supervisor.submit(agent(1), 0, key="twice")
        if with_journal:
            busy.outcome(60)
        for refused in (
            lambda: supervisor.submit(agent(2), lambda: iter(()), key="\udcff"),
            lambda: list(supervisor.map(agent(2), [1, 2], keys=["again", "again"])),
        ):
            with pytest.raises(UsageError):
                refused()
        if with_journal:
            with pytest.raises(UsageError):
                supervisor.submit(agent(3), 0, key="twice")
        for _ in supervisor.map(agent(3), range(50), keys=map(str, range(100, 150))):
            break
        asyncio.run(leave_early())
        wait_until(lambda: held(supervisor) == 0, 30, "the supervisor to drop all of them")
