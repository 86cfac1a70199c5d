"""`Supervisor` from Python: wherever `__main__` comes from, sync and async, with tasks that come while it runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.handle import TaskFailed
from runtime.errors import QuiesceError, UsageError
from runtime.model import ExecutionStatus, InterruptReason
from tests.support.cli import environment

PROGRAM = """
from orchestrator import Supervisor
factor = 3
def times(x, state):
    return x * factor
if __name__ == "__main__":
    with Supervisor(workers=2) as supervisor:
        print(sorted(outcome.value for outcome in supervisor.map(times, [1, 2, 3])))
        print(sorted(outcome.value for outcome in supervisor.map(lambda x, state: times(x, state) + 1, [1, 2, 3])))
        print(supervisor.submit(lambda x, state: [x, factor], 7).result())
"""


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


@pytest.mark.parametrize("way", ["file", "-c", "standard input", "-i"])
def test_functions_and_lambdas_of_any_main_are_agents(tmp_path: Path, way: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = {
        "file": ["program.py"],
        "-c": ["-c", PROGRAM],
        "standard input": ["-"],
        "-i": ["-i", "-q", "-c", PROGRAM],
    }
    done = subprocess.run(
        [sys.executable, *arguments[way]],
        input=PROGRAM if way == "standard input" else "",
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[3, 6, 9]", "[4, 7, 10]", "[7, 3]"], done.stderr


def test_tasks_come_while_others_run_and_say_how_they_ended() -> None:
    def picky(x: int, state: Any) -> int:
        if x == 13:
            raise ValueError("not that one")
        return x + 1

    with Supervisor(workers=2, log=quiet) as supervisor:
        handles = [supervisor.submit(picky, x) for x in (1, 13, 3)]
        outcomes = [outcome.value for outcome in supervisor.map(picky, [10])]
        assert [handles[0].result(), handles[2].result(), *outcomes] == [2, 4, 11]
        with pytest.raises(TaskFailed, match="ValueError: not that one") as failed:
            handles[1].result()
        assert "picky" in (failed.value.outcome.detail or "")


def test_it_works_in_an_event_loop_without_blocking_it() -> None:
    async def slowly(x: int, state: Any) -> int:
        await asyncio.sleep(0.01)
        return x * 2

    async def main() -> tuple[list[int], int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async with Supervisor(workers=1, concurrency=4, log=quiet) as supervisor:
            values = [outcome.value async for outcome in supervisor.amap(slowly, range(8))]
            value = await supervisor.submit(slowly, 50)
        ticking.cancel()
        return sorted(values), value, ticks

    values, value, ticks = asyncio.run(main())
    assert values == [x * 2 for x in range(8)]
    assert value == 100
    assert ticks > 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 0}, "workers = 0"),
        ({"timeout": 0}, "timeout = 0"),
        ({"max_failures": "x"}, "max_failures 'x' is neither a count nor a percentage"),
        ({"journal": "/nowhere/j.db"}, "there is no directory /nowhere"),
    ],
)
def test_settings_that_are_none_are_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as wrong, Supervisor(**settings, log=quiet):
        pass
    assert words in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_agents_that_are_none_are_refused_and_the_block_goes_on() -> None:
    with Supervisor(workers=1, log=quiet) as supervisor:
        for wrong in (3, lambda x: x, int.__class__):
            with pytest.raises(UsageError):
                supervisor.submit(wrong, 1)  # type: ignore[arg-type]
        assert supervisor.submit(lambda x, state: x, 1).result() == 1
    with pytest.raises(QuiesceError, match="ended"):
        supervisor.submit(lambda x, state: x, 1)


def test_a_reader_of_events_can_go_on_where_it_was(tmp_path: Path) -> None:
    def speaks(x: int, state: Any) -> int:
        state.emit("word", n=x)
        return x

    with Supervisor(workers=1, journal=tmp_path / "j.db", log=quiet) as supervisor:
        live = supervisor.events()
        for x in range(3):
            supervisor.submit(speaks, x).result()
        again = supervisor.events(from_seq=2)
        for x in range(3, 6):
            supervisor.submit(speaks, x).result()
    seen = list(live)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert list(again) == seen[1:]
    words = [event for event in seen if event.kind == "word"]
    assert [event.data for event in words] == [b'{"n":%d}' % x for x in range(6)]
    with Supervisor(workers=1, log=quiet) as supervisor, pytest.raises(UsageError, match="only from a journal"):
        supervisor.events(from_seq=1)


def test_an_agents_own_interrupt_is_told_with_its_reason() -> None:
    def limits_itself(x: str, state: Any) -> None:
        state.set_timeout(0.01, "my own limit")
        state.sleep(60)

    def stops_itself(x: str, state: Any) -> None:
        state.request_interrupt(InterruptReason.CUSTOM, "enough", "me")
        state.raise_if_interrupted()

    with Supervisor(workers=1, log=quiet) as supervisor:
        late = supervisor.submit(limits_itself, "a").outcome()
        enough = supervisor.submit(stops_itself, "b").outcome()
    assert (late.status, late.error) == (ExecutionStatus.FAILED, "timeout: my own limit")
    assert late.signal is not None
    assert late.signal.reason is InterruptReason.TIMEOUT
    assert enough.status is ExecutionStatus.INTERRUPTED
    assert enough.signal is not None
    assert (enough.signal.reason, enough.signal.triggered_by) == (InterruptReason.CUSTOM, "me")


@pytest.mark.parametrize("before", [None, "mine"])
def test_an_agent_finds_the_environment_that_its_program_has(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    if before is None:
        monkeypatch.delenv("PYDANTIC_DISABLE_PLUGINS", raising=False)
    else:
        monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", before)

    def environment_of(x: int, state: Any) -> dict[str, str]:
        import os  # noqa: PLC0415 - the agent's own

        return dict(os.environ)

    with Supervisor(workers=1, log=quiet) as supervisor:
        found = supervisor.submit(environment_of, 1).result()
    assert {name: value for name, value in found.items() if not name.startswith("QUIESCE_")} == {
        name: value for name, value in os.environ.items() if not name.startswith("QUIESCE_")
    }
