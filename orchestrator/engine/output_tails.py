"""Keep the last bytes of each task's output until they are committed. Pure, but for the time of a line."""

from __future__ import annotations

from collections import deque
from typing import Final

from orchestrator.core.output import KeptLine, OutputChunk, line_size

COMMIT_SECONDS: Final = 0.25
"""Output is committed this often; that of a task that has ended, at once."""


class _Tail:
    """The lines of one task that are not committed yet."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.lines: deque[KeptLine] = deque()
        self.size = 0
        self.count = 0
        self.has_older = False
        self.has_dropped = False

    def add(self, line: KeptLine, limit: int) -> None:
        """Add a line, and drop the oldest ones beyond the limit."""
        self.lines.append(line)
        self.count += 1
        self.size += line_size(line)
        while self.size > limit and len(self.lines) > 1:
            self.size -= line_size(self.lines.popleft())
            self.has_dropped = True

    def take(self, task: int, limit: int) -> OutputChunk:
        """Return what is to be committed, and forget it."""
        keep: int | None = None
        if self.has_older:
            keep = 0 if self.has_dropped else max(0, limit - self.size)  # what is kept has no gap
        first = self.count - len(self.lines)
        chunk = OutputChunk(task=task, lines=list(self.lines), slot=self.slot, first=first, keep=keep)
        self.lines.clear()
        self.size, self.has_older, self.has_dropped = 0, True, False
        return chunk


class OutputTails:
    """The tails of the tasks of one run. Belongs to the loop. `limit`: bytes kept of each task; 0: none is kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tails: dict[int, _Tail] = {}
        self._waiting: set[int] = set()
        self._ended: set[int] = set()
        self.is_resumed = False
        """Whether an earlier start of the run may have committed output of its tasks."""

    @property
    def has_any(self) -> bool:
        """Whether something is still to be committed."""
        return bool(self._waiting)

    def add(self, task: int, slot: int, line: KeptLine, *, is_again: bool) -> None:
        """Add a line of a task, 0 for what belongs to none. `is_again`: earlier output of it may be committed."""
        if not self._limit:
            return
        tail = self._tails.get(task)
        if tail is None:
            tail = self._tails[task] = _Tail(slot)
            tail.has_older = self.is_resumed or is_again
        tail.slot = slot
        tail.add(_cut(line, self._limit), self._limit)
        self._waiting.add(task)

    def end(self, task: int) -> None:
        """Note that a task has ended: what it has said is committed with its outcome."""
        if task in self._tails:
            self._ended.add(task)

    def take(self, *, everything: bool) -> list[OutputChunk]:
        """Return what is to be committed: `everything`, or only what tasks that have ended have said."""
        tasks = self._waiting if everything else self._waiting & self._ended
        if not tasks:
            return []
        chunks = [self._tails[task].take(task, self._limit) for task in sorted(tasks)]
        self._waiting = self._waiting - tasks
        for task in self._ended - self._waiting:
            self._tails.pop(task, None)
        self._ended = self._ended & self._waiting
        return chunks


def _cut(line: KeptLine, limit: int) -> KeptLine:
    """Return the line with the end of its text, if it is larger than the limit alone."""
    if len(line.text) <= limit:
        return line
    return KeptLine(line.at, line.stream, f"…{line.text[-limit:]}", line.severity, line.logger)
