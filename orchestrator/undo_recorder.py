"""Write into the journal what the heir of a dead supervisor has undone. The guardian becomes this program at its end.

It needs no claim on the run, which the next supervisor may have already: that one waits for the end of this process.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from orchestrator.core.undo_records import UndoUpdate, state_after
from orchestrator.journal import open_journal, wait_at_most
from runtime.errors import QuiesceError
from runtime.ipc.guardian_protocol import UndoReceipt
from runtime.stop_limits import JOURNAL_TIMEOUT


def main() -> None:
    """Record the UndoReceipt on standard input. What cannot be recorded is undone once more by the next start."""
    receipt = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=UndoReceipt)
    try:
        with open_journal(os.fsdecode(receipt.location), "write", wait_at_most(JOURNAL_TIMEOUT)) as journal:
            journal.update_undo(receipt.run, to_updates(receipt, time.time()))
    except QuiesceError as error:
        sys.exit(f"quiesce: what was undone cannot be recorded: {error}")


def to_updates(receipt: UndoReceipt, at: float) -> list[UndoUpdate]:
    """Return the changes of the records of a receipt, at this time (Unix seconds)."""
    return [
        UndoUpdate(number, state_after(result), tries, at, result.error or None)
        for number, tries, result in receipt.results
    ]
