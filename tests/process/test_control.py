"""The control socket of a living run: what another process of the same user may ask, and who may not."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.control import address
from orchestrator.control.client import ControlClient, connect
from orchestrator.control.protocol import (
    EscalateRequest,
    Events,
    Gap,
    InterruptRequest,
    LimitsReply,
    LimitsRequest,
    StatusReply,
    StatusRequest,
)
from runtime.errors import UsageError
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, Running, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the sockets of a test in its own folder. Its path is short: a socket's has 107 bytes."""
    folder = Path(f"/tmp/q{os.getpid()}{abs(hash(tmp_path)) % 10**8}")
    monkeypatch.setenv(address.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left(sockets: Path) -> Iterator[None]:
    yield
    if sockets.is_dir():
        left = os.listdir(sockets)
        for name in left:
            (sockets / name).unlink()
        sockets.rmdir()


class Held:
    """A run with tasks that are deaf until the gate opens, and what is needed to meet it."""

    def __init__(self, running: Running, post: AnnouncementPipe, gate: Gate, journal: Path) -> None:
        self.running, self.post, self.gate, self.journal = running, post, gate, journal

    def client(self) -> ControlClient:
        client = connect(str(self.journal), "r")
        assert client is not None
        return client

    def quiesce(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*QUIESCE, *words, "--journal", str(self.journal)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def held(tmp_path: Path, function: str = "plain:meet", *options: str, workers: int = 2) -> Iterator[Held]:
    """Start a run `r` of two tasks that are held, `a` and `b`, and one that passes."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        tasks = [{"key": key, "post": post.path, "gate": gate.path} for key in "ab"]
        source = jsonl(tmp_path / "in.jsonl", [*tasks, {"key": "c"}])
        arguments = ("run", agent(function), "-i", source, "-w", str(workers), "-j", journal, "--run-id", "r")
        with start_cli(*arguments, "--key-field", "key", *options) as running:
            for _ in range(workers):
                post.expect()
            yield Held(running, post, gate, journal)


def test_status_and_limits(tmp_path: Path) -> None:
    with held(tmp_path, "plain:wait", "--grace", "7") as run, run.client() as client:
        assert client.welcome.pid == run.running.pid
        wait_until(lambda: len(_executing(client)) == 2, 20, what="both tasks in the status")
        reply = client.ask(StatusRequest())
        assert isinstance(reply, StatusReply)
        assert reply.stop is None
        assert json.loads(reply.progress)["progress"]["total"] == 3
        limits = client.ask(LimitsRequest())
        assert isinstance(limits, LimitsReply)
        assert json.loads(limits.limits)["grace"] == 7
        with pytest.raises(UsageError, match="not being stopped"):
            client.ask(EscalateRequest())
        with pytest.raises(UsageError, match="no executor 9"):
            client.ask(InterruptRequest(slot=9))
        with pytest.raises(UsageError, match="no reason 'boredom'"):
            client.ask(InterruptRequest(reason="boredom"))
        run.running.send(signal.SIGTERM)
        run.running.wait()


def test_an_executor_is_stopped_and_the_others_go_on(tmp_path: Path) -> None:
    with held(tmp_path, "plain:wait") as run, run.client() as client:
        wait_until(lambda: len(_executing(client)) == 2, 20, what="both tasks in the status")
        executing = _executing(client)
        done = run.quiesce("interrupt", "r", "--executor", "1", "--message", "that one")
        assert (done.returncode, done.stdout) == (
            0, f"asked process {run.running.pid} to stop what executor 1 of run r executes\n",
        )  # fmt: skip
        wait_until(lambda: executing[1] in look(run.journal).outcomes, 20, what="the outcome of the stopped task")
        assert executing[0] not in look(run.journal).outcomes
        run.running.send(signal.SIGTERM)
        run.running.wait()
    seen = look(run.journal)
    assert seen.outcomes[executing[1]].status == "interrupted"
    assert seen.outcomes["c"].ok
    (requested,) = [data for data in seen.named("task.interrupting") if data["message"] == "that one"]
    assert requested["key"] == executing[1]


def test_rungs_are_taken_at_once_by_request(tmp_path: Path) -> None:
    """An agent that is deaf to the flag, with graces that a test would not survive."""
    with held(tmp_path, "plain:meet", "--grace", "1000", "--term-grace", "1000") as run, run.client() as client:
        client.ask(InterruptRequest(message="enough", triggered_by="me"))
        with run.client() as watching:
            wait_until(lambda: _rung(watching) == "FLAG", 20, what="the stop")
            assert run.quiesce("interrupt", "r", "--escalate").returncode == 0
            wait_until(lambda: _rung(watching) in ("TERM", None), 20, what="the second rung")
        ended = run.running.wait()
    assert ended.returncode == 75, ended
    seen = look(run.journal)
    assert [data["rung"] for data in seen.named("ladder.rung")][:2] == ["FLAG", "TERM"]
    assert seen.named("interrupt.requested")[0]["message"] == "enough"


def _is_reachable(journal: Path) -> bool:
    client = connect(str(journal), "r")
    if client is not None:
        client.close()
    return client is not None


def _executing(client: ControlClient) -> dict[int, str]:
    """Return the key of what each executor executes, by its slot, as the supervisor saw it last."""
    reply = client.ask(StatusRequest())
    assert isinstance(reply, StatusReply)
    executors = json.loads(reply.progress)["progress"]["executors"]
    return {executor["slot"]: executor["tasks"][0]["key"] for executor in executors if executor["tasks"]}


def _rung(client: ControlClient) -> str | None:
    """Return the rung of the stop; None when the supervisor is gone."""
    try:
        reply = client.ask(StatusRequest())
    except Exception:
        return None
    return reply.stop.rung if isinstance(reply, StatusReply) and reply.stop is not None else None


def test_a_subscription_and_the_journal_have_every_event_once(tmp_path: Path) -> None:
    with held(tmp_path) as run, run.client() as client:
        client.subscribe(from_seq=1)
        first = client.next(20)
        assert isinstance(first, Gap)
        run.gate.open()
        received = [event for batch in client if isinstance(batch, Events) for event in batch.events]
        assert run.running.wait().returncode == 0
    assert [event.seq for event in received] == list(range(first.next_seq, received[-1].seq + 1))
    assert received[-1].kind == "run.finished"
    assert received[-1].seq == len(look(run.journal).events)


def test_followers_end_with_the_run(tmp_path: Path) -> None:
    with held(tmp_path) as run:
        command = [*QUIESCE, "events", "r", "--follow", "--json", "--journal", str(run.journal)]
        with Running(command) as following:
            following.expect("task.started|executor.started", stream="stdout")
            run.gate.open()
            assert run.running.wait().returncode == 0
            done = following.wait()
    assert done.returncode == 0
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds == [kind for kind, _ in look(run.journal).events]


def test_the_socket_is_its_owners_alone_and_goes_with_the_run(tmp_path: Path, sockets: Path) -> None:
    with held(tmp_path) as run:
        (path,) = address.find_sockets(str(run.journal), "r")
        assert stat.S_IMODE(os.stat(sockets).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        run.gate.open()
        assert run.running.wait().returncode == 0
    assert os.listdir(sockets) == []


NOBODY = "65534"
KNOCK = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
knocking = socket.socket(socket.AF_UNIX)
knocking.settimeout(20)
knocking.connect(sys.argv[1])
print(len(knocking.recv(100)))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_hung_up_on(tmp_path: Path, sockets: Path) -> None:
    """Even where the modes of the folder and the socket were opened by hand."""
    with held(tmp_path) as run:
        (path,) = address.find_sockets(str(run.journal), "r")
        knock = [sys.executable, "-c", KNOCK, path]
        refused = subprocess.run([*knock, NOBODY], capture_output=True, text=True, check=False)
        assert "PermissionError" in refused.stderr
        sockets.chmod(0o777)
        os.chmod(path, 0o666)
        assert subprocess.check_output([*knock, NOBODY], text=True) == "0\n"
        assert int(subprocess.check_output([*knock, "0"], text=True)) > 0
        sockets.chmod(0o700)
        run.gate.open()
        assert run.running.wait().returncode == 0


@pytest.mark.parametrize(
    "nonsense", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, bytes(8) + b"\xc1", b"\xff\xff\xff\x7f\xff\xff\xff\x7f" * 2]
)
def test_nonsense_is_hung_up_on_and_nobody_else_notices(tmp_path: Path, nonsense: bytes) -> None:
    with held(tmp_path) as run, run.client() as other:
        (path,) = address.find_sockets(str(run.journal), "r")
        with socket.socket(socket.AF_UNIX) as shouting:
            shouting.settimeout(20)
            shouting.connect(path)
            shouting.sendall(nonsense)
            while shouting.recv(4096):
                pass
        assert isinstance(other.ask(StatusRequest()), StatusReply)
        run.gate.open()
        assert run.running.wait().returncode == 0


def test_clients_that_say_nothing_do_not_delay_the_end(tmp_path: Path) -> None:
    with held(tmp_path) as run:
        (path,) = address.find_sockets(str(run.journal), "r")
        silent = [socket.socket(socket.AF_UNIX) for _ in range(80)]  # more than there is room for
        for connection in silent:
            connection.connect(path)
        run.gate.open()
        assert run.running.wait().returncode == 0
        for connection in silent:
            connection.close()


def test_a_killed_supervisors_socket_is_replaced(tmp_path: Path, sockets: Path) -> None:
    with held(tmp_path, "plain:wait", "--grace", "0.2", "--term-grace", "0.2") as run:
        run.running.send(signal.SIGKILL)
        run.running.wait()
        assert len(os.listdir(sockets)) == 1
        assert connect(str(run.journal), "r") is None
        asked = run.quiesce("interrupt", "r")
        assert (asked.returncode, asked.stderr) == (
            1,
            "quiesce: no living supervisor has run r: nothing to interrupt\n",
        )
        asked = run.quiesce("interrupt", "r", "--escalate")
        assert (asked.returncode, asked.stderr) == (
            2, "quiesce: --escalate needs the control socket of run r, and there is none here\n",
        )  # fmt: skip
        with start_cli("resume", "r", "-j", run.journal) as again:
            wait_until(lambda: _is_reachable(run.journal), 30, what="the new socket")
            again.send(signal.SIGTERM)
            again.wait()
    assert os.listdir(sockets) == []


def test_a_run_without_a_socket_goes_on(tmp_path: Path, sockets: Path) -> None:
    """Others may enter the folder: it is not used, and requests go through the journal."""
    sockets.mkdir()
    sockets.chmod(0o755)
    with held(tmp_path, "plain:wait", "--log-level", "info") as run:
        assert "other users may enter it" in run.running.expect("control.unavailable.*")
        assert run.quiesce("interrupt", "r").returncode == 0
        assert run.running.wait().returncode == 75


def test_a_refused_start_leaves_the_socket_of_the_living_run(tmp_path: Path) -> None:
    with held(tmp_path) as run:
        refused = run_cli("resume", "r", "-j", run.journal)
        assert refused.returncode == 2
        with run.client() as client:
            assert client.welcome.pid == run.running.pid
        run.gate.open()
        assert run.running.wait().returncode == 0
