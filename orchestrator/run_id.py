"""Make and check the ids of runs."""

from __future__ import annotations

import secrets
import time

from runtime.errors import UsageError
from runtime.reasons import escape_surrogates

LONGEST_RUN_ID = 150
"""Bytes of a run id: with what is added to it, it names a cgroup, and a name in a file system has at most 255."""


def new_run_id() -> str:
    """Return an id for a run: the time, so that ids sort, and a random suffix."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def check_run_id(run_id: str) -> None:
    """Raise UsageError if a run cannot have this id: the environment and the names of files have to take it."""
    if not isinstance(run_id, str):
        raise UsageError(f"the run id {run_id!r:.80} is not a string")
    if escape_surrogates(run_id) != run_id or "\0" in run_id:
        raise UsageError(f"the run id {run_id!r:.80} is not text in UTF-8 without NUL")
    if not run_id.strip() or len(run_id.encode()) > LONGEST_RUN_ID:
        size = len(run_id.encode())
        raise UsageError(f"a run id has 1 to {LONGEST_RUN_ID} bytes, not {size}, and is not blank: {run_id!r:.40}")
