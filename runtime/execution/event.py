"""ExecutionEvent: running an actor with four checkpoints, and a record of how it went.

    STARTED ─ ① ─ ② ─ preconditions ─ ③ ─ handler ─ ④ ─ postconditions ─ COMPLETED
                        │ an interrupt, at a checkpoint or at any await in between: INTERRUPTED
                        │ an exception: RETRYING, RECOVERED or FAILED
                        └ a cancellation from outside: CANCELLING (or INTERRUPTED), and it goes on

① looks at the flag only; the others ask the external checker too. An interrupt and a failure come back as a result;
a cancellation from outside, Ctrl-C and the like are raised on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from runtime.concurrency.retry import RetryPolicy
from runtime.errors import ExecutionInterrupted, QuiesceError, error_text, find_interrupt
from runtime.execution.state import ExecutionState
from runtime.interrupts.interruptible import CancelOnInterrupt
from runtime.interrupts.loop_waker import loop_time
from runtime.interrupts.sleep import sleep_in_loop
from runtime.model import ExecutionRecord, ExecutionResult
from runtime.scope import current_address, scope
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    pass

T = TypeVar("T")

Condition = Callable[[Any, ExecutionState], Awaitable[object]] | Callable[[Any, ExecutionState], object]
"""Called with `(input_data, state)` before the handler, with `(result, state)` after it. Refuses by returning
something false that is not None, or by raising."""


class ConditionError(QuiesceError):
    """A precondition or postcondition was not met."""


class ExecutionEvent(Generic[T]):
    """Something that can be executed: an actor, `actor(input_data, state)`, sync or async, and what it needs.

    `await ExecutionEvent(actor=a)(input_data, state)` gives an ExecutionResult. A sync actor runs in the event
    loop's thread and is interrupted at its checkpoints; an async one also at its awaits. `retry` tries a failed
    actor again; `recover(error, state)` is the last resort, whose value makes the result RECOVERED.
    `timeout`, in seconds, fails an attempt whose await takes longer.
    """

    @overload
    def __init__(
        self,
        *,
        actor: Callable[[Any, ExecutionState], Coroutine[Any, Any, T]],
        name: str | None = None,
        preconditions: Sequence[Condition] = (),
        postconditions: Sequence[Condition] = (),
        retry: RetryPolicy | None = None,
        recover: Callable[[Exception, ExecutionState], Any] | None = None,
        timeout: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        actor: Callable[[Any, ExecutionState], T],
        name: str | None = None,
        preconditions: Sequence[Condition] = (),
        postconditions: Sequence[Condition] = (),
        retry: RetryPolicy | None = None,
        recover: Callable[[Exception, ExecutionState], Any] | None = None,
        timeout: float | None = None,
    ) -> None: ...
    def __init__(
        self,
        *,
        actor: Callable[[Any, ExecutionState], Any],
        name: str | None = None,
        preconditions: Sequence[Condition] = (),
        postconditions: Sequence[Condition] = (),
        retry: RetryPolicy | None = None,
        recover: Callable[[Exception, ExecutionState], Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.actor = actor
        self.name = name or _name(actor)
        self.preconditions = tuple(preconditions)
        self.postconditions = tuple(postconditions)
        self.retry = retry
        self.recover = recover
        self.timeout = timeout

    async def __call__(self, input_data: Any, state: ExecutionState) -> ExecutionResult[T]:
        """Execute once, under this event's name. Raises only what must not be kept: cancellation, Ctrl-C, exit."""
        with scope(self.name):
            async with state.executing():
                return await _Execution(self, state).run(input_data)


