"""Tell whether the guardian answers: a ping now and then, and how long its answer has been missing. Pure.

*Theory.* Three things look alike from outside: a guardian that has much to do, one that gets no processor, and one that
is held (a tracer, a frozen cgroup, a disk that hangs). The first uses processor time, the second is runnable, and only
the third does neither. So silence is counted while a ping is unanswered, no processor time is used and the process is
not runnable. It is counted in looks of the supervisor, each worth `LONGEST_LOOK` at most: if everything was paused,
the supervisor too, the guardian was not silent.
"""

from __future__ import annotations

from typing import Protocol

PING_SECONDS = 0.5
"""Seconds between an answer and the next ping."""

LONGEST_LOOK = 0.5
"""Seconds that one look can add to the silence."""


class GuardianActivity(Protocol):
    """State the nanoseconds of processor time that a process has used, and whether it would use more now."""

    @property
    def used(self) -> int: ...  # noqa: D102
    @property
    def is_runnable(self) -> bool: ...  # noqa: D102


class Pulse:
    """Measure the silence of one guardian. Times in monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._asked: int | None = None
        self._number = 0
        self._ping_at = now
        self._seen_at = now
        self._used = -1
        self.silence = 0.0
        """Seconds for which the guardian has neither answered nor worked."""

    def look(self, now: float, activity: GuardianActivity | None) -> int | None:
        """Count the time since the last look. Return the number of the ping that is to be sent now, or None.

        `activity` None: the kernel does not say, and no silence is counted.
        """
        passed, self._seen_at = min(now - self._seen_at, LONGEST_LOOK), now
        is_at_work = activity is None or activity.is_runnable or activity.used != self._used
        self._used = -1 if activity is None else activity.used
        if self._asked is None:
            return self._ask(now)
        self.silence = 0.0 if is_at_work else self.silence + passed
        return None

    def _ask(self, now: float) -> int | None:
        if now < self._ping_at:
            return None
        self._number += 1
        self._asked = self._number
        return self._asked

    def answered(self, number: int, now: float) -> None:
        """Note that the pong of this number came."""
        if number == self._asked:
            self._asked = None
            self._ping_at = now + PING_SECONDS
            self.silence = 0.0
