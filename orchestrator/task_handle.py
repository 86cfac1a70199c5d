"""Handle one task that was submitted: a `concurrent.futures.Future` of its value, which can be awaited, too.

Theory. A value is decoded in the thread that asks for it, because that can execute code: the store's thread, which
settles a handle, only keeps the outcome. So the future's own result is never looked at,
and its own exception is a mark. It stays pending while the task runs, since `cancel` of a running future does nothing.

Rejected: a handle that counts as cancelled as soon as `cancel` was called. What is done must not run any more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from orchestrator import lazy_imports
from orchestrator.callbacks import CallbackThread
from orchestrator.core.records import TaskOutcome
from orchestrator.outcome import Outcome
from orchestrator.remote_exceptions import exception_of
from runtime.interrupt_signal import build_signal
from runtime.limits import check_seconds
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    import asyncio

    from runtime.model import InterruptSignal

R = TypeVar("R")


class Owner(Protocol):
    """The run of a handle."""

    @property
    def callbacks(self) -> CallbackThread:
        """Where callbacks are called."""
        ...

    def interrupt_task(self, key: str, signal: InterruptSignal) -> None:
        """Interrupt a task. Returns at once."""
        ...

    def is_running(self, key: str) -> bool:
        """Return whether an executor has this task."""
        ...

    def wait_until_done(self, future: Future[Any], timeout: float | None) -> None:
        """Wait until a handle is done, or for `timeout` seconds."""
        ...

    def end_error(self) -> BaseException:
        """Return why no outcome can come any more."""
        ...


class _NotCompleted(Exception):
    """Mark a handle without a value: `wait(..., FIRST_EXCEPTION)` looks for it. `exception()` has the real one."""


class Handle(Future[R]):
    """Handle one task that was submitted. Wait with `result`, `outcome` or `await`.

    It is a `concurrent.futures.Future`: `wait`, `as_completed` and `asyncio.wrap_future` take it. `key` names the task.
    """

    def __init__(self, key: str, task_input: Any, owner: Owner) -> None:
        super().__init__()
        self.key = key
        self._input = task_input
        self._owner = owner
        self._outcome: Outcome[R] | None = None
        self._resolved: tuple[R | None, BaseException | None] | None = None
        self._is_cancel_requested = False

    def _settle(self, record: TaskOutcome | None) -> None:
        """Take the outcome, or None when none can come. For the store's thread, which calls it once."""
        if record is not None:
            self._outcome = Outcome.from_record(record, 0, self._input)
        is_interrupted = record is None or record.status is ExecutionStatus.INTERRUPTED
        if self._is_cancel_requested and is_interrupted:
            super().cancel()
            self.set_running_or_notify_cancel()
        elif record is not None and record.ok:
            super().set_result(cast("R", None))
        else:
            super().set_exception(_NotCompleted())

    # -- state --------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Return whether an executor has the task, a moment ago."""
        return not self.done() and self._owner.is_running(self.key)

    def __repr__(self) -> str:
        return f"<Handle key={self.key!r} {self._describe_state()}>"

    def _describe_state(self) -> str:
        if not self.done():
            return "running" if self.running() else "waiting"
        if self.cancelled():
            return "cancelled"
        return "never begun" if self._outcome is None else str(self._outcome.status)

    # -- stop ---------------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """End the task, whether it runs or has not begun. Return False if it has ended by itself before.

        Returns at once. The handle is done when the task has ended, which may take the grace; then `cancelled()` says
        whether it was cancelled, or completed just before. The run's next start executes a cancelled task again.
        """
        if self.done():
            return self.cancelled()
        self._is_cancel_requested = True
        self._owner.interrupt_task(self.key, build_signal(InterruptReason.USER_CANCELLED, "cancelled", "api"))
        return True

    def interrupt(self, reason: InterruptReason = InterruptReason.USER_CANCELLED, message: str = "") -> None:
        """Interrupt the task. Returns at once. Unlike after `cancel`, `result` raises ExecutionInterrupted then."""
        self._owner.interrupt_task(self.key, build_signal(reason, message, "api"))

    # -- wait ---------------------------------------------------------------------------------------

    def outcome(self, timeout: float | None = None) -> Outcome[R]:
        """Wait for the outcome, whatever it is. Raises TimeoutError after `timeout` seconds.

        Raises ExecutionInterrupted (or QuiesceError) when the run ended before the task began.
        """
        check_seconds("timeout", timeout, may_be_endless=True)
        with suppress(CancelledError):
            self._wait(timeout)
        return self._require_outcome()

    def result(self, timeout: float | None = None) -> R:
        """Wait for the value. Raises TimeoutError after `timeout` seconds.

        Raises what the agent raised, with the remote traceback as its cause, or TaskFailed where that cannot be
        rebuilt; `concurrent.futures.CancelledError` after `cancel`, ExecutionInterrupted after any other interrupt.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error
            finally:
                del error  # else the traceback and its frame refer to each other
        return self._value()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end. Return what `result` would raise, or None. Raises CancelledError and TimeoutError as it."""
        check_seconds("timeout", timeout, may_be_endless=True)
        self._wait(timeout)
        if self._outcome is None:
            return self._owner.end_error()
        return self._resolve(self._outcome)[1]

    def _wait(self, timeout: float | None) -> None:
        """Wait for the end. Raises CancelledError, and TimeoutError after `timeout` seconds."""
        if not self.done():
            self._owner.wait_until_done(self, None if timeout == math.inf else timeout)
        super().exception(0)

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Have `fn(handle)` called when the handle is done; at once, in this thread, if it is.

        Otherwise it is called in the thread `quiesce-callbacks`, where it may block, wait for other handles, and
        submit. What it raises is logged. The end of the block waits for it; after a stop, not longer than a second.
        """
        caller, is_adding = threading.get_ident(), True

        def call(_: object) -> None:
            if is_adding and threading.get_ident() == caller:  # it was done already
                fn(self)
            else:
                self._owner.callbacks.put(partial(fn, self))

        super().add_done_callback(call)
        is_adding = False

    async def outcome_async(self) -> Outcome[R]:
        """Wait for the outcome without blocking the event loop. A caller who is cancelled does not cancel the task."""
        await self._wait_async()
        return self._require_outcome()

    def __await__(self) -> Generator[Any, None, R]:
        yield from self._wait_async().__await__()
        if self.cancelled():
            raise lazy_imports.asyncio().CancelledError(f"task {self.key} was cancelled")
        return self.result()

    async def _wait_async(self) -> None:
        loop = lazy_imports.asyncio().get_running_loop()
        arrived: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not arrived.done():
                arrived.set_result(None)

        def post(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: no coroutine waits any more
                loop.call_soon_threadsafe(settle)

        super().add_done_callback(post)  # it does not block: it needs no thread of its own
        await arrived

    # -- the value ----------------------------------------------------------------------------------

    def _require_outcome(self) -> Outcome[R]:
        if self._outcome is None:
            raise self._owner.end_error()
        return self._outcome

    def _resolve(self, outcome: Outcome[R]) -> tuple[R | None, BaseException | None]:
        """Return value and error, the same at every call."""
        if self._resolved is None:
            self._resolved = _decode(outcome)
        return self._resolved

    def _value(self) -> R:
        return cast("R", self._resolve(self._require_outcome())[0])


def new_handle(key: str, task_input: Any, owner: Owner) -> tuple[Handle[Any], Callable[[TaskOutcome | None], None]]:
    """Return a handle, and what settles it: the store calls that once, with the outcome, or None if none can come."""
    handle: Handle[Any] = Handle(key, task_input, owner)
    return handle, handle._settle  # noqa: SLF001 - no public name: users must not call it


def _decode(outcome: Outcome[R]) -> tuple[R | None, BaseException | None]:
    if not outcome.ok:
        return None, exception_of(outcome)
    try:
        return outcome.value, None
    except Exception as error:  # noqa: BLE001 - the value's own code
        return None, error
