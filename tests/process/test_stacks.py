"""Stacks that are asked for are shown, of every thread, whatever the executor does; and asking ends no executor."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from orchestrator.control import address
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import Running, run_cli, start_cli
from tests.support.sync import AnnouncementPipe


def stacks_at_stop(tmp_path: Path, name: str, *, pause: float = 0.0) -> str:
    """Stop a run of one such task, `pause` seconds after it has announced itself, and return the log."""
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path}])
        words = ("run", agent(f"busy:{name}"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*words, "--grace", "0.2", "--term-grace", "0.5") as running:
            post.expect(1, deadline=20)
            time.sleep(pause)
            running.send(signal.SIGTERM)
            done = running.wait(20)
    assert done.returncode == -signal.SIGTERM, done
    return done.stderr


def test_the_rung_shows_every_thread_as_it_was_before_the_exception(tmp_path: Path) -> None:
    log = stacks_at_stop(tmp_path, "wait_beside_thread")
    assert "in wait_beside_thread" in log
    assert "in wait_in_thread" in log
    assert log.count("most recent call first") >= 2
    assert "rung=KILL" not in log


@pytest.mark.parametrize("pause", [0.0, 4.0], ids=["a moment", "longer than the heartbeats may be late"])
@pytest.mark.parametrize("name", ["hold_lock", "hold_lock_in_thread"])
def test_an_executor_whose_lock_is_held_shows_who_holds_it(tmp_path: Path, name: str, pause: float) -> None:
    log = stacks_at_stop(tmp_path, name, pause=pause)
    assert len(re.findall(r"in hold_lock\b", log)) == 1, log
    assert "Fatal Python error" not in log


def run_of_two_threads(tmp_path: Path, post: AnnouncementPipe) -> Running:
    source = jsonl(tmp_path / "in.jsonl", [{"post": post.path}])
    words = ("run", agent("busy:wait_beside_thread"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    return start_cli(*words, "--run-id", "r", "--grace", "0.2", "--term-grace", "5")


@pytest.mark.parametrize("has_socket", [True, False], ids=["by the socket", "by the journal"])
def test_another_terminal_asks_for_the_stacks_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_socket: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the histories are there
    elsewhere = {} if has_socket else {address.FOLDER_VARIABLE: str(tmp_path / "elsewhere")}
    with AnnouncementPipe(tmp_path / "post") as post, run_of_two_threads(tmp_path, post) as running:
        post.expect(1, deadline=60)
        asked = run_cli("stacks", "r", "-j", tmp_path / "j.db", env=elsewhere)
        assert (asked.returncode, f"process {running.pid}" in asked.stdout) == (0, True), asked
        running.expect("in wait_in_thread", deadline=60)
        running.expect("in _dump_stacks", deadline=60)
        running.expect("history.written", deadline=60)
        assert "interrupt.requested" not in running.stderr
        running.send(signal.SIGTERM)
        running.wait(60)
    (request,) = look(tmp_path / "j.db").named("stacks.requested")
    assert request["triggered_by"].startswith("quiesce stacks, process ")


def test_a_run_that_is_over_has_no_stacks(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1])
    run_cli("run", agent("parents:quick"), "-i", source, "-w", "1", "-j", tmp_path / "j.db", "--run-id", "r")
    done = run_cli("stacks", "r", "-j", tmp_path / "j.db")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done
    assert "no living supervisor has run r" in done.stderr


def test_an_executor_at_work_shows_its_threads_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the histories are there
    with AnnouncementPipe(tmp_path / "post") as post:
        source = jsonl(tmp_path / "in.jsonl", [{"post": post.path}])
        words = ("run", agent("busy:wait_beside_thread"), "-i", source, "-w", "1", "-j", tmp_path / "j.db")
        with start_cli(*words, "--grace", "0.2", "--term-grace", "5") as running:
            post.expect(1, deadline=20)
            running.send(signal.SIGUSR1)
            running.expect("in wait_in_thread", deadline=10)
            running.expect("history.written", deadline=10)
            running.send(signal.SIGTERM)
            running.wait(20)


def test_no_request_for_stacks_ends_an_executor_whose_frames_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler that reads other threads' frames without the GIL crashes it within the first second."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the histories are there
    journal = tmp_path / "j.db"
    source = jsonl(tmp_path / "in.jsonl", [{"seconds": 5}] * 2)
    with start_cli("run", agent("threads:churn"), "-i", source, "-w", "2", "-j", journal, timeout=60) as running:
        running.expect("guardian.started")
        while running.popen.poll() is None:
            running.send(signal.SIGUSR1)
            time.sleep(0.02)
        done = running.wait()
    assert done.returncode == 0, done.stderr[-2000:]
    assert {event["exit"] for event in look(journal).named("executor.exited")} == {"exit code 0"}
    assert re.search(r"in _descend(_until)?\b", done.stderr), "no stacks were shown"
