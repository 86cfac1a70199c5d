"""Callers in Python get the agent's own exception, from real executors, by every way to wait for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from orchestrator.remote_exceptions import RemoteTraceback, TaskFailed
from tests.support.cli import environment


def quiet(*_: object) -> None:
    pass


class Refused(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"refused with {code}")
        self.code, self.why = code, why


def work(task: Any, state: Any) -> Any:
    """Raise what the input names."""
    match task:
        case "refused":
            raise Refused(3, why="late")
        case "file":
            open("/nowhere/a.txt", encoding="utf-8").close()
        case "exit":
            sys.exit("no more")
        case "object":
            raise ValueError(object())
        case "lock":
            import threading  # noqa: PLC0415 - what an agent may do

            return threading.Lock()
    return task


def test_every_way_to_wait_raises_the_agent_s_own_exception() -> None:
    with Supervisor(workers=1, log=quiet) as supervisor:
        with pytest.raises(Refused, match="refused with 3") as caught:
            supervisor.submit(work, "refused").result()
        assert (caught.value.code, caught.value.why) == (3, "late")
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert 'raise Refused(3, why="late")' in str(caught.value.__cause__)
        with pytest.raises(FileNotFoundError) as missing:
            supervisor.submit(work, "file").result()
        assert missing.value.filename == "/nowhere/a.txt"
        (outcome,) = supervisor.map(work, ["refused"])
        assert not outcome.ok
        with pytest.raises(Refused, match="refused with 3"):
            outcome.value  # noqa: B018


@pytest.mark.parametrize("name", ["exit", "object", "lock"])
def test_what_cannot_be_rebuilt_is_a_task_failed(name: str) -> None:
    with Supervisor(workers=1, log=quiet) as supervisor, pytest.raises(TaskFailed) as caught:
        supervisor.submit(work, name).result()
    assert caught.value.outcome.error is not None
    if name != "lock":  # nothing was raised
        assert "in work" in caught.value.traceback


def test_an_awaited_handle_raises_it_too() -> None:
    async def main() -> None:
        async with Supervisor(workers=1, log=quiet) as supervisor:
            with pytest.raises(Refused, match="refused with 3"):
                await supervisor.submit(work, "refused")

    asyncio.run(main())


SCRIPT = """
from orchestrator import Supervisor

class Late(Exception):
    pass

def work(x, state):
    if x == 2:
        raise Late(x, {"by": 2.5})
    return x

if __name__ == "__main__":
    with Supervisor(workers=1) as supervisor:
        handles = [supervisor.submit(work, x) for x in (1, 2, 3)]
        for handle in handles:
            try:
                print(handle.result())
            except Late as error:
                print("late", error.args)
"""


def test_an_exception_of_a_script(tmp_path: Path) -> None:
    """The class of the script that an executor has imported under another name is the script's own."""
    (tmp_path / "program.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=90, cwd=tmp_path, env=environment(),
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["1", "late (2, {'by': 2.5})", "3"], done.stderr
