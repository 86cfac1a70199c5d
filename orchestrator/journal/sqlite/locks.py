"""Who has a run: one byte of the journal's file, locked by the kernel.

It is the file (its inode) that is locked, not its name, and by an open file description (OFD locks): a POSIX lock ends
as soon as its process closes any descriptor of the file, so that a program which copies its own journal would give
up its claim. The lock goes away with its process, however that ends. A forked child would share it, so it closes the
descriptor at once.

The bytes lie far behind the end of any file and are never written; SQLite's own locks are elsewhere. For their sake
the descriptor is opened once in a process, and closed when no connection to the file is left: closing it ends SQLite's
locks, which are POSIX ones. Where a host has no OFD locks, a sidecar file, `-lock`, is locked the POSIX way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar, Final

from orchestrator.journal.sqlite.contention import open_file_lock_holder

_DARWIN: Final = sys.platform == "darwin"
_FLOCK: Final = struct.Struct("@qqihh" if _DARWIN else "@hhqqi4x")
"""`struct flock` of <fcntl.h> with 64-bit offsets: macOS; Linux."""

_OFD_SET: Final[int] = getattr(fcntl, "F_OFD_SETLK", -1)
_OFD_GET: Final[int] = getattr(fcntl, "F_OFD_GETLK", -1)

FIRST_BYTE: Final = 1 << 62
"""Of those that are locked in the journal's file."""

SETUP: Final = 0
"""The byte that is held while a journal is created. Runs are numbered from 1."""

PRIVATE, GROUP = 0o600, 0o660
"""Permissions of a new journal; SQLite gives its other files the same."""

_NO_PERMISSIONS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without permissions says to a change of them."""

_LOOK_AGAIN: Final = 0.02
"""Seconds between two tries for a byte that somebody else has."""


class RunLocks:
    """The locks of one journal. Use `RunLocks.open`, and `close` once for each time, after the connection."""

    _shared: ClassVar[dict[tuple[int, int], RunLocks]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str, fd: int, *, sidecar: bool) -> None:
        self.path = path
        self._fd = fd
        self._sidecar = sidecar
        self._users = 0
        self._shared_memory: int | None = None
        self._held: set[int] = set()
        self._setup_guard = threading.Lock()

    @classmethod
    def open(cls, path: str, *, to_claim: bool = False, create: int | None = None) -> RunLocks:
        """Those of the journal at `path`, which is created with the permissions `create`, if given. Raises OSError.

        `to_claim`: they are no use if the file cannot be written, because the kernel locks nothing for who may only
        read.
        """
        with cls._guard:
            known = cls._find(path)
            if known is None:
                fd = _open(path, create, may_read_only=not to_claim)
                status = os.fstat(fd)
                sidecar = not _has_ofd_locks(fd)
                if sidecar and (to_claim or os.path.exists(path + "-lock")):
                    os.close(fd)
                    fd = _open(path + "-lock", stat_mode(status), may_read_only=not to_claim)
                known = cls._shared[status.st_dev, status.st_ino] = cls(path, fd, sidecar=sidecar)
            known._users += 1
            return known

    @classmethod
    def _find(cls, path: str) -> RunLocks | None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return cls._shared.get((status.st_dev, status.st_ino))

    @classmethod
    def forget_in_child(cls) -> None:
        """A forked child has no part in what its parent holds."""
        cls._guard = threading.Lock()
        for locks in cls._shared.values():
            locks.abandon()
        cls._shared.clear()

    def abandon(self) -> None:
        """Without a word to the kernel."""
        for fd in (self._fd, self._shared_memory):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fd, self._shared_memory = -1, None
        self._held.clear()

    def close(self) -> None:
        """Let go. The last user's close gives up whatever is held."""
        with self._guard:
            self._users -= 1
            if self._users:
                return
            for identity in [identity for identity, locks in self._shared.items() if locks is self]:
                del self._shared[identity]
            self.abandon()

    @property
    def fd(self) -> int:
        """A descriptor of the journal's file, to look at it."""
        return self._fd

    def shared_memory(self) -> int:
        """A descriptor of SQLite's `-shm`, to look at it; as long as anybody here has the journal open."""
        with self._guard:
            if self._shared_memory is None:
                self._shared_memory = os.open(self.path + "-shm", os.O_RDWR | os.O_CLOEXEC)
            return self._shared_memory

    def claim(self, byte: int) -> bool:
        """Take a byte, without waiting. False when it is taken, by this process or another."""
        with self._guard:
            if byte in self._held or not self._lock(byte):
                return False
            self._held.add(byte)
            return True

    def release(self, byte: int) -> None:
        """Give a byte back. Harmless if it is not held."""
        with self._guard:
            if byte in self._held:
                self._held.discard(byte)
                self._unlock(byte)

    def owner(self, byte: int) -> int | None:
        """The process that holds a byte, without touching the lock: None for nobody, 0 for one the kernel hides."""
        if byte in self._held:
            return os.getpid()
        kind, pid = self._ask(byte)
        return None if kind == fcntl.F_UNLCK else max(pid, 0)

    def find_owner(self, byte: int) -> int | None:
        """As `owner`, with a look at every process where the kernel does not say."""
        owner = self.owner(byte)
        return owner if owner or self._sidecar else open_file_lock_holder(self.path, FIRST_BYTE + byte) or owner

    @contextlib.contextmanager
    def setup(self, wait: Callable[[float], None]) -> Iterator[None]:
        """Alone, among threads and processes, while a journal is created or opened for writing.

        `wait` is told now and then for how many seconds this has waited, and raises to give up.
        """
        began = time.monotonic()
        while not self._setup_guard.acquire(timeout=_LOOK_AGAIN):
            wait(time.monotonic() - began)
        try:
            while not self._lock(SETUP):
                wait(time.monotonic() - began)
                time.sleep(_LOOK_AGAIN)
            try:
                yield
            finally:
                self._unlock(SETUP)
        finally:
            self._setup_guard.release()

    # -- the kernel's words ----------------------------------------------------------------------------------

    def _lock(self, byte: int) -> bool:
        try:
            if self._sidecar:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            else:
                fcntl.fcntl(self._fd, _OFD_SET, _flock(fcntl.F_WRLCK, FIRST_BYTE + byte))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def _unlock(self, byte: int) -> None:
        if self._fd < 0:  # in a forked child
            return
        if self._sidecar:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)
        else:
            fcntl.fcntl(self._fd, _OFD_SET, _flock(fcntl.F_UNLCK, FIRST_BYTE + byte))

    def _ask(self, byte: int) -> tuple[int, int]:
        command, at = (fcntl.F_GETLK, byte) if self._sidecar else (_OFD_GET, FIRST_BYTE + byte)
        return _kind_and_pid(fcntl.fcntl(self._fd, command, _flock(fcntl.F_WRLCK, at)))


