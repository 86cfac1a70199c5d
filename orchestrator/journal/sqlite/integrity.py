"""Detect that the journal's files were cut short while this process writes (`: > quiesce.db-wal`, a clean-up script).

*Theory.* SQLite does not check this: it continues behind the end of the file, and what it has committed before is gone.
So the sizes are compared with SQLite's own index while this process holds the write lock, when no other process may
change them. Sources: SQLite's "WAL-mode File Format" and "Database File Format".
"""

from __future__ import annotations

import os
import struct
from typing import Final, NamedTuple

from orchestrator.journal.errors import JournalError
from orchestrator.journal.sqlite.locks import RunLocks

_INDEX: Final = struct.Struct("=12xB1xHI12x8s")
"""The first header in `-shm`, in the machine's byte order."""

_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = struct.Struct(">16sH10xI")
"""The header of the database: magic, page size and number of pages, which checkpoints alone write."""


class TruncatedError(JournalError):
    """The journal's files were cut short: what was committed may be lost."""


class _Index(NamedTuple):
    is_valid: bool
    page_size: int
    frames: int
    salt: bytes


class FileWatch:
    """Watches the files of one connection that writes. `locks` has descriptors of the database and of its `-shm`.

    They are not opened by this class, because closing them would release SQLite's POSIX locks in this process.
    """

    def __init__(self, path: str, locks: RunLocks) -> None:
        self._path = path
        self._locks = locks
        self._shared_size = 0
        self._size = 0
        self._wal: int | None = None

    def close(self) -> None:
        """Close the write-ahead log, which has no locks."""
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None

    def restore_index(self) -> None:
        """Fill a `-shm` that was cut short with zeros, before a transaction: SQLite then makes it anew from the log.

        Access behind the end of the mapped file would be a SIGBUS. Within a transaction there is no cure.
        """
        if self._shared_size == 0:  # there is none before the first transaction
            return
        shared = self._locks.shared_memory()
        size = os.fstat(shared).st_size
        if size < self._shared_size:
            os.ftruncate(shared, self._shared_size)
        else:
            self._shared_size = size

    def check(self) -> None:
        """Check the files within a transaction that has written nothing yet. Raises TruncatedError."""
        try:
            whole = self._is_log_whole(self._read_index()) and self._is_database_whole()
        except FileNotFoundError:  # deleted
            whole = False
        if not whole:
            raise TruncatedError(
                f"journal {self._path} was cut short underneath this process: what was recorded last may be lost,"
                " and is executed again on resume"
            )

    def _read_index(self) -> _Index:
        shared = self._locks.shared_memory()
        self._shared_size = max(self._shared_size, os.fstat(shared).st_size)
        data = os.pread(shared, _INDEX.size, 0)
        if len(data) < _INDEX.size:
            return _Index(is_valid=False, page_size=0, frames=0, salt=b"")
        is_valid, page_size, frames, salt = _INDEX.unpack(data)
        return _Index(bool(is_valid), 65536 if page_size == 1 else page_size, frames, salt)

    def _is_log_whole(self, index: _Index) -> bool:
        """Return whether the log's header and last committed frame exist and are of this generation."""
        if not index.is_valid or index.frames == 0:
            return True
        if self._wal is None:
            self._wal = os.open(self._path + "-wal", os.O_RDONLY | os.O_CLOEXEC)
        last = _WAL_HEADER + (index.frames - 1) * (_FRAME_HEADER + index.page_size)
        if os.fstat(self._wal).st_size < last + _FRAME_HEADER + index.page_size:
            return False
        salts = os.pread(self._wal, 8, 16), os.pread(self._wal, 8, last + 8)
        return salts == (index.salt, index.salt)

    def _is_database_whole(self) -> bool:
        """Return whether the file has all its pages. A checkpoint may be writing it: a longer one passes."""
        size = os.fstat(self._locks.fd).st_size
        if size >= self._size:
            self._size = size
            return True
        data = os.pread(self._locks.fd, _HEADER.size, 0)
        if len(data) < _HEADER.size:
            return False
        magic, page_size, pages = _HEADER.unpack(data)
        whole: int = pages * (65536 if page_size == 1 else page_size)
        if magic != _MAGIC or whole > size:
            return False
        self._size = size  # VACUUM, by hand
        return True
