"""A run whose supervisor was killed is taken up: it says what happened, and no task meets its earlier attempt."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.backends.previous_supervisor import PreviousSupervisor
from orchestrator.journal import SupervisorRecord
from runtime.process.marks import SLOT_PLACEHOLDER
from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.chaos.places import without_cgroups
from tests.support.cli import QUIESCE, ROOT, Running, run_cli, start_cli
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until


def test_the_next_start_says_what_happened(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate, ExitDetector() as proof:
        held = {"key": "held", "post": post.path, "gate": gate.path, "proof": proof.path}
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a"}, held, {"key": "b"}])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "1", "-j", journal, "--grace", "0.2")
        with start_cli(*arguments, "--run-id", "r") as running:
            post.expect()
            wait_until(lambda: look(journal).values == {"a": "a"}, what="the first result")
            running.send(signal.SIGKILL)
            proof.wait(4)
            killed = running.pid
        with start_cli("resume", "-j", journal) as running:
            said = running.expect(r".*run\.resumed.*")
            post.expect()
            running.send(signal.SIGTERM)
            running.wait(10)
        gate.open()
        done = run_cli("resume", "-j", journal)
    assert done.returncode == 0, done
    assert "warning" in said
    assert f"process {killed} on" in said
    first, second = look(journal).named("run.resumed")
    assert "ended without a word" in first["before"]
    assert (first["start"], first["completed"], first["left"]) == (2, 1, 2)
    assert second["before"] == "interrupted: received SIGTERM"
    assert (second["start"], second["completed"], second["interrupted"], second["left"]) == (3, 1, 1, 2)


@contextmanager
def resumed_while_it_leaves(tmp_path: Path) -> Iterator[tuple[Running, Gate, AnnouncementPipe]]:
    """A run whose supervisor was killed and whose agent leaves when the gate opens, and the resume that waits."""
    journal, source = tmp_path / "j.db", tmp_path / "in.jsonl"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        jsonl(source, [{"key": "a", "post": post.path, "gate": gate.path, "done": str(tmp_path / "done")}])
        arguments = ("run", agent("left:slow_to_leave"), "-i", source, "-w", "1", "-j", journal, "--grace", "20")
        with start_cli(*arguments) as first:
            post.expect()
            first.send(signal.SIGKILL)
            (tmp_path / "done").touch()
            with start_cli("resume", "-j", journal) as second:
                second.expect(r"previous_supervisor\.waiting")
                yield second, gate, post


def test_who_is_still_leaving_is_waited_for(tmp_path: Path) -> None:
    """An agent that has 20 s to clean up is not met by its own next attempt."""
    with resumed_while_it_leaves(tmp_path) as (second, gate, post):
        gate.open()
        done = second.wait(15)
        assert post.expect(3) == ["left", "begun", "left"]
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"a": "done"}


def test_a_stop_ends_the_waiting_too(tmp_path: Path) -> None:
    with resumed_while_it_leaves(tmp_path) as (second, gate, post):
        second.send(signal.SIGINT)
        done = second.wait(10)
        gate.open()
        assert post.expect() == ["left"]
    assert done.returncode == -signal.SIGINT, done
    assert "interrupted" in done.stderr.splitlines()[-2]
    assert look(tmp_path / "j.db").record.status == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_waited_and_was_ended_leaves_the_waiting_to_the_next(tmp_path: Path, number: signal.Signals) -> None:
    """The third start had lost the first one's agent, which was still cleaning up, and executed its task beside it."""
    with resumed_while_it_leaves(tmp_path) as (second, gate, post):
        first = second.expect(r"supervisor=\d+")
        second.send(number)
        second.popen.wait(10)
        with start_cli("resume", "-j", tmp_path / "j.db") as third:
            third.expect(rf"previous_supervisor\.waiting.*\b{first}\b")
            gate.open()
            done = third.wait(15)
            assert post.expect(3) == ["left", "begun", "left"]
    assert done.returncode == 0, done
    assert look(tmp_path / "j.db").values == {"a": "done"}


SLOW_TO_LEAVE = """
import sys
from orchestrator import Supervisor
from tests.process.agents.left import slow_to_leave
def log(name, severity, fields):
    print(name, flush=True)
journal, post, gate, done = sys.argv[1:]
task = {"post": post, "gate": gate, "done": done}
with Supervisor(workers=1, journal=journal, run_id="r", grace=20, handle_signals=False, log=log) as supervisor:
    try:
        handle = supervisor.submit(slow_to_leave, task, key="a")
    except KeyboardInterrupt:
        print("cut short", flush=True)
        handle = supervisor.submit(slow_to_leave, task, key="a")
    print(handle.result(), flush=True)
"""


def test_a_program_whose_waiting_is_cut_short_waits_again(tmp_path: Path) -> None:
    """Its next `submit` had neither waited nor begun to write the journal: the result never came."""
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        done = tmp_path / "done"
        program = [sys.executable, "-c", SLOW_TO_LEAVE, str(tmp_path / "j.db"), post.path, gate.path, str(done)]
        with Running(program, cwd=ROOT) as first:
            post.expect()
            first.send(signal.SIGKILL)
            first.popen.wait(10)
            done.touch()
            with Running(program, cwd=ROOT) as second:
                second.expect(r"previous_supervisor\.waiting", stream="stdout")
                second.send(signal.SIGINT)
                second.expect("cut short", stream="stdout")
                second.expect(r"previous_supervisor\.waiting", stream="stdout", count=2)
                gate.open()
                ended = second.wait(15)
                assert post.expect(3) == ["left", "begun", "left"]
    assert ended.returncode == 0, ended
    assert "done" in ended.stdout.splitlines()


