"""What runs inside an executor process: the main loop, the signals, the control thread.

The main thread runs sync agents itself, and async agents on an event loop, `concurrency` many at once. It reads
its own orders, so a tiny task costs no thread switch. The control thread (control.py) interrupts single tasks, returns
tasks that have not begun, and writes the heartbeat.

The end: the flag is raised (or FinishAndExit comes, or the orders' pipe ends) → running tasks are interrupted at their
checkpoints or awaits → tasks that have not begun are returned → Leaving → atexit hooks → exit.
"""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import os
import random
import select
import signal
import sys
import threading
import time

# those of `signal` make enums of every answer, which is a sixth of a tiny task
from _signal import getsignal, pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import msgspec

from runtime import native
from runtime.agents import AgentInfo
from runtime.errors import ExecutionInterrupted
from runtime.executor.async_tasks import AsyncTaskSet
from runtime.executor.child_identity import ChildIdentity, IdentityFinder
from runtime.executor.control import ControlThread
from runtime.executor.forks import reset_handlers_in_forks
from runtime.executor.garbage import end_executor
from runtime.executor.inbox import Inbox
from runtime.executor.loader import AgentLoadError, InterruptibleImport, load
from runtime.executor.outbox import EventPipeLost, Outbox
from runtime.executor.requested_stacks import write_requested_stacks
from runtime.executor.restoration import CannotRestore, Surroundings
from runtime.executor.task_link import ExecutorResources
from runtime.executor.task_runner import TaskRunner
from runtime.executor.threads import give_context_to_pools
from runtime.heap import trim_heap
from runtime.ipc.executor_protocol import (
    BROKEN,
    AgentLoaded,
    AgentLoadFailed,
    Drop,
    FinishAndExit,
    Leaving,
    LoadAgent,
    Ready,
    Started,
    Task,
    TasksReturned,
)
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.frames import VERSION
from runtime.ipc.guardian_protocol import Inheritance
from runtime.ipc.inheritance import take_over
from runtime.ipc.main_module import take_over_main
from runtime.ipc.signals import STACK_DUMP_SIGNALS
from runtime.model import InterruptReason, InterruptSignal
from runtime.process import marks, parent_process
from runtime.stop_limits import TERM_TIMEOUT

_SIGTERM, _SIGINT = int(signal.SIGTERM), int(signal.SIGINT)

TERM_LOOK = 0.001
"""Seconds between two checks for a SIGTERM that the guardian has announced."""


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """The identity and settings of one executor. `parent_fd` becomes readable when the supervisor dies; may be None.

    `pipe_key` is in every frame on its pipes (frames.py). `heartbeat`: seconds between two heartbeats.
    """

    slot: int
    incarnation: int
    run_id: str
    concurrency: int
    inheritance: Inheritance
    wake_fd: int
    parent_fd: int | None = None
    pipe_key: int = 0
    heartbeat: float = 1.0


def main(
    place: ExecutorConfig,
    flag: InterruptFlag,
    tasks_fd: int,
    control_fd: int,
    events_fd: int,
    stdout_fd: int,
    stderr_fd: int,
) -> int:
    """Run an executor and return its exit code. Signals are blocked when this is called, and handled afterwards."""
    flag.restrict(place.slot)
    os.setsid()
    marks.mark_slot(place.slot, place.incarnation)
    _redirect(stdout_fd, stderr_fd)
    random.seed()
    inheritance = place.inheritance
    take_over(inheritance)
    identity = ChildIdentity(place.slot, inheritance.pid, place.parent_fd)
    IdentityFinder(identity, inheritance.packages).install()
    take_over_main()
    outbox = Outbox(events_fd, place.pipe_key)
    inbox = Inbox(tasks_fd, place.pipe_key, lambda why: end_executor(outbox, "tasks", why))
    executor = Executor(place, flag, inbox, outbox)
    executor.install_signal_handlers()
    reset_handlers_in_forks(executor.handlers)
    executor.start_control_thread(control_fd)
    code = 0
    executor.warm_up()
    try:
        outbox.send(Ready(VERSION, os.getpid()))
        executor.run()
        outbox.send(Leaving())
    except EventPipeLost:
        sys.stderr.write("quiesce: the agent closed or replaced the executor's pipes; it cannot go on\n")
        code = BROKEN
    _run_exit_hooks(outbox)
    parent_process.wake_parent()  # the guardian may be stopped, and must reap this executor and perhaps take over
    return code


