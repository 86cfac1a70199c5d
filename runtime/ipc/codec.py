"""Values on their way between processes: JSON where it carries them exactly, an opaque pickle where not.

What comes out is what went in, type and value, at any depth. A reader of the journal without Python sees a
pickle's projection (projection.py). The supervisor passes values on unopened; only an executor (downwards) or the
caller who asks for a result's value (upwards) decodes one.
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import Any, Final

import msgspec

from runtime.errors import DecodeError, ResultError, error_text
from runtime.ipc import pickling
from runtime.ipc.encodings import BLOB as BLOB  # noqa: PLC0414 - exported
from runtime.ipc.encodings import JSON as JSON  # noqa: PLC0414 - exported
from runtime.ipc.projection import project

MAX_VALUE: Final = 128 << 20
"""Bytes of one encoded value, so that its frame stays well below what the wire carries (wire.MAX_FRAME)."""

_DEPTH: Final = 64
"""Levels that JSON carries: far from where a reader deep in his own program meets the end of his stack."""


def _encode_more(value: Any) -> Any:
    """Convert a pydantic model for msgspec, which knows dataclasses, sets, tuples, dates and enums itself."""
    pydantic = sys.modules.get("pydantic.main")  # not imported for its own sake: it takes long
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"objects of type {type(value).__name__} are not JSON-able")


_encoder = msgspec.json.Encoder(enc_hook=_encode_more)
_decoder = msgspec.json.Decoder()

encode_json = _encoder.encode
"""JSON bytes of the data of an event. Tuples and sets become arrays, dataclasses and pydantic models objects.
Raises TypeError or NotImplementedError for anything else that JSON has no word for."""

decode_json = _decoder.decode
"""The value of JSON bytes. Raises msgspec.DecodeError (a ValueError)."""


Encoded = tuple[bytes, str, bytes | None]
"""A value's bytes, how they are encoded, and the JSON that readers are shown instead if that is not JSON."""


def encode_blob(value: Any) -> bytes:
    """Pickle a value: by name what a module or script defines, by value a lambda, a closure, a notebook's class.

    Raises ResultError, in one line, when the value cannot be pickled (a lock, a socket, a generator).
    """
    try:
        return pickling.dump(value)
    except Exception as error:
        raise ResultError(f"a {type(value).__name__} can be neither JSON nor pickled: {_line(error)}") from error


def encode(value: Any) -> tuple[bytes, str]:
    """Encode an input so that decoding returns exactly the same value. Return the bytes and the encoding.

    Equal plain values (JSON's own types) have equal bytes, if the keys of their dicts have the same order; of pickles
    that is not promised. Raises ResultError when there is no way.
    """
    data = encode_plain(value)
    encoding = JSON
    if data is None:
        data, encoding = encode_blob(value), BLOB
    if len(data) > MAX_VALUE:
        raise ResultError(too_large(len(data)))
    return data, encoding


def encode_for_readers(value: Any) -> Encoded:
    """Encode a result or a snapshot like `encode`, with a projection for readers. Raises ResultError."""
    data, encoding = encode(value)
    return data, encoding, None if encoding == JSON else project(value)


def too_large(size: int) -> str:
    """Return the error message for a value of so many bytes."""
    return f"{size >> 20} MiB are more than the {MAX_VALUE >> 20} MiB that one value may have; hand over a file instead"


_ATOMS: Final = frozenset({str, int, bool, type(None)})


def encode_plain(value: Any) -> bytes | None:
    """Return the JSON that comes back as exactly this value; None if there is none."""
    try:
        return _encoder.encode(value) if _is_plain(value, _DEPTH) else None
    except (ValueError, OverflowError):  # a lone surrogate, an endless integer
        return None


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON says this without changing it: its own types, no subclasses of them, text keys, finite numbers."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict and _has_text_keys(value):
        items = value.values()
    elif kind is list:
        items = value
    else:
        return False
    for item in items:  # a loop: half the time of `all` and a generator
        kind = type(item)
        if kind in _ATOMS:
            continue
        if not (isfinite(item) if kind is float else depth and _is_plain(item, depth - 1)):
            return False
    return True


def _has_text_keys(value: dict[Any, Any]) -> bool:
    for key in value:  # noqa: SIM110 - a generator costs as much as the rest
        if type(key) is not str:
            return False
    return True


def decode(data: bytes, encoding: str) -> Any:
    """Decode a value. Raises DecodeError. A pickle executes code: never call this in the supervisor's loop."""
    if encoding == JSON:
        try:
            return _decoder.decode(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError("JSON", _line(error)) from error
    if encoding != BLOB:
        raise DecodeError("value", f"unknown encoding {encoding!r}")
    try:
        return pickling.load(data)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise DecodeError(_type_of(data), f"{type(error).__name__}: {_line(error)}") from error


def _type_of(data: bytes) -> str:
    try:
        return pickling.read_type(data)
    except Exception:  # noqa: BLE001 - no pickle of ours at all
        return "value"


def _line(error: BaseException) -> str:
    return error_text(error, 200) or type(error).__name__
