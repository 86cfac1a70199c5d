"""How one execution is interrupted: the latch, the checkpoint, the shield, the cancelled await.

Theory. An `Interruptible` has a flag and, once interrupted, a signal. The first signal wins and never changes.
`trip` may be called from anywhere: the same thread, another thread, a signal handler. So it takes no lock
(cpython#126434); what must be atomic is one dict.setdefault. Whoever sleeps registers a waker; each waker is
called at least once after the trip, by the tripping thread, and must itself be safe to call from anywhere.

The checkpoint reads one attribute. Locally that is False or True; in an executor it is the byte in shared
memory (see flag.py). A local trip replaces the byte by True, so one look serves both.

Alternatives rejected: an Event (a lock), a counter (a second read), raising from a thread by
PyThreadState_SetAsyncExc (arrives anywhere, also inside a finally).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

from runtime.errors import ExecutionInterrupted
from runtime.host import Host, Standalone
from runtime.model import InterruptSignal

_shields: ContextVar[tuple[Shield, ...]] = ContextVar("quiesce_shields", default=())


class Interruptible:
    """Something that can be interrupted once. Base of ExecutionState; usable alone."""

    def __init__(self, host: Host | None = None) -> None:
        self.host: Host = host or Standalone()
        self._flag: object = self.host.flag
        self._won: dict[str, InterruptSignal] = {}
        self._wakers: list[Callable[[], None]] = []
        self._shielded: dict[object, int] = {}

    # -- looking ------------------------------------------------------------------------------------

    def raise_if_interrupted(self) -> None:
        """Checkpoint: raise ExecutionInterrupted if the flag is up, else do nothing. The hot path.

        Inside a shield it does nothing; leaving the shield is the checkpoint.
        """
        if self._flag:
            self._interrupted()

    @property
    def is_interrupted(self) -> bool:
        """Whether the flag is up, shielded or not. Never raises."""
        return bool(self._flag)

    @property
    def interrupt_signal(self) -> InterruptSignal | None:
        """The signal that won, or None."""
        if self._flag and not self._won:
            self.trip(self.host.signal())
        return self._won.get("signal")

    def _interrupted(self) -> None:
        signal = self.interrupt_signal
        if signal is not None and not self.is_shielded:
            raise ExecutionInterrupted(signal)

    # -- interrupting -------------------------------------------------------------------------------

    def trip(self, signal: InterruptSignal) -> bool:
        """Interrupt. True if this signal is the one that won; False if another was first.

        Safe from any thread and from a Python signal handler.
        """
        if self._won.setdefault("signal", signal) is not signal:
            return False
        self._flag = True
        for waker in tuple(self._wakers):
            waker()
        return True

    def add_waker(self, waker: Callable[[], None]) -> Callable[[], None]:
        """Have `waker` called when this is interrupted, at once if it already is. Returns its remover.

        It may be called twice and from any thread: it must be idempotent and thread-safe.
        """
        self._wakers.append(waker)
        if self._won:  # tripped before, or between the caller's look and the append
            waker()

        def remove() -> None:
            if waker in self._wakers:
                self._wakers.remove(waker)

        return remove

    # -- shields ------------------------------------------------------------------------------------

    def shield(self) -> Shield:
        """A critical section, `with state.shield():`, sync or async. An interrupt waits until it is left.

        Leaving the outermost shield is a checkpoint, unless an exception is already on its way. A shield
        covers what runs inside it, tasks started there included; it does not stop the KILL rung.
        """
        return Shield(self)

    @property
    def is_shielded(self) -> bool:
        """Whether the code that asks stands in a shield of this state."""
        return any(shield.active and shield.owner is self for shield in _shields.get())

    def is_shielded_in(self, place: object) -> bool:
        """Whether a task (an asyncio.Task) or a thread (its ident) stands in a shield of this state."""
        return place in self._shielded


class Shield:
    """The context manager of `Interruptible.shield`. Use each one once."""

    def __init__(self, owner: Interruptible) -> None:
        self.owner = owner
        self.active = False
        self._place: object = None
        self._token: Token[tuple[Shield, ...]] | None = None

    def __enter__(self) -> Shield:
        self._place = current_place()
        held = self.owner._shielded  # noqa: SLF001 - the two are one concept in one file
        held[self._place] = held.get(self._place, 0) + 1
        self.active = True
        self._token = _shields.set((*_shields.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self.owner._shielded  # noqa: SLF001
        held[self._place] -= 1
        if not held[self._place]:
            del held[self._place]
        self.active = False
        if self._token is not None:
            _shields.reset(self._token)
        if error is None:
            self.owner.raise_if_interrupted()


def current_place() -> object:
    """What runs now: the asyncio task if there is one, else the thread's ident."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task


class CancelOnInterrupt:
    """`async with CancelOnInterrupt(state):` cancels the body's await when the state is interrupted.

    The cancellation is turned into ExecutionInterrupted as the body is left. A cancellation by somebody else
    stays one, also when both arrive: the outer one wins, as with asyncio.timeout. A shielded body is left
    alone; its shield's end raises. Use each one once.
    """

    def __init__(self, state: Interruptible) -> None:
        self._state = state
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._remove: Callable[[], None] | None = None
        self._cancelling = 0
        self._cancelled = False
        self._left = False

    async def __aenter__(self) -> CancelOnInterrupt:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("CancelOnInterrupt must be used inside an asyncio task")
        self._loop = self._task.get_loop()
        self._cancelling = self._task.cancelling()
        self._state.raise_if_interrupted()
        self._remove = self._state.add_waker(self._wake)
        return self

    def _wake(self) -> None:
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop is closed: there is no await left to cancel
            pass

    def _cancel(self) -> None:
        assert self._task is not None
        if self._left or self._cancelled or self._task.done() or self._state.is_shielded_in(self._task):
            return
        self._cancelled = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        if self._remove is not None:
            self._remove()
        if not self._cancelled:
            return
        assert self._task is not None
        if self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            signal = self._state.interrupt_signal
            assert signal is not None
            raise ExecutionInterrupted(signal) from error
