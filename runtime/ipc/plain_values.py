"""Text for plain values of Python, which comes back as exactly these values. Reading it executes nothing.

Plain are None, bool, int, float, str, bytes, and tuples, lists, sets and dicts of them; no subclasses of these types.
The text is JSON; what JSON has no word for is an object with one key that begins with `$`.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Final

import msgspec

LONGEST: Final = 1 << 16
"""Characters of one text, at most."""

DEPTH: Final = 20
"""Levels of containers, at most."""

_ATOMS: Final = frozenset({str, int, bool, type(None)})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def encode_plain(value: Any) -> str | None:
    """Return the text of a plain value; None for any other one, and for one that is too long or too deep."""
    try:
        text = _encode(_to_json(value, DEPTH)).decode()
    except (ValueError, OverflowError, UnicodeError):  # not plain, a lone surrogate, an endless integer
        return None
    return text if len(text) <= LONGEST else None


def decode_plain(text: str) -> Any:
    """Return the value of a text. Raises ValueError if it is none of `encode_plain`."""
    try:
        return _from_json(_decode(text), DEPTH)
    except (msgspec.MsgspecError, TypeError, KeyError, RecursionError, UnicodeError) as error:
        raise ValueError(f"no plain value: {error}") from error


def _to_json(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is bytes:
        return {"$bytes": b64encode(value).decode()}
    if depth == 0:
        raise ValueError("too deep")
    if kind is list:
        return [_to_json(item, depth - 1) for item in value]
    if kind in (tuple, set, frozenset):
        return {f"${kind.__name__}": [_to_json(item, depth - 1) for item in value]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _to_json(item, depth - 1) for key, item in value.items()}
        return {"$dict": [[_to_json(key, depth - 1), _to_json(item, depth - 1)] for key, item in value.items()]}
    raise ValueError(f"a {kind.__name__} is not plain")


def _from_json(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError("too deep")
    if type(value) is list:
        return [_from_json(item, depth - 1) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((name, content),) = value.items()
        if name in _READERS:
            return _READERS[name](content, depth - 1)
    return {key: _from_json(item, depth - 1) for key, item in value.items()}


_READERS: Final[dict[str, Callable[[Any, int], Any]]] = {
    "$float": lambda content, _: float(content),
    "$bytes": lambda content, _: b64decode(content, validate=True),
    "$tuple": lambda content, depth: tuple(_from_json(item, depth) for item in content),
    "$set": lambda content, depth: {_from_json(item, depth) for item in content},
    "$frozenset": lambda content, depth: frozenset(_from_json(item, depth) for item in content),
    "$dict": lambda content, depth: {_from_json(key, depth): _from_json(item, depth) for key, item in content},
}
