"""Define what the columns of the SQLite journal hold: checked types, and text for bytes of any kind. Pure."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Annotated, Any

import msgspec

from orchestrator.journal.base import INVALID
from runtime.errors import UsageError
from runtime.ipc.encodings import JSON

Number = Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
Time = Annotated[float, msgspec.Meta(ge=0, lt=250_000_000_000)]
"""Unix seconds of years that a calendar has."""

Pid = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row that is read column by column."""


_encode = msgspec.json.Encoder().encode


def to_text(data: bytes, encoding: str) -> tuple[str, str]:
    """Return encoded bytes as they are stored (JSON unchanged, anything else as base64), and their encoding."""
    if encoding != JSON:
        return b2a_base64(data, newline=False).decode("ascii"), encoding
    try:
        return data.decode(), encoding
    except UnicodeDecodeError:
        return b2a_base64(data, newline=False).decode("ascii"), INVALID


def from_text(text: str, encoding: str) -> bytes:
    """Return the bytes that were given to `to_text`."""
    return text.encode() if encoding == JSON else a2b_base64(text)


def readable(projection: bytes) -> str:
    """Return a projection as it is stored. A broken executor may send bytes that are not UTF-8."""
    return projection.decode("utf-8", "backslashreplace")


def escape_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def to_json(value: Any) -> str:
    """Return JSON text of a plain value. Raises UsageError if it holds a lone surrogate."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError as error:
        raise not_text(error) from error


def not_text(error: UnicodeEncodeError) -> UsageError:
    """Return the error for text that UTF-8 cannot encode, such as a command-line argument that is not UTF-8."""
    return UsageError(f"{error.object[max(0, error.start - 20) : error.end + 20]!r} is not valid text")
