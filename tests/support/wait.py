"""Waiting for a real condition, with a deadline that fails the test and says what was waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.002


def wait_until(predicate: Callable[[], T], deadline: float = 30.0, what: str | Callable[[], str] = "") -> T:
    """Look at `predicate` until it is true and hand its value back.

    `deadline` is in seconds from now; when it passes, AssertionError names `what` (or calls it, so that the
    message tells how things stood at the end). For conditions that no descriptor can announce; where one
    can, block on it instead (tests.support.sync, tests.support.eof).
    """
    end = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= end:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {deadline:g} s: {told or getattr(predicate, '__name__', predicate)}")
        time.sleep(_PAUSE)
