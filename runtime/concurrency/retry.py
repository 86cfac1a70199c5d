"""Whether to try again, and after how long. Pure: no clock, no randomness, no sleeping; those are arguments.

Our own, because the well-kept libraries (tenacity, stamina) look at the clock and sleep themselves, which a shield, a
test and an interrupt would each have to patch; the decision that is left is this page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.limits import check_count, check_factor, check_seconds, show_value


class Backoff(StrEnum):
    """How the delay grows from one attempt to the next."""

    CONSTANT = "constant"
    """`delay` each time."""
    LINEAR = "linear"
    """`delay`, twice, three times `delay`, and so on"""
    EXPONENTIAL = "exponential"
    """`factor` times as much each time"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is made again. Times are seconds.

    `attempts` counts the first one too. `jitter` takes away up to that share of each delay at random: 0 none,
    1 anything from zero to the full delay. No attempt begins later than `total_time` after the first.
    Only `retry_on` is retried and never `never_on`; what is no Exception (an interrupt, a cancellation,
    Ctrl-C) never is, whatever they say. Raises ValueError for a number out of range.
    """

    attempts: int = 3
    backoff: Backoff = Backoff.EXPONENTIAL
    delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: float = 0.0
    total_time: float | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)
    never_on: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "backoff", Backoff(self.backoff))
        check_count("attempts", self.attempts)
        check_factor("jitter", self.jitter, most=1)
        check_factor("factor", self.factor)
        check_seconds("delay", self.delay)
        check_seconds("max_delay", self.max_delay)
        check_seconds("total_time", self.total_time)
        _check_classes("retry_on", self.retry_on)
        _check_classes("never_on", self.never_on)

    def decide(self, error: BaseException, *, attempt: int, elapsed: float, chance: float = 0.0) -> float | None:
        """Seconds until the next attempt; None to give up.

        `attempt` is the number of the one that failed, `elapsed` the seconds since the first began, `chance` a
        random number in [0, 1) for the jitter.
        """
        if attempt >= self.attempts or not self._may_retry(error):
            return None
        wait = self.delay_after(attempt) * (1.0 - self.jitter * chance)
        if self.total_time is not None and elapsed + wait > self.total_time:
            return None
        return wait

    def delay_after(self, attempt: int) -> float:
        """Return the delay in seconds after failed attempt number `attempt`, without jitter."""
        wait = self.delay
        if self.backoff is Backoff.LINEAR:
            wait *= attempt
        elif self.backoff is Backoff.EXPONENTIAL:
            wait = self._grown(attempt - 1)
        return min(wait, self.max_delay)

    def _grown(self, times: int) -> float:
        try:
            return self.delay * self.factor**times
        except OverflowError:
            return self.max_delay

    def _may_retry(self, error: BaseException) -> bool:
        return (
            isinstance(error, Exception) and isinstance(error, self.retry_on) and not isinstance(error, self.never_on)
        )


def _check_classes(name: str, kinds: object) -> None:
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ValueError(f"{name} must be classes of exceptions, not {show_value(kind)}")  # noqa: TRY004 - as for every other number and word
