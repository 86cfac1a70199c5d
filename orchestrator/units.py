"""Read and write times and sizes as people write them: `90`, `1.5h`, `1h30m`, `500M`, `1GiB`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from runtime.limits import LARGEST_SIZE, LONGEST_SECONDS

TIME_EXAMPLES: Final = "10, 1.5s, 2m, 1h30m or 30d"
SIZE_EXAMPLES: Final = "1048576, 512M or 1GiB"

_TIMES: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
"""Seconds of each unit, the largest first: the order of the parts of a time."""

_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NUMBER: Final = r"(?:\d+(?:\.\d*)?|\.\d+)"


def parse_seconds(text: object) -> float:
    """Return seconds from a number, or from numbers with the units d, h, m, s, ms in this order.

    Raises ValueError, which says what to write.
    """
    stripped = str(text).strip()
    parts = "".join(rf"(?:({_NUMBER})\s*{unit}(?![a-z])\s*)?" for unit in _TIMES)
    if re.fullmatch(_NUMBER, stripped):
        seconds = float(stripped)
    elif stripped and (match := re.fullmatch(parts, stripped)):
        seconds = sum(float(number) * scale for number, scale in zip(match.groups("0"), _TIMES.values(), strict=True))
    else:
        raise ValueError(f"{_excerpt(text)} is not a time: write seconds, or a time like {TIME_EXAMPLES}")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{_excerpt(text)} is more than ten years ({LONGEST_SECONDS / _TIMES['d']:.0f}d)")
    return seconds


def parse_size(text: object) -> int:
    """Return bytes from a number with an optional unit K, M, G or T (powers of 1024). Raises ValueError likewise."""
    match = re.fullmatch(rf"({_NUMBER})\s*([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if match is None:
        raise ValueError(f"{_excerpt(text)} is not a size: write bytes, or a size like {SIZE_EXAMPLES}")
    size = float(match[1]) * _SIZES[match[2]]
    if size > LARGEST_SIZE:
        raise ValueError(f"{_excerpt(text)} is more than {LARGEST_SIZE} bytes")
    return int(size)


def format_size(size: float) -> str:
    """Return a number of bytes for people: `512 MiB`, `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def format_number(number: float) -> str:
    """Return a number with all its digits and no exponent, as options and systemd read it."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def _excerpt(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
