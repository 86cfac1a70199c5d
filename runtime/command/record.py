"""Say how a command ended: the record that is its result, and the errors of one that failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runtime.command.signal_names import signal_name
from runtime.errors import ExecutionInterrupted, QuiesceError
from runtime.text import single_line

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

TAIL: Final = 4096
"""Bytes of the end of each stream that are in the record of a command."""

LONGEST_COMMAND: Final = 4096
"""Characters of the command line in a record."""

LONGEST_REASON: Final = 300
"""Characters of the last line of standard error in a message."""


class CommandFailed(QuiesceError):
    """A command ended with an exit code that is not among --ok-codes, or by a signal. `value`: its record."""

    def __init__(self, message: str, value: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.value = value


class CommandInterrupted(ExecutionInterrupted):
    """A command was interrupted. `value`: its record, as far as it came."""

    def __init__(self, signal: InterruptSignal, value: dict[str, Any]) -> None:
        super().__init__(signal)
        self.value = value


class CommandFailedForGood(CommandFailed):
    """A command failed that is not tried again: it cannot be started, or its code is not among --retry-codes."""


def text_of(data: bytes) -> str:
    """Return output as text; bytes that are not UTF-8 as escapes."""
    return data.decode("utf-8", "backslashreplace")


def describe_end(code: int, last_line: str) -> str:
    """Return the one line about a command that failed. `code`: as subprocess has it, negative for a signal."""
    how = f"killed by {signal_name(-code)}" if code < 0 else f"exit code {code}"
    reason = single_line(last_line, LONGEST_REASON)
    return f"{how}: {reason}" if reason else how


def last_line(data: bytes) -> str:
    """Return the last line with something in it."""
    return next((line for line in reversed(text_of(data).splitlines()) if line.strip()), "").strip()
