"""Run tasks inside an executor, interrupt them, and find out how each ended."""

from __future__ import annotations

import sys
import time
from _thread import LockType
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from runtime import native
from runtime.errors import ExecutionInterrupted, find_interrupt
from runtime.execution.state import ExecutionState
from runtime.executor import task_record
from runtime.executor.forks import end_fork
from runtime.executor.lingering_threads import LingeringThreads
from runtime.executor.loop_watch import LoopWatch
from runtime.executor.outbox import EventPipeLost
from runtime.executor.running_task import RunningTask
from runtime.executor.task_link import ExecutorResources, TaskLink
from runtime.executor.threads import ThreadWatch, raise_in
from runtime.interrupts.interruptible import CancelOnInterrupt
from runtime.interrupts.shield import current_task_or_thread
from runtime.ipc import codec
from runtime.ipc.executor_protocol import Task, TaskDone, UpFrame
from runtime.ipc.frames import pack
from runtime.plain_signal import PlainSignal, decode_signal
from runtime.reasons import InterruptReason
from runtime.statuses import ExecutionStatus
from runtime.stop_limits import REASON_TIMEOUT

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

_UNSET: Final = object()

_current: ContextVar[RunningTask | None] = ContextVar("quiesce_current_task", default=None)


def _task_of(context: Context) -> int:
    running = context.get(_current)
    return 0 if running is None else running.order.task