def _redirect(stdout_fd: int, stderr_fd: int) -> None:
    """Connect the standard streams: /dev/null as input, pipes to the supervisor as output, flushed at every line."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(source, target)
        os.close(source)
    for stream, fd in (("stdout", 1), ("stderr", 2)):
        text = open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, stream, text)
        setattr(sys, f"__{stream}__", text)
    _arm_faulthandler()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STACK_DUMP_SIGNALS)


def _arm_faulthandler() -> None:
    """Enable faulthandler, also again after a task: an agent may have disabled it or taken its signals.

    Each thread writes its own stack alone: without the GIL those of others cannot be read (stacks.py).
    """
    faulthandler.enable(file=2)
    for signum in STACK_DUMP_SIGNALS:
        faulthandler.unregister(signum)
        faulthandler.register(signum, file=2, all_threads=False)


def _run_exit_hooks(outbox: Outbox) -> None:
    """Do what the interpreter does at exit: wait for threads and pools, run the atexit hooks, flush.

    Py_FinalizeEx does this in the same order; the guardian's fork leaves by os._exit, which does none of it. The ladder
    bounds it.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    except BaseException:  # noqa: BLE001 - one pool's hook failed: the others still run
        sys.excepthook(*sys.exc_info())
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit, which follows, runs none of them
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # the agent closed them, or their reader is gone
        pass
    outbox.close()


