"""A connection to the journal's file: transactions, statements for many rows, and errors in words.

Used by one thread at a time. Knows nothing of runs and tasks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from orchestrator.journal.base import JournalError
from orchestrator.journal.sqlite.connect import Mode, connect, explain, open_to_read, rest_of
from orchestrator.journal.sqlite.contention import Handler, patiently
from orchestrator.journal.sqlite.integrity import FileWatch
from orchestrator.journal.sqlite.locks import PRIVATE
from orchestrator.journal.sqlite.rows import UNLIMITED, AdaptivePageSize, Row, split_for_statements
from runtime.errors import UsageError
from runtime.text import single_line

T = TypeVar("T")
Parameters = Row | Mapping[str, Any]
"""Of a statement: in order for `?`, by name for `:name`."""

SHOWN = 200
"""Characters of what is wrong with a record that are shown."""


class InsertPlan(NamedTuple):
    """How rows of one kind are inserted.

    `many` takes `:run`, `:rows`, which `pack` makes a JSON value of, and `more(at)` for a part that begins at row
    `at`; `one` takes the run and `bind(at, row)`. `texts` are the columns that are text.
    """

    many: str
    one: str
    texts: tuple[int, ...]
    pack: Callable[[Sequence[Row]], Any] = list
    more: Callable[[int], Mapping[str, Any]] = lambda _: {}
    bind: Callable[[int, Row], Row] = lambda _, row: row


class Database:
    """One file, the locks on it, and the transaction that is under way, if any."""

    def __init__(self, path: str, mode: Mode, handler: Handler, permissions: int = PRIVATE) -> None:
        self.path = os.path.realpath(path)
        self.on_contention = handler
        self._db, self.locks, self._rest = connect(self.path, mode, handler, permissions)
        self._watch = None if mode == "read" else FileWatch(self.path, self.locks)
        self._reopened = 0
        self._files: tuple[tuple[int, int] | None, ...] | None = None
        self._depth = 0
        self._closed = False

    def close(self, *, tidy: bool) -> None:
        """Close. `tidy` moves the WAL into the file, which SQLite does by itself only for the last connection."""
        if self._closed:
            return
        self._closed = True
        if tidy:
            with contextlib.suppress(sqlite3.Error):  # full disk, a reader in the way: the WAL simply stays
                self._db.execute("PRAGMA busy_timeout=100").close()  # milliseconds
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        self._db.close()
        if self._watch is not None:
            self._watch.close()
        self.locks.close()

    # -- statements ----------------------------------------------------------------------------------------

    def execute(self, statement: str, values: Parameters = ()) -> int:
        """The number of rows that it changed."""
        try:
            return self._db.execute(statement, values).rowcount
        except UnicodeEncodeError as error:  # from a command line, or a Python caller
            raise _not_text(error) from error

    def fetch_value(self, statement: str, values: Parameters = ()) -> Any:
        """The first column of its only row."""
        return self.fetch_all(statement, values)[0][0]

    def fetch_all(self, statement: str, values: Parameters = ()) -> list[Any]:
        """Its rows: for few of them (see statements.py)."""
        try:
            with self.reading():
                return self._steadily(lambda: self._db.execute(statement, values).fetchall())
        except UnicodeEncodeError as error:
            raise _not_text(error) from error

    def _steadily(self, act: Callable[[], T]) -> T:
        """Read. A connection to a journal at rest does not see that a writer has come: then read anew, by another."""
        if self._watch is not None:
            self._watch.restore_index()
        while True:
            try:
                result = act() if self.busy else patiently(act, self.path, self.on_contention)
            except sqlite3.Error:
                if self._is_steady():
                    raise
            else:
                if self._is_steady():
                    return result
            self._db.close()
            self._db, self._rest, _ = open_to_read(self.path, self.on_contention)
            self._reopened += 1

    def _is_steady(self) -> bool:
        return self._rest is None or rest_of(self.path) == self._rest

    def version(self) -> int:
        """A number that changes when another connection has committed something."""
        found: int = self.fetch_value("PRAGMA data_version")
        return found + (self._reopened << 32)

    def insert_many(self, batch: InsertPlan, run: int, values: Sequence[Row]) -> int:
        """Insert rows, and count what changed: many at once, and the rare ones (see `pieces`) alone."""
        changed = 0
        try:
            for at, text in split_for_statements(values, batch.texts, batch.pack):
                if text is None:
                    changed += self.execute(batch.one, (run, *batch.bind(at, values[at])))
                else:
                    changed += self.execute(batch.many, {"run": run, "rows": text, **batch.more(at)})
        except UnicodeEncodeError as error:
            raise _not_text(error) from error
        return changed

    def page(self, statement: str, pager: AdaptivePageSize, values: Mapping[str, Any], limit: int = UNLIMITED) -> Row:
        """The next rows as columns of JSON text: fewer rows than `limit` when they are large."""
        while True:
            pager.asked = min(limit, pager.limit)
            try:
                with self.reading():
                    asked = {**values, "limit": pager.asked}
                    page: Row = self._steadily(lambda: self._db.execute(statement, asked).fetchone())  # noqa: B023
            except JournalError as error:
                if not isinstance(error.__cause__, sqlite3.DataError) or pager.asked == 1:
                    raise
                pager.limit = pager.asked // 2  # it was longer than SQLite lets a text be
            else:
                pager.saw(sum(len(text) for text in page))
                return page

    # -- transactions --------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._depth > 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """SQLite's errors as JournalError."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"journal {self.path}: {explain(error)}") from error
        except UnicodeDecodeError as error:  # of SQLite's own message: it quotes what it cannot read
            raise JournalError(f"journal {self.path}: the file is corrupt") from error

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """What SQLite gave without complaint and is no record, as JournalError. Nothing of it goes any further."""
        try:
            yield
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise JournalError(
                f"journal {self.path}: the file is corrupt ({single_line(str(error), SHOWN)})"
            ) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all of it durable, or none of it. Inside of another, a part of that."""
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

    def restart_transaction(self) -> None:
        """Undo what the transaction has done so far, and go on in a new one."""
        self._db.execute("ROLLBACK")
        self._begin()

    def _begin(self) -> None:
        if self._watch is None:
            self._patiently("BEGIN IMMEDIATE")
            return
        self._watch.restore_index()
        self._patiently("BEGIN IMMEDIATE")
        self._watch.check()

    def _patiently(self, statement: str) -> None:
        patiently(lambda: self._db.execute(statement), self.path, self.on_contention)

    @contextlib.contextmanager
    def hastily(self) -> Iterator[None]:
        """Transactions in here are durable only with the next one behind it: for what is nothing before it is whole."""
        self._db.execute("PRAGMA synchronous=NORMAL").close()
        try:
            yield
        finally:
            self._db.execute("PRAGMA synchronous=FULL").close()

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the error that brought us here is the one to tell
                self._db.execute("ROLLBACK")

    def _check_files(self) -> None:
        """SQLite goes on writing into files that somebody has deleted, and so into nothing."""
        now = tuple(_identity(self.path + suffix) for suffix in ("", "-wal", "-shm"))
        if self._files is None and None not in now:
            self._files = now
        if now != self._files:
            raise JournalError(f"journal {self.path} was deleted, or replaced, underneath this process")


def _not_text(error: UnicodeEncodeError) -> UsageError:
    return UsageError(f"{error.object[max(0, error.start - 20) : error.end + 20]!r} is not valid text")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
