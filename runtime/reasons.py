"""Why work is asked to stop, and how text and moments of a reason are made sound. A leaf below model."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


class InterruptReason(StrEnum):
    """Why work is asked to stop. The order is the code in the shared flag (1 = the first): only append."""

    USER_CANCELLED = "user_cancelled"
    TIMEOUT = "timeout"
    RESOURCE_LIMIT = "resource_limit"
    ERROR_THRESHOLD = "error_threshold"
    PRIORITY_OVERRIDE = "priority_override"
    SYSTEM_SHUTDOWN = "system_shutdown"
    CUSTOM = "custom"

    @property
    def code(self) -> int:
        """The non-zero byte that stands for this reason in the interrupt flag."""
        return _CODES[self]

    @classmethod
    def from_code(cls, code: int) -> InterruptReason:
        """Return the reason for a flag byte; CUSTOM for an unknown code (of a newer writer)."""
        return _REASONS.get(code, cls.CUSTOM)


_CODES = {reason: index for index, reason in enumerate(InterruptReason, start=1)}
_REASONS = {code: reason for reason, code in _CODES.items()}


def escape_surrogates(text: str) -> str:
    """Return text that can be encoded: lone surrogates (of a file name, say) become escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def aware(moment: datetime) -> datetime:
    """Return the same moment as an aware datetime in UTC; a naive one is taken as UTC."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ArithmeticError, TypeError, ValueError):  # beyond the year 9999 or before 1, or a tzinfo that is broken
        return moment.replace(tzinfo=UTC)
