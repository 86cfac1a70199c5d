"""Run one task inside an executor: its state, its link to the supervisor, and the record of how it ended."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
import traceback
from _thread import LockType
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn

from runtime import native
from runtime.errors import DecodeError, ExecutionInterrupted, ResultError, error_text, find_interrupt
from runtime.execution.state import ExecutionState
from runtime.executor.loop_watch import LoopWatch
from runtime.executor.outbox import EventPipeLost, Outbox
from runtime.executor.threads import Seen, ThreadWatch, names, raise_in, stacks
from runtime.interrupts.interruptible import CancelOnInterrupt
from runtime.interrupts.shield import current_task_or_thread
from runtime.ipc import codec
from runtime.ipc.executor_protocol import (
    Delayed,
    Snapshot,
    Task,
    TaskDone,
    TaskEvent,
    ThreadsEnded,
    ThreadsLeft,
    UpFrame,
)
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import pack
from runtime.model import Event, ExecutionStatus, InterruptReason, InterruptSignal, escape_surrogates

_UNSET: Final = object()
_PLAIN: Final = frozenset({dict, list, str, int, float, bool, type(None)})
_DETAIL_LIMIT = 20_000  # characters of a traceback that are kept

REASON_SECONDS = 2.0
"""Seconds that a task on the TERM rung waits for the reason, which the control thread reads once it gets the GIL."""


LINGER_SECONDS = 1.0
"""Seconds that threads may delay the executor's end before they are named in the log."""

_OVER = InterruptSignal(
    reason=InterruptReason.CUSTOM, message="the task has ended, and its threads must too", triggered_by="executor"
)
_ENDING = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="the executor ends", triggered_by="executor")


@dataclass(frozen=True, slots=True)
class ExecutorResources:
    """The resources that all tasks of one executor share."""

    run_id: str
    slot: int
    flag: InterruptFlag
    raised: object
    wake_fd: int
    outbox: Outbox


class TaskLink:
    """The SupervisorLink of a task's execution state: the shared flag, and the event pipe."""

    def __init__(self, cell: ExecutorResources, task: int, wake_fd: int | None) -> None:
        self.flag: object = cell.raised
        self._wake_fd = wake_fd
        self._cell = cell
        self._task = task

    def signal(self) -> InterruptSignal:
        """Return the signal that the supervisor wrote before it raised the flag."""
        return self._cell.flag.signal(self._cell.slot)

    def wake_fd(self) -> int | None:
        """Return the run's wake-up socket; None where the executor's own loop watches it for every task."""
        return self._wake_fd

    def next_rung_at(self) -> float | None:
        """Return the time of the ladder's next rung (monotonic seconds), or None."""
        return self._cell.flag.next_rung_at()

    def emit(self, event: Event) -> None:
        """Send an event up; waits while the pipe is full. Raises ResultError for data that is not JSON-able."""
        try:
            data = codec.encode_json(event.data)
        except (TypeError, NotImplementedError, ValueError) as error:
            raise ResultError(f"the data of event {event.kind!r} is not JSON-able: {error}") from error
        if len(data) > codec.MAX_VALUE:
            raise ResultError(f"the data of event {event.kind!r} cannot travel: {codec.too_large(len(data))}")
        self._cell.outbox.send(
            TaskEvent(self._task, escape_surrogates(event.kind), escape_surrogates(event.address), event.at, data)
        )

    def save_snapshot(self, snapshot: Any) -> bool:
        """Send a snapshot up; it is handed back when the task runs again."""
        self._cell.outbox.send(Snapshot(self._task, *codec.encode_for_readers(snapshot)))
        return True


@dataclass(slots=True)
class _Running:
    """A task between its beginning and its TaskDone.

    `finished`: the agent has returned or raised. `raised`: the TERM rung has raised in it. `term_deferred`: the rung
    came and did not raise, because its reason was not known yet, or because the task had finished. `term_resolved`: it
    is decided whether the task's end is its own or was cut short (`cut_short_by`); a rung that comes later, to its
    clean-up, changes nothing. `threads`: what other threads did when it began; `looks`: how often in a row no thread of
    its own was found since it ended.
    """

    order: Task
    state: ExecutionState
    started_at: float
    began: float
    unreadable: BaseException | None = None
    finished: bool = False
    raised: bool = False
    term_deferred: bool = False
    term_resolved: bool = False
    cut_short_by: ExecutionInterrupted | None = None
    threads: Seen = field(default_factory=dict)
    looks: int = 0

    def check(self) -> None:
        """Check the task before the agent runs. Raises ResultError for an unreadable snapshot, ExecutionInterrupted."""
        if isinstance(self.unreadable, DecodeError):
            error = self.unreadable
            raise DecodeError(error.type_name, error.reason, "the snapshot") from error
        if self.unreadable is not None:
            raise ResultError(f"the snapshot cannot be read: {error_text(self.unreadable)}") from self.unreadable
        self.state.raise_if_interrupted()


