"""Make and read tasks, outcomes and events of tests of a journal, in few words."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core.records import NewTask, RunEvent, TaskOutcome
from orchestrator.journal import Journal
from runtime.model import ExecutionStatus

COMPLETED, FAILED, INTERRUPTED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.INTERRUPTED


def add(journal: Journal, run: int, *keys: str) -> None:
    journal.add_tasks(run, [NewTask(key, b"null") for key in keys])


def outcome(seq: int, status: ExecutionStatus = COMPLETED, value: bytes | None = b"1", key: str = "") -> TaskOutcome:
    return TaskOutcome(seq=seq, key=key, status=status, attempts=1, encoded=value)


def event(kind: str) -> RunEvent:
    return RunEvent(kind=kind, at=1.5)


def found(journal: Journal, run: int) -> list[tuple[int, str, bytes | None]]:
    """Every result as seq, status and value."""
    return [(each.seq, each.status.value, each.encoded) for each in journal.results(run)]


def seqs(tasks: Iterable[object]) -> list[int]:
    return [getattr(task, "seq") for task in tasks]  # noqa: B009 - records of several kinds
