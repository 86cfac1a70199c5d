"""The guardian is killed, and what an agent has detached carries nothing of the run in its environment: it is found.

Without a cgroup, as root and as a plain user. Each of them has its guardian killed in mid-run, in a stop, or together
with the supervisor; in the end no process holds the proof.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.helpers import agent, jsonl
from tests.support.chaos.places import as_plain_user, without_cgroups
from tests.support.cli import QUIESCE, Running
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe
from tests.support.user_folder import user_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide cgroups, or become a plain user")


class Hidden:
    """A run with one agent that has detached a process that hides."""

    def __init__(self, folder: Path, uid: int, wrapper: list[str], post: AnnouncementPipe, proof: ExitDetector) -> None:
        self.folder, self.wrapper, self.post, self.proof = folder, wrapper, post, proof
        for path in (post.path, proof.path, os.path.dirname(proof.path)):
            os.chown(path, uid, uid)

    def start(self, *, grace: float = 0.3) -> Running:
        source = jsonl(self.folder / "in.jsonl", [{"post": self.post.path, "proof": self.proof.path}])
        words = ["run", agent("hidden:detaches"), "-i", str(source), "-w", "1", "-j", str(self.folder / "j.db")]
        return Running([*self.wrapper, *QUIESCE, *words, "--grace", str(grace), "--term-grace", "0.3"])


@pytest.fixture(params=["plain user", "root without cgroups"])
def hidden(request: pytest.FixtureRequest) -> Iterator[Hidden]:
    uid = 0 if request.param != "plain user" else 30_000 + os.getpid() % 10_000
    wrapper = as_plain_user(uid) if uid else without_cgroups()
    if not wrapper:
        pytest.skip("there is no such world here")
    with user_folder(uid) as folder, AnnouncementPipe(folder / "post") as post, ExitDetector() as proof:
        yield Hidden(folder, uid, wrapper, post, proof)


def guardian_of(running: Running) -> psutil.Process:
    (guardian,) = psutil.Process(running.pid).children()
    return guardian


def is_gone(process: psutil.Process) -> bool:
    """A zombie counts as gone: process 1 may reap it late."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_in_a_stop_it_is_ended_and_told(hidden: Hidden) -> None:
    with hidden.start(grace=20) as running:
        pid = int(hidden.post.expect(1, 15)[0])
        running.send(signal.SIGTERM)
        running.expect("interrupt.requested")
        guardian_of(running).kill()
        done = running.wait(20)
        hidden.proof.wait(3)
    line = next(line for line in done.stderr.splitlines() if "cleanup.verified" in line)
    assert re.search(r"\bfound=1 ended=1 remaining=\[\]", line), done
    assert re.search(rf"cleanup\.strays.*{pid}", done.stderr), done


def test_in_mid_run_it_is_ended_and_told_and_the_run_goes_on(hidden: Hidden) -> None:
    with hidden.start() as running:
        first = psutil.Process(int(hidden.post.expect(1, 15)[0]))
        guardian_of(running).kill()
        running.expect(rf"guardian\.strays.*{first.pid}")
        hidden.post.expect(1, 15)
        assert is_gone(first)
        running.send(signal.SIGTERM)
        running.wait(20)
        hidden.proof.wait(3)


def test_killed_together_with_the_supervisor_the_sentinel_ends_it(hidden: Hidden) -> None:
    with hidden.start() as running:
        hidden.post.expect(1, 15)
        guardian = guardian_of(running)
        running.send(signal.SIGSTOP)
        guardian.kill()
        running.send(signal.SIGKILL)
        running.popen.wait()
        hidden.proof.wait(8)


def test_when_the_sentinel_is_killed_too_the_next_start_ends_it(hidden: Hidden) -> None:
    with hidden.start() as running:
        process = psutil.Process(int(hidden.post.expect(1, 15)[0]))
        guardian = guardian_of(running)
        (sentinel,) = [child for child in guardian.children() if os.getsid(child.pid) == guardian.pid]
        running.send(signal.SIGSTOP)
        sentinel.kill()
        guardian.kill()
        running.send(signal.SIGKILL)
        running.popen.wait()
        assert process.is_running()
        words = ["resume", "-j", str(hidden.folder / "j.db"), "--grace", "0.3", "--term-grace", "0.3"]
        with Running([*hidden.wrapper, *QUIESCE, *words]) as again:
            again.expect(rf"previous_supervisor\.strays_killed.*{process.pid}")
            hidden.post.expect(1, 15)
            assert is_gone(process)
            again.send(signal.SIGTERM)
            again.wait(20)
        hidden.proof.wait(3)