_current: ContextVar[_Running | None] = ContextVar("quiesce_current_task", default=None)


def _task_of(context: Context) -> int:
    running = context.get(_current)
    return 0 if running is None else running.order.task


class TaskRunner:
    """Runs tasks and interrupts them. `run` and `run_async` belong to the main thread; the rest to any."""

    def __init__(self, cell: ExecutorResources, is_term_coming: Callable[[], bool]) -> None:
        self._cell = cell
        self._is_term_coming = is_term_coming
        self._running: dict[int, _Running] = {}
        self._sync: _Running | None = None  # for code that runs in a context of its own (contextvars, greenlets)
        self._pending_interrupts: dict[int, tuple[Task, InterruptSignal]] = {}
        self._left: dict[int, _Running] = {}  # ended, but for their threads
        self.threads = ThreadWatch(lambda context: context.get(_current))
        self._leaving_since: float | None = None
        self.loop_watch = LoopWatch(_task_of)
        self.keep_tracing()

    # -- interrupting -------------------------------------------------------------------------------

    def interrupt(self, order: Task, signal: InterruptSignal) -> None:
        """Interrupt one task that was taken: now, or as soon as it begins."""
        if order.task not in self._running:
            self._pending_interrupts[order.task] = order, signal
        running = self._running.get(order.task)  # looked up again: it may have begun in between
        if running is not None:
            running.state.set_signal(signal, apart=True)

    def interrupt_all(self, signal: InterruptSignal) -> None:
        """Interrupt every running task. Safe in a signal handler."""
        for running in tuple(self._running.values()):
            running.state.set_signal(signal, apart=True)

    def notice_flag(self) -> None:
        """Wake every running task's waiters because the shared flag is up."""
        for running in tuple(self._running.values()):
            _ = running.state.interrupt_signal  # reading it sets the signal

    def raise_in_main_thread(self) -> None:
        """Raise ExecutionInterrupted (the TERM rung) in the main thread's code, if that is a task's.

        Held back by a shield (whose end raises) and while a frame is being written. At most once a task.
        """
        running = _current.get() or self._sync
        if running is None or running.finished:  # an exception in the runner's own clean-up would be lost
            for one in tuple(self._running.values()):
                one.term_deferred |= one.finished and not one.term_resolved
            return
        if running.raised:
            return
        if running.state.is_shielded or running.state.shields.covers(current_task_or_thread()):
            running.state.shields.term_pending = True
            return
        if self._cell.outbox.is_writing:
            self._cell.outbox.on_written = self.raise_in_main_thread
            return
        signal = running.state.interrupt_signal
        if signal is None:
            running.term_deferred = True
            return
        running.raised = True
        raise ExecutionInterrupted(signal)

    def raise_in_threads(self) -> bool:
        """Raise (the TERM rung) in threads of interrupted tasks and, at the end, in those that the executor waits for.

        Beside tasks that go on, only in threads that are certainly not theirs. Return whether there were any.
        """
        told = False
        beside = any(one.state.interrupt_signal is None for one in self._running.values())
        for one in (*self._running.values(), *self._left.values()):
            signal = one.state.interrupt_signal
            if signal is None:
                continue
            for ident in self.threads.of(one, one.threads, certain=beside):
                if one.state.shields.covers(ident):
                    one.state.shields.term_pending = True
                else:
                    raise_in(ident, signal)
                told = True
        if self._leaving_since is not None:
            for ident in self.threads.lingering():
                raise_in(ident, _ENDING)
        return told

    # -- threads that tasks have left ---------------------------------------------------------------

    @property
    def has_threads_left(self) -> bool:
        """Return whether threads of a task that has ended still run: no task may begin meanwhile."""
        return bool(self._left)

    @property
    def must_look(self) -> bool:
        """Return whether `look_at_threads` must be called again soon."""
        return bool(self._left) or self._leaving_since is not None

    def begin_leaving(self) -> None:
        """Note that the executor ends: from now on it waits for threads, as every program does."""
        self._leaving_since = time.monotonic()
        self._cell.outbox.ring()

    def look_at_threads(self) -> bool:
        """Report threads that ended or delay the end; return whether any ended. For the control thread."""
        over = [task for task, one in tuple(self._left.items()) if self._is_rid_of_threads(one)]
        for task in over:
            self._cell.outbox.send(ThreadsEnded(task))
            self._left.pop(task, None)
        if self._leaving_since is not None and time.monotonic() - self._leaving_since > LINGER_SECONDS:
            self._leaving_since = float("inf")  # reported once
            frames = self.threads.lingering()
            if frames:
                self._cell.outbox.send(Delayed(names(frames), stacks(frames)))
        return bool(over)

    def _is_rid_of_threads(self, running: _Running) -> bool:
        """Return whether two checks in a row found none: at one of them a pool's thread may be between two items."""
        running.looks = 0 if self.threads.of(running, running.threads) else running.looks + 1
        return running.looks > 1

    def _report_threads(self, running: _Running) -> None:
        """Interrupt and report the threads that a task without a result has left; its end waits for them."""
        frames = self.threads.of(running, running.threads)
        if not frames:
            return
        if running.state.interrupt_signal is None:
            running.state.set_signal(_OVER)
        self._cell.outbox.send(ThreadsLeft(running.order.task, names(frames), stacks(frames)))
        self._left[running.order.task] = running
        self._cell.outbox.ring()

    def _resolve_term(self, running: _Running) -> None:
        if not running.term_resolved:
            running.cut_short_by = self._cut_short(running)
            running.term_resolved = True

    def _cut_short(self, running: _Running) -> ExecutionInterrupted | None:
        """Return the interrupt of a task that was in C code on the TERM rung; else None.

        Such code may return early from a system call that the rung's signals ended, and its value or error is then not
        what it would have been.
        """
        if running.raised or not (
            self._is_term_coming() or running.term_deferred
        ):  # in this order: the handler changes both
            return None
        unknown = native.allocate_lock()
        unknown.acquire()
        forget = running.state.add_waker(partial(_release, unknown))
        unknown.acquire(timeout=REASON_SECONDS)
        forget()
        signal = running.state.interrupt_signal  # None: it was for the task before
        return None if signal is None else ExecutionInterrupted(signal)

    def warm_up(self) -> None:
        """Run the code of an interrupt once, without a task.

        After a fork the first use of any code copies the memory that it touches: about a millisecond here, which would
        otherwise be part of every executor's answer to a real interrupt.
        """
        signal = InterruptSignal(reason=InterruptReason.CUSTOM, message="rehearsal")
        state = ExecutionState(state_id="rehearsal")
        state.set_signal(InterruptSignal.model_validate_json(signal.model_dump_json()))
        with suppress(ExecutionInterrupted):
            state.sleep(0)
        running = _Running(Task(0, "", 0, 1, b"null", codec.JSON), state, time.time(), time.perf_counter())
        try:
            state.raise_if_interrupted()
        except ExecutionInterrupted as error:
            pack(UpFrame(0, [self._end(running, _UNSET, error)]))

    # -- tracing ------------------------------------------------------------------------------------

    def keep_tracing(self) -> None:
        """Keep the present trace and profile functions (a debugger, coverage) between tasks."""
        self._tracer, self._profiler = sys.gettrace(), sys.getprofile()

    # -- running ------------------------------------------------------------------------------------

    def run(self, order: Task, agent: Callable[[Any, Any], Any]) -> TaskDone:
        """Execute a sync agent's task. Raises only EventPipeLost."""
        running = self._begin(order, self._cell.wake_fd)
        value: Any = _UNSET
        token = _current.set(running)
        self._sync = running
        try:
            running.check()
            value = agent(codec.decode(order.input, order.encoding), running.state)
        except BaseException as error:  # noqa: BLE001 - sys.exit and the like fail the task, not the executor
            running.finished = True
            self._sync = None
            try:
                if sys.gettrace() is not self._tracer or sys.getprofile() is not self._profiler:
                    sys.settrace(self._tracer)
                    sys.setprofile(self._profiler)
            except BaseException:  # noqa: BLE001 - its profiler raised, and is no more
                sys.settrace(self._tracer)
                sys.setprofile(self._profiler)
            _current.reset(token)
            return self._end(running, value, error)
        running.finished = True  # CPython runs no signal handler between the agent's return and here: no call, no jump
        self._sync = None
        try:  # before anything of ours is called: the task's own tracer would be called there, and might raise
            if sys.gettrace() is not self._tracer or sys.getprofile() is not self._profiler:
                sys.settrace(self._tracer)
                sys.setprofile(self._profiler)
        except BaseException:  # noqa: BLE001 - its profiler raised, and is no more
            sys.settrace(self._tracer)
            sys.setprofile(self._profiler)
        _current.reset(token)
        return self._end(running, value, None)

    async def run_async(self, order: Task, agent: Callable[[Any, Any], Any]) -> TaskDone:
        """Execute an async agent's task. Raises EventPipeLost, and CancelledError if itself is cancelled."""
        running = self._begin(order, None)  # the executor itself watches the pipe, and wakes every task
        value: Any = _UNSET
        _current.set(running)  # this asyncio task's own context: nothing to reset
        try:
            running.check()
            async with CancelOnInterrupt(running.state):
                value = await agent(codec.decode(order.input, order.encoding), running.state)
        except BaseException as error:  # noqa: BLE001
            running.finished = True
            _current.set(None)
            await running.state.aclose()
            return self._end(running, value, error)
        running.finished = True
        _current.set(None)
        self._resolve_term(running)
        await running.state.aclose()
        return self._end(running, value, None)

    def _begin(self, order: Task, wake_fd: int | None) -> _Running:
        snapshot, unreadable = None, None
        if order.snapshot is not None:
            try:
                snapshot = codec.decode(order.snapshot, order.snapshot_encoding)
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - it fails the task only
                unreadable = error
        host = TaskLink(self._cell, order.task, wake_fd)
        state = ExecutionState(state_id=f"{self._cell.run_id}:{order.key}", host=host, snapshot=snapshot)
        running = _Running(order, state, time.time(), time.perf_counter(), unreadable)
        running.threads = self.threads.look()
        self._running[order.task] = running
        if self._pending_interrupts:
            of, signal = self._pending_interrupts.pop(order.task, (None, None))
            if of is order and signal is not None:  # not one that came too late for an earlier attempt
                state.set_signal(signal)
        return running

    def _end(self, running: _Running, value: Any, error: BaseException | None) -> TaskDone:
        if (
            not self._cell.outbox.is_mine
        ):  # a child that the agent forked has returned: it must not take the executor's orders
            _end_fork(error)
        if value is not _UNSET and not isinstance(error, EventPipeLost):
            error = None  # an interrupt after the last line of the agent comes too late: it is finished
        self._resolve_term(running)
        interrupted = (find_interrupt(error) if error is not None else None) or running.cut_short_by
        self._running.pop(running.order.task, None)
        running.state.close()
        if isinstance(error, EventPipeLost):
            raise error
        if interrupted is not None:
            done = self._interrupted(running, interrupted, error or interrupted)
        else:
            done = self._completed(running, value) if error is None else self._failed(running, error)
        if done.status != ExecutionStatus.COMPLETED:
            self._report_threads(running)
        return done

    def _completed(self, running: _Running, value: Any) -> TaskDone:
        try:
            encoded = _encode_result(value)
        except ResultError as error:
            return _done(running, ExecutionStatus.FAILED, error=f"the result cannot be kept: {error}")
        except BaseException as error:  # noqa: BLE001 - SystemExit out of a __reduce__: the task's, not the executor's
            why = error_text(error) or type(error).__name__
            line = f"the result cannot be kept: {why}"
            return _done(running, ExecutionStatus.FAILED, error=line, detail=_detail(error))
        return _done(running, ExecutionStatus.COMPLETED, encoded)

    def _interrupted(self, running: _Running, interrupted: ExecutionInterrupted, error: BaseException) -> TaskDone:
        plain = error is interrupted and isinstance(error.__cause__, asyncio.CancelledError | None)
        detail = None if plain else _detail(error)
        signal = interrupted.signal.model_dump_json().encode()
        return _done(running, ExecutionStatus.INTERRUPTED, error=str(interrupted), detail=detail, signal=signal)

    def _failed(self, running: _Running, error: BaseException) -> TaskDone:
        text = error_text(error)
        name = escape_surrogates(type(error).__name__)
        line = f"{name}: {text}" if text else name
        return _done(running, ExecutionStatus.FAILED, error=line, detail=_detail(error))


