"""The records that all processes share. A leaf: it imports `frozen`, `plain_signal`, `reasons` and
`statuses` of this project.

A record is frozen and does nothing; a new state is a new record. `InterruptSignal` is loaded when it is first used,
because it loads pydantic: a module that names it in annotations only imports it under TYPE_CHECKING, if commands
that only read a journal import that module.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from runtime import plain_signal
from runtime.frozen import FrozenDict, freeze_dict
from runtime.plain_signal import with_public_signal
from runtime.reasons import InterruptReason as InterruptReason  # noqa: PLC0414 - exported
from runtime.reasons import escape_surrogates as escape_surrogates  # noqa: PLC0414 - exported
from runtime.statuses import ErrorStrategy as ErrorStrategy  # noqa: PLC0414 - exported
from runtime.statuses import ExecutionStatus as ExecutionStatus  # noqa: PLC0414 - exported
from runtime.statuses import Severity as Severity  # noqa: PLC0414 - exported

if TYPE_CHECKING:
    from runtime.signal_record import InterruptSignal as InterruptSignal  # noqa: PLC0414 - exported
else:

    def __getattr__(name: str) -> Any:
        """Load InterruptSignal when it is first used (PEP 562)."""
        if name != "InterruptSignal":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return plain_signal.InterruptSignal


T = TypeVar("T")


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


@with_public_signal
@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptEvent(Event):
    """Published exactly once for an interrupted execution state; the last thing its streams yield."""

    signal: InterruptSignal
    kind: str = "interrupt"


@with_public_signal
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
