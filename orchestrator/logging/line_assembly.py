"""Put the pieces of lines and records together that come up from a task. Pure."""

from __future__ import annotations

import msgspec

from orchestrator.core.output import OutputLine
from runtime.ipc.output_frames import OutputRecord, decode_record
from runtime.statuses import Severity

LINE_LIMIT = 1 << 16
"""Bytes after which an unfinished line is a line, and characters after which the rest of a record is dropped."""

UNFINISHED = 4096
"""Tasks that may have an unfinished line at a time."""


class LineAssembly:
    """Hold the unfinished line of each task of one stream, and the unfinished records."""

    def __init__(self) -> None:
        self._rest: dict[int, bytes] = {}
        self._parts: dict[int, list[str]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no line is unfinished."""
        return not self._rest

    def add(self, task: int, data: bytes, limit: int) -> tuple[list[OutputLine], bytes]:
        """Add bytes of a task. Return at most `limit` (one or more) lines, and the bytes that were not used."""
        *lines, rest = data.split(b"\n", limit)
        done = []
        if lines:
            if (begun := self._rest.pop(task, None)) is not None:
                lines[0] = begun + lines[0]
            done = [OutputLine(task, line_text(line)) for line in lines]
        if len(done) == limit:
            return done, rest
        if rest:
            rest = _last_state(self._rest.get(task, b"") + rest)
            self._rest[task] = rest
            if len(rest) > LINE_LIMIT or len(self._rest) > UNFINISHED:
                done += self.finish(next(iter(self._rest)) if len(rest) <= LINE_LIMIT else task)
        return done, b""

    def add_record(self, task: int, payload: bytes) -> list[OutputLine]:
        """Add a record, or a part of one. Return it when it is complete. A payload that is none is a line of text."""
        try:
            record = decode_record(payload)
            severity = Severity(record.level)
        except (msgspec.DecodeError, ValueError):
            return [OutputLine(task, line_text(payload.rstrip(b"\n")))]
        if record.more or record.number in self._parts:
            text = self._join(record)
            if text is None:
                return []
        else:
            text = record.text
        return [*self.finish(task), OutputLine(task, text, severity, record.logger)]

    def _join(self, record: OutputRecord) -> str | None:
        parts = self._parts.setdefault(record.number, [])
        if sum(map(len, parts)) < LINE_LIMIT:
            parts.append(record.text)
        if record.more:
            if len(self._parts) > UNFINISHED:  # of processes that were killed in the middle of one
                del self._parts[next(iter(self._parts))]
            return None
        return "".join(self._parts.pop(record.number))

    def finish(self, task: int) -> list[OutputLine]:
        """Return the unfinished line of a task as a line."""
        rest = self._rest.pop(task, b"")
        return [OutputLine(task, line_text(rest))] if rest.strip() else []

    def finish_all(self) -> list[OutputLine]:
        """Return all unfinished lines as lines."""
        return [line for task in tuple(self._rest) for line in self.finish(task)]

    def has_unfinished(self, task: int) -> bool:
        """Return whether a line of a task is unfinished."""
        return task in self._rest

    def unfinished_bytes(self) -> int:
        """Return how many bytes are held."""
        return sum(map(len, self._rest.values()))

    def clear(self) -> bytes:
        """Drop the unfinished lines. Return their bytes."""
        dropped, self._rest = b"".join(self._rest.values()), {}
        return dropped


def line_text(line: bytes) -> str:
    """Return the text of a line: of a progress bar, which goes back to its beginning, the last state."""
    return _last_state(line).decode("utf-8", "backslashreplace").rstrip("\r")


def _last_state(line: bytes) -> bytes:
    if b"\r" not in line:
        return line
    shown = line.rstrip(b"\r")
    return line[shown.rfind(b"\r") + 1 :] if shown else b""
