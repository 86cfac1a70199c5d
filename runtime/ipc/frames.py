"""Frames: what a record is on a pipe between two processes. Pure: bytes in, records out.

A frame is a header and a msgpack payload. The header is the payload's length and the same length XOR the pipe's key,
both little-endian u32. The key is a random number that an executor's incarnation shares with the supervisor: another
process of the same user can open a pipe through /proc/PID/fd and write into it, but what it writes is not taken for a
frame, and the reader never waits for the bytes of a forged length.

The records: executor_protocol.py, guardian_protocol.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from runtime.errors import WireError

VERSION = 6
"""Both sides must agree; Ready carries it."""

MAX_FRAME = 512 * 1024 * 1024
"""Bytes. A larger frame is refused by its writer and ends an executor that sends one."""

_HEADER = struct.Struct("<II")
HEADER_SIZE = _HEADER.size
"""Bytes before a payload."""

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def pack(payload: msgspec.Struct, key: int = 0) -> bytes:
    """One frame for a pipe with this key. Raises WireError when it would be larger than MAX_FRAME."""
    data = _encoder.encode(payload)
    if len(data) > MAX_FRAME:
        raise WireError(f"a frame of {len(data)} bytes is larger than the {MAX_FRAME} that may travel")
    return _HEADER.pack(len(data), len(data) ^ key) + data


class FrameReader(Generic[T]):
    """Cuts a byte stream into frames and decodes them.

    `shape` is the type of the payloads, e.g. `UpFrame` or `TaskOrder`; `key` is the pipe's. After a WireError the
    reader cannot be used again.
    """

    def __init__(self, shape: object, limit: int = MAX_FRAME, key: int = 0) -> None:
        self._decode = msgspec.msgpack.Decoder(shape).decode
        self._limit = limit
        self._key = key
        self._rest = bytearray()
        self._wanted = 0  # bytes; with fewer than these no frame is complete

    @property
    def partial_bytes(self) -> int:
        """Bytes of an unfinished frame; what is left of it when the stream ends is lost."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[T]:
        """Yield the payloads that are complete now. Raises WireError for garbage, an oversized or a foreign frame."""
        if self._rest:  # a large frame comes in many reads: it is copied once, not at each of them
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
        rest, at, size, header = data, 0, len(data), _HEADER.size
        self._wanted = header
        try:
            while size - at >= header:
                length, check = _HEADER.unpack_from(rest, at)
                if length ^ self._key != check:
                    raise WireError("bytes that are not the beginning of a frame of this pipe")
                if length > self._limit:
                    raise WireError(f"a frame claims {length} bytes; at most {self._limit} may travel")
                if size - at - header < length:
                    self._wanted = header + length
                    break
                payload = rest[at + header : at + header + length]
                at += header + length
                try:
                    yield self._decode(payload)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise WireError(f"a frame of {length} bytes is not of version {VERSION}: {error}") from error
        finally:
            self._rest = bytearray(rest[at:])
