"""Probes and the termination message of a real run: before, during and after its stop."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import psutil

from tests.support.cli import Running, run_cli, start_cli
from tests.support.wait import wait_until

AGENTS = Path(__file__).with_name("agents") / "hosts.py"
PAGES = ("/livez", "/readyz", "/startupz")


class Place:
    """A folder with an input of two tasks for one of the agents in hosts.py, and a run of it with probes."""

    def __init__(self, folder: Path, agent: str) -> None:
        self.began, self.go, self.message = folder / "began", folder / "go", folder / "termination"
        self.journal, self.source = folder / "quiesce.db", folder / "in.jsonl"
        self.source.write_text(f"{json.dumps({'began': str(self.began), 'go': str(self.go)})}\n" * 2)
        self.words = [
            "run", f"{AGENTS}:{agent}", "-i", str(self.source), "-w", "2", "-j", str(self.journal), "--run-id", "r",
            "--probe-port", "0", "--termination-message", str(self.message),
        ]  # fmt: skip

    def start(self, *more: str, **environment: str) -> Running:
        return start_cli(*self.words, *more, env=environment)

    def wait_begun(self) -> None:
        wait_until(lambda: self.began.exists() and self.began.read_text().count("\n") == 2, 20, "both tasks have begun")


def port_of(running: Running) -> int:
    found = re.search(r"\d+$", running.expect(r"probes\.listening.*port=\d+"))
    assert found is not None
    return int(found.group())


def own_port(running: Running) -> int:
    """The port it listens on, before it has said so."""

    def listening() -> list[int]:
        found = psutil.Process(running.pid).net_connections("tcp")
        return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]

    return wait_until(listening, what="it listens")[0]


def ask(port: int, path: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def states(port: int) -> list[int]:
    return [ask(port, page)[0] for page in PAGES]


def test_they_follow_a_run_from_its_first_import_to_its_end(tmp_path: Path) -> None:
    place, loadable = Place(tmp_path, "slow_to_load"), tmp_path / "loadable"
    with place.start(SLOW_TO_LOAD=str(loadable)) as running:
        port = own_port(running)
        assert states(port) == [200, 503, 503]
        loadable.touch()
        place.wait_begun()
        wait_until(lambda: states(port) == [200, 200, 200], what="ready")
        place.go.touch()
        done = running.wait()
    assert done.returncode == 0, done
    assert place.message.read_text() == done.stderr.splitlines()[-1] + "\n"
    assert "completed" in place.message.read_text()


def test_it_is_not_ready_from_the_moment_a_stop_begins_but_stays_live(tmp_path: Path) -> None:
    place = Place(tmp_path, "deaf")
    with place.start("--grace", "30") as running:
        place.wait_begun()
        port = port_of(running)
        wait_until(lambda: states(port) == [200, 200, 200], what="ready")
        running.send(signal.SIGTERM)
        running.expect("interrupt.requested")
        wait_until(lambda: ask(port, "/readyz") == (503, "stopping: received SIGTERM\n"), what="not ready")
        assert ask(port, "/livez")[0] == 200
        metrics = ask(port, "/metrics")[1]
        place.go.touch()
        done = running.wait()
    assert done.signal == signal.SIGTERM, done
    assert 'quiesce_phase{phase="stopping"} 1.0' in metrics
    assert "quiesce_ladder_rung 1.0" in metrics
    assert "To resume: quiesce resume r" in place.message.read_text() or "completed" in place.message.read_text()


PATIENT = """
from orchestrator.entry import main
from orchestrator.integrations.probes import server
server.PROBES_CLOSE_TIMEOUT = server.CONNECTION_TIMEOUT = server._Handler.timeout = 3600
main()
"""
"""The command, with limits for its clients that no test outlasts."""


def test_clients_that_say_nothing_do_not_delay_the_end(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with Running([sys.executable, "-c", PATIENT, *place.words]) as running, ExitStack() as stack:
        place.wait_begun()
        port = port_of(running)
        for _ in range(50):
            stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
        assert ask(port, "/livez")[0] == 200
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.signal == signal.SIGTERM, done


def test_nobody_inherits_the_port(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with place.start() as running:
        place.wait_begun()
        below = psutil.Process(running.pid).children(recursive=True)
        assert len(below) == 4  # the guardian, its sentinel, and two executors
        assert [one for child in below for one in child.net_connections("inet")] == []
        place.go.touch()
        assert running.wait().returncode == 0


def test_a_port_in_use_is_one_line_and_exit_code_2_and_nothing_has_begun(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = run_cli(*place.words, "--probe-port", str(port))
    line = f"quiesce: cannot serve the probes on 127.0.0.1 port {port}: Address already in use\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert place.message.read_text() == line
    assert not place.began.exists()


def test_an_address_without_a_port_is_wrong_usage(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("1\n")
    done = run_cli("run", f"{AGENTS}:held", "-i", source, "--probe-address", "*", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "quiesce: --probe-address needs --probe-port\n")


def test_if_the_supervisor_is_killed_while_it_stops_the_message_says_so_far(tmp_path: Path) -> None:
    place = Place(tmp_path, "deaf")
    with place.start("--grace", "4", "--term-grace", "0.1") as running:
        place.wait_begun()
        running.send(signal.SIGTERM)
        running.expect("interrupt.requested")
        wait_until(lambda: place.message.exists() and place.message.read_text(), what="a first word")
        running.send(signal.SIGKILL)
        assert running.wait().returncode == -signal.SIGKILL
    assert place.message.read_text().startswith("stopping (received SIGTERM): 0 completed, 0 failed, 2 left")


def test_a_message_that_cannot_be_written_is_told_and_changes_nothing_else(tmp_path: Path) -> None:
    place = Place(tmp_path, "held")
    place.go.touch()
    done = run_cli(*place.words, "--termination-message", str(tmp_path / "missing" / "log"))
    assert done.returncode == 0, done
    assert "cannot write the termination message" in done.stderr.splitlines()[-1]
