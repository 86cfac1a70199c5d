"""Read the record of an ended command (runtime/command/record.py) from its outcome. Executes nothing. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core.records import TaskOutcome


class EndedCommand(msgspec.Struct, frozen=True):
    """What is read of a record. Times in seconds, sizes in bytes."""

    command: str = ""
    exit: int | None = None
    signal: str | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_file: str | None = None
    stderr_file: str | None = None
    seconds: float = 0.0
    started_at: float = 0.0


_decode = msgspec.json.Decoder(EndedCommand).decode


def read_ended(outcome: TaskOutcome) -> EndedCommand | None:
    """Return the record of an outcome, None if it has none."""
    if outcome.encoded is None or not outcome.exact:
        return None
    try:
        return _decode(outcome.encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # what an executor sent that is not ours
        return None
