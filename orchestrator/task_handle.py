"""Handle one task that was submitted: wait for its result, or interrupt it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator import lazy_imports
from orchestrator.outcome import Outcome
from orchestrator.remote_exceptions import TaskFailed, exception_of
from runtime.limits import check_seconds

__all__ = ["TaskFailed", "TaskHandle"]

if TYPE_CHECKING:
    import asyncio


class TaskHandle:
    """Handle one task that was submitted. Wait with `result`, `outcome` or `await`."""

    def __init__(
        self,
        key: str,
        future: Future[Outcome[Any] | None],
        end_error: Callable[[], BaseException],
        interrupt: Callable[[], None],
    ) -> None:
        self.key = key
        self._future = future
        self._end_error = end_error
        self._interrupt = interrupt

    def done(self) -> bool:
        """Return whether there is an outcome, or there will be none."""
        return self._future.done()

    def interrupt(self) -> None:
        """Interrupt this task. Returns at once."""
        self._interrupt()

    def outcome(self, timeout: float | None = None) -> Outcome[Any]:
        """Wait for the outcome. Raises TimeoutError after `timeout` seconds.

        Raises ExecutionInterrupted (or QuiesceError) when the run ended before the task began.
        """
        check_seconds("timeout", timeout, may_be_endless=True)
        return self._require_outcome(self._future.result(None if timeout == math.inf else timeout))

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value. Raises what the agent raised, with the remote traceback as its cause.

        Raises TaskFailed where that cannot be rebuilt, ExecutionInterrupted for a task that was interrupted, and
        TimeoutError after `timeout` seconds.
        """
        return _value(self.outcome(timeout))

    async def outcome_async(self) -> Outcome[Any]:
        """Wait for the outcome without blocking the event loop."""
        loop = lazy_imports.asyncio().get_running_loop()
        arrived: asyncio.Future[Outcome[Any] | None] = loop.create_future()

        def settle(outcome: Outcome[Any] | None) -> None:
            if not arrived.done():
                arrived.set_result(outcome)

        def post(future: Future[Outcome[Any] | None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: no coroutine waits any more
                loop.call_soon_threadsafe(settle, future.result())

        self._future.add_done_callback(post)  # not wrap_future: a caller who is cancelled must not cancel it for all
        return self._require_outcome(await arrived)

    def __await__(self) -> Generator[Any, None, Any]:
        outcome = yield from self.outcome_async().__await__()
        return _value(outcome)

    def _require_outcome(self, outcome: Outcome[Any] | None) -> Outcome[Any]:
        if outcome is None:
            raise self._end_error()
        return outcome


def _value(outcome: Outcome[Any]) -> Any:
    if outcome.ok:
        return outcome.value
    raise exception_of(outcome)
