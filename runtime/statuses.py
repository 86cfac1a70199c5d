"""The words for how something stands, fails and matters. A leaf that imports nothing of this project.

Apart from `model`, whose dataclasses take as long to make as a quarter of a query's own modules to import.
"""

from __future__ import annotations

from enum import StrEnum


class ExecutionStatus(StrEnum):
    """The state of one execution."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    AWAITING = "awaiting"
    HUMAN_INTERVENTION = "human_intervention"
    RECOVERED = "recovered"
    INTERRUPTED = "interrupted"
    CANCELLING = "cancelling"
    RETRYING = "retrying"


class ErrorStrategy(StrEnum):
    """What a parallel group does about a child that fails. An interrupt is no failure: it ends every group."""

    FAIL_FAST = "fail_fast"
    """The first failure cancels the others and is raised."""
    FAIL_SLOW = "fail_slow"
    """All run to their end; then an ExceptionGroup of the failures is raised."""
    COLLECT = "collect"
    """All run to their end; a failure stands among the results, as its exception."""


class Severity(StrEnum):
    """How much a log line matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
