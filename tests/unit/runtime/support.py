"""An event loop whose time is a number: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from runtime.execution.state import ExecutionState

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits while a timer is pending: it moves the loop's time there."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps take no time. Other threads may still wake it."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Callable[[], Coroutine[Any, Any, T]], *, virtual: bool = True) -> T:
    """Run `main()` to its end; fails if it leaves a task behind."""

    async def watched() -> T:
        result = await main()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        return result

    with asyncio.Runner(loop_factory=VirtualLoop if virtual else None) as runner:
        return runner.run(watched())


def state_in_loop(**options: Any) -> ExecutionState:
    """A state whose clock is the running loop's."""
    return ExecutionState(clock=asyncio.get_running_loop().time, **options)


async def settle(rounds: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class FakeHost:
    """A supervised place without a supervisor. `raise_flag` does what the supervisor would."""

    def __init__(self, wake_fd: int | None = None) -> None:
        self.raised: list[Any] = []
        self.flag: object = _Truth(self)
        self.fd = wake_fd
        self.rung: float | None = None
        self.events: list[Any] = []
        self.snapshots: list[Any] = []

    def signal(self) -> Any:
        return self.raised[0]

    def wake_fd(self) -> int | None:
        return self.fd

    def next_rung_at(self) -> float | None:
        return self.rung

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def save_snapshot(self, snapshot: Any) -> bool:
        self.snapshots.append(snapshot)
        return True


class _Truth:
    """A flag byte."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def __bool__(self) -> bool:
        return bool(self._host.raised)
