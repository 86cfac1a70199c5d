"""Render what the supervisor of a living run tells of its progress, for `status`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from orchestrator.core.progress import ExecutorProgress
from orchestrator.core.progress_report import ProgressReport
from orchestrator.display import text


def report_object(report: ProgressReport, at: str | None) -> dict[str, Any]:
    """Return a report as an object, for --json; `at`: its time as text. Ages are those of that time."""
    return {"at": at, **asdict(report.progress), "stopping": report.stopping or None}


def report_lines(report: ProgressReport, now: float) -> list[str]:
    """Return the lines about a report for people at `now` (Unix seconds), which add its age to those of the tasks."""
    age = max(0.0, now - report.at)
    progress = report.progress
    lines = [f"progress   {' · '.join(text.summary(progress))}"]  # the counts are those of the journal, and newer
    if report.stopping:
        lines.insert(0, f"stop       {report.stopping}")
    return lines + [text.executor(_older(executor, age)) for executor in progress.executors]


def _older(executor: ExecutorProgress, by: float) -> ExecutorProgress:
    tasks = [replace(task, seconds=None if task.seconds is None else task.seconds + by) for task in executor.tasks]
    return replace(executor, tasks=tuple(tasks))
