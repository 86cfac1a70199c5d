"""Open an SQLite file as a journal, or say in one line why that cannot be."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

from orchestrator.journal.locks import RunLocks
from orchestrator.journal.statements import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from runtime.errors import UsageError

Mode = Literal["create", "write", "read"]
"""`create`: write, and make a new one if there is none; `write` and `read`: there must be one."""

BUSY_SECONDS: Final = 30.0
"""How long to wait for another writer. Ingesting a large file is one transaction and takes seconds."""

OLDEST_SQLITE: Final = (3, 33, 0)
"""Of 2020: the first with UPDATE FROM."""

_PRAGMAS: Final = (
    "PRAGMA synchronous=FULL",  # every commit reaches the disk
    "PRAGMA fullfsync=ON",  # on macOS too, where fsync alone does not see to that
    "PRAGMA wal_autocheckpoint=4000",  # pages: 16 MB; small ones make every commit pay for a checkpoint
    "PRAGMA journal_size_limit=67108864",  # bytes: a WAL that a slow reader made grow shrinks again
    "PRAGMA cache_size=-16384",  # KiB
    "PRAGMA temp_store=MEMORY",
)

_EXPLANATIONS: Final = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "input/output error",
    "SQLITE_CORRUPT": "the file is corrupt",
    "SQLITE_NOTADB": "the file is not a journal",
    "SQLITE_READONLY": "the file or its directory is read-only",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_BUSY": "another process keeps it locked",
    "SQLITE_LOCKED": "another process keeps it locked",
    "SQLITE_PERM": "permission denied",
    "SQLITE_NOMEM": "out of memory",
}


def explain(error: sqlite3.Error) -> str:
    """An SQLite error in words. `SQLITE_IOERR_WRITE` and its like read as their family."""
    name: str = getattr(error, "sqlite_errorname", "")
    family = "_".join(name.split("_")[:2])
    words = _EXPLANATIONS.get(family)
    return f"{words} ({name})" if words else " ".join(str(error).split()) or type(error).__name__


def connect(path: str, mode: Mode) -> tuple[sqlite3.Connection, RunLocks | None]:
    """A verified connection in autocommit mode, and the sidecar with the locks (None if there cannot be one).

    Raises UsageError, in one line, for everything that is wrong with the file.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise UsageError(f"this Python has SQLite {sqlite3.sqlite_version}; a journal needs {oldest} or later")
    _look(path, mode)
    try:
        return _connect_reader(path) if mode == "read" else _connect_writer(path, create=mode == "create")
    except sqlite3.Error as error:
        raise UsageError(f"cannot open journal {path}: {explain(error)}") from error
    except OSError as error:
        raise UsageError(f"cannot open journal {path}: {error.strerror or error}") from error


def _look(path: str, mode: Mode) -> None:
    """Refuse what SQLite would have only vague words for."""
    parent = os.path.dirname(path)
    if os.path.isfile(path):
        if not os.access(path, os.R_OK):
            raise UsageError(f"cannot open journal {path}: permission denied")
        if mode != "read" and not (os.access(path, os.W_OK) and os.access(parent, os.W_OK)):
            raise UsageError(f"cannot open journal {path}: the file or its directory is read-only")
        return
    if os.path.isdir(path):
        raise UsageError(f"cannot open journal {path}: it is a directory")
    if os.path.exists(path):
        raise UsageError(f"cannot open journal {path}: it is not a regular file")
    if mode != "create":
        raise UsageError(f"there is no journal at {path}")
    if not os.path.isdir(parent):
        raise UsageError(f"cannot create journal {path}: there is no directory {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"cannot create journal {path}: {parent} is read-only")


def _connect_writer(path: str, *, create: bool) -> tuple[sqlite3.Connection, RunLocks]:
    with contextlib.ExitStack() as undo:
        connection = _open(path, "mode=rwc" if create else "mode=rw")
        undo.callback(connection.close)
        fresh = _verify(connection, path)  # before anything is written beside somebody else's file
        if fresh and not create:
            raise UsageError(f"{path} is empty, not a journal")
        locks = RunLocks.open(path + "-lock", to_claim=True)
        undo.callback(locks.close)
        with locks.setup():
            if _verify(connection, path):
                _initialise(connection)
            connection.execute("BEGIN IMMEDIATE")  # proves that it can be written
            connection.execute("ROLLBACK")
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                raise UsageError(f"cannot open journal {path}: its file system cannot share memory between processes")
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()
        undo.pop_all()
        return connection, locks


def _connect_reader(path: str) -> tuple[sqlite3.Connection, RunLocks | None]:
    """A connection that changes nothing; also on a read-only disk, if the last writer closed the journal."""
    connection: sqlite3.Connection | None = None
    try:
        writable = os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
        connection = _open(path, "mode=rw" if writable else "mode=ro")
        try:
            fresh = _verify(connection, path)
        except sqlite3.OperationalError:
            if writable or _is_filled(path + "-wal"):
                raise
            connection.close()
            connection = _open(path, "immutable=1")
            fresh = _verify(connection, path)
        if fresh:
            raise UsageError(f"{path} is empty, not a journal")
        connection.execute("PRAGMA query_only=ON")
        return connection, RunLocks.open(path + "-lock") if writable or os.path.exists(path + "-lock") else None
    except BaseException:
        if connection is not None:
            connection.close()
        raise


def _open(path: str, options: str) -> sqlite3.Connection:
    uri = f"{Path(path).as_uri()}?{options}"
    return sqlite3.connect(uri, BUSY_SECONDS, uri=True, isolation_level=None, check_same_thread=False)


def _is_filled(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def _verify(connection: sqlite3.Connection, path: str) -> bool:
    """Whether it is fresh (nothing in it yet). Raises UsageError if it is something else, or newer."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise UsageError(f"{path} is not a journal: it is another kind of file") from error
        raise
    if application == 0 and version == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise UsageError(f"{path} is not a journal: it is another program's SQLite database")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"journal {path} is of version {version}, from a newer quiesce; this one knows up to version"
            f" {SCHEMA_VERSION}"
        )
    return False


def _initialise(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id={APPLICATION_ID};"
        f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
    )