os.register_at_fork(after_in_child=RunLocks.forget_in_child)


def setup_holder(path: str) -> int | None:
    """The process that creates or opens the journal right now, as far as the host tells."""
    return open_file_lock_holder(path, FIRST_BYTE + SETUP)


def stat_mode(status: os.stat_result) -> int:
    """Permissions alone."""
    return status.st_mode & 0o777


def _flock(kind: int, at: int) -> bytes:
    return _FLOCK.pack(at, 1, 0, kind, os.SEEK_SET) if _DARWIN else _FLOCK.pack(kind, os.SEEK_SET, at, 1, 0)


def _kind_and_pid(answer: bytes) -> tuple[int, int]:
    if _DARWIN:
        _, _, pid, kind, _ = _FLOCK.unpack(answer)
    else:
        kind, _, _, _, pid = _FLOCK.unpack(answer)
    return kind, pid


def _has_ofd_locks(fd: int) -> bool:
    if _OFD_SET < 0 or _DARWIN:
        return False
    try:
        fcntl.fcntl(fd, _OFD_GET, _flock(fcntl.F_WRLCK, FIRST_BYTE + SETUP))
    except OSError:  # an older kernel, or a sandbox
        return False
    return True


def _open(path: str, create: int | None, *, may_read_only: bool) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | flags) if create is None else _open_or_create(path, flags, create)
    except OSError as error:
        if not may_read_only or error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        return os.open(path, os.O_RDONLY | flags)


def _open_or_create(path: str, flags: int, permissions: int) -> int:
    """The umask has no say in the permissions of a new file, nor have we in those of an old one."""
    while True:
        try:
            return os.open(path, os.O_RDWR | flags)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # somebody was quicker
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, PRIVATE)
                _set_permissions(fd, permissions)
                return fd


def _set_permissions(fd: int, permissions: int) -> None:
    """Of a new file. Closes it and raises OSError if it cannot have them.

    A file system that has none (vfat, some FUSE ones) refuses any change: the default is not insisted on there.
    """
    try:
        os.fchmod(fd, permissions)
    except OSError as error:
        if error.errno in _NO_PERMISSIONS and permissions in (PRIVATE, stat_mode(os.fstat(fd))):
            return
        os.close(fd)
        raise
