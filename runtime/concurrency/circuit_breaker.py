"""A circuit breaker: after too many failures in a row nothing more is tried for a while. Pure: `now` is an argument."""

from __future__ import annotations

from runtime.limits import check_count, check_seconds


class CircuitBreaker:
    """Opens after `failures` failures in a row. `reset_after` seconds later it lets one attempt through:

    if that succeeds it closes, else it stays open for as long again. One breaker may be shared by several groups.
    """

    def __init__(self, *, failures: int = 5, reset_after: float = 30.0) -> None:
        check_count("failures", failures)
        check_seconds("reset_after", reset_after)
        self._failures = failures
        self._reset_after = reset_after
        self._consecutive_failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether it has opened, and no attempt has succeeded since."""
        return self._open_until is not None

    def allow(self, now: float) -> bool:
        """Whether an attempt may be made. One that is admitted must be followed by `succeeded`, `failed` or `left`."""
        if self._open_until is None:
            return True
        if now < self._open_until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """An attempt succeeded: closed again."""
        self._consecutive_failures = 0
        self._open_until = None
        self._probing = False

    def failed(self, now: float) -> None:
        """An attempt failed."""
        self._consecutive_failures += 1
        self._probing = False
        if self._consecutive_failures >= self._failures:
            self._open_until = now + self._reset_after

    def cancelled(self) -> None:
        """An attempt ended without telling anything (it was cancelled)."""
        self._probing = False
