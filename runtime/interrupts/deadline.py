"""A time limit of an execution: an interrupt source that needs no thread.

Theory. A `Deadline` stands where the supervisor's flag stands (see interruptible.py), laid over that flag: its truth
value is "that flag is up, or it is too late". So a sync agent that never enters an event loop meets its time limit at
its next checkpoint. The price, about a clock look at each checkpoint, is paid only while a limit is set. Event loops
are woken by a timer of their own.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runtime.interrupt_signal import build_signal
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false
from runtime.interrupts.supervisor_link import SupervisorLink
from runtime.limits import check_seconds
from runtime.reasons import InterruptReason

if TYPE_CHECKING:
    from runtime.model import InterruptSignal


class Deadline:
    """The point `seconds` from now by `clock`, as an interrupt source laid over the flag of `link`.

    Raises ValueError for what is no duration.
    """

    def __init__(
        self, seconds: float, message: str | None, *, link: SupervisorLink, clock: Callable[[], float]
    ) -> None:
        check_seconds("a timeout", seconds, may_be_endless=True)
        self._link = link
        self._link_flag = link.flag
        self._at = clock() + seconds
        self._clock = clock
        self._wall_at = time.time() + float(seconds)
        self._message = f"timed out after {seconds:g} s" if message is None or message == "" else message
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return True if self._link_flag else self._clock() >= self._at  # met at every checkpoint: one call is enough

    def signal(self) -> InterruptSignal:
        """Return the link's signal if its flag is up, else that of a limit that was not kept.

        Which came first is not known when both are up at the first look. The `triggered_at` of a limit is when its time
        was up, however late a checkpoint comes, by the wall clock at which it was set: all calls return equal signals.
        """
        if self._link_flag:
            return self._link.signal()
        at = datetime.fromtimestamp(self._wall_at, UTC)
        return build_signal(InterruptReason.TIMEOUT, self._message, "timeout", triggered_at=at)

    @property
    def left(self) -> float:
        """Seconds until the time is up; 0.0 from then on."""
        return max(0.0, self._at - self._clock())

    def arm(self, loop: asyncio.AbstractEventLoop, late: Callable[[], object]) -> None:
        """Have `late` called in `loop` when the time is up. Called in that loop; the first call counts."""
        if loop not in self._timers and math.isfinite(self._at):
            self._timers[loop] = loop.call_later(self.left, late)

    def disarm(self) -> None:
        """Drop the timers. A timer of another thread's loop is dropped by that loop."""
        timers, self._timers = self._timers, {}
        for loop, timer in timers.items():
            call_soon_threadsafe_or_false(loop, timer.cancel)
