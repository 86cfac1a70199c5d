"""Open the journal of a command, and report when another process holds its lock."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orchestrator.journal import Journal, Mode, open_journal, wait_at_most
from runtime.text import printable


def open_for_command(where: str, mode: Mode = "create", *, group: bool = False) -> Journal:
    """Open a journal as `open_journal` does; print a line on standard error while another process has it locked."""

    def report(holders: Sequence[str], _seconds: float) -> None:
        holding = ", ".join(holders) or "another process"
        sys.stderr.write(printable(f"quiesce: waiting for the journal {where}, locked by {holding}") + "\n")
        sys.stderr.flush()

    return open_journal(where, mode, wait_at_most(report=report), group=group)
