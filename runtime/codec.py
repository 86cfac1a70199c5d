"""Values on their way between processes: JSON where possible, an opaque blob where not.

A blob is made with dill through `multiprocess`. The supervisor passes blobs on unopened; only an executor
(downwards) or the caller who asks for a result's value (upwards) decodes one.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from multiprocess.reduction import ForkingPickler
from pydantic import BaseModel

from runtime.errors import ResultError

JSON: Final = "json"
BLOB: Final = "dill"


def _encode_more(value: Any) -> Any:
    """What msgspec does not know: pydantic models. (Dataclasses, sets, tuples, dates, enums it knows.)"""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"objects of type {type(value).__name__} are not JSON-able")


_encoder = msgspec.json.Encoder(enc_hook=_encode_more)
_decoder = msgspec.json.Decoder()

encode_json = _encoder.encode
"""JSON bytes of a value. Tuples and sets become arrays, dataclasses and pydantic models objects.
Raises TypeError or NotImplementedError for anything else that JSON has no word for."""

decode_json = _decoder.decode
"""The value of JSON bytes. Raises msgspec.DecodeError (a ValueError)."""


def encode_blob(value: Any) -> bytes:
    """A dill pickle, by value for what lives in `__main__` or has no name, with only the globals it uses.

    Raises ResultError, in one line, when the value cannot be pickled (a lock, a socket, a generator).
    """
    try:
        return bytes(ForkingPickler.dumps(value, recurse=True))
    except Exception as error:
        raise ResultError(f"a {type(value).__name__} can be neither JSON nor pickled: {_line(error)}") from error


def encode(value: Any) -> tuple[bytes, str]:
    """The bytes of a value and how they are encoded. Raises ResultError when there is no way."""
    try:
        return _encoder.encode(value), JSON
    except (TypeError, NotImplementedError, ValueError, RecursionError, OverflowError):
        return encode_blob(value), BLOB


def decode(data: bytes, encoding: str) -> Any:
    """The value of encoded bytes. Executes code when the encoding is a blob: never call it in the supervisor."""
    return _decoder.decode(data) if encoding == JSON else ForkingPickler.loads(data)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
