"""Values on their way between processes: JSON where possible, an opaque blob where not.

A blob is made with dill through `multiprocess`. The supervisor passes blobs on unopened; only an executor
(downwards) or the caller who asks for a result's value (upwards) decodes one.
"""

from __future__ import annotations

import io
import math
import socket
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from runtime.errors import ResultError, said_by
from runtime.mainfile import found_in, place_of
from runtime.pickling import Connection, ForkingPickler

MAX_VALUE: Final = 128 << 20
"""Bytes of one encoded value, so that its frame stays well below what the wire carries (wire.MAX_FRAME)."""

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


class _Pickler(ForkingPickler):  # type: ignore[misc]
    """Pickles nothing that only this process can give out again.

    The libraries make a ticket of a socket, and start a thread that hands the descriptor to whoever shows it: to nobody
    once this process is gone, and results outlive it.
    """

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Every object inside the value comes through here."""
        if isinstance(obj, socket.socket | Connection):
            raise TypeError(f"cannot pickle {type(obj).__name__!r} object: it would not outlive its process")
        place = place_of(obj) if id(obj) not in self.memo else None
        if place is not None:
            self.save_reduce(found_in, place, obj=obj)
            return
        super().save(obj, save_persistent_id)


def encode_blob(value: Any) -> bytes:
    """A dill pickle, by value for what lives in `__main__` or has no name, with only the globals it uses.

    Raises ResultError, in one line, when the value cannot be pickled (a lock, a socket, a generator).
    """
    try:
        buffer = io.BytesIO()
        _Pickler(buffer, recurse=True).dump(value)
        return buffer.getvalue()
    except Exception as error:
        raise ResultError(f"a {type(value).__name__} can be neither JSON nor pickled: {_line(error)}") from error


def encode(value: Any) -> tuple[bytes, str]:
    """The bytes of an input or a snapshot, and how they are encoded: it comes back as exactly what it was.

    JSON for what JSON is exact about (dict with text keys, list, str, int, finite float, bool, None), else a blob.
    Raises ResultError when there is no way.
    """
    return _encode(value, exact=True)


def encode_result(value: Any) -> tuple[bytes, str]:
    """The bytes of a result, and how they are encoded: readable in the journal wherever nothing is lost by it.

    Beside what `encode` makes JSON of: tuples become arrays, dataclasses and pydantic models objects, dates text.
    Bytes, sets, NaN and other keys than text would come back as something else, and make a blob. Raises ResultError.
    """
    return _encode(value, exact=False)


def _encode(value: Any, *, exact: bool) -> tuple[bytes, str]:
    data, encoding = None, JSON
    try:
        if _fits(value, exact):
            data = _encoder.encode(value)
    except (TypeError, NotImplementedError, ValueError, RecursionError, OverflowError):
        pass
    if data is None:
        data, encoding = encode_blob(value), BLOB
    if len(data) > MAX_VALUE:
        raise ResultError(too_large(len(data)))
    return data, encoding


def too_large(size: int) -> str:
    """What is said of a value of so many bytes."""
    return f"{size >> 20} MiB are more than the {MAX_VALUE >> 20} MiB that one value may have; hand over a file instead"


_ATOMS: Final = frozenset({str, int, bool, type(None)})
_CHANGED: Final = (bytes, bytearray, memoryview, set, frozenset)


def _fits(value: Any, exact: bool) -> bool:
    """Whether JSON says this without changing it."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is list or (kind is tuple and not exact):
        return all(_fits(item, exact) for item in value)
    if kind is dict:
        return all(type(key) is str and _fits(item, exact) for key, item in value.items())
    return not exact and not isinstance(value, _CHANGED)


def decode(data: bytes, encoding: str) -> Any:
    """The value of encoded bytes. Executes code when the encoding is a blob: never call it in the supervisor."""
    return _decoder.decode(data) if encoding == JSON else ForkingPickler.loads(data)


def _line(error: Exception) -> str:
    return said_by(error, 200) or type(error).__name__
