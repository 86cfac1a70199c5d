"""Log events in systemd's native form."""

from __future__ import annotations

import array
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.integrations import detect
from orchestrator.logging import journald
from orchestrator.logging.journald import JournalLog, entry, field_name, is_journal_stream
from runtime.model import Severity


def parsed(data: bytes) -> dict[str, str]:
    """As journald reads it."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, (size,) = line, struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


def test_an_event_has_its_fields() -> None:
    """A sentence for people, a field for each field, and where it belongs."""
    found = parsed(entry("r1", "task.retrying", Severity.WARNING, {"key": "a b", "attempt": 2, "pids": [1, 2]}))
    assert found == {
        "MESSAGE": "task.retrying key='a b' attempt=2 pids=[1,2]",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "quiesce",
        "QUIESCE_EVENT": "task.retrying",
        "QUIESCE_RUN_ID": "r1",
        "QUIESCE_KEY": "a b",
        "QUIESCE_ATTEMPT": "2",
        "QUIESCE_PIDS": "[1,2]",
    }


def test_a_line_break_in_a_value_forges_no_field() -> None:
    found = parsed(entry("r", "e", Severity.INFO, {"error": "three\nPRIORITY=0\nis too many"}))
    assert found["QUIESCE_ERROR"] == "three\nPRIORITY=0\nis too many"
    assert found["PRIORITY"] == "6"
    assert "\n" not in found["MESSAGE"]


@pytest.mark.parametrize(
    ("key", "name"),
    [("run", "QUIESCE_RUN"), ("max-rss", "QUIESCE_MAX_RSS"), ("ü", "QUIESCE__"), ("x" * 80, "QUIESCE_" + "X" * 56)],
)
def test_names_of_fields_are_legal(key: str, name: str) -> None:
    assert field_name(key) == name


def test_the_journal_is_known_by_its_inode(tmp_path: Path) -> None:
    """A variable that was inherited proves nothing: standard error may have been redirected since."""
    with (tmp_path / "stream").open("w") as file:
        status = os.fstat(file.fileno())
        assert is_journal_stream(file.fileno(), f"{status.st_dev}:{status.st_ino}")
        assert not is_journal_stream(file.fileno(), f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal_stream(file.fileno(), "nonsense")
        assert not is_journal_stream(file.fileno(), None)
    assert not is_journal_stream(987, "1:2")


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A journald of our own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"{folder}/journal")
        listening.settimeout(5)
        yield listening


def test_entries_go_out_from_their_level_on(server: socket.socket) -> None:
    log = JournalLog("r", Severity.WARNING, server.getsockname())
    log("quiet", Severity.INFO, {})
    log("loud", Severity.ERROR, {"n": 1})
    assert parsed(server.recv(65536))["QUIESCE_EVENT"] == "loud"
    log.close()


def test_an_entry_too_big_for_a_datagram_travels_as_a_file(server: socket.socket) -> None:
    """Sealed, as journald wants it."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("no memfd here")
    log = JournalLog("r", Severity.INFO, server.getsockname())
    log("big", Severity.INFO, {"detail": "x" * 4_000_000})
    data, rights, _, _ = server.recvmsg(1024, socket.CMSG_SPACE(4))
    assert data == b""
    fds = array.array("i", rights[0][2])
    with os.fdopen(fds[0], "rb") as file:
        file.seek(0)
        assert len(parsed(file.read())["QUIESCE_DETAIL"]) == 4_000_000
    log.close()


def test_a_journal_that_is_gone_costs_entries_not_time(server: socket.socket) -> None:
    """They are counted, and the first one that gets through tells how many were lost."""
    address = server.getsockname()
    log = JournalLog("r", Severity.INFO, address + ".gone")
    log("a", Severity.INFO, {})
    log("b", Severity.INFO, {})
    assert log.dropped == 2
    log._address = address
    log("c", Severity.INFO, {})
    assert parsed(server.recv(65536))["QUIESCE_LOST_BEFORE"] == "2"
    assert log.dropped == 0
    log.close()


def test_a_journal_that_is_stuck_costs_a_moment_once(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is waited for once, then not any more until something gets through."""
    monkeypatch.setattr(journald, "OUTPUT_TIMEOUT", 0.05)
    log = JournalLog("r", Severity.INFO, server.getsockname())
    for _ in range(100_000):
        log("e", Severity.INFO, {})
        if log.dropped >= 50:
            break
    assert log.dropped == 50
    log.close()


def test_elsewhere_logs_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without JOURNAL_STREAM, or where machines are to read them."""

    class Lines:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def write_line(self, line: str) -> None:
            self.seen.append(line)

        def is_congested(self) -> bool:
            return False

        def flush(self, limit: float | None = None) -> bool:
            return True

    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    sink = Lines()
    detect.log("r", sink, "json", Severity.INFO, colors=False)("e", Severity.INFO, {"n": 1})
    detect.log("r", sink, "console", Severity.INFO, colors=False)("e", Severity.INFO, {"n": 1})
    assert len(sink.seen) == 2
