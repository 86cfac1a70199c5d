"""What a task changes of its process, the next one does not meet; what cannot be put back costs the executor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from tests.process.agents import leaves_marks

RESTORABLE = [
    "cwd", "umask", "alarm", "timer", "profile timer", "handler", "ignored", "stacks", "mask", "soft limit",
    "faulthandler", "watchdog",
]  # fmt: skip


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


def ask(agent: Any, inputs: list[str], *, concurrency: int = 1) -> tuple[list[dict[str, Any]], list[str]]:
    lines: list[str] = []

    def log(event: str, _severity: object, fields: Any) -> None:
        if event == "executor.output":
            lines.append(fields["line"])

    with Supervisor(workers=1, concurrency=concurrency, log=log) as supervisor:
        values = []
        for task_input in inputs:  # one after the other, so that nothing was handed out in advance
            outcome = supervisor.submit(agent, task_input).outcome()
            assert outcome.ok, outcome.error
            values.append(outcome.value)
    return values, lines


@pytest.mark.parametrize("what", RESTORABLE)
@pytest.mark.parametrize("agent", [leaves_marks.work, leaves_marks.work_async])
def test_a_task_finds_the_process_as_the_first_one_did(agent: Any, what: str) -> None:
    after = "+nothing" if what in ("alarm", "timer", "watchdog") else "nothing"
    (first, second), lines = ask(agent, [what, after])
    assert second == first, lines  # the pid too: it cost nothing


@pytest.mark.parametrize("what", RESTORABLE)
def test_nor_do_tiny_tasks_that_were_handed_out_together(what: str) -> None:
    """None of them takes a millisecond, and there is no wait between them."""
    after = "+nothing" if what in ("alarm", "timer", "watchdog") else "nothing"
    with Supervisor(workers=1, log=quiet) as supervisor:
        outcomes = list(supervisor.map(leaves_marks.work, ["nothing", what, after]))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [outcome.attempts for outcome in outcomes] == [1] * 3
    assert outcomes[2].value == outcomes[0].value


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("hard limit", "hard limit RLIMIT_"),
        pytest.param("nice", "niceness: ", marks=pytest.mark.skipif(os.geteuid() != 0, reason="asks for another uid")),
        pytest.param("uid", "user ids: ", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can")),
        pytest.param("root", "root directory: ", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can")),
    ],
)
def test_what_cannot_be_restored_costs_the_executor_and_no_task(what: str, says: str) -> None:
    (first, second), lines = ask(leaves_marks.work, [what, "nothing"])
    told = [line for line in lines if says in line]
    assert (second.pop("pid") != first.pop("pid")) == bool(told)
    assert second == first
    assert told or what == "hard limit", lines  # some may raise it again
    assert not [line for line in lines if "Traceback" in line], lines


def test_the_environment_stays_as_in_every_pool_of_processes() -> None:
    (first, second), _ = ask(leaves_marks.work, ["environment", "nothing"])
    assert (first["environment"], second["environment"]) == (None, "yes")
    assert first["pid"] == second["pid"]


def test_what_an_agents_module_sets_up_while_it_is_imported_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sets_up.py").write_text(
        "import os, signal\n"
        f"os.chdir({str(tmp_path / 'elsewhere')!r})\nos.umask(0o7)\n"
        "rung = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: rung.append(1))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        "def look(task_input, state):\n"
        "    before = len(rung)\n"
        "    while len(rung) == before: state.sleep(0.001)\n"
        "    mask = os.umask(0)\n    os.umask(mask)\n"
        "    return [os.path.basename(os.getcwd()), mask]\n"
    )
    with Supervisor(workers=1) as supervisor:
        agent = f"{tmp_path / 'sets_up.py'}:look"
        number, loaded = supervisor._require_session().register_agent(by_name=True, source=agent.encode())
        loaded.result()
        supervisor._require_session().start_tasks()
        handles = [supervisor._require_feed().submit(number, None) for _ in range(3)]
        assert [handle.result() for handle in handles] == [["elsewhere", 7]] * 3
