"""Split the standard output or error of one executor into lines of its tasks, no faster than they can be logged. Pure.

Theory: a line costs its agent a microsecond, and the supervisor, which logs it, many times that. So lines are taken a
few at a time, and the pipe is not read while some of them wait: the pipe fills, and the agent waits. During a stop the
agent must not wait. Then a stream has an allowance; output beyond it is counted and dropped, except for the last
lines, which say how the executor ended.

Bytes are in frames, which name their task, or in none (runtime/ipc/output_frames.py). The latter belong to the task
whose frame follows them, since one follows the end of a task whose bytes are not read, or else to the one that was
executed when they were read. Where several tasks are executed side by side, they belong to none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.core.output import OutputLine
from orchestrator.logging.line_assembly import LINE_LIMIT, LineAssembly
from runtime.ipc.output_frames import END, LONGEST_HEADER, RECORD, header_pattern

TAIL = 1 << 13
TAIL_LINES = 100
"""Bytes and lines kept of the end of dropped output: a traceback, or the stacks of an executor that did not end."""


@dataclass(frozen=True, slots=True)
class Lost:
    """How much output was dropped."""

    lines: int
    bytes: int


class _Piece(NamedTuple):
    """Bytes of one task, from a frame or `plain`."""

    task: int
    data: bytes
    plain: bool = False


class OutputStream:
    """Buffer a stream of bytes and split it into lines. `key`: that of the executor's pipes."""

    def __init__(self, slot: int, name: str, key: int = 0) -> None:
        self.slot = slot
        self.name = name
        self._key = key
        self._header = header_pattern(key)
        self._data = b""
        self._at = 0
        self._owner = 0
        self._then = 0
        self._has_several = False
        self._piece: _Piece | None = None
        self._plain_unfinished: int | None = None
        self._assembly = LineAssembly()
        self._extra: list[OutputLine] = []
        self._has_more = False
        self.is_over = False
        self._allowance: tuple[int, int] | None = None
        self._lost_lines = 0
        self._lost_bytes = 0
        self._tail = b""
        self._last = ""

    @property
    def has_lines(self) -> bool:
        """Whether `take` may return a line."""
        return self._has_more

    @property
    def last_line(self) -> str:
        """The last line that is not blank, logged or dropped."""
        waiting = OutputStream(self.slot, self.name, self._key)
        waiting.feed(self._tail + self._waiting_bytes())
        waiting.end()
        while waiting.has_lines:
            waiting.take(TAIL)
        return waiting._last or self._last

    def _waiting_bytes(self) -> bytes:
        return (b"" if self._piece is None else self._piece.data) + self._data[self._at :]

    def feed(self, data: bytes, owner: int | None = 0, then: int | None = 0) -> None:
        """Add bytes that were read from the pipe.

        `owner`: the task that the executor executed before that, 0 if there is none, None if there are several; `then`:
        the one that it executed afterwards, whose bytes come behind the end of the other one.
        """
        if self._allowance == (0, 0):
            self._drop(data)
            return
        self._has_several, owner, self._then = owner is None, owner or 0, then or 0
        if owner != self._owner:
            if self._plain_unfinished == self._owner:  # that task ended without a line end
                self._extra += self._assembly.finish(self._owner)
            self._owner = owner
        self._data = self._data[self._at :] + data
        self._at = 0
        self._has_more = bool(self._extra) or b"\n" in data or b"\x1e" in self._data or len(self._data) > LINE_LIMIT

    def limit(self, lines: int, size: int) -> None:
        """Log about this many more lines and bytes, and drop the rest."""
        self._allowance = (lines, size)

    def take(self, count: int) -> tuple[list[OutputLine], int]:
        """Return up to `count` lines, and the number of bytes that they took."""
        if self._allowance is not None:
            count = min(count, self._allowance[0])
        before = self._size()
        lines: list[OutputLine] = []
        while len(lines) < count and self._take_some(lines, count):
            pass
        self._has_more = len(lines) == count and (self._allowance is None or count > 0)
        size = max(len(lines), before - self._size())
        self._pay(len(lines), size)
        shown = next((line.text for line in reversed(lines) if line.text.strip()), self._last)
        self._last = shown.rstrip().rpartition("\n")[2]
        return lines, size

    def _size(self) -> int:
        piece = 0 if self._piece is None else len(self._piece.data)
        return len(self._data) - self._at + piece + self._assembly.unfinished_bytes()

    def _take_some(self, lines: list[OutputLine], count: int) -> bool:
        """Add lines of the next piece. Return whether there was one."""
        free = count - len(lines)
        if self._extra:
            lines += self._extra[:free]
            del self._extra[:free]
            return True
        if self._piece is None and not self._cut_piece():
            if self.is_over and not self._assembly.is_empty:
                self._extra = self._assembly.finish_all()
            return bool(self._extra)
        if self._piece is not None:
            task, data, plain = self._piece
            done, rest = self._assembly.add(task, data, free)
            lines += done
            self._piece = _Piece(task, rest, plain) if rest else None
            if plain:
                self._plain_unfinished = task if self._assembly.has_unfinished(task) else None
        return True

    def _cut_piece(self) -> bool:
        """Cut the next piece of one task off the data. Return False if there is none that is complete."""
        header = self._header.search(self._data, self._at)
        if header is None:
            return self._cut_plain(self._end_of_plain(), self._owner)
        kind, task = header[1], int(header[2], 16)
        if header.start() > self._at:
            return self._cut_plain(header.start(), 0 if self._has_several else task)
        begin, end = header.end(), header.end() + int(header[3], 16)
        if len(self._data) < end and not self.is_over:
            return False
        payload, self._at = self._data[begin:end], end
        if kind == RECORD:
            self._extra += self._assembly.add_record(task, payload)
        elif kind == END:
            self._extra += self._assembly.finish(task)
            self._owner = self._then if task == self._owner else self._owner
        elif payload:
            self._piece = _Piece(task, payload)
        return True

    def _end_of_plain(self) -> int:
        """Return up to where the data are certainly no beginning of a header."""
        size = len(self._data)
        begin = -1 if self.is_over else self._data.rfind(b"\x1e", max(self._at, size - LONGEST_HEADER))
        return begin if begin >= 0 else size

    def _cut_plain(self, end: int, owner: int) -> bool:
        if end <= self._at:
            return False
        self._piece, self._at = _Piece(owner, self._data[self._at : end], plain=True), end
        return True

    def _pay(self, lines: int, size: int) -> None:
        """Reduce the allowance, if there is one. Once it is used up, drop the lines that wait."""
        if self._allowance is None:
            return
        lines, size = self._allowance[0] - lines, self._allowance[1] - size
        if lines > 0 and size > 0:
            self._allowance = (lines, size)
            return
        self._allowance = (0, 0)
        self._has_more = False
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        unfinished = self._assembly.clear()
        data = unfinished + self._waiting_bytes() + b"".join(line.text.encode() + b"\n" for line in self._extra)
        self._data, self._at, self._piece, self._extra = b"", 0, None, []
        self._drop(data)

    def end(self) -> Lost | None:
        """End the stream: make `take` return its last lines, dropped ones included. Return what stays lost."""
        self.is_over = True
        if self._lost_bytes:
            self._allowance = None
            kept = self._tail if self._lost_bytes <= TAIL else self._tail.partition(b"\n")[2]
            kept = b"\n".join(kept.rsplit(b"\n", TAIL_LINES)[-TAIL_LINES:])
            lost = Lost(self._lost_lines - kept.count(b"\n"), self._lost_bytes - len(kept))
            self._data, self._at = kept + self._data[self._at :], 0
            self._tail, self._lost_lines, self._lost_bytes = b"", 0, 0
        else:
            lost = Lost(0, 0)
        self._has_more = bool(self._size() or self._extra)
        return lost if lost.bytes else None

    def abandon(self) -> Lost | None:
        """Drop the lines that wait. Return what is lost."""
        self._drop_waiting()
        lost, self._tail = Lost(self._lost_lines, self._lost_bytes), b""
        self._lost_lines = self._lost_bytes = 0
        self._has_more = False
        return lost if lost.bytes else None

    def _drop(self, data: bytes) -> None:
        """Count dropped bytes and lines. Costs no more than the agent's write: it does not split lines."""
        self._lost_bytes += len(data)
        self._lost_lines += data.count(b"\n")
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]
