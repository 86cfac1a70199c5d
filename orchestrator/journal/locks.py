"""Who has a run: one byte of a sidecar file, locked by the kernel.

The lock goes away with its process, however that ends, and children do not inherit it. POSIX drops all locks
that a process has on a file as soon as it closes any descriptor of it, so each sidecar is opened once in a
process and shared; for the same reason the database itself, where SQLite keeps its own locks, is never opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Iterator
from typing import ClassVar, Final

_DARWIN: Final = sys.platform == "darwin"
_FLOCK: Final = struct.Struct("@qqihh" if _DARWIN else "@hhqqi4x")
"""`struct flock` of <fcntl.h> with 64-bit offsets: macOS; Linux."""

SETUP: Final = 0
"""The byte that is held while a journal is created. Runs are numbered from 1."""


class RunLocks:
    """The sidecar of one journal. Use `RunLocks.open`, and `close` once for each time."""

    _shared: ClassVar[dict[tuple[int, int, int], RunLocks]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._users = 0
        self._held: set[int] = set()
        self._setup_guard = threading.Lock()

    @classmethod
    def open(cls, path: str, *, to_claim: bool = False) -> RunLocks:
        """The sidecar at `path`, created if it is missing and may be. Raises OSError.

        `to_claim`: it is no use if it cannot be written, because the kernel locks nothing for who may only read.
        """
        with cls._guard:
            known = cls._find(path)
            if known is None:
                fd = _open(path, may_read_only=not to_claim)
                status = os.fstat(fd)
                known = cls._shared[os.getpid(), status.st_dev, status.st_ino] = cls(path, fd)
            known._users += 1
            return known

    @classmethod
    def _find(cls, path: str) -> RunLocks | None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return cls._shared.get((os.getpid(), status.st_dev, status.st_ino))

    def close(self) -> None:
        """Let go. The last user's close gives up whatever is held."""
        with self._guard:
            self._users -= 1
            if self._users:
                return
            for identity in [identity for identity, locks in self._shared.items() if locks is self]:
                del self._shared[identity]
            os.close(self._fd)

    def claim(self, byte: int) -> bool:
        """Take a byte, without waiting. False when it is taken, by this process or another."""
        with self._guard:
            if byte in self._held:
                return False
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
            self._held.add(byte)
            return True

    def release(self, byte: int) -> None:
        """Give a byte back. Harmless if it is not held."""
        with self._guard:
            if byte in self._held:
                self._held.discard(byte)
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def owner(self, byte: int) -> int | None:
        """The process that holds a byte, without touching the lock: None for nobody, 0 for one we cannot see."""
        if byte in self._held:
            return os.getpid()
        if _DARWIN:
            request = _FLOCK.pack(byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
            _, _, pid, kind, _ = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, request))
        else:
            request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, request))
        return None if kind == fcntl.F_UNLCK else max(pid, 0)

    @contextlib.contextmanager
    def setup(self) -> Iterator[None]:
        """Alone, among threads and processes, while a journal is created or opened for writing. Waits."""
        with self._setup_guard:
            fcntl.lockf(self._fd, fcntl.LOCK_EX, 1, SETUP)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, SETUP)


def _open(path: str, *, may_read_only: bool) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except OSError as error:
        if not may_read_only or error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY | flags)
