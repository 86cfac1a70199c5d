"""Silence: who works is left alone, who is deadlocked is found, and a pause of everything costs nobody anything."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import QUIESCE, Running
from tests.support.sync import Latch, Post
from tests.support.wait import wait_until

QUICK = ("--grace", "0.2", "--term-grace", "0.2")


def test_a_long_call_that_holds_the_lock_is_work(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:work"), "-i", source, "-j", journal, "-w", "1", "--silence", "3", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 0
    seen = look(journal)
    assert seen.named("executor.silent") == []
    assert [outcome.attempts for outcome in seen.outcomes.values()] == [1]


def test_a_long_import_is_work_too(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("slow_import:agent"), "-i", source, "-j", journal, "-w", "1", "--silence", "3", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        assert command.wait().returncode == 0
    assert list(look(journal).values.values()) == ["loaded"]


def test_one_that_holds_the_lock_and_does_nothing_is_killed_and_the_option_is_named(tmp_path: Path) -> None:
    source, journal = jsonl(tmp_path / "in.jsonl", [1]), tmp_path / "j.db"
    words = ["run", agent("busy:doze"), "-i", source, "-j", journal, "-w", "1", "--silence", "3", *QUICK]
    with Running([*QUIESCE, *map(str, words)], timeout=120) as command:
        done = command.wait()
    assert done.returncode == 1
    (outcome,) = look(journal).outcomes.values()
    assert "--silence is 3 s" in (outcome.error or "")
    assert "--silence 3" in done.stderr


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """The supervisor first, as whoever freezes a whole run would; all of them go on in that order."""
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
    with Post(tmp_path / "post") as post, Latch(tmp_path / "latch") as latch:
        tasks = [{"key": key, "post": post.path, "latch": latch.path} for key in ("a", "b")]
        source = jsonl(tmp_path / "in.jsonl", tasks)
        words = ["run", agent("plain:meet"), "-i", source, "-j", journal, "-w", "2", *QUICK]
        limits = ["--silence", "3", "--timeout", "30"]
        with Running([*QUIESCE, *map(str, words), *limits], timeout=120) as command:
            post.expect(2, 30)
            family = [command.popen.pid, *(each.pid for each in procs.descendants(command.popen.pid))]
            with stopped(family):
                time.sleep(5)
            wait_until(lambda: look(journal).named("supervisor.paused"), 30, "the pause is noticed")
            time.sleep(1)  # several looks at the heartbeats
            latch.open()
            assert command.wait().returncode == 0
    seen = look(journal)
    assert seen.named("executor.silent") == []
    assert [outcome.attempts for outcome in seen.outcomes.values()] == [1, 1]
    assert len(seen.named("executor.started")) == 2
