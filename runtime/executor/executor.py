"""The main loop of an executor: take orders, load agents, run tasks, restore the process after each.

The main thread runs sync agents itself, and async agents on an event loop, `concurrency` many at once. It reads
its own orders, so a tiny task costs no thread switch. The control thread (control.py) interrupts single tasks, returns
tasks that have not begun, and writes the heartbeat.

The end: the flag is raised (or FinishAndExit comes, or the orders' pipe ends) → running tasks are interrupted at their
checkpoints or awaits → tasks that have not begun are returned → Leaving → atexit hooks (main.py) → exit.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.agents import AgentInfo
from runtime.errors import ExecutionInterrupted
from runtime.execution.lifespans import Lifespans, SetupError
from runtime.executor.async_tasks import AsyncTaskSet
from runtime.executor.control import ControlThread
from runtime.executor.inbox import Inbox
from runtime.executor.loader import AgentLoadError, InterruptibleImport, load
from runtime.executor.outbox import EventPipeLost, Outbox
from runtime.executor.requested_stacks import write_requested_stacks
from runtime.executor.restoration import CannotRestore, Surroundings
from runtime.executor.signals import SignalHandlers
from runtime.executor.stdio import StandardStreams, arm_faulthandler
from runtime.executor.task_link import ExecutorResources
from runtime.executor.task_runner import TaskRunner
from runtime.executor.threads import give_context_to_pools
from runtime.heap import trim_heap
from runtime.interrupts import term_rung
from runtime.ipc.executor_protocol import (
    AgentLoaded,
    AgentLoadFailed,
    Drop,
    FinishAndExit,
    Leaving,
    LoadAgent,
    Started,
    Task,
    TasksReturned,
)
from runtime.ipc.flag import InterruptFlag
from runtime.ipc.guardian_protocol import Inheritance
from runtime.ipc.undo_tickets import UndoTickets
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """The identity and settings of one executor. `parent_fd` becomes readable when the supervisor dies; may be None.

    `pipe_key` is in every frame on its pipes (frames.py). `heartbeat`: seconds between two heartbeats.
    `environment`: the variables of this slot. `ignored`: signals that only the supervisor acts on.
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
    environment: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LoadedAgent:
    """An agent that tasks may name, and what its lifespan gave."""

    function: Callable[[Any, Any], Any]
    info: AgentInfo
    resource: Any


