"""Opening the journal of a command: who waits for somebody else says so."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orchestrator.journal import Journal, Mode, open_journal, wait_at_most
from runtime.text import printable


def open_for_command(where: str, mode: Mode = "create", *, group: bool = False) -> Journal:
    """As `open_journal`, with a line on standard error while somebody else has it locked."""

    def report(holders: Sequence[str], _seconds: float) -> None:
        holding = ", ".join(holders) or "somebody"
        sys.stderr.write(printable(f"quiesce: waiting for the journal {where}, locked by {holding}") + "\n")
        sys.stderr.flush()

    return open_journal(where, mode, wait_at_most(report=report), group=group)
