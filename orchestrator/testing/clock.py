"""A clock that stands still until a test moves it."""

from __future__ import annotations

import time


class ManualClock:
    """Tell a time that only `advance` changes. Thread-safe: one thread advances, any thread reads.

    It begins at the real monotonic time, so that deadlines of parts that know no other clock (the journal's thread)
    lie in the future. The processor time moves with it: the loop has worked all the time, and never lost any.
    """

    def __init__(self) -> None:
        self._now = time.monotonic()

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self._now

    processor_time = monotonic

    def advance(self, seconds: float) -> None:
        """Move the time forward. A loop that waits notices it when it wakes: see FakeBackend.advance."""
        self._now += seconds
