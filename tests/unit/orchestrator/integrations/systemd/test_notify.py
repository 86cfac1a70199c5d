"""How it is sent to systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.integrations.systemd.notify import Notifier, SdNotifyObserver, notify_already_finished
from tests.unit.orchestrator.integrations.views import view


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A NOTIFY_SOCKET and its reader."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@quiesce-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(name.replace("@", "\0", 1))
        reader.setblocking(False)
        yield name, reader


def read(reader: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(reader.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_a_herald_tells_the_socket(listener: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness in a message of its own, then the rest."""
    name, reader = listener
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    herald = SdNotifyObserver.from_environment()
    assert herald is not None
    herald(view())
    assert read(reader) == ["READY=1", "STATUS=0/10 done, 2 executors\nWATCHDOG=1"]
    herald.close()


def test_what_was_not_heard_is_said_again(tmp_path: Path) -> None:
    """A service manager that re-executes itself has no socket for a moment."""
    path = str(tmp_path / "notify")
    herald = SdNotifyObserver(Notifier(path))
    herald(view())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(path)
        reader.setblocking(False)
        herald(view(0.25))
        assert read(reader)[0] == "READY=1"
    herald.close()


def test_a_full_socket_blocks_nobody(listener: tuple[str, socket.socket]) -> None:
    """The loop goes on; the word is kept for the next time."""
    name, reader = listener
    notifier = Notifier(name)
    sent = 0
    while notifier.send("STATUS=x") and sent < 100_000:
        sent += 1
    assert 0 < sent < 100_000
    assert len(read(reader)) == sent
    assert notifier.send("STATUS=y")
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_no_socket_no_herald(address: str) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": address}) is None
    assert Notifier.from_environment({}) is None


def test_nothing_to_do_counts_as_ready(listener: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that ends before it was ready would have failed."""
    name, reader = listener
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify_already_finished("run r is over")
    assert read(reader) == ["READY=1", "STOPPING=1\nSTATUS=run r is over"]
