"""What runs inside an executor process; usable alone, in one process, as an interrupt system for asyncio.

The names below are loaded when they are first used: a process that needs only the wire pays for no more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.agents import agent as agent
    from runtime.concurrency.child import Child as Child
    from runtime.concurrency.circuit_breaker import CircuitBreaker as CircuitBreaker
    from runtime.concurrency.parallel import ParallelExecutionManager as ParallelExecutionManager
    from runtime.concurrency.retry import Backoff as Backoff
    from runtime.concurrency.retry import RetryPolicy as RetryPolicy
    from runtime.errors import ChildCancelledError as ChildCancelledError
    from runtime.errors import CircuitOpenError as CircuitOpenError
    from runtime.errors import ExecutionInterrupted as ExecutionInterrupted
    from runtime.errors import QuiesceError as QuiesceError
    from runtime.errors import UsageError as UsageError
    from runtime.events.bus import EventBus as EventBus
    from runtime.events.queue import OverflowPolicy as OverflowPolicy
    from runtime.events.subscribers import Stream as Stream
    from runtime.events.subscribers import Subscription as Subscription
    from runtime.execution.event import ConditionError as ConditionError
    from runtime.execution.event import ExecutionEvent as ExecutionEvent
    from runtime.execution.generators import KillReport as KillReport
    from runtime.execution.printer import EventPrinter as EventPrinter
    from runtime.execution.state import ExecutionState as ExecutionState
    from runtime.interrupts.checkers import FileChecker as FileChecker
    from runtime.interrupts.checkers import HttpChecker as HttpChecker
    from runtime.interrupts.checkers import RedisChecker as RedisChecker
    from runtime.interrupts.checkers import ResourceMonitor as ResourceMonitor
    from runtime.model import ErrorStrategy as ErrorStrategy
    from runtime.model import Event as Event
    from runtime.model import ExecutionRecord as ExecutionRecord
    from runtime.model import ExecutionResult as ExecutionResult
    from runtime.model import ExecutionStatus as ExecutionStatus
    from runtime.model import InterruptEvent as InterruptEvent
    from runtime.model import InterruptReason as InterruptReason
    from runtime.model import InterruptSignal as InterruptSignal
    from runtime.model import Severity as Severity
    from runtime.scope import current_address as current_address

_HOMES = {
    "agents": ("agent",),
    "concurrency.circuit_breaker": ("CircuitBreaker",),
    "events.bus": ("EventBus",),
    "concurrency.child": ("Child",),
    "events.subscribers": ("Stream", "Subscription"),
    "errors": ("ChildCancelledError", "CircuitOpenError", "ExecutionInterrupted", "QuiesceError", "UsageError"),
    "execution.event": ("ConditionError", "ExecutionEvent"),
    "execution.generators": ("KillReport",),
    "model": (
        "ErrorStrategy",
        "Event",
        "ExecutionRecord",
        "ExecutionResult",
        "ExecutionStatus",
        "InterruptEvent",
        "InterruptReason",
        "InterruptSignal",
        "Severity",
    ),
    "events.queue": ("OverflowPolicy",),
    "concurrency.parallel": ("ParallelExecutionManager",),
    "execution.printer": ("EventPrinter",),
    "concurrency.retry": ("Backoff", "RetryPolicy"),
    "scope": ("current_address",),
    "interrupts.checkers": ("FileChecker", "HttpChecker", "RedisChecker", "ResourceMonitor"),
    "execution.state": ("ExecutionState",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)  # noqa: PLE0605 - one list of names is enough; the test of the package compares it


def __getattr__(name: str) -> Any:
    """Load a name's module when the name is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the module's names and the public ones that are loaded on first use."""
    return [*globals(), *__all__]
