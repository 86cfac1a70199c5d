"""What runs inside an executor process; usable alone, in one process, as an interrupt system for asyncio.

The names below are loaded when they are first used: a process that needs only the wire pays for no more.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, cast

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
    from runtime.errors import RetryLater as RetryLater
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

_SOURCE: str = cast("Any", __spec__).loader.get_source(__name__)
_HOMES = {name: module for module, name in re.findall(r"^    from (\S+) import (\w+) as \2$", _SOURCE, re.MULTILINE)}
"""The module of each public name, out of the block above, which type checkers read."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names is enough; the test of the package compares it


def __getattr__(name: str) -> Any:
    """Load a name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, and those that every module has."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
