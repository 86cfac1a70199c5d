"""Set up agents in an executor, once: call their initializers, enter their lifespans, and leave these at the end.

Theory. A sync lifespan is entered and left by the main thread, outside of the event loop. An async one lives in a task
of its own, from its entry to its end: what a task has entered (a cancel scope, a task group) must be left by the same
task. The task waits on the executor's loop, which async agents run on; while a sync agent runs, the loop stands still.

An interrupt ends a set-up as it ends an import: it raises in sync code, and cancels async code at its await (or raises
there, if that is what runs). What is left at the end has the grace for it; only the TERM rung interrupts that.

Agents that name the same function share what it gives. It is left when the last of them is dropped.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from runtime.agent_arguments import select_arguments
from runtime.agent_setup import name_of
from runtime.agents import AgentInfo
from runtime.error_line import describe_error
from runtime.errors import ExecutionInterrupted, UsageError
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

T = TypeVar("T")


class SetupError(UsageError):
    """Say that an agent cannot be set up. The text is one line; `detail` is the traceback."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class _Phase(Enum):
    IDLE = auto()
    ENTERING = auto()
    LEAVING = auto()


@dataclass(slots=True)
class _Held:
    """Hold a lifespan that was entered. `leave` leaves it; `agents` are the numbers of those that use it."""

    lifespan: Callable[..., Any]
    arguments: dict[str, Any]
    resource: Any
    leave: Callable[[], object]
    agents: set[int] = field(default_factory=set)


