"""Write a line for each command that ended, in the format of GNU parallel's --joblog."""

from __future__ import annotations

import os
from contextlib import suppress

from orchestrator.cli.commands.ended_command import EndedCommand, read_ended
from orchestrator.core.records import TaskOutcome
from runtime.command.signal_names import signal_number
from runtime.errors import UsageError

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
NOT_STARTED = 127
"""The exit code of a shell for a command that it cannot start."""

TIMED_OUT = -1
"""The exit code that GNU parallel logs for a command over its timeout."""


class JobLog:
    """Append to a file; a new one begins with the header. Raises UsageError when it cannot be written."""

    def __init__(self, path: str) -> None:
        try:
            self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - for the whole run
            if not os.fstat(self._file.fileno()).st_size:
                self._file.write(HEADER)
        except OSError as error:
            raise UsageError(f"--joblog {path}: it cannot be written: {error.strerror or error}") from None

    def write(self, outcome: TaskOutcome) -> None:
        """Write the line of an outcome that is final."""
        with suppress(OSError):  # a full disk costs lines, not the run
            self._file.write(line_of(outcome, read_ended(outcome) or EndedCommand()))

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()


def line_of(outcome: TaskOutcome, ended: EndedCommand) -> str:
    """Return the line of a command: `Send` is always 0, `Receive` the bytes of its standard output."""
    started_at = ended.started_at or outcome.started_at or 0.0
    code, number = _exit_value(outcome, ended), _signal_number(ended)
    command = (ended.command or outcome.key).replace("\n", " ")
    times = f"{started_at:.3f}\t{ended.seconds:10.3f}"
    return f"{outcome.seq}\t:\t{times}\t0\t{ended.stdout_bytes}\t{code}\t{number}\t{command}\n"


def _exit_value(outcome: TaskOutcome, ended: EndedCommand) -> int:
    if outcome.signal is not None:
        return TIMED_OUT
    if ended.signal is not None:
        return 0
    return NOT_STARTED if ended.exit is None else ended.exit


def _signal_number(ended: EndedCommand) -> int:
    with suppress(ValueError):
        return 0 if ended.signal is None else signal_number(ended.signal)
    return 0
