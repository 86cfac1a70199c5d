"""Waiting for whoever has the journal locked. SQLITE_BUSY is contention, not damage: it ends by itself, mostly.

SQLite waits a moment by itself (SLICE); then a handler is asked, which may report, and raises to give up. So every
wait is bounded by whoever knows for how long there is any sense in it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from orchestrator.journal.base import JournalError

T = TypeVar("T")

SLICE: Final = 0.1
"""Seconds that SQLite waits by itself, looking every few milliseconds."""

REPORT_AFTER: Final = 1.0
"""Seconds from which on a wait is worth a word."""

LIMIT: Final = 30.0
"""Seconds that a command waits which has nothing to lose."""

_WRITERS: Final = range(120, 121)
"""Of `-shm`: the byte that SQLite locks to write in WAL mode (its file format, section "WAL locks")."""

_DATABASE: Final = range(0x40000000, 0x40000200)
"""Of the file itself: the bytes that SQLite locks."""

_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")


class ContentionError(JournalError):
    """The journal is whole, but somebody else keeps it locked."""


@dataclass(frozen=True, slots=True)
class Contention:
    """A wait for the journal at `path`, which has lasted for `seconds`. `over`: it has just ended."""

    path: str
    seconds: float
    over: bool = False
    finder: Callable[[str], list[int]] | None = None

    def find_holders(self) -> list[str]:
        """Who has it locked, as far as the host tells."""
        return [describe_process(pid) for pid in (self.finder or lock_holders)(self.path)]

    def error(self) -> ContentionError:
        """What to raise when nobody wants to wait any longer."""
        return ContentionError(self.describe(self.find_holders()))

    def describe(self, holders: Sequence[str]) -> str:
        """One line."""
        return f"journal {self.path}: {', '.join(holders) or 'another process'} keeps it locked"


Handler = Callable[[Contention], None]
"""Is called after each SLICE of a wait, and when it is over. Raises to give up."""


Report = Callable[[Sequence[str], float], None]
"""Is told who is waited for, and for how many seconds now."""


def wait_at_most(limit: float = LIMIT, report: Report | None = None) -> Handler:
    """A handler that says once who is waited for, and gives up after `limit` seconds."""
    reported = False

    def handle(contention: Contention) -> None:
        nonlocal reported
        if contention.over:
            reported = False
        elif contention.seconds >= limit:
            raise contention.error()
        elif contention.seconds >= REPORT_AFTER and not reported and report is not None:
            reported = True
            report(contention.find_holders(), contention.seconds)

    return handle


def is_contention(error: BaseException) -> bool:
    """Whether it is worth trying again."""
    name = str(getattr(error, "sqlite_errorname", ""))
    return isinstance(error, sqlite3.Error) and name.startswith(_PASSING)


def patiently(act: Callable[[], T], path: str, handler: Handler) -> T:
    """Do it, again and again while somebody else has the journal locked."""
    began: float | None = None
    while True:
        try:
            result = act()
        except sqlite3.Error as error:
            if not is_contention(error):
                raise
            now = time.monotonic()
            began = now - SLICE if began is None else began
            handler(Contention(path, now - began))
        else:
            if began is not None:
                handler(Contention(path, time.monotonic() - began, over=True))
            return result


# -- who it is ---------------------------------------------------------------------------------------------


def lock_holders(path: str) -> list[int]:
    """The other processes that keep a writer out of the journal at `path`. 0 is one of another container."""
    found = {pid for suffix, span in (("-shm", _WRITERS), ("", _DATABASE)) for pid in _holders(path + suffix, span)}
    return sorted(found - {os.getpid()})


def describe_process(pid: int) -> str:
    """For a message."""
    if pid == 0:
        return "a process of another container"
    name = ""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        name = "".join(each if each.isprintable() else "?" for each in file.read().strip())
    return f"process {pid} ({name})" if name else f"process {pid}"


def _holders(path: str, span: range) -> Iterator[int]:
    """From /proc/locks, where a file is a device and an inode; -1 there is an open file's lock, which has no pid."""
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
            shared = kind == "READ" and span is _DATABASE  # every connection has such a one
            if inode == status.st_ino and not shared and int(first) < span.stop and end >= span.start and int(pid) >= 0:
                yield int(pid)


def open_file_lock_holder(path: str, byte: int) -> int | None:
    """The process with an open file description that has locked this byte, None where the host does not tell."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    for pid in _processes():
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.path.basename(os.readlink(f"/proc/{pid}/fd/{name}")) != os.path.basename(path):
                        continue  # to ask another file for its inode can take as long as its file server does
                    found = os.stat(f"/proc/{pid}/fd/{name}")
                    same = (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)
                    if same and _has_locked(f"/proc/{pid}/fdinfo/{name}", byte):
                        return pid
    return None


def _processes() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _has_locked(fdinfo: str, byte: int) -> bool:
    """A line there is `lock: 1: OFDLCK ADVISORY WRITE -1 08:01:1234 FIRST LAST`."""
    with open(fdinfo, encoding="utf-8", errors="replace") as file:
        locks = [line.split() for line in file if line.startswith("lock:")]
    return any(fields[-2] == fields[-1] == str(byte) for fields in locks if "OFDLCK" in fields)
