"""How one execution is interrupted: the latch, the checkpoint, the shield, the cancelled await.

Theory. An `Interruptible` has a flag and, once interrupted, a signal. The first signal wins and never changes.
`trip` may be called from anywhere: the same thread, another thread, a signal handler. So it takes no lock
(cpython#126434); what must be atomic is one dict.setdefault. Whoever sleeps registers a waker; each waker is
called at least once after the trip, by the tripping thread, and must itself be safe to call from anywhere.

The checkpoint reads one attribute. Locally that is False or True; in an executor it is the byte in shared
memory (see flag.py). A local trip replaces the byte by True, so one look serves both.

Inside an event loop one asks `when_interrupted`: its callbacks share one waker (see bell.py).

Alternatives rejected: an Event (a lock), a counter (a second read), raising from a thread by
PyThreadState_SetAsyncExc (arrives anywhere, also inside a finally).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from runtime.bell import Bell, watch
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
        self._wakers: dict[object, Callable[[], object]] = {}
        self._bells: dict[asyncio.AbstractEventLoop, tuple[Bell, list[Callable[[], None]]]] = {}
        self._shielded: dict[object, int] = {}
        self._deferred: dict[object, list[Callable[[], object]]] = {}
        self._guards: dict[asyncio.Task[Any], CancelOnInterrupt] = {}
        self._told: WeakSet[Any] | None = None

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
            self.trip(self._raised_by())
        return self._won.get("signal")

    def _raised_by(self) -> InterruptSignal:
        """The signal of a flag that is up although nobody called `trip`."""
        return self.host.signal()

    def _interrupted(self) -> None:
        signal = self.interrupt_signal
        if signal is not None and not self.is_shielded:
            self._tell()
            raise ExecutionInterrupted(signal)

    def _tell(self) -> None:
        place = current_place()
        if isinstance(place, asyncio.Task):
            if self._told is None:
                self._told = WeakSet()
            self._told.add(place)

    def has_told(self, task: asyncio.Task[Any]) -> bool:
        """Whether a checkpoint has raised in a task, and nobody has turned that into a result since.

        Such a task is on its way out: cancelling it too would cut its clean-up short.
        """
        return self._told is not None and task in self._told

    def settle(self) -> None:
        """The running task has turned its ExecutionInterrupted into a result: its next await is fair game again."""
        if self._told is not None:
            self._told.discard(current_place())

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task of this execution gently: after its shield, and not if a checkpoint has told it already."""
        if not self.has_told(task):
            self.once_unshielded(task, task.cancel)

    # -- interrupting -------------------------------------------------------------------------------

    def trip(self, signal: InterruptSignal) -> bool:
        """Interrupt. True if this signal is the one that won; False if another was first.

        Safe from any thread and from a Python signal handler.
        """
        if self._won.setdefault("signal", signal) is not signal:
            return False
        self._flag = True
        for waker in tuple(self._wakers.copy().values()):  # copy is one step; iterating is not
            waker()
        return True

    def add_waker(self, waker: Callable[[], object]) -> Callable[[], None]:
        """Have `waker` called when this is interrupted, at once if it already is. Returns its remover.

        It may be called twice and from any thread: it must be idempotent and thread-safe.
        """
        key = object()
        self._wakers[key] = waker
        if self._won:  # tripped before, or between the caller's look and the line above
            waker()

        def remove() -> None:
            self._wakers.pop(key, None)

        return remove

    def when_interrupted(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called in the running loop once this is interrupted, soon if it already is.

        Returns its remover, to be called in the same loop. Raises RuntimeError without a running loop.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._bells:
            self._bells[loop] = self._hang_bell(loop)
        bell = self._bells[loop][0]
        unhang = bell.add(callback)

        def remove() -> None:
            unhang()
            if not bell and loop in self._bells and self._bells[loop][0] is bell:
                self._take_down_bell(loop)

        return remove

    def _hang_bell(self, loop: asyncio.AbstractEventLoop) -> tuple[Bell, list[Callable[[], None]]]:
        bell = Bell(loop, before=self._heard)
        fd = self.host.wake_fd()
        undo = [] if fd is None else [watch(loop, fd, bell.ring)]
        undo.append(self.add_waker(bell.ring))
        return bell, undo

    def _heard(self) -> None:
        """A loop has heard that the flag is up; its callbacks come next. Looking is what makes the signal final."""
        _ = self.interrupt_signal

    def _take_down_bell(self, loop: asyncio.AbstractEventLoop) -> None:
        for undo in self._bells.pop(loop)[1]:
            undo()

    # -- shields ------------------------------------------------------------------------------------

    def shield(self) -> Shield:
        """A critical section, `with state.shield():`, sync or async. An interrupt waits until it is left.

        Leaving the outermost shield is a checkpoint, unless an exception is on its way out of it, or it stood in
        clean-up: in a `finally` or `except` that an interrupt or a cancellation has led to, and must not replace.
        A shield covers what runs inside it, tasks started there included; it does not stop the KILL rung.
        """
        return Shield(self)

    @property
    def is_shielded(self) -> bool:
        """Whether the code that asks stands in a shield of this state."""
        return any(shield.active and shield.owner is self for shield in _shields.get())

    def is_shielded_in(self, place: object) -> bool:
        """Whether a task (an asyncio.Task) or a thread (its ident) stands in a shield of this state."""
        return place in self._shielded

    def once_unshielded(self, place: object, callback: Callable[[], object]) -> None:
        """Call `callback` when `place` has left its shield: now, or as its outermost shield ends.

        Not called if leaving raises ExecutionInterrupted, or the shield was part of clean-up: that says it already.
        """
        if place in self._shielded:
            self._deferred.setdefault(place, []).append(callback)
        else:
            callback()

    def _enter_shield(self, place: object) -> None:
        self._shielded[place] = self._shielded.get(place, 0) + 1

    def _leave_shield(self, place: object, *, failing: bool, cleaning_up: bool) -> None:
        self._shielded[place] -= 1
        if self._shielded[place]:
            return
        del self._shielded[place]
        deferred = self._deferred.pop(place, [])
        if cleaning_up:
            return
        if not failing:
            self.raise_if_interrupted()
        for callback in deferred:
            callback()


class Shield:
    """The context manager of `Interruptible.shield`. Use each one once."""

    def __init__(self, owner: Interruptible) -> None:
        self.owner = owner
        self.active = False
        self._place: object = None
        self._token: Token[tuple[Shield, ...]] | None = None
        self._cleaning_up = False

    def __enter__(self) -> Self:
        self._place = current_place()
        self._cleaning_up = isinstance(sys.exc_info()[1], ExecutionInterrupted | asyncio.CancelledError)
        self.owner._enter_shield(self._place)  # noqa: SLF001 - the two are one concept in one file
        self.active = True
        self._token = _shields.set((*_shields.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.active = False
        if self._token is not None:
            _shields.reset(self._token)
        self.owner._leave_shield(  # noqa: SLF001
            self._place, failing=error is not None, cleaning_up=self._cleaning_up
        )


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
    alone; its shield's end raises. One that a checkpoint has told already is cleaning up, and is left alone too.
    Nested ones in a task cancel it once: the innermost does. Use each one once.
    """

    def __init__(self, state: Interruptible) -> None:
        self._state = state
        self._task: asyncio.Task[Any] | None = None
        self._remove: Callable[[], None] | None = None
        self._outer: CancelOnInterrupt | None = None
        self._inherited = state.is_shielded
        self._cancelling = 0
        self._rung = False
        self._cancelled = False
        self._left = False

    async def __aenter__(self) -> Self:
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("CancelOnInterrupt must be used inside an asyncio task")
        self._cancelling = task.cancelling()
        self._state.raise_if_interrupted()
        self._remove = self._state.when_interrupted(self._cancel)
        self._outer = self._guards.get(task)
        self._guards[task] = self
        return self

    @property
    def _guards(self) -> dict[asyncio.Task[Any], CancelOnInterrupt]:
        return self._state._guards  # noqa: SLF001 - the two are one concept in one file

    def _cancel(self) -> None:
        """Cancel the body. Only ever called by the loop, so that the cancellation arrives in the next step."""
        task = self._task
        assert task is not None
        self._rung = True
        if self._left or self._cancelled or self._inherited or self._guards.get(task) is not self:
            return
        if self._state.has_told(task):
            return
        if self._state.is_shielded_in(task):
            loop = task.get_loop()
            self._state.once_unshielded(task, lambda: loop.call_soon(self._cancel))
        elif task.cancel():
            self._cancelled = True

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._left = True
        if self._remove is not None:
            self._remove()
        if self._outer is None:
            self._guards.pop(task, None)
        else:
            self._guards[task] = self._outer
            if self._outer._rung:  # noqa: SLF001 - it held back for us
                task.get_loop().call_soon(self._outer._cancel)  # noqa: SLF001

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._task
        assert task is not None
        self._leave(task)
        if not self._cancelled:
            return
        if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            signal = self._state.interrupt_signal
            assert signal is not None
            raise ExecutionInterrupted(signal) from error
