"""Read JSON Lines (https://jsonlines.org): one input a line, UTF-8.

A byte order mark at the beginning of any line is ignored, because concatenated files have it anywhere. If an object
has a name twice, the last value counts, as in Python's own parser.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Final

import msgspec

from orchestrator.cli.inputs.entries import (
    BOM,
    Entries,
    Entry,
    InvalidInputError,
    check_size,
    other_encoding,
    read_items,
    show_bytes,
)

SPACE: Final = b" \t\r\n"
"""White space of JSON (RFC 8259)."""

_decode = msgspec.json.Decoder().decode


def read_json_lines(stream: BinaryIO) -> Entries:
    """Yield an entry for each line that is not blank. Raises InvalidInputError for what is not JSON."""
    return parse_json_lines(read_items(stream))


def parse_json_lines(lines: Iterable[bytes | None]) -> Entries:
    """Yield the entries of lines."""
    number = 0
    for line in lines:
        if line is None:
            yield None
            continue
        number += 1
        text = line.removeprefix(BOM).strip(SPACE)
        if text:
            check_size(number, text)
            yield Entry(number, decode_value(number, text), text)


def decode_value(number: int, text: bytes) -> Any:
    """Return the value of JSON text. Raises InvalidInputError, which explains what is wrong."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(number, _explain(text, error)) from None


def _explain(text: bytes, error: Exception) -> str:
    """Return what is wrong with a line, and what to do if that is known."""
    if advice := other_encoding(text):
        return advice
    reason = str(error)
    if isinstance(error, msgspec.ValidationError):
        return f"JSON with a {reason[0].lower()}{reason[1:]}: {show_bytes(text)}"
    if "truncated" in reason and b"\\u" in text:
        reason = "it ends too early, or has half of a surrogate pair"
    if text in (b"[", b"{"):
        reason = "a document of several lines? Write each value on one line, as jq -c does, or give --input-format json"
    return f"not JSON ({reason}): {show_bytes(text)}"
