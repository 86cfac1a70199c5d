"""The supervisor and its guardian are killed within a moment: no process is left to be ended later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.process.agents.drops import NOBODY
from tests.process.helpers import agent, jsonl
from tests.support.chaos.places import without_cgroups
from tests.support.cli import QUIESCE, Running
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe
from tests.support.user_folder import user_folder

GRACES = ("--grace", "0.3", "--term-grace", "0.3")


def helpers_of(running: Running) -> tuple[psutil.Process, psutil.Process]:
    """The guardian and the sentinel: the one child of its that leads no session."""
    (guardian,) = psutil.Process(running.pid).children()
    (sentinel,) = [child for child in guardian.children() if os.getsid(child.pid) == guardian.pid]
    return guardian, sentinel


def kill_both(running: Running, *others: psutil.Process) -> None:
    """Stopped first, so that it does not see its guardian die."""
    guardian, _ = helpers_of(running)
    running.send(signal.SIGSTOP)
    for process in (*others, guardian):
        process.kill()
    running.send(signal.SIGKILL)
    running.popen.wait()


@pytest.mark.parametrize("world", ["as it is", "no cgroup"])
def test_what_they_had_detached_is_ended(tmp_path: Path, world: str) -> None:
    wrapper = without_cgroups() if world == "no cgroup" else []
    if world == "no cgroup" and not wrapper:
        pytest.skip("cgroups cannot be hidden here")
    with AnnouncementPipe(tmp_path / "post") as post, ExitDetector() as proof:
        place = {"post": post.path, "proof": proof.path, "done": str(tmp_path / "done")}
        words = ["run", agent("left:leaves_a_daemon"), "-i", str(jsonl(tmp_path / "in.jsonl", [place])), "-w", "1"]
        with Running([*wrapper, *QUIESCE, *words, "-j", str(tmp_path / "j.db"), *GRACES]) as running:
            post.expect()
            kill_both(running)
            proof.wait(4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("where", ["in Python", "in C"])
def test_an_agent_that_has_changed_its_user_is_ended(where: str) -> None:
    """That clears what has the kernel kill it with its parent."""
    with user_folder(NOBODY) as folder, AnnouncementPipe(folder / "post") as post, ExitDetector() as proof:
        os.chmod(os.path.dirname(proof.path), 0o755)
        os.chmod(post.path, 0o666)
        source = jsonl(folder / "in.jsonl", [{"post": post.path, "proof": proof.path, "c": where == "in C"}])
        words = ["run", agent("drops:changes_user"), "-i", str(source), "-w", "1", "-j", str(folder / "j.db")]
        with Running([*without_cgroups(), *QUIESCE, *words, *GRACES]) as running:
            post.expect()
            kill_both(running)
            proof.wait(4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_and_by_its_own_control_thread_if_nobody_else_is_left() -> None:
    with user_folder(NOBODY) as folder, AnnouncementPipe(folder / "post") as post, ExitDetector() as proof:
        os.chmod(post.path, 0o666)
        source = jsonl(folder / "in.jsonl", [{"post": post.path, "proof": proof.path, "c": False}])
        words = ["run", agent("drops:changes_user"), "-i", str(source), "-w", "1", "-j", str(folder / "j.db")]
        with Running([*without_cgroups(), *QUIESCE, *words, *GRACES]) as running:
            post.expect()
            kill_both(running, helpers_of(running)[1])
            proof.wait(4)
