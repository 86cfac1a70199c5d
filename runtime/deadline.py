"""A time limit of an execution, as something whose truth value is "the flag is up, or it is too late".

It stands where the flag stands (see interrupt.py), so a sync agent that never enters an event loop meets its time
limit at its next checkpoint, without a timer thread. The price, about a clock look at each checkpoint, is paid only
while a limit is set. Event loops are woken by a timer of their own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from runtime.bell import soon_in
from runtime.model import InterruptReason, InterruptSignal


class Deadline:
    """`seconds` from now by `clock`, laid over the flag `under`."""

    def __init__(self, seconds: float, message: str | None, *, under: object, clock: Callable[[], float]) -> None:
        if math.isnan(seconds):
            raise ValueError("a timeout must be a number of seconds, not NaN")
        self.under = under
        self.at = clock() + seconds
        self._message = message or f"timed out after {seconds:g} s"
        self._clock = clock
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return bool(self.under) or self._clock() >= self.at

    @property
    def left(self) -> float:
        """Seconds until it is too late; 0.0 from then on."""
        return max(0.0, self.at - self._clock())

    @property
    def signal(self) -> InterruptSignal:
        """The signal of a limit that was not kept."""
        return InterruptSignal(reason=InterruptReason.TIMEOUT, message=self._message, triggered_by="timeout")

    def arm(self, loop: asyncio.AbstractEventLoop, late: Callable[[], object]) -> None:
        """Have `late` called in `loop` when the time is up. Called in that loop; the first call counts."""
        if loop not in self._timers and math.isfinite(self.at):
            self._timers[loop] = loop.call_later(self.left, late)

    def disarm(self) -> None:
        """Drop the timers. A timer of another thread's loop is dropped by that loop."""
        timers, self._timers = self._timers, {}
        for loop, timer in timers.items():
            soon_in(loop, timer.cancel)
