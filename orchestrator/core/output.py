"""Records of what agents print and log: frozen and pure."""

from __future__ import annotations

import msgspec

from runtime.model import Severity


class OutputLine(msgspec.Struct, frozen=True):
    """Hold one line of a task's output, or one record of a log, whose text may have several lines.

    `task` is the number of the task, 0 for what belongs to none. `logger` is empty for a line of text.
    """

    task: int
    text: str
    severity: Severity = Severity.INFO
    logger: str = ""
