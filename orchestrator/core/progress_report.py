"""What a supervisor tells other processes of the progress of its run, as JSON. Pure."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from orchestrator.core.progress import Progress

MOST_EXECUTORS = 50
"""Executors of a report, at most: those whose tasks have run longest."""


class ProgressReport(msgspec.Struct, frozen=True):
    """Hold how far a run was `at` a time (Unix seconds). `stopping`: during a stop, what that waits for."""

    at: float
    progress: Progress
    stopping: str = ""


def encode(at: float, progress: Progress, stopping: str = "") -> bytes:
    """Return the report as JSON; a number that JSON does not have is null."""
    shown = replace(progress, executors=progress.executors[:MOST_EXECUTORS])
    return msgspec.json.encode(ProgressReport(at, shown, stopping))


def decode(report: str | bytes) -> ProgressReport:
    """Return the report. Raises msgspec.MsgspecError for what is none."""
    return msgspec.json.decode(report, type=ProgressReport)
