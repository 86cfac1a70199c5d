"""Stop signals that are blocked in the inherited mask: they end a run all the same, and so does every agent's child."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.supervisor import Supervisor
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, environment
from tests.support.sync import AnnouncementPipe

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXEC = "import os, signal, sys; {}; os.execvp(sys.argv[1], sys.argv[1:])"
BLOCKED = EXEC.format("signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 10, 15, 17, signal.SIGRTMAX - 2})")
IGNORED_AND_BLOCKED = EXEC.format(
    "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {1, 2, 15})"
)


def begin(tmp_path: Path, post: AnnouncementPipe, tasks: list[Any], name: str, starter: str) -> subprocess.Popen[bytes]:
    words = ["run", agent(name), "-i", jsonl(tmp_path / "in.jsonl", tasks), "-j", tmp_path / "j.db", "-w", "1"]
    command = [sys.executable, "-c", starter, *QUIESCE, *map(str, words), "--grace", "2", "--term-grace", "2"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())


@pytest.mark.parametrize("signum", STOPPING, ids=lambda signum: signum.name)
def test_a_blocked_signal_stops_the_run(tmp_path: Path, signum: signal.Signals) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": "a", "post": post.path}]
        with begin(tmp_path, post, tasks, "plain:wait", BLOCKED) as command:
            try:
                post.expect(1, 20)
                command.send_signal(signum)
                assert command.wait(20) == -signum
            finally:
                command.kill()
    assert look(tmp_path / "j.db").statuses() == {"a": "interrupted"}


def test_one_that_is_ignored_and_blocked_stays_ignored(tmp_path: Path) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": "a", "post": post.path}]
        with begin(tmp_path, post, tasks, "plain:wait", IGNORED_AND_BLOCKED) as command:
            try:
                post.expect(1, 20)
                command.send_signal(signal.SIGHUP)
                command.send_signal(signal.SIGTERM)
                assert command.wait(20) == -signal.SIGTERM
            finally:
                command.kill()


def test_a_query_can_be_interrupted_too(tmp_path: Path) -> None:
    """`events --follow` of a run that goes on."""
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": "a", "post": post.path}]
        with begin(tmp_path, post, tasks, "plain:wait", BLOCKED) as run:
            try:
                post.expect(1, 20)
                query = [sys.executable, "-c", BLOCKED, *QUIESCE, "events", "--follow", "-j", str(tmp_path / "j.db")]
                with subprocess.Popen(query, stdout=subprocess.PIPE, env=environment()) as follow:
                    try:
                        assert follow.stdout is not None
                        follow.stdout.readline()
                        follow.send_signal(signal.SIGTERM)
                        assert follow.wait(20) != 0
                    finally:
                        follow.kill()
            finally:
                run.terminate()
                run.wait(20)
                run.kill()


def blocked_in_child(task: Any, state: Any) -> list[int]:
    """The signals that a program has blocked which an agent starts."""
    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    mask = int(next(line for line in text.splitlines() if line.startswith("SigBlk:")).split()[1], 16)
    return [number for number in range(1, 65) if mask >> (number - 1) & 1]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the mask is read from /proc")
def test_the_library_unblocks_while_its_block_runs_and_no_longer() -> None:
    wanted = {*STOPPING, signal.SIGCHLD, signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        with Supervisor(workers=1, log=lambda *_: None) as supervisor:
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOPPING) == set()
            in_child = supervisor.submit(blocked_in_child, 1).result()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {*before, *wanted}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert in_child == [signal.SIGUSR2]  # a program's own wish is an agent's too


def test_a_program_that_handles_its_signals_itself_keeps_its_mask() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        with Supervisor(workers=1, handle_signals=False, log=lambda *_: None) as supervisor:
            assert supervisor.submit(lambda x, state: x, 1).result() == 1
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= set(STOPPING)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "first in, last out"])
def test_several_supervisors_leave_the_mask_as_the_first_one_found_it(order: tuple[int, int]) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        supervisors = [Supervisor(workers=1, log=lambda *_: None) for _ in order]
        for supervisor in supervisors:
            supervisor.__enter__()
        for number in order:
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOPPING)
            supervisors[number].__exit__(None, None, None)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= set(STOPPING)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
