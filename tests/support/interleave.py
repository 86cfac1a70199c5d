"""Two threads on one object, in every order that matters: one is stopped before each of its lines, in turn.

The first call is traced. Before its n-th line the second call runs in a thread of its own, to its end or until it waits
for a lock that the first one holds; then the first goes on. So each place where a thread may be preempted between a
check and an act is visited once, and a fault that needs one certain place is found there every time.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

BLOCKED = 0.05
"""Seconds after which a second call that has not ended counts as waiting for the first one. Only a wrong program's
verdict depends on it: a right one is right in either order."""


class _Stop(Exception):
    """The traced call had no such line."""


def interleave(
    make: Callable[[], T],
    first: Callable[[T], Any],
    second: Callable[[T], Any],
    check: Callable[[T, Any, Any], None],
    *files: str,
) -> int:
    """Check all orders of `first` and `second` on fresh objects. How many there were.

    `check(object, result of first, result of second)`; a result is what a call returned or the exception it raised.
    Lines of the modules whose files end with one of `files` count.
    """
    line = 0
    while True:
        subject = make()
        results: list[Any] = []
        thread = threading.Thread(target=_keep, args=(results, second, subject))
        trace = _Tracer(line, thread, files)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            mine = _result(first, subject)
        finally:
            sys.settrace(before)
        if not trace.reached:
            assert line, "not one line of these files was run"
            return line
        thread.join(10)
        assert not thread.is_alive(), f"the second call hangs when it begins before line {line}"
        check(subject, mine, results[0])
        line += 1


def _keep(results: list[Any], call: Callable[[T], Any], subject: T) -> None:
    results.append(_result(call, subject))


def _result(call: Callable[[T], Any], subject: T) -> Any:
    try:
        return call(subject)
    except Exception as error:
        return error


class _Tracer:
    def __init__(self, line: int, thread: threading.Thread, files: tuple[str, ...]) -> None:
        self._left = line
        self._thread = thread
        self._files = files
        self.reached = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(self._files):
            return None
        if event == "line" and not self.reached:
            if self._left == 0:
                self.reached = True
                self._thread.start()
                self._thread.join(BLOCKED)
            self._left -= 1
        return self
