"""A time limit of an execution, as something whose truth value is "the flag is up, or it is too late".

It stands where the flag stands (see interruptible.py), so a sync agent that never enters an event loop meets its time
limit at its next checkpoint, without a timer thread. The price, about a clock look at each checkpoint, is paid only
while a limit is set. Event loops are woken by a timer of their own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress

from runtime.interrupt_signal import build_signal
from runtime.interrupts.interruptible import Interruptible
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false
from runtime.interrupts.supervisor_link import SupervisorLink
from runtime.limits import check_seconds
from runtime.model import InterruptReason, InterruptSignal


class Deadline:
    """`seconds` from now by `clock`, laid over the flag `under`."""

    def __init__(self, seconds: float, message: str | None, *, under: object, clock: Callable[[], float]) -> None:
        check_seconds("a timeout", seconds, may_be_endless=True)
        self.inner_flag = under
        self.at = clock() + seconds
        self._message = f"timed out after {seconds:g} s" if message is None or message == "" else message
        self._clock = clock
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return True if self.inner_flag else self._clock() >= self.at  # met at every checkpoint: one call is enough

    @property
    def left(self) -> float:
        """Seconds until it is too late; 0.0 from then on."""
        return max(0.0, self.at - self._clock())

    @property
    def signal(self) -> InterruptSignal:
        """The signal of a limit that was not kept."""
        return build_signal(InterruptReason.TIMEOUT, self._message, "timeout")

    def arm(self, loop: asyncio.AbstractEventLoop, late: Callable[[], object]) -> None:
        """Have `late` called in `loop` when the time is up. Called in that loop; the first call counts."""
        if loop not in self._timers and math.isfinite(self.at):
            self._timers[loop] = loop.call_later(self.left, late)

    def disarm(self) -> None:
        """Drop the timers. A timer of another thread's loop is dropped by that loop."""
        timers, self._timers = self._timers, {}
        for loop, timer in timers.items():
            call_soon_threadsafe_or_false(loop, timer.cancel)


class TimeLimited(Interruptible):
    """An Interruptible that can be given a time limit. Base of ExecutionState."""

    def __init__(self, host: SupervisorLink | None, clock: Callable[[], float]) -> None:
        super().__init__(host)
        self._clock = clock
        self._deadline: Deadline | None = None

    def set_timeout(self, seconds: float, message: str | None = None) -> None:
        """Interrupt this execution, with reason `timeout`, in `seconds`. Set again, it is armed anew.

        Works with and without an event loop: a running one interrupts when the time is up, else the next checkpoint
        does. A limit that is over already stays so: late is late, whether a checkpoint has seen it or not. Raises
        ValueError for what is no duration: text, NaN, less than 0 or more than ten years.
        """
        deadline = Deadline(seconds, message, under=self.host.flag, clock=self._clock)
        self.cancel_timeout()
        self._deadline = deadline
        self._set_flag(deadline)
        for loop in tuple(self._bells):
            call_soon_threadsafe_or_false(loop, self._arm, loop)
        with suppress(RuntimeError):  # no loop here: the next checkpoint sees that it is late
            self._arm(asyncio.get_running_loop())

    def cancel_timeout(self) -> None:
        """Drop the time limit. Nothing happens without one, or when it is too late."""
        deadline = self._deadline  # another thread may drop it too
        if deadline is not None:
            _ = self.interrupt_signal  # looking makes it final: who has seen the flag up must not see it down again
            deadline.disarm()
            self._deadline = None
            self._set_flag(self.host.flag)

    def _set_flag(self, flag: object) -> None:
        self._flag = flag
        if self._signal_slot:  # tripped meanwhile: a trip is for good
            self._flag = True

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        deadline = self._deadline
        if deadline is not None:
            deadline.arm(loop, lambda: self._deadline is deadline and self.set_signal(deadline.signal))

    @property
    def time_left(self) -> float:
        """Seconds until the time limit, infinite without one."""
        deadline = self._deadline
        return math.inf if deadline is None else deadline.left

    def _signal_from_flag(self) -> InterruptSignal:
        deadline = self._deadline
        if deadline is not None and not deadline.inner_flag:
            return deadline.signal
        return super()._signal_from_flag()

    def when_interrupted(self, callback: Callable[[], object]) -> Callable[[], None]:
        """As Interruptible.when_interrupted; a time limit wakes this loop too from now on."""
        remove = super().when_interrupted(callback)
        if self._deadline is not None:
            self._arm(asyncio.get_running_loop())
        return remove
