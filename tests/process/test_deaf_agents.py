"""However deaf an agent is: with SIGTERM it is gone in the time that was allowed, with all that it started."""

from __future__ import annotations

import secrets
import signal
import time
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import start_cli
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until

GRACE = TERM_GRACE = 0.4

DEAF = [
    "busy", "sleeps", "stuck_in_c", "bad_regex", "ignores_interrupts", "ignores_term", "handles_term", "blocks_term",
    "stops_itself", "has_threads", "has_children", "has_daemon", "has_alien_daemon", "closes_and_sleeps",
]  # fmt: skip


@pytest.mark.parametrize("deed", DEAF)
def test_it_is_gone_in_time_and_what_was_completed_is_kept(tmp_path: Path, deed: str) -> None:
    run = f"{deed}-{secrets.token_hex(4)}"
    with AnnouncementPipe(tmp_path / "post") as post, ExitDetector() as proof:
        source = jsonl(
            tmp_path / "in.jsonl",
            [{"key": "before"}, {"key": "deaf", "do": deed, "post": post.path, "proof": proof.path}, {"key": "after"}],
        )
        arguments = ("run", agent("wild:misbehave"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", "--run-id", run)
        graces = ("--grace", str(GRACE), "--term-grace", str(TERM_GRACE))
        with start_cli(*arguments, *graces) as running:
            post.expect()
            began = time.monotonic()
            running.send(signal.SIGTERM)
            done = running.wait(10)
            took = time.monotonic() - began
            proof.wait(1)
    assert done.returncode == -signal.SIGTERM, done
    assert procs.processes_of_run(run) == []
    assert took < GRACE + TERM_GRACE + 2.5, done
    seen = look(tmp_path / "j.db")
    assert seen.values == {"before": "good"}
    assert seen.statuses().get("deaf", "interrupted") == "interrupted"
    assert seen.named("cleanup.verified")[0]["remaining"] == []


@pytest.mark.parametrize("deed", ["busy", "stuck_in_c", "has_daemon", "stops_itself"])
def test_when_the_supervisor_is_killed_nothing_of_it_survives(tmp_path: Path, deed: str) -> None:
    run = f"{deed}-{secrets.token_hex(4)}"
    """Gone within the grace and a second; and what was completed is in the journal."""
    with AnnouncementPipe(tmp_path / "post") as post, ExitDetector() as proof:
        wild = {"key": "deaf", "do": deed, "post": post.path, "proof": proof.path}
        source = jsonl(tmp_path / "in.jsonl", [{"key": "before"}, wild, {"key": "after"}])
        journal = tmp_path / "j.db"
        arguments = ("run", agent("wild:misbehave"), "-i", source, "-w", "1", "-j", journal, "--run-id", run)
        with start_cli(*arguments, "--grace", "1", "--term-grace", "0.4") as running:
            post.expect()
            wait_until(lambda: "before" in look(journal).values, 5, "the result of the task before is committed")
            running.send(signal.SIGKILL)
            assert proof.wait(5) < 1 + 1.5
            running.wait(5)
    assert procs.processes_of_run(run) == []
    assert look(journal).values == {"before": "good"}
