"""One executor's standard output or error: bytes in, lines out, no faster than they can be logged. Pure.

A line costs its agent a microsecond and whoever logs it many times that, so lines are taken a few at a time, and
while some are waiting the pipe is not read: it fills, and the agent waits. At a stop nobody may wait: then a stream has
an allowance, and what goes beyond it is counted instead of logged, but for its last lines, which say how it ended.
"""

from __future__ import annotations

from dataclasses import dataclass

LINE_LIMIT = 1 << 16
"""Bytes after which an unfinished line is passed on as it is."""

TAIL = 1 << 13
TAIL_LINES = 100
"""What is kept of the end of what was not logged: a traceback, the stacks of an executor that did not end."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What was not logged."""

    lines: int
    bytes: int


class OutputStream:
    """Cuts a stream of bytes into lines of text."""

    def __init__(self, slot: int, name: str) -> None:
        self.slot = slot
        self.name = name
        self._data = b""
        self.is_over = False
        self._allowance: tuple[int, int] | None = None
        self._lost_lines = 0
        self._lost_bytes = 0
        self._tail = b""
        self._last = ""

    @property
    def has_lines(self) -> bool:
        """Whether `take` has something to give."""
        if not self._data:
            return False
        return self.is_over or len(self._data) > LINE_LIMIT or b"\n" in self._data

    @property
    def last_line(self) -> str:
        """The last line that is not blank, logged or not."""
        for line in reversed((self._tail + self._data).split(b"\n")):
            if line.strip():
                return _text(line)
        return self._last

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        if self._allowance == (0, 0):
            self._drop(data)
        else:
            self._data += data

    def limit(self, lines: int, size: int) -> None:
        """From now on about so many lines, and bytes, are logged."""
        self._allowance = (lines, size)

    def take(self, count: int) -> tuple[list[str], int]:
        """Up to `count` lines, and the bytes that they came in."""
        if self._allowance is not None:
            count = min(count, self._allowance[0])
        before = len(self._data)
        *lines, self._data = self._data.split(b"\n", count)
        if len(lines) < count and self._data and (self.is_over or len(self._data) > LINE_LIMIT):
            lines.append(self._data)
            self._data = b""
        size = before - len(self._data)
        self._pay(len(lines), size)
        shown = [_text(line) for line in lines]
        self._last = next((line for line in reversed(shown) if line.strip()), self._last)
        return shown, size

    def _pay(self, lines: int, size: int) -> None:
        """Out of the allowance, if there is one. Once it is used up, what waits is dropped."""
        if self._allowance is None:
            return
        lines, size = self._allowance[0] - lines, self._allowance[1] - size
        if lines > 0 and size > 0:
            self._allowance = (lines, size)
            return
        self._allowance = (0, 0)
        data, self._data = self._data, b""
        self._drop(data)

    def end(self) -> Lost | None:
        """Nothing more comes: what is left is a line, and the last of what was not logged are logged. What is lost."""
        self.is_over = True
        if not self._lost_bytes:
            return None
        self._allowance = None
        kept = self._tail if self._lost_bytes <= TAIL else self._tail.partition(b"\n")[2]
        kept = b"\n".join(kept.rsplit(b"\n", TAIL_LINES)[-TAIL_LINES:])
        lost = Lost(self._lost_lines - kept.count(b"\n"), self._lost_bytes - len(kept))
        self._data, self._tail, self._lost_lines, self._lost_bytes = kept + self._data, b"", 0, 0
        return lost if lost.bytes else None

    def abandon(self) -> Lost | None:
        """Whatever still waits is not logged any more. What is lost."""
        self._drop(self._data)
        lost, self._data, self._tail = Lost(self._lost_lines, self._lost_bytes), b"", b""
        self._lost_lines = self._lost_bytes = 0
        return lost if lost.bytes else None

    def _drop(self, data: bytes) -> None:
        """As cheap as the agent's write: nothing is made of the single line."""
        self._lost_bytes += len(data)
        self._lost_lines += data.count(b"\n")
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r")
