"""Open an SQLite file as a journal, or refuse it in one line that says why."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from orchestrator.journal.base import Mode
from orchestrator.journal.contention import Contention, ContentionError, Handler
from orchestrator.journal.sqlite import migrations
from orchestrator.journal.sqlite.contention import SLICE, patiently
from orchestrator.journal.sqlite.locks import RunLocks, setup_holder
from orchestrator.journal.sqlite.queries import APPLICATION_ID, SCHEMA_VERSION, TABLES, VIEWS
from runtime.errors import UsageError

T = TypeVar("T")

_SMALLEST: Final = 512
"""Bytes of the smallest database."""

EMPTY: Final = 0
"""The schema of a file without any content, which becomes a journal."""

OLDEST_SQLITE: Final = (3, 33, 0)
"""The first version with UPDATE FROM (2020)."""

_PRAGMAS: Final = (
    "PRAGMA synchronous=FULL",  # every commit reaches the disk
    "PRAGMA fullfsync=ON",  # on macOS too, where fsync alone does not suffice
    "PRAGMA wal_autocheckpoint=4000",  # pages: 16 MB; small ones make every commit pay for a checkpoint
    "PRAGMA journal_size_limit=67108864",  # bytes: a WAL that has grown because of a slow reader is cut
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
    """Return an SQLite error in plain words. An extended code (`SQLITE_IOERR_WRITE`) is explained as its family."""
    name: str = getattr(error, "sqlite_errorname", "")
    family = "_".join(name.split("_")[:2])
    explanation = _EXPLANATIONS.get(family)
    return f"{explanation} ({name})" if explanation else " ".join(str(error).split()) or type(error).__name__


class Opened(NamedTuple):
    """A verified connection in autocommit mode, and the locks.

    `rest`: the journal was at rest, in this state, when it was opened for reading. SQLite relies on that from then on,
    so a reader compares.
    """

    connection: sqlite3.Connection
    locks: RunLocks
    rest: Rest | None = None


def connect(path: str, mode: Mode, handler: Handler, permissions: int) -> Opened:
    """Open a journal. Raises UsageError, in one line, for everything that is wrong with the file."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise UsageError(f"this Python has SQLite {sqlite3.sqlite_version}; a journal needs {oldest} or later")
    _precheck(path, mode)
    try:
        if mode == "read":
            return _connect_reader(path, handler)
        return _connect_writer(path, handler, permissions if mode == "create" else None)
    except sqlite3.Error as error:
        raise UsageError(f"cannot open journal {path}: {explain(error)}") from error
    except UnicodeDecodeError as error:  # in SQLite's own message, which quotes the damage
        raise UsageError(f"cannot open journal {path}: the file is corrupt") from error
    except OSError as error:
        raise UsageError(f"cannot open journal {path}: {error.strerror or error}") from error
    except ContentionError as error:
        raise UsageError(f"cannot open {error}") from error


def _precheck(path: str, mode: Mode) -> None:
    """Refuse a path for which SQLite's own error would be vague."""
    parent = os.path.dirname(path)
    kind = _kind_of(path)  # once: another process may be creating it
    if kind is not None and stat.S_ISREG(kind):
        if not os.access(path, os.R_OK):
            raise UsageError(f"cannot open journal {path}: permission denied")
        if mode != "read" and not (os.access(path, os.W_OK) and os.access(parent, os.W_OK)):
            raise UsageError(f"cannot open journal {path}: the file or its directory is read-only")
        return
    if kind is not None:
        actual = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
        raise UsageError(f"cannot open journal {path}: it is {actual}")
    if mode != "create":
        raise UsageError(f"there is no journal at {path}")
    if not os.path.isdir(parent):
        raise UsageError(f"cannot create journal {path}: there is no directory {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"cannot create journal {path}: {parent} is read-only")


def _kind_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError:  # opening it will report the reason
        return None


def _refuse_other_names(path: str) -> None:
    """Refuse a file with several names: each has its own write-ahead log, which the others do not see."""
    links = os.stat(path).st_nlink
    if links > 1:
        raise UsageError(
            f"cannot open journal {path}: the file has {links} names (hard links), and a journal must have one;"
            " make a copy instead (cp), or remove the other names"
        )
    if _is_mounted_alone(path):
        raise UsageError(
            f"cannot open journal {path}: the file is mounted by itself, without the files that SQLite keeps beside it;"
            " mount its directory instead"
        )


def _is_mounted_alone(path: str) -> bool:
    """Return whether a single file is a mount point (`docker run -v FILE:FILE`)."""
    here, above = _mount_of(path), _mount_of(os.path.dirname(path))
    return None not in (here, above) and here != above


def _mount_of(path: str) -> str | None:
    """Return the kernel's number of the mount that a path is on; None if it does not show it."""
    if not hasattr(os, "O_PATH"):
        return None
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)  # O_PATH: closing it releases no POSIX lock
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as file:
                return next((line.split()[1] for line in file if line.startswith("mnt_id:")), None)
        finally:
            os.close(fd)
    except OSError:
        return None


