"""The public names of quiesce in one place: `from quiesce import ExecutionState, Supervisor, agent`.

They are those of the packages `runtime`, for agents, and `orchestrator`, for programs that run them. Each name is
loaded when it is first used, so that an agent loads nothing of the supervisor.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers take it for that of typing, whose import would take half of the time of this one

if TYPE_CHECKING:
    from typing import Any as _Any

    from orchestrator.config import Settings as Settings
    from orchestrator.core.output import AgentOutput as AgentOutput
    from orchestrator.core.progress import ExecutorProgress as ExecutorProgress
    from orchestrator.core.progress import Progress as Progress
    from orchestrator.core.progress import TaskProgress as TaskProgress
    from orchestrator.core.records import RunEvent as RunEvent
    from orchestrator.core.settings import MaxFailures as MaxFailures
    from orchestrator.engine.hub import EventStream as EventStream
    from orchestrator.futures import CallCrashed as CallCrashed
    from orchestrator.futures import SupervisedExecutor as SupervisedExecutor
    from orchestrator.identity import RunMismatchError as RunMismatchError
    from orchestrator.journal.base import Counts as Counts
    from orchestrator.outcome import Outcome as Outcome
    from orchestrator.outcome import RunTask as RunTask
    from orchestrator.remote_exceptions import TaskFailed as TaskFailed
    from orchestrator.retries import failed_inputs as failed_inputs
    from orchestrator.run_reader import RunReader as RunReader
    from orchestrator.run_reader import open_run as open_run
    from orchestrator.run_reader import results_with_retries as results_with_retries
    from orchestrator.run_result import RunResult as RunResult
    from orchestrator.supervisor import Supervisor as Supervisor
    from orchestrator.task_handle import Handle as Handle
    from runtime.agents import agent as agent
    from runtime.concurrency.child import Child as Child
    from runtime.concurrency.circuit_breaker import CircuitBreaker as CircuitBreaker
    from runtime.concurrency.parallel import ParallelExecutionManager as ParallelExecutionManager
    from runtime.concurrency.retry import Backoff as Backoff
    from runtime.concurrency.retry import RetryPolicy as RetryPolicy
    from runtime.errors import ChildCancelledError as ChildCancelledError
    from runtime.errors import CircuitOpenError as CircuitOpenError
    from runtime.errors import DecodeError as DecodeError
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

    __version__: str

_SOURCE: str = __spec__.loader.get_source(__name__)  # type: ignore[union-attr]
_LINES = [line.split() for line in _SOURCE.splitlines() if line.startswith("    from ")]
_HOMES = {name: module for _, module, _, public, _, name in _LINES if public == name}
"""The module of each public name, out of the block above, which type checkers read."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names is enough


def __getattr__(name: str) -> _Any:
    """Load a name's module when the name is first used (PEP 562)."""
    if name == "__version__":
        return importlib.import_module("orchestrator.version").VERSION
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ImportError as error:
        _refuse_hidden(error)
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, and those that every module has."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__")), "__version__"})


def _refuse_hidden(error: ImportError) -> None:
    """Raise an error that names the module that hides one of the packages, if one does."""
    where = importlib.import_module("orchestrator.collision").find_other_runtime()
    if where is not None:
        text = f"{where} hides quiesce's package `runtime`: rename it, or put it into a package"
        raise ImportError(text, name=error.name) from error
