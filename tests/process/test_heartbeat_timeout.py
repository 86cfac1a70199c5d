"""Heartbeats: a working executor is left alone, a deadlocked one is found, a pause of everything costs no task."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import Supervisor
from orchestrator.core.settings import SHORTEST_HEARTBEAT_TIMEOUT
from tests.process.agents.plain import meet
from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import QUIESCE, Running
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until

QUICK = ("--grace", "0.2", "--term-grace", "0.2")


def test_a_long_call_that_holds_the_lock_is_work(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:work"), "-i", source, "-j", journal, "-w", "1", "--heartbeat-timeout", "3", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 0
    seen = look(journal)
    assert seen.named("executor.heartbeat_lost") == []
    assert [outcome.attempts for outcome in seen.outcomes.values()] == [1]


def test_a_long_import_is_work_too(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = [
        "run",
        agent("slow_import:agent"),
        "-i",
        source,
        "-j",
        journal,
        "-w",
        "1",
        "--heartbeat-timeout",
        "3",
        *QUICK,
    ]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 0
    assert list(look(journal).values.values()) == ["loaded"]


def test_one_that_holds_the_lock_and_does_nothing_is_killed_and_the_option_is_named(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:doze"), "-i", source, "-j", journal, "-w", "1", "--heartbeat-timeout", "3", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        done = command.wait()
    assert done.returncode == 1
    (outcome,) = look(journal).outcomes.values()
    assert "--heartbeat-timeout is 3 s" in (outcome.error or "")
    assert "--heartbeat-timeout 3" in done.stderr


@pytest.mark.parametrize("silence", [SHORTEST_HEARTBEAT_TIMEOUT, 1.0])
def test_a_short_limit_ends_no_executor_that_is_idle(tmp_path: Path, silence: float) -> None:
    """One waits in its task, the others for one; the heartbeats are as short as the limit asks for."""
    names: list[str] = []
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Supervisor(workers=3, heartbeat_timeout=silence, log=lambda name, *_: names.append(name)) as supervisor,
    ):
        handle = supervisor.submit(meet, {"key": "held", "post": post.path, "gate": gate.path})
        post.expect(1, 30)
        time.sleep(8 * silence)
        gate.open()
        assert handle.outcome(30).attempts == 1
    assert "executor.heartbeat_lost" not in names
    assert names.count("executor.started") == 3


def test_a_short_limit_on_the_command_line(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "held", "post": post.path, "gate": gate.path}])
        words = [
            "run",
            agent("plain:meet"),
            "-i",
            source,
            "-j",
            journal,
            "-w",
            "3",
            "--heartbeat-timeout",
            str(SHORTEST_HEARTBEAT_TIMEOUT),
        ]
        with Running([*QUIESCE, *map(str, words), *QUICK], timeout=120) as command:
            post.expect(1, 30)
            time.sleep(8 * SHORTEST_HEARTBEAT_TIMEOUT)
            gate.open()
            assert command.wait().returncode == 0
    seen = look(journal)
    assert seen.named("executor.heartbeat_lost") == []
    assert len(seen.named("executor.started")) == 3


def test_a_short_limit_still_finds_one_that_holds_the_lock_and_does_nothing(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:doze"), "-i", source, "-j", journal, "-w", "1", "--heartbeat-timeout", "0.5", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 1
    assert look(journal).named("executor.heartbeat_lost")


def test_a_short_limit_leaves_one_alone_that_works(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:work"), "-i", source, "-j", journal, "-w", "1", "--heartbeat-timeout", "0.5", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 0
    assert look(journal).named("executor.heartbeat_lost") == []


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """The supervisor first, as a freeze of the whole run would; all of them go on in that order."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_pause_of_the_whole_run_costs_no_task_anything(tmp_path: Path) -> None:
    """Longer than the silence and the time limit."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        tasks = [{"key": key, "post": post.path, "gate": gate.path} for key in ("a", "b")]
        source = jsonl(tmp_path / "in.jsonl", tasks)
        words = ["run", agent("plain:meet"), "-i", source, "-j", journal, "-w", "2", *QUICK]
        limits = ["--heartbeat-timeout", "3", "--timeout", "30"]
        with Running([*QUIESCE, *map(str, words), *limits], timeout=120) as command:
            post.expect(2, 30)
            family = [command.popen.pid, *(each.pid for each in procs.descendants(command.popen.pid))]
            with stopped(family):
                time.sleep(5)
            wait_until(lambda: look(journal).named("supervisor.paused"), 30, "the pause is noticed")
            time.sleep(1)  # several looks at the heartbeats
            gate.open()
            assert command.wait().returncode == 0
    seen = look(journal)
    assert seen.named("executor.heartbeat_lost") == []
    assert [outcome.attempts for outcome in seen.outcomes.values()] == [1, 1]
    assert len(seen.named("executor.started")) == 2
