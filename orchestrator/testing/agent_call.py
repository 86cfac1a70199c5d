"""Call an agent in the process of a test, with a real ExecutionState, as an executor would."""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.engine.clock import Clock
from runtime.errors import error_text, find_interrupt
from runtime.execution.state import ExecutionState
from runtime.interrupts.interruptible import CancelOnInterrupt
from runtime.ipc import codec
from runtime.ipc.executor_protocol import (
    ExecutorRecord,
    Snapshot,
    Task,
    TaskDone,
    TaskEvent,
    UndoDeferred,
    UndoReleased,
)
from runtime.ipc.failures import describe_failure
from runtime.ipc.undo import UndoCommand
from runtime.ipc.undo_tickets import UndoTicket, UndoTickets
from runtime.model import Event
from runtime.statuses import ExecutionStatus

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

Agent = Callable[[Any, Any], Any] | Callable[[Any], Any]
"""An agent as users write it."""

BoundAgent = Callable[[Any, Any], Any]
"""An agent that takes its input and a state, whatever the user's takes (runtime.agent_signature.with_state)."""


class Sender(Protocol):
    """What an agent's state needs of its executor."""

    def send(self, record: ExecutorRecord) -> None:
        """Send one record up. Raises ExecutionInterrupted when the executor was killed."""
        ...

    undo: UndoTickets
    """The undo records that wait for their answers."""

    reported: dict[tuple[int, int], tuple[float, float | None]]

    def next_rung_at(self) -> float | None:
        """Return when the ladder goes on, in monotonic seconds."""
        ...


def make_state(order: Task, sender: Sender, clock: Clock, slot: int = 0, run_id: str = "") -> ExecutionState:
    """Return the state of a task's execution."""
    snapshot = None if order.snapshot is None else codec.decode(order.snapshot, order.snapshot_encoding)
    link = _Link(sender, order)
    return ExecutionState(
        state_id=order.key,
        host=link,
        snapshot=snapshot,
        clock=clock.monotonic,
        key=order.key,
        attempt=order.attempt,
        run_id=run_id,
        slot=slot,
    )


def execute(order: Task, agent: BoundAgent, state: ExecutionState, clock: Clock, runner: asyncio.Runner) -> TaskDone:
    """Call the agent. Return the record of how its task ended. An async one runs on the runner's loop."""
    started_at, began = time.time(), clock.monotonic()
    encoded: codec.Encoded | tuple[None, str, None] = (None, "", None)
    status, error, detail, signal, failure = ExecutionStatus.COMPLETED, None, None, None, None
    try:
        state.raise_if_interrupted()
        state.input = codec.decode(order.input, order.encoding)
        value = agent(state.input, state)
        encoded = codec.encode_for_readers(runner.run(_finish(value, state)) if inspect.iscoroutine(value) else value)
    except BaseException as problem:  # noqa: BLE001 - whatever an agent raises is the outcome of its task
        interrupt, detail = find_interrupt(problem), traceback.format_exc()
        status, error = ExecutionStatus.FAILED, f"{type(problem).__name__}: {error_text(problem)}"
        if interrupt is not None:
            status, error = ExecutionStatus.INTERRUPTED, str(interrupt)
            signal = interrupt.plain_signal.model_dump_json().encode()
        else:
            failure = describe_failure(problem)
    data, encoding, projection = encoded
    seconds = clock.monotonic() - began
    return TaskDone(order.task, status, data, encoding, error, detail, started_at, seconds, signal, projection, failure)


async def _finish(coroutine: Coroutine[Any, Any, Any], state: ExecutionState) -> Any:
    """Await an async agent; an interrupt cancels what it awaits."""
    try:
        async with CancelOnInterrupt(state):
            return await coroutine
    finally:
        await state.aclose()


class _Link:
    """The place of an agent's state: events and snapshots go up the pipe; interrupts come by `set_signal`."""

    flag: object = False

    def __init__(self, sender: Sender, order: Task) -> None:
        self._sender = sender
        self._task, self._attempt = order.task, order.attempt

    def signal(self) -> InterruptSignal:
        """Never called: the flag is never up."""
        raise AssertionError("the flag of a fake executor is never raised")

    def wake_fd(self) -> int | None:
        """Return None: `set_signal` wakes the state."""
        return None

    def next_rung_at(self) -> float | None:
        """Return when the ladder goes on, in monotonic seconds."""
        return self._sender.next_rung_at()

    def emit(self, event: Event) -> None:
        """Send an event up."""
        data = codec.encode_json(event.data)
        self._sender.send(TaskEvent(self._task, event.kind, event.address, event.at, data))

    def emit_plain(self, kind: str, data: dict[str, Any], address: str) -> bool:
        """Return False: `emit` is quick enough for tests."""
        return False

    def report_progress(self, done: float, total: float | None) -> bool:
        """Keep it in the executor; there is an event each time."""
        self._sender.reported[self._task, self._attempt] = done, total
        return True

    @property
    def task_number(self) -> int:
        """Return the number of the task in its run."""
        return self._task

    def defer_undo(self, command: UndoCommand) -> UndoTicket:
        """Send an undo record up, and return a ticket for the answer."""
        ticket = self._sender.undo.issue(self._task)
        self._sender.send(UndoDeferred(self._task, ticket.number, command))
        return ticket

    def release_undo(self, ticket: UndoTicket, *, kept: bool) -> None:
        """Send up that a resource is to be undone, or is kept."""
        self._sender.send(UndoReleased(self._task, ticket.number, kept))

    def save_snapshot(self, snapshot: Any) -> bool:
        """Send a snapshot up."""
        self._sender.send(Snapshot(self._task, *codec.encode_for_readers(snapshot)))
        return True
