"""The durable record of every run, and its work queue. `open_journal` chooses the kind by where it is."""

from __future__ import annotations

import os
from typing import Final

from orchestrator.journal.base import (
    ClaimedError,
    Committed,
    Counts,
    DuplicateKeyError,
    Journal,
    JournalError,
    Owner,
    Request,
    RunRecord,
)
from orchestrator.journal.opening import Mode
from orchestrator.journal.sqlite import SqliteJournal
from runtime.errors import UsageError

DEFAULT_JOURNAL: Final = "quiesce.db"
"""In the working directory, unless --journal or QUIESCE_JOURNAL say otherwise."""

__all__ = [
    "DEFAULT_JOURNAL",
    "ClaimedError",
    "Committed",
    "Counts",
    "DuplicateKeyError",
    "Journal",
    "JournalError",
    "Mode",
    "Owner",
    "Request",
    "RunRecord",
    "open_journal",
]


def open_journal(where: str | os.PathLike[str], mode: Mode = "create") -> Journal:
    """The journal at a path (or `sqlite:///PATH`). Raises UsageError, in one line, if it cannot be used.

    `create` makes a new one if there is none; `write` wants one that is there; `read` also changes nothing.
    """
    text = os.fspath(where)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return SqliteJournal(text, mode)
    if scheme == "sqlite":
        return SqliteJournal(rest.removeprefix("/"), mode)
    if scheme in ("postgres", "postgresql"):
        raise UsageError("a journal in PostgreSQL is not supported yet: give the path of a file")
    raise UsageError(f"there is no kind of journal called {scheme!r}: give the path of a file")
