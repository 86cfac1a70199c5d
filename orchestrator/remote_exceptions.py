"""Make the exception that a caller gets for a task that has no value: the agent's own, rebuilt from its description.

*Theory.* The description (`runtime.failure`) comes from a process that executed a user's code, so nothing in it is
executed. A class is looked up by name in modules that this process has loaded already; no module is imported, no
module's `__getattr__` is asked, and no `__init__`, `__new__` or `__setattr__` written in Python is called. The instance
is made by the built-in exception that the class derives from, and gets its arguments and attributes as plain values.

What cannot be made in this way is a `TaskFailed`, which has the traceback as text: a class that is not loaded here,
arguments that are not plain, and exceptions by which Python itself is controlled (SystemExit, KeyboardInterrupt,
CancelledError and the like). A task that calls `sys.exit` must not end the program that waits for it.

*Rejected:* a pickle of the exception, as concurrent.futures has it, because reading one executes what the child wrote.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any, Final

from orchestrator.core.records import TaskOutcome
from runtime.errors import ExecutionInterrupted, QuiesceError
from runtime.failure import Failure, class_name
from runtime.ipc.plain_values import decode_plain
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus

_CONTROL: Final = (
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    BaseExceptionGroup,
    ExecutionInterrupted,
)
"""Exceptions that would mean something else in the caller, or that are more than plain values."""

_CONTROL_NAMES: Final = frozenset({"asyncio.exceptions.CancelledError", "concurrent.futures._base.CancelledError"})


class RemoteTraceback(Exception):
    """Show the traceback of an exception that was raised in an executor. It is the cause of the one in the caller."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class TaskFailed(QuiesceError):
    """Say that a task failed, where the agent's own exception cannot be raised.

    `outcome` has the details, `traceback` the executor's traceback as text, empty if there is none.
    """

    def __init__(self, outcome: Any) -> None:
        super().__init__(f"task {outcome.key} failed: {outcome.error}")
        self.outcome = outcome
        self.traceback: str = outcome.detail or ""


def exception_of(outcome: TaskOutcome) -> BaseException:
    """Return what to raise for an outcome that is not `ok`; with the remote traceback as its cause."""
    if outcome.status is ExecutionStatus.INTERRUPTED:
        return ExecutionInterrupted(
            outcome.signal or PlainSignal(reason=InterruptReason.CUSTOM, message=outcome.error or "")
        )
    error = None if outcome.failure is None else rebuild(outcome.failure)
    if error is None:
        error = TaskFailed(outcome)
    if outcome.detail:
        error.__cause__ = RemoteTraceback(outcome.detail)
    return error


def rebuild(failure: Failure) -> BaseException | None:
    """Return the exception that a failure describes; None if it cannot be made from its description alone."""
    kind = find_class(failure.type)
    if kind is None or failure.arguments is None or not _is_rebuildable(kind):
        return None
    maker = next(base for base in kind.__mro__ if _is_builtin(base))
    try:
        args, attributes, members = decode_plain(failure.arguments.decode())
        error: BaseException = maker.__new__(kind, *args)
        maker.__init__(error, *args)  # type: ignore[misc]  # the built-in class's own, whatever the class has
        object.__getattribute__(error, "__dict__").update(attributes)
        for name, value in members.items():
            getattr(maker, name).__set__(error, value)
    except Exception:  # noqa: BLE001 - whatever is wrong with the arguments: then it is not rebuilt
        return None
    return error


def find_class(name: str) -> type[BaseException] | None:
    """Return the class of exceptions of this name, if its module is loaded. Imports nothing and executes nothing."""
    module, _, rest = name.rpartition(".")
    path = [rest]
    while module and module not in sys.modules:
        module, _, rest = module.rpartition(".")
        path.insert(0, rest)
    found: Any = sys.modules.get(module) if module else builtins
    for part in path:
        is_class = isinstance(found, type)
        namespace = type.__dict__["__dict__"].__get__(found) if is_class else getattr(found, "__dict__", {})
        found = namespace.get(part)
    if not isinstance(found, type) or not issubclass(found, BaseException) or class_name(found) != name:
        return None
    return found


def _is_builtin(kind: type) -> bool:
    return kind.__module__ == "builtins" and getattr(builtins, kind.__name__, None) is kind


def _is_rebuildable(kind: type[BaseException]) -> bool:
    """Return whether instances are made of a built-in exception and plain attributes."""
    if issubclass(kind, _CONTROL) or any(class_name(base) in _CONTROL_NAMES for base in kind.__mro__):
        return False
    own = [vars(base) for base in kind.__mro__ if not _is_builtin(base)]
    return not any("__new__" in names or names.get("__slots__") for names in own)
