"""Real containers of podman: whatever is killed, neither a container nor a volume is left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.hosts.engine import ContainerEngine
from tests.hosts.machine import rootfs
from tests.hosts.pods import Unavailable, why_not
from tests.process.helpers import jsonl, look
from tests.support.cli import QUIESCE, Running, run_cli
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until

AGENT = """
import os, subprocess

def work(task, state):
    podman, image, name, volume = task["podman"], task["image"], state.unique_name(), state.unique_name("qv")
    state.defer_undo([*podman, "volume", "rm", volume], kind="volume")
    subprocess.run([*podman, "volume", "create", "--label", "quiesce.run=" + state.run_id, volume], check=True)
    with state.external("container", undo=[*podman, "rm", "-fv", "-t", "0", name], name=name):
        made = ["run", "-d", "--network=none", "--name", name, "--label", "quiesce.run=" + state.run_id]
        subprocess.run([*podman, *made, "-v", volume + ":/kept", "-v", "/lost", image, "sleep", "600"], check=True)
        with open(task["post"], "w") as post:
            print(os.getpid(), file=post, flush=True)
        try:
            os.mkdir(task["first"])
        except FileExistsError:
            return name
        state.sleep(600)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine() -> Iterator[ContainerEngine]:
    reason = why_not() or (rootfs() if isinstance(rootfs(), str) else None)
    if reason is not None:
        pytest.skip(str(reason))
    try:
        engine = ContainerEngine()
    except Unavailable as error:
        pytest.skip(str(error))
    with engine:
        yield engine


@pytest.fixture
def post(tmp_path: Path) -> Iterator[AnnouncementPipe]:
    with AnnouncementPipe(tmp_path / "post") as pipe:
        yield pipe


def start(tmp_path: Path, engine: ContainerEngine, post: AnnouncementPipe) -> Running:
    (tmp_path / "agent.py").write_text(AGENT)
    task = {"podman": engine.words, "image": engine.image, "post": post.path, "first": str(tmp_path / "first")}
    words = ["run", "agent.py:work", "-i", str(jsonl(tmp_path / "in.jsonl", [task])), "-w", "1", "--run-id", "r"]
    return Running([*QUIESCE, *words, "--grace", "60", "--journal", "j.db"], cwd=tmp_path, timeout=300)


def guardian_of(running: Running) -> psutil.Process:
    (guardian,) = psutil.Process(running.pid).children()
    return guardian


def kill_executor(running: Running, executor: int) -> None:
    psutil.Process(executor).kill()
    running.wait()


def kill_guardian(running: Running, _: int) -> None:
    guardian_of(running).kill()
    running.wait()


def kill_supervisor(running: Running, _: int) -> None:
    guardian = guardian_of(running)
    running.send(signal.SIGKILL)
    running.popen.wait()
    wait_until(lambda: not guardian.is_running(), deadline=120, what="the end of the heir")


def kill_all(running: Running, _: int) -> None:
    guardian = guardian_of(running)
    family = [*guardian.children(recursive=True), guardian]
    running.send(signal.SIGSTOP)
    for process in family:
        process.kill()
    running.send(signal.SIGKILL)
    running.popen.wait()
    wait_until(lambda: not any(process.is_running() for process in family), deadline=60, what="their end")


@pytest.mark.parametrize("kill", [kill_executor, kill_guardian, kill_supervisor], ids=lambda kill: kill.__name__)
def test_no_container_and_no_volume_is_left(
    tmp_path: Path, engine: ContainerEngine, post: AnnouncementPipe, kill: object
) -> None:
    assert callable(kill)
    with start(tmp_path, engine, post) as running:
        (executor,) = post.expect(deadline=120)
        assert len(engine.containers("r")) == 1
        assert len(engine.volumes()) == 2
        kill(running, int(executor))
    assert (engine.containers("r"), engine.volumes()) == ([], []), str(running)[-6000:]
    assert look(tmp_path / "j.db").named("undo.outstanding") == []


@pytest.mark.parametrize("cure", ["resume", "clean"])
def test_all_three_killed_and_then_the_next_start(
    tmp_path: Path, engine: ContainerEngine, post: AnnouncementPipe, cure: str
) -> None:
    with start(tmp_path, engine, post) as running:
        (executor,) = post.expect(deadline=120)
        kill_all(running, int(executor))
    assert len(engine.containers("r")) == 1
    done = run_cli(cure, "r", "--journal", "j.db", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done
    assert (engine.containers("r"), engine.volumes()) == ([], [])


def test_a_command_that_is_podman_run(tmp_path: Path, engine: ContainerEngine) -> None:
    """The client and everything else of the run is killed; the name, the label and the undo are ours."""
    made = [*engine.words, "run", "--network=none", "-v", "/lost", engine.image, "sleep", "{}"]
    words = ["run", "--run-id", "c", "--journal", "j.db", "--grace", "60", "--", *made, ":::", "600"]
    with Running([*QUIESCE, *words], cwd=tmp_path, timeout=300) as running:
        wait_until(lambda: engine.containers("c"), deadline=120, what="the container")
        kill_all(running, 0)
    assert engine.containers("c") == ["q-c-1-1-1"]
    done = run_cli("clean", "c", "--journal", "j.db", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done
    assert (engine.containers("c"), engine.volumes()) == ([], [])
