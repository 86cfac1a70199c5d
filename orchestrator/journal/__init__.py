"""Keep the durable record of every run, and its work queue. `open_journal` chooses the kind by the location."""

from __future__ import annotations

import os
from typing import Final

from orchestrator.journal.base import Committed, Counts, Journal, Mode, Owner, Request, RunRecord, SupervisorRecord
from orchestrator.journal.contention import Contention, ContentionError, Handler, wait_at_most
from orchestrator.journal.errors import ClaimedError, DuplicateKeyError, JournalError
from orchestrator.journal.requests import is_stacks_request, stacks_request
from orchestrator.journal.sqlite.journal import SqliteJournal
from orchestrator.journal.sqlite.locks import GROUP, PRIVATE
from runtime.errors import UsageError

DEFAULT_JOURNAL: Final = "quiesce.db"
"""A file in the working directory, unless --journal or QUIESCE_JOURNAL name another one."""

__all__ = [
    "DEFAULT_JOURNAL",
    "ClaimedError",
    "Committed",
    "Contention",
    "ContentionError",
    "Counts",
    "DuplicateKeyError",
    "Handler",
    "Journal",
    "JournalError",
    "Mode",
    "Owner",
    "Request",
    "RunRecord",
    "SupervisorRecord",
    "is_stacks_request",
    "open_journal",
    "path_of",
    "stacks_request",
    "unsupported_reason",
    "wait_at_most",
]


def open_journal(
    location: str | os.PathLike[str], mode: Mode = "create", handler: Handler | None = None, *, group: bool = False
) -> Journal:
    """Open the journal at a path (or `sqlite:///PATH`). Raises UsageError, in one line, if it cannot be used.

    `create` makes a new journal if there is none; `write` needs one that exists; `read` does too, and changes nothing.
    `handler` is called while another process has it locked. A new journal can be read and written by its owner only,
    with `group` also by its group.
    """
    path = path_of(location)
    if path is None:
        raise UsageError(unsupported_reason(location))
    return SqliteJournal(path, mode, handler, permissions=GROUP if group else PRIVATE)


def path_of(location: str | os.PathLike[str]) -> str | None:
    """Return the path of a journal that is a file; None for a URL of another kind."""
    scheme, separator, rest = os.fspath(location).partition("://")
    if not separator:
        return scheme
    return rest.removeprefix("/") if scheme == "sqlite" else None


def unsupported_reason(location: str | os.PathLike[str]) -> str | None:
    """Return why a URL names no journal that can be opened, without trying; None if there is no such reason."""
    if path_of(location) is not None:
        return None
    scheme = os.fspath(location).partition("://")[0]
    if scheme in ("postgres", "postgresql"):
        return "a journal in PostgreSQL is not supported yet: give the path of a file"
    return f"there is no kind of journal called {scheme!r}: give the path of a file"
