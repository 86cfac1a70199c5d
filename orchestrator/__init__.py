"""quiesce: the supervisor's side. `from orchestrator import Supervisor`.

The names below are loaded when they are first used, so that a command that only reads a journal is quick.
"""

from __future__ import annotations

import importlib

from orchestrator.collision import refuse_other_runtime

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
    from runtime.errors import DecodeError as DecodeError
    from runtime.errors import ExecutionInterrupted as ExecutionInterrupted
    from runtime.errors import QuiesceError as QuiesceError
    from runtime.errors import UsageError as UsageError

refuse_other_runtime()

_SOURCE: str = __spec__.loader.get_source(__name__)  # type: ignore[union-attr]
_LINES = [line.split() for line in _SOURCE.splitlines() if line.startswith("    from ")]
_HOMES = {name: module for _, module, _, public, _, name in _LINES if public == name}
"""The module of each public name, out of the block above, which type checkers read."""

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list of names is enough


def __getattr__(name: str) -> _Any:
    """Load a name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names, and those that every module has."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
