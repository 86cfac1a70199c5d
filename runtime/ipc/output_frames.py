r"""Frames of a task's output, inside of the byte stream of an executor's standard output or error. Pure.

Theory. What an agent prints carries its task's number, and what its children write does not; both go through one pipe,
so that their order is kept. So a frame stands among bytes that are none. It begins with the pipe's key, a random number
that nothing else writes, and is written at once: POSIX promises that a write of up to PIPE_BUF bytes to a pipe is not
interrupted by another writer's (write(3p)). No lock is needed, between threads, in a signal handler or after a fork.

    \x1eQ KEY KIND TASK , LENGTH ; PAYLOAD      KEY, TASK and LENGTH are hexadecimal; no byte of it is a line end

KIND is `T` (the payload is text of the task, cut anywhere), `R` (one record of a log, as JSON, and a line end) or `E`
(the task has ended: its last line is over). Bytes without a frame are of the task whose frame follows, where
tasks are executed one by one.

Rejected: a frame of the event pipe for each line, because a slow reader of the output would hold up outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

TEXT: Final = b"T"
RECORD: Final = b"R"
END: Final = b"E"

LONGEST_HEADER: Final = 34
"""Bytes of a frame before its payload, at most."""


class OutputRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record of a log. `level` is a severity. A long text has parts of one `number`, `more` but for the last."""

    level: str
    logger: str
    text: str
    number: int = 0
    more: bool = False


_encode = msgspec.json.Encoder().encode
decode_record = msgspec.json.Decoder(OutputRecord).decode
"""Return the OutputRecord of a payload. Raises msgspec.DecodeError."""


def header_pattern(key: int) -> re.Pattern[bytes]:
    """Return the pattern of the header of a pipe's frames, with the groups kind, task and length."""
    return re.compile(rb"\x1eQ%08x([TRE])([0-9a-f]{1,16}),([0-9a-f]{4});" % key)


def text_frames(key: int, task: int, data: bytes, limit: int) -> Iterator[bytes]:
    """Yield the frames of a task's text. `limit`: bytes of the largest frame (PIPE_BUF)."""
    size = limit - LONGEST_HEADER
    for start in range(0, len(data), size):
        yield _frame(key, TEXT, task, data[start : start + size])


def record_frames(key: int, task: int, record: OutputRecord, limit: int) -> Iterator[bytes]:
    """Yield the frames of a record. Its text must be without lone surrogates."""
    payload = _encode(record) + b"\n"
    if len(payload) <= limit - LONGEST_HEADER:
        yield _frame(key, RECORD, task, payload)
        return
    size = max(1, (limit - LONGEST_HEADER - 200) // 6)  # characters: JSON has up to six bytes for one
    logger = record.logger[: size // 8]
    for start in range(0, len(record.text), size):
        more = start + size < len(record.text)
        part = OutputRecord(record.level, logger, record.text[start : start + size], record.number, more)
        yield _frame(key, RECORD, task, _encode(part) + b"\n")


def end_frame(key: int, task: int) -> bytes:
    """Return the frame that says that a task has ended."""
    return _frame(key, END, task, b"")


def _frame(key: int, kind: bytes, task: int, payload: bytes) -> bytes:
    return b"\x1eQ%08x%b%x,%04x;%b" % (key, kind, task, len(payload), payload)