class Executor:
    """One incarnation of one slot."""

    def __init__(
        self, place: ExecutorConfig, flag: InterruptFlag, inbox: Inbox, outbox: Outbox, streams: StandardStreams
    ) -> None:
        self._place = place
        self._streams = streams
        self._flag = flag
        self._flag_byte = flag.byte(place.slot)
        self._inbox = inbox
        self._outbox = outbox
        self._agents: dict[int, LoadedAgent] = {}
        self._lifespans = Lifespans()
        self.signals = SignalHandlers(flag, place.slot, self._on_term, place.ignored)
        self._tasks = TaskRunner(
            ExecutorResources(
                run_id=place.run_id,
                slot=place.slot,
                flag=flag,
                raised=self._flag_byte,
                wake_fd=place.wake_fd,
                outbox=outbox,
                undo=UndoTickets(),
            ),
            self.signals.is_term_coming,
        )
        streams.current_task = self._tasks.current_task
        self._asked_to_end = False
        self._session_task: asyncio.Task[None] | None = None
        self._is_broken = False
        self._has_dropped = False
        self._loading = False
        self._surroundings: Surroundings | None = None
        self._wake_pipe = os.pipe()
        for end in self._wake_pipe:
            os.set_blocking(end, False)

    # -- signals ------------------------------------------------------------------------------------

    def _on_term(self, _signum: int, frame: FrameType | None) -> None:
        """Handle SIGTERM. On the TERM rung raise in the main thread; else interrupt all tasks, then end.

        An agent that is being loaded or set up has no checkpoint and nothing to lose: that is interrupted here. What
        lifespans do at their end is interrupted on the TERM rung.
        """
        is_rung = self._flag.is_term_rung(self._place.slot)
        self._flag.unmark_term(self._place.slot)
        write_requested_stacks(self._flag, self._place.slot, frame)  # as they are before the exception
        raised = bool(self._flag_byte)
        signal = self._flag.signal(self._place.slot) if raised else _sent_sigterm()
        if raised and self._loading:
            if self._lifespans.cancel(signal):
                return
            raise ExecutionInterrupted(signal)
        if is_rung:
            term_rung.announce()
            # threads that were ended by force may leave locks held: this executor takes no more tasks
            self._asked_to_end = self._tasks.raise_in_threads() or self._asked_to_end
            self._wake_main()
            self._tasks.raise_in_main_thread()
        if not (is_rung or raised):  # else the flag carries the reason
            self._asked_to_end = True
            self._wake_main()
            self._tasks.interrupt_all(signal)
        if self._lifespans.is_entering or (is_rung and self._lifespans.is_leaving):
            self._asked_to_end = True
            if not self._lifespans.cancel(signal):
                raise ExecutionInterrupted(signal)

    def warm_up(self) -> None:
        """Run the code of an interrupt once (TaskRunner.warm_up)."""
        self._tasks.warm_up()

    # -- the main thread ----------------------------------------------------------------------------

    def start_control_thread(self, fd: int) -> None:
        """Start the control thread. `fd`: the control pipe."""
        place = self._place
        parts = (self._flag, self._inbox, self._outbox, self._tasks)
        wakes = (self._wake_main, self.signals.interrupt_blocked_syscall)
        thread = ControlThread(fd, place.slot, *parts, *wakes, place.pipe_key, heartbeat=place.heartbeat).start()
        self._tasks.threads.disregard(thread)

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
            self._lifespans.open(runner)
            try:
                self._take_orders(runner, poll)
            finally:
                self._leave_lifespans()
            self._tasks.lingering.begin_leaving()
            runner.run(_noop())  # so that what the agents left on the loop is cancelled as the runner closes
        self._return_unstarted()

    def _take_orders(self, runner: asyncio.Runner, poll: select.poll) -> None:
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
                self._drop_agent(order.agent)
            elif isinstance(order, FinishAndExit) or self._inbox.closed:
                break
            else:
                self._give_memory_back()
                poll.poll()
                self._drain_wake_pipe()
                self._inbox.fill()

    def _drop_agent(self, agent: int) -> None:
        self._agents.pop(agent, None)
        self._lifespans.leave(agent)
        self._has_dropped = True

    def _leave_lifespans(self) -> None:
        """Leave what the agents have entered. The ladder bounds it: the supervisor hears of the end before."""
        if self._lifespans:
            with suppress(EventPipeLost):  # that ends the executor, and is known already
                self._return_unstarted()
                self._outbox.send(Leaving())
            self._lifespans.leave_all()

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
        return agent is not None and agent.info.asynchronous

    def _load_agent(self, order: LoadAgent) -> None:
        self._loading = True
        try:
            with InterruptibleImport(self._place.wake_fd):
                function, info = load(order)
                resource = self._lifespans.set_up(order.agent, info)
        except (AgentLoadError, SetupError) as refusal:
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
            self.signals.restore()
            self._surroundings = Surroundings(arm_faulthandler)
            self._tasks.keep_tracing()
            self._streams.note_imports()
        self._agents[order.agent] = LoadedAgent(function, info, resource)
        options = msgspec.json.encode(info.options)
        self._outbox.send(AgentLoaded(order.agent, info.name, info.asynchronous, options))

    def _run_sync(self, order: Task) -> None:
        agent = self._agents.get(order.agent)
        if agent is None:
            self._outbox.send(TasksReturned([order.task]))
            self._inbox.finish(order.task)
            return
        self._flag.set_current_task(self._place.slot, order.task)
        done = self._tasks.run(order, agent.function, agent.resource)
        self._streams.end_task(order.task, is_alone=True)
        self._outbox.send_buffered(done, more=len(self._inbox) > 0)  # if the agent took our pipes, the task pays for it
        self._flag.set_current_task(self._place.slot, 0)
        self._inbox.finish(order.task)
        self._restore()

    def _restore(self) -> None:
        """Restore the process after a task. If that is impossible, the executor takes no more tasks and ends."""
        self.signals.restore()
        if not self._asked_to_end and not self.signals.wait_for_term():
            self._asked_to_end = True
        try:
            if self._surroundings is not None:
                self._surroundings.restore()
        except CannotRestore as difference:
            if not self._asked_to_end:
                sys.stderr.write(
                    f"quiesce: a task changed what cannot be restored, and its executor ends: {difference}\n"
                )
            self._asked_to_end = True

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
        while isinstance(order := self._inbox.take(), Drop) and not self._lifespans.holds(order.agent):
            self._drop_agent(order.agent)  # else when the loop stands still, on which the lifespan is left
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
        agent = self._agents[order.agent]
        done = await self._tasks.run_async(order, agent.function, agent.resource)
        self._streams.end_task(order.task, is_alone=False)
        if not self._is_broken and not (self._session_task is not None and self._session_task.cancelling()):
            self._outbox.send(done)
        self._inbox.finish(order.task)
        self.signals.restore()

    def _return_unstarted(self) -> None:
        self._inbox.fill()
        left = self._inbox.revoke(len(self._inbox))
        if left:
            self._outbox.send(TasksReturned(left))


async def _noop() -> None:
    """Do nothing, so that the runner cancels what agents left on the loop."""


def _sent_sigterm() -> InterruptSignal:
    """Return the reason of a SIGTERM that is not the supervisor's, or that is for this executor alone."""
    return PlainSignal(
        reason=InterruptReason.SYSTEM_SHUTDOWN,
        message="the executor was sent SIGTERM",
        triggered_by="signal:SIGTERM",
    )
