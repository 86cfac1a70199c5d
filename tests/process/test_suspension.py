"""Ctrl-Z stops the whole run, `fg` continues it; no time limit has run meanwhile."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import QUIESCE, Running
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.tmux import Terminal
from tests.support.wait import wait_until

LIMITS = ("--heartbeat-timeout", "3", "--timeout", "20", "--grace", "2", "--term-grace", "1")


def words(tmp_path: Path, post: AnnouncementPipe, gate: Gate, name: str = "plain:meet") -> list[str]:
    tasks = [{"key": key, "post": post.path, "gate": gate.path} for key in ("a", "b")]
    source = jsonl(tmp_path / "in.jsonl", tasks)
    return [*QUIESCE, "run", agent(name), "-i", str(source), "-j", str(tmp_path / "j.db"), "-w", "2", *LIMITS]


def executors(tmp_path: Path) -> list[psutil.Process]:
    return [psutil.Process(event["pid"]) for event in look(tmp_path / "j.db").named("executor.started")]


def all_stopped(processes: list[psutil.Process]) -> bool:
    return all(process.status() == psutil.STATUS_STOPPED for process in processes)


def test_in_a_terminal(tmp_path: Path) -> None:
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Terminal(cwd=tmp_path) as terminal,
    ):
        terminal.run(shlex.join(words(tmp_path, post, gate)))
        post.expect(2, 30)
        below = wait_until(lambda: executors(tmp_path) if len(executors(tmp_path)) == 2 else None, 20)
        assert below is not None
        terminal.expect(r"executor 0")
        terminal.press("C-z")
        terminal.expect(r"Stopped")
        assert all_stopped(below)
        terminal.run("echo the shell has the terminal")
        terminal.expect(r"^the shell has the terminal$")
        assert "executor 0" not in terminal.screen()  # the display is gone while the shell has the terminal
        time.sleep(4)  # longer than the silence
        terminal.run("fg")
        terminal.expect(r"executor 0")
        assert "the shell has the terminal" in terminal.screen()
        wait_until(lambda: not any(each.status() == psutil.STATUS_STOPPED for each in below), 10, "they go on")
        gate.open()
        terminal.expect(r"completed after", deadline=30)
        assert terminal.status() == 0
        assert "executor 0" not in terminal.screen()
    seen = look(tmp_path / "j.db")
    assert [outcome.attempts for outcome in seen.outcomes.values()] == [1, 1]
    assert seen.named("executor.heartbeat_lost") == []
    assert len(seen.named("run.suspended")) == len(seen.named("run.continued")) == 1
    assert seen.named("run.continued")[0]["seconds"] >= 4


def stop(command: subprocess.Popen[bytes]) -> None:
    """As a shell does, wait until the job is stopped."""
    command.send_signal(signal.SIGTSTP)
    pid, status = os.waitpid(command.pid, os.WUNTRACED)
    assert pid == command.pid
    assert os.WIFSTOPPED(status)
    assert os.WSTOPSIG(status) == signal.SIGTSTP


def test_a_stopped_run_that_is_told_to_end_ends_once_it_goes_on(tmp_path: Path) -> None:
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Running(words(tmp_path, post, gate, "plain:wait"), timeout=60) as command,
    ):
        post.expect(2, 30)
        stop(command.popen)
        wait_until(lambda: all_stopped(executors(tmp_path)), 10, "the kernel has stopped them")
        command.popen.send_signal(signal.SIGTERM)
        command.popen.send_signal(signal.SIGCONT)
        assert command.wait().returncode == -signal.SIGTERM
    assert look(tmp_path / "j.db").statuses() == {"a": "interrupted", "b": "interrupted"}


def test_it_can_be_stopped_again_and_again(tmp_path: Path) -> None:
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Running(words(tmp_path, post, gate), timeout=60) as command,
    ):
        post.expect(2, 30)
        for _ in range(3):
            stop(command.popen)
            wait_until(lambda: all_stopped(executors(tmp_path)), 10, "the kernel has stopped them")
            command.popen.send_signal(signal.SIGCONT)
            wait_until(lambda: not all_stopped(executors(tmp_path)), 10, "they go on")
        gate.open()
        assert command.wait().returncode == 0


def test_a_stopped_supervisor_that_is_killed_leaves_nothing_stopped_behind(tmp_path: Path) -> None:
    with (
        AnnouncementPipe(tmp_path / "post") as post,
        Gate(tmp_path / "gate") as gate,
        Running(words(tmp_path, post, gate, "plain:wait"), timeout=60) as command,
    ):
        post.expect(2, 30)
        below = procs.descendants(command.popen.pid)
        stop(command.popen)
        command.popen.kill()
        wait_until(lambda: not any(each.is_running() for each in below), 15, "all are gone")


def test_one_that_ignores_it_goes_on(tmp_path: Path) -> None:
    starter = (
        "import os, signal, sys; signal.signal(signal.SIGTSTP, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        ignoring = [sys.executable, "-c", starter, *words(tmp_path, post, gate)]
        with Running(ignoring, timeout=60) as command:
            post.expect(2, 30)
            command.popen.send_signal(signal.SIGTSTP)
            gate.open()
            assert command.wait().returncode == 0
    assert look(tmp_path / "j.db").named("run.suspended") == []
