"""The time as the loop sees it, and how much of it the loop has lost.

Theory. A process that watches others by the clock must notice when it did not run itself: stopped (SIGSTOP, Ctrl-Z),
frozen (a cgroup's freezer, `docker pause`), or starved. Between two turns a loop sleeps until a time that it knows, and
works for a while, which its processor time shows; whatever is longer than both together was lost. Sleep of the whole
machine does not count on the monotonic clock (clock_gettime(2)).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time of a supervisor's loop, in seconds. A test can set its own (orchestrator.testing.ManualClock)."""

    def monotonic(self) -> float:
        """Return the monotonic time."""
        ...

    def processor_time(self) -> float:
        """Return the processor time that the calling thread has used."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return time.monotonic()

    def processor_time(self) -> float:
        """Return the processor time that the calling thread has used."""
        return time.thread_time()


class PauseDetector:
    """Measure what one thread's loop has lost. Belongs to that thread; see `move`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[float, float] | None = None

    def lost(self, slept_until: float) -> float:
        """Return the seconds since the last call in which this thread neither slept as it wanted to nor worked."""
        now, used = self._clock.monotonic(), self._clock.processor_time()
        last, self._last = self._last, (now, used)
        if last is None:
            return 0.0
        began, used_before = last
        wanted = max(began, slept_until) if slept_until <= now else now
        return max(0.0, now - wanted - (used - used_before))

    def move(self) -> None:
        """Go on in the calling thread, which has the loop now: the time since the last turn still counts."""
        if self._last is not None:
            self._last = (self._last[0], self._clock.processor_time())

    def reset(self) -> None:
        """Count from now on: what was lost before is known."""
        self._last = (self._clock.monotonic(), self._clock.processor_time())
