"""Write log events as entries of systemd's journal, with their fields, when standard error leads to that journal.

The native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) is one datagram an entry; an entry that is too large for a
datagram is passed as a sealed memory file. Find entries with
`journalctl QUIESCE_RUN_ID=… QUIESCE_EVENT=task.failed -o json`.

Rejected: the package systemd-python, which needs a C compiler and libsystemd's headers to install.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orchestrator.logging.sinks import LogCallback
from runtime.statuses import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT

SOCKET: Final = "/run/systemd/journal/socket"

_PRIORITY: Final = {
    Severity.DEBUG: 7,
    Severity.INFO: 6,
    Severity.WARNING: 4,
    Severity.ERROR: 3,
    Severity.CRITICAL: 2,
}
_ORDER: Final = tuple(Severity)


def is_journal_stream(fd: int, stream: str | None) -> bool:
    """Return whether JOURNAL_STREAM (`device:inode`) names this descriptor, which may have been redirected."""
    if not stream:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def journald_log(run_id: str, level: Severity) -> LogCallback | None:
    """Return a log callback that writes entries from `level` on; None when standard error is not the journal."""
    if not is_journal_stream(2, os.environ.get("JOURNAL_STREAM")) or not os.path.exists(SOCKET):
        return None
    return JournalLog(run_id, level)


class JournalLog:
    """Log callback for systemd's journal. Waits OUTPUT_TIMEOUT at most for a busy journal, then drops and counts."""

    def __init__(self, run_id: str, level: Severity, address: str = SOCKET) -> None:
        self._run_id = run_id
        self._shown = frozenset(_ORDER[_ORDER.index(level) :])
        self._address = address
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.dropped = 0

    def __call__(self, name: str, severity: Severity, fields: Mapping[str, Any]) -> None:
        """Send one entry, with the number of entries that were dropped before it."""
        if severity not in self._shown:
            return
        with self._lock:
            if self.dropped:
                fields = {**fields, "lost_before": self.dropped}
            if self._send(entry(self._run_id, name, severity, fields)):
                self.dropped = 0
            else:
                self.dropped += 1

    def _send(self, data: bytes) -> bool:
        try:
            return self._send_datagram(data)
        except OSError:  # the journal restarts, or refuses an entry of this size
            return False

    def _send_datagram(self, data: bytes) -> bool:
        try:
            self._socket.sendto(data, self._address)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            if not poll.poll(0 if self.dropped else OUTPUT_TIMEOUT * 1000):
                return False
            self._socket.sendto(data, self._address)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_file(data)
        return True

    def _send_file(self, data: bytes) -> None:
        fd = os.memfd_create("quiesce-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(data)
            seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]).tobytes())]
            self._socket.sendmsg([], rights, 0, self._address)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def entry(run_id: str, name: str, severity: Severity, fields: Mapping[str, Any]) -> bytes:
    """Return an event in the journal's format. MESSAGE is for people; every value also has a field of its own."""
    texts = {key: _text(value) for key, value in fields.items()}
    parts = [
        _field("MESSAGE", " ".join([name, *(f"{key}={_quoted(value)}" for key, value in texts.items())])),
        _field("PRIORITY", str(_PRIORITY[severity])),
        _field("SYSLOG_IDENTIFIER", "quiesce"),
        _field("QUIESCE_EVENT", name),
        _field("QUIESCE_RUN_ID", run_id),
    ]
    parts += [_field(field_name(key), value) for key, value in texts.items()]
    return b"".join(parts)


def field_name(key: str) -> str:
    """Return a legal field name: capitals, digits and underscores, at most 64, and none of the journal's own names."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key).upper()
    return f"QUIESCE_{word}"[:64]


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return str(value)


def _quoted(value: str) -> str:
    return repr(value) if not value or not value.isprintable() or " " in value else value
