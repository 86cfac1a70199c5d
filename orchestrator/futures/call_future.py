"""The future of one call: a Handle that raises what `concurrent.futures` would.

Values and exceptions are unpickled here, which may execute code: in the thread that asks for them, never in the
supervisor's.
"""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

from orchestrator.core.records import TaskOutcome
from orchestrator.outcome import Outcome
from orchestrator.remote_exceptions import exception_of
from orchestrator.task_handle import Handle, Owner
from runtime.errors import DecodeError
from runtime.interrupt_signal import build_signal
from runtime.ipc.codec import decode
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus

R = TypeVar("R")

_UNREADABLE_ARGUMENTS = "runtime.errors.DecodeError"


class CallCrashed(BrokenProcessPool):
    """Say that a call has no result: the process that executed it died, or one side could not read the other's pickle.

    It costs this one future; the others go on. It is a BrokenProcessPool, so that code which expects that catches it.
    """


class CallOwner(Owner, Protocol):
    """The pool of a future."""

    def broken_error(self) -> BaseException | None:
        """Return why the pool cannot be used any more, if it is broken; not if it was interrupted."""
        ...

    def on_settled(self, future: CallFuture[Any], *, crashed: bool) -> None:
        """Note that a call has ended."""
        ...


class CallFuture(Handle[R]):
    """Hold the result of one call; a `concurrent.futures.Future`.

    `cancel` also ends a call that runs (docs/from-process-pools.md). `outcome()` has what else is known of it.
    """

    def __init__(self, key: str, owner: CallOwner) -> None:
        super().__init__(key, None, owner)
        self._pool = owner

    def cancel(self) -> bool:
        """End the call, whether it runs or has not begun. Return False if it has ended by itself before.

        One that has not begun is cancelled at once. One that runs is interrupted: it is `running()` until it has
        ended, which may take the grace, and `cancelled()` then.
        """
        if self.done() or self.running():
            return super().cancel()
        if not Future.cancel(self):
            return self.cancelled()
        self._notify_cancelled()
        self._pool.interrupt_task(self.key, build_signal(InterruptReason.USER_CANCELLED, "cancelled", "api"))
        return True

    def _notify_cancelled(self) -> None:
        """Wake those that wait for it. Another thread may have done it."""
        with suppress(RuntimeError, InvalidStateError):
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Let the future fail although no executor has seen the call: it cannot be pickled or handed in."""
        self._resolved = None, error
        with suppress(InvalidStateError):
            Future.set_exception(self, error)

    def _settle(self, record: TaskOutcome | None) -> None:
        """Take the outcome, or None when none can come. For the store's thread."""
        crashed = record is not None and _is_crash(record)
        with suppress(InvalidStateError):  # it was cancelled before it began
            super()._settle(record)
        self._pool.on_settled(self, crashed=crashed)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end. Return what `result` would raise, or None. Raises CancelledError and TimeoutError as it."""
        if timeout is not None and timeout < 0:
            timeout = 0.0
        if self._outcome is None and self._resolved is not None:
            return self._resolved[1]
        return super().exception(timeout)

    def _resolve(self, outcome: Outcome[R]) -> tuple[R | None, BaseException | None]:
        if self._resolved is None:
            self._resolved = _decode(outcome, self._pool)
        return self._resolved


def _is_crash(record: TaskOutcome) -> bool:
    """Return whether no process has said how the call ended."""
    is_silent = record.failure is None and record.signal is None and record.encoded is None
    return record.status is ExecutionStatus.FAILED and is_silent


def _decode(outcome: Outcome[Any], owner: CallOwner) -> tuple[Any, BaseException | None]:
    if outcome.ok:
        try:
            return decode(outcome.encoded or b"", outcome.encoding), None
        except DecodeError as error:
            broken = CallCrashed(f"the result cannot be read: it is of type {error.type_name} ({error.reason})")
            broken.__cause__ = error.__cause__
            return None, broken
    if outcome.status is ExecutionStatus.INTERRUPTED:
        return None, owner.broken_error() or exception_of(outcome)
    return None, _failure(outcome)


def _failure(outcome: Outcome[Any]) -> BaseException:
    """Return what a call that failed raises."""
    text = outcome.error or "no reason is known"
    if outcome.failure is None and outcome.signal is not None and outcome.signal.reason is InterruptReason.TIMEOUT:
        return TimeoutError(text)
    if _is_crash(outcome):
        return CallCrashed(f"a process of the pool was terminated abruptly: {text.removesuffix(' (1 times)')}")
    error: BaseException | None = None
    if outcome.encoded is not None:
        with suppress(DecodeError):
            error = cast("BaseException", decode(outcome.encoded, outcome.encoding))
    elif outcome.failure is not None and outcome.failure.type == _UNREADABLE_ARGUMENTS:
        error = CallCrashed(f"the call cannot be read by the process: {text}")
    if not isinstance(error, BaseException):
        error = exception_of(outcome)
    if outcome.detail:
        error.__cause__ = _RemoteTraceback(cast("Any", outcome.detail))  # a text, whatever typeshed says
    return error


def new_call_future(key: str, owner: CallOwner) -> tuple[CallFuture[Any], Any]:
    """Return a future, and what settles it."""
    future: CallFuture[Any] = CallFuture(key, owner)
    return future, future._settle  # noqa: SLF001 - no public name: users must not call it
