"""Define what a reader of a format yields, and read streams in pieces."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias, cast

from runtime.errors import UsageError
from runtime.ipc.codec import MAX_VALUE, too_large

READ: Final = 1 << 16
"""Most bytes that are read from a stream at once: the capacity of a pipe."""

BOM: Final = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8. It is ignored where a file begins."""

_OTHER_BOMS: Final = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


class Entry(NamedTuple):
    """One input: its place in its file, counted from 1, its value, and its value as JSON."""

    number: int
    value: Any
    data: bytes


Entries: TypeAlias = Iterator[Entry | None]
"""Inputs as they are read. None: the reader waits for more bytes next."""


class InvalidInputError(UsageError):
    """An input that cannot be read. `number` is its place: a line, an element or a row."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def read_chunks(stream: BinaryIO) -> Iterator[bytes | None]:
    """Yield the bytes of a stream as they arrive, and None before each wait for more."""
    source = cast("io.BufferedIOBase", stream)
    while chunk := source.read1(READ):
        yield chunk
        yield None


def read_items(stream: BinaryIO, separator: bytes = b"\n") -> Iterator[bytes | None]:
    """Yield the items of a stream without their separator, and None before each wait for more bytes.

    An item of more than MAX_VALUE bytes ends there, so that memory does not grow; its reader refuses it.
    """
    begun: list[bytes] = []  # pieces of the last item, which is not complete
    size = 0
    for chunk in read_chunks(stream):
        if chunk is None:
            yield None
            continue
        head, found, tail = chunk.rpartition(separator)
        if found:
            yield from (b"".join(begun) + head).split(separator)
            begun, size = [tail], len(tail)
            continue
        begun.append(chunk)
        size += len(chunk)
        if size > MAX_VALUE:
            yield b"".join(begun)
            begun, size = [], 0
    if last := b"".join(begun):
        yield last


def check_size(number: int, data: bytes) -> None:
    """Raise InvalidInputError for an input that no frame carries."""
    if len(data) > MAX_VALUE:
        raise InvalidInputError(number, too_large(len(data)))


def other_encoding(text: bytes) -> str | None:
    """Return what to do about text that begins with the byte order mark of another encoding; None if it does not."""
    for mark, encoding in _OTHER_BOMS:
        if text.startswith(mark):
            return f"{encoding} text; inputs are UTF-8: convert it first (iconv -f {encoding} -t UTF-8)"
    return None


def decode_text(number: int, data: bytes) -> str:
    """Return text in UTF-8. Raises InvalidInputError for any other."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        reason = other_encoding(data) or f"not UTF-8: byte {data[error.start]:#04x} {show_bytes(data[error.start :])}"
        raise InvalidInputError(number, reason) from None


def show_bytes(text: bytes) -> str:
    """Return the beginning of some text, for a message."""
    shown = text[:60].decode("utf-8", "backslashreplace")
    return shown + ("…" if len(text) > 60 else "")
