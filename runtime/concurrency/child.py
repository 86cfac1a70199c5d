"""One child of a parallel group: what it is to do, how often it tries, and how it ended."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runtime.concurrency.circuit_breaker import CircuitBreaker
from runtime.concurrency.retry import RetryPolicy
from runtime.errors import ChildCancelledError, CircuitOpenError
from runtime.interrupts.interruptible import Interruptible, comes_of_cancellation
from runtime.interrupts.loop_waker import loop_time
from runtime.interrupts.sleep import sleep_in_loop
from runtime.scope import scope

X = TypeVar("X")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPolicy:
    """The retry policy, breaker and clock that all children of a group share. `emit` is called for each retry."""

    retry: RetryPolicy | None = None
    breaker: CircuitBreaker | None = None
    emit: Callable[..., object] | None = None
    clock: Callable[[], float] = loop_time
    random: Callable[[], float] = random.random


class Child(Generic[X]):
    """A handle on one child. `key` names it in its group, `index` is its place, `attempt` how often it has tried."""

    def __init__(self, work: Callable[[], Awaitable[X] | X] | Awaitable[X], *, key: str, index: int) -> None:
        self.key = key
        self.index = index
        self.attempt = 0
        self.done = False
        self.error: BaseException | None = None
        self._work = work
        self._coroutine = work if asyncio.iscoroutine(work) else None
        self._value: X | None = None

    def result(self) -> X:
        """Return the child's result. Raises the child's exception, or RuntimeError while the child has not ended."""
        if self.error is not None:
            raise self.error
        if not self.done:
            raise RuntimeError(f"child {self.key!r} has not ended")
        return self._value  # type: ignore[return-value]  # done without an error: it is the X that came back

    @property
    def outcome(self) -> Any:
        """The result, or the exception in its place."""
        return self._value if self.error is None else self.error

    def discard(self) -> asyncio.Future[X] | None:
        """Drop the child's work unstarted: a coroutine is closed, so that Python does not warn about it.

        A task or future runs already: it is returned for the caller to end, unless it has ended.
        """
        if self._coroutine is not None:
            self._coroutine.close()
        return self._work if isinstance(self._work, asyncio.Future) and not self._work.done() else None

    def set_result_from(self, task: asyncio.Task[X]) -> None:
        """Take over how its task ended."""
        if task.cancelled():
            self.error = ChildCancelledError(f"child {self.key!r} was cancelled")
        elif (error := task.exception()) is not None:
            self.error = error
        else:
            self._value = task.result()
        self.done = True
        self.discard()  # cancelled before its first step, it was never begun

    async def run(self, state: Interruptible, attempts: AttemptPolicy) -> X:
        """Try until it succeeds or the policy gives up. An interrupt cuts a backoff short."""
        with scope(self.key):
            began = attempts.clock()
            while True:
                self.attempt += 1
                try:
                    return await self._try(attempts)
                except CircuitOpenError:
                    raise
                except Exception as error:  # the policy says which are retried; the rest goes on
                    wait = self._wait_after(error, attempts, attempts.clock() - began)
                    if wait is None:
                        raise
                await sleep_in_loop(state, wait)

    def _wait_after(self, error: Exception, attempts: AttemptPolicy, elapsed: float) -> float | None:
        if attempts.retry is None or comes_of_cancellation(error):
            return None
        wait = attempts.retry.decide(error, attempt=self.attempt, elapsed=elapsed, chance=attempts.random())
        if wait is not None and attempts.emit is not None:
            attempts.emit("retrying", key=self.key, attempt=self.attempt, wait=wait, error=repr(error))
        return wait

    async def _try(self, attempts: AttemptPolicy) -> X:
        breaker = attempts.breaker
        if breaker is None:
            return await self._call()
        if not breaker.allow(attempts.clock()):
            self.discard()
            raise CircuitOpenError(f"child {self.key!r} was not tried: the circuit breaker is open")
        try:
            value = await self._call()
        except Exception:
            breaker.failed(attempts.clock())
            raise
        except BaseException:
            breaker.cancelled()
            raise
        breaker.succeeded()
        return value

    async def _call(self) -> X:
        answer = self._work() if callable(self._work) else self._work
        return await answer if inspect.isawaitable(answer) else answer
