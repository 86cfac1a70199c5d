"""Limit how many lines of one kind are written: some at once, then one now and then that counts the others. Pure."""

from __future__ import annotations

AT_ONCE, SECONDS = 10, 2.0
"""So many lines are written at once; after that, one in so many seconds."""


class LineLimit:
    """Decide which lines are written. `now` is in monotonic seconds."""

    def __init__(self, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._most = float(at_once)
        self._seconds = seconds
        self._credit = self._most
        self._at: float | None = None
        self._left_out = 0

    def admit(self, now: float) -> int | None:
        """Return None if the line is to be left out, else how many were left out before it."""
        elapsed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._credit = min(self._most, self._credit + elapsed / self._seconds)
        if self._credit < 1:
            self._left_out += 1
            return None
        self._credit -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
