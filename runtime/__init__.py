"""What runs inside an executor process; usable alone, in one process, as an interrupt system for asyncio.

The names below are loaded when they are first used: a process that needs only the wire pays for no more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Not when it is first used: importing the module `runtime.agent` sets this very name to the module; that comes first.
from runtime.agent import agent as agent

if TYPE_CHECKING:
    from runtime.breaker import CircuitBreaker as CircuitBreaker
    from runtime.bus import EventBus as EventBus
    from runtime.child import Child as Child
    from runtime.consumers import Stream as Stream
    from runtime.consumers import Subscription as Subscription
    from runtime.errors import ChildCancelledError as ChildCancelledError
    from runtime.errors import CircuitOpenError as CircuitOpenError
    from runtime.errors import ExecutionInterrupted as ExecutionInterrupted
    from runtime.errors import QuiesceError as QuiesceError
    from runtime.errors import UsageError as UsageError
    from runtime.event import ConditionError as ConditionError
    from runtime.event import ExecutionEvent as ExecutionEvent
    from runtime.generators import KillReport as KillReport
    from runtime.model import ErrorStrategy as ErrorStrategy
    from runtime.model import Event as Event
    from runtime.model import ExecutionRecord as ExecutionRecord
    from runtime.model import ExecutionResult as ExecutionResult
    from runtime.model import ExecutionStatus as ExecutionStatus
    from runtime.model import InterruptEvent as InterruptEvent
    from runtime.model import InterruptReason as InterruptReason
    from runtime.model import InterruptSignal as InterruptSignal
    from runtime.model import Severity as Severity
    from runtime.outlet import Policy as Policy
    from runtime.parallel import ParallelExecutionManager as ParallelExecutionManager
    from runtime.printer import EventPrinter as EventPrinter
    from runtime.retry import Backoff as Backoff
    from runtime.retry import RetryPolicy as RetryPolicy
    from runtime.scope import current_address as current_address
    from runtime.sources import FileChecker as FileChecker
    from runtime.sources import HttpChecker as HttpChecker
    from runtime.sources import RedisChecker as RedisChecker
    from runtime.sources import ResourceMonitor as ResourceMonitor
    from runtime.state import ExecutionState as ExecutionState

_HOMES = {
    "breaker": ("CircuitBreaker",),
    "bus": ("EventBus",),
    "child": ("Child",),
    "consumers": ("Stream", "Subscription"),
    "errors": ("ChildCancelledError", "CircuitOpenError", "ExecutionInterrupted", "QuiesceError", "UsageError"),
    "event": ("ConditionError", "ExecutionEvent"),
    "generators": ("KillReport",),
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
    "outlet": ("Policy",),
    "parallel": ("ParallelExecutionManager",),
    "printer": ("EventPrinter",),
    "retry": ("Backoff", "RetryPolicy"),
    "scope": ("current_address",),
    "sources": ("FileChecker", "HttpChecker", "RedisChecker", "ResourceMonitor"),
    "state": ("ExecutionState",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(["agent", *_MODULES])  # noqa: PLE0605 - one list of names is enough; the test of the package compares it


def __getattr__(name: str) -> Any:
    """Load a name's module when the name is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that are offered."""
    return [*globals(), *__all__]
