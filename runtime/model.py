"""The records that all processes share. A leaf: of this project it imports `frozen` alone.

A record is frozen and does nothing; a new state is a new record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runtime.frozen import FrozenDict, freeze_dict

T = TypeVar("T")


class InterruptReason(StrEnum):
    """Why work is asked to stop. The order is the code in the shared flag (1 = the first): only append."""

    USER_CANCELLED = "user_cancelled"
    TIMEOUT = "timeout"
    RESOURCE_LIMIT = "resource_limit"
    ERROR_THRESHOLD = "error_threshold"
    PRIORITY_OVERRIDE = "priority_override"
    SYSTEM_SHUTDOWN = "system_shutdown"
    CUSTOM = "custom"

    @property
    def code(self) -> int:
        """The non-zero byte that stands for this reason in the interrupt flag."""
        return _CODES[self]

    @classmethod
    def from_code(cls, code: int) -> InterruptReason:
        """Return the reason for a flag byte; CUSTOM for an unknown code (of a newer writer)."""
        return _REASONS.get(code, cls.CUSTOM)


_CODES = {reason: index for index, reason in enumerate(InterruptReason, start=1)}
_REASONS = {code: reason for reason, code in _CODES.items()}


def escape_surrogates(text: str) -> str:
    """Return text that can be encoded: lone surrogates (of a file name, say) become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


Text = Annotated[str, AfterValidator(escape_surrogates)]


def aware(moment: datetime) -> datetime:
    """Return the same moment as an aware datetime in UTC; a naive one is taken as UTC."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ArithmeticError, TypeError, ValueError):  # beyond the year 9999 or before 1, or a tzinfo that is broken
        return moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(aware)]


class InterruptSignal(BaseModel):
    """The record that says why something was interrupted.

    `triggered_at` is an aware UTC datetime (a naive one that is handed in counts as UTC). `save_checkpoint` asks the
    agent to keep its snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: InterruptReason
    message: Text = ""
    triggered_at: Moment = Field(default_factory=lambda: datetime.now(UTC))
    triggered_by: Text = ""
    save_checkpoint: bool = True


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One immutable, numbered record of something that happened. It streams up, never down.

    `seq` counts from 1 within one bus; `at` is Unix time in seconds; `address` is where in the nest of
    executions it happened (`audit::parse::llm_call`, empty at the top). `data` is copied and frozen at any depth
    (see `runtime.frozen`): to change it, copy it.
    """

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    state_id: str = ""
    seq: int = 0
    at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        if type(self.data) is not FrozenDict:
            object.__setattr__(self, "data", freeze_dict(self.data))


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptEvent(Event):
    """Published exactly once for an interrupted execution state; the last thing its streams yield."""

    signal: InterruptSignal
    kind: str = "interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionResult(Generic[T]):
    """How one execution ended. `execution_time` is in seconds, on the monotonic clock.

    `ok` is true for COMPLETED and RECOVERED only; `signal` is set exactly when `status` is INTERRUPTED.
    """

    result: T | None = None
    ok: bool
    status: ExecutionStatus
    error_message: str | None = None
    signal: InterruptSignal | None = None
    execution_time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRecord:
    """One line of an execution's history: it entered `status` at `at` (Unix seconds). Never changed, never dropped.

    `execution_time` is seconds since it started; `attempt` counts from 1.
    """

    name: str
    address: str
    status: ExecutionStatus
    at: float
    execution_time: float = 0.0
    attempt: int = 1
    message: str | None = None
