"""Records of what agents print and log: frozen and pure."""

from __future__ import annotations

import msgspec

from runtime.statuses import Severity


class OutputLine(msgspec.Struct, frozen=True):
    """Hold one line of a task's output, or one record of a log, whose text may have several lines.

    `task` is the number of the task, 0 for what belongs to none. `logger` is empty for a line of text.
    """

    task: int
    text: str
    severity: Severity = Severity.INFO
    logger: str = ""


class KeptLine(msgspec.Struct, frozen=True, array_like=True):
    """Hold one line or record as the journal keeps it. `stream`: `stdout`, `stderr` or `log`; `at`: Unix seconds."""

    at: float
    stream: str
    text: str
    severity: Severity = Severity.INFO
    logger: str = ""


class OutputChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Hold lines of one task (0: of none) that are committed together.

    `first` is how many lines of the task came before in this start of the run, kept or not. `keep`: how many bytes of
    the task's older output may stay in the journal beside this; None: all, since there is none. `seq` is given by the
    journal.
    """

    task: int
    lines: list[KeptLine]
    slot: int = 0
    first: int = 0
    keep: int | None = None
    seq: int = 0

    @property
    def size(self) -> int:
        """Return about how many bytes it takes."""
        return sum(map(line_size, self.lines))


def line_size(line: KeptLine) -> int:
    """Return about how many bytes a line takes in the journal."""
    return len(line.text) + len(line.logger) + 40


class AgentOutput(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a line that a task printed, or a record that it logged, for a program or a file.

    `key` is None for what belongs to no task: a module that prints while it is imported. `stream` is `stdout`, `stderr`
    or `log` (`state.log`); `logger` is empty for a line of text; `at` is Unix seconds. The text of a record may have
    several lines. `task` is the task's number, 0 for none; `slot` is the executor's.
    """

    key: str | None
    text: str
    stream: str
    severity: Severity = Severity.INFO
    logger: str = ""
    at: float = 0.0
    slot: int = 0
    task: int = 0
