"""Test agents without waiting and without a supervisor: a virtual clock, and a fake link to a supervisor.

    @virtual_time
    async def test_a_slow_agent_is_interrupted() -> None:
        link = FakeSupervisorLink()
        state = ExecutionState(host=link)
        asyncio.get_running_loop().call_later(3600, link.raise_flag)
        with pytest.raises(ExecutionInterrupted):
            await my_agent(state)

Nothing else in this package or in `orchestrator` imports this module.

*Theory.* A loop that has nothing to run asks its selector to wait for the next timer. `VirtualTimeLoop` has a selector
that moves the loop's clock there instead of waiting. What other threads and descriptors do still takes real time. The
loop looks at descriptors before it moves the clock, and waits for them while no timer is pending.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from runtime.ipc.undo import UndoCommand
from runtime.ipc.undo_tickets import UndoTicket, UndoTickets
from runtime.model import Event
from runtime.plain_signal import PlainSignal
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

P = ParamSpec("P")
T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        """Start the clock at 1,000 seconds."""
        self._now = 1000.0
        super().__init__(_JumpingSelector(self._advance))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self._now

    def _advance(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Move the clock instead of waiting while a timer is pending."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        super().__init__()
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._advance(timeout)
        return ready


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` on a virtual clock and return its result. Raises AssertionError when it leaves a task behind."""
    return _run(main, VirtualTimeLoop)


def run_real(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main()` on the real clock and return its result. Raises AssertionError when it leaves a task behind."""
    return _run(main, None)


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test a sync one that runs on a virtual clock. Its parameters stay, so fixtures still work."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(lambda: test(*args, **kwargs))

    return run_test


def real_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test a sync one that runs on the real clock: for tests with threads, signals or descriptors."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_real(lambda: test(*args, **kwargs))

    return run_test


def _run(main: Callable[[], Coroutine[Any, Any, T]], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> T:
    async def leave_no_task() -> T:
        result = await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(leave_no_task())


class FakeSupervisorLink:
    """A supervised place without a supervisor: `ExecutionState(host=FakeSupervisorLink())`.

    Raise its flag with `raise_flag`, as a supervisor would. `events` and `snapshots` hold what the state sent up,
    `undo` the undo records that are outstanding, and `undone` those that a supervisor would have run.
    """

    def __init__(self, wake_fd: int | None = None) -> None:
        """Take the descriptor that becomes readable with the flag, if the test has one: writing to it is the test's."""
        self.flag: object = _Truth(self)
        self.rung_at: float | None = None
        self.events: list[Event] = []
        self.snapshots: list[Any] = []
        self.undo: dict[int, UndoCommand] = {}
        self.undone: list[UndoCommand] = []
        self._tickets = UndoTickets()
        self._wake_fd = wake_fd
        self._signal: InterruptSignal | None = None

    def raise_flag(self, signal: InterruptSignal | None = None) -> None:
        """Raise the flag. The first signal stays; without one it is a user's cancellation."""
        if self._signal is None:
            self._signal = signal or PlainSignal(reason=InterruptReason.USER_CANCELLED)

    @property
    def is_raised(self) -> bool:
        """Whether the flag is up."""
        return self._signal is not None

    def signal(self) -> InterruptSignal:
        """Return the signal behind the raised flag."""
        assert self._signal is not None, "the flag is not raised"
        return self._signal

    def wake_fd(self) -> int | None:
        """Return the descriptor that the test gave."""
        return self._wake_fd

    def next_rung_at(self) -> float | None:
        """Return `rung_at`, in monotonic seconds."""
        return self.rung_at

    def emit(self, event: Event) -> None:
        """Keep the event in `events`."""
        self.events.append(event)

    def emit_plain(self, kind: str, data: dict[str, Any], address: str) -> bool:
        """Return False: every event goes through `emit`."""
        return False

    def report_progress(self, done: float, total: float | None) -> bool:
        """Return True: every call becomes an event."""
        return True

    def save_snapshot(self, snapshot: Any) -> bool:
        """Keep the snapshot in `snapshots`, as durable as a journal would: True."""
        self.snapshots.append(snapshot)
        return True

    @property
    def task_number(self) -> int:
        """Return 1: the first task of a run."""
        return 1

    def defer_undo(self, command: UndoCommand) -> UndoTicket:
        """Keep the undo record in `undo`, by number, as durable as a journal would."""
        ticket = self._tickets.issue(self.task_number)
        self.undo[ticket.number] = command
        ticket.accept()
        return ticket

    def release_undo(self, ticket: UndoTicket, *, kept: bool) -> None:
        """Strike the record out: move it to `undone` unless the resource is kept. Nothing is run."""
        command = self.undo.pop(ticket.number)
        if not kept:
            self.undone.append(command)


class _Truth:
    """The flag byte of a fake link."""

    def __init__(self, link: FakeSupervisorLink) -> None:
        self._link = link

    def __bool__(self) -> bool:
        return self._link.is_raised
