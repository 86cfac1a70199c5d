"""`Supervisor` from Python: wherever `__main__` comes from, sync and async, with tasks that come while it runs."""

from __future__ import annotations

import asyncio
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, as_completed, wait
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from runtime.errors import ExecutionInterrupted, QuiesceError, UsageError
from runtime.model import ExecutionStatus, InterruptReason
from tests.process.helpers import runs_in
from tests.support.cli import environment, run_cli
from tests.support.wait import wait_until

PROGRAM = """
from orchestrator import Supervisor
factor = 3
def times(x, state):
    return x * factor
if __name__ == "__main__":
    with Supervisor(workers=2) as supervisor:
        print([outcome.value for outcome in supervisor.map(times, [1, 2, 3])])
        print([outcome.value for outcome in supervisor.map(lambda x, state: times(x, state) + 1, [1, 2, 3])])
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
        with pytest.raises(ValueError, match="not that one") as failed:
            handles[1].result()
        assert "picky" in str(failed.value.__cause__)


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
        return values, value, ticks

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
        for wrong in (3, lambda: 1, int.__class__):
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


TYPES = """
import abc, dataclasses, enum, pydantic
from orchestrator import Supervisor
class Colour(enum.Enum):
    RED = 1
class Wish(pydantic.BaseModel):
    colour: Colour
class Shape(abc.ABC):
    @abc.abstractmethod
    def sides(self): ...
class Square(Shape):
    def sides(self): return 4
@dataclasses.dataclass
class Pair:
    left: object
    right: object
def agent(x, state):
    assert x.left is Colour.RED and x.right == Wish(colour=Colour.RED)
    return Pair(Square().sides(), x.left)
def set_of(x, state):
    return {Colour.RED}
if __name__ == "__main__":
    with Supervisor(workers=1) as supervisor:
        print(supervisor.submit(agent, Pair(Colour.RED, Wish(colour=Colour.RED))).result())
        print(supervisor.submit(set_of, 1).result() == {Colour.RED})
"""


def test_types_of_a_main_travel_whatever_their_metaclass(tmp_path: Path) -> None:
    (tmp_path / "types_of.py").write_text(TYPES)
    done = subprocess.run(
        [sys.executable, "types_of.py"],
        capture_output=True, text=True, timeout=30, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["True"], done.stdout


def test_what_is_done_after_the_end_touches_nothing_of_anybody_else(tmp_path: Path) -> None:
    """The numbers of the supervisor's descriptors are free then, and soon those of other files."""
    with Supervisor(workers=1, log=quiet) as supervisor:
        handle = supervisor.submit(lambda x, state: x, 1)
    files = [(tmp_path / str(number)).open("wb") for number in range(20)]
    try:
        handle.interrupt()
        supervisor.interrupt()
    finally:
        for file in files:
            file.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""] * 20


@pytest.mark.parametrize("with_journal", [False, True])
def test_a_task_that_comes_after_the_stop_is_told_of_the_stop(tmp_path: Path, with_journal: bool) -> None:
    journal = tmp_path / "j.db" if with_journal else None
    supervisor = Supervisor(workers=1, journal=journal, log=quiet)
    with pytest.raises(ExecutionInterrupted, match="enough"), supervisor:
        supervisor.submit(lambda x, state: x, 1).result()
        supervisor.interrupt(message="enough")
        assert supervisor._require_session().join(10)
        supervisor.submit(lambda x, state: x, 2).result()
    assert supervisor.ending is not None
    assert supervisor.ending.error is None


def test_an_agent_whose_import_interrupts_itself_is_refused(tmp_path: Path) -> None:
    module = tmp_path / "stops_itself.py"
    module.write_text(
        "from runtime import ExecutionState\n"
        "state = ExecutionState()\nstate.request_interrupt(message='mine')\nstate.raise_if_interrupted()\n"
    )
    (tmp_path / "in.jsonl").write_text("1\n")
    done = run_cli("run", f"{module}:f", "-i", tmp_path / "in.jsonl", "-j", tmp_path / "j.db", "-w", "1")
    assert done.returncode == 2, done
    assert done.stderr == "quiesce: cannot load the agent: it was interrupted: user_cancelled: mine\n"


def test_types_travel_by_value_where_there_is_no_file() -> None:
    program = TYPES.replace('if __name__ == "__main__":', "if True:")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["True"], done.stdout


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_block_without_a_task_ends(tmp_path: Path, with_journal: bool) -> None:
    """With a journal it waited for ever: there was no run that could have been sealed."""
    journal = tmp_path / "runs.db" if with_journal else None
    with Supervisor(workers=1, journal=journal, log=quiet) as supervisor:
        pass
    assert supervisor.ending is not None
    assert supervisor.ending.status == "completed"
    assert runs_in(tmp_path / "runs.db") == 0


def test_a_supervisor_that_cannot_start_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sys.getswitchinterval(), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(QuiesceError, match="guardian cannot be started: No such file"):
        patch.setattr(sys, "executable", str(tmp_path / "no-python"))
        patch.setattr(multiprocessing.spawn, "_python_exe", str(tmp_path / "no-python"))  # it is asked first
        with Supervisor(workers=1, journal=tmp_path / "runs.db", log=quiet):
            pass
    assert (sys.getswitchinterval(), signal.getsignal(signal.SIGTERM)) == before
    with Supervisor(workers=1, journal=tmp_path / "runs.db", log=quiet) as supervisor:
        assert supervisor.submit(lambda x, state: x, 1).result() == 1


def test_cancel_ends_a_running_task_and_its_executor_works_on(tmp_path: Path) -> None:
    """Its `finally` has run when the handle is done; the run's next start executes it again."""

    def slow(path: str, state: Any) -> str:
        if Path(f"{path}-second").exists():
            return "second"
        try:
            Path(f"{path}-began").touch()
            state.sleep(3600)
        finally:
            Path(f"{path}-cleaned").touch()
        return "never"

    path = str(tmp_path / "task")
    with Supervisor(workers=1, journal=tmp_path / "j.db", run_id="r", log=quiet) as supervisor:
        handle = supervisor.submit(slow, path, key="slow")
        waiting = supervisor.submit(slow, path, key="waiting")
        wait_until(Path(f"{path}-began").exists, what="it runs")
        wait_until(handle.running, what="it is seen")
        assert handle.cancel()
        assert waiting.cancel()
        assert wait([handle, waiting], 60).not_done == set()
        assert Path(f"{path}-cleaned").exists()
        assert (handle.cancelled(), waiting.cancelled()) == (True, True)
        with pytest.raises(CancelledError):
            handle.result()
        assert supervisor.submit(lambda x, state: x, 1, key="other").result() == 1
    Path(f"{path}-second").touch()
    with Supervisor(workers=1, journal=tmp_path / "j.db", run_id="r", log=quiet) as supervisor:
        assert supervisor.submit(slow, path, key="slow").result() == "second"
        assert supervisor.submit(slow, path, key="waiting").result() == "second"


def test_handles_work_with_wait_and_callbacks_of_a_program() -> None:
    seen: list[tuple[int, str]] = []
    with Supervisor(workers=2, log=quiet) as supervisor:
        handles = [supervisor.submit(lambda x, state: x * x, number) for number in range(30)]
        for handle in handles:
            handle.add_done_callback(lambda done: seen.append((done.result(), threading.current_thread().name)))
        assert {done.result() for done in as_completed(handles, 60)} == {number**2 for number in range(30)}
    assert sorted(value for value, _ in seen) == [number**2 for number in range(30)]
    assert {name for _, name in seen} <= {"quiesce-callbacks", threading.main_thread().name}
