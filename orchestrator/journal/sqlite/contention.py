"""Retry while another process has the SQLite file locked, and find out which one.

SQLITE_BUSY is contention, not damage. SQLite waits for a moment by itself (SLICE); then the handler is called.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from orchestrator.journal.contention import Contention, Handler

T = TypeVar("T")

SLICE: Final = 0.1
"""Seconds that SQLite waits by itself; it tries again every few milliseconds."""

_WRITERS: Final = range(120, 121)
"""The byte of `-shm` that SQLite locks to write in WAL mode (its file format, section "WAL locks")."""

_DATABASE: Final = range(0x40000000, 0x40000200)
"""The bytes of the database file that SQLite locks."""

_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")


def is_contention(error: BaseException) -> bool:
    """Return whether an error is contention, so that another try makes sense."""
    name = str(getattr(error, "sqlite_errorname", ""))
    return isinstance(error, sqlite3.Error) and name.startswith(_PASSING)


def patiently(act: Callable[[], T], path: str, handler: Handler) -> T:
    """Call `act`, again and again while another process has the journal locked."""
    began: float | None = None
    while True:
        try:
            result = act()
        except sqlite3.Error as error:
            if not is_contention(error):
                raise
            now = time.monotonic()
            began = now - SLICE if began is None else began
            handler(Contention(path, now - began, lock_holders))
        else:
            if began is not None:
                handler(Contention(path, time.monotonic() - began, lock_holders, over=True))
            return result


# -- the holders -------------------------------------------------------------------------------------------


def lock_holders(path: str) -> list[int]:
    """Return the other processes that keep a writer out of the journal at `path`. 0 is one of another container."""
    pids = {pid for suffix, span in (("-shm", _WRITERS), ("", _DATABASE)) for pid in _holders(path + suffix, span)}
    return sorted(pids - {os.getpid()})


def _holders(path: str, span: range) -> Iterator[int]:
    """Yield pids of /proc/locks (man 5 proc), where a file is a device and an inode; the pid -1 is an OFD lock."""
    try:
        status = os.stat(path)
        with open("/proc/locks", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.replace("->", "").split()
        with contextlib.suppress(ValueError, IndexError):
            _, _, kind, pid, file_id, first, last = fields[1:8]
            inode, end = int(file_id.split(":")[2]), (1 << 63 if last == "EOF" else int(last))
            shared = kind == "READ" and span is _DATABASE  # every connection has one
            if inode == status.st_ino and not shared and int(first) < span.stop and end >= span.start and int(pid) >= 0:
                yield int(pid)


def open_file_lock_holder(path: str, byte: int) -> int | None:
    """Return the process with an open file description that has locked this byte; None if the host does not show it."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    for pid in _processes():
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.path.basename(os.readlink(f"/proc/{pid}/fd/{name}")) != os.path.basename(path):
                        continue  # stat of an unrelated file can hang with its file server
                    opened = os.stat(f"/proc/{pid}/fd/{name}")
                    same = (opened.st_dev, opened.st_ino) == (status.st_dev, status.st_ino)
                    if same and _has_locked(f"/proc/{pid}/fdinfo/{name}", byte):
                        return pid
    return None


def _processes() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _has_locked(fdinfo: str, byte: int) -> bool:
    """Return whether an fdinfo file has `lock: 1: OFDLCK ADVISORY WRITE -1 08:01:1234 FIRST LAST` with this byte."""
    with open(fdinfo, encoding="utf-8", errors="replace") as file:
        locks = [line.split() for line in file if line.startswith("lock:")]
    return any(fields[-2] == fields[-1] == str(byte) for fields in locks if "OFDLCK" in fields)
