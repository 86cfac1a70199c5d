"""Whether a task that failed is tried again, and after how many seconds. Pure.

The machine has no source of chance, so that a replay decides the same: the jitter of a delay is computed from the
number of the task and of its attempt. Tasks that failed together are spread over time all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from orchestrator.core.settings import RunSettings
from orchestrator.core.verdicts import backoff_seconds
from runtime.failure import Failure
from runtime.ipc.executor_protocol import TaskDone
from runtime.limits import LONGEST_SECONDS

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

RETRY_LATER_LIMIT: Final = 100
"""How often a task may ask to be tried later (RetryLater) in one start of its run, before that counts as a failure."""

_WORD: Final = (1 << 64) - 1


def is_retried(settings: RunSettings, failure: Failure | None, signal: InterruptSignal | None) -> bool:
    """Return whether a failure is one of those that are tried again, by its exception, or by the limit it ran into."""
    names = frozenset() if signal is None else frozenset({signal.reason.value})
    wanted, unwanted = settings.retry_on, settings.no_retry_on
    if unwanted is not None and _is_among(unwanted, failure, names):
        return False
    return wanted is None or _is_among(wanted, failure, names)


def _is_among(names: Sequence[str], failure: Failure | None, reasons: frozenset[str]) -> bool:
    return bool(reasons.intersection(names)) or (failure is not None and failure.is_of(frozenset(names)))


def retry_delay(settings: RunSettings, seq: int, attempt: int) -> float:
    """Return the seconds between failed attempt number `attempt` of a task and its next one."""
    delay = backoff_seconds(settings.retry_delay, attempt - 1, settings.retry_max_delay)
    return delay * (1.0 - settings.retry_jitter * chance(seq, attempt))


def chance(seq: int, attempt: int) -> float:
    """Return a number in [0, 1) that looks random, and is always the same for one attempt (the mixer of splitmix64)."""
    word = (seq * 0x9E3779B97F4A7C15 + attempt * 0xD1B54A32D192ED03) & _WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return ((word ^ word >> 31) >> 11) / (1 << 53)


def seconds_until_later(record: TaskDone) -> float | None:
    """Return in how many seconds a task asks to be tried again (RetryLater); None if it does not."""
    seconds = None if record.failure is None else record.failure.retry_after
    if seconds is None or not math.isfinite(seconds):  # an executor may send what it likes
        return None
    return min(max(0.0, seconds), LONGEST_SECONDS)
