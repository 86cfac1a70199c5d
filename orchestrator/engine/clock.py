"""Tell a pause of this process from a turn of work. The clocks are arguments.

Theory. Whoever watches others by the clock must notice when it did not run itself: stopped (SIGSTOP, Ctrl-Z), frozen (a
cgroup's freezer, `docker pause`), or starved. Between two turns a loop sleeps until a time that it knows, and works for
a while, which its processor time tells; whatever is longer than both together was lost. Sleep of the whole machine does
not count on the monotonic clock (clock_gettime(2)).
"""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """What one thread's loop has lost. Belongs to that thread."""

    def __init__(self, monotonic: Callable[[], float], processor: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._processor = processor
        self._last: tuple[float, float] | None = None

    def lost(self, slept_until: float) -> float:
        """Seconds since the last call in which this thread neither slept as it wanted to nor worked."""
        now, used = self._monotonic(), self._processor()
        last, self._last = self._last, (now, used)
        if last is None:
            return 0.0
        began, used_before = last
        wanted = max(began, slept_until) if slept_until <= now else now
        return max(0.0, now - wanted - (used - used_before))

    def reset(self) -> None:
        """Begin anew: what was lost until now is known."""
        self._last = (self._monotonic(), self._processor())