@pytest.mark.parametrize("world", ["as it is", "no cgroup"])
def test_what_both_the_supervisor_and_its_guardian_left_is_ended(tmp_path: Path, world: str) -> None:
    wrapper = without_cgroups() if world == "no cgroup" else []
    if world == "no cgroup" and not wrapper:
        pytest.skip("cgroups cannot be hidden here")
    journal, source = tmp_path / "j.db", tmp_path / "in.jsonl"
    with AnnouncementPipe(tmp_path / "post") as post, ExitDetector() as proof:
        jsonl(source, [{"post": post.path, "proof": proof.path, "done": str(tmp_path / "done")}])
        words = ["run", agent("left:leaves_a_daemon"), "-i", str(source), "-w", "1", "-j", str(journal)]
        with Running([*wrapper, *QUIESCE, *words, "--run-id", "r"]) as running:
            daemon = psutil.Process(int(post.expect()[0]))
            running.send(signal.SIGSTOP)  # or it would look after what its guardian leaves
            (guardian,) = psutil.Process(running.pid).children()
            for child in guardian.children():
                if os.getsid(child.pid) == guardian.pid:
                    child.kill()  # the sentinel
            guardian.kill()
            running.send(signal.SIGKILL)
            running.popen.wait()
            assert daemon.is_running()
            (tmp_path / "done").touch()
            done = Running([*wrapper, *QUIESCE, "resume", "-j", str(journal)]).wait(20)
            proof.wait(0.5)
    assert done.returncode == 0, done
    (strays,) = look(journal).named("previous_supervisor.strays_killed")
    assert [words.split()[0] for words in strays["processes"]] == [str(daemon.pid)]


def test_another_supervisors_run_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    """Two journals may each have a run `r`; the dead one's successor does not touch the living one's executors."""
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "post": post.path, "gate": gate.path}])
        command = ("run", agent("plain:meet"), "-i", source, "-w", "1", "--run-id", "r", "--grace", "0.2")
        with start_cli(*command, "-j", tmp_path / "other.db") as other:
            post.expect()
            with start_cli(*command, "-j", tmp_path / "j.db") as running:
                post.expect()
                running.send(signal.SIGKILL)
                running.popen.wait()
            with start_cli("resume", "-j", tmp_path / "j.db") as running:
                post.expect()
                gate.open()
                assert running.wait(15).returncode == 0
            done = other.wait(15)
    assert done.returncode == 0, done
    assert look(tmp_path / "other.db").outcomes["a"].attempts == 1


@pytest.mark.parametrize(
    "case", ["dead", "its pid is taken", "on another host", "children are kept", "another token", "no token"]
)
def test_only_what_a_dead_supervisor_of_this_host_left_is_ended(case: str) -> None:
    """The owner in the journal is gone for certain, since its lock is. Its processes are known by its token alone.

    A process with its pid, or with its run and pid in the environment, is not meant; one with the token is.
    """
    gone = subprocess.Popen(["true"])
    gone.wait()
    pid = os.getppid() if case == "its pid is taken" else gone.pid
    token = {"another token": f"{pid}-1", "no token": ""}.get(case, f"{pid}-0")
    marks = {"QUIESCE_RUN_ID": "r", "QUIESCE_SUPERVISOR": f"{pid}-0"}
    noted: list[str] = []
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **marks}) as sleeper:
        wait_until(lambda: procs.environment_has(sleeper.pid, "QUIESCE_RUN_ID", "r"), what="the exec")
        host = "elsewhere" if case == "on another host" else socket.gethostname()
        predecessor = PreviousSupervisor("r", SupervisorRecord(token, pid, host))
        predecessor.wait_and_clean_up(
            lambda name, *_: noted.append(name), lambda: None, 5.0, keep_children="kept" in case
        )
        is_meant = case in ("dead", "its pid is taken")
        if is_meant:
            assert sleeper.wait(5) == -signal.SIGKILL
        else:
            assert sleeper.poll() is None
        sleeper.kill()
    assert noted == (["previous_supervisor.strays_killed"] if is_meant else [])


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process as another user")
def test_another_users_process_that_claims_to_be_of_the_run_is_left_alone() -> None:
    """Another user may copy a dead supervisor's environment: not even the token makes such a process ours."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    marks = {"QUIESCE_RUN_ID": "r", "QUIESCE_SUPERVISOR": f"{gone.pid}-0", "QUIESCE_SLOT": SLOT_PLACEHOLDER}
    noted: list[str] = []
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **marks}, user=12345) as sleeper:
        wait_until(lambda: procs.environment_has(sleeper.pid, "QUIESCE_RUN_ID", "r"), what="the exec")
        predecessor = PreviousSupervisor("r", SupervisorRecord(f"{gone.pid}-0", gone.pid, socket.gethostname()))
        predecessor.wait_and_clean_up(lambda name, *_: noted.append(name), lambda: None, 5.0, keep_children=False)
        assert sleeper.poll() is None
        sleeper.kill()
    assert noted == []
