"""Notice an event loop that is blocked, and find the task whose step blocks it.

Theory. Tasks that share a loop share its time: one that calls `time.sleep(60)` makes all of them late. The control
thread asks the loop for a sign (`call_soon_threadsafe`) while two tasks or more run on it; if none comes for a while,
the stack of the loop's thread shows the callback that it is in, and the callback's context shows the task. If
the control thread was itself held up (C code that kept the GIL), the step that did so is most likely still the one
that is shown, because the GIL is given away between two bytecodes of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from types import FrameType

from runtime.ipc.executor_protocol import LoopBlocked
from runtime.native import MAIN_THREAD

BLOCKED_SECONDS = 0.25
"""Seconds without an answer after which a loop counts as blocked; also the interval of the questions."""

_CALLBACK = asyncio.Handle._run.__code__  # noqa: SLF001 - what every step of a loop is called from


class LoopWatch:
    """`enter` and `leave` belong to the loop's thread, `look` to the control thread.

    `task_of` tells which task (by number, 0 = none) a context belongs to.
    """

    def __init__(self, task_of: Callable[[Context], int]) -> None:
        self._task_of = task_of
        self._thread = MAIN_THREAD
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked_at: float | None = None
        self._looked_at: float | None = None
        self._blocked: LoopBlocked | None = None

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop on which several tasks run."""
        self._loop = loop

    def leave(self) -> None:
        """Stop watching: no task runs, or one alone, which can delay only itself."""
        self._loop = None

    @property
    def is_watching(self) -> bool:
        """Return whether `look` must be called every `BLOCKED_SECONDS`."""
        return self._loop is not None or self._blocked is not None

    def look(self, now: float) -> list[LoopBlocked]:
        """Return the reports due at `now` (monotonic seconds)."""
        loop, looked_at, self._looked_at = self._loop, self._looked_at, now
        if loop is None:
            self._looked_at = self._asked_at = None
            return self._over(now)
        if self._asked_at is not None:
            return self._late(self._asked_at) if now - self._asked_at >= BLOCKED_SECONDS else []
        reports = self._over(now)
        if not reports and looked_at is not None and now - looked_at >= 3 * BLOCKED_SECONDS:
            reports = [*self._late(looked_at), *self._over(now)]  # no check was possible in between
        self._ask(loop, now)
        return reports

    def _ask(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._asked_at = now
        with suppress(RuntimeError):  # it was closed
            loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._asked_at = None

    def _late(self, since: float) -> list[LoopBlocked]:
        """Report a loop that has been blocked since then: once, and again when the blocking task is known."""
        task = self._holder()
        before = self._blocked
        if before is not None and (before.task or not task):
            return []
        self._blocked = LoopBlocked(task, since if before is None else before.since)
        return [self._blocked]

    def _over(self, now: float) -> list[LoopBlocked]:
        blocked, self._blocked = self._blocked, None
        return [] if blocked is None else [LoopBlocked(blocked.task, blocked.since, now)]

    def _holder(self) -> int:
        frame: FrameType | None = sys._current_frames().get(self._thread)  # noqa: SLF001
        while frame is not None:
            if frame.f_code is _CALLBACK:
                context = getattr(frame.f_locals.get("self"), "_context", None)
                return self._task_of(context) if isinstance(context, Context) else 0
            frame = frame.f_back
        return 0
