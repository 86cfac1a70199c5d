"""Read a document that is one JSON array: each element is an input. It is never in memory as a whole.

*Theory.* The decoder needs whole values, so a scanner finds where an element ends: at a comma or the closing bracket of
the array, outside of strings and of nested values. It remembers its state between pieces of the document, and looks
at every byte once. What it cuts out is decoded, and so checked, by the JSON decoder.

*Rejected:* `json.JSONDecoder.raw_decode` on what has arrived, because after each new piece it begins anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import msgspec

from orchestrator.cli.inputs.entries import (
    BOM,
    Entries,
    Entry,
    InvalidInputError,
    check_size,
    other_encoding,
    read_chunks,
    show_bytes,
)
from orchestrator.cli.inputs.json_lines import SPACE, decode_value
from runtime.ipc.codec import MAX_VALUE

_OUTSIDE: Final = re.compile(rb'["\[\]{},]')
_INSIDE: Final = re.compile(rb'["\\]')

_BEFORE, _AFTER = 0, -1
"""Depths before the array is opened, and after it is closed."""

AFTER_ARRAY: Final = "there is more after the array; if each line is an input, give --input-format jsonl"


def read_json_array(stream: BinaryIO) -> Entries:
    """Yield an entry for each element. Raises InvalidInputError for what is no array, or not complete."""
    return parse_json_array(read_chunks(stream))


def parse_json_array(chunks: Iterable[bytes | None]) -> Entries:
    """Yield the entries of the pieces of a document."""
    scanner = _Scanner()
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        for text in scanner.feed(chunk):
            yield _entry(scanner, text)
    scanner.finish()


def _entry(scanner: _Scanner, text: bytes) -> Entry:
    number = scanner.elements
    stripped = text.strip(SPACE)
    if not stripped:
        raise InvalidInputError(number, "an element is missing before the comma or the end")
    check_size(number, stripped)
    value = decode_value(number, stripped)
    return Entry(number, value, msgspec.json.format(stripped, indent=-1) if b"\n" in stripped else stripped)


class _Scanner:
    """Find the elements of an array in the pieces of a document."""

    def __init__(self) -> None:
        self.elements = 0
        self._depth = _BEFORE  # brackets that are open; 1: between elements of the array
        self._in_string = False
        self._escaped = False  # the last piece ended behind a backslash
        self._begun = bytearray()  # what has come of the element, or of the document's beginning

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements that end in this piece. `elements` is the number of the last one that was yielded."""
        if self._depth == _BEFORE:
            chunk = self._open(chunk)
        start = at = 0
        while self._depth > 0 and (found := self._next(chunk, at)) >= 0:
            at = found + 1
            if self._is_boundary(chunk[found]):
                text = bytes(self._begun) + chunk[start:found]
                self._begun.clear()
                start = at
                if self.elements or text.strip(SPACE) or self._depth != _AFTER:  # else the array is empty
                    self.elements += 1
                    yield text
        if self._depth == _AFTER:
            self._refuse_more(chunk[start:])
            return
        self._begun += chunk[start:]
        if len(self._begun) > MAX_VALUE:
            check_size(self.elements + 1, bytes(self._begun))

    def _open(self, chunk: bytes) -> bytes:
        """Return what comes after the bracket that opens the array; nothing if it has not come."""
        self._begun += chunk
        text = bytes(self._begun).removeprefix(BOM).lstrip(SPACE)
        if not text or BOM.startswith(text):
            return b""
        if not text.startswith(b"["):
            raise InvalidInputError(1, other_encoding(text) or f"no JSON array, it begins with {show_bytes(text)}")
        self._begun.clear()
        self._depth = 1
        return text[1:]

    def _next(self, chunk: bytes, at: int) -> int:
        """Return the place of the next character that matters outside of strings; -1 if there is none."""
        while True:
            if self._escaped:
                if at >= len(chunk):
                    return -1
                at, self._escaped = at + 1, False
            match = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, at)
            if match is None:
                return -1
            at = match.end()
            character = chunk[match.start()]
            if character == 0x5C:
                self._escaped = True
            elif character == 0x22:
                self._in_string = not self._in_string
            else:
                return match.start()

    def _is_boundary(self, character: int) -> bool:
        """Count brackets. Return whether the character ends an element of the array."""
        if character in b"[{":
            self._depth += 1
        elif character in b"]}":
            self._depth -= 1
            if self._depth == 0:
                self._depth = _AFTER
                return True
        else:
            return self._depth == 1
        return False

    def _refuse_more(self, rest: bytes) -> None:
        if rest.strip(SPACE):
            raise InvalidInputError(self.elements, f"{AFTER_ARRAY}: {show_bytes(rest.strip(SPACE))}")

    def finish(self) -> None:
        """Raise InvalidInputError if the document has ended before its array."""
        if self._depth > 0 or (self._depth == _BEFORE and self._begun.strip(SPACE)):
            raise InvalidInputError(self.elements + 1, "the array ends here without its closing bracket: is it whole?")
