"""Warn of tasks that failed, as soon as that is recorded; of many, a few lines with the number of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.core.line_limit import LineLimit
from orchestrator.core.records import TaskOutcome
from orchestrator.logging.sinks import LogCallback
from runtime.statuses import ExecutionStatus, Severity
from runtime.text import single_line

LONGEST_ERROR = 500
"""Characters of an error that a line has, at most: the journal has all of it."""


class FailureWarnings:
    """Log failed tasks. Called by the one thread that records outcomes."""

    def __init__(self, log: LogCallback, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._limit = LineLimit()

    def __call__(self, outcomes: Sequence[TaskOutcome]) -> None:
        """Warn of those that have failed."""
        for outcome in outcomes:
            if outcome.status is ExecutionStatus.FAILED:
                left_out = self._limit.admit(self._now())
                if left_out is not None:
                    self._warn(outcome, left_out)

    def _warn(self, outcome: TaskOutcome, left_out: int) -> None:
        error = single_line(outcome.error or "", LONGEST_ERROR)
        fields: dict[str, Any] = {"key": outcome.key, "error": error, "attempts": outcome.attempts}
        if left_out:
            fields["more"] = left_out
        self._log("task.failed", Severity.WARNING, fields)
