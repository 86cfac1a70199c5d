"""Interrupt one execution: the latch, the checkpoint, the cancelled await. Shields are in shield.py.

Theory. An `Interruptible` has a flag and, once interrupted, a signal. The first signal wins and never changes.
A signal is set by a call of `set_signal` (a request, an external checker, a monitor), or comes of a source whose flag
is raised without a call: the supervisor's byte, a deadline. Reading tells what is so and changes nothing;
`settle_signal` makes the signal of a raised flag final. It is called by all that act on the signal: a checkpoint that
raises, a loop that wakes its waiters, `set_signal` itself (a flag that was up before was first).

`set_signal` may be called from anywhere: the same thread, another thread, a signal handler. So it takes no lock
(cpython#126434); what must be atomic is one dict.setdefault. Code that sleeps registers a waker; each waker is
called at least once after `set_signal`, by its thread, and must itself be safe to call from anywhere.

The checkpoint reads one attribute. Locally that is False or True; in an executor it is the byte in shared
memory (see flag.py); under a time limit it is a source laid over those (see deadline.py). A settled signal replaces it
by True, so one read serves all, and the flag and the source of its signal cannot disagree.

Code in an event loop uses `when_interrupted`: its callbacks share one waker (see loop_waker.py).

Alternatives rejected: an Event (a lock), a counter (a second read), raising from a thread by
PyThreadState_SetAsyncExc (arrives anywhere, also inside a finally), a latch apart from the state (a second attribute at
every checkpoint), a list of sources beside the flag (two threads that set time limits leave the flag of one and the
list of the other: a checkpoint under a raised flag then finds no signal).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable
from weakref import WeakSet

from runtime.errors import ExecutionInterrupted, find_in_chain
from runtime.interrupt_signal import as_signal
from runtime.interrupts.loop_waker import LoopWaker, on_readable
from runtime.interrupts.shield import Shield, Shields, current_task_or_thread
from runtime.interrupts.supervisor_link import NullLink, SupervisorLink
from runtime.plain_signal import public

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

log = logging.getLogger("quiesce.interrupt")


@runtime_checkable
class InterruptSource(Protocol):
    """What raises the flag without a call of `set_signal`, and stands where the flag stands. Once raised, for good."""

    def __bool__(self) -> bool:
        """Return whether it interrupts. Called at every checkpoint."""
        ...

    def signal(self) -> InterruptSignal:
        """Return the signal behind a raised flag."""
        ...


class Interruptible:
    """Something that can be interrupted once. Base of ExecutionState; usable alone."""

    def __init__(self, host: SupervisorLink | None = None) -> None:
        self.host: SupervisorLink = host or NullLink()
        self._flag: object = self.host.flag
        self._signal_slot: dict[str, InterruptSignal] = {}
        self._wakers: dict[object, Callable[[], object]] = {}
        self._bells: dict[asyncio.AbstractEventLoop, tuple[LoopWaker, list[Callable[[], None]]]] = {}
        self.shields = Shields()
        self._guards: dict[asyncio.Task[Any], CancelOnInterrupt] = {}
        self._once: dict[str, Any] = {}
        """Objects made on first use: `setdefault` is atomic, whatever threads need one at once."""

    # -- looking ------------------------------------------------------------------------------------

    def raise_if_interrupted(self) -> None:
        """Checkpoint: raise ExecutionInterrupted if the flag is up, else do nothing. The hot path.

        Inside a shield it does nothing; leaving the shield is the checkpoint.
        """
        if self._flag:
            self._interrupted()

    @property
    def is_interrupted(self) -> bool:
        """Return whether the flag is raised, shielded or not. Never raises."""
        return bool(self._flag)

    @property
    def interrupt_signal(self) -> InterruptSignal | None:
        """The signal that won, else the one of the source whose flag is raised, else None. Reading changes nothing."""
        return public(self._current_signal())

    def _current_signal(self) -> InterruptSignal | None:
        """Return what `interrupt_signal` shows, as it was made: without pydantic, unless a caller made one with it."""
        source = self._raised_source()
        return self._signal_slot.get("signal") if source is None else source.signal()

    def _raised_source(self) -> InterruptSource | SupervisorLink | None:
        """Return what has raised the flag; None while it is down, and once the signal is settled."""
        flag = self._flag  # read once, and before the slot: another thread may replace it, after it has set the signal
        if not flag or self._signal_slot:
            return None
        return flag if isinstance(flag, InterruptSource) else self.host

    def _interrupted(self) -> None:
        signal = self.settle_signal()
        if signal is not None and not self.is_shielded:
            self._mark_task_raised()
            raise ExecutionInterrupted(signal)

    def _mark_task_raised(self) -> None:
        task = current_task_or_thread()
        if isinstance(task, asyncio.Task):
            tasks = self._once.get("raised_tasks")
            (self._once.setdefault("raised_tasks", WeakSet()) if tasks is None else tasks).add(task)

    def was_raised_in(self, task: asyncio.Task[Any]) -> bool:
        """Return whether a checkpoint has raised in a task, and no code has turned that into a result since.

        Such a task is on its way out: cancelling it too would cut its clean-up short.
        """
        return task in self._once.get("raised_tasks", ())

    def clear_raised(self) -> None:
        """Note that the running task has made its ExecutionInterrupted a result: its next await may be cancelled."""
        tasks = self._once.get("raised_tasks")
        if tasks is not None:
            tasks.discard(current_task_or_thread())

    # -- interrupting -------------------------------------------------------------------------------

    def set_signal(self, signal: InterruptSignal, *, apart: bool = False) -> bool:
        """Interrupt. Return True if this signal is the first; False if another was first, or a source's flag was up.

        Safe from any thread and from a Python signal handler. What is no sound signal becomes one (`as_signal`).
        With `apart`, no subscriber of the program runs in the calling thread.
        """
        signal = as_signal(signal)
        return self.settle_signal(signal, apart=apart) is signal

    def settle_signal(self, default: InterruptSignal | None = None, *, apart: bool = False) -> InterruptSignal | None:
        """Make the signal of a raised flag final, else `default`, and return it; None without both. Thread-safe."""
        if not self._signal_slot:
            source = self._raised_source()
            first = default if source is None else source.signal()
            if first is not None and self._signal_slot.setdefault("signal", first) is first:
                self._flag = True
                for waker in tuple(self._wakers.copy().values()):  # copy is one step; iterating is not
                    waker()
                self._on_settled(apart=apart)
        return self._signal_slot.get("signal")

    def _on_settled(self, *, apart: bool) -> None:
        """Do what follows the first signal, once, in the thread that set it."""

    def _watch(self, flag: object) -> None:
        """Read `flag` at checkpoints from now on: the supervisor's, or an InterruptSource laid over it."""
        self._flag = flag
        if self._signal_slot:  # settled meanwhile: that is for good
            self._flag = True

    def add_waker(self, waker: Callable[[], object]) -> Callable[[], None]:
        """Have `waker` called when this is interrupted, at once if it already is. Returns its remover.

        It may be called twice and from any thread: it must be idempotent and thread-safe.
        """
        key = object()
        self._wakers[key] = waker
        if self._signal_slot or self._flag:  # interrupted before, or between the caller's check and the line above
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
            self._bells[loop] = self._attach_loop(loop)
        bell = self._bells[loop][0]
        unhang = bell.add(callback)

        def remove() -> None:
            unhang()
            if not bell and loop in self._bells and self._bells[loop][0] is bell:
                self._detach_loop(loop)

        return remove

    def _attach_loop(self, loop: asyncio.AbstractEventLoop) -> tuple[LoopWaker, list[Callable[[], None]]]:
        bell = LoopWaker(loop, before=self._on_loop_notified)
        fd = self.host.wake_fd()
        undo = [] if fd is None else [on_readable(loop, fd, bell.wake)]
        undo.append(self.add_waker(bell.wake))
        return bell, undo

    def _on_loop_notified(self) -> None:
        """Settle the signal when a loop has noticed the raised flag; the loop's callbacks come next."""
        self.settle_signal()

    def _detach_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        for undo in self._bells.pop(loop)[1]:
            undo()

    # -- shields ------------------------------------------------------------------------------------

    def shield(self) -> Shield:
        """Return a critical section, `with state.shield():`, for sync and async code. An interrupt waits for its end.

        Leaving the outermost shield is a checkpoint, unless an exception is on its way out of it, or it stood in
        clean-up: in a `finally` or `except` that an interrupt or a cancellation has led to, and must not replace.
        A shield covers what runs inside it, tasks started there included; it does not stop the KILL rung. Do not
        yield inside one: the code that iterates the generator would be in it too.
        """
        return Shield(self)

    @property
    def is_shielded(self) -> bool:
        """Return whether the calling code is in a shield of this state."""
        return self.shields.is_active

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task of this execution: after its shield, and not if a checkpoint has raised in it already."""
        if not self.was_raised_in(task):
            self.shields.call_when_exited(task, task.cancel)


class CancelOnInterrupt:
    """`async with CancelOnInterrupt(state):` cancels the body's await when the state is interrupted.

    The cancellation is turned into ExecutionInterrupted as the body is left. So is what the body's clean-up raised
    on the way, which would pass for a failure; it is logged. A cancellation from outside stays one, also when
    both arrive: the outer one wins, as with asyncio.timeout. A shielded body is left alone; its shield's end raises.
    A body in which a checkpoint has raised is cleaning up, and is left alone too. Nested ones in a task cancel it
    once: the innermost does. Use each one once.
    """

    def __init__(self, state: Interruptible) -> None:
        self._state = state
        self._task: asyncio.Task[Any] | None = None
        self._remove: Callable[[], None] | None = None
        self._outer: CancelOnInterrupt | None = None
        self._inherited = state.is_shielded
        self._cancelling = 0
        self._notified = False
        self._cancelled = False
        self._left = False

    def caused(self, error: BaseException) -> bool:
        """Return whether an error comes of a cancellation of the body, by this guard or from outside."""
        return comes_of_cancellation(error, self._cancelling)

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
        self._notified = True
        if self._left or self._cancelled or self._inherited or self._guards.get(task) is not self:
            return
        if self._state.was_raised_in(task):
            return
        if self._state.shields.covers(task):
            loop = task.get_loop()
            self._state.shields.call_when_exited(task, lambda: loop.call_soon(self._cancel))
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
            if self._outer._notified:  # noqa: SLF001 - it held back for this one
                task.get_loop().call_soon(self._outer._cancel)  # noqa: SLF001

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._task
        assert task is not None
        self._leave(task)
        if not self._cancelled or task.uncancel() > self._cancelling:
            return
        if (
            not isinstance(error, Exception | asyncio.CancelledError)
            or find_in_chain(error, asyncio.CancelledError) is None
        ):
            return
        if isinstance(error, Exception):
            log.warning("clean-up failed after an interrupt: %r", error)
        signal = self._state.settle_signal()
        assert signal is not None
        raise ExecutionInterrupted(signal) from error


def comes_of_cancellation(error: BaseException, before: int = 0) -> bool:
    """Return whether the running task was cancelled, and an error is that or was raised by clean-up on the way.

    Such an error must not be retried. `before` is how many cancellations the task had swallowed already.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > before and find_in_chain(error, asyncio.CancelledError) is not None
