"""Claim a run by a kernel lock on one byte of the journal's file.

*Theory.* The file (its inode) is locked, not its name, and by an open file description (OFD lock, man 2 fcntl): a POSIX
lock ends as soon as its process closes any descriptor of the file, so a program that copies its own journal would
release its claim. The lock ends with its process, however that ends. A forked child would share it, so it closes the
descriptor at once.

The bytes lie far behind the end of any file and are never written; SQLite's own locks are elsewhere. The descriptor is
opened once in a process, and closed when no connection to the file is left, because closing it releases SQLite's locks,
which are POSIX locks. On a host without OFD locks a sidecar file, `-lock`, gets POSIX locks.
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
"""The first byte that is locked in the journal's file."""

SETUP: Final = 0
"""The byte that is held while a journal is created. Runs are numbered from 1."""

PRIVATE, GROUP = 0o600, 0o660
"""Permissions of a new journal; SQLite gives the same to its other files."""

_NO_PERMISSIONS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of a file system without permissions when they are changed."""

_RETRY_INTERVAL: Final = 0.02
"""Seconds between two tries for a byte that another process has."""


class RunLocks:
    """The locks of one journal. Call `RunLocks.open`, and `close` once for each call, after closing the connection."""

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
        """Return the locks of the journal at `path`, which is created with the permissions `create`, if given.

        `to_claim`: fail if the file cannot be written, because the kernel grants no write lock on a descriptor that can
        only be read. Raises OSError.
        """
        with cls._guard:
            locks = cls._find(path)
            if locks is None:
                fd = _open(path, create, may_read_only=not to_claim)
                status = os.fstat(fd)
                sidecar = not _has_ofd_locks(fd)
                if sidecar and (to_claim or os.path.exists(path + "-lock")):
                    os.close(fd)
                    fd = _open(path + "-lock", stat_mode(status), may_read_only=not to_claim)
                locks = cls._shared[status.st_dev, status.st_ino] = cls(path, fd, sidecar=sidecar)
            locks._users += 1
            return locks

    @classmethod
    def _find(cls, path: str) -> RunLocks | None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return cls._shared.get((status.st_dev, status.st_ino))

    @classmethod
    def forget_in_child(cls) -> None:
        """Close the descriptors in a forked child, so that it does not share its parent's locks."""
        cls._guard = threading.Lock()
        for locks in cls._shared.values():
            locks.abandon()
        cls._shared.clear()

    def abandon(self) -> None:
        """Close the descriptors without releasing a lock first."""
        for fd in (self._fd, self._shared_memory):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fd, self._shared_memory = -1, None
        self._held.clear()

    def close(self) -> None:
        """End one use. The last one releases all locks."""
        with self._guard:
            self._users -= 1
            if self._users:
                return
            for identity in [identity for identity, locks in self._shared.items() if locks is self]:
                del self._shared[identity]
            self.abandon()

    @property
    def fd(self) -> int:
        """Return a descriptor of the journal's file, for reading."""
        return self._fd

    def shared_memory(self) -> int:
        """Return a descriptor of SQLite's `-shm`, valid while this process has the journal open."""
        with self._guard:
            if self._shared_memory is None:
                self._shared_memory = os.open(self.path + "-shm", os.O_RDWR | os.O_CLOEXEC)
            return self._shared_memory

    def claim(self, byte: int) -> bool:
        """Lock a byte without waiting. Return False if it is locked, by this process or another."""
        with self._guard:
            if byte in self._held or not self._lock(byte):
                return False
            self._held.add(byte)
            return True

    def release(self, byte: int) -> None:
        """Unlock a byte. Has no effect if it is not held."""
        with self._guard:
            if byte in self._held:
                self._held.discard(byte)
                self._unlock(byte)

    def owner(self, byte: int) -> int | None:
        """Return the process that holds a byte, without touching the lock: None if it is free, 0 for a hidden one."""
        if byte in self._held:
            return os.getpid()
        kind, pid = self._ask(byte)
        return None if kind == fcntl.F_UNLCK else max(pid, 0)

    def find_owner(self, byte: int) -> int | None:
        """Return the owner; where the kernel does not name it, search all processes."""
        owner = self.owner(byte)
        return owner if owner or self._sidecar else open_file_lock_holder(self.path, FIRST_BYTE + byte) or owner

    @contextlib.contextmanager
    def setup(self, wait: Callable[[float], None]) -> Iterator[None]:
        """Exclude other threads and processes while a journal is created or opened for writing.

        `wait` is called repeatedly with the seconds that this has waited, and raises to give up.
        """
        began = time.monotonic()
        while not self._setup_guard.acquire(timeout=_RETRY_INTERVAL):
            wait(time.monotonic() - began)
        try:
            while not self._lock(SETUP):
                wait(time.monotonic() - began)
                time.sleep(_RETRY_INTERVAL)
            try:
                yield
            finally:
                self._unlock(SETUP)
        finally:
            self._setup_guard.release()

    # -- system calls ----------------------------------------------------------------------------------------

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
    """Return the process that is creating or opening the journal, None if the host does not show it."""
    return open_file_lock_holder(path, FIRST_BYTE + SETUP)


def stat_mode(status: os.stat_result) -> int:
    """Return the permissions alone."""
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
    """Open a file; a new one gets `permissions` regardless of the umask, an old one keeps its own."""
    while True:
        try:
            return os.open(path, os.O_RDWR | flags)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # another process was faster
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, PRIVATE)
                _set_permissions(fd, permissions)
                return fd


def _set_permissions(fd: int, permissions: int) -> None:
    """Set the permissions of a new file. Closes it and raises OSError if that fails.

    A file system without permissions (vfat, some FUSE ones) refuses any change; the default is not enforced there.
    """
    try:
        os.fchmod(fd, permissions)
    except OSError as error:
        if error.errno in _NO_PERMISSIONS and permissions in (PRIVATE, stat_mode(os.fstat(fd))):
            return
        os.close(fd)
        raise
