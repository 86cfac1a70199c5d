"""The supervisor's own records: frozen and pure. Values stay encoded; `orchestrator.outcome` decodes for callers."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from runtime import plain_signal
from runtime.failure import Failure
from runtime.statuses import ExecutionStatus

TERMINAL = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED})
"""Task states that never change. INTERRUPTED is not one: the task runs again on resume."""

MAX_PRIORITY = 1 << 53
"""Priorities are whole numbers up to here, and down to as far below zero: journals and JSON can carry them."""


class NewTask(msgspec.Struct, frozen=True):
    """Hold one input on its way into the journal. `input` is encoded as `encoding` says.

    `seq` is its place in the run's input, rising (the line number of a file); 0 means the one after the last.
    """

    key: str
    input: bytes
    encoding: str = "json"
    priority: int = 0
    seq: int = 0
    agent: int = 0


class TaskSnapshot(msgspec.Struct, frozen=True):
    """Hold a task's own saved progress, on its way into the journal. The latest one replaces those before it.

    `projection` is the JSON that readers are shown of `data` that is not JSON.
    """

    seq: int
    data: bytes
    encoding: str = "json"
    projection: bytes | None = None


class PendingTask(msgspec.Struct, frozen=True):
    """Hold a task that is not terminal, as the journal returns it. `attempts` are the ones already used up."""

    seq: int
    key: str
    input: bytes
    encoding: str = "json"
    attempts: int = 0
    agent: int = 0
    snapshot: bytes | None = None
    snapshot_encoding: str = ""
    priority: int = 0


class StoredTask(msgspec.Struct, frozen=True):
    """Hold a task that a run has already, and its terminal outcome, or None when it has none yet."""

    task: PendingTask
    outcome: TaskOutcome | None = None


def to_pending(tasks: Iterable[NewTask], after: int) -> list[PendingTask]:
    """Return new tasks as the store returns them. One without a seq gets the next one, from `after` + 1 on."""
    pending = []
    for task in tasks:
        after = task.seq or after + 1
        pending.append(PendingTask(after, task.key, task.input, task.encoding, 0, task.agent, None, "", task.priority))
    return pending


class TaskOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Record how a task ended, for now (interrupted) or for good. Times are Unix seconds.

    `error` is one line, `detail` the traceback or more; `slot` and `incarnation` say who executed it. `projection` is
    the JSON that readers are shown of a value that is not JSON. `failure` describes the exception of a failed task.
    """

    seq: int
    key: str
    status: ExecutionStatus
    attempts: int
    encoded: bytes | None = None
    encoding: str = "json"
    error: str | None = None
    detail: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    slot: int | None = None
    incarnation: int | None = None
    signal: plain_signal.InterruptSignal | None = None
    projection: bytes | None = None
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether the task completed."""
        return self.status is ExecutionStatus.COMPLETED

    @property
    def exact(self) -> bool:
        """Whether readers are shown the value itself, which JSON carries, and not a projection of it."""
        return self.encoding == "json"


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one event of a run. `seq` is given by the journal, from 1 without gaps; `data` is a JSON object."""

    kind: str
    at: float
    data: bytes = b"{}"
    address: str = ""
    task: int = 0
    slot: int | None = None
    incarnation: int | None = None
    seq: int = 0
