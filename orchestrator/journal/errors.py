"""What a journal raises, but for ContentionError (contention.py)."""

from __future__ import annotations

from runtime.errors import QuiesceError, UsageError


class JournalError(QuiesceError):
    """The journal failed during a run: disk full, input/output error, damage, connection lost."""


class ClaimedError(UsageError):
    """A living supervisor has the run. `pid` is its process id, None if that cannot be known."""

    def __init__(self, run_id: str, pid: int | None, host: str | None = None) -> None:
        owner = f"process {pid}" if pid else "another process"
        place = f" on {host}" if host else ""
        super().__init__(f"run {run_id} is being executed by {owner}{place}; stop that one first")
        self.run_id = run_id
        self.pid = pid


class DuplicateKeyError(UsageError):
    """Two tasks of one run have the same key: task `seq` (the line number, for files) and an earlier one, `first`."""

    def __init__(self, key: str, seq: int, first: int) -> None:
        unnamed = ": a task without a key is named by its number, so give every task a key, or none"
        explanation = unnamed if key in (str(seq), str(first)) else ""
        super().__init__(f"duplicate key {key!r}: task {seq} has the key of task {first}{explanation}")
        self.key = key
        self.seq = seq
        self.first = first
