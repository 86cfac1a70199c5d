"""A circuit breaker: after too many failures in a row nothing more is tried for a while. Pure: `now` is an argument."""

from __future__ import annotations

from runtime.limits import check_count, check_seconds


class CircuitBreaker:
    """Open after `failures` failures in a row, and let one attempt through `reset_after` seconds later.

    If that attempt succeeds the breaker closes, else it stays open for as long again. Several groups may share one.
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
        """Return whether an attempt may be made; then call `succeeded`, `failed` or `cancelled` for it."""
        if self._open_until is None:
            return True
        if now < self._open_until or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Close the breaker after an attempt that succeeded."""
        self._consecutive_failures = 0
        self._open_until = None
        self._probing = False

    def failed(self, now: float) -> None:
        """Count a failed attempt (`now` in seconds); open the breaker if it was one too many."""
        self._consecutive_failures += 1
        self._probing = False
        if self._consecutive_failures >= self._failures:
            self._open_until = now + self._reset_after

    def cancelled(self) -> None:
        """Release an attempt that neither succeeded nor failed: it was cancelled."""
        self._probing = False
