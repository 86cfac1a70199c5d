"""Split the standard output or error of one executor into lines, no faster than they can be logged. Pure.

Theory: a line costs its agent a microsecond, and the supervisor, which logs it, many times that. So lines are taken a
few at a time, and the pipe is not read while some of them wait: the pipe fills, and the agent waits. During a stop the
agent must not wait. Then a stream has an allowance; output beyond it is counted and dropped, except for the last
lines, which say how the executor ended.
"""

from __future__ import annotations

from dataclasses import dataclass

LINE_LIMIT = 1 << 16
"""Bytes after which an unfinished line is logged as a line."""

TAIL = 1 << 13
TAIL_LINES = 100
"""Bytes and lines kept of the end of dropped output: a traceback, or the stacks of an executor that did not end."""


@dataclass(frozen=True, slots=True)
class Lost:
    """How much output was dropped."""

    lines: int
    bytes: int


class OutputStream:
    """Buffer a stream of bytes and split it into lines of text."""

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
        """Whether `take` would return a line."""
        if not self._data:
            return False
        return self.is_over or len(self._data) > LINE_LIMIT or b"\n" in self._data

    @property
    def last_line(self) -> str:
        """The last line that is not blank, logged or dropped."""
        for line in reversed((self._tail + self._data).split(b"\n")):
            if line.strip():
                return _text(line)
        return self._last

    def feed(self, data: bytes) -> None:
        """Add bytes that were read from the pipe."""
        if self._allowance == (0, 0):
            self._drop(data)
        else:
            self._data += data

    def limit(self, lines: int, size: int) -> None:
        """Log about this many more lines and bytes, and drop the rest."""
        self._allowance = (lines, size)

    def take(self, count: int) -> tuple[list[str], int]:
        """Return up to `count` lines, and the number of bytes that they took."""
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
        """Reduce the allowance, if there is one. Once it is used up, drop the lines that wait."""
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
        """End the stream: make `take` return its last lines, dropped ones included. Return what stays lost."""
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
        """Drop the lines that wait. Return what is lost."""
        self._drop(self._data)
        lost, self._data, self._tail = Lost(self._lost_lines, self._lost_bytes), b"", b""
        self._lost_lines = self._lost_bytes = 0
        return lost if lost.bytes else None

    def _drop(self, data: bytes) -> None:
        """Count dropped bytes and lines. Costs no more than the agent's write: it does not split lines."""
        self._lost_bytes += len(data)
        self._lost_lines += data.count(b"\n")
        self._tail = data[-TAIL:] if len(data) >= TAIL else (self._tail + data)[-TAIL:]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\r")
