"""Group failed tasks by their cause: the kind of the error, and the innermost frame of the user's own code. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from orchestrator.core.outcomes import MEMORY_LIMIT
from orchestrator.core.records import TaskOutcome
from runtime.text import single_line
from runtime.user_frames import Frame, frames_in_text, select_user_frames

TOP: Final = 3
"""Groups that the last lines of a run name."""

OUT_OF_MEMORY: Final = "out of memory"
"""The cause of tasks that the kernel's OOM killer ended, or the run's own limit."""

LONGEST_CAUSE: Final = 200
"""Characters of a cause without an exception."""

_COMMAND_ERRORS: Final = frozenset({"CommandFailed"})
"""The error of commands, with the one below it (runtime/command/record.py)."""

_EXCEPTION: Final = re.compile(r"^([^\W\d][\w.]*)(?::|$)")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why tasks failed. `kind`: an exception's type, a limit's reason, or the beginning of what the supervisor says."""

    kind: str
    frame: Frame | None = None

    def text(self, folder: str = "") -> str:
        """Return the cause on one line; a file below `folder`, the run's working directory, as seen from there."""
        if self.frame is None:
            return self.kind
        file = self.frame.file.removeprefix(f"{folder.rstrip('/')}/") if folder else self.frame.file
        return f"{self.kind} at {file}:{self.frame.line} in {self.frame.function}"

    def pattern(self, folder: str = "") -> str:
        """Return a regular expression that matches this cause's text and no other one."""
        return f"^{re.escape(self.text(folder)).replace(chr(92) + ' ', ' ')}$"


@dataclass(slots=True)
class FailureGroup:
    """The failed tasks of one cause: how many, and the first one of them."""

    cause: Cause
    example: TaskOutcome
    count: int = 0

    def to_dict(self, folder: str) -> dict[str, Any]:
        """Return the group for programs."""
        frame = self.cause.frame
        return {
            "cause": self.cause.text(folder),
            "kind": self.cause.kind,
            "frame": None if frame is None else msgspec.structs.asdict(frame),
            "count": self.count,
            "example": self.example.key,
            "error": self.example.error,
        }


@dataclass(slots=True)
class FailureGroups:
    """Groups of failed tasks; `add` one after the other."""

    by_cause: dict[Cause, FailureGroup] = field(default_factory=dict)
    count: int = 0

    def add(self, outcome: TaskOutcome) -> None:
        """Count a failed task."""
        cause = cause_of(outcome)
        self.by_cause.setdefault(cause, FailureGroup(cause, outcome)).count += 1
        self.count += 1

    def largest_first(self) -> list[FailureGroup]:
        """Return the groups by size; of one size in the order of their first tasks."""
        return sorted(self.by_cause.values(), key=lambda group: -group.count)


def group_failures(outcomes: Iterable[TaskOutcome]) -> FailureGroups:
    """Return failed tasks, grouped."""
    groups = FailureGroups()
    for outcome in outcomes:
        groups.add(outcome)
    return groups


def cause_of(outcome: TaskOutcome) -> Cause:
    """Return why a task failed. What an older quiesce recorded has only the text of error and traceback."""
    error = outcome.error or ""
    if outcome.signal is not None:
        return Cause(OUT_OF_MEMORY if outcome.signal.triggered_by == MEMORY_LIMIT else outcome.signal.reason.value)
    if outcome.failure is not None and outcome.failure.is_of(_COMMAND_ERRORS):
        return Cause(command_cause(error, outcome.key))
    if outcome.failure is not None:
        return Cause(outcome.failure.type, outcome.failure.frame)
    match = _EXCEPTION.match(error) if outcome.detail else None
    if match is None:
        return Cause(single_line(error.partition(" (")[0] or "no error", LONGEST_CAUSE))
    frames = select_user_frames(frames_in_text(outcome.detail or ""))
    return Cause(match[1], frames[-1] if frames else None)


def command_cause(error: str, key: str) -> str:
    """Return why a command failed: its exit code or signal, and the last line that it wrote to standard error.

    The input's own text in that line is shown as {}, so that commands that failed alike are one group.
    """
    end, separator, line = error.partition(": ")
    if key:
        line = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "{}", line)
    return single_line(end + separator + line, LONGEST_CAUSE)


def tasks(count: int) -> str:
    """Return a number of tasks as text."""
    return "1 task" if count == 1 else f"{count} tasks"


def summary_lines(groups: Sequence[FailureGroup], folder: str = "", top: int = TOP) -> list[str]:
    """Return a line for each of the largest groups, and one for the rest."""
    lines = []
    for group in groups[:top]:
        example = single_line(f"task {group.example.key}: {group.example.error}", LONGEST_CAUSE)
        lines.append(
            f"  {tasks(group.count)}: {single_line(group.cause.text(folder), LONGEST_CAUSE)} (for example {example})"
        )
    rest = groups[top:]
    if rest:
        lines.append(f"  {tasks(sum(group.count for group in rest))}: {len(rest)} more causes")
    return lines
