"""Wait for another process that has the journal locked. Contention is no damage: it mostly ends by itself.

The kind of journal waits for a moment by itself; then a handler is called, which may report, and raises to give up. So
every wait is bounded by the component that knows how long waiting makes sense.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from orchestrator.journal.errors import JournalError

REPORT_AFTER: Final = 1.0
"""Seconds after which a wait is reported."""

LIMIT: Final = 30.0
"""Seconds that a command waits that has nothing to lose."""


class ContentionError(JournalError):
    """The journal is whole, but another process keeps it locked."""


class Contention(msgspec.Struct, frozen=True):
    """A wait for the journal at `location`, which has lasted for `seconds`. `over`: it has just ended.

    `finder` returns the processes that have it locked, by pid; 0 is a process of another container.
    """

    location: str
    seconds: float
    finder: Callable[[str], list[int]]
    over: bool = False

    def find_holders(self) -> list[str]:
        """Return the processes that have the journal locked, as far as the host shows them."""
        return [describe_process(pid) for pid in self.finder(self.location)]

    def error(self) -> ContentionError:
        """Return the error to raise when the wait is given up."""
        return ContentionError(self.describe(self.find_holders()))

    def describe(self, holders: Sequence[str]) -> str:
        """Return one line for a message."""
        return f"journal {self.location}: {', '.join(holders) or 'another process'} keeps it locked"


Handler = Callable[[Contention], None]
"""Is called again and again during a wait, and once when it is over. Raises to give up."""


Report = Callable[[Sequence[str], float], None]
"""Is called with the processes that a command waits for, and for how many seconds it has waited."""


def wait_at_most(limit: float = LIMIT, report: Report | None = None) -> Handler:
    """Return a handler that reports a wait once, and gives up after `limit` seconds."""
    reported = False

    def handle(contention: Contention) -> None:
        nonlocal reported
        if contention.over:
            reported = False
        elif contention.seconds >= limit:
            raise contention.error()
        elif contention.seconds >= REPORT_AFTER and not reported and report is not None:
            reported = True
            report(contention.find_holders(), contention.seconds)

    return handle


def describe_process(pid: int) -> str:
    """Return a process for a message, with its name if the host shows it."""
    if pid == 0:
        return "a process of another container"
    name = ""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        name = "".join(character if character.isprintable() else "?" for character in file.read().strip())
    return f"process {pid} ({name})" if name else f"process {pid}"
