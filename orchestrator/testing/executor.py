"""An executor that is two threads of the test's process, behind the same pipes as a real one.

One thread reads the orders, the other executes the tasks, one at a time. Agents get a real ExecutionState.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from orchestrator.backends import Channels, SlotProgress
from orchestrator.core.ladder import Rung
from orchestrator.engine.clock import Clock
from orchestrator.testing.agent_call import Agent, BoundAgent, execute, make_state
from orchestrator.testing.executor_pipes import FakeExecutorPipes
from runtime.agent_signature import with_state
from runtime.agents import AgentInfo, describe
from runtime.errors import ExecutionInterrupted, UsageError, error_text
from runtime.execution.lifespans import Lifespans
from runtime.execution.state import ExecutionState
from runtime.ipc import pickling
from runtime.ipc.executor_protocol import (
    AgentLoaded,
    AgentLoadFailed,
    Control,
    Drop,
    ExecutorRecord,
    FinishAndExit,
    Interrupt,
    Leaving,
    LoadAgent,
    Ready,
    ReturnTasks,
    Started,
    Task,
    TaskOrder,
    Tasks,
    TasksReturned,
    UndoHeld,
)
from runtime.ipc.frames import VERSION
from runtime.ipc.undo_tickets import UndoTickets
from runtime.plain_signal import PlainSignal, decode_signal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

FIRST_PID = 1_000_000_000
"""Beyond every process id of Linux (2**22), so that no fake one can be mistaken for a real process."""

_KILLED = PlainSignal(reason=InterruptReason.CUSTOM, message="the fake executor was killed", triggered_by="test")


class FakeExecutor:
    """One incarnation of a slot. Its methods are for tests, and for the FakeBackend; any thread may call them."""

    def __init__(
        self,
        slot: int,
        incarnation: int,
        pid: int,
        *,
        agents: Mapping[str, Agent],
        clock: Clock,
        on_exit: Callable[[FakeExecutor, int], None],
        next_rung_at: Callable[[], float | None],
        run_id: str = "",
    ) -> None:
        self.run_id = run_id
        self.slot, self.incarnation, self.pid = slot, incarnation, pid
        self.orders: list[TaskOrder | Control] = []
        """Every order that it has read."""
        self.reported: dict[tuple[int, int], tuple[float, float | None]] = {}
        self.undo = UndoTickets()
        """What tasks, by their attempts, gave to `state.progress` last."""
        self._named_agents = agents
        self._clock = clock
        self._on_exit = on_exit
        self.next_rung_at = next_rung_at
        self._loaded: dict[int, tuple[BoundAgent, AgentInfo, object]] = {}
        self._runner = asyncio.Runner()
        self._lifespans = Lifespans()
        self._lifespans.open(self._runner)
        self._changed = threading.Condition()
        self._waiting: deque[LoadAgent | Drop | Task | FinishAndExit] = deque()
        self._running: tuple[Task, ExecutionState] | None = None
        self._deaf_through = Rung.NONE
        self._flag_signal: InterruptSignal | None = None
        self._is_leaving = False
        self._exit_code: int | None = None
        self._task_signals: dict[int, InterruptSignal] = {}
        self._progress = SlotProgress(0, 0.0, clock.monotonic())
        self._heartbeat_stopped_at: float | None = None
        self._threads = [
            threading.Thread(target=target, name=f"fake-executor-{slot}-{name}", daemon=True)
            for name, target in (("reader", self._read_orders), ("worker", self._work))
        ]

    def start(self) -> Channels:
        """Make the pipes and start the threads. Return the supervisor's ends. Raises OSError."""
        self._pipes = FakeExecutorPipes()
        for thread in self._threads:
            thread.start()
        return self._pipes.channels

    # -- what a test can do -----------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether it has neither exited nor been killed."""
        return self._exit_code is None

    def hold(self, through: Rung = Rung.FLAG) -> None:
        """Make it deaf to the ladder up to this rung: after FLAG it obeys SIGTERM, after TERM only SIGKILL ends it."""
        self._deaf_through = through

    def stop_heartbeat(self) -> None:
        """Show no heartbeat from now on, as an executor that hangs."""
        self._heartbeat_stopped_at = self._clock.monotonic()

    def kill(self, code: int = -9) -> None:
        """End it at once, as by a signal (`code` = minus its number) or by `os._exit(code)` of its agent.

        Nothing that its agent still does is heard. The agent's state is interrupted, so that its thread ends.
        """
        with self._changed:
            if self._exit_code is not None:
                return
            self._exit_code = code
            self._pipes.is_cut = True
            running = self._running
            self._changed.notify_all()
        if running is not None:
            running[1].set_signal(_KILLED, apart=True)
        self._pipes.wake()
        self._on_exit(self, code)

    def write_output(self, stream: str, data: bytes) -> None:
        """Write to its `stdout` or `stderr`. Blocks while the pipe is full; OSError if the other end is closed."""
        self._pipes.write_output(stream, data)

    def send_bytes(self, data: bytes) -> None:
        """Write bytes into its event pipe that are no frame."""
        self._pipes.send_bytes(data)

    def join(self, timeout: float) -> bool:
        """Wait for its threads. Return whether they have ended: an agent that ignores its state keeps one."""
        end = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # -- what the backend does --------------------------------------------------------------------------

    @property
    def progress(self) -> SlotProgress:
        """What a real one writes into shared memory."""
        beat = self._heartbeat_stopped_at
        return self._progress._replace(heartbeat_at=self._clock.monotonic() if beat is None else beat)

    def raise_flag(self, signal: InterruptSignal) -> None:
        """Interrupt its task, return the rest and leave, unless it is deaf to the flag."""
        self._flag_signal = signal
        self._heed(Rung.FLAG)

    def terminate(self) -> None:
        """Raise in a task that was interrupted, unless it is deaf to SIGTERM. Any other task goes on."""
        self._heed(Rung.TERM)

    def _heed(self, rung: Rung) -> None:
        """Hand the interrupts that are known to the task that runs, unless it is deaf to this rung."""
        if rung <= self._deaf_through:
            return
        with self._changed:
            self._is_leaving = self._flag_signal is not None
            running, signal = self._running, self._flag_signal
            if running is not None:
                signal = signal or self._task_signals.pop(running[0].task, None)
            self._changed.notify_all()
        if running is not None and signal is not None:
            running[1].set_signal(signal, apart=True)

    # -- the reader -------------------------------------------------------------------------------------

    def _read_orders(self) -> None:
        for order in self._pipes.orders():
            if order is not None:
                self._obey(order)
            elif self.is_alive:  # the supervisor is gone
                self.kill()

    def _obey(self, order: TaskOrder | Control) -> None:
        self.orders.append(order)
        if isinstance(order, Interrupt):
            self._interrupt_task(order)
        elif isinstance(order, ReturnTasks):
            self._return_tasks(order.count)
        elif isinstance(order, UndoHeld):
            self.undo.accept(order.task, order.number)
        else:
            with self._changed:
                self._waiting.extend(order.tasks if isinstance(order, Tasks) else [order])
                self._changed.notify_all()

    def _interrupt_task(self, order: Interrupt) -> None:
        with self._changed:
            self._task_signals[order.task] = decode_signal(order.signal)
        self._heed(Rung.FLAG)

    def _return_tasks(self, count: int) -> None:
        with self._changed:
            unstarted = [order for order in self._waiting if isinstance(order, Task)]
            returned = unstarted[max(0, len(unstarted) - count) :]
            for task in returned:
                self._waiting.remove(task)
        if returned:
            self._pipes.send(TasksReturned([task.task for task in returned]))

    # -- the worker -------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._pipes.send(Ready(VERSION, self.pid))
            while (order := self._next_order()) is not None:
                self._carry_out(order)
            self._return_tasks(len(self._waiting))
            self._pipes.send(Leaving())
        except (BrokenPipeError, ExecutionInterrupted):  # the supervisor has closed the other end, or a test killed it
            pass
        finally:
            self._lifespans.leave_all()
            self._runner.close()
            self._leave()

    def _leave(self) -> None:
        """Close the worker's ends, and report the exit if nothing has reported another."""
        self._pipes.close()
        with self._changed:
            is_first = self._exit_code is None
            self._exit_code = 0 if self._exit_code is None else self._exit_code
        if is_first:
            self._on_exit(self, 0)

    def _next_order(self) -> LoadAgent | Drop | Task | FinishAndExit | None:
        """Wait for an order. Return None when the executor is to leave."""
        with self._changed:
            while not self._waiting and not self._is_leaving and self._exit_code is None:
                self._changed.wait()
            if self._is_leaving or self._exit_code is not None:
                return None
            order = self._waiting.popleft()
            return None if isinstance(order, FinishAndExit) else order

    def _carry_out(self, order: LoadAgent | Drop | Task | FinishAndExit) -> None:
        if isinstance(order, LoadAgent):
            self._load(order)
        elif isinstance(order, Drop):
            self._loaded.pop(order.agent, None)
            self._lifespans.leave(order.agent)
        elif isinstance(order, Task):
            self._run(order)

    def _load(self, order: LoadAgent) -> None:
        try:
            agent = self._find_agent(order)
            info = describe(agent)
            resource = self._lifespans.set_up(order.agent, info)
        except Exception as error:  # noqa: BLE001 - an agent that cannot be loaded is the record's, whatever is wrong
            self._pipes.send(AgentLoadFailed(order.agent, error_text(error), traceback.format_exc()))
            return
        self._loaded[order.agent] = with_state(agent, info.state_argument), info, resource
        self._pipes.send(AgentLoaded(order.agent, info.name, info.asynchronous, msgspec.json.encode(info.options)))

    def _find_agent(self, order: LoadAgent) -> Agent:
        if not order.by_name:
            agent: Agent = pickling.load(order.source)
            return agent
        name = order.source.partition(b"\0")[0].decode()
        if name not in self._named_agents:
            raise UsageError(f"the FakeBackend has no agent {name!r}: give it one, FakeBackend(agents={{{name!r}: …}})")
        return self._named_agents[name]

    def _run(self, order: Task) -> None:
        if order.agent not in self._loaded:
            self._pipes.send(TasksReturned([order.task]))
            return
        agent, info, resource = self._loaded[order.agent]
        state = make_state(order, self, self._clock, self.slot, self.run_id)
        state.resource = resource
        began = self._clock.monotonic()
        with self._changed:
            self._running = order, state
            self._progress = SlotProgress(order.task, began, began)
            signal = None if self._deaf_through >= Rung.FLAG else self._task_signals.pop(order.task, None)
            signal = self._flag_signal if self._is_leaving else signal
        if signal is not None:
            state.set_signal(signal)
        if info.asynchronous:
            self._pipes.send(Started(order.task))
        done = execute(order, agent, state, self._clock, self._runner)
        with self._changed:
            self._running = None
            self._task_signals.pop(order.task, None)
            if self._exit_code is None:  # what a killed one had in hand stays in shared memory
                self._progress = SlotProgress(0, 0.0, 0.0)
        state.close()
        self._pipes.send(done)

    def send(self, record: ExecutorRecord) -> None:
        """Send one record up, for its agent's state. Raises ExecutionInterrupted when it was killed."""
        try:
            self._pipes.send(record)
        except BrokenPipeError:
            raise ExecutionInterrupted(_KILLED) from None