class TaskRunner:
    """Runs tasks and interrupts them. `run` and `run_async` belong to the main thread; the rest to any."""

    def __init__(self, cell: ExecutorResources, is_term_coming: Callable[[], bool]) -> None:
        self._cell = cell
        self.undo = cell.undo
        self._is_term_coming = is_term_coming
        self._running: dict[int, RunningTask] = {}
        self._sync: RunningTask | None = None  # for code that runs in a context of its own (contextvars, greenlets)
        self._pending_interrupts: dict[int, tuple[Task, InterruptSignal]] = {}
        self.threads = ThreadWatch(lambda context: context.get(_current))
        self.lingering = LingeringThreads(self.threads, cell.outbox)
        self.loop_watch = LoopWatch(_task_of)
        self.keep_tracing()

    def current_task(self) -> int:
        """Return the number of the task that the calling code works for, 0 if that is not known."""
        running = _current.get() or self._sync
        if running is None and len(self._running) == 1:  # a thread without the context
            running = next(iter(tuple(self._running.values())), None)
        return 0 if running is None else running.order.task

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
            running.state.settle_signal()

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
        signal = running.state.settle_signal()
        if signal is None:
            running.term_deferred = True
            return
        running.raised = True
        raise ExecutionInterrupted(signal)

    def raise_in_threads(self) -> bool:
        """Raise (the TERM rung) in threads of interrupted tasks and, at the end, in those that the executor waits for.

        Beside tasks that go on, only in threads that are certainly not theirs. Return whether there were any.
        """
        has_raised = False
        beside = any(not one.state.is_interrupted for one in self._running.values())
        for one in (*self._running.values(), *self.lingering.tasks):
            signal = one.state.settle_signal()
            if signal is None:
                continue
            for ident in self.threads.of(one, one.threads, certain=beside):
                if one.state.shields.covers(ident):
                    one.state.shields.term_pending = True
                else:
                    raise_in(ident, signal)
                has_raised = True
        self.lingering.raise_at_end()
        return has_raised

    # -- the TERM rung and the end of a task --------------------------------------------------------

    def _resolve_term(self, running: RunningTask) -> None:
        if not running.term_resolved:
            running.cut_short_by = self._cut_short(running)
            running.term_resolved = True

    def _cut_short(self, running: RunningTask) -> ExecutionInterrupted | None:
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
        unknown.acquire(timeout=REASON_TIMEOUT)
        forget()
        signal = running.state.settle_signal()  # None: it was for the task before
        return None if signal is None else ExecutionInterrupted(signal)

    def warm_up(self) -> None:
        """Run the code of an interrupt once, without a task.

        After a fork the first use of any code copies the memory that it touches: about a millisecond here, which would
        otherwise be part of every executor's answer to a real interrupt.
        """
        signal = PlainSignal(reason=InterruptReason.CUSTOM, message="rehearsal")
        state = ExecutionState(state_id="rehearsal")
        state.set_signal(decode_signal(signal.model_dump_json()))
        with suppress(ExecutionInterrupted):
            state.sleep(0)
        running = RunningTask(Task(0, "", 0, 1, b"null", codec.JSON), state, time.time(), time.perf_counter())
        try:
            state.raise_if_interrupted()
        except ExecutionInterrupted as error:
            pack(UpFrame(0, [self._end(running, _UNSET, error)]))

    # -- tracing ------------------------------------------------------------------------------------

    def keep_tracing(self) -> None:
        """Keep the present trace and profile functions (a debugger, coverage) between tasks."""
        self._tracer, self._profiler = sys.gettrace(), sys.getprofile()

    # -- running ------------------------------------------------------------------------------------

    def run(self, order: Task, agent: Callable[[Any, Any], Any], resource: Any = None) -> TaskDone:
        """Execute a sync agent's task. Raises only EventPipeLost."""
        running = self._begin(order, self._cell.wake_fd, resource)
        value: Any = _UNSET
        token = _current.set(running)
        self._sync = running
        try:
            running.check()
            value = agent(running.decode_input(), running.state)
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

    async def run_async(self, order: Task, agent: Callable[[Any, Any], Any], resource: Any = None) -> TaskDone:
        """Execute an async agent's task. Raises EventPipeLost, and CancelledError if itself is cancelled."""
        running = self._begin(order, None, resource)  # the executor itself watches the pipe, and wakes every task
        value: Any = _UNSET
        _current.set(running)  # this asyncio task's own context: nothing to reset
        try:
            running.check()
            async with CancelOnInterrupt(running.state):
                value = await agent(running.decode_input(), running.state)
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

    def _begin(self, order: Task, wake_fd: int | None, resource: Any) -> RunningTask:
        snapshot, unreadable = None, None
        if order.snapshot is not None:
            try:
                snapshot = codec.decode(order.snapshot, order.snapshot_encoding)
            except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - it fails the task only
                unreadable = error
        host = TaskLink(self._cell, order.task, order.attempt, wake_fd)
        state = ExecutionState(
            state_id=f"{self._cell.run_id}:{order.key}",
            host=host,
            snapshot=snapshot,
            key=order.key,
            attempt=order.attempt,
            run_id=self._cell.run_id,
            slot=self._cell.slot,
            resource=resource,
        )
        running = RunningTask(order, state, time.time(), time.perf_counter(), unreadable)
        running.threads = self.threads.look()
        self._running[order.task] = running
        if self._pending_interrupts:
            of, signal = self._pending_interrupts.pop(order.task, (None, None))
            if of is order and signal is not None:  # not one that came too late for an earlier attempt
                state.set_signal(signal)
        return running

    def _end(self, running: RunningTask, value: Any, error: BaseException | None) -> TaskDone:
        if (
            not self._cell.outbox.is_mine
        ):  # a child that the agent forked has returned: it must not take the executor's orders
            end_fork(error)
        if value is not _UNSET and not isinstance(error, EventPipeLost):
            error = None  # an interrupt after the last line of the agent comes too late: it is finished
        self._resolve_term(running)
        interrupted = (find_interrupt(error) if error is not None else None) or running.cut_short_by
        self._running.pop(running.order.task, None)
        running.state.close()
        if isinstance(error, EventPipeLost):
            raise error
        if interrupted is not None:
            done = task_record.make_interrupted(running, interrupted, error or interrupted)
        elif error is not None:
            done = task_record.make_failed(running, error)
        else:
            done = task_record.make_completed(running, value)
        if done.status != ExecutionStatus.COMPLETED:
            self.lingering.report(running)
        return done


def _release(lock: LockType) -> None:
    with suppress(RuntimeError):  # it is, already
        lock.release()