def _connect_writer(path: str, handler: Handler, permissions: int | None) -> Opened:
    with contextlib.ExitStack() as undo:
        locks = RunLocks.open(path, to_claim=True, create=permissions)
        undo.callback(locks.close)
        _refuse_other_names(path)
        connection = _open(path, "mode=rw")
        undo.callback(connection.close)

        def retry(act: Callable[[], T]) -> T:
            return patiently(act, path, handler)

        version = retry(lambda: _verify(connection, path))  # before anything is written beside another program's file
        if version == EMPTY and permissions is None:
            raise UsageError(f"{path} is empty, not a journal")
        for pragma in _PRAGMAS:
            connection.execute(pragma).close()
        with locks.setup(lambda seconds: handler(Contention(path, seconds, setup_holders))):
            version = retry(lambda: _verify(connection, path))
            if version == EMPTY:
                retry(lambda: _initialise(connection))
            elif version < SCHEMA_VERSION:
                retry(lambda: migrations.convert_file(connection, path, locks))
            retry(lambda: connection.execute("BEGIN IMMEDIATE"))  # proves that it can be written
            connection.execute("ROLLBACK")
            if retry(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone()) != ("wal",):
                raise UsageError(f"cannot open journal {path}: its file system cannot share memory between processes")
        undo.pop_all()
        return Opened(connection, locks)


def setup_holders(path: str) -> list[int]:
    """Return the process that is creating or opening the journal."""
    holder = setup_holder(path)
    return [] if holder is None else [holder]


class Rest(NamedTuple):
    """The inode, size and time of change of a journal's file that no process writes."""

    inode: int
    size: int
    changed_at: int


def rest_of(path: str) -> Rest | None:
    """Return the state of a journal at rest (all of it is in its file, without files beside it), None for another."""
    if _is_filled(path + "-wal") or os.path.exists(path + "-shm") or os.path.exists(path + "-journal"):
        return None
    status = os.stat(path)
    return Rest(status.st_ino, status.st_size, status.st_mtime_ns)


def _connect_reader(path: str, handler: Handler) -> Opened:
    """Open a connection that changes nothing and creates nothing; also on a read-only disk."""
    with contextlib.ExitStack() as undo:
        locks = RunLocks.open(path)
        undo.callback(locks.close)
        _refuse_other_names(path)
        connection, rest = open_to_read(path, handler)
        undo.callback(connection.close)
        undo.pop_all()
        return Opened(connection, locks, rest)


def _reading_options(path: str) -> str:
    """Return options for a file in use. A creator that died left a `-journal`, and rolling that back is a write."""
    return "mode=rw" if os.path.exists(path + "-journal") and os.access(path, os.W_OK) else "mode=ro"


def open_to_read(path: str, handler: Handler) -> tuple[sqlite3.Connection, Rest | None]:
    """Return a connection for a reader, and the state of the journal if it is at rest.

    At rest it is opened as an immutable file, because otherwise SQLite makes files beside it. Raises UsageError.
    """
    while True:
        rest = rest_of(path)
        connection = _open(path, _reading_options(path) if rest is None else "immutable=1")
        try:
            version = patiently(lambda: _verify(connection, path), path, handler)  # noqa: B023 - called at once
            if version == EMPTY:
                raise UsageError(f"{path} is empty, not a journal")
            if version < SCHEMA_VERSION:
                migrations.convert_for_reader(connection, version)
            connection.execute("PRAGMA query_only=ON").close()
        except BaseException:
            connection.close()
            if rest is not None and rest_of(path) != rest:  # a writer came meanwhile
                continue
            raise
        return connection, rest


def _uri_of(path: str) -> str:
    """Return the URI of an absolute path (https://www.sqlite.org/uri.html). Importing pathlib for it takes longer."""
    kept = b"/.-_~" + bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123))
    return "file://" + "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in os.fsencode(path))


def _open(path: str, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{_uri_of(path)}?{options}", timeout=SLICE, uri=True, isolation_level=None, check_same_thread=False
    )


def _is_filled(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def _verify(connection: sqlite3.Connection, path: str) -> int:
    """Return the schema of a journal, EMPTY for a file without any content.

    Raises UsageError for another kind of file, and for a schema that this version cannot read.
    """
    try:
        application, version, tables = _marks(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise UsageError(f"{path} is not a journal: it is another kind of file") from error
        raise
    if application == 0 and version == 0 and tables == 0:
        if 0 < os.stat(path).st_size < _SMALLEST:  # SQLite takes it for an empty database, and would write over it
            raise UsageError(f"{path} is not a journal: it is another kind of file")
        return EMPTY
    if application != APPLICATION_ID:
        raise UsageError(f"{path} is not a journal: it is another program's SQLite database")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"journal {path} was written by a newer quiesce: schema {version}, this one knows {SCHEMA_VERSION};"
            " use that version, or another journal"
        )
    if version < migrations.OLDEST:
        raise UsageError(
            f"journal {path} was written by an older quiesce: schema {version}, this one converts from"
            f" {migrations.OLDEST} on; use that version, or another journal"
        )
    return version


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application, version and number of tables, read at one moment: another process may be creating them."""
    connection.execute("BEGIN").close()
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        version = migrations.schema_version(connection)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK").close()
    return application, version, tables


def _initialise(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} {'; '.join(VIEWS)};"
            f" PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:  # to be tried again
            connection.execute("ROLLBACK").close()
        raise
