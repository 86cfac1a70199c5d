"""A process that prints in its clean-up reaches its end: output has a reader as long as it has a writer."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import start_cli
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_output_in_a_clean_up_does_not_break_it(tmp_path: Path, end: signal.Signals) -> None:
    """Of a child too, which is sent SIGTERM when its executor has gone; and when the supervisor is dead."""
    run_id = f"goodbye-{end.name}"
    with AnnouncementPipe(tmp_path / "post") as post:
        task = {"post": post.path, "agent": str(tmp_path / "agent"), "child": str(tmp_path / "child")}
        source = jsonl(tmp_path / "in.jsonl", [task])
        words = ("run", agent("goodbye:says_goodbye"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*words, "--run-id", run_id, "--grace", "5", "--term-grace", "1") as running:
            post.expect()
            running.send(end)
            running.wait(15)
            wait_until(lambda: not procs.processes_of_run(run_id), 10, what="every process to be gone")
    assert (tmp_path / "agent").exists()
    assert (tmp_path / "child").exists()


def test_an_agent_that_needs_longer_gets_it_from_the_heir_too(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path, "agent": str(tmp_path / "agent")}])
        words = ("run", agent("goodbye:needs_long"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*words, "--run-id", "needs-long", "--grace", "0.2", "--term-grace", "0.1") as running:
            post.expect()
            running.send(signal.SIGKILL)
            wait_until(lambda: not procs.processes_of_run("needs-long"), 10, what="every process to be gone")
    assert (tmp_path / "agent").exists()


def test_hundreds_of_grandchildren_are_named_and_ended(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path, "count": 100}] * 4)
        words = ("run", agent("goodbye:has_many"), "-i", source, "-w", "4", "-j", tmp_path / "j.db")
        with start_cli(*words, "--run-id", "many", "--grace", "5") as running:
            post.expect(4, deadline=30)
            running.send(signal.SIGTERM)
            running.wait(30)
    assert procs.processes_of_run("many") == []
    seen = look(tmp_path / "j.db")
    assert sorted(each["count"] for each in seen.named("executor.strays")) == [100] * 4
    verified = seen.named("cleanup.verified")[0]
    assert (verified["found"], verified["ended"], verified["remaining"]) == (400, 400, [])
