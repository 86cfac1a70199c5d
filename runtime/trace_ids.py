"""Compute the trace ids of a run: those that its commands are given, and those under which spans are exported.

Ids are computed, not drawn: an exporter that runs twice, or after a crash, exports the same ones. The format is that of
W3C Trace Context (https://www.w3.org/TR/trace-context/), version 00. A leaf, and pure.
"""

from __future__ import annotations

import hashlib
from typing import Final

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8


def trace_id(run_id: str) -> str:
    """Return the trace id of a run: 32 hexadecimal digits."""
    return _digest(("run", run_id), _TRACE_BYTES)


def run_span_id(run_id: str) -> str:
    """Return the span id of a run: 16 hexadecimal digits."""
    return _digest(("run-span", run_id), _SPAN_BYTES)


def span_id(run_id: str, key: str, attempt: int) -> str:
    """Return the span id of one attempt of the task with this key: 16 hexadecimal digits."""
    return _digest(("attempt", run_id, key, str(attempt)), _SPAN_BYTES)


def traceparent(run_id: str, key: str, attempt: int) -> str:
    """Return the value of TRACEPARENT for what works on this attempt: its span is the parent, and it is sampled."""
    return f"00-{trace_id(run_id)}-{span_id(run_id, key, attempt)}-01"


def _digest(parts: tuple[str, ...], size: int) -> str:
    """Return so many bytes of a hash as hexadecimal digits; never only zeros, which the format forbids."""
    text = "\0".join(part.replace("\\", "\\\\").replace("\0", "\\0") for part in parts)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:size]
    return digest.hex() if any(digest) else "1".zfill(2 * size)