class _Execution(Generic[T]):
    """One call of an event: its clock, its records and the way through the checkpoints."""

    def __init__(self, event: ExecutionEvent[T], state: ExecutionState) -> None:
        self._event = event
        self._state = state
        self._began = loop_time()
        self._attempt = 1
        self._guard = CancelOnInterrupt(state)

    async def run(self, input_data: Any) -> ExecutionResult[T]:
        self._record(ExecutionStatus.STARTED)
        try:
            async with self._guard:  # entering it is the first checkpoint
                status, value = await self._process(input_data)
        except asyncio.CancelledError:
            self._cancelled()
            raise
        except BaseException as error:  # noqa: BLE001 - also Ctrl-C and exit are recorded, and then raised on
            return self._not_completed(error)
        self._record(status)
        return ExecutionResult(result=value, ok=True, status=status, execution_time=self._elapsed)

    async def _process(self, input_data: Any) -> tuple[ExecutionStatus, Any]:
        state = self._state
        await state.check_interrupt()
        await self._require(self._event.preconditions, input_data, "precondition")
        await state.check_interrupt()
        status, value = await self._handle(input_data)
        await state.check_interrupt()
        await self._require(self._event.postconditions, value, "postcondition")
        return status, value

    async def _handle(self, input_data: Any) -> tuple[ExecutionStatus, Any]:
        while True:
            try:
                return ExecutionStatus.COMPLETED, await self._attempt_once(input_data)
            except Exception as error:  # the policy says which are retried; the rest goes on
                if find_interrupt(error) is not None or self._guard.caused(error):
                    raise
                wait = self._wait_after(error)
                if wait is None:
                    return await self._recover(error)
                self._record(ExecutionStatus.RETRYING, _line(error))
            await sleep_in_loop(self._state, wait)
            self._attempt += 1

    async def _attempt_once(self, input_data: Any) -> Any:
        if self._event.timeout is None:
            return await _call(self._event.actor, input_data, self._state)
        async with asyncio.timeout(self._event.timeout):
            return await _call(self._event.actor, input_data, self._state)

    def _wait_after(self, error: Exception) -> float | None:
        retry = self._event.retry
        if retry is None:
            return None
        return retry.decide(error, attempt=self._attempt, elapsed=self._elapsed, chance=random.random())  # noqa: S311

    async def _recover(self, error: Exception) -> tuple[ExecutionStatus, Any]:
        if self._event.recover is None:
            raise error
        return ExecutionStatus.RECOVERED, await _call(self._event.recover, error, self._state)

    async def _require(self, conditions: tuple[Condition, ...], subject: Any, what: str) -> None:
        for condition in conditions:
            answer = await _call(condition, subject, self._state)
            if answer is not None and not answer:
                raise ConditionError(f"{what} {getattr(condition, '__name__', condition)} was not met")

    def _not_completed(self, error: BaseException) -> ExecutionResult[T]:
        interrupted = find_interrupt(error)
        if interrupted is not None:
            return self._interrupted(interrupted)
        self._record(ExecutionStatus.FAILED, _line(error))
        if not isinstance(error, Exception):
            raise error
        return ExecutionResult(
            ok=False, status=ExecutionStatus.FAILED, error_message=_line(error), execution_time=self._elapsed
        )

    def _interrupted(self, interrupted: ExecutionInterrupted) -> ExecutionResult[T]:
        self._state.clear_raised()
        self._record(ExecutionStatus.INTERRUPTED, str(interrupted))
        return ExecutionResult(
            ok=False,
            status=ExecutionStatus.INTERRUPTED,
            error_message=str(interrupted),
            signal=interrupted.plain_signal,
            execution_time=self._elapsed,
        )

    def _cancelled(self) -> None:
        signal = self._state.settle_signal()
        if signal is None:
            self._record(ExecutionStatus.CANCELLING, "cancelled from outside")
        else:  # by a group that the same interrupt ended: this execution was interrupted too
            self._record(ExecutionStatus.INTERRUPTED, str(ExecutionInterrupted(signal)))

    @property
    def _elapsed(self) -> float:
        return loop_time() - self._began

    def _record(self, status: ExecutionStatus, message: str | None = None) -> None:
        self._state.record(
            ExecutionRecord(
                name=self._event.name,
                address=current_address(),
                status=status,
                at=time.time(),
                execution_time=self._elapsed,
                attempt=self._attempt,
                message=message,
            )
        )


async def _call(function: Callable[[Any, ExecutionState], Any], subject: Any, state: ExecutionState) -> Any:
    answer = function(subject, state)
    return await answer if inspect.isawaitable(answer) else answer


def _name(actor: object) -> str:
    while isinstance(actor, functools.partial):
        actor = actor.func
    return getattr(actor, "__name__", None) or type(actor).__name__


def _line(error: BaseException) -> str:
    text = error_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
