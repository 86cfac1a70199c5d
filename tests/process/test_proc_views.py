"""Hosts whose /proc does not show our processes: one line says what is lost, and everything is ended all the same."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.chaos.places import with_proc
from tests.support.cli import QUIESCE, Running, environment
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe

GRACES = ("--grace", "0.3", "--term-grace", "0.3")
KINDS = ["none", "another namespace", "plain user", "plain user, listed"]
BLIND = KINDS[:2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


class World:
    """A run in such a world: three tasks that are done at once, and one that detaches a grandchild and waits."""

    def __init__(
        self, kind: str, folder: Path, wrapper: list[str], post: AnnouncementPipe, proof: ExitDetector
    ) -> None:
        self.kind = kind
        self.post = post
        self.proof = proof
        self.journal = folder / "j.db"
        tasks = [{"key": str(n), "n": n} for n in range(3)]
        waiting = {"key": "waiting", "post": post.path, "proof": proof.path, "hide": kind.startswith("plain")}
        source = str(jsonl(folder / "in.jsonl", [*tasks, waiting]))
        words = ["run", agent("sandboxed:double_or_detach"), "-i", source, "-j", str(self.journal), "-w", "1", *GRACES]
        self.running = Running([*wrapper, *QUIESCE, *words], timeout=55, stdin=subprocess.PIPE)

    @property
    def supervisor(self) -> psutil.Process:
        """The process that is `quiesce run`: what the wrapper execs, or the only grandchild of one that forks."""
        process = psutil.Process(self.running.pid)
        for _ in range(2 if self.kind == "another namespace" else 0):
            (process,) = process.children()
        return process

    def end(self) -> str:
        """Wait for its end, as its own parent sees it; what it wrote to standard error. Its namespace lives on."""
        if self.kind == "another namespace":
            self.running.expect("^it ended with", stream="stdout", deadline=30)
            return self.running.stderr
        return self.running.wait().stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for every user; not below pytest's, which another session closes to others when it starts."""
    made = Path(tempfile.mkdtemp(prefix="qv-", dir="/tmp"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, folder: Path) -> Iterator[World]:
    """One kind of /proc, with the run in it."""
    empty = folder / "empty"
    empty.mkdir()
    wrapper = with_proc(request.param, empty)
    if not wrapper:
        pytest.skip("this host cannot have such a /proc")
    with AnnouncementPipe(folder / "post") as post, ExitDetector() as proof:
        os.chmod(post.path, 0o666)
        os.chmod(proof.path, 0o666)
        os.chmod(os.path.dirname(proof.path), 0o755)
        made = World(request.param, folder, wrapper, post, proof)
        with made.running:
            yield made


def test_a_stop_ends_what_was_detached(world: World) -> None:
    world.post.expect(deadline=30)
    world.supervisor.send_signal(signal.SIGTERM)
    said = world.end()
    world.proof.wait(5)
    assert "Traceback" not in said
    assert "defect" not in said
    seen = look(world.journal)
    assert seen.statuses() == {"0": "completed", "1": "completed", "2": "completed", "waiting": "interrupted"}
    (degraded,) = seen.named("host.degraded")
    assert degraded["missing"] == ["/proc" if world.kind in BLIND else "/proc of other users' processes"]
    (verified,) = seen.named("cleanup.verified")
    assert (verified["found"], verified["ended"], verified["remaining"]) == (1, 1, [])


def test_the_guardian_ends_it_when_the_supervisor_is_killed(world: World) -> None:
    world.post.expect(deadline=30)
    world.supervisor.send_signal(signal.SIGKILL)
    world.proof.wait(5)


def test_an_empty_proc_is_no_defect_of_a_program_and_doctor_names_it(tmp_path: Path) -> None:
    for kind, what in (("none", "there is none"), ("another namespace", "another PID namespace")):
        wrapper = with_proc(kind, tmp_path)
        if not wrapper:
            pytest.skip("this host cannot have such a /proc")
        words = [*wrapper, *QUIESCE, "doctor", "-j", str(tmp_path / "j.db")]
        done = subprocess.run(
            words, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False
        )
        assert re.search(f"^degraded +/proc .*{what}", done.stdout, re.MULTILINE), done
        assert done.stderr == ""