def _release(lock: LockType) -> None:
    with suppress(RuntimeError):  # it is, already
        lock.release()


def _done(
    running: _Running,
    status: ExecutionStatus,
    encoded: codec.Encoded | None = None,
    *,
    error: str | None = None,
    detail: str | None = None,
    signal: bytes | None = None,
) -> TaskDone:
    seconds = time.perf_counter() - running.began
    task = running.order.task
    data, encoding, projection = encoded or (None, "", None)
    return TaskDone(task, status, data, encoding, error, detail, running.started_at, seconds, signal, projection)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End a child that the agent forked, as the end of a program would: `sys.exit` has its usual meaning."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = (error.code or 0) & 0xFF
    try:
        if isinstance(error, SystemExit) and code == 1 and not isinstance(error.code, int):
            sys.stderr.write(f"{error.code}\n")
        elif error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # whatever its streams or its error say to that: it must not go back into the executor's loop
        os._exit(code)


def _encode_result(value: Any) -> codec.Encoded:
    if type(value) not in _PLAIN and (
        inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value)
    ):
        if asyncio.iscoroutine(value):
            value.close()
        raise ResultError(
            f"the agent returned a {type(value).__name__}; declare it `async def`, or return a plain value"
        )
    return codec.encode_for_readers(value)


def _detail(error: BaseException) -> str:
    """Return the traceback without this module's own frames; of a long one the end."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return escape_surrogates("".join(traceback.format_exception(type(error), error, trace))[-_DETAIL_LIMIT:])
