"""Wrap a connection to the journal's file: transactions, typed rows, and errors as one line.

A connection is used by one thread at a time. Nothing here depends on runs and tasks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from orchestrator.journal.base import Mode
from orchestrator.journal.contention import Handler
from orchestrator.journal.errors import JournalError
from orchestrator.journal.sqlite.batches import UNLIMITED, AdaptivePageSize, Page
from orchestrator.journal.sqlite.columns import Stored, not_text
from orchestrator.journal.sqlite.connect import connect, explain, open_to_read, rest_of
from orchestrator.journal.sqlite.contention import patiently
from orchestrator.journal.sqlite.integrity import FileWatch
from orchestrator.journal.sqlite.locks import PRIVATE
from runtime.text import single_line

T = TypeVar("T")
S = TypeVar("S", bound=Stored)
Parameters = Sequence[Any] | Mapping[str, Any]
"""The parameters of a statement: in order for `?`, by name for `:name`."""

SHOWN = 200
"""Characters of a damaged record's error that are shown."""


class Database:
    """A journal's file, the locks on it, and the current transaction."""

    def __init__(self, path: str, mode: Mode, handler: Handler, permissions: int = PRIVATE) -> None:
        self.path = os.path.realpath(path)
        self.on_contention = handler
        self._connection, self.locks, self._rest = connect(self.path, mode, handler, permissions)
        self._watch = None if mode == "read" else FileWatch(self.path, self.locks)
        self._reopened = 0
        self._files: tuple[tuple[int, int] | None, ...] | None = None
        self._depth = 0
        self._closed = False

    def close(self, *, tidy: bool) -> None:
        """Close the connection. `tidy` moves the WAL into the file, as SQLite does for the last connection only."""
        if self._closed:
            return
        self._closed = True
        if tidy:
            with contextlib.suppress(sqlite3.Error):  # full disk, or a reader in the way: the WAL stays
                self._connection.execute("PRAGMA busy_timeout=100").close()  # milliseconds
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        self._connection.close()
        if self._watch is not None:
            self._watch.close()
        self.locks.close()

    # -- statements ----------------------------------------------------------------------------------------

    def execute(self, statement: str, parameters: Parameters = ()) -> int:
        """Execute a statement and return the number of rows that it changed."""
        try:
            return self._connection.execute(statement, parameters).rowcount
        except UnicodeEncodeError as error:  # from a command line, or a Python caller
            raise not_text(error) from error

    def fetch_value(self, statement: str, kind: type[T], parameters: Parameters = ()) -> T:
        """Return the first column of the only row."""
        ((value, *_), *_) = self._fetch(statement, parameters)[1]
        with self.decoding():
            return msgspec.convert(value, kind)

    def fetch_values(self, statement: str, kind: type[T], parameters: Parameters = ()) -> list[T]:
        """Return the first column of few rows (see queries.py)."""
        _, values = self._fetch(statement, parameters)
        with self.decoding():
            return [msgspec.convert(value, kind) for value, *_ in values]

    def fetch_rows(self, statement: str, kind: type[S], parameters: Parameters = ()) -> list[S]:
        """Return few rows (see queries.py), their columns by name and checked."""
        names, values = self._fetch(statement, parameters)
        with self.decoding():
            return [msgspec.convert(dict(zip(names, row, strict=True)), kind) for row in values]

    def _fetch(self, statement: str, parameters: Parameters) -> tuple[list[str], list[tuple[object, ...]]]:
        def fetch() -> tuple[list[str], list[tuple[object, ...]]]:
            cursor = self._connection.execute(statement, parameters)
            return [name for name, *_ in cursor.description], cursor.fetchall()

        try:
            with self.reading():
                return self._steadily(fetch)
        except UnicodeEncodeError as error:
            raise not_text(error) from error

    def _steadily(self, read: Callable[[], T]) -> T:
        """Call `read`, again on a new connection if a writer came: one to a journal at rest does not notice that."""
        if self._watch is not None:
            self._watch.restore_index()
        while True:
            try:
                result = read() if self.busy else patiently(read, self.path, self.on_contention)
            except sqlite3.Error:
                if self._is_steady():
                    raise
            else:
                if self._is_steady():
                    return result
            self._connection.close()
            self._connection, self._rest = open_to_read(self.path, self.on_contention)
            self._reopened += 1

    def _is_steady(self) -> bool:
        return self._rest is None or rest_of(self.path) == self._rest

    def version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return self.fetch_value("PRAGMA data_version", int) + (self._reopened << 32)

    def page(
        self, statement: str, pager: AdaptivePageSize, parameters: Mapping[str, Any], limit: int = UNLIMITED
    ) -> Page:
        """Return the next rows as columns of JSON text: fewer rows than `limit` when they are large."""
        while True:
            pager.asked = min(limit, pager.limit)
            bound = {**parameters, "limit": pager.asked}
            try:
                with self.reading():
                    page: Page = self._steadily(lambda: self._connection.execute(statement, bound).fetchone())  # noqa: B023
            except JournalError as error:
                if not isinstance(error.__cause__, sqlite3.DataError) or pager.asked == 1:
                    raise
                pager.limit = pager.asked // 2  # it was longer than SQLite lets a text be
            else:
                pager.saw(sum(map(len, page)))
                return page

    # -- transactions --------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Return whether a transaction is open."""
        return self._depth > 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raise SQLite's errors as JournalError."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"journal {self.path}: {explain(error)}") from error
        except UnicodeDecodeError as error:  # in SQLite's own message, which quotes the damage
            raise JournalError(f"journal {self.path}: the file is corrupt") from error

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Raise JournalError for a row that SQLite returned without complaint and that is no valid record."""
        try:
            yield
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise JournalError(
                f"journal {self.path}: the file is corrupt ({single_line(str(error), SHOWN)})"
            ) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Enclose one transaction: all of it becomes durable, or none of it. A nested one is part of the outer one."""
        self._depth += 1
        try:
            with self.reading():
                if self._depth > 1:
                    yield
                    return
                try:
                    self._begin()
                    yield
                    self._patiently("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
        finally:
            self._depth -= 1
        self._check_files()

    def vacuum(self) -> None:
        """Rewrite the file without free pages, and shorten the WAL that this needs. Not inside of a transaction."""
        with self.reading():
            self._patiently("VACUUM")
            with contextlib.suppress(sqlite3.Error):  # a reader is in the way: the next checkpoint does it
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def restart_transaction(self) -> None:
        """Roll back what the transaction has done so far, and begin a new one."""
        self._connection.execute("ROLLBACK")
        self._begin()

    def _begin(self) -> None:
        if self._watch is None:
            self._patiently("BEGIN IMMEDIATE")
            return
        self._watch.restore_index()
        self._patiently("BEGIN IMMEDIATE")
        self._watch.check()

    def _patiently(self, statement: str) -> None:
        patiently(lambda: self._connection.execute(statement), self.path, self.on_contention)

    @contextlib.contextmanager
    def hastily(self) -> Iterator[None]:
        """Make transactions in the block durable only with the first one after it, which is faster.

        For rows that have no meaning before a last transaction makes them visible.
        """
        self._connection.execute("PRAGMA synchronous=NORMAL").close()
        try:
            yield
        finally:
            self._connection.execute("PRAGMA synchronous=FULL").close()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the error that led here is the one to report
                self._connection.execute("ROLLBACK")

    def _check_files(self) -> None:
        """Raise JournalError if the files were deleted or replaced: SQLite would go on writing to the old ones."""
        files = tuple(_identity(self.path + suffix) for suffix in ("", "-wal", "-shm"))
        if self._files is None and None not in files:
            self._files = files
        if files != self._files:
            raise JournalError(f"journal {self.path} was deleted, or replaced, underneath this process")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
