"""The probes' server, in this process: what it answers, and that no client can hang it."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.core.status import Phase
from orchestrator.integrations.probes import server as probes
from orchestrator.integrations.probes.client import query_probe as ask_inside
from orchestrator.integrations.probes.server import EVERYWHERE, Probes
from runtime.errors import UsageError
from tests.support.wait import wait_until
from tests.unit.orchestrator.integrations.probes.test_health import STOP, VIEW


@pytest.fixture
def served() -> Iterator[Probes]:
    server = Probes(0)
    server.start("run-1")
    yield server
    server.close()


def ask(served: Probes, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
    with closing(http.client.HTTPConnection(host, served.port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def silent(served: Probes) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=10)


def test_every_page_follows_what_it_was_shown(served: Probes) -> None:
    now = time.monotonic()
    assert [ask(served, page)[0] for page in ("/livez", "/readyz", "/startupz")] == [200, 503, 503]
    served(replace(VIEW, at=now))
    assert [ask(served, page)[0] for page in ("/livez", "/readyz", "/startupz")] == [200, 200, 200]
    served(replace(VIEW, at=now, phase=Phase.STOPPING, signal=STOP))
    assert ask(served, "/readyz") == (503, "stopping: received SIGTERM\n")
    assert [ask(served, page)[0] for page in ("/livez", "/startupz")] == [200, 200]


def test_a_loop_that_stands_still_is_told(served: Probes) -> None:
    served(replace(VIEW, at=time.monotonic() - 60))
    status, why = ask(served, "/livez")
    assert status == 503
    assert "has not turned for 60 s" in why


def test_asked_from_inside(served: Probes) -> None:
    assert ask_inside(served.port, "/livez") == (True, "the supervision loop turns")
    assert ask_inside(served.port, "/readyz") == (False, "no agent is loaded yet")


def test_asked_where_nobody_listens() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yes, why = ask_inside(taken.getsockname()[1], "/livez")
    assert not yes
    assert why.startswith("no answer: ")


def test_a_query_is_ignored_and_head_has_no_body(served: Probes) -> None:
    assert ask(served, "/livez?verbose=1")[0] == 200
    assert ask(served, "/livez", "HEAD") == (200, "")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 404), ("/livez/x", "GET", 404), ("/livez", "POST", 405), ("/livez", "DELETE", 405),
        ("/livez", "BREW", 501), ("/" + "x" * 70_000, "GET", 414),
    ],
)  # fmt: skip
def test_everything_else_is_refused(served: Probes, path: str, method: str, status: int) -> None:
    """In plain text of a line."""
    found, text = ask(served, path, method)
    assert found == status
    assert text.count("\n") <= 1
    assert "<" not in text


@pytest.mark.parametrize(
    "words",
    [b"\x16\x03\x01\x02\x00\x01", b"\0" * 1000, b"\r\n" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"GET " + b"/" * 99_999],
)
def test_what_is_no_request_ends_and_others_are_answered(served: Probes, words: bytes) -> None:
    """A TLS client, a port scanner, a torrent of nothing."""
    with silent(served) as client, contextlib.suppress(OSError):  # it may close in mid-sentence
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert ask(served, "/livez")[0] == 200


def test_the_metrics_tell_the_run(served: Probes) -> None:
    served(replace(VIEW, at=time.monotonic(), restarts=2))
    status, text = ask(served, "/metrics")
    assert status == 200
    lines = text.splitlines()
    for line in (
        'quiesce_run_info{run_id="run-1"} 1.0',
        'quiesce_tasks{status="completed"} 3.0',
        'quiesce_tasks{status="failed"} 1.0',
        'quiesce_tasks{status="running"} 2.0',
        'quiesce_tasks{status="pending"} 4.0',
        'quiesce_executors{state="ready"} 1.0',
        "quiesce_executor_restarts_total 2.0",
        'quiesce_phase{phase="running"} 1.0',
        "quiesce_ladder_rung 0.0",
        "quiesce_ready 1.0",
    ):
        assert line in lines
    assert any(line.startswith("quiesce_memory_bytes ") and float(line.split()[1]) > 1e6 for line in lines)


def test_without_the_extra_metrics_say_what_is_missing(served: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Any:
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(importlib, "import_module", load)
    assert ask(served, "/metrics") == (501, f"{probes.NO_METRICS}\n")
    assert ask(served, "/livez")[0] == 200


def test_a_port_in_use_is_one_line(served: Probes) -> None:
    with pytest.raises(UsageError, match=rf"127\.0\.0\.1 port {served.port}: Address already in use"):
        Probes(served.port)


@pytest.mark.parametrize("address", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_one_line(address: str) -> None:
    with pytest.raises(UsageError, match="cannot serve the probes") as refused:
        Probes(0, address)
    assert "attempting" not in str(refused.value)


def test_everywhere_is_ipv4_and_ipv6() -> None:
    server = Probes(0, EVERYWHERE)
    server.start()
    try:
        assert ask(server, "/livez")[0] == 200
        if socket.has_dualstack_ipv6():
            assert ask(server, "/livez", host="::1")[0] == 200
    finally:
        server.close()


# -- no client hangs it----------------------------------------------------------------------------------


def test_clients_that_say_nothing_keep_nobody_else_out(served: Probes) -> None:
    with ExitStack() as stack:
        for _ in range(3 * probes.CONNECTIONS):
            stack.enter_context(closing(silent(served)))
        assert ask(served, "/livez")[0] == 200


def test_a_client_that_dawdles_is_cut_off(served: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not buy more time: the whole connection has its limit."""
    monkeypatch.setattr(probes, "CONNECTION_TIMEOUT", 0.2)
    with closing(silent(served)) as client:
        began = time.monotonic()
        client.sendall(b"GET /livez HTTP/1.0\r\n")
        with pytest.raises(OSError, match=r"cut off|reset|pipe"):
            while True:
                client.sendall(b"X-Slow: yes\r\n")
                client.settimeout(0.02)
                try:
                    if client.recv(1) == b"":
                        raise ConnectionResetError("cut off")
                except TimeoutError:
                    assert time.monotonic() - began < 10, "it is still open"


def test_closing_waits_for_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit ends the wait: were there one, it would last for longer than a test may take."""
    monkeypatch.setattr(probes, "PROBES_CLOSE_TIMEOUT", 3600)
    monkeypatch.setattr(probes, "CONNECTION_TIMEOUT", 3600)
    monkeypatch.setattr(probes._Handler, "timeout", 3600)
    server = Probes(0)
    server.start()
    threads = threading.active_count()
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(silent(server))) for _ in range(5)]
        wait_until(lambda: threading.active_count() == threads + len(clients), what="a thread for each client")
        server.close()
        assert [client.recv(1) for client in clients] == [b""] * len(clients)


def test_one_that_was_never_started_can_be_closed() -> None:
    Probes(0).close()