class Lifespans:
    """Hold what the agents of one executor have entered. All methods belong to the thread of its loop."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._initialized: list[tuple[Callable[..., object], dict[str, Any]]] = []
        self._phase = _Phase.IDLE
        self._is_in_loop = False
        self._task: asyncio.Task[Any] | None = None
        self._signal: InterruptSignal | None = None

    def __bool__(self) -> bool:
        """Return whether there is anything to leave."""
        return bool(self._held)

    def open(self, runner: asyncio.Runner) -> None:
        """Set the runner whose loop async lifespans live on. Called once, before any other method that needs it."""
        self._runner = runner

    def holds(self, agent: int) -> bool:
        """Return whether an agent has a lifespan that was entered."""
        return any(agent in held.agents for held in self._held)

    # -- the beginning --------------------------------------------------------------------------------

    def set_up(self, agent: int, info: AgentInfo) -> Any:
        """Perform the set-up of an agent, unless it was done for another. Return its `state.resource`.

        Raises SetupError, and ExecutionInterrupted when it was interrupted.
        """
        self._signal = None
        setup, name = info.setup, info.name
        for function in setup.initializers:
            arguments = select_arguments(function, info.arguments)
            if not any(function is earlier and _are_same(arguments, given) for earlier, given in self._initialized):
                self._attempt(name, "initializer", function, partial(self._initialize, partial(function, **arguments)))
                self._initialized.append((function, arguments))
        lifespan = setup.lifespan
        if lifespan is None:
            return None
        arguments = select_arguments(lifespan, info.arguments)
        entered = (held for held in self._held if held.lifespan is lifespan and _are_same(held.arguments, arguments))
        held = next(entered, None)
        if held is None:
            make = partial(lifespan, **arguments) if arguments else lifespan
            enter = partial(self._enter, make, asynchronous=info.asynchronous)
            resource, leave = self._attempt(name, "lifespan", lifespan, enter)
            held = _Held(lifespan, arguments, resource, leave)
            self._held.append(held)
        held.agents.add(agent)
        return held.resource

    def _attempt(self, name: str, kind: str, function: Callable[..., Any], action: Callable[[], T]) -> T:
        """Return what `action` returns, which calls `function`. Raises SetupError, ExecutionInterrupted."""
        try:
            if self._signal is not None:  # what was cancelled before has not let itself be
                raise ExecutionInterrupted(self._signal)
            self._phase = _Phase.ENTERING
            return action()
        except ExecutionInterrupted:
            raise
        except BaseException as error:
            if self._signal is not None:
                raise ExecutionInterrupted(self._signal) from error
            text = f"cannot set up {name}: its {kind} {name_of(function)} raised {describe_error(error)}"
            raise SetupError(text, traceback.format_exc()) from error
        finally:
            self._phase = _Phase.IDLE

    def _initialize(self, function: Callable[..., object]) -> None:
        result = function()
        if asyncio.iscoroutine(result):
            self._run(result)

    def _enter(self, lifespan: Callable[..., Any], *, asynchronous: bool) -> tuple[Any, Callable[[], object]]:
        """Enter what a lifespan returns. Return its value, and what leaves it."""
        manager = self._run(_call(lifespan)) if asynchronous else lifespan()
        kind = type(manager)
        has_sync = hasattr(kind, "__enter__") and hasattr(kind, "__exit__")
        if hasattr(kind, "__aenter__") and (asynchronous or not has_sync):
            task = _LifespanTask(manager)
            return self._run(task.enter(), task), lambda: self._run(task.leave(), task)
        if not has_sync:
            raise TypeError(f"it returned a value of type {kind.__name__}, which is not a context manager")
        return manager.__enter__(), lambda: manager.__exit__(None, None, None)

    # -- the end --------------------------------------------------------------------------------------

    def leave(self, agent: int) -> None:
        """Leave the lifespan of an agent, unless another agent uses it."""
        for held in [held for held in self._held if agent in held.agents]:
            held.agents.discard(agent)
            if not held.agents:
                self._held.remove(held)
                self._leave(held)

    def leave_all(self) -> None:
        """Leave every lifespan, the last one first. A failure is written to standard error, and ends nothing."""
        while self._held:
            self._leave(self._held.pop())

    def _leave(self, held: _Held) -> None:
        self._signal = None
        try:
            self._phase = _Phase.LEAVING
            held.leave()
            self._phase = _Phase.IDLE
        except BaseException as error:  # noqa: BLE001 - the user's code: the executor leaves the other ones, and ends
            self._phase = _Phase.IDLE
            _report_failure(name_of(held.lifespan), error, self._signal)

    # -- interrupting ---------------------------------------------------------------------------------

    @property
    def is_entering(self) -> bool:
        """Return whether a set-up runs."""
        return self._phase is _Phase.ENTERING

    @property
    def is_leaving(self) -> bool:
        """Return whether a lifespan is being left."""
        return self._phase is _Phase.LEAVING

    def cancel(self, signal: InterruptSignal) -> bool:
        """Cancel the async code that is being set up or left. For the handler of SIGTERM.

        Returns False if code runs in which the handler can raise: sync code, or a step of the async code itself.
        """
        self._signal = signal
        if not self._is_in_loop:
            return False
        task = self._task
        if task is None:  # it begins just now, and looks at the signal
            return True
        loop = self._runner.get_loop()
        if asyncio.current_task(loop) is task:
            return False
        return call_soon_threadsafe_or_false(loop, task.cancel)

    def _run(self, coroutine: Coroutine[Any, Any, T], holder: _LifespanTask | None = None) -> T:
        """Run a coroutine on the loop. An interrupt cancels it, or the task of a lifespan that it waits for."""

        async def run() -> T:
            self._task = asyncio.current_task() if holder is None else holder.start()
            if self._signal is not None and self._task is not None:
                self._task.cancel()
            return await coroutine

        try:
            self._is_in_loop = True
            return self._runner.run(run())
        finally:
            self._is_in_loop, self._task = False, None
            coroutine.close()


class _LifespanTask:
    """Enter and leave an async context manager in one task."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._task: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[Any] | None = None
        self._over: asyncio.Event = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Start the task, the first time. Return it."""
        if self._task is None:
            self._entered = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold(self._entered), name="quiesce-lifespan")
        return self._task

    async def _hold(self, entered: asyncio.Future[Any]) -> None:
        async with self._manager as value:
            entered.set_result(value)
            await self._over.wait()

    async def enter(self) -> Any:
        """Wait until it is entered. Return its value. Raises what it raises."""
        assert self._task is not None
        assert self._entered is not None
        await asyncio.wait([self._task, self._entered], return_when=asyncio.FIRST_COMPLETED)
        if not self._entered.done():
            self._task.result()
        return self._entered.result()

    async def leave(self) -> None:
        """Leave it, and wait for that. Raises what it raises."""
        assert self._task is not None
        if not self._task.done():
            self._over.set()
            await asyncio.wait([self._task])
            self._task.result()


def _are_same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Return whether two set-ups have the same arguments. Values that cannot be compared differ."""
    try:
        return left == right
    except Exception:  # noqa: BLE001 - arrays and other code of the user
        return False


def _report_failure(name: str, error: BaseException, signal: InterruptSignal | None) -> None:
    """Write to standard error how a lifespan failed at its end: one line and, unless interrupted, the traceback."""
    if signal is None:
        text = f"failed at its end: {describe_error(error)}\n{''.join(traceback.format_exception(error))}"
    else:
        text = f"was interrupted at its end ({ExecutionInterrupted(signal)})\n"
    with suppress(OSError, ValueError):  # the agent closed it
        sys.stderr.write(f"quiesce: the lifespan {name} {text}")


async def _call(function: Callable[[], T]) -> T:
    """Call a function inside of the loop: many async libraries make their objects there only."""
    return function()
