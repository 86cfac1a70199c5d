"""Describe outcomes, resumed runs and exits: as journal events, log fields and text."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.journal import Counts, RunRecord
from runtime.ipc import codec
from runtime.ipc.executor_protocol import BROKEN
from runtime.statuses import ExecutionStatus, Severity


def event_from_outcome(outcome: TaskOutcome) -> RunEvent:
    """Return the event of an outcome: `task.completed`, `task.failed` or `task.interrupted`."""
    data: dict[str, Any] = {"key": outcome.key, "attempts": outcome.attempts}
    if outcome.started_at is not None and outcome.ended_at is not None:
        data["seconds"] = round(outcome.ended_at - outcome.started_at, 6)
    if outcome.error is not None:
        data["error"] = outcome.error
    return RunEvent(
        kind=f"task.{outcome.status.value}",
        at=outcome.ended_at or time.time(),
        data=codec.encode_json(data),
        task=outcome.seq,
        slot=outcome.slot,
        incarnation=outcome.incarnation,
    )


def resumed_log_fields(before: RunRecord, start: int, counts: Counts) -> tuple[Severity, Mapping[str, Any]]:
    """Return severity and fields of the `run.resumed` log line. `before`: the run as its last start left it."""
    owner = before.owner if before.status is ExecutionStatus.STARTED else None
    if owner is not None:
        how = f"its supervisor, process {owner.pid} on {owner.host}, ended without a word"
    else:
        how = before.status.value if before.signal is None else f"{before.status.value}: {before.signal.message}"
    left = counts.total - counts.completed - counts.failed
    fields = {
        "run": before.run_id, "start": start, "before": how, "completed": counts.completed, "failed": counts.failed,
        "interrupted": counts.interrupted, "left": left,
    }  # fmt: skip
    return (Severity.INFO if owner is None else Severity.WARNING), fields


def describe_exit(code: int) -> str:
    """Return an exit code as text: `SIGSEGV`, `exit code 3`."""
    if code == BROKEN:
        return f"exit code {code}, as when an agent closes or writes into an executor's pipes, or breaks its event loop"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
