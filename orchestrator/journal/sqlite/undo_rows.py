"""Convert undo records to rows and back. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.core.undo_records import UndoRecord, UndoState, UndoUpdate
from orchestrator.journal.sqlite.columns import Count, Number, Stored, Time, escape_surrogates, to_json
from runtime.ipc.undo import UndoCommand

_decode_command = msgspec.json.Decoder(UndoCommand).decode


class UndoRow(Stored, frozen=True):
    """A row of `undo`."""

    number: Number
    task: Count
    attempt: Count
    state: UndoState
    tries: Count
    at: Time
    error: str | None
    host: str
    command: str

    def record(self) -> UndoRecord:
        """Return the record."""
        return UndoRecord(
            number=self.number,
            task=self.task,
            attempt=self.attempt,
            command=_decode_command(self.command),
            host=self.host,
            state=self.state,
            tries=self.tries,
            error=self.error,
            at=self.at,
        )


def columns(record: UndoRecord) -> dict[str, Any]:
    """Return the columns of a new row."""
    return {
        "number": record.number,
        "task": record.task,
        "attempt": record.attempt,
        "state": record.state.value,
        "tries": record.tries,
        "at": record.at,
        "error": _text(record.error),
        "host": escape_surrogates(record.host),
        "command": to_json(record.command),
    }


def changed_columns(update: UndoUpdate) -> dict[str, Any]:
    """Return the number of a record, and the columns that change."""
    return {
        "number": update.number,
        "state": update.state.value,
        "tries": update.tries,
        "at": update.at,
        "error": _text(update.error),
    }


def _text(error: str | None) -> str | None:
    return None if error is None else escape_surrogates(error)
