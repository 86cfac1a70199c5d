"""Ask an external checker, at checkpoints and now and then, whether to stop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from runtime.errors import ExecutionInterrupted
from runtime.interrupt_signal import as_signal
from runtime.interrupts.interruptible import Interruptible
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false
from runtime.limits import check_seconds
from runtime.plain_signal import PlainSignal, is_signal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

log = logging.getLogger("quiesce.checker")

_MIN_POLL_INTERVAL = 0.01
"""Seconds between two calls by a poller, also where checkpoints may call without a pause."""

_CANCEL_TIMEOUT = 1.0
"""Seconds that an async checker gets to end once its call was cancelled."""

CheckerReply: TypeAlias = "bool | InterruptSignal | None"
_Outcome = tuple[Any, BaseException | None]
Checker = Callable[[], CheckerReply] | Callable[[], Awaitable[CheckerReply]]


@dataclass(frozen=True, slots=True)
class _Answer:
    """The result of one call."""

    signal: InterruptSignal | None = None
    failure: BaseException | None = None


class ExternalChecker:
    """Asks `checker` at most once every `min_interval` seconds and interrupts when it says so.

    A sync checker runs in a thread of its own, so that it may block. One that raises, whatever it raises, answers
    nonsense or takes longer than `limit` seconds is logged (once for each kind of trouble in a row) and never harms
    the work; one that hangs, in its thread or deaf to its cancellation, is not asked again until it comes back.
    """

    def __init__(self, checker: Checker, *, min_interval: float, limit: float, clock: Callable[[], float]) -> None:
        check_seconds("min_interval", min_interval)
        check_seconds("time_limit", limit, above_zero=True)
        self.min_interval = min_interval
        self._checker = checker
        self._limit = limit
        self._clock = clock
        self._next = 0.0
        self._busy = False
        self._thread: threading.Thread | None = None
        self._stuck: threading.Thread | None = None
        self._question: asyncio.Task[_Answer] | None = None
        self._trouble = ""

    @property
    def due(self) -> bool:
        """Return whether it is time to call the checker, and no earlier call is still running."""
        if self._busy or self._clock() < self._next:
            return False
        return self._question is None and (self._stuck is None or not self._stuck.is_alive())

    @property
    def wait(self) -> float:
        """Return the seconds until it is time to ask again."""
        return max(0.0, self._next - self._clock())

    async def poll(self, state: Interruptible) -> None:
        """Ask, if due, and interrupt `state` if the answer says so. Does not raise what the checker raises."""
        if not self.due:
            return
        self._busy = True
        question = self._question = asyncio.create_task(self._call_checker(), name="quiesce-checker")
        question.add_done_callback(self._answered)
        try:
            await asyncio.wait([question], timeout=self._limit)
            if question.done():
                self._take(question.result(), state)
            else:
                self._log_once("timeout", f"took longer than {self._limit:g} s")
        finally:
            if not question.done():
                self._stuck = self._thread
                question.cancel()
                await asyncio.wait([question], timeout=_CANCEL_TIMEOUT)
            self._next = self._clock() + self.min_interval
            self._busy = False

    async def _call_checker(self) -> _Answer:
        try:
            if inspect.iscoroutinefunction(self._checker):
                return _Answer(_signal(await self._checker()))
            self._thread, future = in_thread(self._checker)
            verdict, failure = await future
            if failure is not None:
                return _Answer(failure=failure)
            return _Answer(_signal(await verdict if inspect.isawaitable(verdict) else verdict))
        except (Exception, asyncio.CancelledError, ExecutionInterrupted, SystemExit) as error:  # noqa: BLE001 - its own
            return _Answer(failure=error)

    def _answered(self, _: object) -> None:
        self._question = None

    def _take(self, answer: _Answer, state: Interruptible) -> None:
        if answer.failure is not None:
            self._log_once(type(answer.failure).__name__, f"failed: {answer.failure!r}")
            return
        self._trouble = ""
        if answer.signal is not None:
            state.set_signal(answer.signal)

    def _log_once(self, kind: str, trouble: str) -> None:
        if kind != self._trouble:
            self._trouble = kind
            log.error("the interrupt checker %s; the work goes on", trouble)


class CheckerPoller:
    """Asks a checker whenever it is due, while code waits in an event loop. Belongs to that loop."""

    def __init__(self, checker: ExternalChecker, state: Interruptible, loop: asyncio.AbstractEventLoop) -> None:
        self._checker = checker
        self._state = state
        self._loop = loop
        self._asking: asyncio.Task[None] | None = None
        self._stopped = False
        self._timer = loop.call_later(checker.wait, self._go)

    def _go(self) -> None:
        if self._stopped or self._state.is_interrupted:
            return
        if self._checker.due:
            self._asking = self._loop.create_task(self._checker.poll(self._state), name="quiesce-checker")
            self._asking.add_done_callback(self._again)
        else:
            self._again()

    def _again(self, _: object = None) -> None:
        if not self._stopped:
            self._timer = self._loop.call_later(max(self._checker.wait, _MIN_POLL_INTERVAL), self._go)

    def stop(self) -> None:
        """Ask no more, and take back the question that is open."""
        self._stopped = True
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    async def stopped(self) -> None:
        """Wait until the question that was taken back is gone."""
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking])


def _signal(verdict: object) -> InterruptSignal | None:
    if verdict is None or verdict is False:
        return None
    if verdict is True:
        return PlainSignal(
            reason=InterruptReason.CUSTOM, message="the interrupt checker said so", triggered_by="checker"
        )
    if is_signal(verdict):
        return as_signal(verdict)
    raise TypeError(f"an interrupt checker answers bool, InterruptSignal or None, not {type(verdict).__name__}")


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, asyncio.Future[_Outcome]]:
    """Run `function` in a daemon thread: one that hangs holds up neither the loop nor the interpreter's exit.

    The future's result is what it returned and what it raised: not everything can be raised out of a future.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Outcome] = loop.create_future()
    context = contextvars.copy_context()

    def settle(outcome: _Outcome) -> None:
        if not answer.done():
            answer.set_result(outcome)

    def run() -> None:
        try:
            outcome: _Outcome = (context.run(function), None)
        except BaseException as error:  # noqa: BLE001 - it belongs to the one who awaits
            outcome = (None, error)
        call_soon_threadsafe_or_false(loop, settle, outcome)

    thread = threading.Thread(target=run, name="quiesce-checker", daemon=True)
    thread.start()
    return thread, answer