class Executor:
    """One incarnation of one slot."""

    def __init__(self, place: ExecutorConfig, flag: InterruptFlag, inbox: Inbox, outbox: Outbox) -> None:
        self._place = place
        self._flag = flag
        self._flag_byte = flag.byte(place.slot)
        self._inbox = inbox
        self._outbox = outbox
        self._agents: dict[int, tuple[Callable[[Any, Any], Any], AgentInfo]] = {}
        self._tasks = TaskRunner(
            ExecutorResources(
                run_id=place.run_id,
                slot=place.slot,
                flag=flag,
                raised=self._flag_byte,
                wake_fd=place.wake_fd,
                outbox=outbox,
            ),
            self._is_term_coming,
        )
        self._asked_to_end = False
        self._session_task: asyncio.Task[None] | None = None
        self._is_broken = False
        self._has_dropped = False
        self._loading = False
        self._surroundings: Surroundings | None = None
        self._handler = self._on_term
        # `_ignore` is not SIG_IGN: that would be inherited by what the agent execs
        self.handlers = {signal.SIGINT: _ignore, signal.SIGHUP: _ignore, signal.SIGTERM: self._handler}
        self._wake_pipe = os.pipe()
        for end in self._wake_pipe:
            os.set_blocking(end, False)

    # -- signals ------------------------------------------------------------------------------------

    def install_signal_handlers(self) -> None:
        """Install the handlers, then unblock the signals, so that none is lost. Only the supervisor acts on SIGINT."""
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.handlers)

    def _on_term(self, _signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM. On the TERM rung raise in the main thread; else interrupt all tasks, then end.

        An agent that is being loaded has no checkpoint and nothing to lose: loading is interrupted here.
        """
        is_rung = self._flag.is_term_rung(self._place.slot)
        self._flag.unmark_term(self._place.slot)
        write_requested_stacks(self._flag, self._place.slot, frame)  # as they are before the exception
        raised = bool(self._flag_byte)
        if raised and self._loading:
            raise ExecutionInterrupted(self._flag.signal(self._place.slot))
        if is_rung:
            # threads that were ended by force may leave locks held: this executor takes no more tasks
            self._asked_to_end = self._tasks.raise_in_threads() or self._asked_to_end
            self._wake_main()
            self._tasks.raise_in_main_thread()
        if is_rung or raised:  # the flag carries the reason
            return
        self._asked_to_end = True
        self._wake_main()
        self._tasks.interrupt_all(
            InterruptSignal(
                reason=InterruptReason.SYSTEM_SHUTDOWN,
                message="the executor was sent SIGTERM",
                triggered_by="signal:SIGTERM",
            )
        )

    def _is_term_coming(self) -> bool:
        """Return whether the SIGTERM of the TERM rung is still to come to this class's handler."""
        return self._flag.is_term_rung(self._place.slot) and getsignal(_SIGTERM) == self._handler

    def warm_up(self) -> None:
        """Run the code of an interrupt once (TaskRunner.warm_up)."""
        self._tasks.warm_up()

    # -- the main thread ----------------------------------------------------------------------------

    def start_control_thread(self, fd: int) -> None:
        """Start the control thread. `fd`: the control pipe."""
        place = self._place
        parts = (self._flag, self._inbox, self._outbox, self._tasks)
        wakes = (self._wake_main, self._interrupt_blocked_syscall)
        thread = ControlThread(fd, place.slot, *parts, *wakes, place.pipe_key, heartbeat=place.heartbeat).start()
        self._tasks.threads.disregard(thread)

    def _interrupt_blocked_syscall(self) -> None:
        """End the main thread's system call if SIGTERM came and its handler does not run. For the control thread.

        A SIGTERM between the interpreter's last check for signals and the call does not end the call, and the handler
        would wait until the call returns. SIGINT is ignored here, but ends the call.
        """
        if self._is_term_coming() and getsignal(_SIGINT) == _ignore:
            signal.pthread_kill(native.MAIN_THREAD, signal.SIGINT)

    def _wake_main(self) -> None:
        """Make the main thread check for orders again. Safe in a signal handler."""
        with suppress(BlockingIOError):  # full: it will check anyway
            os.write(self._wake_pipe[1], b"!")

    def _drain_wake_pipe(self) -> None:
        """Empty the wake-up pipe."""
        with suppress(BlockingIOError):
            os.read(self._wake_pipe[0], 4096)

    @property
    def _ending(self) -> bool:
        return bool(self._flag_byte) or self._asked_to_end

    def run(self) -> None:
        """Execute tasks until the flag is raised, or all are done after FinishAndExit or the end of the orders."""
        poll = select.poll()
        poll.register(self._inbox.fd, select.POLLIN)
        poll.register(self._place.wake_fd, select.POLLIN)
        poll.register(self._wake_pipe[0], select.POLLIN)
        with asyncio.Runner() as runner:
            give_context_to_pools(runner.get_loop())
            while not self._ending:
                if self._tasks.lingering.is_any_left:
                    self._wait_for_threads()
                    continue
                order = self._inbox.take()
                if isinstance(order, Task):
                    if self._is_async(order):
                        self._run_session(runner, order)
                    else:
                        self._run_sync(order)
                elif isinstance(order, LoadAgent):
                    self._load_agent(order)
                elif isinstance(order, Drop):
                    self._agents.pop(order.agent, None)
                    self._has_dropped = True
                elif isinstance(order, FinishAndExit) or self._inbox.closed:
                    break
                else:
                    self._give_memory_back()
                    poll.poll()
                    self._drain_wake_pipe()
                    self._inbox.fill()
            self._tasks.lingering.begin_leaving()
            runner.run(_noop())  # so that what the agents left on the loop is cancelled as the runner closes
        self._return_unstarted()

    def _give_memory_back(self) -> None:
        """Return memory to the host after agents were dropped, when there is nothing else to do."""
        if self._has_dropped:
            self._has_dropped = False
            trim_heap()

    def _wait_for_threads(self) -> None:
        """Begin no task while threads of a task that has ended still run."""
        poll = select.poll()
        poll.register(self._place.wake_fd, select.POLLIN)
        poll.register(self._wake_pipe[0], select.POLLIN)
        while self._tasks.lingering.is_any_left and not self._ending:
            poll.poll()
            self._drain_wake_pipe()

    def _is_async(self, order: Task) -> bool:
        agent = self._agents.get(order.agent)
        return agent is not None and agent[1].asynchronous

    def _load_agent(self, order: LoadAgent) -> None:
        self._loading = True
        try:
            with InterruptibleImport(self._place.wake_fd):
                function, info = load(order)
        except AgentLoadError as refusal:
            self._loading = False
            self._outbox.send(AgentLoadFailed(order.agent, str(refusal), refusal.detail))
            return
        except ExecutionInterrupted as interrupt:
            self._loading = False
            if not self._ending:  # the module raised it; else only Leaving is reported
                self._outbox.send(
                    AgentLoadFailed(order.agent, f"cannot load the agent: it was interrupted: {interrupt}", "")
                )
            return
        finally:
            self._loading = False
            self._restore_handlers()
            self._surroundings = Surroundings(_arm_faulthandler)
            self._tasks.keep_tracing()
        self._agents[order.agent] = (function, info)
        options = msgspec.json.encode(info.options)
        self._outbox.send(AgentLoaded(order.agent, info.name, info.asynchronous, options))

    def _run_sync(self, order: Task) -> None:
        agent = self._agents.get(order.agent)
        if agent is None:
            self._outbox.send(TasksReturned([order.task]))
            self._inbox.finish(order.task)
            return
        self._flag.set_current_task(self._place.slot, order.task)
        done = self._tasks.run(order, agent[0])
        self._outbox.send_buffered(done, more=len(self._inbox) > 0)  # if the agent took our pipes, the task pays for it
        self._flag.set_current_task(self._place.slot, 0)
        self._inbox.finish(order.task)
        self._restore()

    def _restore(self) -> None:
        """Restore the process after a task. If that is impossible, the executor takes no more tasks and ends."""
        self._restore_handlers()
        self._await_term()
        try:
            if self._surroundings is not None:
                self._surroundings.restore()
        except CannotRestore as difference:
            if not self._asked_to_end:
                sys.stderr.write(
                    f"quiesce: a task changed what cannot be restored, and its executor ends: {difference}\n"
                )
            self._asked_to_end = True

    def _restore_handlers(self) -> None:
        """Install the handlers again if the agent has changed or blocked SIGTERM."""
        if getsignal(_SIGTERM) != self._handler or _SIGTERM in pthread_sigmask(signal.SIG_BLOCK, ()):
            self._flag.unmark_term(self._place.slot)
            self.install_signal_handlers()

    def _await_term(self) -> None:
        """Wait for the TERM rung of the last task: its SIGTERM would end a system call of the next task.

        C code may mistake that for the end of what it waited for, and the next task's outcome would be wrong.
        """
        until = time.monotonic() + TERM_TIMEOUT
        while self._is_term_coming() and not self._asked_to_end:
            native.sleep(TERM_LOOK)
            if time.monotonic() > until:
                self._asked_to_end = True  # it may still come at any time: there must be no task then

    def _run_session(self, runner: asyncio.Runner, first: Task) -> None:
        """Run async tasks on the loop. If the loop breaks, report Leaving: cancelling what runs on it may take long."""
        try:
            runner.run(self._run_async(first))
        except BaseException:
            self._is_broken = True
            self._outbox.send(Leaving())
            raise

    async def _run_async(self, first: Task) -> None:
        """Run async tasks, `concurrency` at once, until the next order is something else."""
        session = AsyncTaskSet()
        self._session_task = asyncio.current_task()
        order: Task | None = first
        try:
            while True:
                while order is not None and not self._ending:
                    session.start(self._run_one(order))
                    self._watch_loop(session)
                    order = self._next_async(session)
                self._watch_loop(session)
                if self._ending:
                    self._tasks.notice_flag()
                if session.is_idle and (self._ending or len(self._inbox) or self._inbox.closed):
                    return
                if session.is_idle:
                    self._give_memory_back()
                await session.wait(self._sources(session))
                self._drain_wake_pipe()
                if session.is_idle:
                    self._restore()
                order = self._next_async(session)
        except BaseException:
            self._is_broken = True
            raise
        finally:
            self._tasks.loop_watch.leave()
            await session.close()

    def _watch_loop(self, session: AsyncTaskSet) -> None:
        """Watch the loop while it runs two tasks or more: a single one can delay no other."""
        if len(session) > 1:
            self._tasks.loop_watch.enter(asyncio.get_running_loop())
        else:
            self._tasks.loop_watch.leave()

    def _sources(self, session: AsyncTaskSet) -> list[int]:
        """Return the descriptors to wait for. They stay readable until they are read, the wake-up socket for ever."""
        sources = [] if self._ending else [self._place.wake_fd, self._wake_pipe[0]]
        is_open = len(session) < self._place.concurrency and not self._tasks.lingering.is_any_left
        if is_open and not len(self._inbox) and not self._inbox.closed:
            sources.append(self._inbox.fd)
        return sources

    def _next_async(self, session: AsyncTaskSet) -> Task | None:
        if len(session) >= self._place.concurrency or self._tasks.lingering.is_any_left:
            return None
        self._inbox.fill()
        while isinstance(order := self._inbox.take(), Drop):
            self._agents.pop(order.agent, None)
            self._has_dropped = True
        if isinstance(order, Task) and self._is_async(order):
            return order
        if order is not None:
            self._inbox.push_back(order)
        return None

    async def _run_one(self, order: Task) -> None:
        """Run one async task and report its end.

        Nothing is reported if an agent has broken the loop (it stopped it, or cancelled every task): then no task's end
        is its own, the executor ends, and the supervisor finds out which task was at fault.
        """
        self._outbox.send(Started(order.task))
        done = await self._tasks.run_async(order, self._agents[order.agent][0])
        if not self._is_broken and not (self._session_task is not None and self._session_task.cancelling()):
            self._outbox.send(done)
        self._inbox.finish(order.task)
        self._restore_handlers()

    def _return_unstarted(self) -> None:
        self._inbox.fill()
        left = self._inbox.revoke(len(self._inbox))
        if left:
            self._outbox.send(TasksReturned(left))


async def _noop() -> None:
    """Do nothing, so that the runner cancels what agents left on the loop."""


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Ignore a signal."""
