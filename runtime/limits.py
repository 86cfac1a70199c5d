"""The ranges of durations and counts. A leaf, and pure.

A number outside of its range is refused where it enters, in one line, rather than where it breaks something: epoll and
poll count milliseconds in an int (about 24 days), threads wait at most 292 years, and NaN compares as false with
everything. Loops clamp their waits all the same (`clamp_wait`): they look again when one is over.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Final

LONGEST_SECONDS: Final = 10 * 365 * 86_400.0
"""Ten years: longer than any process lives, and far from what a clock or a wait cannot count."""

LARGEST_COUNT: Final = 1_000_000_000

LARGEST_SIZE: Final = 1 << 62
"""Bytes."""

LONGEST_WAIT: Final = 86_400.0
"""Seconds of one wait: a day, as asyncio has it."""

MAX_SLOTS: Final = 4096
"""The executors of one run at most: an interrupt flag has room for so many."""


def check_seconds(name: str, value: float | None, *, above_zero: bool = False, may_be_endless: bool = False) -> None:
    """Raise ValueError unless `value` is a duration in seconds from 0 to ten years. None is for no limit.

    `above_zero`: 0 is none either. `may_be_endless`: infinity is allowed.
    """
    if value is None or (may_be_endless and value == math.inf):
        return
    if not _is_number(value) or not 0 <= value <= LONGEST_SECONDS or (above_zero and value == 0):
        least = "more than 0" if above_zero else "0"
        raise ValueError(f"{name} must be seconds from {least} to {LONGEST_SECONDS:.0f}, not {show_value(value)}")


def check_count(name: str, value: int | None, *, least: int = 1, most: int = LARGEST_COUNT) -> None:
    """Raise ValueError unless `value` is a whole number in its range. None is for no limit."""
    if value is not None and (not _is_number(value) or value != value // 1 or not least <= value <= most):
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {show_value(value)}")


def check_factor(name: str, value: float, *, most: float = 1e9) -> None:
    """Raise ValueError unless `value` is a finite number from 0 to `most`."""
    if not _is_number(value) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}, not {show_value(value)}")


def clamp_wait(seconds: float | None) -> float | None:
    """Return a wait that every system call can count; None is for no end."""
    return None if seconds is None else max(0.0, min(seconds, LONGEST_WAIT))


def show_value(value: object) -> str:
    """Return a short text of what was given instead of a number."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes (sys.set_int_max_str_digits)
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
