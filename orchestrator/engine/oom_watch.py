"""Decide whether an executor that died by SIGKILL was killed for want of memory.

The kernel counts such kills, and does not say of which process. So a rise of the counter is credited to an executor
that dies by SIGKILL soon afterwards. A process of many GiB takes seconds to die, and what agents have started may be
killed, too: a credit that no executor claims expires.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

CREDIT_SECONDS: Final = 10.0
"""Seconds after which a kill that was counted is no longer taken for that of an executor."""


class OomWatch:
    """Watch the kernel's counter. Belongs to the loop; `read` returns it, `now` monotonic seconds."""

    def __init__(self, read: Callable[[], int | None], now: Callable[[], float]) -> None:
        self._read = read
        self._now = now
        self._count: int | None = None
        self._credits: deque[float] = deque()

    def look(self) -> None:
        """Read the counter. Call this a few times a second: what was counted before the first call is not credited."""
        count, before = self._read(), self._count
        if count is None:
            return
        if before is not None:
            self._credits.extend([self._now()] * min(count - before, 1000))
        self._count = count

    def claim(self) -> bool:
        """Return whether an executor that has died by SIGKILL just now was killed for want of memory."""
        self.look()
        oldest = self._now() - CREDIT_SECONDS
        while self._credits and self._credits[0] < oldest:
            self._credits.popleft()
        if not self._credits:
            return False
        self._credits.popleft()
        return True
